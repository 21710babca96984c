// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/valyala/fasthttp"
)

// clientNames are the clients. The others are compared with the first.
var clientNames = []string{"client-evhttp", "client-roundtripper", "client-fasthttp", "client-std"}

// maxCalls bounds the calls of a client that are in flight at once.
const maxCalls = 20_000

// answered and arrived count the calls of a client that were answered, and the requests of the
// server "hold".
var answered, arrived atomic.Int64

// runClient is the client of that name, and keeps calls to url in flight, each of which is made again
// when it was answered. grow says how many are added.
func runClient(name, url string, grow <-chan int) error {
	if file := os.Getenv("CPUPROFILE"); file != "" {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		time.AfterFunc(*window, pprof.StopCPUProfile)
	}
	switch name {
	case "client-evhttp":
		return callEvhttp(url, grow)
	case "client-fasthttp":
		c := &fasthttp.Client{MaxConnsPerHost: maxCalls, MaxIdleConnDuration: idleTimeout}
		return eachOn(grow, func() error {
			req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
			defer fasthttp.ReleaseRequest(req)
			defer fasthttp.ReleaseResponse(resp)
			req.SetRequestURI(url)
			if err := c.Do(req, resp); err != nil {
				return err
			}
			return check(resp.StatusCode(), len(resp.Body()))
		})
	}
	var rt http.RoundTripper = &http.Transport{MaxIdleConns: maxCalls, MaxIdleConnsPerHost: maxCalls, IdleConnTimeout: idleTimeout}
	if name == "client-roundtripper" {
		loop, err := evchan.New(nil)
		if err != nil {
			return err
		}
		rt = evhttp.NewClient(loop, &evhttp.ClientConfig{MaxConns: maxCalls, HeadTimeout: -1}).RoundTripper()
		go func() {
			for range loop.All() {
			}
		}()
	}
	c := &http.Client{Transport: rt}
	return eachOn(grow, func() error {
		resp, err := c.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil {
			return err
		}
		return check(resp.StatusCode, int(n))
	})
}

// callEvhttp makes the calls in a loop.
func callEvhttp(url string, grow <-chan int) error {
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	cl := evhttp.NewClient(loop, &evhttp.ClientConfig{MaxConns: maxCalls, HeadTimeout: -1})
	call := func() error {
		req, err := http.NewRequest("GET", url, nil)
		if err != nil {
			return err
		}
		return cl.Do(&evhttp.Call{Request: req})
	}
	box := loop.Mailbox(0)
	box.Expect(1) // the loop is not empty without calls
	go func() {
		for n := range grow {
			box.Post(&more{n: n})
		}
	}()
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *more:
			for range ev.n {
				if err := call(); err != nil {
					return err
				}
			}
			box.Expect(1)
		case *evhttp.Response:
			if ev.Err != nil {
				return ev.Err
			}
			if err := check(ev.Status, ev.Body.Len()); err != nil {
				return err
			}
			answered.Add(1)
			if err := call(); err != nil {
				return err
			}
		}
	}
	return loop.Err()
}

// A more has callEvhttp begin further calls.
type more struct {
	evchan.Custom
	n int
}

// eachOn has call called again and again, on as many goroutines as grow says.
func eachOn(grow <-chan int, call func() error) error {
	for n := range grow {
		for range n {
			go func() {
				for {
					fail(call())
					answered.Add(1)
				}
			}()
		}
	}
	return nil
}

func check(status, length int) error {
	if status != 200 || length != len(hello) {
		return fmt.Errorf("an answer with status %d and %d bytes", status, length)
	}
	return nil
}

// hold is a server that counts requests and answers the first one only, which checks it.
func hold(loop *evchan.Loop) error {
	for ev := range loop.All() {
		if r, ok := ev.(*evhttp.Request); ok {
			if arrived.Add(1) == 1 {
				r.Reply(200, hello)
			}
		}
	}
	return loop.Err()
}

// inFlight returns the CPU time of a call, with 500 in flight.
func inFlight(c *server) (float64, error) {
	if _, err := c.tell("500"); err != nil {
		return 0, err
	}
	time.Sleep(*window / 4) // the connections are made
	before, err := c.ask()
	if err != nil {
		return 0, err
	}
	time.Sleep(*window)
	after, err := c.ask()
	if err != nil {
		return 0, err
	}
	if after.Answered == before.Answered {
		return 0, fmt.Errorf("no call was answered")
	}
	return float64((after.CPU - before.CPU).Nanoseconds()) / 1e3 / float64(after.Answered-before.Answered), nil
}

// waiting returns the memory that a call holds which waits for its response, of 10,000.
func waiting(c *server) (float64, error) {
	const first, calls = 1000, 10_000
	var used [2]sample
	for i, n := range []int{first, calls} {
		if _, err := c.tell(fmt.Sprint(n)); err != nil {
			return 0, err
		}
		for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			v, err := c.peer.ask()
			if err != nil {
				return 0, err
			}
			if v.Arrived-1 == int64(first+i*calls) {
				break
			}
			if time.Since(begun) > time.Minute {
				return 0, fmt.Errorf("%d requests have arrived", v.Arrived)
			}
		}
		var err error
		if used[i], err = c.ask(); err != nil {
			return 0, err
		}
	}
	return float64(used[1].RSS-used[0].RSS) / calls, nil
}
