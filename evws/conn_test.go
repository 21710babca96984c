// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan"
)

// TestPingAfter finds, in virtual time, a peer that has gone and one that has not.
func TestPingAfter(t *testing.T) {
	for _, answers := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, &Config{PingAfter: time.Minute, PongTimeout: 10 * time.Second}, false)
			began := time.Now()
			pings := 0
			for len(w.got) == 0 && time.Since(began) < 10*time.Minute {
				if ev, ok := w.loop.Poll(time.Second); ok {
					w.take(ev)
				}
				for {
					first, payload, rest, ok := cutFrame(w.out)
					if !ok {
						break
					}
					w.out = rest
					if first != fin|opPing {
						t.Fatalf("frame %x", first)
					}
					if pings++; answers {
						w.peer.Write(frame(fin|opPong, string(payload)))
					}
				}
			}
			if answers {
				if w.told() != "" || pings != 9 && pings != 10 {
					t.Errorf("%s, %d pings in %v", w.told(), pings, time.Since(began))
				}
				w.send(join(frame(fin|opText, "still here"), closing(1000, "")), 0)
				if w.told() != "text still here, closed 1000" {
					t.Errorf("told %s", w.told())
				}
				return
			}
			if got := time.Since(began); w.told() != "closed 1006: "+ErrPongTimeout.Error() || got != 70*time.Second {
				t.Errorf("told %s after %v", w.told(), got)
			}
			w.run()
			if !w.eof {
				t.Error("the connection was not ended")
			}
		})
	}
}

func TestCloseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, client := range []bool{false, true} {
			w := newWire(t, &Config{CloseTimeout: 3 * time.Second}, client)
			began := time.Now()
			if err := w.conn.Close(Normal, "bye"); err != nil {
				t.Fatal(err)
			}
			if err := w.conn.Close(Normal, "bye"); err != ErrClosing {
				t.Errorf("the second Close: %v", err)
			}
			if err := w.conn.SendText("x"); err != ErrClosing {
				t.Errorf("Send: %v", err)
			}
			for len(w.got) == 0 && time.Since(began) < time.Minute {
				if ev, ok := w.loop.Poll(time.Second); ok {
					w.take(ev)
				}
			}
			if got := time.Since(began); w.told() != "closed 1006: "+ErrCloseTimeout.Error() || got != 3*time.Second {
				t.Errorf("told %s after %v", w.told(), got)
			}
			if got := w.sent(t); got != "close 1000" {
				t.Errorf("sent %s", got)
			}
		}
	})
}

func TestClose(t *testing.T) {
	w := newWire(t, nil, false)
	w.conn.SendText("first")
	for code, ok := range map[int]bool{NoStatus: false, Abnormal: false, 1015: false, 0: false, 5000: false} {
		if code != NoStatus && (w.conn.Close(code, "") == nil) != ok {
			t.Errorf("code %d", code)
		}
	}
	w.conn.Close(4000, strings.Repeat("é", 100))
	w.send(join(frame(fin|opText, "too late"), frame(opText, "half"), frame(fin|opPing, ""), frame(fin|opContinuation, "half"), closing(4000, "ok")), 3)
	if got := w.told(); got != "closed 4000 ok" {
		t.Errorf("told %s", got)
	}
	if got := w.sent(t); got != "text first, close 4000" {
		t.Errorf("sent %s", got)
	}
	if !w.eof {
		t.Error("the server has not ended the connection")
	}
	_, _, rest, _ := cutFrame(w.out)
	if _, p, _, _ := cutFrame(rest); len(p) != 2+122 || string(p[2:]) != strings.Repeat("é", 61) {
		t.Errorf("reason %q", p)
	}
}

// TestClientWaits checks that a client leaves the end of the TCP connection to the server.
func TestClientWaits(t *testing.T) {
	w := newWire(t, nil, true)
	w.peer.Write([]byte{fin | opClose, 2, 3, 0xe8})
	w.run()
	if w.told() != "closed 1000" || w.sent(t) != "close 1000" || w.eof {
		t.Errorf("told %s, sent %s, end %v", w.told(), w.sent(t), w.eof)
	}
	w.peer.CloseWrite()
	w.run()
	if !w.eof {
		t.Error("the client has not ended the connection")
	}
}

func TestLostPeer(t *testing.T) {
	for _, in := range [][]byte{nil, frame(opText, "half"), frame(fin|opText, "half")[:3]} {
		w := newWire(t, nil, false)
		w.send(join(frame(fin|opText, "whole"), in), 0)
		w.peer.CloseWrite()
		w.run()
		if got := w.told(); got != "text whole, closed 1006: unexpected EOF" || !w.eof {
			t.Errorf("told %s, end %v", got, w.eof)
		}
	}
	w := newWire(t, nil, false)
	w.send(frame(fin|opText, "whole"), 0)
	w.peer.Abort()
	w.run()
	if c, ok := w.got[len(w.got)-1].(*Closed); !ok || c.Code != Abnormal || c.Err == nil {
		t.Errorf("told %s", w.told())
	}
	if err := w.conn.SendText("x"); !errors.Is(err, ErrClosing) {
		t.Errorf("Send: %v", err)
	}
}

