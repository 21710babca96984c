// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sys/event.h, as __kevent50 takes it: uintptr_t ident, uint32_t filter, flags
// and fflags, int64_t data, pointer udata. On 32-bit arm the offset of an int64_t is a
// multiple of 8, on 386 of 4. Unlike elsewhere, filters count from 0 upwards.
var (
	_ = [1]struct{}{}[unix.EVFILT_READ-0]
	_ = [1]struct{}{}[unix.EVFILT_WRITE-1]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Filter)-4]
	_ = [1]struct{}{}[lp64*(offsetofData-24)+(1-lp64)*(offsetofData-16)]
	_ = [1]struct{}{}[lp64*(sizeofKevent-40)+(1-lp64)*(sizeofKevent-28)*(sizeofKevent-32)]
)
