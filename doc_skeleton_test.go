// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evframe"
)

// The server of lines in doc.go is this code, see TestDocSkeleton.

// Give requests to Listen, as the Layer of a ListenConfig.
var requests = evframe.Lines{Limit: 4 << 10, Step: true}

func serve(loop *evchan.Loop) {
	for ev := range loop.Events() {
		switch ev := ev.(type) {
		case *evframe.Line:
			reply := append(bytes.ToUpper(ev.Bytes()), '\n')
			ev.Stream().WriteLater(reply)
			ev.Stream().Again() // done: for the next line, because of Step
		case *evframe.Error: // too long, or incomplete at the end: then EOF follows
			if ev.Err == evframe.ErrTooLong {
				ev.Stream().Abort()
			}
		case evchan.EOF: // the client has sent its last request
			ev.Stream.Close() // sends the replies first
		case evchan.TimedOut:
			ev.Stream.Abort()
		}
	}
}

const maxOutput = 64 << 10 // the MaxOutput of the tests

// TestDocSkeleton checks that the code in doc.go is the code that is tested here.
func TestDocSkeleton(t *testing.T) {
	fset := token.NewFileSet()
	doc, err := parser.ParseFile(fset, "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile("doc_skeleton_test.go")
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(fset, "doc_skeleton_test.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls[1:3] { // the layer and serve
		code := src[fset.Position(d.Pos()).Offset:fset.Position(d.End()).Offset]
		indented := "\t" + strings.ReplaceAll(string(code), "\n", "\n\t")
		indented = strings.ReplaceAll(indented, "\n\t\n", "\n\n")
		if !strings.Contains(doc.Doc.Text(), indented) {
			t.Errorf("doc.go does not have this code:\n%s", indented)
		}
	}
	if fn, ok := f.Decls[2].(*ast.FuncDecl); !ok || fn.Name.Name != "serve" {
		t.Error("the third declaration is not serve")
	}
}

// startSkeleton runs serve until the end of the test, and returns the address of its
// listener. With a filter, each accepted stream gets one.
func startSkeleton(t *testing.T, method string, filter func() evchan.Filter) (*evchan.Loop, string) {
	limits := evchan.Config{Method: method, IgnoreEnv: true, MaxInput: requests.Limit, MaxOutput: maxOutput}
	loop, err := evchan.New(&limits)
	if err != nil {
		t.Fatal(err)
	}
	conf := &evchan.ListenConfig{Layer: requests}
	if filter != nil {
		conf.Over = func(s *evchan.Stream) (*evchan.Stream, error) { return s.Filter(filter(), nil) }
	}
	ln, err := loop.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		loop.Close()
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(loop)
	}()
	t.Cleanup(func() {
		loop.Close()
		<-served
	})
	return loop, ln.Addr().String()
}

// dialSkeleton connects a client that fails rather than wait for ever.
func dialSkeleton(t *testing.T, address string) *net.TCPConn {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.TCPConn)
}

// A flip is a filter that inverts each bit, in both directions.
type flip struct{}

func (flip) Decode(in, plain, _ *evchan.Buffer, _ bool) error { return flip{}.apply(in, plain) }
func (flip) Encode(plain, out *evchan.Buffer, _ bool) error   { return flip{}.apply(plain, out) }

func (flip) apply(from, to *evchan.Buffer) error {
	room := to.Reserve(from.Len())
	n := copy(room, from.Next(from.Len()))
	invert(room[:n])
	return to.Commit(n)
}

func invert(p []byte) {
	for i := range p {
		p[i] ^= 0xff
	}
}

// flipped is the client's end of flip.
type flipped struct{ net.Conn }

func (c flipped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	invert(p[:n])
	return n, err
}

func (c flipped) Write(p []byte) (int, error) {
	q := bytes.Clone(p)
	invert(q)
	return c.Conn.Write(q)
}

