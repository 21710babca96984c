// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sys/event.h: uintptr_t ident, short filter, u_short flags, u_int fflags,
// intptr_t data, pointer udata. All its systems are 64-bit.
var (
	_ = [1]struct{}{}[unix.EVFILT_READ+1]
	_ = [1]struct{}{}[unix.EVFILT_WRITE+2]
	_ = [1]struct{}{}[unix.EVFILT_USER+9]
	_ = [1]struct{}{}[noteTrigger-unix.NOTE_TRIGGER]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Filter)-2]
	_ = [1]struct{}{}[offsetofData-16]
	_ = [1]struct{}{}[sizeofKevent-32]
	_ = [1]struct{}{}[lp64-1]
)
