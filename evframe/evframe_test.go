// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evframe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evframe"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newLoop(t testing.TB) *evchan.Loop {
	t.Helper()
	l, err := evchan.New(nil)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// A silent is a layer that sends nothing.
type silent struct{}

func (silent) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	if _, ok := ev.(evchan.Stopping); ok {
		src.Close()
	}
	return nil
}

// piped returns a stream with conf, and the other end of its pipe, which sends nothing.
func piped(l *evchan.Loop, conf *evchan.StreamConfig) (s, peer *evchan.Stream) {
	return l.Pipe(conf, &evchan.StreamConfig{Layer: silent{}, MaxInput: -1})
}

// text returns ev as the tests write it.
func text(ev evchan.Event) string {
	switch ev := ev.(type) {
	case *evframe.Line:
		return string(ev.Bytes())
	case *evframe.Frame:
		return string(ev.Bytes())
	case *evframe.Error:
		return fmt.Sprintf("Error(%v, %q)", ev.Err, ev.Bytes())
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(fmt.Sprintf("%T", ev), "evchan."), "{")
	return name
}

// received returns all messages that l has now.
func received(l *evchan.Loop) []string {
	var texts []string
	for {
		ev, ok := l.Poll(0)
		if !ok {
			return texts
		}
		texts = append(texts, text(ev))
	}
}

// check fails if the messages that l has now are not want.
func check(t *testing.T, l *evchan.Loop, want ...string) {
	t.Helper()
	if got := received(l); !slices.Equal(got, want) {
		t.Errorf("received %q; want %q", got, want)
	}
}

// A parse is a case for which a stream sends input and ends, in pieces of several sizes.
type parse struct {
	layer evchan.Layer
	input string
	want  []string
}

func (c parse) run(t *testing.T) {
	l := newLoop(t)
	for _, size := range []int{1, 2, 3, len(c.input) + 1} {
		s, peer := piped(l, &evchan.StreamConfig{Layer: c.layer})
		var got []string
		for piece := range slices.Chunk([]byte(c.input), size) {
			peer.Write(piece)
			got = append(got, received(l)...)
		}
		peer.CloseWrite()
		got = append(got, received(l)...)
		if want := append(slices.Clone(c.want), "EOF"); !slices.Equal(got, want) {
			t.Errorf("%+v of %q in pieces of %d: %q; want %q", c.layer, c.input, size, got, want)
		}
		s.Abort()
		peer.Abort()
	}
}

const (
	long  = `Error(evframe: longer than the limit, "")`
	wrong = `Error(evframe: the length of a frame is wrong, "")`
)

// half is the Error for an incomplete message at the end.
func half(rest string) string { return fmt.Sprintf("Error(unexpected EOF, %q)", rest) }

func TestLines(t *testing.T) {
	lines := func(eol evchan.EOL, limit int) evframe.Lines {
		return evframe.Lines{EOL: eol, Limit: limit}
	}
	for _, c := range []parse{
		{evframe.Lines{}, "", nil},
		{evframe.Lines{}, "a\nbc\r\n\n\rd\n", []string{"a", "bc", "", "\rd"}},
		{evframe.Lines{}, "a\nhalf", []string{"a", half("half")}},
		{lines(evchan.LF, 0), "a\r\nb\n", []string{"a\r", "b"}},
		{lines(evchan.CRLF, 0), "a\nb\r\n\rc\r\n", []string{"a\nb", "\rc"}},
		{lines(evchan.NUL, 0), "a\n\x00\x00", []string{"a\n", ""}},
		{lines(evchan.AnyEOL, 0), "\n\na\r\r\n\nb\n", []string{"a", "b"}},
		{lines(evchan.LFOrCRLF, 3), "abc\r\nabc\nabcd\nab\n", []string{"abc", "abc", long}},
		{lines(evchan.LF, 3), "abc\nabc\r\n\n", []string{"abc", long}},
		{lines(evchan.CRLF, 3), "abc\r\nabc\r\r\n", []string{"abc", long}},
		{lines(evchan.NUL, 3), "abc\x00abcd\x00", []string{"abc", long}},
		{lines(evchan.AnyEOL, 3), "abc\r\n\nabcd\n", []string{"abc", long}},
		{lines(evchan.LFOrCRLF, 3), "abcdefghij", []string{long}},
		{lines(evchan.LFOrCRLF, -1), strings.Repeat("x", 1000) + "\n", []string{strings.Repeat("x", 1000)}},
	} {
		c.run(t)
	}
}

