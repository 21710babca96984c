// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/evchan/evchan/evrpc"
)

// A server that does what it likes, and callers that cancel: each call ends with exactly one message.
func TestPoolFaults(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	good := string(encode(t, &text{"ok"}))
	go func() {
		for n := uint64(0); ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serveBadly(c.(*net.TCPConn), good, rand.New(rand.NewPCG(n, 1)))
		}
	}()
	const calls = 2000
	loop := newLoop(t)
	pool := newPool(loop, ln.Addr().String(), 8, &evrpc.PoolConfig{Timeout: 20 * time.Millisecond, MaxReply: 1000, Resend: true})
	pool.AddHook(evrpc.Output, func(x *evrpc.Exchange) evrpc.Verdict {
		if x.Body[2]%8 == 0 {
			go x.Resume(evrpc.Verdict(x.Body[2] % 16 / 8 * uint8(evrpc.Terminate)))
			return evrpc.Pause
		}
		return evrpc.Continue
	})
	r := rand.New(rand.NewPCG(1, 2))
	open := make(map[*evrpc.Reply]bool)
	call := func() {
		c := pool.Call("Message", &text{string('A' + rune(r.IntN(26)))}, new(text))
		open[c] = true
		if r.IntN(10) == 0 {
			go c.Cancel()
		}
	}
	for range 20 {
		call()
	}
	answered := 0
	for done := range calls {
		reply := nextReply(t, loop)
		if !open[reply] {
			t.Fatalf("received %v, which is no call or has ended before", reply)
		}
		delete(open, reply)
		if reply.Err == nil {
			answered++
			if got := reply.Reply.(*text).Text; got != "ok" {
				t.Fatalf("the answer is %q", got)
			}
		}
		if done < calls-20 {
			call()
		}
	}
	pool.Close()
	if ev, ok := loop.Poll(0); ok {
		t.Errorf("received %v", ev)
	}
	t.Logf("%d of %d calls were answered", answered, calls)
	if answered == 0 || answered == calls {
		t.Error("the server proves nothing")
	}
}

// serveBadly answers the requests of a connection, well or badly.
func serveBadly(c *net.TCPConn, good string, r *rand.Rand) {
	defer c.Close()
	in := bufio.NewReader(c)
	ok := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(good), good)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		switch r.IntN(16) {
		case 0: // the end before the answer
			return
		case 1: // a reset
			c.SetLinger(0)
			return
		case 2: // half an answer
			io.WriteString(c, ok[:r.IntN(len(ok))])
			return
		case 3: // half an answer, and then nothing
			io.WriteString(c, ok[:r.IntN(len(ok))])
		case 4: // an answer that nobody has asked for
			io.WriteString(c, ok+ok)
		case 5: // nonsense
			io.WriteString(c, "nonsense\r\n\r\n")
		case 6: // an answer, and a reset
			io.WriteString(c, ok)
			c.SetLinger(0)
			return
		case 7: // an answer, and the end
			io.WriteString(c, ok)
			return
		case 8: // an answer in pieces
			for _, b := range []byte(ok) {
				c.Write([]byte{b})
			}
		default:
			io.WriteString(c, ok)
		}
	}
}
