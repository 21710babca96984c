// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// proxyNames are the reverse proxies. The others are compared with the first. The first is
// examples/httpproxy.
var proxyNames = []string{"proxy-evhttp", "proxy-nginx", "proxy-std"}

// proxyConns is how many connections a proxy keeps to the server behind it.
const proxyConns = 256

// runProxy is httputil.ReverseProxy in front of the server at addr.
func runProxy(ln net.Listener, addr string) error {
	rp := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	rp.Transport = &http.Transport{MaxIdleConns: proxyConns, MaxIdleConnsPerHost: proxyConns, IdleConnTimeout: idleTimeout}
	rp.ErrorLog = log.New(io.Discard, "", 0) // what wrk leaves behind at its end
	return (&http.Server{Handler: rp, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: idleTimeout}).Serve(ln)
}

// startForeign starts a proxy that is a program of its own, and of which the kernel says what it
// has used.
func startForeign(name, back string) (*server, error) {
	dir, err := os.MkdirTemp("", "http")
	if err != nil {
		return nil, err
	}
	s := &server{foreign: true, dir: dir}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return s, err
	}
	s.addr = ln.Addr().String()
	ln.Close()
	if name == "proxy-nginx" {
		conf := filepath.Join(dir, "nginx.conf")
		text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 4096; }
http {
	access_log off; keepalive_requests 1000000000; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	upstream back { server %[2]s; keepalive %[4]d; keepalive_requests 1000000000; }
	server { listen %[3]s; location / { proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; } }
}
`, dir, back, s.addr, proxyConns)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			return s, err
		}
		s.cmd = exec.Command("nginx", "-c", conf, "-p", dir, "-e", filepath.Join(dir, "error.log"))
	} else {
		program := filepath.Join(dir, "httpproxy")
		if out, err := exec.Command("go", "build", "-o", program, "github.com/evchan/evchan/examples/httpproxy").CombinedOutput(); err != nil {
			return s, fmt.Errorf("%w: %s", err, out)
		}
		s.cmd = exec.Command(program, "-listen", s.addr, "-to", "http://"+back)
	}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return s, err
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := s.answers()
		if err == nil || time.Since(begun) > 10*time.Second {
			return s, err
		}
	}
}

// sampleOf returns what the kernel says of a process.
func sampleOf(pid int) (sample, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return sample{}, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime; the state is the first one here
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return sample{}, err
		}
		ticks += n
	}
	return sample{CPU: time.Duration(ticks) * time.Second / 100, RSS: residentOf(fmt.Sprint(pid))}, nil
}
