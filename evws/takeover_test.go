// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// alike returns a message that is like the others.
func alike(i int) string {
	return fmt.Sprintf(`{"instrument": "EURUSD", "venue": "somewhere", "sequence": %d, "bid": 1.0%d, "ask": 1.1%d, "flags": ["firm", "streaming"]}`, i, i*7919%1000, i*104729%1000)
}

// TestTakeover sends messages that are alike: with takeover they are shorter from the second one on.
// compress/flate, which keeps its window, decompresses them.
func TestTakeover(t *testing.T) {
	for _, keep := range []bool{false, true} {
		w := newWire(t, &Config{Compress: true, CompressFrom: 1}, false)
		w.conn.beginTakeover(keep, false)
		var want, stream []byte
		for i := range 200 {
			s := alike(i)
			if i == 100 {
				s = strings.Repeat(s, 500) // longer than the window
			}
			want = append(want, s...)
			if i%10 == 5 {
				w.conn.SendPrepared(Prepare(Text, []byte(s)))
			} else {
				w.conn.SendText(s)
			}
			w.run()
		}
		total := 0
		for p := w.out; len(p) > 0; {
			first, payload, rest, _ := cutFrame(p)
			if first != fin|bitRSV1|opText {
				t.Fatalf("a frame begins with %x", first)
			}
			stream, total, p = append(append(stream, payload...), tail...), total+len(payload), rest
		}
		got, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(stream), bytes.NewReader(ending[len(tail):]))))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("keep %v: %d of %d bytes, %v", keep, len(got), len(want), err)
		}
		if least, most := 12_000, 30_000; !keep && total < least || keep && total > least || total > most {
			t.Errorf("keep %v: %d bytes", keep, total)
		}
		if r := w.conn.rare; keep && len(r.sent) > maxSentBefore || !keep && r != nil {
			t.Errorf("keep %v: it keeps %v", keep, r)
		}
	}
}

// TestTakeoverReceived has a compressor that keeps its window send messages, some in fragments, some
// not compressed.
func TestTakeoverReceived(t *testing.T) {
	w := newWire(t, &Config{Compress: true}, false)
	w.conn.beginTakeover(false, true)
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var want []string
	for i := range 300 {
		s := strings.Repeat(alike(i), 1+rng.IntN(20))
		if i%7 == 0 {
			w.send(frame(fin|opText, s), 0)
		} else {
			b.Reset()
			io.WriteString(z, s)
			z.Flush()
			p := string(bytes.TrimSuffix(b.Bytes(), tail))
			if at := rng.IntN(len(p)); i%3 == 0 {
				w.send(join(frame(bitRSV1|opText, p[:at]), frame(fin, p[at:])), 0)
			} else {
				w.send(frame(fin|bitRSV1|opText, p), 0)
			}
		}
		want = append(want, s)
	}
	if len(w.got) != len(want) {
		t.Fatalf("%d messages, want %d: %s", len(w.got), len(want), describe(w.got[len(w.got)-1]))
	}
	for i, ev := range w.got {
		if m, ok := ev.(*Message); !ok || string(m.Data) != want[i] {
			t.Fatalf("message %d: %s", i, describe(ev))
		}
	}
	if n := len(w.conn.rare.received); n > 1<<maxWindow || n < 1<<maxWindow-1 {
		t.Errorf("it keeps %d bytes", n)
	}
}

// TestTakeoverWithin has a block that is marked as the last one within a message refer to the message
// before.
func TestTakeoverWithin(t *testing.T) {
	before := []byte("Hello")
	p := "\x01\x02\x00\xfd\xff--" + string(deflate([]byte("Hello--Hello--Hello"), maxWindow, []byte("Hello--")))
	if got, err := inflate([]byte(p), 100, before); string(got) != "--Hello--Hello--Hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestKeepEnd(t *testing.T) {
	var kept, all []byte
	for i := range 50 {
		p := bytes.Repeat([]byte{byte(i)}, i*i%23)
		all = append(all, p...)
		kept = keepEnd(kept, p, 20)
		if want := all[max(0, len(all)-20):]; !bytes.Equal(kept, want) {
			t.Fatalf("after %d: % x, want % x", i, kept, want)
		}
	}
}

// TestNegotiateTakeover has what is agreed to for each offer.
func TestNegotiateTakeover(t *testing.T) {
	for _, c := range []struct {
		offer, answer  string
		sent, received bool // that the server keeps
	}{
		{"", "", true, true},
		{"; client_max_window_bits", "", true, true},
		{"; server_no_context_takeover", "; server_no_context_takeover", false, true},
		{"; client_no_context_takeover", "; client_no_context_takeover", true, false},
		{"; server_max_window_bits=10", "; server_max_window_bits=10", false, true},
		{noServerKeep + noClientKeep, noServerKeep + noClientKeep, false, false},
	} {
		answer, a := negotiate([]string{deflateName + c.offer}, true)
		if answer != deflateName+c.answer || a.keepsSent != c.sent || a.keepsReceived != c.received {
			t.Errorf("%q: %q, %v", c.offer, answer, a)
		}
		client, ok := agreed([]string{answer}, true, true)
		if server := strings.Contains(c.answer, noServerKeep); !ok || client.keepsReceived == server || client.keepsSent != c.received {
			t.Errorf("%q: a client agrees to %v, %v", answer, client, ok)
		}
	}
	if _, ok := agreed([]string{deflateName}, true, false); ok {
		t.Error("a client without takeover takes an answer with it")
	}
}