// The server in doc.go is right for clients of all sorts, on every method, and without
// and with a filter.
func TestSkeleton(t *testing.T) {
	all := evchan.Methods()
	for _, method := range all[:len(all)-1] { // memory has no sockets
		for _, filtered := range []bool{false, true} {
			name := method
			var filter func() evchan.Filter
			if filtered {
				name += "/Filter"
				filter = func() evchan.Filter { return flip{} }
			}
			t.Run(name, func(t *testing.T) {
				loop, address := startSkeleton(t, method, filter)
				dial := func(t *testing.T) (net.Conn, *net.TCPConn) {
					c := dialSkeleton(t, address)
					if filtered {
						return flipped{c}, c
					}
					return c, c
				}
				t.Run("One", func(t *testing.T) {
					c, _ := dial(t)
					r := bufio.NewReader(c)
					for _, request := range []string{"hello\n", "\n", "with CR\r\n"} {
						io.WriteString(c, request)
						got, err := r.ReadString('\n')
						if want := strings.ToUpper(strings.TrimRight(request, "\r\n")) + "\n"; got != want {
							t.Fatalf("got %q, %v; want %q", got, err, want)
						}
					}
				})
				t.Run("Pieces", func(t *testing.T) {
					c, tcp := dial(t)
					for _, b := range []byte("one\ntwo\nthree") {
						c.Write([]byte{b})
					}
					tcp.CloseWrite()
					got, err := io.ReadAll(c)
					if string(got) != "ONE\nTWO\n" || err != nil { // the third request is incomplete
						t.Errorf("got %q, %v", got, err)
					}
				})
				t.Run("Pipelined", func(t *testing.T) {
					c, tcp := dial(t)
					testPipelined(t, loop, c, tcp)
				})
				t.Run("TooLong", func(t *testing.T) {
					c, _ := dial(t)
					io.WriteString(c, "short\n")
					bufio.NewReader(c).ReadString('\n')
					for {
						if _, err := c.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
							if errors.Is(err, os.ErrDeadlineExceeded) {
								t.Error("the server does not end it")
							}
							return
						}
					}
				})
			})
		}
	}
}

// testPipelined sends requests and reads no reply until the server takes no more. Then
// it finishes sending, and gets all replies.
func testPipelined(t *testing.T, loop *evchan.Loop, c net.Conn, tcp *net.TCPConn) {
	const most = 20_000 // requests; the server takes fewer if nobody reads
	line := func(i int) string { return fmt.Sprintf("request %d %s\n", i, strings.Repeat("x", 1000)) }
	tcp.SetReadBuffer(64 << 10)
	tcp.SetWriteBuffer(64 << 10)
	var refused atomic.Bool
	count := make(chan int, 1)
	go func() {
		n := 0
		w := bufio.NewWriterSize(c, 16<<10)
		for ; n < most && !refused.Load(); n++ {
			w.WriteString(line(n))
		}
		if err := w.Flush(); err != nil {
			t.Error(err)
		}
		tcp.CloseWrite()
		count <- n
	}()
	// On Linux the connection itself can stall before the server is full: the client's system drops
	// segments for which its receive buffer has no room, with the acknowledgements in them. It goes
	// on when the client reads.
	const stall = 2 * time.Second
	moved, since := loop.Stats().BytesIn, time.Now()
	for ; ; runtime.Gosched() {
		output, inputFull := fullest(loop)
		if output >= maxOutput && inputFull || len(count) > 0 {
			break
		}
		if n := loop.Stats().BytesIn; n != moved {
			moved, since = n, time.Now()
		} else if time.Since(since) > stall {
			t.Logf("the connection stalls after %d bytes", n)
			break
		}
	}
	refused.Store(true)
	// A Write that begins below the limit is taken whole, and a filter and the stream
	// below it hold some as well.
	if output, _ := fullest(loop); output > 4*maxOutput {
		t.Errorf("the server holds %d bytes of output", output)
	}
	n := 0
	for r := bufio.NewReader(c); ; n++ {
		got, err := r.ReadString('\n')
		if err == io.EOF && got == "" {
			break
		}
		if want := strings.ToUpper(line(n)); got != want || err != nil {
			t.Fatalf("reply %d is %.20q, %v; want %.20q", n, got, err, want)
		}
	}
	if sent := <-count; n != sent || n == most {
		t.Errorf("%d replies to %d requests", n, sent)
	}
}

// fullest returns how much output the stream has that has most, and whether the input
// of a stream is full.
func fullest(loop *evchan.Loop) (output int, inputFull bool) {
	for s := range loop.Sources() {
		if s, ok := s.(*evchan.Stream); ok {
			output = max(output, s.Queued())
			inputFull = inputFull || s.InputFull()
		}
	}
	return output, inputFull
}
