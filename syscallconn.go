// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"syscall"
)

var errNilControl = errors.New("evchan: Control of nil")

// SyscallConn returns the stream's descriptor for system calls that the package does not
// have, such as to set an option, as net.TCPConn.SyscallConn does. The descriptor stays open
// while Control's function runs, even if the stream ends meanwhile; the peer sees the end
// after that.
//
// Do not read or write there, or change whether the descriptor blocks. The methods Read and
// Write, which would wait for the kernel, return ErrUnsupported.
//
// SyscallConn returns ErrWouldBlock before Connected, ErrClosed after the end, as Control does
// then, and ErrUnsupported for a stream without a descriptor: one of Pipe's or of the network
// memory, or one that Filter has made, which has Under.
func (s *Stream) SyscallConn() (syscall.RawConn, error) {
	s.mustBeMade()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.transport().(type) {
	case nil:
		return nil, ErrClosed
	case *sock:
		return streamRawConn{s}, nil
	case *dialing:
		return nil, ErrWouldBlock
	}
	return nil, fmt.Errorf("evchan: SyscallConn of a stream without a descriptor: %w", ErrUnsupported)
}

// A streamRawConn is what Stream.SyscallConn returns.
type streamRawConn struct{ s *Stream }

// Control calls f with the descriptor. No lock is held then, so that f may use the stream.
func (r streamRawConn) Control(f func(fd uintptr)) error {
	if f == nil {
		return errNilControl
	}
	s := r.s
	s.mu.Lock()
	k, ok := s.transport().(*sock)
	if !ok {
		s.mu.Unlock()
		return ErrClosed
	}
	k.borrowers++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if k.borrowers--; k.borrowers == 0 && k.lent {
			closeFD(k.fd)
		}
	}()
	f(uintptr(k.fd))
	return nil
}

func (streamRawConn) Read(func(fd uintptr) bool) error  { return ErrUnsupported }
func (streamRawConn) Write(func(fd uintptr) bool) error { return ErrUnsupported }

// letGo closes the descriptor, or leaves that to the last Control of SyscallConn that has it.
// Caller holds the stream's mu.
func (k *sock) letGo() {
	if k.borrowers > 0 {
		k.lent = true
	} else {
		closeFD(k.fd)
	}
}

// SyscallConn returns the listener's descriptor for system calls that the package does not
// have, as net.TCPListener.SyscallConn does. The descriptor stays open while Control's
// function runs, even if the listener is closed meanwhile.
//
// Do not accept there, or change whether the descriptor blocks. The methods Read and Write
// return ErrUnsupported. SyscallConn and Control return ErrClosed once the listener is closed.
// SyscallConn of a listener in memory returns ErrUnsupported.
func (ln *Listener) SyscallConn() (syscall.RawConn, error) {
	ln.mustBeMade()
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.virtual != nil {
		return nil, fmt.Errorf("evchan: SyscallConn of a listener: %w", errInMemory)
	}
	if ln.fd == noFD {
		return nil, ErrClosed
	}
	return listenerRawConn{ln}, nil
}

// A listenerRawConn is what Listener.SyscallConn returns.
type listenerRawConn struct{ ln *Listener }

// Control calls f with the descriptor. No lock is held then, so that f may use the listener.
func (r listenerRawConn) Control(f func(fd uintptr)) error {
	if f == nil {
		return errNilControl
	}
	ln := r.ln
	ln.mu.Lock()
	fd := ln.fd
	if fd == noFD {
		ln.mu.Unlock()
		return ErrClosed
	}
	ln.borrowers++
	ln.mu.Unlock()
	defer func() {
		ln.mu.Lock()
		defer ln.mu.Unlock()
		if ln.borrowers--; ln.borrowers == 0 && ln.fd == noFD {
			closeFD(fd)
		}
	}()
	f(uintptr(fd))
	return nil
}

func (listenerRawConn) Read(func(fd uintptr) bool) error  { return ErrUnsupported }
func (listenerRawConn) Write(func(fd uintptr) bool) error { return ErrUnsupported }
