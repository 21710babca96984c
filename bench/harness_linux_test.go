// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func newTestHarness(t *testing.T) *harness {
	t.Helper()
	h, err := newHarness(-1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h
}

// A peer is a server that may do something wrong. It serves one connection.
type peer func(c net.Conn)

// serve has p serve on a loopback address until the test ends.
func (p peer) serve(t *testing.T) (addr string) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				p(c)
			}()
		}
	}()
	return ln.Addr().String()
}

// echo is a peer that answers messages of 64 bytes with what change makes of
// them. It gets the number of messages so far on all connections. An error
// ends the connection.
func echo(change func(reply []byte, n int64) ([]byte, error)) peer {
	var n atomic.Int64
	return func(c net.Conn) {
		b := make([]byte, 64, 65)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			reply, err := change(b, n.Add(1))
			if _, werr := c.Write(reply); err != nil || werr != nil {
				return
			}
		}
	}
}

// source is a peer that makes data, of which change can make something else.
func source(change func(pattern []byte)) peer {
	return func(c net.Conn) {
		b := make([]byte, 1<<16)
		for i := range b {
			b[i] = byte(i*7 + i/251)
		}
		change(b)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
}

// The load generator must notice whatever a server does wrong.
func TestLoadChecks(t *testing.T) {
	needTools(t)
	h := newTestHarness(t)
	o := &options{bin: t.TempDir()}
	if err := loadProgram.build(t.Context(), o.bin, io.Discard); err != nil {
		t.Fatal(err)
	}
	right := func(b []byte, n int64) ([]byte, error) { return b, nil }
	// Of the 4 connections each first sends one message, and then waits for the
	// others: so the fifth message is the first under load.
	fifth := func(change func(b []byte) ([]byte, error)) func() peer {
		return func() peer {
			return echo(func(b []byte, n int64) ([]byte, error) {
				if n == 5 {
					return change(b)
				}
				return b, nil
			})
		}
	}
	wrongByte := fifth(func(b []byte) ([]byte, error) {
		b[len(b)-1] ^= 1
		return b, nil
	})
	oneMore := fifth(func(b []byte) ([]byte, error) { return append(b, 'x'), nil })
	ends := fifth(func(b []byte) ([]byte, error) { return nil, io.EOF })
	forgets := fifth(func(b []byte) ([]byte, error) { return nil, nil })
	silent := func(after int64) peer {
		return echo(func(b []byte, n int64) ([]byte, error) {
			if n > after {
				b = nil
			}
			return b, nil
		})
	}
	drop := func(c net.Conn) { io.Copy(io.Discard, c) }
	for _, test := range []struct {
		work string
		name string
		peer peer
		want string // parts of the error, one of which is enough, or "" for none
	}{
		{"echo", "Right", echo(right), ""},
		{"echo", "WrongByte", wrongByte(), "a reply differs"},
		{"echo", "OneMore", oneMore(), "1 bytes more"},
		{"echo", "Ends", ends(), "closed a connection"},
		{"echo", "FallsSilent", silent(1), "no reply for 1000 ms"},
		{"echo", "ForgetsOne", forgets(), "1 of 4 connections had no reply"},
		{"rate", "Right", echo(right), ""},
		{"rate", "WrongByte", wrongByte(), "a reply differs"},
		{"rate", "OneMore", oneMore(), "1 bytes more"},
		{"rate", "Ends", ends(), "closed a connection|Connection reset by peer"}, // the latter if it had more to read
		{"rate", "FallsSilent", silent(4), "4 of 4 connections had no reply"},
		{"churn", "Right", echo(right), ""},
		{"churn", "WrongByte", wrongByte(), "a reply differs"},
		{"churn", "OneMore", oneMore(), "1 bytes more"},
		{"churn", "Ends", ends(), "closed a connection"},
		{"churn", "FallsSilent", silent(1), "no reply for 1000 ms"},
		{"churn", "ForgetsOne", forgets(), "1 of 4 connections had no reply"},
		{"idle", "Right", echo(right), ""},
		{"idle", "NoReply", drop, "no reply for 1000 ms"},
		{"idle", "Ends", func(c net.Conn) { io.CopyN(c, c, 64) }, "closed a connection"},
		{"idle", "Speaks", func(c net.Conn) {
			io.CopyN(c, c, 64)
			c.Write([]byte("x"))
			drop(c)
		}, "1 bytes more"},
		{"sink", "Right", drop, ""},
		{"sink", "Speaks", func(c net.Conn) {
			c.Write([]byte("x"))
			drop(c)
		}, "nobody asked for"},
		{"sink", "Ends", func(c net.Conn) { io.CopyN(io.Discard, c, 1000) }, "Connection reset by peer"}, // says send, or recv
		{"sink", "ReadsNothing", func(c net.Conn) { <-t.Context().Done() }, "4 of 4 connections had no reply"},
		{"source", "Right", source(func(b []byte) {}), ""},
		{"source", "WrongByte", source(func(b []byte) { b[1<<15]++ }), "wrong bytes"},
		{"source", "Short", source(func(b []byte) { copy(b, b[1:]) }), "wrong bytes"},
		{"source", "Silent", drop, "no reply for 1000 ms"},
		{"source", "Ends", func(c net.Conn) { c.Write([]byte{0}) }, "closed a connection"},
	} {
		t.Run(test.work+"/"+test.name, func(t *testing.T) {
			l := load{Work: test.work, Conns: 4, Size: 64, Pipeline: 1}
			if test.work == "rate" {
				l.Rate = 1000
			}
			warmup := 10 * time.Millisecond
			if test.work == "sink" {
				warmup = 300 * time.Millisecond // until the buffers of one that reads nothing are full
			}
			o := &options{bin: o.bin, stall: time.Minute}
			if strings.HasPrefix(test.want, "no reply for") {
				o.stall = time.Second
			}
			m, err := h.drive(t.Context(), drive{options: o, timing: timing{warmup, 200 * time.Millisecond},
				load: l, addr: test.peer.serve(t), pid: os.Getpid(), cpu: -1})
			checkDrive(t, test.work, m, err, test.want)
		})
	}
}

// checkDrive compares what drive returned with the errors wanted, parts of which are
// in want with a | between them, or if that is "" with what can be expected.
func checkDrive(t *testing.T, work string, m measurement, err error, want string) {
	t.Helper()
	switch {
	case want != "":
		if err == nil || !slices.ContainsFunc(strings.Split(want, "|"), func(s string) bool { return strings.Contains(err.Error(), s) }) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	case err != nil:
		t.Error(err)
	case work == "idle":
		if m.Requests != 0 || m.Bytes != 0 {
			t.Errorf("not idle: %+v", m)
		}
	case m.Requests == 0 && m.Bytes == 0:
		t.Errorf("nothing happened: %+v", m)
	}
}

// A proxy's bytes are checked where they come out.
func TestLoadChecksProxy(t *testing.T) {
	needTools(t)
	h := newTestHarness(t)
	o := &options{bin: t.TempDir(), stall: time.Second}
	if err := loadProgram.build(t.Context(), o.bin, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		pass func(backend, client net.Conn) // until one of them ends
		want string
	}{
		{"Right", func(backend, client net.Conn) { io.Copy(backend, client) }, ""},
		{"WrongByte", func(backend, client net.Conn) {
			io.CopyN(backend, client, 1000)
			io.CopyN(io.Discard, client, 1)
			io.Copy(backend, client)
		}, "wrong bytes"},
		{"Drops", func(backend, client net.Conn) { io.Copy(io.Discard, client) }, "no reply for 1000 ms"},
		{"Ends", func(backend, client net.Conn) { io.CopyN(backend, client, 1) }, "closed a connection"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			file, err := ln.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			proxy := peer(func(client net.Conn) {
				backend, err := net.Dial("tcp4", ln.Addr().String())
				if err != nil {
					return
				}
				defer backend.Close()
				test.pass(backend, client)
			})
			addr := proxy.serve(t)
			// Somebody tries whether it accepts, as measure does.
			c, err := net.Dial("tcp4", addr)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			m, err := h.drive(t.Context(), drive{options: o, timing: timing{10 * time.Millisecond, 200 * time.Millisecond},
				load: load{Work: "proxy", Conns: 4}, addr: addr, pid: os.Getpid(), cpu: -1, backend: file})
			checkDrive(t, "proxy", m, err, test.want)
		})
	}
}

