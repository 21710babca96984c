// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package conntest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"golang.org/x/net/nettest"
)

// A frames filter sends a greeting first, and then all bytes in frames.
type frames struct{ greeted, welcomed bool }

func (f *frames) Decode(in, plain, _ *evchan.Buffer, _ bool) error {
	if !f.welcomed {
		if in.Len() < 5 {
			return nil
		}
		if got := string(in.Next(5)); got != "HELLO" {
			return fmt.Errorf("greeted with %q", got)
		}
		f.welcomed = true
	}
	for {
		size, err := in.Peek(2)
		if err != nil {
			return nil
		}
		n := int(binary.BigEndian.Uint16(size))
		if in.Len() < 2+n {
			return nil
		}
		in.Discard(2)
		plain.MoveN(in, n)
	}
}

func (f *frames) Encode(plain, out *evchan.Buffer, _ bool) error {
	if !f.greeted {
		f.greeted = true
		out.WriteString("HELLO")
	}
	for plain.Len() > 0 {
		n := min(plain.Len(), 1000)
		out.Write(binary.BigEndian.AppendUint16(nil, uint16(n)))
		out.MoveN(plain, n)
	}
	return nil
}

// sockets returns both ends of a connection as streams.
func sockets(network string) func(testing.TB, *evchan.Loop) (a, b *evchan.Stream, err error) {
	return func(t testing.TB, l *evchan.Loop) (a, b *evchan.Stream, err error) {
		address := "127.0.0.1:0"
		switch network {
		case "unix":
			if address, err = nettest.LocalPath(); err != nil {
				return nil, nil, err
			}
		case "memory":
			address = ""
		}
		ln, err := l.Listen(network, address, nil)
		if err != nil {
			return nil, nil, err
		}
		defer ln.Close()
		if a, err = l.Dial(network, ln.Addr().String(), nil); err != nil {
			return nil, nil, err
		}
		for connected := false; b == nil || !connected; {
			switch ev, _ := l.Poll(10 * time.Second); ev := ev.(type) {
			case evchan.Accepted:
				b = ev.Stream
			case evchan.Connected:
				connected = true
			default:
				return nil, nil, fmt.Errorf("unexpected %v", ev)
			}
		}
		return a, b, nil
	}
}

func pipe(_ testing.TB, l *evchan.Loop) (a, b *evchan.Stream, err error) {
	a, b = l.Pipe(nil, nil)
	return a, b, nil
}

// filtered puts a filter on both ends.
func filtered(connect func(testing.TB, *evchan.Loop) (a, b *evchan.Stream, err error)) func(testing.TB, *evchan.Loop) (a, b *evchan.Stream, err error) {
	return func(t testing.TB, l *evchan.Loop) (a, b *evchan.Stream, err error) {
		if a, b, err = connect(t, l); err != nil {
			return nil, nil, err
		}
		if a, err = a.Filter(new(frames), nil); err != nil {
			return nil, nil, err
		}
		b, err = b.Filter(new(frames), nil)
		return a, b, err
	}
}

func TestConn(t *testing.T) {
	for name, connect := range map[string]func(testing.TB, *evchan.Loop) (a, b *evchan.Stream, err error){
		"TCP":            sockets("tcp"),
		"Unix":           sockets("unix"),
		"Memory":         sockets("memory"),
		"Pipe":           pipe,
		"FilterOnTCP":    filtered(sockets("tcp")),
		"FilterOnUnix":   filtered(sockets("unix")),
		"FilterOnPipe":   filtered(pipe),
		"FilterOnFilter": filtered(filtered(pipe)),
	} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				l, err := evchan.New(nil)
				if err != nil {
					return nil, nil, nil, err
				}
				a, b, err := connect(t, l)
				if err != nil {
					l.Close()
					return nil, nil, nil, err
				}
				for _, end := range []struct {
					s *evchan.Stream
					c *net.Conn
				}{{a, &c1}, {b, &c2}} {
					for *end.c == nil {
						*end.c, err = end.s.NetConn()
						if err == evchan.ErrWouldBlock {
							l.Poll(time.Millisecond)
						} else if err != nil {
							l.Close()
							return nil, nil, nil, err
						}
					}
				}
				l.Close() // the net.Conns need no loop
				return c1, c2, func() { c1.Close(); c2.Close() }, nil
			})
		})
	}
}

// TestStreamToConn connects a stream with a net.Conn.
func TestStreamToConn(t *testing.T) {
	for name, connect := range map[string]func(testing.TB, *evchan.Loop) (a, b *evchan.Stream, err error){
		"Pipe":         pipe,
		"FilterOnPipe": filtered(pipe),
		"FilterOnTCP":  filtered(sockets("tcp")),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := evchan.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s, b, err := connect(t, l)
			if err != nil {
				t.Fatal(err)
			}
			s.Write([]byte("early"))
			for b.Input().Len() < 5 {
				l.Poll(time.Millisecond)
			}
			b.Input().Discard(2)
			c, err := b.NetConn()
			if err != nil {
				t.Fatal(err)
			}
			go func() { // echoes
				for ev := range l.Events() {
					switch ev := ev.(type) {
					case evchan.Readable:
						io.Copy(ev.Stream, ev.Stream)
					case evchan.EOF:
						ev.Stream.Close()
					}
				}
			}()
			want := make([]byte, 1<<20)
			for i := range want {
				want[i] = byte(i ^ i>>9)
			}
			go func() {
				c.Write(want)
				c.(interface{ CloseWrite() error }).CloseWrite()
			}()
			c.SetReadDeadline(time.Now().Add(20 * time.Second))
			got, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != "rly"+string(want) {
				t.Errorf("%d bytes have come, want %d", len(got), 3+len(want))
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err == nil {
				t.Error("closing twice is all right")
			}
		})
	}
}