func TestFrames(t *testing.T) {
	for _, c := range []parse{
		{evframe.Frames{}, "\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x00\x00\x01d", []string{"abc", "", "d"}},
		{evframe.Frames{}, "\x00\x00\x00\x03ab", []string{half("ab")}},
		{evframe.Frames{}, "\x00\x00\x00", []string{half("\x00\x00\x00")}},
		{evframe.Frames{}, "\x00\x00\x00\x03", []string{half("")}},
		{evframe.Frames{Prefix: 1}, "\x03abc\x00\x01d", []string{"abc", "", "d"}},
		{evframe.Frames{Prefix: 2, LittleEndian: true}, "\x03\x00abc\x01\x00d", []string{"abc", "d"}},
		{evframe.Frames{Prefix: 3}, "\x00\x00\x03abc", []string{"abc"}},
		{evframe.Frames{Prefix: 8}, "\x00\x00\x00\x00\x00\x00\x00\x03abc", []string{"abc"}},
		{evframe.Frames{Prefix: 8, Limit: -1}, "\xff\xff\xff\xff\xff\xff\xff\xffabc", []string{long}},
		{evframe.Frames{Prefix: 8, LittleEndian: true}, "\x03\x00\x00\x00\x00\x00\x00\x00abc", []string{"abc"}},
		{evframe.Frames{Prefix: evframe.Varint}, "\x03abc\x83\x00abc\x00", []string{"abc", "abc", ""}},
		{evframe.Frames{Prefix: evframe.Varint}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", []string{wrong}},
		{evframe.Frames{Prefix: evframe.Varint}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", []string{wrong}},
		{evframe.Frames{Prefix: evframe.Varint}, "\xff", []string{half("\xff")}},
		{evframe.Frames{Prefix: 2, CountsPrefix: true}, "\x00\x05abc\x00\x02\x00\x01", []string{"abc", "", wrong}},
		{evframe.Frames{Prefix: 1, Limit: 3}, "\x03abc\x04abcd", []string{"abc", long}},
	} {
		c.run(t)
	}
	for _, bad := range []evframe.Frames{{Prefix: 9}, {Prefix: -2}, {Prefix: evframe.Varint, CountsPrefix: true}} {
		func() {
			defer func() {
				if v, _ := recover().(string); !strings.HasPrefix(v, "evframe: ") {
					t.Errorf("%+v: panic %q", bad, v)
				}
			}()
			bad.AppendFrame(nil, nil)
		}()
	}
}

// A message may be longer than MaxInput, up to the limit. The limit of the input is as it was
// afterwards.
func TestLongerThanInput(t *testing.T) {
	l := newLoop(t)
	for name, layer := range map[string]evchan.Layer{
		"Lines": evframe.Lines{Limit: 1 << 20}, "Frames": evframe.Frames{Limit: 1 << 20},
	} {
		s, peer := piped(l, &evchan.StreamConfig{Layer: layer, MaxInput: 100})
		p := bytes.Repeat([]byte("x"), 1<<20)
		sent, err := evframe.Frames{Limit: -1}.AppendFrame(nil, p)
		if name == "Lines" {
			sent, err = evframe.Lines{Limit: -1}.AppendLine(nil, p)
		}
		must(t, err)
		if _, err := peer.Write(append(sent, sent...)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			ev, _ := l.Poll(10 * time.Second)
			if m, ok := ev.(interface{ Len() int }); !ok || m.Len() != 1<<20 {
				t.Fatalf("%s: received %v", name, ev)
			}
		}
		s.SetLayer(nil)
		peer.Write(bytes.Repeat([]byte("y"), 90))
		check(t, l, "Readable")
		if s.InputFull() {
			t.Errorf("%s: 90 bytes of 100 are the limit", name)
		}
		peer.Write(bytes.Repeat([]byte("y"), 200))
		l.Poll(0)
		if !s.InputFull() || s.Input().Len() > 200 {
			t.Errorf("%s: no limit any more", name)
		}
		s.Abort()
		peer.Abort()
	}
}

// While the output is full, no messages are made; EOF waits as well.
func TestOutputFull(t *testing.T) {
	l := newLoop(t)
	s, peer := l.Pipe(&evchan.StreamConfig{Layer: evframe.Lines{}, MaxOutput: 10},
		&evchan.StreamConfig{Layer: silent{}, MaxInput: 1})
	io.WriteString(peer, "a\nb\nc\n")
	peer.CloseWrite()
	ev, _ := l.Poll(0)
	if got := text(ev); got != "a" {
		t.Fatal(got)
	}
	for !s.OutputFull() {
		if _, err := s.Write(make([]byte, 20)); err != nil {
			t.Fatal(err)
		}
	}
	check(t, l)
	var got []string
	for range 100 { // a byte each
		in := peer.Input()
		in.Discard(in.Len())
		got = append(got, received(l)...)
	}
	if want := []string{"Drained", "b", "c", "EOF"}; !slices.Equal(got, want) {
		t.Errorf("received %q; want %q", got, want)
	}
	s.Abort()
	peer.Abort()
}

// With Step, each message waits for Again.
func TestStep(t *testing.T) {
	l := newLoop(t)
	s, peer := piped(l, &evchan.StreamConfig{Layer: evframe.Lines{Step: true}})
	io.WriteString(peer, "a\nb\nc\nSTARTTLS\nsecret")
	check(t, l, "a")
	s.Again()
	check(t, l, "b")
	s.Again()
	ev, _ := l.Poll(0)
	s.Again() // before the layer was asked for more
	if got := text(ev); got != "c" {
		t.Fatal(got)
	}
	check(t, l, "STARTTLS")
	peer.Write([]byte(" and more\n"))
	peer.CloseWrite()
	check(t, l)
	must(t, s.SetLayer(nil))
	check(t, l, "Readable", "EOF")
	if got := string(s.Input().Bytes()); got != "secret and more\n" {
		t.Errorf("the input is %q", got)
	}
	must(t, s.SetLayer(evframe.Lines{Step: true}))
	check(t, l, "secret and more")
	s.Again()
	check(t, l, "EOF")
	s.Abort()
	peer.Abort()
}

// Lines that have arrived come before Closed, and what is incomplete is dropped.
func TestClosed(t *testing.T) {
	l := newLoop(t)
	for _, step := range []bool{false, true} {
		s, peer := piped(l, &evchan.StreamConfig{Layer: evframe.Lines{Step: step}})
		io.WriteString(peer, "a\nb\nhalf")
		peer.Abort()
		var got []string
		for range 3 {
			got = append(got, received(l)...)
			s.Again()
		}
		if want := []string{"a", "b", "Closed"}; !slices.Equal(got, want) {
			t.Errorf("step %v: received %q; want %q", step, got, want)
		}
		if s.Err() == nil {
			t.Error("no reason")
		}
		s.Abort()
	}
}

// After an Error, what follows is dropped, so the end is seen.
func TestAfterError(t *testing.T) {
	l := newLoop(t)
	s, peer := piped(l, &evchan.StreamConfig{Layer: evframe.Lines{Limit: 10}, MaxInput: 100, ReadIdle: time.Hour})
	p := append(bytes.Repeat([]byte("x"), 1000), "\nline\n"...)
	peer.Write(p)
	check(t, l, long)
	io.WriteString(s, "500 too long\n") // the stream still works
	check(t, l)
	if got := string(peer.Input().Bytes()); got != "500 too long\n" {
		t.Errorf("the peer got %q", got)
	}
	peer.Write(p)
	check(t, l)
	peer.CloseWrite()
	check(t, l, "EOF")
	s.Abort()
	peer.Abort()
}

// A Shutdown closes the stream, whether or not someone receives.
func TestShutdown(t *testing.T) {
	for begun := range 3 {
		l, err := evchan.New(nil)
		must(t, err)
		_, peer := piped(l, &evchan.StreamConfig{Layer: evframe.Lines{}})
		if begun > 0 {
			io.WriteString(peer, "a\nb\nc\n")
			l.Poll(0)
		}
		if begun == 2 { // a line is on offer, and nobody receives it
			<-l.Events()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		must(t, l.Shutdown(ctx))
		if ctx.Err() != nil {
			t.Error("Shutdown has waited for the layer")
		}
	}
}

// A source that is not a stream sends what it sends.
func TestOtherSource(t *testing.T) {
	l := newLoop(t)
	tr := l.Trigger()
	must(t, tr.SetLayer(evframe.Lines{}))
	tr.Fire()
	check(t, l, "Fired")
}

// Messages own their bytes, short and long ones, in one chunk and in several.
func TestOwnBytes(t *testing.T) {
	l := newLoop(t)
	s, peer := piped(l, &evchan.StreamConfig{Layer: evframe.Lines{Limit: 1 << 20}, MaxInput: 1 << 20})
	var want [][]byte
	for i := range 40 {
		want = append(want, bytes.Repeat([]byte{byte('a' + i%26)}, []int{0, 1, 40, 41, 168, 169, 1024, 1025, 70000, 200000}[i%10]))
	}
	var kept []*evframe.Line
	for round := range 3 {
		for _, line := range want {
			peer.Write(append(line, '\n'))
			if round == 1 { // in smaller pieces
				if ev, ok := l.Poll(0); ok {
					kept = append(kept, ev.(*evframe.Line))
				}
			}
		}
		for len(kept) < (round+1)*len(want) {
			ev, ok := l.Poll(10 * time.Second)
			if !ok {
				t.Fatal("no line in time")
			}
			kept = append(kept, ev.(*evframe.Line))
		}
	}
	for i, m := range kept {
		want := want[i%len(want)]
		if !bytes.Equal(m.Bytes(), want) || m.Len() != len(want) {
			t.Errorf("line %d: %d bytes, %.20q", i, m.Len(), m.Bytes())
		}
		if got := m.Buffer(); got.Len() != len(want) || got != m.Buffer() || !bytes.Equal(m.Bytes(), want) {
			t.Errorf("line %d: a Buffer of %d bytes", i, got.Len())
		}
		if m.Stream() != s {
			t.Error("the stream")
		}
		m.Buffer().Reset()
		if m.Len() != 0 || len(m.Bytes()) != 0 {
			t.Error("Reset")
		}
	}
	s.Abort()
	peer.Abort()
}

func TestString(t *testing.T) {
	l := newLoop(t)
	for text, want := range map[string]string{
		"ab\n":                           `Line stream pipe "ab"`,
		strings.Repeat("x", 65) + "\n":   `Line stream pipe "` + strings.Repeat("x", 64) + `"...`,
		strings.Repeat("x", 2000) + "\n": `Line stream pipe "` + strings.Repeat("x", 64) + `"...`,
		strings.Repeat("x", 70000):       `Error stream pipe: evframe: longer than the limit`,
	} {
		s, peer := piped(l, &evchan.StreamConfig{Layer: evframe.Lines{}, MaxInput: 1 << 20})
		io.WriteString(peer, text)
		ev, _ := l.Poll(0)
		if got := ev.String(); got != want {
			t.Errorf("%q; want %q", got, want)
		}
		s.Abort()
		peer.Abort()
	}
	s, peer := piped(l, &evchan.StreamConfig{Layer: evframe.Frames{Prefix: 1}})
	io.WriteString(peer, "\x02ab")
	if ev, _ := l.Poll(0); ev.String() != `Frame stream pipe "ab"` {
		t.Error(ev)
	}
	s.Abort()
	peer.Abort()
	if got := new(evframe.Line).String(); got == "" || new(evframe.Line).Stream() != nil {
		t.Error(got)
	}
}

// A line or frame costs one allocation if it is short.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l := newLoop(t)
	for _, c := range []struct {
		layer evchan.Layer
		size  int
		most  float64
	}{
		{evframe.Lines{}, 0, 1}, {evframe.Lines{}, 40, 1}, {evframe.Lines{}, 168, 1}, {evframe.Lines{}, 1000, 2},
		{evframe.Lines{EOL: evchan.CRLF}, 40, 1}, {evframe.Lines{EOL: evchan.NUL}, 40, 1}, {evframe.Lines{EOL: evchan.AnyEOL}, 40, 1},
		{evframe.Frames{}, 40, 1}, {evframe.Frames{}, 168, 1}, {evframe.Frames{Prefix: evframe.Varint}, 40, 1},
	} {
		s, peer := piped(l, &evchan.StreamConfig{Layer: c.layer})
		p := bytes.Repeat([]byte("x"), c.size)
		var sent []byte
		var err error
		switch layer := c.layer.(type) {
		case evframe.Lines:
			sent, err = layer.AppendLine(nil, p)
		case evframe.Frames:
			sent, err = layer.AppendFrame(nil, p)
		}
		must(t, err)
		if c.size == 0 {
			sent = []byte("\n")
		}
		got := testing.AllocsPerRun(200, func() {
			peer.Write(sent)
			if _, ok := l.Poll(0); !ok {
				t.Fatal("no message")
			}
		})
		if got > c.most {
			t.Errorf("%+v, %d bytes: %v allocations", c.layer, c.size, got)
		}
		s.Abort()
		peer.Abort()
	}
}

func TestAppend(t *testing.T) {
	for _, c := range []struct {
		lines evframe.Lines
		line  string
		want  string // "": an error
	}{
		{evframe.Lines{}, "a", "+a\n"},
		{evframe.Lines{}, "a\nb", ""},
		{evframe.Lines{}, "a\r", ""},
		{evframe.Lines{}, "a\rb", "+a\rb\n"},
		{evframe.Lines{EOL: evchan.LF}, "a\r", "+a\r\n"},
		{evframe.Lines{EOL: evchan.CRLF}, "a", "+a\r\n"},
		{evframe.Lines{EOL: evchan.CRLF}, "a\nb", ""},
		{evframe.Lines{EOL: evchan.CRLF}, "a\rb", ""},
		{evframe.Lines{EOL: evchan.NUL}, "a\r\n", "+a\r\n\x00"},
		{evframe.Lines{EOL: evchan.NUL}, "a\x00", ""},
		{evframe.Lines{EOL: evchan.AnyEOL}, "a", "+a\n"},
		{evframe.Lines{EOL: evchan.AnyEOL}, "a\r", ""},
		{evframe.Lines{Limit: 2}, "abc", ""},
	} {
		got, err := c.lines.AppendLine([]byte("+"), []byte(c.line))
		if err != nil && string(got) != "+" || err == nil && string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v %q: %q, %v", c.lines, c.line, got, err)
		}
	}
	for _, c := range []struct {
		frames evframe.Frames
		n      int
		want   string // the length; "": an error
	}{
		{evframe.Frames{}, 258, "\x00\x00\x01\x02"},
		{evframe.Frames{LittleEndian: true}, 258, "\x02\x01\x00\x00"},
		{evframe.Frames{Prefix: 1}, 255, "\xff"},
		{evframe.Frames{Prefix: 1}, 256, ""},
		{evframe.Frames{Prefix: 1, CountsPrefix: true}, 254, "\xff"},
		{evframe.Frames{Prefix: 1, CountsPrefix: true}, 255, ""},
		{evframe.Frames{Prefix: 8}, 1, "\x00\x00\x00\x00\x00\x00\x00\x01"},
		{evframe.Frames{Prefix: evframe.Varint}, 300, "\xac\x02"},
		{evframe.Frames{Limit: 10}, 11, ""},
	} {
		p := bytes.Repeat([]byte("x"), c.n)
		got, err := c.frames.AppendFrame([]byte("+"), p)
		want := "+" + c.want + string(p)
		if c.want == "" {
			want = "+"
		}
		if string(got) != want || (err != nil) != (c.want == "") || err != nil && err != evframe.ErrTooLong {
			t.Errorf("%+v %d: %.20q, %v", c.frames, c.n, got, err)
		}
		var out, in evchan.Buffer
		in.Write(p)
		if err2 := c.frames.MoveFrame(&out, &in); err2 != err {
			t.Error(err2)
		} else if err == nil && (in.Len() != 0 || string(out.Bytes()) != want[1:]) || err != nil && (in.Len() != c.n || out.Len() != 0) {
			t.Errorf("%+v %d: %d bytes moved, %d are left", c.frames, c.n, out.Len(), in.Len())
		}
	}
	var out, in evchan.Buffer
	in.WriteString("abc")
	out.Freeze(false, true)
	if err := (evframe.Frames{}).MoveFrame(&out, &in); !errors.Is(err, evchan.ErrFrozen) || string(in.Bytes()) != "abc" {
		t.Errorf("%v, %q is left", err, in.Bytes())
	}
}
