// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"errors"
	"io"
	"syscall"
)

// readEnough is the room beyond which a single piece is enough to read into.
const readEnough = 32 << 10

// readFD reads once from the non-blocking descriptor fd to the end of b, at most
// limit > 0 bytes. full tells that the room offered was used up, so that more may be
// waiting. n == 0 without an error is the end of input; an error is a bare
// syscall.Errno. It tells nobody and minds no freezing.
//
// It offers the tail's room, or a small chunk, and a large one behind it. The
// large one stays only if what it got deserves it. So few bytes hold little
// memory, and many are read at once and never copied.
func (b *Buffer) readFD(fd sysFD, limit int) (n int, full bool, err error) {
	b.settle()
	var small, large *chunk
	var p, q []byte
	if t := b.tail; t != nil && t.w < len(t.buf) {
		p = t.buf[t.w:]
	} else {
		small = newChunk(minClass)
		p = small.buf
	}
	p = p[:min(len(p), limit)]
	if len(p) < limit && len(p) < readEnough {
		large = newChunk(streamClass)
		q = large.buf[:min(len(large.buf), limit-len(p))]
	}

	n, err = sysRead(fd, p, q)
	if err != nil {
		n = 0
	}
	k := min(n, len(p))
	switch {
	case small == nil:
		b.tail.w += k
		b.n += k
	case k == 0:
		small.put()
	default:
		small.w = k
		b.push(small)
	}
	if large != nil {
		large.w = n - k
		switch class := classFor(n - k); {
		case n == k:
			large.put()
		case class < streamClass:
			c := newChunk(class)
			c.w = copy(c.buf, q[:n-k])
			b.push(c)
			large.put()
		default:
			b.push(large)
		}
	}
	return n, n == len(p)+len(q), err
}

// recvFD is readFD for a socket and for few bytes: it offers the tail's room or a
// small chunk only.
func (b *Buffer) recvFD(fd sysFD, limit int) (n int, full bool, err error) {
	c := b.tail
	fresh := c == nil || c.w == len(c.buf)
	if fresh {
		c = newChunk(minClass)
	}
	p := c.buf[c.w:]
	p = p[:min(len(p), limit)]
	n, err = sysRecv(fd, p)
	switch {
	case n == 0 && fresh:
		c.put()
	case fresh:
		c.w = n
		b.push(c)
	default:
		c.w += n
		b.n += n
	}
	return n, n == len(p), err
}

// writeFD writes from the front of b to the non-blocking descriptor fd, which may
// be a socket, until b is
// empty or fd takes no more, and removes what it wrote. Chunks that may have a release
// function are returned, for the caller to free when it holds no lock. An error is a bare
// syscall.Errno, or what reading a file gave; what was written before it counts.
// It tells nobody and minds no freezing.
func (b *Buffer) writeFD(fd sysFD, socket bool) (n int, spent *chunk, err error) {
	b.settle()
	for b.n > 0 {
		var k int
		c := b.head
		switch next := c.next; {
		case c.isFile():
			k, err = sysSendFile(fd, c.mem.file, c.mem.off+int64(c.r), c.size())
			if errors.Is(err, errors.ErrUnsupported) || err == syscall.EINVAL {
				var d *chunk
				if d, err = b.loadSome(nil, c); err == nil {
					if c.size() == 0 {
						b.unlinkAfter(d)
						c.next = spent
						spent = c
					}
					continue
				}
			}
		case next == nil || next.isFile():
			if socket {
				k, err = sysSend(fd, c.buf[c.r:c.w])
			} else {
				k, err = sysWrite(fd, c.buf[c.r:c.w])
			}
		default:
			k, err = sysWriteChain(fd, c)
		}
		if err == syscall.EAGAIN {
			return n, spent, nil
		}
		if err == nil && k == 0 {
			err = io.ErrUnexpectedEOF // the file is shorter than it was
		}
		if err != nil {
			return n, spent, err
		}
		n += k
		for c := b.cut(k); c != nil; {
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
