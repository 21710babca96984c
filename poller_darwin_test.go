// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sys/event.h: intptr_t-sized ident, int16_t filter, uint16_t flags, uint32_t
// fflags, intptr_t data, pointer udata, with pack(4), which on the remaining 64-bit
// systems leaves no gap.
var (
	_ = [1]struct{}{}[unix.EVFILT_READ+1]
	_ = [1]struct{}{}[unix.EVFILT_WRITE+2]
	_ = [1]struct{}{}[unix.EVFILT_USER+10]
	_ = [1]struct{}{}[noteTrigger-unix.NOTE_TRIGGER]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Filter)-2]
	_ = [1]struct{}{}[offsetofData-16]
	_ = [1]struct{}{}[sizeofKevent-32]
	_ = [1]struct{}{}[lp64-1]
)
