// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/evchan/evchan"
)

// Writable is a message about what is written in pieces: [Request.Write], or [Call.Write] of a
// client, has returned evchan.ErrFull, and now takes more. Of a client's Call with Upload, it comes
// as well when the body may begin, and after a redirect or a retry.
type Writable struct {
	evchan.Custom
	Request *Request // whose reply it is, or nil
	Call    *Call    // whose request it is, or nil
}

// String returns whose reply or request it is.
func (m *Writable) String() string {
	if m.Call != nil {
		return "Writable " + m.Call.String()
	}
	return "Writable " + m.Request.String()
}

// Start sends the head of a reply whose body follows by Write, until Finish. If Content-Length
// was set, the body must be of that length; otherwise it is chunked or, for a client of
// HTTP/1.0, ends with the connection.
func (r *Request) Start(status int) error {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	return r.startLocked(status, -1)
}

// startLocked is Start with a length, if that is known. The caller holds mu.
func (r *Request) startLocked(status int, length int64) error {
	if err := r.claim(status); err != nil {
		return err
	}
	q := scratch.Get().(*[]byte)
	p := r.appendHead(*q, status, length)
	_, err := r.conn.s.WriteLater(p)
	freeScratch(q, p)
	return err
}

// Write sends a piece of the reply's body. It calls Start with 200 if that was not called. If
// MaxOutput bytes are unsent, it takes nothing and returns evchan.ErrFull: [Writable] follows
// when there is room. In a handler of [Request.Go] it waits instead.
func (r *Request) Write(p []byte) (int, error) {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	return r.writeLocked(p)
}

// writeLocked is Write. The caller holds mu.
func (r *Request) writeLocked(p []byte) (int, error) {
	if r.phase == unanswered {
		if err := r.startLocked(http.StatusOK, -1); err != nil {
			return 0, err
		}
	}
	if err := r.room(); err != nil {
		return 0, err
	}
	if r.has(flagNoBody) {
		if r.head.method == "HEAD" {
			return len(p), nil
		}
		return 0, http.ErrBodyNotAllowed
	}
	if r.fields.flags&setLength != 0 && int64(len(p)) > r.fields.length-r.written {
		return 0, http.ErrContentLength
	}
	if len(p) == 0 {
		return 0, nil
	}
	r.written += int64(len(p))
	if err := r.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send sends p as a chunk, or as it is. The caller holds mu.
func (r *Request) send(p []byte) error {
	s := r.conn.s
	r.conn.count(len(p))
	if !r.has(flagChunks) {
		_, err := s.Write(p)
		return err
	}
	return writeChunk(s, p)
}

// writeChunk sends p as a chunk. p must not be empty.
func writeChunk(s *evchan.Stream, p []byte) error {
	const copied = 8 << 10
	q := scratch.Get().(*[]byte)
	head := appendChunkSize(*q, len(p))
	var err error
	if len(p) <= copied {
		head = append(append(head, p...), chunkAfter...)
		_, err = s.Write(head)
	} else {
		if _, err = s.WriteLater(head); err == nil {
			if _, err = s.WriteLater(p); err == nil {
				_, err = s.WriteString(chunkAfter)
			}
		}
	}
	freeScratch(q, head)
	return err
}

// room returns nil if more of the reply may be written now. On the goroutine that answers the
// request it waits until then. The caller holds mu.
func (r *Request) room() error {
	c := r.conn
	for {
		if r.phase != replying {
			return r.endError()
		}
		if r.has(flagInline) || !c.isFull() {
			return nil
		}
		if !r.has(flagBlocking) {
			r.flags |= flagRoom
			return evchan.ErrFull
		}
		if err := r.extra.writeDeadline.wait(&r.extra.cond); err != nil {
			c.flags |= flagClosing | flagAbort
			r.fail(goneError{err})
			c.todo |= doAgain
			return err
		}
	}
}

// Trail sets a field behind the body of a reply that is chunked, before Finish. Other replies
// have none, and drop it.
func (r *Request) Trail(name, value string) error {
	if !validName(name) || !validValue(value) || checkTrailer([]byte(name)) != nil {
		return fmt.Errorf("%w: %.40q: %.40q", errReplyField, name, value)
	}
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	x := r.x()
	x.after = append(append(append(append(x.after, name...), ": "...), value...), "\r\n"...)
	return nil
}

// Finish ends a reply that was written in pieces. If less than its Content-Length was written,
// the connection is reset, so that the client notices.
func (r *Request) Finish() error {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	return r.finishLocked()
}

var errShortReply = errors.New("evhttp: the reply is shorter than its Content-Length")

// finishLocked is Finish. The caller holds mu.
func (r *Request) finishLocked() error {
	if r.phase == unanswered {
		if err := r.startLocked(http.StatusOK, 0); err != nil {
			return err
		}
	}
	if r.phase != replying {
		return r.endError()
	}
	if r.fields.flags&setLength != 0 && !r.has(flagNoBody) && r.written < r.fields.length {
		r.abort()
		return errShortReply
	}
	var err error
	if r.has(flagChunks) {
		if r.extra != nil && len(r.extra.after) > 0 {
			p := append([]byte(chunkZero), r.extra.after...)
			err = r.conn.write(append(p, "\r\n"...))
		} else {
			err = r.conn.write([]byte(chunkLast))
		}
	} else {
		err = r.conn.s.Flush()
	}
	r.conn.active = r.conn.srv.millis(time.Now())
	r.finish()
	return err
}

// Abort resets the connection, whether a reply was begun or not. The client notices that it did
// not get all.
func (r *Request) Abort() {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	r.abort()
}

// abort is Abort. The caller holds mu.
func (r *Request) abort() {
	c := r.conn
	if r.phase >= skipping {
		return
	}
	r.phase = over
	r.err = ErrDone
	r.bodyEnded = true
	r.cancel()
	r.wake()
	if c.req == r {
		c.req = nil
	}
	c.flags |= flagClosing | flagAbort
	if r.extra != nil && r.extra.done != nil {
		r.settleLater()
	}
	c.closeWhenSent()
}

// Inform sends an interim reply, such as 103 (Early Hints), with the fields that were set so
// far, which the reply will have as well. Status is between 102 and 199, or 100 to tell a
// client that waits for it to send the body. Clients of HTTP/1.0 get nothing.
func (r *Request) Inform(status int) error {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	if status < 100 || status > 199 || status == http.StatusSwitchingProtocols {
		return fmt.Errorf("evhttp: %d is not the status of an interim reply", status)
	}
	if r.phase != unanswered {
		return r.endError()
	}
	if r.head.minor == 0 {
		return nil
	}
	if status == http.StatusContinue {
		return r.sendContinue()
	}
	p := append(append(appendStatus(nil, status), r.fields.lines...), "\r\n"...)
	_, err := c.s.Write(p)
	return err
}
