// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

// Http compares HTTP servers, clients and reverse proxies: package evhttp in its ways, fasthttp, nbio,
// net/http and nginx. See README.md of the folder above. The load of servers and proxies is made by wrk,
// which must be installed; without nginx, its row is left out.
//
//	go run ./http
//	go run ./http -work idle -rounds 3
//	go run ./http -work client-500,client-memory,proxy-64
//
// It runs itself as the server or client. They take turns; all processes are on one CPU.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A work is what is measured. Less is better in all of them.
type work struct {
	name    string
	unit    string
	of      []string // what is compared
	measure func(*server) (float64, error)
}

var works = []work{
	{"hello-64", "CPU µs/request", serverNames, func(s *server) (float64, error) { return load(s, 64, "") }},
	{"hello-256", "CPU µs/request", serverNames, func(s *server) (float64, error) { return load(s, 256, "") }},
	{"pipelined-16", "CPU µs/request", serverNames, func(s *server) (float64, error) { return load(s, 64, pipelined) }},
	{"browser", "CPU µs/request", serverNames, func(s *server) (float64, error) { return load(s, 64, browser) }},
	{"idle", "bytes/connection", serverNames, idle},
	{"client-500", "CPU µs/request", clientNames, inFlight},
	{"client-memory", "bytes/call", clientNames, waiting},
	{"proxy-64", "CPU µs/request", proxyNames, func(s *server) (float64, error) { return load(s, 64, "") }},
}

// pipelined is a script for wrk that sends 16 requests in one piece.
const pipelined = `init = function(args)
	local r = {}
	for i = 1, 16 do r[i] = wrk.format("GET", "/") end
	req = table.concat(r)
end
request = function() return req end
`

// browser is one that sends the fields of a browser.
const browser = `wrk.headers["Cache-Control"] = "max-age=0"
wrk.headers["Upgrade-Insecure-Requests"] = "1"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
wrk.headers["Sec-Fetch-Site"] = "same-origin"
wrk.headers["Sec-Fetch-Mode"] = "navigate"
wrk.headers["Sec-Fetch-Dest"] = "document"
wrk.headers["Referer"] = "https://www.example.com/products"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
wrk.headers["Accept-Language"] = "en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7"
wrk.headers["Cookie"] = "session=4f1d2c6b8a9e4e0fb0a2d1c3; theme=dark; consent=yes"
`

var (
	window = flag.Duration("time", 2*time.Second, "how long each run is measured, in full seconds")
	rounds = flag.Int("rounds", 5, "runs of each server and work")
	conns  = flag.Int("conns", 5000, "`connections` of idle")
	which  = flag.String("work", "", "comma-separated `works`; empty: all")
	only   = flag.String("only", "", "comma-separated `servers` or clients, beside the first; empty: all")
	serve  = flag.String("serve", "", "be this `server` or client")
	to     = flag.String("to", "", "with -serve: the `address` of the server that a client or proxy asks")
)

func main() {
	flag.Parse()
	if *serve != "" {
		fail(runServer(*serve))
		return
	}
	// The children are pinned as this process is.
	var cpu unix.CPUSet
	cpu.Set(0)
	fail(unix.SchedSetaffinity(0, &cpu))
	fmt.Println("| work | server | unit | median (least..greatest) | to evhttp, by rounds |")
	fmt.Println("|---|---|---|---:|---:|")
	for _, w := range works {
		if chosen(*which, w.name) {
			fail(compare(w))
		}
	}
}

func chosen(list, name string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "http:", err)
		os.Exit(1)
	}
}

// compare runs w in rounds, each of which begins with the next server, and prints its rows.
func compare(w work) error {
	var names []string
	for _, name := range w.of {
		if _, err := exec.LookPath("nginx"); name == "proxy-nginx" && err != nil {
			fmt.Fprintln(os.Stderr, "http: there is no nginx here")
			continue
		}
		if name == w.of[0] || chosen(*only, name) {
			names = append(names, name)
		}
	}
	values := make(map[string][]float64)
	for round := range *rounds {
		for i := range names {
			name := names[(i+round)%len(names)]
			v, err := measure(name, w)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", w.name, name, err)
			}
			values[name] = append(values[name], v)
		}
	}
	base := values[names[0]]
	for _, name := range names {
		ratios := make([]float64, *rounds)
		for i := range ratios {
			ratios[i] = values[name][i] / base[i]
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", w.name, name, w.unit, spread(values[name]), spread(ratios))
	}
	return nil
}

// spread returns the median of v, with the least and the greatest.
func spread(v []float64) string {
	v = slices.Clone(v)
	slices.Sort(v)
	return fmt.Sprintf("%.2f (%.2f..%.2f)", v[len(v)/2], v[0], v[len(v)-1])
}

