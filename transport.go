// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"syscall"
)

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

	// flush sends what is possible of the first limit > 0 bytes of out, and removes that
	// from out. It returns the chunks that were removed, unless it has freed them.
	flush(out *chain, limit int) (n int, spent *chunk, err error)

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

// fill is the transport's.
func (k *sock) fill(in *chain, limit int) (n int, full bool, err error) {
	n, full, err = in.readFD(k.fd, max(k.class, minClass), limit, k.plain)
	k.expect(n, full)
	// A terminal gives one line at a time, and a tunnel one packet,
	// whatever there is.
	return n, full || k.plain && n > 0, err
}

// flush is the transport's.
func (k *sock) flush(out *chain, limit int) (n int, spent *chunk, err error) {
	return out.writeFD(k.fd, limit, !k.plain)
}

// readFD reads once from the non-blocking descriptor fd to the end of q, at most
// limit > 0 bytes: into the tail's room, or a chunk of the class that is expected to
// suit. full tells that the room was used up, so that more may be waiting. n == 0
// without an error is the end of input; an error is a bare syscall.Errno.
func (q *chain) readFD(fd sysFD, class int8, limit int, plain bool) (n int, full bool, err error) {
	c := q.tail
	fresh := c == nil || c.w == len(c.buf)
	if fresh {
		c = newChunk(class)
	}
	p := c.buf[c.w:]
	p = p[:min(len(p), limit)]
	if plain {
		n, err = sysRead(fd, p)
	} else {
		n, err = sysRecv(fd, p)
	}
	if fresh {
		q.pushRead(c, n)
	} else {
		c.w += n
		q.n += n
	}
	return n, n == len(p), err
}

// writeFD writes from the front of q to the non-blocking descriptor fd, which may be a
// socket, until it has written limit bytes, q is empty, or fd takes no more. It removes
// what it wrote. Chunks that may have a release function are returned, for the caller to
// free when it holds no lock. An error is a bare syscall.Errno, or what reading a file gave;
// what was written before it counts.
func (q *chain) writeFD(fd sysFD, limit int, socket bool) (n int, spent *chunk, err error) {
	if c := q.head; socket && c != nil && c.next == nil && c.mem == nil && q.n <= limit {
		// So it is most often: few bytes, all of which are sent.
		n, err = sysSend(fd, c.buf[c.r:c.w])
		switch {
		case err == eAGAIN:
			return 0, nil, nil
		case n == q.n:
			*q = chain{}
			c.put()
			return n, nil, nil
		case err == nil:
			c.r += n
			q.n -= n
		default:
			return 0, nil, err
		}
	}
	for q.n > 0 && n < limit {
		var k int
		c := q.head
		room := limit - n
		switch next := c.next; {
		case c.isFile():
			k, err = sysSendFile(fd, c.mem.file, c.mem.off+int64(c.r), min(c.size(), room))
			if errors.Is(err, errors.ErrUnsupported) || err == syscall.EINVAL {
				var d *chunk
				if d, err = q.loadSome(nil, c); err == nil {
					if c.size() == 0 {
						q.unlinkAfter(d)
						c.next = spent
						spent = c
					}
					continue
				}
			}
		case next == nil || next.isFile():
			if socket {
				k, err = sysSend(fd, c.buf[c.r:c.r+min(c.size(), room)])
			} else {
				k, err = sysWrite(fd, c.buf[c.r:c.r+min(c.size(), room)])
			}
		default:
			k, err = sysWriteChain(fd, c, room, socket)
		}
		if err == eAGAIN {
			return n, spent, nil
		}
		if err == nil && k == 0 {
			err = io.ErrUnexpectedEOF // the file is shorter than it was
		}
		if err != nil {
			return n, spent, err
		}
		n += k
		for c := q.cut(k); c != nil; {
			next := c.next
			if c.mem == nil {
				c.put()
			} else {
				c.next = spent
				spent = c
			}
			c = next
		}
	}
	return n, spent, nil
}
