// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"fmt"
	"html"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/evchan/evchan"
)

// Set sets a field of the reply, in place of those of the same name. It returns an error if the
// name is no name or the value has a control character, so that no client can have a line added
// by what it has sent. Content-Length is for replies that are written in pieces, and for HEAD.
// Transfer-Encoding and Connection are the server's; of the latter, close is taken as a wish,
// and upgrade.
//
// Set and Add have an effect until the head is sent.
func (r *Request) Set(name, value string) error { return r.fields.set(name, value) }

// Add adds a field to the reply, behind those of the same name. It returns an error as Set does.
func (r *Request) Add(name, value string) error { return r.fields.add(name, value) }

// scratch has memory in which a reply is put together.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

const maxScratch = 64 << 10

// freeScratch gives p, which has grown out of *q, back.
func freeScratch(q *[]byte, p []byte) {
	if cap(p) <= maxScratch {
		*q = p[:0]
		scratch.Put(q)
	}
}

// Reply answers with a whole body, which it does not keep. Content-Length and Date are set, and
// Content-Type if there is a body and none was set. The body is dropped if the method is HEAD or
// the status has none.
//
// It returns ErrDone if the request has been answered, ErrGone if it is over. What else becomes
// of the reply, [Request.Done] tells. Status must be between 200 and 599.
func (r *Request) Reply(status int, body []byte) error {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	if err := r.claim(status); err != nil {
		return err
	}
	return r.replyLocked(status, body)
}

// ReplyString is Reply with a string.
func (r *Request) ReplyString(status int, body string) error {
	q := scratch.Get().(*[]byte)
	p := append(*q, body...)
	err := r.Reply(status, p)
	freeScratch(q, p)
	return err
}

// ReplyBuffer is Reply with the bytes of b, which it takes and does not copy; files in b are
// sent without being read. If it returns an error, b is as it was.
//
// Release functions in b must not call methods of this package.
func (r *Request) ReplyBuffer(status int, b *evchan.Buffer) error {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	if err := r.claim(status); err != nil {
		return err
	}
	q := scratch.Get().(*[]byte)
	p := r.appendHead(*q, status, int64(b.Len()))
	c.count(len(p) + b.Len())
	out := c.s.Output()
	out.Write(p)
	if r.has(flagNoBody) {
		b.Reset()
	} else {
		out.AppendBuffer(b)
	}
	freeScratch(q, p)
	err := c.s.Flush()
	r.finish()
	return err
}

// Error answers with an error page: that of Config.ErrorPage, or a line with the status.
func (r *Request) Error(status int) error {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	if err := r.claim(status); err != nil {
		return err
	}
	return r.replyError(status, "")
}

// Redirect answers with the field Location, which may be relative to the request's path, and a
// short page. Status is between 300 and 399.
func (r *Request) Redirect(status int, location string) error {
	if err := r.Set("Location", location); err != nil {
		return err
	}
	r.Set("Content-Type", "text/html; charset=utf-8")
	where := html.EscapeString(location)
	return r.ReplyString(status, `<a href="`+where+`">`+where+"</a>\n")
}

// Allow reports whether the method is one of methods. If it is not, Allow has answered: OPTIONS
// with 204 and the field Allow, other methods with 405. HEAD is allowed where GET is.
func (r *Request) Allow(methods ...string) bool {
	m := r.head.method
	if slices.Contains(methods, m) || m == "HEAD" && slices.Contains(methods, "GET") {
		return true
	}
	allow := ""
	for _, m := range methods {
		allow += m + ", "
	}
	r.Set("Allow", allow+"OPTIONS")
	if m == "OPTIONS" {
		r.Reply(204, nil)
	} else {
		r.Error(405)
	}
	return false
}

func (srv *Server) allows(method string) bool { return slices.Contains(srv.conf.Methods, method) }

// claim checks that the request may be answered. The caller holds mu.
func (r *Request) claim(status int) error {
	if status < 200 || status > 999 {
		return fmt.Errorf("evhttp: %d is not the status of a reply", status)
	}
	if r.phase != unanswered {
		return r.endError()
	}
	return nil
}

// replyLocked sends a whole reply. The caller holds mu.
func (r *Request) replyLocked(status int, body []byte) error {
	const copied = 8 << 10 // a larger body is sent as it is
	q := scratch.Get().(*[]byte)
	p := r.appendHead(*q, status, int64(len(body)))
	var err error
	switch {
	case r.has(flagNoBody):
		err = r.conn.write(p)
	case len(body) <= copied:
		p = append(p, body...)
		err = r.conn.write(p)
	default:
		r.conn.count(len(p) + len(body))
		if _, err = r.conn.s.WriteLater(p); err == nil {
			_, err = r.conn.s.Write(body)
		}
	}
	freeScratch(q, p)
	r.finish()
	return err
}