func measure(name string, w work) (float64, error) {
	var peer *server
	var err error
	switch {
	case w.name == "client-memory":
		peer, err = start("hold", nil)
	case strings.HasPrefix(name, "client-"), strings.HasPrefix(name, "proxy-"):
		peer, err = start("fasthttp", nil)
	}
	if err != nil {
		return 0, err
	}
	if peer != nil {
		defer peer.stop()
	}
	s, err := start(name, peer)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	return w.measure(s)
}

// A server is a process: a server, a proxy or a client.
type server struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	addr    string
	peer    *server // that a client or proxy asks, or nil
	foreign bool    // it is no copy of this program
	dir     string  // what it has in files, or ""
}

// A sample is what a server says of itself.
type sample struct {
	Addr string
	CPU  time.Duration
	RSS  int64 // bytes

	Answered int64 // calls of a client
	Arrived  int64 // requests of the server "hold"
}

// start starts a server, or a client or proxy that asks peer.
func start(name string, peer *server) (*server, error) {
	if name == proxyNames[0] || name == "proxy-nginx" {
		s, err := startForeign(name, peer.addr)
		if err != nil {
			if s != nil {
				s.stop()
			}
			return nil, err
		}
		return s, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{peer: peer}
	s.cmd = exec.Command(self, "-serve", name, "-time", window.String())
	if peer != nil {
		s.cmd.Args = append(s.cmd.Args, "-to", peer.addr)
	}
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.out = json.NewDecoder(bufio.NewReader(out))
	first, err := s.ask()
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("the server does not start: %w", err)
	}
	s.addr = first.Addr
	if strings.HasPrefix(name, "client-") {
		return s, nil
	}
	if err := s.answers(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// ask has the server say what it has used.
func (s *server) ask() (sample, error) {
	if s.foreign {
		return sampleOf(s.cmd.Process.Pid)
	}
	return s.tell("")
}

// tell is ask, and has a client begin so many further calls, if it is a number.
func (s *server) tell(more string) (sample, error) {
	var v sample
	if _, err := io.WriteString(s.in, more+"\n"); err != nil {
		return v, err
	}
	return v, s.out.Decode(&v)
}

func (s *server) stop() {
	if s.in != nil {
		s.in.Close()
	}
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// answers checks a reply of the server.
func (s *server) answers() error {
	c, err := connect(s.addr)
	if err != nil {
		return err
	}
	return c.Close()
}

// connect makes a connection, and a request on it.
func connect(addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	var got []byte
	p := make([]byte, 4096)
	for !bytes.HasSuffix(got, hello) {
		n, err := c.Read(p)
		if got = append(got, p[:n]...); err != nil {
			c.Close()
			return nil, fmt.Errorf("%q: %w", got, err)
		}
	}
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 200 ")) {
		c.Close()
		return nil, fmt.Errorf("%q", got)
	}
	return c, nil
}

var requests = regexp.MustCompile(`(\d+) requests in `)

// load runs wrk and returns the server's CPU time for a request.
func load(s *server, conns int, script string) (float64, error) {
	seconds := strconv.Itoa(max(1, int(window.Seconds())))
	args := []string{"-t", "1", "-c", strconv.Itoa(conns), "-d", seconds + "s"}
	if script != "" {
		dir, err := os.MkdirTemp("", "http")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "script.lua")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			return 0, err
		}
		args = append(args, "-s", file)
	}
	before, err := s.ask()
	if err != nil {
		return 0, err
	}
	out, err := exec.Command("wrk", append(args, "http://"+s.addr+"/")...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	after, err := s.ask()
	if err != nil {
		return 0, err
	}
	m := requests.FindSubmatch(out)
	if m == nil || bytes.Contains(out, []byte("Socket errors")) || bytes.Contains(out, []byte("Non-2xx")) {
		return 0, fmt.Errorf("wrk says: %s", out)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil || n == 0 {
		return 0, errors.New("wrk has counted no request")
	}
	return float64((after.CPU - before.CPU).Nanoseconds()) / 1e3 / float64(n), nil
}

// idle returns the memory that a connection holds after its first request.
func idle(s *server) (float64, error) {
	open := make([]net.Conn, 0, *conns)
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	grow := func(n int) error {
		for range n {
			c, err := connect(s.addr)
			if err != nil {
				return err
			}
			open = append(open, c)
		}
		return nil
	}
	if err := grow(*conns / 10); err != nil { // what comes with the first ones is not counted
		return 0, err
	}
	before, err := s.ask()
	if err != nil {
		return 0, err
	}
	if err := grow(*conns); err != nil {
		return 0, err
	}
	after, err := s.ask()
	if err != nil {
		return 0, err
	}
	return float64(after.RSS-before.RSS) / float64(*conns), nil
}
