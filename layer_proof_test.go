// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evframe"
)

// Three protocols, on the public API only, that need what a Layer promises: lines with STARTTLS,
// requests with late, streamed and pipelined replies, and an upgrade from these to frames. Each
// runs with every way to receive.

// deliveries are the ways to receive what the streams of ln send, until l is closed.
var deliveries = map[string]func(l *evchan.Loop, ln *evchan.Listener, f func(evchan.Event)){
	"All": func(l *evchan.Loop, _ *evchan.Listener, f func(evchan.Event)) {
		for ev := range l.All() {
			f(ev)
		}
	},
	"Poll": func(l *evchan.Loop, _ *evchan.Listener, f func(evchan.Event)) {
		for {
			ev, ok := l.Poll(-1)
			if !ok {
				return
			}
			f(ev)
		}
	},
	"Events": func(l *evchan.Loop, _ *evchan.Listener, f func(evchan.Event)) {
		for ev := range l.Events() {
			f(ev)
		}
	},
	"Batches": func(l *evchan.Loop, _ *evchan.Listener, f func(evchan.Event)) {
		for b := range l.Batches() {
			for ev := range b.All() {
				f(ev)
			}
		}
	},
	"Notify": func(l *evchan.Loop, ln *evchan.Listener, f func(evchan.Event)) {
		ch := make(chan evchan.Event, 8)
		ln.Notify(ch)
		events := l.Events()
		for {
			select {
			case ev := <-ch:
				f(ev)
			case _, ok := <-events:
				if !ok {
					return
				}
			}
		}
	},
}

// testProtocol runs a server, which does handle for each message, with every delivery, and some
// clients at once.
func testProtocol(t *testing.T, conf *evchan.ListenConfig, handle func(evchan.Event), client func(*net.TCPConn) error) {
	for name, receive := range deliveries {
		t.Run(name, func(t *testing.T) {
			loop, err := evchan.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			ln, err := loop.Listen("tcp", "127.0.0.1:0", conf)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() { receive(loop, ln, handle) })
			var clients sync.WaitGroup
			for range 4 {
				clients.Go(func() {
					c := dialSkeleton(t, ln.Addr().String())
					if err := client(c); err != nil {
						t.Error(err)
					}
				})
			}
			clients.Wait()
			loop.Close()
			wg.Wait()
		})
	}
}

// writePieces writes p in pieces.
func writePieces(w io.Writer, p string) {
	for len(p) > 0 {
		n := 1 + rand.IntN(min(len(p), 1+rand.IntN(100)))
		if _, err := io.WriteString(w, p[:n]); err != nil {
			return // the reads find out
		}
		p = p[n:]
	}
}

// expectReply reads as many bytes as want has, and compares them.
func expectReply(r io.Reader, want string) error {
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	if err != nil || string(got) != want {
		return fmt.Errorf("got %.100q, %v; want %.100q", got[:n], err, want)
	}
	return nil
}

// plain is a filter that changes nothing: it stands for TLS.
type plain struct{}

func (plain) Decode(in, plain, _ *evchan.Buffer, _ bool) error { return plain.AppendBuffer(in) }
func (plain) Encode(plain, out *evchan.Buffer, _ bool) error   { return out.AppendBuffer(plain) }

// needSockets skips the test on systems where no method has sockets.
func needSockets(t *testing.T) {
	if len(evchan.Methods()) == 1 {
		t.Helper()
		t.Skip("only the method memory is here, which has no sockets")
	}
}

// Lines with STARTTLS: what a client sends after that line, and before the server's answer, is
// neither taken for a line in the clear nor for one that was encrypted.
func TestProofStartTLS(t *testing.T) {
	needSockets(t)
	lines := evframe.Lines{Step: true, Limit: 1000}
	handle := func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *evframe.Line:
			s := ev.Stream()
			switch text := string(ev.Bytes()); text {
			case "STARTTLS":
				s.SetLayer(nil)
				s.Input().Reset()
				fmt.Fprintf(s, "go ahead\n")
				// The clear text is sent before the stream is under a filter.
				if _, err := s.Filter(plain{}, &evchan.StreamConfig{Layer: lines, Data: "encrypted"}); err != nil {
					t.Error(err)
				}
			case "QUIT":
				fmt.Fprintf(s, "bye\n")
				s.Close()
			default:
				fmt.Fprintf(s, "%s %v\n", text, s.Data)
				s.Again()
			}
		case *evframe.Error:
			t.Error(ev)
		case evchan.Readable: // of a stream whose layer is away: the filter takes it
		case evchan.EOF:
			ev.Stream.Close()
		case evchan.Closed:
			t.Error(ev)
		}
	}
	testProtocol(t, &evchan.ListenConfig{Layer: lines, Data: "clear"}, handle, func(c *net.TCPConn) error {
		const many = 50
		c.Write([]byte(strings.Repeat("hello\n", many) + "STARTTLS\nINJECTED\n"))
		if err := expectReply(c, strings.Repeat("hello clear\n", many)+"go ahead\n"); err != nil {
			return err
		}
		go writePieces(c, strings.Repeat("again\n", many)+"QUIT\nLOST\n")
		return expectReply(c, strings.Repeat("again encrypted\n", many)+"bye\n")
	})
}

