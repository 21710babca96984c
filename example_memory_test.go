// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"fmt"
	"io"
	"log"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan"
)

// A listener in memory serves what is dialled in the same process, here on the same loop.
func ExampleLoop_Listen_memory() {
	loop, err := evchan.New(&evchan.Config{Method: "memory", ExitOnEmpty: true})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := loop.Listen("memory", "greeter", nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := loop.Dial("memory", "greeter", nil)
	if err != nil {
		log.Fatal(err)
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Accepted:
			fmt.Println("accepted", ev.Stream.RemoteAddr())
			ln.Close() // nobody else will come
			ev.Stream.WriteString("hello\n")
			ev.Stream.Close()
		case evchan.Readable:
			line, _ := ev.Stream.Input().ReadLine(evchan.LF)
			fmt.Printf("%v says %s\n", ev.Stream.RemoteAddr(), line)
		case evchan.EOF:
			client.Close()
		}
	}
	// Output:
	// accepted greeter#1
	// greeter says hello
}

// chat is a server for a chat: it sends each line to all, and ends who says nothing for ten
// minutes. It returns when the loop is closed.
func chat(loop *evchan.Loop, ln *evchan.Listener) {
	members := make(map[*evchan.Stream]string)
	tell := func(format string, args ...any) {
		for s := range members {
			fmt.Fprintf(s, format+"\n", args...)
		}
	}
	leave := func(s *evchan.Stream, why string) {
		name := members[s]
		delete(members, s)
		s.Close()
		tell("%s %s", name, why)
	}
	joined := 0
	for ev := range loop.Events() {
		switch ev := ev.(type) {
		case evchan.Accepted:
			joined++
			members[ev.Stream] = fmt.Sprint("guest", joined)
			tell("%s has joined", members[ev.Stream])
		case evchan.Readable:
			for line := range ev.Stream.Input().Lines(evchan.LF) {
				tell("%s: %s", members[ev.Stream], line)
			}
		case evchan.TimedOut:
			leave(ev.Stream, "has fallen asleep")
		case evchan.EOF:
			leave(ev.Stream, "has left")
		case evchan.Closed:
			leave(ev.Stream, "is gone")
		}
	}
}

// An hour in the life of a chat server takes milliseconds. In a bubble of testing/synctest,
// time passes when all goroutines wait. They do when the loop's method is memory, and the
// connections are in memory as well. So the idle timeout of ten minutes can be tested, to the
// nanosecond.
//
// The clients are plain goroutines, with a net.Conn each.
func TestChatForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop, err := evchan.New(&evchan.Config{Method: "memory"})
		if err != nil {
			t.Fatal(err)
		}
		defer loop.Close()
		ln, err := loop.Listen("memory", "chat", &evchan.ListenConfig{ReadIdle: 10 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			chat(loop, ln)
		}()
		began := time.Now()
		clients, err := evchan.New(&evchan.Config{Method: "memory"}) // only dials, and never runs
		if err != nil {
			t.Fatal(err)
		}
		defer clients.Close()
		join := func() io.ReadWriteCloser {
			s, err := clients.Dial("memory", "chat", nil)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := s.NetConn() // a connection in memory is there at once
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}

		// The first guest says something every nine minutes, and reads all that is said.
		first := join()
		defer first.Close()
		var heard strings.Builder
		go func() {
			buf := make([]byte, 1000)
			for {
				n, err := first.Read(buf)
				for line := range strings.Lines(string(buf[:n])) {
					fmt.Fprintf(&heard, "%v %s", time.Since(began), line)
				}
				if err != nil {
					return
				}
			}
		}()
		go func() {
			for minute := 9; minute < 60; minute += 9 {
				time.Sleep(9 * time.Minute)
				fmt.Fprintf(first, "minute %d\n", minute)
			}
		}()

		// The second one comes after a quarter of an hour, and falls asleep.
		time.Sleep(15 * time.Minute)
		second := join()
		io.WriteString(second, "good night\n")
		if _, err := io.Copy(io.Discard, second); err != nil { // until the server closes
			t.Error(err)
		}
		if d := time.Since(began); d != 25*time.Minute {
			t.Errorf("the second guest was there until %v", d)
		}
		second.Close()

		// The third one leaves.
		time.Sleep(5 * time.Minute)
		third := join()
		time.Sleep(time.Minute)
		third.Close()

		time.Sleep(29 * time.Minute)
		loop.Close()
		<-ended
		synctest.Wait()
		want := `0s guest1 has joined
9m0s guest1: minute 9
15m0s guest2 has joined
15m0s guest2: good night
18m0s guest1: minute 18
25m0s guest2 has fallen asleep
27m0s guest1: minute 27
30m0s guest3 has joined
31m0s guest3 has left
36m0s guest1: minute 36
45m0s guest1: minute 45
54m0s guest1: minute 54
`
		if heard.String() != want {
			t.Errorf("the first guest has heard\n%s\nwant\n%s", heard.String(), want)
		}
	})
}