// A server that does nothing for a while delays all that was due meanwhile,
// and latency at a fixed rate has to say so, where a closed loop only has one
// request a connection to say it with.
func TestRateOmitsNothing(t *testing.T) {
	needTools(t)
	h := newTestHarness(t)
	o := &options{bin: t.TempDir(), stall: 5 * time.Second}
	if err := loadProgram.build(t.Context(), o.bin, io.Discard); err != nil {
		t.Fatal(err)
	}
	const pause = 100 * time.Millisecond
	var once sync.Once
	var mu sync.Mutex
	var n atomic.Int64
	stalls := peer(func(c net.Conn) {
		b := make([]byte, 64)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			mu.Lock()
			if n.Add(1) > 100 {
				once.Do(func() { time.Sleep(pause) })
			}
			mu.Unlock()
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	m, err := h.drive(t.Context(), drive{options: o, timing: timing{0, time.Second},
		load: load{Work: "rate", Conns: 4, Size: 64, Rate: 1000}, addr: stalls.serve(t), pid: os.Getpid(), cpu: -1})
	if err != nil {
		t.Fatal(err)
	}
	// About 100 of the 1000 requests fell into the pause; the hundredth part
	// of all, 10, waited for nine tenths of it or more.
	if least := float64(pause.Microseconds()) * 0.8; m.P99 < least {
		t.Errorf("p99 is %.0f µs, want at least %.0f", m.P99, least)
	}
}

// An interrupt ends a run at once.
func TestDriveCanceled(t *testing.T) {
	needTools(t)
	h := newTestHarness(t)
	o := &options{bin: t.TempDir(), stall: time.Minute}
	if err := loadProgram.build(t.Context(), o.bin, io.Discard); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c, err := ln.Accept()
		cancel()
		if err == nil {
			defer c.Close()
			io.Copy(io.Discard, c) // until the load is gone
		}
	}()
	d := drive{options: o, timing: timing{time.Minute, time.Minute}, load: load{Work: "echo", Conns: 1, Size: 1, Pipeline: 1},
		addr: ln.Addr().String(), pid: os.Getpid(), cpu: -1}
	if _, err := h.drive(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestStart(t *testing.T) {
	h := newTestHarness(t)

	// What a pinned process sees.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := h.start(h.cpu, nil, w, nil, "grep", "Cpus_allowed_list", "/proc/self/status")
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(bytes.TrimPrefix(bytes.TrimSpace(out), []byte("Cpus_allowed_list:\t"))), strconv.Itoa(h.cpu); got != want {
		t.Errorf("a pinned process may use CPUs %q, want %q", got, want)
	}

	// Stop leaves nothing.
	p, err = h.start(-1, nil, nil, nil, "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	if err := syscall.Kill(p.cmd.Process.Pid, 0); err != syscall.ESRCH {
		t.Errorf("after stop: %v, want ESRCH", err)
	}
	p.stop() // again
}

func TestFollow(t *testing.T) {
	next := []sample{
		{resident: 1},
		{switches: map[int]uint64{1: 100, 2: 5}, user: 10, system: 20},
		{switches: map[int]uint64{1: 130, 3: 10}, user: 11, system: 23, peak: 7}, // 2 has ended, 3 is new
	}
	take := func() (sample, error) {
		s := next[0]
		next = next[1:]
		return s, nil
	}
	samples := make(map[string]sample)
	l, err := follow(strings.NewReader(`{"phase":"connected"}
{"phase":"start"}
{"phase":"end","requests":200000,"bytes":8,"seconds":2,"cpu_ns":1e9,"p50_ns":1500,"p99_ns":2500,"p999_ns":9000}
`), samples, take)
	if err != nil {
		t.Fatal(err)
	}
	want := measurement{Requests: 200000, Bytes: 8, Seconds: 2, CPU: 1, User: 0.25, Switches: 40, P50: 1.5, P99: 2.5, P999: 9, Peak: 7}
	if m := l.measurement(samples); m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
	if got := samples["connected"].resident; got != 1 {
		t.Errorf("the sample of the first line has %d resident bytes", got)
	}
	if _, err := follow(strings.NewReader(""), samples, take); err != io.ErrUnexpectedEOF {
		t.Errorf("no lines: error %v, want io.ErrUnexpectedEOF", err)
	}
}

// What take reads of this process changes when the process does something.
func TestTake(t *testing.T) {
	before, err := take(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.resident == 0 || before.peak < before.resident || len(before.switches) == 0 {
		t.Errorf("impossible: %+v", before)
	}
	const size = 64 << 20
	b := make([]byte, size)
	for i := range b {
		b[i] = 1
	}
	after, err := take(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(b)
	if after.resident < size || after.peak < size || after.user+after.system < before.user+before.system {
		t.Errorf("before %+v, after filling %d bytes %+v", before, size, after)
	}
}