// replyError sends an error page. The caller holds mu.
func (r *Request) replyError(status int, text string) error {
	contentType, page := r.conn.srv.errorPage(status, text)
	if contentType != "" {
		r.fields.set("Content-Type", contentType)
	}
	return r.replyLocked(status, page)
}

// errorPage returns the page for status, and its type. text says more, or is "".
func (srv *Server) errorPage(status int, text string) (contentType string, page []byte) {
	if srv.conf.ErrorPage != nil {
		if contentType, page = srv.conf.ErrorPage(status); page != nil {
			return contentType, page
		}
	}
	line := strconv.Itoa(status) + " " + statusText(status)
	if text != "" {
		line += ": " + text
	}
	return "text/plain; charset=utf-8", []byte(line + "\n")
}

// appendRefusal appends the reply to what is no request, which is the last one of its
// connection.
func (srv *Server) appendRefusal(p []byte, e *refusal) []byte {
	contentType, page := srv.errorPage(e.status, e.text)
	p = appendStatus(p, e.status)
	p = srv.date.appendDate(p, time.Now())
	if contentType != "" && validValue(contentType) {
		p = append(append(append(p, "Content-Type: "...), contentType...), "\r\n"...)
	}
	p = append(p, "Connection: close\r\nContent-Length: "...)
	p = strconv.AppendInt(p, int64(len(page)), 10)
	p = append(p, "\r\n\r\n"...)
	return append(p, page...)
}

// appendHead appends the head of the reply, and decides how the body is framed and whether the
// connection is kept. length is that of the body, or -1 if it is not known. The caller holds mu.
func (r *Request) appendHead(p []byte, status int, length int64) []byte {
	c, f := r.conn, &r.fields
	now := time.Now()
	c.active = c.srv.millis(now)
	r.phase = replying
	if noBody(status) || r.head.method == "HEAD" {
		r.flags |= flagNoBody
	}
	if length < 0 && f.flags&setLength != 0 {
		length = f.length
	}
	if r.head.method == "HEAD" && length == 0 && f.flags&setLength != 0 {
		length = f.length // of the body that GET would get
	}
	chunks := length < 0 && r.head.minor == 1 && !r.has(flagNoBody)
	if !r.head.keepAlive() || f.flags&setClose != 0 || c.draining() || !r.bodyEnded && !r.canSkip() ||
		length < 0 && !chunks && !r.has(flagNoBody) {
		c.flags |= flagClosing
	}

	p = appendStatus(p, status)
	if f.flags&setDate == 0 {
		p = c.srv.date.appendDate(p, now)
	}
	p = append(p, f.lines...)
	switch {
	case status < 200 || status == 204:
	case status == 304 && f.flags&setLength == 0:
	case length >= 0:
		p = r.appendType(p, status, length)
		p = append(p, "Content-Length: "...)
		p = strconv.AppendInt(p, length, 10)
		p = append(p, "\r\n"...)
	case chunks:
		p = r.appendType(p, status, length)
		p = append(p, "Transfer-Encoding: chunked\r\n"...)
		r.flags |= flagChunks
	default:
		p = r.appendType(p, status, length)
	}
	switch {
	case f.flags&setUpgrade != 0:
		p = append(p, "Connection: upgrade\r\n"...)
	case c.has(flagClosing):
		p = append(p, "Connection: close\r\n"...)
	case r.head.minor == 0:
		p = append(p, "Connection: keep-alive\r\n"...)
	}
	return append(p, "\r\n"...)
}

// appendType appends a Content-Type if a body of that length needs one and none is set.
func (r *Request) appendType(p []byte, status int, length int64) []byte {
	if r.fields.flags&setType != 0 || length == 0 || status == 304 {
		return p
	}
	p = append(p, "Content-Type: "...)
	p = append(p, r.conn.srv.conf.ContentType...)
	return append(p, "\r\n"...)
}

// finish notes that all of the reply was written. The caller holds mu.
func (r *Request) finish() {
	c := r.conn
	r.cancel()
	skip := !r.bodyEnded && !c.has(flagClosing)
	r.written = 0
	if skip {
		r.phase = skipping
	} else {
		r.phase = answered
		if c.req == r {
			c.req = nil
		}
	}
	if r.extra != nil && r.extra.done != nil {
		r.settleLater()
	}
	late := c.has(flagWaiting) // Next is not going to be called anyway
	switch {
	case c.has(flagClosing):
		c.closeWhenSent()
	case !late || !skip && r.has(flagBlocking) && c.srv.conf.Handler != nil:
		// Next goes on, or the goroutine that has replied: see following.
	case skip || c.has(flagEOF) || c.draining() || c.s.Input().Len() > 0:
		c.todo |= doAgain
	}
}
