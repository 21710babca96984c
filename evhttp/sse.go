// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"strconv"
	"strings"
	"time"
)

// An SSE is a server-sent event, as the HTML standard defines them. Empty fields are not sent.
type SSE struct {
	ID    string        // what a client that connects again says in Last-Event-ID
	Event string        // the event's type; "" means "message" to the client
	Data  string        // may have several lines
	Retry time.Duration // how long the client waits before it connects again
}

// An EventStream is a reply that consists of server-sent events. Its methods are safe for
// concurrent use: any goroutine may send.
type EventStream struct{ r *Request }

// EventStream answers with a stream of events, which ends with Close, or when the client leaves:
// then [Gone] is sent. Last-Event-ID, a field of the request, tells what a client that
// connects again has got last.
func (r *Request) EventStream() (*EventStream, error) {
	r.Set("Content-Type", "text/event-stream")
	if !r.fields.has("Cache-Control") {
		r.Set("Cache-Control", "no-cache")
	}
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	if err := r.startLocked(200, -1); err != nil {
		return nil, err
	}
	return &EventStream{r}, c.s.Flush()
}

// Request returns the request that the stream answers.
func (e *EventStream) Request() *Request { return e.r }

// Send sends an event. If MaxOutput bytes are unsent, it returns evchan.ErrFull and sends
// nothing, so that a slow client misses events rather than holding memory. Line ends in ID and
// Event are an error of the program's: they are replaced by spaces.
func (e *EventStream) Send(ev SSE) error {
	q := scratch.Get().(*[]byte)
	p := *q
	if ev.ID != "" {
		p = append(append(append(p, "id: "...), oneLine(ev.ID)...), '\n')
	}
	if ev.Event != "" {
		p = append(append(append(p, "event: "...), oneLine(ev.Event)...), '\n')
	}
	if ev.Retry > 0 {
		p = append(strconv.AppendInt(append(p, "retry: "...), ev.Retry.Milliseconds(), 10), '\n')
	}
	if ev.Data != "" {
		for line := range strings.SplitSeq(strings.ReplaceAll(strings.ReplaceAll(ev.Data, "\r\n", "\n"), "\r", "\n"), "\n") {
			p = append(append(append(p, "data: "...), line...), '\n')
		}
	}
	p = append(p, '\n')
	_, err := e.r.Write(p)
	freeScratch(q, p)
	return err
}

// Comment sends a line that clients ignore: once in a while, it finds out that a client has
// left, and keeps proxies from giving up.
func (e *EventStream) Comment(text string) error {
	_, err := e.r.Write([]byte(": " + oneLine(text) + "\n\n"))
	return err
}

// Close ends the stream of events. The client connects again, unless it is told not to.
func (e *EventStream) Close() error { return e.r.Finish() }

func oneLine(s string) string { return lineEnds.Replace(s) }
