// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"os"
)

// SendFile sends the n bytes of f from offset off on, after what was written before.
// Where the system can, it copies them in the kernel, with sendfile(2) for example.
//
// SendFile returns at once. f is read as the peer takes the bytes: until release is
// called it must stay open and should not change. If it turns out to be shorter, the
// stream ends with io.ErrUnexpectedEOF. The bytes count for Queued, but not against
// MaxOutput. So a server that answers requests with files sends one at a time, while Queued
// is 0: a client that pipelines requests could make it open all its descriptors.
//
// release, if it is not nil, is called exactly once, when the bytes have been sent or
// dropped, on any goroutine and with no lock held. It is the place to close f.
//
// SendFile returns an error if off or n is negative, if f is closed, not open for reading or
// of a kind that cannot be read at an offset (a pipe: ErrUnsupported), ErrTooLarge if n is greater than an
// int can be, and otherwise the errors of Write. It returns ErrFull only if Queued would
// become greater than an int can be, which happens with 32-bit systems and 2 GiB. If it
// returns an error, release is not called.
func (s *Stream) SendFile(f *os.File, off, n int64, release func()) error {
	var b Buffer
	if n == 0 { // AppendFile calls release at once
		s.mu.Lock()
		err := s.writeErr()
		s.mu.Unlock()
		if err != nil && err != ErrFull {
			return err
		}
		return b.AppendFile(f, off, n, release)
	}
	called := func() {
		if release != nil {
			release()
		}
	}
	if err := b.AppendFile(f, off, n, func() { called() }); err != nil {
		return err
	}
	s.mu.Lock()
	err := s.writeErr()
	if err == ErrFull {
		err = nil
	}
	if err == nil && !s.out.queue.fits(b.n) {
		err = ErrFull
	}
	if err != nil {
		s.mu.Unlock()
		called = func() {}
		b.free()
		return err
	}
	s.out.queue.splice(&b.chain)
	s.send() // a failure is told by Closed
	s.unlock()
	return nil
}

// checkFile returns why f cannot be read at an offset, if that is so. Otherwise it would be
// found out when the bytes are sent, and look like a failure of the stream.
func checkFile(f *os.File) error {
	raw, err := f.SyscallConn()
	if err == nil {
		if raw.Control(func(fd uintptr) { err = sysCheckFile(fd) }) != nil {
			err = os.ErrClosed
		}
	}
	if err != nil {
		return fmt.Errorf("evchan: file %s cannot be read at an offset: %w", f.Name(), err)
	}
	return nil
}
