// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/evchan/evchan"
)

// TestBegin sends a message in parts. Control frames go between them, other messages do not.
func TestBegin(t *testing.T) {
	for _, client := range []bool{false, true} {
		w := newWire(t, &Config{Compress: true}, client)
		m, err := w.conn.Begin(Text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(m, strings.NewReader("one ")); err != nil {
			t.Error(err)
		}
		for name, err := range map[string]error{
			"Send":         w.conn.SendText("other"),
			"SendPrepared": w.conn.SendPrepared(Prepare(Text, []byte("other"))),
			"Begin":        second(w.conn.Begin(Text)),
		} {
			if err != ErrBusy {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := w.conn.Ping([]byte("p")); err != nil {
			t.Error(err)
		}
		io.WriteString(m, "")
		long := strings.Repeat("x", 2*bigFrame)
		io.WriteString(m, long)
		if w.run(); w.told() != "" {
			t.Errorf("told %s before the message is over", w.told())
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != ErrClosing {
			t.Errorf("Close again: %v", err)
		}
		if _, err := m.Write([]byte("x")); err != ErrClosing {
			t.Errorf("Write after Close: %v", err)
		}
		w.conn.SendText("next")
		w.run()
		want := fmt.Sprintf("text without FIN one, ping p, continuation without FIN %s, continuation, text next", short([]byte(long)))
		if got := w.sent(t); got != want {
			t.Errorf("client %v: sent %s\nwant %s", client, got, want)
		}
		if got := w.told(); got != "writable" {
			t.Errorf("told %s", got)
		}
	}
}

func second(_ *MessageWriter, err error) error { return err }

// TestBeginOfNothing sends an empty message, and one that the end of the connection cuts.
func TestBeginOfNothing(t *testing.T) {
	w := newWire(t, nil, false)
	if _, err := w.conn.Begin(Type(3)); err == nil {
		t.Error("Begin has taken a type that is none")
	}
	m, _ := w.conn.Begin(Binary)
	m.Close()
	m, _ = w.conn.Begin(Binary)
	m.Write([]byte("cut"))
	w.conn.Close(Normal, "")
	if _, err := m.Write([]byte("x")); err != ErrClosing {
		t.Errorf("Write after Conn.Close: %v", err)
	}
	if err := m.Close(); err != ErrClosing {
		t.Errorf("Close after Conn.Close: %v", err)
	}
	if _, err := w.conn.Begin(Binary); err != ErrClosing {
		t.Errorf("Begin after Conn.Close: %v", err)
	}
	w.run()
	if got := w.sent(t); got != "binary, binary without FIN cut, close 1000" {
		t.Errorf("sent %s", got)
	}
}

// TestBeginSlow sends parts to a peer that does not read at first.
func TestBeginSlow(t *testing.T) {
	for _, slow := range []Policy{Refuse, KeepNewest, Disconnect} {
		w := newWire(t, &Config{MaxOutput: 10000, Slow: slow}, false)
		w.peer.Pause(evchan.Read)
		m, err := w.conn.Begin(Text)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; err == nil; n++ {
			if n > 10000 {
				t.Fatal("it is never full")
			}
			if _, err = fmt.Fprintf(m, "%1000d", n); err == nil {
				w.run()
			}
		}
		if !errors.Is(err, evchan.ErrFull) {
			t.Fatal(err)
		}
		want := ErrBusy
		if slow == KeepNewest {
			want = nil
		}
		for _, s := range []string{"old", "new"} {
			if err := w.conn.SendText(s); err != want {
				t.Errorf("%v: Send: %v, want %v", slow, err, want)
			}
		}
		w.peer.Resume(evchan.Read)
		w.run()
		if got := w.told(); got != "writable" {
			t.Errorf("%v: told %s", slow, got)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		w.run()
		last := "continuation"
		if slow == KeepNewest {
			last = "continuation, text new"
		}
		got := w.sent(t)
		if !strings.HasSuffix(got, last) || strings.Count(got, "without FIN") != n-1 || strings.Contains(got, "old") {
			t.Errorf("%v: sent %.100s ... %s", slow, got, got[max(0, len(got)-100):])
		}
	}
}