func TestAbort(t *testing.T) {
	w := newWire(t, nil, false)
	w.conn.Abort()
	w.run()
	if w.told() != "" || !w.eof {
		t.Errorf("told %s, end %v", w.told(), w.eof)
	}
	if err := w.conn.SendText("x"); err != ErrClosing {
		t.Errorf("Send: %v", err)
	}
}

func TestShutdown(t *testing.T) {
	w := newWire(t, nil, false)
	var seen []byte
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w.peer.SetLayer(layerFunc(func(src evchan.Source, ev evchan.Event) evchan.Event {
		in := src.(*evchan.Stream).Input()
		seen = append(seen, in.Next(in.Len())...)
		switch ev.(type) {
		case evchan.EOF, evchan.Stopping:
			src.Close()
		}
		return nil
	}))
	w.conn.SendText("x")
	w.run()
	if err := w.loop.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	w.out = seen
	if got := w.sent(t); !strings.HasPrefix(got, "text x") {
		t.Errorf("sent %s", got)
	}
}

type layerFunc func(evchan.Source, evchan.Event) evchan.Event

func (f layerFunc) Next(src evchan.Source, ev evchan.Event) evchan.Event { return f(src, ev) }

func TestParts(t *testing.T) {
	w := newWire(t, &Config{Parts: true, MaxMessage: 5}, false)
	w.send(frame(fin|opText, "κόσμε and more"), 7)
	w.send(join(frame(opBinary, "abcdef"), frame(fin|opPing, ""), frame(opContinuation, "ghijkl"), frame(fin|opContinuation, "")), 0)
	w.send(frame(fin|opBinary, ""), 0)
	var whole []string
	var all string
	for _, ev := range w.got {
		m := ev.(*Message)
		if all += string(m.Data); !m.More {
			whole, all = append(whole, fmt.Sprint(m.Type, " ", all)), ""
		}
		if m.Type == Text && !bytes.Equal(m.Data, bytes.ToValidUTF8(m.Data, nil)) {
			t.Errorf("a part is not valid: %q", m.Data)
		}
	}
	if got := strings.Join(whole, ", "); got != "text κόσμε and more, binary abcdefghijkl, binary " {
		t.Errorf("told %s", got)
	}
	if len(w.got) < 6 {
		t.Errorf("%d parts", len(w.got))
	}
	w.send(join(frame(opText, "a\xf0"), frame(fin|opContinuation, "\x9d")), 0)
	if got := describe(w.got[len(w.got)-1]); got != notUTF8 {
		t.Errorf("told %s", got)
	}
}

func TestPong(t *testing.T) {
	w := newWire(t, nil, false)
	if err := w.conn.Ping(make([]byte, 126)); err != evchan.ErrTooLarge {
		t.Errorf("a ping that is too long: %v", err)
	}
	w.conn.Ping([]byte("p"))
	w.send(join(frame(fin|opPong, "p"), frame(fin|opPong, "q")), 0)
	if w.told() != "pong p" || w.sent(t) != "ping p" {
		t.Errorf("told %s, sent %s", w.told(), w.sent(t))
	}
}

