// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// TestMain fails if a test has left a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if stacks := leaked(); stacks != "" {
			fmt.Println("goroutines are left:\n\n" + stacks)
			code = 1
		}
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines that do not end.
func leaked() string {
	var stacks []string
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); runtime.Gosched() {
		buf := make([]byte, 1<<20)
		stacks = nil
		for _, s := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")[1:] {
			if strings.Contains(s, "evchan") || strings.Contains(s, "websocket") {
				stacks = append(stacks, s)
			}
		}
		if len(stacks) == 0 {
			return ""
		}
	}
	return strings.Join(stacks, "\n\n")
}

const patience = 20 * time.Second // for what must come

// newLoop returns a loop. The method memory has no kernel.
func newLoop(t testing.TB, method string) *evchan.Loop {
	t.Helper()
	loop, err := evchan.New(&evchan.Config{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loop.Close() })
	return loop
}

// A wire is a connection whose peer is a test that writes and reads bytes.
type wire struct {
	loop *evchan.Loop
	peer *evchan.Stream
	conn *Conn
	got  []evchan.Event // of conn
	out  []byte         // what conn has sent
	eof  bool           // conn has ended its output
}

// newWire returns an open connection, which compresses if conf says so.
func newWire(t testing.TB, conf *Config, client bool) *wire {
	t.Helper()
	w := &wire{loop: newLoop(t, "memory")}
	w.attach(t, conf, client)
	return w
}

func (w *wire) attach(t testing.TB, conf *Config, client bool) {
	t.Helper()
	conf, err := conf.orDefault()
	if err != nil {
		t.Fatal(err)
	}
	w.conn = &Conn{conf: conf, flags: flagOpen}
	if client {
		w.conn.flags |= flagClient
	}
	if conf.Compress {
		w.conn.window = maxWindow
	}
	w.peer, w.conn.s = w.loop.Pipe(nil, &evchan.StreamConfig{Layer: (*layer)(w.conn)})
	conf.prepare(w.conn.s)
}

// run makes turns until nothing happens any more.
func (w *wire) run() {
	for quiet := 0; quiet < 400; {
		ev, ok := w.loop.Poll(0)
		if !ok {
			if quiet++; w.peer.Queued() == 0 {
				quiet += 99
			}
			continue
		}
		quiet = 0
		w.take(ev)
	}
}

func (w *wire) take(ev evchan.Event) {
	switch ev := ev.(type) {
	case evchan.Readable:
		w.out = append(w.out, ev.Stream.Input().Next(ev.Stream.Input().Len())...)
	case evchan.Drained:
	case evchan.EOF:
		w.eof = true
	case evchan.Closed:
		w.eof = true
	default:
		w.got = append(w.got, ev)
	}
}

// send sends p in pieces of so many bytes; 0 means in one.
func (w *wire) send(p []byte, piece int) {
	if piece <= 0 {
		piece = max(len(p), 1)
	}
	for len(p) > 0 {
		n := min(piece, len(p))
		for {
			if _, err := w.peer.Write(p[:n]); err != evchan.ErrFull {
				break
			}
			w.run()
		}
		w.run()
		p = p[n:]
	}
}

// told describes the messages of conn.
func (w *wire) told() string {
	var all []string
	for _, ev := range w.got {
		all = append(all, describe(ev))
	}
	return strings.Join(all, ", ")
}

func describe(ev evchan.Event) string {
	switch ev := ev.(type) {
	case *Message:
		more := ""
		if ev.More {
			more = "..."
		}
		return fmt.Sprintf("%v %s%s", ev.Type, short(ev.Data), more)
	case *Closed:
		if ev.Err != nil {
			return fmt.Sprintf("closed %d: %v", ev.Code, ev.Err)
		}
		return strings.TrimSpace(fmt.Sprintf("closed %d %s", ev.Code, short([]byte(ev.Reason))))
	case *Pong:
		return "pong " + short(ev.Data)
	case *Opened:
		return "opened"
	case *Writable:
		return "writable"
	}
	return fmt.Sprint(ev)
}

// short returns p, or its length and first byte if it is long.
func short(p []byte) string {
	if len(p) > 64 {
		return fmt.Sprintf("%q x%d", p[:1], len(p))
	}
	return string(p)
}

// sent describes the frames that conn has sent.
func (w *wire) sent(t testing.TB) string {
	t.Helper()
	var all []string
	p := w.out
	for len(p) > 0 {
		first, payload, rest, ok := cutFrame(p)
		if !ok {
			t.Fatalf("half a frame: %q", p)
		}
		p = rest
		name := map[byte]string{0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}[first&bitsOp]
		switch {
		case first&bitFin == 0:
			name += " without FIN"
		case first&bitRSV1 != 0:
			name += " compressed"
		}
		s := short(payload)
		if first&bitsOp == opClose {
			if s = ""; len(payload) >= 2 {
				s = fmt.Sprint(binary.BigEndian.Uint16(payload))
			}
		}
		all = append(all, strings.TrimSpace(name+" "+s))
	}
	return strings.Join(all, ", ")
}

// cutFrame takes a frame from p, and unmasks it. It is written for tests, apart from frame.go.
func cutFrame(p []byte) (first byte, payload, rest []byte, ok bool) {
	if len(p) < 2 {
		return 0, nil, p, false
	}
	first = p[0]
	n, at := int(p[1]&0x7f), 2
	switch n {
	case 126:
		if len(p) < 4 {
			return 0, nil, p, false
		}
		n, at = int(p[2])<<8|int(p[3]), 4
	case 127:
		if len(p) < 10 {
			return 0, nil, p, false
		}
		n, at = 0, 10
		for _, b := range p[2:10] {
			n = n<<8 | int(b)
		}
	}
	var mask []byte
	if p[1]&0x80 != 0 {
		if len(p) < at+4 {
			return 0, nil, p, false
		}
		mask, at = p[at:at+4], at+4
	}
	if len(p)-at < n {
		return 0, nil, p, false
	}
	payload = bytes.Clone(p[at : at+n])
	for i := range payload {
		if mask != nil {
			payload[i] ^= mask[i%4]
		}
	}
	return first, payload, p[at+n:], true
}

// frame returns a masked frame, as a client sends it. It is written for tests.
func frame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

const fin = 0x80

// closing returns a close frame.
func closing(code int, reason string) []byte {
	return frame(fin|opClose, string([]byte{byte(code >> 8), byte(code)})+reason)
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
