// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// running starts a program until the end of the test, and waits until it listens.
func running(t *testing.T, network, address, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%v\n%s", err, stderr.String())
		}
	}
}

// The client gets the same from nginx and from Python, which speaks HTTP/1.0, as from the files.
func TestClientPrograms(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("0123456789", 100_000)
	if err := os.WriteFile(filepath.Join(dir, "long.txt"), []byte(long), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, cl *testClient, url string) {
		t.Helper()
		for range 3 {
			want(t, cl.get(url+"/long.txt"), 200, long)
			if resp := cl.get(url + "/no"); resp.Err != nil || resp.Status != 404 || !resp.Complete {
				t.Error(resp)
			}
			if resp := cl.get(url + "/dir"); resp.Err != nil || resp.Status != 301 || resp.Header("Location") == "" {
				t.Error(resp)
			}
			resp := cl.fetch(&Call{Request: request(t, "HEAD", url+"/long.txt", nil)})
			if want(t, resp, 200, ""); resp.ContentLength() != int64(len(long)) {
				t.Error(resp.ContentLength())
			}
		}
		hr, err := (&http.Client{Transport: cl.RoundTripper()}).Get(url + "/long.txt")
		if err != nil {
			t.Fatal(err)
		}
		defer hr.Body.Close()
		var got bytes.Buffer
		if _, err := got.ReadFrom(hr.Body); err != nil || got.String() != long {
			t.Error(err, got.Len())
		}
	}
	t.Run("python", func(t *testing.T) {
		python := program(t, "python3")
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().String()
		ln.Close()
		_, port, _ := net.SplitHostPort(addr)
		running(t, "tcp", addr, python, "-m", "http.server", "--bind", "127.0.0.1", "--directory", dir, port)
		check(t, client(t, nil), "http://"+addr)
	})
	t.Run("nginx", func(t *testing.T) {
		nginx := program(t, "nginx")
		if len(dir) > 80 {
			t.Skip("the directory's name is too long for a Unix socket")
		}
		socket, conf := filepath.Join(dir, "s"), filepath.Join(dir, "nginx.conf")
		text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 100; }
http {
	access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	gzip on; gzip_types *; gzip_proxied any;
	server { listen unix:%[2]s; root %[1]s; keepalive_requests 5; }
}`, dir, socket)
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		running(t, "unix", socket, nginx, "-c", conf, "-p", dir)
		cl := client(t, &ClientConfig{Address: func(string) (string, string) { return "unix", socket }})
		check(t, cl, "http://nginx")
		resp := cl.get("http://nginx/long.txt")
		if !resp.unzip {
			t.Error("nginx has not sent gzip")
		}
	})
}

// A stream that the program has made becomes a connection of the client.
func TestClientAdopt(t *testing.T) {
	cl := client(t, &ClientConfig{Address: func(string) (string, string) { return "tcp", "0.0.0.0:0" }})
	r := request(t, "GET", script(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"), nil)
	s, err := cl.Loop().Dial("tcp", r.URL.Host, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cl.Adopt(r.URL, s); err != nil {
		t.Fatal(err)
	}
	// Connected may have been on its way to the receiver before.
	cl.do(&Call{Request: r})
	for {
		if resp, ok := cl.next().(*Response); ok {
			want(t, resp, 200, "x")
			break
		}
	}
}
