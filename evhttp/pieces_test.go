// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/evchan/evchan"
)

// The inputs mean the same however they are cut into pieces, over a stream without a kernel.
func TestHostilePieces(t *testing.T) {
	loop, err := evchan.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, conf := range []*Config{nil, {Streaming: true}} {
		srv := New(conf)
		for _, c := range hostileInputs {
			for _, size := range []int{1, 2, 7, 50} {
				if got := verdict(pieces(t, loop, srv, c.in, func() int { return 1 + rnd.IntN(size) })); got != c.want && !streamedRefusal(conf, c, got) {
					t.Errorf("%s, pieces of %d: %q, want %q", c.name, size, got, c.want)
				}
			}
		}
	}
}

// streamedRefusal reports whether a request was answered before its body turned out to be
// malformed: with Streaming that is right, if it is the last one.
func streamedRefusal(conf *Config, c hostileInput, got string) bool {
	return conf != nil && got == "1" && c.want == "refuse" && strings.HasPrefix(c.in, chunked)
}

// pieces sends in, in pieces whose sizes cut returns, to a server that answers all requests with
// 200, and returns what it sends until it has closed the stream.
func pieces(t *testing.T, loop *evchan.Loop, srv *Server, in string, cut func() int) string {
	a, b := loop.Pipe(nil, nil)
	defer b.Abort()
	if err := srv.Adopt(a); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	send := func() {
		if in == "" {
			b.CloseWrite()
			return
		}
		n := min(cut(), len(in))
		b.WriteString(in[:n])
		in = in[n:]
	}
	send()
	step := loop.Trigger()
	step.Fire()
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Fired:
			ev.Trigger.Take()
			if in != "" {
				step.Fire() // after what the piece brings about
			}
			send()
		case *Request:
			if ev.Complete() {
				ev.Reply(200, nil)
			}
		case *Body:
			if ev.Last {
				ev.Request.Reply(200, nil)
			}
		case evchan.Readable:
			out.Write(ev.Stream.Input().Next(1 << 20))
		case evchan.EOF, evchan.Closed:
			return out.String()
		}
	}
	t.Fatal("the loop has ended:", loop.Err())
	return ""
}

// FuzzServer compares what a server makes of a connection with what parser and decoder make of its
// bytes in one piece.
func FuzzServer(f *testing.F) {
	for i, c := range hostileInputs {
		f.Add([]byte(c.in), 1+i%9, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int, streaming bool) {
		if size < 1 || len(in) == 0 || len(in) > 4<<10 || len(in) > 200*size {
			return
		}
		loop, err := evchan.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer loop.Close()
		var conf *Config
		if streaming {
			conf = &Config{Streaming: true}
		}
		want := readAll(string(in))
		replies := pieces(t, loop, New(conf), string(in), func() int { return size })
		got := verdict(replies)
		if got == want || streaming && strings.TrimSuffix(want, ", refuse") != want {
			return
		}
		if streaming && want == "refuse" && (got == "1" || strings.HasPrefix(got, "1,")) {
			return // answered before the body was complete
		}
		t.Errorf("%q in pieces of %d, streaming %v: %q, want %q\n%q", in, size, streaming, got, want, replies)
	})
}
