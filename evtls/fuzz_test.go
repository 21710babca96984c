// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// FuzzHandshake gives bytes of a stranger to a server or a client, in two pieces, and then an end:
// the stream must end with an error, and tell nothing else.
func FuzzHandshake(f *testing.F) {
	first := hello(f)
	n := len(first)
	f.Add(first, 7, false)
	f.Add(first, n, false)
	f.Add(append(first[:n:n], first...), n/2, false)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 3, false)
	f.Add([]byte("\x15\x03\x03\x00\x02\x02\x28"), 0, true)
	f.Add([]byte("\x16\x03\x03\x00\x04\x0e\x00\x00\x00"), 5, true)
	cc, sc := clientConfig(0), serverConfig(0)
	f.Fuzz(func(t *testing.T, data []byte, at int, client bool) {
		loop, err := evchan.New(&evchan.Config{Method: "memory", IgnoreEnv: true})
		must(t, err)
		defer loop.Close()
		far, lower := loop.Pipe(nil, nil)
		var s *evchan.Stream
		if client {
			s, err = Client(lower, cc, nil)
		} else {
			s, err = Server(lower, sc, nil)
		}
		must(t, err)
		at = max(min(at, len(data)), 0)
		far.Write(data[:at])
		for end, wait := time.Now().Add(patience), time.Duration(0); ; {
			ev, ok := loop.Poll(wait)
			if wait == 0 {
				wait = time.Second
				far.Write(data[at:])
				far.CloseWrite()
			}
			switch {
			case ok && ev.Source() == evchan.Source(far):
				far.Input().Reset()
			case ok && ev != evchan.Event(evchan.Closed{Stream: s}):
				t.Fatalf("unexpected %v", ev)
			case ok:
				if s.Err() == nil || s.Input().Len() > 0 {
					t.Errorf("%v, with %d bytes", s.Err(), s.Input().Len())
				}
				return
			case time.Now().After(end):
				t.Fatal("it does not end")
			}
		}
	})
}
