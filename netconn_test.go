// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNetConn(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"InputComesFirst": func(t *testing.T, l *Loop) {
			needNetConn(t)
			for _, way := range []string{"Read", "WriteTo"} {
				s, far := connectedPair(t, l)
				send(t, far, "early ")
				nextOf(t, l, s)
				s.Input() // part of it taken, part not
				send(t, far, "and ")
				c, err := s.NetConn()
				if err != nil {
					t.Fatal(err)
				}
				send(t, far, "late")
				far.CloseWrite()
				var got bytes.Buffer
				if way == "Read" {
					_, err = got.ReadFrom(struct{ io.Reader }{c})
				} else {
					_, err = c.(io.WriterTo).WriteTo(&got)
				}
				if got.String() != "early and late" || err != nil {
					t.Errorf("%s: got %q, %v", way, got.String(), err)
				}
				c.Write([]byte("reply"))
				c.(interface{ CloseWrite() error }).CloseWrite()
				if p, err := io.ReadAll(far); string(p) != "reply" || err != nil {
					t.Errorf("%s: the peer got %q, %v", way, p, err)
				}
				c.Close()
				noMessage(t, l)
				if n := l.Stats().Sources; n != 0 {
					t.Errorf("%d live sources", n)
				}
				if _, err := s.Write(nil); err != ErrClosed {
					t.Errorf("the stream lives: %v", err)
				}
			}
		},
		"Deadline": func(t *testing.T, l *Loop) {
			needNetConn(t)
			s, _ := connectedPair(t, l)
			c, err := s.NetConn()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, ok := c.(*net.TCPConn); !ok {
				t.Errorf("it is a %T", c)
			}
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read gives %v", err)
			}
		},
		"Refused": func(t *testing.T, l *Loop) {
			s, _ := connectedPair(t, l)
			for s.Queued() == 0 {
				s.Write(make([]byte, 4<<20))
			}
			if _, err := s.NetConn(); err != ErrWouldBlock {
				t.Errorf("with unsent output it gives %v", err)
			}
			s.Abort()
			if _, err := s.NetConn(); err != ErrClosed {
				t.Errorf("after the end it gives %v", err)
			}
			for _, fd := range plainFDs(t) {
				p, err := l.WrapFD(fd)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.NetConn(); !errors.Is(err, ErrUnsupported) {
					t.Errorf("of a pipe it gives %v", err)
				}
			}
		},
		"HTTP": testNetConnHTTP,
		"NetListener": func(t *testing.T, l *Loop) {
			needNetConn(t)
			for _, network := range networks {
				ln := listen(t, l, network, nil)
				nl, err := ln.NetListener()
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					if c, err := nl.Accept(); err == nil {
						io.WriteString(c, "hello")
						c.Close()
					}
				}()
				c, err := net.Dial(network, nl.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if p, err := io.ReadAll(c); string(p) != "hello" || err != nil {
					t.Errorf("got %q, %v", p, err)
				}
				c.Close()
				nl.Close()
				if network == "unix" {
					if _, err := os.Stat(ln.Addr().String()); !errors.Is(err, os.ErrNotExist) {
						t.Errorf("the file is still there: %v", err)
					}
				}
			}
		},
	})
}

// oneConn is a net.Listener for connections that others have accepted.
type oneConn struct {
	conns chan net.Conn
	addr  net.Addr
}

func (o *oneConn) Addr() net.Addr { return o.addr }
func (o *oneConn) Close() error   { return nil }
func (o *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-o.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

// testNetConnHTTP has net/http serve connections that the loop has accepted, and
// of which it has read the first bytes.
func testNetConnHTTP(t *testing.T, l *Loop) {
	needNetConn(t)
	ln := listen(t, l, "tcp", nil)
	o := &oneConn{make(chan net.Conn, 10), ln.Addr()}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "you asked for ", r.URL.Path)
	})}
	go srv.Serve(o)
	serve(t, l, func(ev Event) {
		if ev, ok := ev.(Readable); ok {
			if c, err := ev.Stream.NetConn(); err != nil {
				t.Error(err)
			} else {
				o.conns <- c
			}
		}
	})
	tr := &http.Transport{}
	client := &http.Client{Transport: tr, Timeout: 10 * time.Second}
	for i := range 5 { // keep-alive
		r, err := client.Get(fmt.Sprintf("http://%s/%d", ln.Addr(), i))
		if err != nil {
			t.Fatal(err)
		}
		p, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(p) != fmt.Sprintf("you asked for /%d", i) {
			t.Errorf("got %q", p)
		}
	}
	tr.CloseIdleConnections()
	close(o.conns)
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSendFile(t *testing.T) {
	name := filepath.Join(tempDir(t), "f")
	content := pattern(3 << 20)
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	onMethods(t, Config{MaxOutput: 64 << 10}, map[string]func(*testing.T, *Loop){
		"Whole": func(t *testing.T, l *Loop) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			s, far := connectedPair(t, l)
			s.Write([]byte("head "))
			released := make(chan struct{})
			if err := s.SendFile(f, 10, int64(len(content))-10, func() { f.Close(); close(released) }); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Write([]byte(" tail")); n != 5 || err != nil {
				t.Errorf("the file counts against MaxOutput: %d, %v", n, err)
			}
			s.Close()
			got := make(chan []byte)
			go func() {
				p, _ := io.ReadAll(far)
				far.Close()
				got <- p
			}()
			waitReleased(t, l)
			want := append(append([]byte("head "), content[10:]...), " tail"...)
			if p := <-got; !bytes.Equal(p, want) {
				t.Errorf("the peer got %d bytes of %d", len(p), len(want))
			}
			<-released
		},
		"Truncated": func(t *testing.T, l *Loop) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			s, far := connectedPair(t, l)
			go io.Copy(io.Discard, far)
			released := make(chan struct{})
			s.SendFile(f, 0, int64(len(content))+1, func() { f.Close(); close(released) })
			if ev := nextOf(t, l, s); ev != Event(Closed{s}) || !errors.Is(s.Err(), io.ErrUnexpectedEOF) {
				t.Errorf("%v, %v", ev, s.Err())
			}
			<-released
		},
		"Dropped": func(t *testing.T, l *Loop) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s, _ := connectedPair(t, l)
			s.Pause(Write)
			calls := 0
			s.SendFile(f, 0, 100, func() { calls++ })
			s.Abort()
			if calls != 1 {
				t.Errorf("released %d times", calls)
			}
			if err := s.SendFile(f, 0, 1, func() { calls++ }); err != ErrClosed || calls != 1 {
				t.Errorf("after the end it gives %v, and releases", err)
			}
			if err := s.SendFile(f, -1, 1, nil); err == nil {
				t.Error("a negative offset gives no error")
			}
		},
	})
}
