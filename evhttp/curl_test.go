// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evchan/evchan"
)

// curl runs curl with args, and returns what it prints.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl here")
	}
	var out, stderr bytes.Buffer
	cmd := exec.Command(path, append([]string{"-sS", "--max-time", "20", "--noproxy", "*"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("curl %q: %v: %s", args, err, stderr.String())
	}
	return out.String()
}

func TestCurl(t *testing.T) {
	dir := t.TempDir()
	big := strings.Repeat("0123456789", 200_000)
	file := filepath.Join(dir, "big.txt")
	if err := os.WriteFile(file, []byte(big), 0o644); err != nil {
		t.Fatal(err)
	}
	files := http.FileServer(http.Dir(dir))
	srv := start(t, &Config{MaxBody: 10 << 20}, each(t, func(r *Request) {
		switch r.Path() {
		case "/hello":
			r.ReplyString(200, fmt.Sprintf("%s %s/1.%d %s", r.Method(), "HTTP", r.Minor(), r.Query().Get("q")))
		case "/echo":
			r.Set("Content-Type", "application/octet-stream")
			r.ReplyBuffer(200, r.Body())
		case "/pieces":
			for i := range 100 {
				fmt.Fprintf(r, "%d ", i)
			}
			r.Finish()
		default:
			r.Serve(files)
		}
	}))
	socket := filepath.Join(dir, "socket")
	if _, err := srv.Listen(srv.loop, "unix", socket, nil); err != nil {
		t.Fatal(err)
	}
	url := "http://" + srv.addr
	var pieces strings.Builder
	for i := range 100 {
		fmt.Fprintf(&pieces, "%d ", i)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"plain", []string{url + "/hello?q=a%20b"}, "GET HTTP/1.1 a b"},
		{"1.0", []string{"--http1.0", url + "/hello"}, "GET HTTP/1.0 "},
		{"keep-alive", []string{url + "/hello", url + "/hello?q=2"}, "GET HTTP/1.1 GET HTTP/1.1 2"},
		{"one connection", []string{"-o", dir + "/x", "-o", dir + "/x", "-w", "%{num_connects} ", url + "/hello", url + "/big.txt"}, "1 0 "},
		{"1.0 keep-alive", []string{"--http1.0", "-H", "Connection: keep-alive", url + "/hello", url + "/hello"}, "GET HTTP/1.0 GET HTTP/1.0 "},
		{"any method", []string{"-X", "PROPFIND", url + "/hello"}, "PROPFIND HTTP/1.1 "},
		{"unix", []string{"--unix-socket", socket, "http://x/hello"}, "GET HTTP/1.1 "},
		{"upload", []string{"--data-binary", "@" + file, url + "/echo"}, big}, // curl expects 100-continue
		{"chunked upload", []string{"-H", "Transfer-Encoding: chunked", "--data-binary", "@" + file, url + "/echo"}, big},
		{"1.0 upload", []string{"--http1.0", "--data-binary", "@" + file, url + "/echo"}, big},
		{"chunked reply", []string{url + "/pieces"}, pieces.String()},
		{"1.0 pieces", []string{"--http1.0", url + "/pieces"}, pieces.String()},
		{"file", []string{url + "/big.txt"}, big},
		{"range", []string{"-r", "10-14", url + "/big.txt"}, "01234"},
		{"tail", []string{"-r", "-3", url + "/big.txt"}, "789"},
		{"head", []string{"-I", "-o", os.DevNull, "-w", "%{http_code} %{size_download}", url + "/big.txt"}, "200 0"},
		{"unchanged", []string{"-z", file, "-o", os.DevNull, "-w", "%{http_code}", url + "/big.txt"}, "304"},
		{"compressed", []string{"--compressed", url + "/hello"}, "GET HTTP/1.1 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := curl(t, c.args...); got != c.want {
				t.Errorf("%d bytes, %.200q; want %d, %.200q", len(got), got, len(c.want), c.want)
			}
		})
	}
}

// curl sees what is sent as it is sent, and hears 413 before it has sent all.
func TestCurlStreams(t *testing.T) {
	srv := start(t, &Config{Streaming: true, MaxBody: 1 << 20}, func(ev evchan.Event) {
		if r, ok := ev.(*Request); ok {
			es, err := r.EventStream()
			if err != nil {
				t.Error(err)
				return
			}
			es.Send(SSE{Data: "one"})
			es.Close()
		}
	})
	if got := curl(t, "-N", "http://"+srv.addr); got != "data: one\n\n" {
		t.Errorf("%q", got)
	}
	file := filepath.Join(t.TempDir(), "zeros")
	if err := os.WriteFile(file, make([]byte, 3<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := curl(t, "-T", file, "-o", os.DevNull, "-w", "%{http_code}", "http://"+srv.addr+"/x"); got != "413" {
		t.Errorf("%q", got)
	}
}
