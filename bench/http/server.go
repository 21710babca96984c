// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// serverNames are the servers. The others are compared with the first.
var serverNames = []string{"evhttp", "evhttp-events", "evhttp-serve", "evhttp-go", "evhttp-handler", "fasthttp", "nbio", "std"}

var hello = []byte("Hello, World!")

const (
	plain       = "text/plain; charset=utf-8"
	idleTimeout = 2 * time.Minute // all servers have one
)

var handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header()["Content-Type"] = plainValue
	w.Write(hello)
})

// sized says the length, without which nbio sends a chunk.
var sized = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header()["Content-Length"] = []string{"13"}
	handler(w, r)
})

var plainValue = []string{plain}

// runServer is the server, proxy or client of that name. For each line on its standard input it says
// what it has used. A client begins so many further calls if the line is a number.
func runServer(name string) error {
	// Connections of the idle work need descriptors.
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
	grow := make(chan int, 10)
	if strings.HasPrefix(name, "client-") {
		go report("", grow)
		return runClient(name, "http://"+*to+"/", grow)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go report(ln.Addr().String(), grow)
	switch name {
	case "proxy-std":
		return runProxy(ln, *to)
	case "std":
		return (&http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: idleTimeout}).Serve(ln)
	case "fasthttp":
		return (&fasthttp.Server{NoDefaultServerHeader: true, IdleTimeout: idleTimeout, Concurrency: 1 << 20, Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType(plain)
			ctx.SetBody(hello)
		}}).Serve(ln)
	case "nbio":
		addr := ln.Addr().String()
		ln.Close()
		logging.SetLevel(logging.LevelNone) // it writes to standard output
		e := nbhttp.NewEngine(nbhttp.Config{Network: "tcp", Addrs: []string{addr}, Handler: sized, KeepaliveTime: idleTimeout})
		if err := e.Start(); err != nil {
			return err
		}
		select {}
	}
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	if name == "hold" {
		if _, err := loop.WrapListener(ln, evhttp.New(nil).ListenConfig(nil)); err != nil {
			return err
		}
		return hold(loop)
	}
	way := strings.TrimPrefix(strings.TrimPrefix(name, "evhttp"), "-")
	conf := &evhttp.Config{IdleTimeout: idleTimeout}
	if way == "handler" {
		conf.Handler = handler
	}
	srv := evhttp.New(conf)
	if _, err := loop.WrapListener(ln, srv.ListenConfig(&evchan.ListenConfig{KeepAlive: 15 * time.Second})); err != nil {
		return err
	}
	if way == "events" {
		for ev := range loop.Events() {
			answer(ev, way)
		}
	}
	for ev := range loop.All() {
		answer(ev, way)
	}
	return loop.Err()
}

func answer(ev evchan.Event, way string) {
	r, ok := ev.(*evhttp.Request)
	if !ok {
		return
	}
	switch way {
	case "serve":
		r.Serve(handler)
	case "go":
		r.Go(handler)
	default:
		r.Reply(200, hello)
	}
}

// report answers questions about what the process has used.
func report(addr string, grow chan<- int) {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		if n, err := strconv.Atoi(in.Text()); err == nil {
			grow <- n
		}
		debug.FreeOSMemory() // what is garbage does not count for RSS
		var used unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		out.Encode(sample{addr, time.Duration(used.Utime.Nano() + used.Stime.Nano()), residentOf("self"), answered.Load(), arrived.Load()})
	}
	os.Exit(0)
}

// residentOf returns the resident memory of a process.
func residentOf(pid string) int64 {
	text, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	fmt.Sscan(string(text), &size, &pages)
	return pages * int64(os.Getpagesize())
}
