// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// A transport moves bytes between a stream's buffers and the outside: a socket,
// say. All its methods are called with the stream's mu held, and none blocks.
// Errors are the system's, unwrapped.
type transport interface {
	// fill reads once to the end of in, at most limit > 0 bytes. If full, there
	// may be more. n == 0 without an error is the end; EAGAIN means that
	// there is nothing now.
	fill(in *chain, limit int) (n int, full bool, err error)

	// write sends what is possible of p, which is not empty, at once.
	write(p []byte) (n int, err error)

	// flush sends what is possible of out, and removes that, which it returns
	// the spent chunks of.
	flush(out *chain) (n int, spent *chunk, err error)

	// closeWrite tells the peer that nothing more will be sent.
	closeWrite() error

	// failure returns the error that the outside has met with, if any.
	failure() error

	// halfCloses reports whether closeWrite is possible, and reading goes on
	// after it. A close then waits for the peer's end, too.
	halfCloses() bool

	// close lets the outside go. With reset, the peer is told that the rest
	// was dropped.
	close(reset bool)
}

// expect chooses the chunk for the next read after one that has given n bytes. full
// tells that it could have given more.
func (k *sock) expect(n int, full bool) {
	switch {
	case full:
		k.class = streamClass // whatever there is
	case n > 0:
		k.class = min(max(classFor(n+1), k.class-1), streamClass) // one less is no reason to expect few
	}
}
