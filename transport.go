// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"io"
	"syscall"
)

// A transport moves bytes between a stream's buffers and the outside, which most often is a
// socket. No method blocks. Errors are those of the system, not wrapped. The caller of each
// method holds the stream's mu.
type transport interface {
	// fill reads once, at most limit > 0 bytes, and appends them to in. full tells that
	// there may be more. If n is 0, err tells why: EAGAIN if there is nothing now, nil at
	// the end of input.
	fill(in *chain, limit int) (n int, full bool, err error)

	// write sends once, and returns how many of the bytes of p were sent. p is not empty.
	// If none can be sent now, err is EAGAIN.
	write(p []byte) (n int, err error)

	// flush sends what is possible of the first limit > 0 bytes of out, and removes that
	// from out. If n is less than limit and err is nil, no more can be sent now. spent are
	// removed chunks that the caller has to free; flush has freed the others.
	flush(out *chain, limit int) (n int, spent *chunk, err error)

	// closeWrite tells the peer that nothing more will be sent.
	closeWrite() error

	// failure returns the error with which the connection has failed, or nil.
	failure() error

	// halfCloses reports whether closeWrite is possible and reading goes on after it. If
	// so, a close waits until the peer has finished, too.
	halfCloses() bool

	// close closes the connection. If reset is true, it tells the peer, where that is
	// possible, that output was dropped.
	close(reset bool)
}

// expect chooses the size of the chunk for the next read, after a read that has given n bytes.
// full tells that there may have been more.
func (k *sock) expect(n int, full bool) {
	switch {
	case full:
		k.class = streamClass // there may be any number of bytes
	case n > 0:
		k.class = min(max(classFor(n+1), k.class-1), streamClass) // one class less at most: one short read is no reason to expect few bytes
	}
}

// fill implements transport.
func (k *sock) fill(in *chain, limit int) (n int, full bool, err error) {
	n, full, err = in.readFD(k.fd, max(k.class, minClass), limit, k.plain)
	k.expect(n, full)
	// A terminal gives one line at a time, and a tunnel one packet, even if
	// there is more.
	return n, full || k.plain && n > 0, err
}

// flush implements transport.
func (k *sock) flush(out *chain, limit int) (n int, spent *chunk, err error) {
	return out.writeFD(k.fd, limit, !k.plain)
}

// readFD reads once from the non-blocking descriptor fd, at most limit > 0 bytes, and appends
// them to q: into the room of the tail if it has some, otherwise into a new chunk of class.
// plain tells that fd is not a socket. full tells that all of the room was used, so that there
// may be more. n == 0 without an error is the end of input. An error is a bare syscall.Errno.
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

// writeFD writes from the front of q to the non-blocking descriptor fd, until it has written
// limit bytes, q is empty, or fd takes no more. It removes from q what it has written, and
// returns how many bytes that is, also with an error. socket tells that fd is a socket. spent
// are chunks that may have a release function: the caller frees them when it holds no lock.
// An error is a bare syscall.Errno, or the error of reading a file.
func (q *chain) writeFD(fd sysFD, limit int, socket bool) (n int, spent *chunk, err error) {
	if c := q.head; socket && c != nil && c.next == nil && c.mem == nil && q.n <= limit {
		// The most frequent case: few bytes, all of which are sent.
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
