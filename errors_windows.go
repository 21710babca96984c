// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// A winsockError is an error number of Winsock, such as WSAECONNRESET, and, to
// errors.Is, also the one that package syscall has for the same on every system,
// such as ECONNRESET.
type winsockError struct {
	syscall.Errno
	same syscall.Errno
}

func (e winsockError) Is(target error) bool { return target == e.same || e.same.Is(target) }
func (e winsockError) Unwrap() error        { return e.Errno }
func (e winsockError) Timeout() bool        { return e.same.Timeout() }
func (e winsockError) Temporary() bool      { return e.same.Temporary() }

// same has the other number of those errors that programs ask for.
var same = map[syscall.Errno]syscall.Errno{
	windows.WSAEACCES:        syscall.EACCES,
	windows.WSAEINVAL:        syscall.EINVAL,
	windows.WSAEMFILE:        syscall.EMFILE,
	windows.WSAENOTSOCK:      syscall.ENOTSOCK,
	windows.WSAEMSGSIZE:      syscall.EMSGSIZE,
	windows.WSAEOPNOTSUPP:    syscall.EOPNOTSUPP,
	windows.WSAEAFNOSUPPORT:  syscall.EAFNOSUPPORT,
	windows.WSAEADDRINUSE:    syscall.EADDRINUSE,
	windows.WSAEADDRNOTAVAIL: syscall.EADDRNOTAVAIL,
	windows.WSAENETDOWN:      syscall.ENETDOWN,
	windows.WSAENETUNREACH:   syscall.ENETUNREACH,
	windows.WSAENETRESET:     syscall.ENETRESET,
	windows.WSAECONNABORTED:  syscall.ECONNABORTED,
	windows.WSAECONNRESET:    syscall.ECONNRESET,
	windows.WSAENOBUFS:       syscall.ENOBUFS,
	windows.WSAENOTCONN:      syscall.ENOTCONN,
	windows.WSAESHUTDOWN:     syscall.EPIPE,
	windows.WSAETIMEDOUT:     syscall.ETIMEDOUT,
	windows.WSAECONNREFUSED:  syscall.ECONNREFUSED,
	windows.WSAEHOSTDOWN:     syscall.EHOSTDOWN,
	windows.WSAEHOSTUNREACH:  syscall.EHOSTUNREACH,
}

// portable returns err, which may be one of package net's, with what is in it as a
// winsockError.
func portable(err error) error {
	switch e := err.(type) {
	case syscall.Errno:
		if n, ok := same[e]; ok {
			return winsockError{e, n}
		}
	case *os.SyscallError:
		return os.NewSyscallError(e.Syscall, portable(e.Err))
	case *net.OpError:
		c := *e
		c.Err = portable(e.Err)
		return &c
	}
	return err
}