// maxPipelined is how many requests of one client are worked on at once.
const maxPipelined = 4

// A requestLayer is the layer of one stream that makes requests of its lines. The replies are sent
// in the order of the requests.
type requestLayer struct {
	s *evchan.Stream

	mu       sync.Mutex
	open     []*request // those that are not answered, in order
	upgrade  bool       // the last of open may change the protocol
	last     bool       // no more requests will come: EOF, or Shutdown
	writable bool       // the first of open may go on writing, and has to be told
	ended    bool       // End was called
}

// A request is a message of a requestLayer. Any goroutine may answer it.
type request struct {
	evchan.Custom
	layer *requestLayer
	text  string
	reply []byte // the whole, while it is not the turn of this request
	done  bool
	wants bool // Write has returned ErrFull
}

// A writable says that the reply of a request can go on.
type writable struct {
	evchan.Custom
	request *request
}

// serveRequests is the layer of all streams, which gives each one of its own.
type serveRequests struct{}

func (serveRequests) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	src.SetLayer(&requestLayer{s: src.(*evchan.Stream)})
	return nil
}

func (x *requestLayer) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	x.mu.Lock()
	switch ev.(type) {
	case evchan.EOF, evchan.Stopping:
		x.last = true
	case evchan.Drained:
		x.writable = true
	case evchan.Closed:
		x.mu.Unlock()
		return ev
	}
	made := x.makeLocked()
	finished := made == nil && x.last && len(x.open) == 0
	x.mu.Unlock()
	if finished {
		x.s.Close()
	}
	return made
}

func (x *requestLayer) makeLocked() evchan.Event {
	if x.writable && len(x.open) > 0 && x.open[0].wants {
		x.writable, x.open[0].wants = false, false
		return &writable{request: x.open[0]}
	}
	if x.upgrade || len(x.open) == maxPipelined {
		return nil // until a reply is complete
	}
	line, ok := x.s.Input().ReadLine(evchan.LFOrCRLF)
	if !ok {
		return nil
	}
	r := &request{layer: x, text: string(line)}
	x.open = append(x.open, r)
	x.upgrade = strings.HasPrefix(r.text, "UPGRADE")
	return r
}

func (x *requestLayer) End(evchan.Source) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
}

// Write sends a piece of the reply. ErrFull says that a writable will come.
func (r *request) Write(p []byte) (int, error) {
	x := r.layer
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return 0, evchan.ErrClosed
	}
	if x.open[0] == r {
		n, err := x.s.Write(p)
		r.wants = err == evchan.ErrFull
		return n, err
	}
	r.wants = true
	return 0, evchan.ErrFull
}

// End ends a reply that Write has sent.
func (r *request) End() { r.Reply(nil) }

// Reply sends a reply, or the rest of it. The layer goes on with what comes after it.
func (r *request) Reply(p []byte) {
	x := r.layer
	x.mu.Lock()
	r.reply, r.done = append(r.reply, p...), true
	for len(x.open) > 0 && x.open[0].done && !x.ended {
		x.s.Write(x.open[0].reply) // small: it fits, or the stream has ended
		x.open = x.open[1:]
		x.writable = true
	}
	x.mu.Unlock()
	x.s.Again()
}

// Upgrade sends the reply, and has layer make the messages from now on. Like Write, it waits for
// the requests before to be answered.
func (r *request) Upgrade(p []byte, layer evchan.Layer) error {
	if _, err := r.Write(p); err != nil {
		return err
	}
	return r.layer.s.SetLayer(layer)
}

// A streaming sends a reply of many bytes, as the client reads it.
type streaming struct {
	request *request
	sent    int
}

const streamed = 300_000 // bytes

func (x *streaming) goOn() {
	piece := bytes.Repeat([]byte("s"), 1000)
	for x.sent < streamed {
		if _, err := x.request.Write(piece); err != nil {
			return // a writable comes, or the stream has ended
		}
		x.sent += len(piece)
	}
	x.request.Reply([]byte("\n"))
}

