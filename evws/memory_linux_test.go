// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

// TestIdleMemory measures what an idle connection of a server holds, stream included. The clients
// are bare descriptors, which need no memory of the program.
func TestIdleMemory(t *testing.T) {
	const conns = 400
	for _, c := range []struct {
		name  string
		conf  *Config
		limit uint64
	}{
		{"plain", nil, 700},
		{"compression", &Config{Compress: true}, 700},
		{"PingAfter", &Config{PingAfter: time.Hour}, 1200},
	} {
		t.Run(c.name, func(t *testing.T) {
			loop := newLoop(t, "")
			srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:0", nil)
			if err != nil {
				t.Fatal(err)
			}
			at := netip.MustParseAddrPort(srv.Listeners()[0].Addr().(*net.TCPAddr).String())
			request := strings.ReplaceAll("GET / HTTP/1.1\nHost: h\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: "+sampleKey+
				"\nSec-WebSocket-Version: 13\nSec-WebSocket-Extensions: permessage-deflate\n\n", "\n", "\r\n")
			fds := make([]int, 0, conns)
			defer func() {
				for _, fd := range fds {
					syscall.Close(fd)
				}
			}()
			all := make([]*Conn, 0, conns)
			add := func(n int) {
				for range n {
					fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
					if err != nil {
						t.Fatal(err)
					}
					fds = append(fds, fd)
					if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
						t.Fatal(err)
					}
					if _, err := syscall.Write(fd, []byte(request)); err != nil {
						t.Fatal(err)
					}
					var ev evchan.Event
					for ok := true; ok; {
						ev, ok = loop.Poll(patience)
						if req, is := ev.(*evhttp.Request); is {
							conn, err := Accept(req, c.conf)
							if err != nil {
								t.Fatal(err)
							}
							all = append(all, conn)
							break
						}
					}
					// A message there and back: what that needs is given back.
					syscall.Write(fd, frame(fin|opText, strings.Repeat("hello ", 100)))
					ev, _ = loop.Poll(patience)
					m, ok := ev.(*Message)
					if !ok {
						t.Fatalf("got %v", ev)
					}
					m.Conn.Send(Text, m.Data)
					syscall.Read(fd, make([]byte, 4096))
				}
				for range 10 {
					loop.Poll(0)
				}
			}
			heap := func() uint64 {
				var m runtime.MemStats
				for range 3 {
					runtime.GC()
				}
				runtime.ReadMemStats(&m)
				return m.HeapAlloc + m.StackInuse
			}
			add(50)
			before := heap()
			add(conns - 50)
			each := (int64(heap()) - int64(before)) / (conns - 50)
			t.Logf("%d bytes a connection", each)
			if each > int64(c.limit) {
				t.Errorf("an idle connection holds %d bytes, want at most %d", each, c.limit)
			}
			runtime.KeepAlive(all)
		})
	}
}
