// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"compress/gzip"
	"io"
	"iter"
	"net/http"

	"github.com/evchan/evchan"
)

// Response is a message: the response to a [Call], or that it has failed.
//
// The receiver owns Body.
type Response struct {
	evchan.Custom
	Call     *Call
	Request  *http.Request // that was answered: that of the Call, or what redirects have made of it; nil if Err is not
	Err      error         // a *[CallError], or nil
	Status   int           // such as 200
	Complete bool          // Body has all of the body, and no message [Body] follows
	Body     evchan.Buffer // what has come of the body

	head  responseHead
	conn  *clientConn // whose stream the program may take, or nil
	unzip bool        // Body was gzip

	// The client's mu guards the following.

	trailer *head // nil: none
	bodyErr error // why the body is not complete
}

// String returns what was asked for, and the status or the error.
func (r *Response) String() string {
	if r.Err != nil {
		return r.Call.String() + ": " + r.Err.Error()
	}
	return r.Call.String() + ": " + http.StatusText(r.Status)
}

// Header returns the value of the first field of that name, in any case, or "".
func (r *Response) Header(name string) string {
	value, _ := r.head.get(name)
	return value
}

// Fields returns the names and values of all fields, in the order in which they were sent.
func (r *Response) Fields() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, f := range r.head.fields() {
			if !yield(r.head.str(f.name), r.head.str(f.value)) {
				return
			}
		}
	}
}

// Reason returns the text behind the status.
func (r *Response) Reason() string { return r.head.str(r.head.target) }

// Minor returns the minor version of HTTP/1 that the server speaks: 0 or 1.
func (r *Response) Minor() int { return int(r.head.minor) }

// ContentLength returns the length of the body that the server has told, or -1.
func (r *Response) ContentLength() int64 {
	if r.head.flags&hasLength == 0 || r.head.flags&hasChunked != 0 || r.unzip {
		return -1
	}
	return r.head.length
}

// Trailer returns the value of the first field of that name behind a chunked body that is
// complete, or "".
func (r *Response) Trailer(name string) string {
	cl := r.Call.cl
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if r.trailer == nil {
		return ""
	}
	value, _ := r.trailer.get(name)
	return value
}

// Headers returns all fields of the head, in a new map.
func (r *Response) Headers() http.Header {
	header := r.head.httpHeader()
	if r.unzip {
		header.Del("Content-Encoding")
		header.Del("Content-Length")
	}
	return header
}

// HTTP returns the response as package net/http has it. Its Body is what Body has.
func (r *Response) HTTP() *http.Response {
	hr := r.httpResponse()
	hr.Body = io.NopCloser(&r.Body)
	return hr
}

// httpResponse is HTTP without a body.
func (r *Response) httpResponse() *http.Response {
	h := &r.head
	hr := &http.Response{
		Status:        string(h.raw[len("HTTP/1.1 "):h.target.to]),
		StatusCode:    h.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    int(h.minor),
		Header:        r.Headers(),
		ContentLength: r.ContentLength(),
		Close:         !h.keepAlive(),
		Uncompressed:  r.unzip,
		Request:       r.Request,
	}
	if h.minor == 0 {
		hr.Proto = "HTTP/1.0"
	}
	if h.flags&hasChunked != 0 {
		hr.TransferEncoding = []string{"chunked"}
		hr.Header.Del("Transfer-Encoding")
		hr.Header.Del("Content-Length")
	} else if noBody(h.status) {
		hr.ContentLength = 0
	}
	if names := hr.Header["Trailer"]; names != nil {
		hr.Trailer = make(http.Header)
		for _, list := range names {
			for list != "" {
				var name string
				if name, list = cutItem(list); validName(name) {
					hr.Trailer[http.CanonicalHeaderKey(name)] = nil
				}
			}
		}
		delete(hr.Header, "Trailer")
	}
	return hr
}

// PauseBody stops the messages Body of a response with Streaming, and with them the server when the
// connection's buffers are full, until ResumeBody. Without it, one Body waits at a time: the next
// one comes when the last was received.
func (r *Response) PauseBody() {
	cl := r.Call.cl
	cl.mu.Lock()
	defer cl.unlock()
	r.Call.flags |= callPaused
}

// ResumeBody undoes PauseBody.
func (r *Response) ResumeBody() {
	c := r.Call
	c.cl.mu.Lock()
	defer c.cl.unlock()
	if c.flags &^= callPaused; c.conn != nil && c.resp != nil {
		c.conn.receive()
	}
}

// TakeStream gives the stream of the connection away behind a response 101, or a response 2xx to
// CONNECT, with what has arrived behind the head in its Input. The stream is the caller's from then
// on. layer is its new layer; with nil, its messages go to the receiver, beginning with Readable if
// there is input. A stream that nobody takes stays open until its server closes it.
func (r *Response) TakeStream(layer evchan.Layer) (*evchan.Stream, error) {
	cl := r.Call.cl
	cl.mu.Lock()
	k := r.conn
	r.conn = nil
	if k == nil || k.has(connDead) {
		cl.unlock()
		return nil, errNoUpgrade
	}
	k.forget()
	k.host.schedule()
	s := k.s
	cl.unlock()
	for under := s; under != nil; under = under.Under() {
		under.SetBackground(false)
	}
	s.SetIdleTimeouts(0, 0)
	if err := s.SetLayer(layer); err != nil {
		s.Abort()
		return nil, err
	}
	return s, nil
}

// maxBody returns the length of the longest body of a response that arrives whole.
func (c *Call) maxBody() int64 {
	limit := or(c.MaxBody, c.cl.conf.MaxBody)
	if limit < 0 {
		return 1<<63 - 2
	}
	return limit
}

// gunzip decodes the body if it is gzip. The result is at most limit bytes long.
func (r *Response) gunzip(limit int64) error {
	if coding, _ := r.head.get("Content-Encoding"); !equalFold(coding, "gzip") || r.Body.Len() == 0 {
		return nil
	}
	z, err := gzip.NewReader(&r.Body)
	if err != nil {
		return badResponse("gzip: " + err.Error())
	}
	var plain evchan.Buffer
	n, err := plain.ReadFrom(io.LimitReader(z, limit+1))
	switch {
	case err != nil:
		return badResponse("gzip: " + err.Error())
	case n > limit:
		return ErrTooLong
	}
	r.Body.Discard(r.Body.Len())
	r.Body.MoveN(&plain, plain.Len())
	r.unzip = true
	return nil
}
