// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A response is the http.ResponseWriter of a handler. What is written is kept as long as it is
// little, so that it leaves in one piece, with its length.
type response struct {
	r        *Request
	header   http.Header
	status   int    // that WriteHeader was given; 0: not called
	kept     []byte // of the body, before the head is sent
	sent     bool   // the head was
	hijacked bool
	ended    bool     // the handler has returned
	trailers []string // names that the handler has announced
}

const maxKept = 4 << 10

var (
	_ http.Flusher    = (*response)(nil)
	_ http.Hijacker   = (*response)(nil)
	_ io.ReaderFrom   = (*response)(nil)
	_ io.StringWriter = (*response)(nil)
)

// Header returns the fields of the reply.
func (w *response) Header() http.Header { return w.header }

// WriteHeader sets the status and fixes the fields.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("evhttp: invalid WriteHeader code " + strconv.Itoa(status))
	}
	if w.status != 0 || w.hijacked {
		if !w.hijacked {
			w.r.conn.srv.logf("evhttp: superfluous WriteHeader of %s", w.r)
		}
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.setFields()
		w.r.Inform(status)
		w.r.fields = replyFields{}
		return
	}
	w.status = status
	w.setFields()
}

// setFields copies the header to the request's own form. As net/http does, it leaves out what is
// no name, and makes spaces of line ends in values.
func (w *response) setFields() {
	f := &w.r.fields
	for name, values := range w.header {
		switch name {
		case "Transfer-Encoding":
			continue
		case "Trailer":
			w.announce(values)
		case "Date":
			f.flags |= setDate // also if there are no values
		case "Content-Type":
			f.flags |= setType
		}
		if strings.HasPrefix(name, http.TrailerPrefix) {
			continue
		}
		for _, value := range values {
			if err := f.add(name, value); err != nil {
				f.add(name, lineEnds.Replace(value))
			}
		}
	}
}

var lineEnds = strings.NewReplacer("\n", " ", "\r", " ")

// announce notes the names in the field Trailer.
func (w *response) announce(values []string) {
	for _, list := range values {
		for list != "" {
			var name string
			name, list = cutItem(list)
			w.trailers = append(w.trailers, http.CanonicalHeaderKey(name))
		}
	}
}

