// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package evchan

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What poller_bsd.go assumes about golang.org/x/sys: on all systems, the flags have the same
// values, and the fields the same order and the sizes checked here. An index that is not 0
// does not compile, so go vet for each system checks it, and no user's build depends on it.
var (
	_ = [1]struct{}{}[evAdd-unix.EV_ADD]
	_ = [1]struct{}{}[evDelete-unix.EV_DELETE]
	_ = [1]struct{}{}[evClear-unix.EV_CLEAR]
	_ = [1]struct{}{}[evError-unix.EV_ERROR]
	_ = [1]struct{}{}[evEOF-unix.EV_EOF]

	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Ident)-unsafe.Sizeof(uintptr(0))]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Flags)-unsafe.Sizeof(unix.Kevent_t{}.Filter)]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Fflags)-4]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Data)-8]
	_ = [1]struct{}{}[unsafe.Sizeof(unix.Kevent_t{}.Udata)-unsafe.Sizeof(uintptr(0))]

	// There are no gaps between the fields. Where Data stands is checked in the files of
	// the systems.
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Ident)]
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Filter)-unsafe.Sizeof(unix.Kevent_t{}.Ident)]
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Flags)-unsafe.Offsetof(unix.Kevent_t{}.Filter)-unsafe.Sizeof(unix.Kevent_t{}.Filter)]
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Fflags)-unsafe.Offsetof(unix.Kevent_t{}.Flags)-unsafe.Sizeof(unix.Kevent_t{}.Flags)]
	_ = [1]struct{}{}[unsafe.Offsetof(unix.Kevent_t{}.Udata)-unsafe.Offsetof(unix.Kevent_t{}.Data)-unsafe.Sizeof(unix.Kevent_t{}.Data)]
)

// For the checks in the files of the systems.
const (
	sizeofKevent = int(unsafe.Sizeof(unix.Kevent_t{}))
	offsetofData = int(unsafe.Offsetof(unix.Kevent_t{}.Data))
	lp64         = int(unsafe.Sizeof(uintptr(0))) / 8 // 1 on 64-bit systems, else 0
)