// TestSlow sends to a peer that does not read.
func TestSlow(t *testing.T) {
	fill := func(t *testing.T, slow Policy) (*wire, int) {
		w := newWire(t, &Config{MaxOutput: 10000, Slow: slow}, false)
		w.peer.Pause(evchan.Read)
		n := 0
		for ; w.conn.newestLocked() == nil; n++ {
			if n > 10000 {
				t.Fatal("it is never full")
			}
			var err error
			if n%2 == 0 {
				err = w.conn.SendText(fmt.Sprintf("%1000d", n))
			} else {
				err = w.conn.SendPrepared(Prepare(Text, fmt.Appendf(nil, "%1000d", n)))
			}
			if slow == Refuse && err == evchan.ErrFull || slow == Disconnect && err == ErrSlow {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			w.run()
		}
		return w, n
	}
	count := func(t *testing.T, w *wire) (n int, last string) {
		w.peer.Resume(evchan.Read)
		w.run()
		for len(w.out) > 0 {
			_, p, rest, ok := cutFrame(w.out)
			if !ok {
				t.Fatal("half a frame")
			}
			w.out, last = rest, strings.TrimSpace(string(p))
			n++
		}
		return n, last
	}
	t.Run("Refuse", func(t *testing.T) {
		w, n := fill(t, Refuse)
		w.send(frame(fin|opText, "not read before the peer reads"), 0)
		if w.told() != "" {
			t.Errorf("told %s", w.told())
		}
		if got, last := count(t, w); got != n || last != fmt.Sprint(n-1) {
			t.Errorf("got %d, the last %s, of %d", got, last, n)
		}
		if got := w.told(); got != "writable, text not read before the peer reads" {
			t.Errorf("told %s", got)
		}
	})
	t.Run("KeepNewest", func(t *testing.T) {
		w, n := fill(t, KeepNewest)
		for _, s := range []string{"x", "y", "newest"} {
			if err := w.conn.SendText(s); err != nil {
				t.Fatal(err)
			}
		}
		if got, last := count(t, w); got != n || last != "newest" {
			t.Errorf("got %d, the last %s, of %d", got, last, n)
		}
		w.conn.SendText("after")
		if got, last := count(t, w); got != 1 || last != "after" || w.told() != "" {
			t.Errorf("got %d, the last %s, told %s", got, last, w.told())
		}
	})
	t.Run("Disconnect", func(t *testing.T) {
		w, _ := fill(t, Disconnect)
		w.run()
		if got := w.told(); got != "closed 1006: "+ErrSlow.Error() {
			t.Errorf("told %s", got)
		}
		if err := w.conn.SendText("x"); err != ErrClosing {
			t.Errorf("Send: %v", err)
		}
		w.peer.Resume(evchan.Read)
		w.run()
		if !w.eof {
			t.Error("the connection was not ended")
		}
	})
	t.Run("Close", func(t *testing.T) {
		w, n := fill(t, Refuse)
		if err := w.conn.Close(Normal, ""); err != nil {
			t.Fatal(err)
		}
		if got, last := count(t, w); got != n+1 || last != "\x03\xe8" {
			t.Errorf("got %d, the last %q, of %d", got, last, n+1)
		}
	})
}

// TestPrepared sends one message to many connections, and checks that those that have to wait
// share it.
func TestPrepared(t *testing.T) {
	w := newWire(t, &Config{Compress: true}, false)
	loop := w.loop
	body := strings.Repeat("broadcast ", 20000)
	m := Prepare(Text, []byte(body))
	var all []*wire
	for i := range 6 {
		x := &wire{loop: loop}
		x.attach(t, &Config{Compress: i%2 == 1}, i == 4)
		all = append(all, x)
		if i == 3 {
			x.conn.window = 9 // it is sent as it is
		}
	}
	for range 3 {
		for _, x := range all {
			if err := x.conn.SendPrepared(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for quiet := 0; quiet < 100; quiet++ {
		for {
			ev, ok := loop.Poll(0)
			if !ok {
				break
			}
			for _, x := range all {
				if ev.Source() == x.peer {
					x.take(ev)
				}
			}
		}
	}
	for i, x := range all {
		for range 3 {
			first, p, rest, ok := cutFrame(x.out)
			if !ok {
				t.Fatalf("%d: half a frame of %d", i, len(x.out))
			}
			x.out = rest
			if small := first&bitRSV1 != 0; small != (i == 1 || i == 5) {
				t.Errorf("%d: compressed: %v", i, small)
			} else if small {
				if p, _ = inflate(p, 1<<20, nil); len(p) == 0 {
					t.Errorf("%d: cannot be decompressed", i)
				}
			}
			if string(p) != body {
				t.Errorf("%d: got %d bytes", i, len(p))
			}
		}
	}
}

// TestWriteTimeout ends a connection whose peer reads nothing, in virtual time.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, &Config{WriteTimeout: time.Minute, MaxOutput: 10000}, false)
		w.peer.Pause(evchan.Read)
		for w.conn.Send(Binary, make([]byte, 3000)) == nil {
			w.run()
		}
		began := time.Now()
		for len(w.got) == 0 && time.Since(began) < time.Hour {
			if ev, ok := w.loop.Poll(time.Second); ok {
				w.take(ev)
			}
		}
		if got := time.Since(began); w.told() != "closed 1006: "+ErrSlow.Error() || got != time.Minute {
			t.Errorf("told %s after %v", w.told(), got)
		}
	})
}

// TestEndOfSlowPeer checks that the end of a peer is told though it does not read.
func TestEndOfSlowPeer(t *testing.T) {
	w := newWire(t, &Config{MaxOutput: 10000}, false)
	w.peer.Pause(evchan.Read)
	for w.conn.Send(Binary, make([]byte, 3000)) == nil {
		w.run()
	}
	w.send(frame(fin|opText, "last"), 0)
	if w.told() != "" {
		t.Errorf("told %s", w.told())
	}
	w.peer.CloseWrite()
	w.run()
	if w.told() != "text last, closed 1006: unexpected EOF" {
		t.Errorf("told %s", w.told())
	}
}
