// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"time"

	coder "github.com/coder/websocket"
	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evtls"
	"github.com/evchan/evchan/evws"
	"github.com/gorilla/websocket"
	llib "github.com/lesismal/llib/std/crypto/tls"
	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	nbio "github.com/lesismal/nbio/nbhttp/websocket"
	"golang.org/x/sys/unix"
)

// news is what a broadcast sends.
var news = message(128)

// A program is a server that echoes messages, and sends all its clients one when it is asked to.
type program struct {
	name string
	run  func(p *program, ln net.Listener, conf *tls.Config) error
	only string // the work that it takes part in; "": all

	mu    sync.Mutex // guards following
	conns int
	send  func() // begins a broadcast
	each  map[any]func() error
}

// does reports whether the program takes part in a work.
func (p *program) does(work string) bool { return p.only == "" || p.only == work }

// servers are the programs. The others are compared with the first.
var servers = []*program{
	{name: "evws", run: serveEvws},
	{name: "evws-events", run: serveEvws},
	{name: "evws-write", run: serveEvws, only: "broadcast"},
	{name: "gorilla", run: serveGorilla},
	{name: "gorilla-hub", run: serveGorilla, only: "broadcast"},
	{name: "coder", run: serveCoder},
	{name: "nbio", run: serveNbio},
}

// runServer is the server of that name. For each line on its standard input it says what it has
// used.
func runServer(name string, secret bool) error {
	openFiles(1 << 20)
	var conf *tls.Config
	if secret {
		var err error
		if conf, err = certificate(); err != nil {
			return err
		}
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	for _, p := range servers {
		if p.name == name {
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			go p.report(ln.Addr().String())
			return p.run(p, ln, conf)
		}
	}
	return fmt.Errorf("there is no server %q", name)
}

func certificate() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}

// report answers questions about what the process has used.
func (p *program) report(addr string) {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		if in.Text() == "gc" {
			time.Sleep(200 * time.Millisecond) // until what it does has ended
			debug.FreeOSMemory()
			debug.FreeOSMemory()
		}
		var used unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &used); err != nil {
			fail(err)
		}
		p.mu.Lock()
		conns, send := p.conns, p.send
		p.mu.Unlock()
		out.Encode(sample{addr, time.Duration(used.Nano()), resident(), conns})
		if in.Text() == "broadcast" && send != nil {
			send()
		}
	}
	if *profile != "" {
		pprof.StopCPUProfile()
	}
	os.Exit(0)
}

// resident returns the resident memory.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	fmt.Sscan(string(text), &size, &pages)
	return pages * int64(os.Getpagesize())
}

// joined counts a client, and keeps how it is sent a broadcast.
func (p *program) joined(c any, send func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.each == nil {
		p.each = make(map[any]func() error)
		p.send = p.sendEach
	}
	p.each[c] = send
	p.conns = len(p.each)
}

func (p *program) left(c any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.each, c)
	p.conns = len(p.each)
}

// sendEach is a broadcast by the goroutine that calls it.
func (p *program) sendEach() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, send := range p.each {
		if err := send(); err != nil {
			fail(err)
		}
	}
}

// serveEvws is a range over All or Events. A broadcast is a message prepared once. evws-write is what
// a broadcast costs at least: it writes to the sockets by itself, with one system call for each.
func serveEvws(p *program, ln net.Listener, conf *tls.Config) error {
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	lc := &evchan.ListenConfig{KeepAlive: 15 * time.Second}
	if conf != nil {
		lc.Over = evtls.Over(conf, nil)
	}
	srv := evhttp.New(&evhttp.Config{TLSState: evtls.State})
	if _, err := loop.WrapListener(ln, srv.ListenConfig(lc)); err != nil {
		return err
	}
	trigger := loop.Trigger()
	p.send = trigger.Fire
	clients := make(map[*evws.Conn]struct{})
	count := func() {
		p.mu.Lock()
		p.conns = len(clients)
		p.mu.Unlock()
	}
	take := func(ev evchan.Event) {
		switch ev := ev.(type) {
		case *evhttp.Request:
			if c, err := evws.Accept(ev, nil); err == nil {
				clients[c] = struct{}{}
				count()
			}
		case *evws.Message:
			ev.Conn.Send(ev.Type, ev.Data)
		case *evws.Closed:
			delete(clients, ev.Conn)
			count()
		case evchan.Fired:
			ev.Trigger.Take()
			if p.name == "evws-write" {
				writeAll(clients)
				break
			}
			m := evws.Prepare(evws.Binary, news)
			for c := range clients {
				c.SendPrepared(m)
			}
		}
	}
	if p.name == "evws-events" {
		for ev := range loop.Events() {
			take(ev)
		}
	}
	for ev := range loop.All() {
		take(ev)
	}
	return loop.Err()
}

