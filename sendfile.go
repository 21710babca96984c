// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "os"

// SendFile sends n bytes of f that begin at off, after what was written before,
// by sendfile(2) or its like where the system has it. It returns at once: f is
// read as the peer takes the bytes, must stay open and should not change. They
// count for Queued, but not against MaxOutput.
//
// release, if it is not nil, is called once the bytes have been sent or dropped,
// on any goroutine and with no lock held: the place to close f. If the file turns
// out to be shorter the stream ends, with io.ErrUnexpectedEOF.
//
// SendFile returns an error for negative values, or what Write would return but
// ErrFull; then release is not called.
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
	if err := s.writeErr(); err != nil && err != ErrFull {
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
