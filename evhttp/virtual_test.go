// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan"
)

// The default timeouts, in virtual time and to the millisecond.
func TestDefaultTimeouts(t *testing.T) {
	for _, c := range []struct {
		name     string
		send     []string // one a second
		want     string   // that the client gets
		from, to time.Duration
	}{
		{"silent", nil, "", 10 * time.Second, 10 * time.Second},
		{"head", []string{"GET / HTTP/1.1\r\n"}, "408", 10 * time.Second, 10 * time.Second},
		{"trickling head", strings.Split("GET / HTTP/1.1\r\nHost: x\r\nA: bcdefghij", ""), "408", 10 * time.Second, 10 * time.Second},
		{"head behind a request", []string{get11, "", "", "GET"}, "200 408", 13 * time.Second, 13 * time.Second},
		{"body", []string{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", "a", "b"}, "408", 60 * time.Second, 60 * time.Second},
		{"idle", []string{get11}, "200", 2 * time.Minute, 2*time.Minute + 15*time.Second},
		{"idle, later", []string{get11, "", "", "", get11}, "200 200", 2*time.Minute + 4*time.Second, 2*time.Minute + 19*time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, after := clientInMemory(t, c.send)
				if got != c.want || after < c.from || after > c.to {
					t.Errorf("got %q, and the end after %v; want %q after %v to %v", got, after, c.want, c.from, c.to)
				}
			})
		})
	}
}

// clientInMemory sends the pieces, one a second, to a server in the same bubble. It returns the
// statuses of the replies, and how long it took until the server has closed the connection.
func clientInMemory(t *testing.T, pieces []string) (statuses string, after time.Duration) {
	loop, err := evchan.New(&evchan.Config{Method: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	srv := New(nil)
	if _, err := srv.Listen(loop, "memory", "web", nil); err != nil {
		t.Fatal(err)
	}
	client, err := loop.Dial("memory", "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ticker := loop.Every(time.Second)
	send := func() {
		if len(pieces) > 0 {
			client.WriteString(pieces[0])
			pieces = pieces[1:]
		}
	}
	var all []string
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *Request:
			ev.Reply(200, nil)
		case evchan.Connected:
			send()
		case evchan.Tick:
			ticker.Take()
			send()
		case evchan.Readable:
			for line := range ev.Stream.Input().Lines(evchan.CRLF) {
				if rest, ok := strings.CutPrefix(string(line), "HTTP/1.1 "); ok {
					all = append(all, rest[:3])
				}
			}
		case evchan.EOF:
			return strings.Join(all, " "), time.Since(began)
		case evchan.Closed:
			t.Fatal(ev)
		}
	}
	return "", 0
}
