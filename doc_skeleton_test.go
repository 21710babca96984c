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
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// The server of lines in doc.go is this code, see TestDocSkeleton.

const (
	maxLine   = 4 << 10  // bytes of the longest request
	maxOutput = 64 << 10 // unsent bytes from which on no request is answered
)

func serve(loop *evchan.Loop) {
	for ev := range loop.Events() {
		switch ev := ev.(type) {
		case evchan.Readable:
			answer(ev.Stream)
		case evchan.Drained: // the client has read its replies
			answer(ev.Stream)
		case evchan.EOF: // the client has sent its last request
			ev.Stream.Data = "finished"
			answer(ev.Stream)
		case evchan.TimedOut:
			ev.Stream.Abort()
		}
	}
}

func answer(s *evchan.Stream) {
	in, out := s.Input(), s.Output()
	for s.Queued() < maxOutput { // else Drained will come
		line, ok := in.ReadLine(evchan.LFOrCRLF)
		if !ok { // all complete requests are answered
			switch {
			case s.Flush() != nil: // Drained will come, or Closed
			case s.Data == "finished":
				s.Close() // sends the replies first
			case in.Len() >= maxLine:
				s.Abort() // a request that is too long
			}
			return
		}
		fmt.Fprintf(out, "%s\n", bytes.ToUpper(line))
		if out.Len() >= 16<<10 {
			s.Flush()
		}
	}
}

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
	for _, d := range f.Decls[1:4] { // the constants, serve and answer
		code := src[fset.Position(d.Pos()).Offset:fset.Position(d.End()).Offset]
		indented := "\t" + strings.ReplaceAll(string(code), "\n", "\n\t")
		indented = strings.ReplaceAll(indented, "\n\t\n", "\n\n")
		if !strings.Contains(doc.Doc.Text(), indented) {
			t.Errorf("doc.go does not have this code:\n%s", indented)
		}
	}
	if fn, ok := f.Decls[3].(*ast.FuncDecl); !ok || fn.Name.Name != "answer" {
		t.Error("the fourth declaration is not answer")
	}
}

// startSkeleton runs serve until the end of the test, and returns the address of its
// listener. With a filter, each accepted stream gets one.
func startSkeleton(t *testing.T, method string, filter func() evchan.Filter) (*evchan.Loop, string) {
	limits := evchan.Config{Method: method, IgnoreEnv: true, MaxInput: maxLine, MaxOutput: maxOutput}
	loop, err := evchan.New(&limits)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := loop.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		loop.Close()
		t.Fatal(err)
	}
	served := make(chan struct{})
	if filter != nil {
		accepted := make(chan evchan.Event)
		ln.Notify(accepted)
		go func() {
			for {
				select {
				case ev := <-accepted:
					if up, err := ev.(evchan.Accepted).Stream.Filter(filter()); err == nil {
						up.Notify(nil) // to serve
					}
				case <-served:
					return
				}
			}
		}()
	}
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

// shifted is a client's end of the rot13 filter.
type shifted struct{ net.Conn }

func (c shifted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	shift(p[:n])
	return n, err
}

func (c shifted) Write(p []byte) (int, error) {
	q := bytes.Clone(p)
	shift(q)
	return c.Conn.Write(q)
}

func shift(p []byte) {
	for i, c := range p {
		if l := c | 0x20; 'a' <= l && l <= 'z' {
			p[i] = (l-'a'+13)%26 + 'a' - l + c
		}
	}
}

// The server in doc.go is right for clients of all sorts, on every method, and without
// and with a filter.
func TestSkeleton(t *testing.T) {
	for _, method := range evchan.Methods() {
		for _, filtered := range []bool{false, true} {
			name := method
			var filter func() evchan.Filter
			if filtered {
				name += "/Filter"
				filter = func() evchan.Filter { return rot13{} }
			}
			t.Run(name, func(t *testing.T) {
				loop, address := startSkeleton(t, method, filter)
				dial := func(t *testing.T) (net.Conn, *net.TCPConn) {
					c := dialSkeleton(t, address)
					if filtered {
						return shifted{c}, c
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

// testPipelined sends many requests before it reads a reply, and finishes sending. It
// gets all replies, and the server holds few of them at any time.
func testPipelined(t *testing.T, loop *evchan.Loop, c net.Conn, tcp *net.TCPConn) {
	const count = 200_000
	line := func(i int) string { return fmt.Sprintf("request %d\n", i) }
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(c, 32<<10)
		for i := range count {
			w.WriteString(line(i))
		}
		err := w.Flush()
		tcp.CloseWrite()
		sent <- err
	}()
	most := 0
	r := bufio.NewReader(c)
	for i := range count {
		if i%1000 == 0 {
			for s := range loop.Sources() {
				if s, ok := s.(*evchan.Stream); ok {
					most = max(most, s.Queued())
				}
			}
		}
		got, err := r.ReadString('\n')
		if want := strings.ToUpper(line(i)); got != want {
			t.Fatalf("reply %d is %q, %v; want %q", i, got, err, want)
		}
	}
	if rest, err := io.ReadAll(r); len(rest) != 0 || err != nil {
		t.Errorf("after the last reply: %q, %v", rest, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	// A Write that begins below the limit is taken whole.
	if limit := maxOutput + 16<<10 + 100; most > limit {
		t.Errorf("the server has held %d bytes of output; want at most %d", most, limit)
	}
}
