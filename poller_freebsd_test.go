// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sys/event.h of FreeBSD 12 and later: uintptr_t ident, short filter, u_short
// flags, u_int fflags, int64_t data, pointer udata, uint64_t ext[4]. On 32-bit
// arm the offset of an int64_t is a multiple of 8, on 386 of 4.
var (
	_ = [1]struct{}{}[unix.EVFILT_READ+1]
	_ = [1]struct{}{}[unix.EVFILT_WRITE+2]
	_ = [1]struct{}{}[unix.EVFILT_USER+11]
	_ = [1]struct{}{}[noteTrigger-unix.NOTE_TRIGGER]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Filter)-2]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Ext)-32]
	_ = [1]struct{}{}[lp64*(offsetofData-16)+(1-lp64)*(offsetofData-12)*(offsetofData-16)]
	_ = [1]struct{}{}[lp64*(sizeofKevent-64)+(1-lp64)*(sizeofKevent-56)*(sizeofKevent-64)]
)
