// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sys/event.h: uintptr_t ident, short filter, unsigned short flags, unsigned int
// fflags, int64_t data, pointer udata. On 32-bit arm the offset of an int64_t is a
// multiple of 8, on 386 of 4.
var (
	_ = [1]struct{}{}[unix.EVFILT_READ+1]
	_ = [1]struct{}{}[unix.EVFILT_WRITE+2]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Filter)-2]
	_ = [1]struct{}{}[lp64*(offsetofData-16)+(1-lp64)*(offsetofData-12)*(offsetofData-16)]
	_ = [1]struct{}{}[lp64*(sizeofKevent-32)+(1-lp64)*(sizeofKevent-24)*(sizeofKevent-32)]
)
