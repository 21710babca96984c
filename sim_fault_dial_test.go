// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestFaultDial dials, over and over, to peers that answer, refuse, reset at a random
// byte, or let nobody in, and gives up at random moments. Each stream has the messages
// that belong to its fate, every byte comes back, and nothing is left.
func TestFaultDial(t *testing.T) {
	onMethods(t, Config{Linger: time.Second}, map[string]func(*testing.T, *Loop){"": testFaultDial})
}

// A fate is what a peer does.
type fate int

const (
	fateAnswer  fate = iota // sends all back
	fateRefuse              // is not there
	fateReset               // resets after some bytes
	fateTimeout             // does not let anybody in
	fateGiveUp              // the stream is closed at a random moment
	fates
)

type faultDial struct {
	fate      fate
	want      []byte // what is still to come back
	connected bool
	over      bool
}

func testFaultDial(t *testing.T, l *Loop) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("seed %d: %s", seed, fmt.Sprintf(format, args...))
	}
	// The first byte says after how many the peer resets; 0: not at all.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	peers := make(chan struct{})
	go func() {
		defer close(peers)
		var open []net.Conn
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
			go func() {
				defer c.Close()
				var first [1]byte
				if _, err := io.ReadFull(c, first[:]); err != nil {
					return
				}
				if first[0] == 0 {
					io.Copy(c, c)
					return
				}
				io.CopyN(io.Discard, c, int64(first[0])-1)
				c.(*net.TCPConn).SetLinger(0)
			}()
		}
		for _, c := range open {
			c.Close()
		}
	}()
	defer func() {
		ln.Close()
		<-peers
	}()
	nobody := closedPort(t)
	full := fullListener(t)

	const dials = 60
	open := 0
	var count [fates]int
	begin := func() {
		x := &faultDial{fate: fate(r.IntN(int(fates)))}
		address, conf := ln.Addr().String(), new(DialConfig)
		switch x.fate {
		case fateRefuse:
			address = nobody
		case fateTimeout:
			address = full
			conf.Timeout = time.Duration(1+r.IntN(20)) * time.Millisecond
		}
		s, err := l.Dial("tcp", address, conf)
		if err != nil {
			t.Fatal(err)
		}
		s.Data = x
		open++
		count[x.fate]++
		p := modelContent()[:1+r.IntN(20000)]
		first := byte(0)
		if x.fate == fateReset {
			first = byte(1 + r.IntN(200))
			p = modelContent()[:1000+r.IntN(20000)]
		} else {
			x.want = p
		}
		// Before it is connected this is queued.
		for _, p := range [][]byte{{first}, p} {
			if _, err := s.Write(p); err != nil && x.fate != fateReset && x.fate != fateRefuse && x.fate != fateTimeout {
				fail("Write gives %v", err)
			}
		}
		if x.fate == fateAnswer {
			if err := s.CloseWrite(); err != nil {
				fail("CloseWrite gives %v", err)
			}
		}
		if x.fate == fateGiveUp {
			end := []func() error{s.Close, s.Abort}[r.IntN(2)]
			l.After(time.Duration(r.IntN(1000)) << r.IntN(12)).Data = func() {
				if x.over {
					return
				}
				x.over = true
				open--
				end()
			}
		}
	}
	for begun, heard := 0, time.Now(); begun < dials || open > 0; {
		if begun < dials && open < 10 {
			begun++
			begin()
			continue
		}
		ev, ok := l.Poll(time.Second)
		if !ok {
			if time.Since(heard) > 20*time.Second {
				var b bytes.Buffer
				l.Dump(&b)
				t.Fatalf("seed %d: nothing comes any more\n%s", seed, b.String())
			}
			continue
		}
		heard = time.Now()
		if tick, ok := ev.(Tick); ok {
			tick.Timer.Data.(func())()
			continue
		}
		s := ev.Source().(*Stream)
		x := s.Data.(*faultDial)
		if x.over {
			fail("%v after the end", ev)
			continue
		}
		switch ev.(type) {
		case Connected:
			if x.connected || x.fate == fateRefuse || x.fate == fateTimeout {
				fail("unexpected %v", ev)
			}
			x.connected = true
		case Drained:
			if !x.connected {
				fail("%v before Connected", ev)
			}
		case Readable:
			got := s.Input().appendTo(nil)
			if !x.connected || len(got) > len(x.want) || !bytes.Equal(got, x.want[:len(got)]) {
				fail("other bytes have come, connected %v", x.connected)
				return
			}
			x.want = x.want[len(got):]
		case EOF:
			if x.fate != fateAnswer || len(x.want) > 0 {
				fail("unexpected %v: %d bytes have not come", ev, len(x.want))
			}
			x.over = true
			open--
			s.Close()
		case Closed:
			err := s.Err()
			var op *net.OpError
			var timeout net.Error
			isTimeout := errors.As(err, &timeout) && timeout.Timeout()
			right := false
			switch x.fate {
			case fateRefuse:
				right = errors.Is(err, syscall.ECONNREFUSED)
			case fateReset:
				right = errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
			case fateTimeout:
				right = isTimeout
			}
			if !right || !errors.As(err, &op) {
				fail("fate %d: Closed with %v", x.fate, err)
			}
			x.over = true
			open--
		}
	}
	waitReleased(t, l)
	t.Logf("answered, refused, reset, timed out, given up: %v", count)
}

// closedPort returns an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// fullListener returns the address of a listener whose queue is full: the kernel
// answers nobody any more.
func fullListener(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netAddr(sa).String()
	for range 20 {
		c, err := net.DialTimeout("tcp", address, 50*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("the kernel lets anybody in, whatever the backlog")
	return ""
}