// handleRequests answers what the layers of requests and frames make.
func handleRequests(t *testing.T) func(evchan.Event) {
	goOn := make(map[*request]func()) // what is done when a request is writable
	var late []*request               // requests that are answered out of order
	frames := evframe.Frames{Prefix: 2}
	return func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *request:
			kind, arg, _ := strings.Cut(ev.text, " ")
			reply := []byte(kind + " " + arg + "\n")
			switch kind {
			case "NOW":
				ev.Reply(reply)
			case "LATE": // by another goroutine
				go ev.Reply(reply)
			case "LAST": // after a later one
				late = append(late, ev)
			case "FIRST":
				ev.Reply(reply)
				for _, r := range late {
					if r.layer == ev.layer {
						r.Reply([]byte(r.text + "\n"))
					}
				}
			case "STREAM":
				x := &streaming{request: ev}
				goOn[ev] = x.goOn
				x.goOn()
			case "UPGRADE":
				goOn[ev] = func() {
					if err := ev.Upgrade(reply, frames); err != nil && err != evchan.ErrFull {
						t.Error(err)
					}
				}
				goOn[ev]()
			}
		case *writable:
			goOn[ev.request]()
		case *evframe.Frame:
			p, _ := frames.AppendFrame(nil, bytes.ToUpper(ev.Bytes()))
			ev.Stream().Write(p)
		case *evframe.Error:
			t.Error(ev)
		case evchan.EOF: // with frames; the layer of requests closes the stream itself
			ev.Stream.Close()
		case evchan.Closed:
			t.Error(ev)
		}
	}
}

// Requests whose replies come late, are streamed, and are pipelined.
func TestProofRequests(t *testing.T) {
	needSockets(t)
	handle := handleRequests(t)
	testProtocol(t, &evchan.ListenConfig{Layer: serveRequests{}, MaxOutput: 64 << 10}, handle, func(c *net.TCPConn) error {
		var sent, want strings.Builder
		for i := range 40 {
			for _, kind := range []string{"NOW", "LATE", "LAST", "FIRST", "STREAM"} {
				if kind == "STREAM" && i%20 != 0 {
					continue
				}
				fmt.Fprintf(&sent, "%s %d\n", kind, i)
				if kind == "STREAM" {
					want.WriteString(strings.Repeat("s", streamed) + "\n")
				} else {
					fmt.Fprintf(&want, "%s %d\n", kind, i)
				}
			}
		}
		go func() {
			writePieces(c, sent.String())
			c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || string(got) != want.String() {
			return fmt.Errorf("%d bytes, %v; want %d", len(got), err, want.Len())
		}
		return nil
	})
}

// An upgrade from requests to frames: what was sent at once with the request is frames.
func TestProofUpgrade(t *testing.T) {
	needSockets(t)
	handle := handleRequests(t)
	testProtocol(t, &evchan.ListenConfig{Layer: serveRequests{}}, handle, func(c *net.TCPConn) error {
		var sent, want bytes.Buffer
		for i := range 10 {
			fmt.Fprintf(&sent, "LATE %d\n", i)
			fmt.Fprintf(&want, "LATE %d\n", i)
		}
		sent.WriteString("UPGRADE x\n")
		want.WriteString("UPGRADE x\n")
		for i := range 100 {
			p := []byte(fmt.Sprintf("frame %d\nNOW 1\n", i))
			sent.Write(binary.BigEndian.AppendUint16(nil, uint16(len(p))))
			sent.Write(p)
			want.Write(binary.BigEndian.AppendUint16(nil, uint16(len(p))))
			want.Write(bytes.ToUpper(p))
		}
		go func() {
			writePieces(c, sent.String())
			c.CloseWrite()
		}()
		got, err := io.ReadAll(bufio.NewReader(c))
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			return fmt.Errorf("got %.300q, %v; want %.300q", got, err, want.Bytes())
		}
		return nil
	})
}

// Shutdown lets replies that are under way come to their end, whether or not someone receives.
func TestProofShutdown(t *testing.T) {
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client, _ := loop.Pipe(nil, &evchan.StreamConfig{Layer: serveRequests{}})
	client.WriteString("SLOW 1\nSLOW 2\n")
	var open []*request
	for len(open) < 2 {
		ev, ok := loop.Poll(time.Minute)
		if !ok {
			t.Fatal("no request")
		}
		open = append(open, ev.(*request))
	}
	client.CloseWrite()
	client.SetLayer(silentLayer{})
	go func() {
		open[1].Reply([]byte("two\n"))
		open[0].Reply([]byte("one\n"))
	}()
	if err := loop.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if !open[0].layer.ended {
		t.Error("no End")
	}
}

// A silentLayer sends nothing, and takes part in a Shutdown.
type silentLayer struct{}

func (silentLayer) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	if _, ok := ev.(evchan.EOF); ok {
		src.Close()
	}
	return nil
}
