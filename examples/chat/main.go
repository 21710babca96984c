// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Chat is a chat room, served by one goroutine. All clients get what one of them
// says. A client is dropped if it reads so little that too much output waits for it,
// or if it says nothing for too long.
//
//	go run ./examples/chat &
//	nc 127.0.0.1 7020
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/evchan/evchan"
)

const (
	maxLine    = 4 << 10   // the longest line
	maxWaiting = 256 << 10 // unsent bytes at which a client is too slow
)

// A room holds its clients and their names.
type room map[*evchan.Stream]string

func main() {
	listen := flag.String("listen", "127.0.0.1:7020", "listen on `address`")
	idle := flag.Duration("idle", 10*time.Minute, "drop a client that has said nothing for so long")
	flag.Parse()

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", *listen, &evchan.ListenConfig{
		MaxStreams: 1000,
		MaxInput:   maxLine,
		MaxOutput:  maxWaiting,
		ReadIdle:   *idle,
		Lifetime:   24 * time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", ln.Addr())

	clients, guests := make(room), 0
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Accepted:
			guests++
			clients.join(ev.Stream, fmt.Sprint("guest", guests))
		case evchan.Readable:
			clients.hear(ev.Stream)
		case evchan.EOF:
			clients.leave(ev.Stream, "has left")
		case evchan.TimedOut:
			clients.leave(ev.Stream, "has fallen asleep")
		case evchan.Closed:
			clients.leave(ev.Stream, "is gone")
		case evchan.Signaled:
			return
		}
	}
	log.Fatal(loop.Err())
}

// join adds s to the room.
func (r room) join(s *evchan.Stream, name string) {
	r[s] = name
	fmt.Fprintf(s, "You are %s. \"/nick NAME\" changes that.\n", name)
	r.say(s, "* %s has come\n", name)
}

// hear passes on the lines that have arrived from s.
func (r room) hear(s *evchan.Stream) {
	in := s.Input()
	for line := range in.Lines(evchan.AnyEOL) {
		name := r[s]
		if name == "" {
			return // say has dropped s
		}
		text := strings.TrimSpace(string(line))
		if nick, ok := strings.CutPrefix(text, "/nick "); ok && strings.TrimSpace(nick) != "" {
			r[s] = strings.TrimSpace(nick)
			r.say(nil, "* %s is %s now\n", name, r[s])
		} else if text != "" {
			r.say(s, "%s: %s\n", name, text)
		}
	}
	if in.Len() >= maxLine {
		r.leave(s, "talks without end")
	}
}

// say sends a line to all clients except one.
func (r room) say(but *evchan.Stream, format string, args ...any) {
	line := fmt.Appendf(nil, format, args...)
	var slow []*evchan.Stream
	for s := range r {
		if s == but {
			continue
		}
		if _, err := s.Write(line); err == evchan.ErrFull {
			slow = append(slow, s)
		} // after another error, Closed comes
	}
	for _, s := range slow {
		if r[s] != "" {
			name := r[s]
			delete(r, s)
			s.Abort() // Close would wait until the output is sent
			r.say(nil, "* %s does not listen\n", name)
		}
	}
}

// leave removes s from the room.
func (r room) leave(s *evchan.Stream, how string) {
	if name := r[s]; name != "" {
		delete(r, s)
		s.Close()
		r.say(nil, "* %s %s\n", name, how)
	}
}
