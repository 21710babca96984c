// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// program returns the path of a program that others wrote, or skips the test.
func program(t *testing.T, name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("there is no " + name + " here")
	}
	return path
}

// output runs a program and returns what it prints.
func output(t *testing.T, path string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", path, args, err, out)
	}
	return string(out)
}

// The load generators of Apache and wrk count each reply, and check lengths.
func TestLoadGenerators(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			srv := startWay(t, way, nil, each(t, func(r *Request) { r.ReplyString(200, "hello") }))
			t.Run("ab", func(t *testing.T) {
				out := output(t, program(t, "ab"), "-q", "-n", "2000", "-c", "20", "-k", "http://"+srv.addr+"/")
				if !regexp.MustCompile(`Complete requests: +2000\nFailed requests: +0\nKeep-Alive requests: +2000\n`).MatchString(out) {
					t.Error(out)
				}
				out = output(t, program(t, "ab"), "-q", "-n", "500", "-c", "20", "http://"+srv.addr+"/")
				if !regexp.MustCompile(`Complete requests: +500\nFailed requests: +0\n`).MatchString(out) {
					t.Error(out)
				}
			})
			t.Run("wrk", func(t *testing.T) {
				out := output(t, program(t, "wrk"), "-t", "1", "-c", "20", "-d", "1s", "http://"+srv.addr+"/")
				if strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") || strings.Contains(out, " 0 requests") {
					t.Error(out)
				}
			})
		})
	}
}

func TestPython(t *testing.T) {
	python := program(t, "python3")
	srv := start(t, nil, each(t, echoBody))
	host, port, _ := net.SplitHostPort(srv.addr)
	const script = `
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]))
for i in range(3):
    c.request("POST", "/", body=b"abc" * 1000 * i)
    r = c.getresponse()
    print(r.status, len(r.read()))
c.request("POST", "/", body=iter([b"one", b"two"]), encode_chunked=True)
print(c.getresponse().read().decode())
`
	if got := output(t, python, "-c", script, host, port); got != "200 0\n200 3000\n200 6000\nonetwo\n" {
		t.Error(got)
	}
}

// TestNginx puts nginx in front, and sends the hostile inputs through it: for each request that the
// server answers, the client gets one reply from nginx. So no part of a body was taken for a
// request by one of the two only.
func TestNginx(t *testing.T) {
	nginx := program(t, "nginx")
	var mu sync.Mutex
	var seen []string
	srv := start(t, nil, each(t, func(r *Request) {
		mu.Lock()
		seen = append(seen, r.Method()+" "+r.Target())
		mu.Unlock()
		r.Reply(200, r.Body().Bytes())
	}))
	dir := t.TempDir()
	socket := filepath.Join(dir, "nginx.sock")
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 100; }
http {
	access_log off; lingering_close off; lingering_timeout 100ms; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	upstream back { server %[2]s; keepalive 4; }
	server {
		listen unix:%[3]s;
		location / { proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; proxy_read_timeout 1s; proxy_ignore_client_abort on; }
	}
}`, dir, srv.addr, socket)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nginx, "-c", conf, "-p", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	connect := func() net.Conn {
		for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			c, err := net.Dial("unix", socket)
			if err == nil {
				c.SetDeadline(time.Now().Add(10 * time.Second))
				return c
			}
			if time.Now().After(until) {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
		}
	}
	for _, c := range hostileInputs {
		mu.Lock()
		seen = nil
		mu.Unlock()
		conn := connect()
		io.WriteString(conn, c.in)
		conn.(*net.UnixConn).CloseWrite()
		replies, _ := io.ReadAll(conn)
		conn.Close()
		ok := strings.Count(string(replies), "HTTP/1.1 200 OK\r\n")
		if c.name == "HTTP/0.9" || c.name == "second is bad" {
			ok++ // nginx speaks HTTP/0.9, whose replies have no head
		}
		mu.Lock()
		if len(seen) != ok {
			t.Errorf("%s: nginx has given %d replies, the server has seen %q\n%.300q", c.name, ok, seen, replies)
		}
		mu.Unlock()
	}
}
