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
	"strconv"
	"strings"
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

// The load generator must notice whatever a server does wrong.
func TestLoadChecks(t *testing.T) {
	needTools(t)
	h := newTestHarness(t)
	o := &options{bin: t.TempDir(), warmup: 10 * time.Millisecond, measured: 200 * time.Millisecond, stall: time.Second}
	if err := loadProgram.build(t.Context(), o.bin, io.Discard); err != nil {
		t.Fatal(err)
	}
	// Each changes what the server sends, given the messages it has had on all
	// its connections so far. Of the 4 connections each first sends one, and then
	// waits for the others: so the fifth is the first under load.
	for _, test := range []struct {
		name   string
		change func(reply []byte, n int64) ([]byte, error)
		want   string // part of the error, or "" for none
	}{
		{"Right", func(b []byte, n int64) ([]byte, error) { return b, nil }, ""},
		{"WrongByte", func(b []byte, n int64) ([]byte, error) {
			if n == 5 {
				b[len(b)-1] ^= 1
			}
			return b, nil
		}, "a reply differs"},
		{"OneMore", func(b []byte, n int64) ([]byte, error) {
			if n == 5 {
				b = append(b, 'x')
			}
			return b, nil
		}, "1 bytes more"},
		{"Ends", func(b []byte, n int64) ([]byte, error) {
			if n == 5 {
				return nil, io.EOF
			}
			return b, nil
		}, "closed a connection"},
		{"FallsSilent", func(b []byte, n int64) ([]byte, error) {
			if n >= 2 {
				b = nil
			}
			return b, nil
		}, "no reply for 1000 ms"},
		{"ForgetsOne", func(b []byte, n int64) ([]byte, error) {
			if n == 5 {
				b = nil
			}
			return b, nil
		}, "1 of 4 connections had no reply"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			var n atomic.Int64
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						b := make([]byte, 64, 65)
						for {
							if _, err := io.ReadFull(c, b); err != nil {
								return
							}
							reply, err := test.change(b, n.Add(1))
							if _, werr := c.Write(reply); err != nil || werr != nil {
								return
							}
						}
					}()
				}
			}()
			m, err := h.drive(t.Context(), o, -1, load{Conns: 4, Size: 64, Pipeline: 1}, ln.Addr().String(), os.Getpid())
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "" && (m.Requests == 0 || m.Requests > uint64(n.Load())):
				t.Errorf("%d requests of the %d served", m.Requests, n.Load())
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// An interrupt ends a run at once.
func TestDriveCanceled(t *testing.T) {
	needTools(t)
	h := newTestHarness(t)
	o := &options{bin: t.TempDir(), warmup: time.Minute, measured: time.Minute, stall: time.Minute}
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
	if _, err := h.drive(ctx, o, -1, load{Conns: 1, Size: 1, Pipeline: 1}, ln.Addr().String(), os.Getpid()); !errors.Is(err, context.Canceled) {
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
	p, err := h.start(h.cpu, nil, w, "grep", "Cpus_allowed_list", "/proc/self/status")
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
	p, err = h.start(-1, nil, nil, "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	if err := syscall.Kill(p.cmd.Process.Pid, 0); err != syscall.ESRCH {
		t.Errorf("after stop: %v, want ESRCH", err)
	}
	p.stop() // again
}

func TestWindow(t *testing.T) {
	samples := []sample{
		{1: 100, 2: 5},
		{1: 130, 3: 10}, // 2 has ended, 3 is new
	}
	take := func() (sample, error) {
		s := samples[0]
		samples = samples[1:]
		return s, nil
	}
	m, err := window(strings.NewReader(`{"phase":"start"}
{"phase":"end","requests":200000,"seconds":2,"cpu_ns":1e9,"p50_ns":1500,"p99_ns":2500,"p999_ns":9000}
`), take)
	if err != nil {
		t.Fatal(err)
	}
	if want := (measurement{Requests: 200000, Seconds: 2, CPU: 5, Rate: 100000, Switches: 20, Busy: 50, P50: 1.5, P99: 2.5, P999: 9}); m != want {
		t.Errorf("got %+v, want %+v", m, want)
	}
	if _, err := window(strings.NewReader(""), take); err != io.ErrUnexpectedEOF {
		t.Errorf("no lines: error %v, want io.ErrUnexpectedEOF", err)
	}
}