// writeAll sends a broadcast without the package.
func writeAll(clients map[*evws.Conn]struct{}) {
	frame := plain(news)
	for c := range clients {
		raw, err := c.Stream().SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { unix.Write(int(fd), frame) })
		}
		if err != nil {
			fail(err)
		}
	}
}

// serveHTTP is net/http.
func serveHTTP(ln net.Listener, conf *tls.Config, h http.HandlerFunc) error {
	srv := &http.Server{Handler: h, TLSConfig: conf, ReadHeaderTimeout: 10 * time.Second}
	if conf != nil {
		return srv.ServeTLS(ln, "", "")
	}
	return srv.Serve(ln)
}

// serveGorilla is gorilla/websocket. One goroutine sends a broadcast, prepared once, to one client
// after another. As a hub, it gives it to the goroutines of the clients, as gorilla's example of a
// chat does: a client that is slow stops no other.
func serveGorilla(p *program, ln net.Listener, conf *tls.Config) error {
	up := websocket.Upgrader{}
	m, err := websocket.NewPreparedMessage(websocket.BinaryMessage, news)
	if err != nil {
		return err
	}
	return serveHTTP(ln, conf, func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		send := func() error { return c.WritePreparedMessage(m) }
		if p.name == "gorilla-hub" {
			work := make(chan *websocket.PreparedMessage, 16)
			defer close(work)
			go func() {
				for m := range work {
					c.WritePreparedMessage(m)
				}
			}()
			send = func() error { work <- m; return nil }
		}
		p.joined(c, send)
		defer p.left(c)
		for {
			t, b, err := c.ReadMessage()
			if err != nil || c.WriteMessage(t, b) != nil {
				return
			}
		}
	})
}

// serveCoder is coder/websocket.
func serveCoder(p *program, ln net.Listener, conf *tls.Config) error {
	ctx := context.Background()
	return serveHTTP(ln, conf, func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, &coder.AcceptOptions{CompressionMode: coder.CompressionDisabled})
		if err != nil {
			return
		}
		defer c.CloseNow()
		p.joined(c, func() error { return c.Write(ctx, coder.MessageBinary, news) })
		defer p.left(c)
		for {
			t, b, err := c.Read(ctx)
			if err != nil || c.Write(ctx, t, b) != nil {
				return
			}
		}
	})
}

// serveNbio is nbio, with its TLS.
func serveNbio(p *program, ln net.Listener, conf *tls.Config) error {
	addr := ln.Addr().String()
	ln.Close()
	logging.SetLevel(logging.LevelNone) // it writes to standard output
	up := nbio.NewUpgrader()
	up.OnMessage(func(c *nbio.Conn, t nbio.MessageType, b []byte) { c.WriteMessage(t, b) })
	up.OnOpen(func(c *nbio.Conn) {
		p.joined(c, func() error { return c.WriteMessage(nbio.BinaryMessage, news) })
	})
	up.OnClose(func(c *nbio.Conn, err error) { p.left(c) })
	ec := nbhttp.Config{Network: "tcp", MaxLoad: 1 << 20, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up.Upgrade(w, r, nil)
	})}
	if conf == nil {
		ec.Addrs = []string{addr}
	} else {
		c := conf.Certificates[0]
		ec.AddrsTLS = []string{addr}
		ec.TLSConfig = &llib.Config{Certificates: []llib.Certificate{{Certificate: c.Certificate, PrivateKey: c.PrivateKey}}}
	}
	if err := nbhttp.NewEngine(ec).Start(); err != nil {
		return err
	}
	select {}
}
