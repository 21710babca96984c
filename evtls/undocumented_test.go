// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// A script is a net.Conn that reads from in, and returns then when that is empty. It counts Reads.
type script struct {
	net.Conn // nil: what else is called panics
	in, out  bytes.Buffer
	then     error
	reads    int
}

func (s *script) Read(p []byte) (int, error) {
	s.reads++
	if s.in.Len() == 0 {
		return 0, s.then
	}
	return s.in.Read(p)
}

func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// established returns both sides of a connection whose handshake is over, on scripts that return
// errNoInput when they are empty.
func established(t *testing.T, v uint16) (c, s *tls.Conn, cw, sw *script) {
	t.Helper()
	a, b := net.Pipe()
	cw, sw = &script{then: errNoInput}, &script{then: errNoInput}
	cs, ss := &switchConn{Conn: a}, &switchConn{Conn: b}
	c, s = tls.Client(cs, clientConfig(v)), tls.Server(ss, serverConfig(v))
	result := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // behind the tickets
		}
		result <- err
	}()
	must(t, c.Handshake())
	_, err := io.ReadFull(c, make([]byte, 1))
	must(t, err)
	must(t, <-result)
	a.Close()
	cs.Conn, ss.Conn = cw, sw
	return c, s, cw, sw
}

// A switchConn is a net.Conn that can be exchanged.
type switchConn struct{ net.Conn }

// TestUndocumented checks what undocumented.go says that the package relies on. If it fails, a
// release of Go has changed crypto/tls, and evtls does not work with it.
func TestUndocumented(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		record := func(t *testing.T, from *tls.Conn, w *script, p string) []byte {
			t.Helper()
			_, err := from.Write([]byte(p))
			must(t, err)
			b := bytes.Clone(w.out.Bytes())
			w.out.Reset()
			return b
		}
		p := make([]byte, 100)

		t.Run("1_TemporaryErrorLosesNothing", func(t *testing.T) {
			c, s, cw, sw := established(t, v)
			for _, b := range record(t, c, cw, "hello") {
				if n, err := s.Read(p); n != 0 || err != errNoInput {
					t.Fatalf("Read gives %d, %v: not the error of the net.Conn", n, err)
				}
				sw.in.WriteByte(b)
			}
			if n, err := s.Read(p); string(p[:n]) != "hello" || err != nil {
				t.Fatalf("after single bytes Read gives %q, %v", p[:n], err)
			}
		})
		t.Run("2_BytesWithError", func(t *testing.T) {
			c, s, cw, sw := established(t, v)
			first := record(t, c, cw, "hello")
			must(t, c.CloseWrite())
			sw.in.Write(append(first, cw.out.Bytes()[:3]...))
			n, err := s.Read(p)
			if string(p[:n]) != "hello" || err != nil && err != errNoInput {
				t.Fatalf("Read gives %q, %v", p[:n], err)
			}
			sw.in.Write(cw.out.Bytes()[3:])
			if n, err := s.Read(p); n != 0 || err != io.EOF {
				t.Fatalf("Read gives %q, %v", p[:n], err)
			}
		})
		t.Run("3_WriteDoesNotRead", func(t *testing.T) {
			c, s, cw, sw := established(t, v)
			sw.reads = 0
			long := bytes.Repeat([]byte("x"), 100<<10)
			cw.reads = 0
			if n, err := c.Write(long); n != len(long) || err != nil || cw.reads != 0 {
				t.Fatalf("Write gives %d, %v after %d reads", n, err, cw.reads)
			}
			sw.in.ReadFrom(&cw.out)
			got := 0
			for err := error(nil); err == nil; {
				var n int
				n, err = s.Read(make([]byte, 16<<10))
				got += n
			}
			if got != len(long) || sw.out.Len() != 0 {
				t.Fatalf("read %d, and written %d", got, sw.out.Len())
			}
		})
		t.Run("4_EOFTwice", func(t *testing.T) {
			_, s, _, sw := established(t, v)
			sw.then = io.EOF
			if n, err := s.Read(p); n != 0 || err != io.EOF && err != io.ErrUnexpectedEOF {
				t.Fatalf("at the end of the net.Conn Read gives %d, %v", n, err)
			}
		})
		t.Run("5_CloseWrite", func(t *testing.T) {
			c, s, cw, sw := established(t, v)
			must(t, s.CloseWrite())
			if sw.out.Len() == 0 {
				t.Fatal("CloseWrite writes nothing")
			}
			sw.in.Write(record(t, c, cw, "hello"))
			if n, err := s.Read(p); string(p[:n]) != "hello" {
				t.Fatalf("after CloseWrite Read gives %q, %v", p[:n], err)
			}
			cw.in.ReadFrom(&sw.out)
			if n, err := c.Read(p); n != 0 || err != io.EOF {
				t.Fatalf("after close_notify Read gives %d, %v", n, err)
			}
			if n, err := c.Read(p); n != 0 || err != io.EOF {
				t.Fatalf("the second time Read gives %d, %v", n, err)
			}
		})
		t.Run("6_GoesOnElsewhere", func(t *testing.T) {
			c, s, cw, sw := established(t, v)
			if _, err := s.Read(p); err != errNoInput {
				t.Fatal(err)
			}
			sw.in.Write(record(t, c, cw, "hello"))
			result := make(chan string)
			go func() {
				n, _ := s.Read(p)
				result <- string(p[:n])
			}()
			if got := <-result; got != "hello" {
				t.Fatalf("%q", got)
			}
		})
	})
}