// Write writes a piece of the body.
func (w *response) Write(p []byte) (int, error) {
	if w.hijacked {
		return 0, http.ErrHijacked
	}
	if w.ended {
		return 0, ErrDone
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if noBody(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if !w.sent {
		if len(w.kept)+len(p) <= maxKept {
			if w.tooLong(len(w.kept) + len(p)) {
				return 0, http.ErrContentLength
			}
			w.kept = append(w.kept, p...)
			return len(p), nil
		}
		if len(w.kept) == 0 && len(p) > 0 {
			w.setType(p)
		}
		if err := w.start(); err != nil {
			return 0, err
		}
	}
	return w.r.Write(p)
}

// WriteString is Write of a string.
func (w *response) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

func (w *response) tooLong(n int) bool {
	f := &w.r.fields
	return f.flags&setLength != 0 && int64(n) > f.length && w.r.head.method != "HEAD"
}

// setType sets the Content-Type by the beginning of the body, unless the handler has set it.
func (w *response) setType(p []byte) {
	f := &w.r.fields
	if f.flags&setType == 0 && len(p) > 0 && !f.has("Content-Encoding") {
		f.set("Content-Type", http.DetectContentType(p))
	}
	f.flags |= setType
}

// start sends the head, and what was kept.
func (w *response) start() error {
	w.setType(w.kept)
	w.sent = true
	if err := w.r.Start(w.status); err != nil {
		return err
	}
	if len(w.kept) > 0 {
		if _, err := w.r.Write(w.kept); err != nil {
			return err
		}
	}
	return nil
}

// Flush sends what was written.
func (w *response) Flush() { w.FlushError() }

// FlushError is Flush with its error, for http.ResponseController.
func (w *response) FlushError() error {
	if w.hijacked {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent {
		if err := w.start(); err != nil {
			return err
		}
	}
	c := w.r.conn
	c.mu.Lock()
	defer c.unlock()
	if w.r.phase != replying {
		return w.r.endError()
	}
	return c.s.Flush()
}

// finish ends the reply, when the handler has returned.
func (w *response) finish() {
	if w.hijacked {
		return
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	r := w.r
	trailers := w.setTrailers()
	if !w.sent && trailers {
		w.start()
	}
	if w.sent {
		r.Finish()
		return
	}
	w.setType(w.kept)
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	if r.claim(w.status) != nil {
		return
	}
	if f := &r.fields; f.flags&setLength != 0 && f.length != int64(len(w.kept)) && r.head.method != "HEAD" && !noBody(w.status) {
		r.abort() // too little was written: the client must notice
		return
	}
	if r.head.method == "HEAD" && len(w.kept) == 0 && r.fields.flags&setLength == 0 {
		r.startLocked(w.status, -1)
		r.finishLocked()
		return
	}
	r.replyLocked(w.status, w.kept)
}

// setTrailers gives the request the fields that come behind the body. It reports whether there
// are any.
func (w *response) setTrailers() bool {
	set := func(name string, values []string) {
		for _, value := range values {
			w.r.Trail(name, lineEnds.Replace(value))
		}
	}
	any := len(w.trailers) > 0
	for _, name := range w.trailers {
		set(name, w.header[name])
	}
	for name, values := range w.header {
		if after, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			set(after, values)
			any = true
		}
	}
	return any
}

// SetReadDeadline is for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error {
	return w.setDeadline(t, func(x *requestExtra) *deadline { return &x.readDeadline })
}

// SetWriteDeadline is for http.ResponseController.
func (w *response) SetWriteDeadline(t time.Time) error {
	return w.setDeadline(t, func(x *requestExtra) *deadline { return &x.writeDeadline })
}

func (w *response) setDeadline(t time.Time, of func(*requestExtra) *deadline) error {
	c := w.r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.hijacked {
		return http.ErrHijacked
	}
	of(w.r.x()).at = t
	w.r.wake()
	return nil
}

// EnableFullDuplex is for http.ResponseController: reading the body while the reply is written
// is always possible.
func (w *response) EnableFullDuplex() error { return nil }

// Serve has h answer the request, here and now. It is for handlers that do not wait: what h
// writes is queued, however much it is, and the body that it may read is what has come. Without
// Config.Streaming that is all of it. While h runs, the loop is stopped.
//
// A file that h sends is not queued, but sent by the system. If a client asks for several ranges
// of one, h does not see that and sends all, since the ranges would be queued.
//
// A panic of h is logged and ends the connection, as with http.Server. Hijack returns
// evchan.ErrWouldBlock while replies to earlier requests are unsent.
func (r *Request) Serve(h http.Handler) {
	c := r.conn
	c.mu.Lock()
	if r.phase != unanswered || r.has(flagBlocking) {
		c.mu.Unlock()
		return
	}
	r.flags |= flagInline
	c.mu.Unlock()
	r.serve(h, true)
}

// serve has h answer the request on this goroutine, and reports whether h has taken the connection
// over. Nothing of w is used again for another request: a handler may have kept it.
func (r *Request) serve(h http.Handler, inline bool) (hijacked bool) {
	hr, err := r.HTTP()
	if err != nil {
		r.Set("Connection", "close")
		r.Error(http.StatusBadRequest)
		return false
	}
	if inline && strings.Contains(hr.Header.Get("Range"), ",") {
		delete(hr.Header, "Range")
	}
	w := &response{r: r, header: make(http.Header)}
	defer func() {
		if v := recover(); v != nil {
			r.conn.srv.logPanic(r, v)
			r.Abort()
		} else {
			w.finish()
		}
		w.ended = true
		if hijacked = w.hijacked; hijacked {
			r.conn.mu.Lock()
			defer r.conn.mu.Unlock()
			r.cancel()
		}
	}()
	h.ServeHTTP(w, hr)
	return w.hijacked
}
