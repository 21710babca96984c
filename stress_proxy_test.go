// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var proxyBytes = flag.Int64("proxy.bytes", 24<<20, "how much TestProxy sends through the proxy each time")

// proxyOutput is the proxy's MaxOutput.
const proxyOutput = 256 << 10

// TestProxy sends much from a fast writer through a proxy, which is a process of
// its own, to a slow reader: no byte is lost or changed, the proxy holds little, and
// either side may finish first. Run it with -proxy.bytes=1073741824 -v to see
// what the proxy needs for a gigabyte.
func TestProxy(t *testing.T) {
	for _, method := range socketMethods() {
		for _, first := range []string{"WriterFirst", "ReaderFirst"} {
			t.Run(method+"/"+first, func(t *testing.T) { testProxy(t, method, first == "ReaderFirst") })
		}
	}
}

func testProxy(t *testing.T, method string, readerFirst bool) {
	const little = 100 << 10
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	proxy := startChild(t, "TestProxyChild", method, ln.Addr().String())
	var addr string
	proxy.scan(t, "proxy: %s", &addr)

	writer, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	reader, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()

	began := time.Now()
	there, back := &modelLane{key: 1}, &modelLane{key: 2}
	finish := func(c net.Conn, lane *modelLane) {
		lane.whole.Store(true)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Error(err)
		}
	}
	// transfer sends n bytes from c, and then the end. It calls stuck, once, when
	// nothing more goes in, or all has gone.
	transfer := func(c net.Conn, lane *modelLane, n int64, stuck func()) {
		for n > 0 {
			if stuck != nil {
				c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			}
			k, err := c.Write(lane.next(0, int(min(n, modelPeriod))))
			lane.sent.Add(int64(k))
			n -= int64(k)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				stuck()
				stuck = nil
				c.SetWriteDeadline(time.Time{})
			} else if err != nil {
				t.Errorf("after %d bytes: %v", lane.sent.Load(), err)
				return
			}
		}
		if stuck != nil {
			stuck()
		}
		finish(c, lane)
	}
	receive := func(c net.Conn, lane *modelLane, slow bool) {
		buf := make([]byte, 64<<10)
		if slow {
			buf = buf[:8<<10]
		}
		for {
			n, err := c.Read(buf)
			if _, werr := lane.Write(buf[:n]); werr != nil {
				t.Error(werr)
				return
			}
			if err == io.EOF {
				if err := lane.end(); err != nil {
					t.Error(err)
				}
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if slow {
				runtime.Gosched()
			}
		}
	}
	var wg sync.WaitGroup
	full := make(chan struct{}) // nothing more goes in
	wg.Go(func() {
		if readerFirst {
			receive(writer, back, false) // the end of what comes back is there before anything is sent
		}
		transfer(writer, there, *proxyBytes, func() { close(full) })
		if !readerFirst {
			receive(writer, back, false)
		}
	})
	if readerFirst {
		transfer(reader, back, little, nil)
	}
	<-full
	receive(reader, there, true)
	if !readerFirst {
		transfer(reader, back, little, nil)
	}
	wg.Wait()
	took := time.Since(began)

	// The proxy ends when both connections have.
	proxy.wait(t)
	for _, line := range proxy.said {
		if said, ok := strings.CutPrefix(line, "proxy: at most "); ok {
			t.Logf("%d MiB in %.1f s; at most %s", *proxyBytes>>20, took.Seconds(), said)
		}
	}
}

// TestProxyChild is the proxy, as in examples/proxy. It serves one client and
// checks with each message how much is held.
func TestProxyChild(t *testing.T) {
	args := childArgs(t)
	method, to := args[0], args[1]
	l, err := New(&Config{Method: method, IgnoreEnv: true, ExitOnEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ln := listen(t, l, "tcp", &ListenConfig{MaxOutput: proxyOutput})
	fmt.Println("proxy:", ln.Addr())
	var queued, held, between int
	other := func(s *Stream) *Stream { return s.Data.(*Stream) }
	for ev := range l.All() {
		switch ev := ev.(type) {
		case Accepted:
			ln.Close()
			out, err := l.Dial("tcp", to, &DialConfig{MaxOutput: proxyOutput})
			if err != nil {
				t.Fatal(err)
			}
			ev.Stream.Data, out.Data = out, ev.Stream
		case Readable:
			held = max(held, ev.Stream.Input().Len())
			io.Copy(other(ev.Stream), ev.Stream)
			queued = max(queued, other(ev.Stream).Queued())
			st := l.Stats()
			between = max(between, int(st.BytesIn-st.BytesOut))
		case EOF:
			other(ev.Stream).CloseWrite()
			if other(ev.Stream).AtEOF() {
				other(ev.Stream).Close()
				ev.Stream.Close()
			}
		case Closed:
			t.Fatal(ev, ev.Stream.Err())
		}
	}
	if held > defaultMaxInput {
		t.Errorf("%d bytes of input were held", held)
	}
	if queued >= proxyOutput+defaultMaxInput {
		t.Errorf("%d bytes of output were queued", queued)
	}
	if most := 2 * (proxyOutput + 2*defaultMaxInput); between > most {
		t.Errorf("%d bytes were held altogether; %d are allowed", between, most)
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	if mem.HeapSys > 64<<20 {
		t.Errorf("the heap has grown to %d bytes", mem.HeapSys)
	}
	fmt.Printf("proxy: at most %d KiB queued in a stream, %d KiB held in all; heap %d KiB; resident at most %s\n",
		queued>>10, between>>10, mem.HeapSys>>10, procStatus("VmHWM"))
}
