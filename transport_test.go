// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"syscall"
	"testing"
	"unsafe"
)

// transfer writes all of out to a and returns what readFD reads from b.
func transfer(t testing.TB, out *Buffer, a, b sysFD) string {
	t.Helper()
	var in Buffer
	for {
		k := out.n
		n, err := sendFD(out, a)
		if err != nil {
			t.Fatal(err)
		}
		if k-out.n != n {
			t.Fatalf("wrote %d, removed %d", n, k-out.n)
		}
		if err := errors.Join(out.check(), in.check()); err != nil {
			t.Fatal(err)
		}
		for {
			n, full, err := in.readFD(b, streamClass, 1<<20, true)
			if err == syscall.EAGAIN {
				break
			}
			if n == 0 || err != nil {
				t.Fatal(n, full, err)
			}
			if err := in.check(); err != nil {
				t.Fatal(err)
			}
		}
		if out.n == 0 {
			return string(in.contents())
		}
	}
}

func TestBufferReadFD(t *testing.T) {
	a, b := socketPair(t)
	for _, n := range []int{1, 1023, 1024, 1025, 2000, 5000, 16384, 17408, 17409, 60000, 66560, 66561, 100_000} {
		data := pattern(n)
		if k, err := fdWrite(a, data); k != n || err != nil {
			t.Fatal(k, err)
		}
		arrived(t, b, n)
		var in Buffer
		k, full, err := in.readFD(b, streamClass, 1<<20, true)
		if err != nil || full != (k < n || n == 66560) || k < min(n, 1024) {
			t.Fatalf("readFD of %d: %d, %v, %v", n, k, full, err)
		}
		for in.n < n {
			if _, _, err := in.readFD(b, streamClass, 1<<20, true); err != nil {
				t.Fatal(err)
			}
		}
		expect(t, &in, string(data))
		have := 0
		for c := in.head; c != nil; c = c.next {
			have += len(c.buf)
		}
		if have > 4*n+2048 {
			t.Errorf("%d bytes hold %d", n, have)
		}
	}
	var in Buffer
	if n, _, err := in.readFD(b, streamClass, 10, true); n != 0 || err != syscall.EAGAIN {
		t.Errorf("readFD of nothing: %d, %v", n, err)
	}
	expect(t, &in, "")
	fdWrite(a, []byte("0123456789abcdef"))
	for i, want := range []struct {
		limit int
		full  bool
		all   string
	}{{10, true, "0123456789"}, {1, true, "0123456789a"}, {100, false, "0123456789abcdef"}} {
		_, full, err := in.readFD(b, streamClass, want.limit, true)
		if full != want.full || err != nil {
			t.Errorf("%d: full %v, %v", i, full, err)
		}
		expect(t, &in, want.all)
	}
	fdShutdown(a)
	if n, _, err := in.readFD(b, streamClass, 10, true); n != 0 || err != nil {
		t.Errorf("readFD at the end: %d, %v", n, err)
	}
	if _, _, err := in.readFD(noFD, streamClass, 10, true); err != errNoFD {
		t.Errorf("readFD of no descriptor: %v", err)
	}
	if _, err := sendFD(&in, noFD); err != errNoFD {
		t.Errorf("writeFD to no descriptor: %v", err)
	}
	expect(t, &in, "0123456789abcdef")
}

func TestBufferWriteFD(t *testing.T) {
	a, b := socketPair(t)
	var c counter
	var out Buffer
	data := pattern(1 << 20)
	out.Write(data[:100_000])
	want := string(data[:100_000])
	for i := range 300 { // more than one call takes
		p := data[i*1000 : i*1000+i]
		out.Append(p, c.release)
		want += string(p)
	}
	out.Write(data)
	if got := transfer(t, &out, a, b); got != want+string(data) {
		t.Error("what arrived differs")
	}
	c.want(t, 300, "after all was written")
	if n, err := sendFD(&out, a); n != 0 || err != nil {
		t.Errorf("writeFD of nothing: %d, %v", n, err)
	}
}

// A part of a file is sent byte for byte, to what can take it from the file and
// to what cannot.
func TestBufferFileIsSent(t *testing.T) {
	data := pattern(500_000)
	f := tempFile(t, data)
	a, b := socketPair(t)
	for _, part := range [][2]int{{0, 500_000}, {0, 1}, {100, 70_000}, {499_999, 1}} {
		off, n := part[0], part[1]
		var c counter
		var out, d Buffer
		out.WriteString("head")
		out.AppendFile(f, int64(off), int64(n), c.release)
		out.WriteString("middle")
		out.AppendFile(f, 0, 10, c.release)
		out.Discard(5) // begins within the file
		d.AppendBuffer(&out)
		if got := transfer(t, &d, a, b); got != string(data[off+1:off+n])+"middle"+string(data[:10]) {
			t.Errorf("%d bytes at %d differ", n, off)
		}
		c.want(t, 2, "after all was sent")
	}
}

func TestBufferTruncatedFileIsNotSent(t *testing.T) {
	f := tempFile(t, []byte("0123456789"))
	a, b := socketPair(t)
	var c counter
	var out Buffer
	out.AppendFile(f, 5, 10, c.release)
	n, err := sendFD(&out, a)
	if n != 5 || err != io.ErrUnexpectedEOF {
		t.Errorf("writeFD = %d, %v", n, err)
	}
	n, err = sendFD(&out, a)
	if n != 0 || err != io.ErrUnexpectedEOF {
		t.Errorf("writeFD again = %d, %v", n, err)
	}
	var in Buffer
	in.readFD(b, streamClass, 100, true)
	expect(t, &in, "56789")
	f.Close()
	if n, err := sendFD(&out, a); n != 0 || err == nil {
		t.Errorf("writeFD of a closed file = %d, %v", n, err)
	}
	out.free()
	c.want(t, 1, "by free")
}

// The echo of a megabyte copies no byte but those of the read itself: what was read
// into is what is written from.
func TestBufferEchoDoesNotCopy(t *testing.T) {
	data := pattern(1 << 20)
	near, far := socketPair(t)
	var source, inbox, in, outbox Buffer
	source.Append(data, nil)
	for inbox.n < len(data) {
		if _, err := sendFD(&source, far); err != nil {
			t.Fatal(err)
		}
		if _, _, err := inbox.readFD(near, streamClass, 1<<20, true); err != nil && err != syscall.EAGAIN {
			t.Fatal(err)
		}
	}
	addresses := func(b *Buffer) (list []*byte) {
		for s := range b.Segments() {
			list = append(list, unsafe.SliceData(s))
		}
		return list
	}
	before := addresses(&inbox)
	in.splice(&inbox)        // the loop hands over what it has read
	outbox.AppendBuffer(&in) // the user sends it on
	if after := addresses(&outbox); !slices.Equal(before, after) {
		t.Error("the bytes lie elsewhere")
	}
	if got := transfer(t, &outbox, near, far); got != string(data) {
		t.Error("what arrived differs")
	}
}

// A small echo is one read and one write, and allocates nothing.
func TestBufferSmallEchoAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	near, far := socketPair(t)
	p := pattern(64)
	q := make([]byte, 64)
	var inbox, in, outbox Buffer
	echo := func() {
		fdWrite(far, p)
		n, full, err := inbox.readFD(near, streamClass, 1<<16, true)
		if n != 64 || full || err != nil {
			t.Fatal(n, full, err)
		}
		in.splice(&inbox)
		outbox.splice(&in)
		if n, err := sendFD(&outbox, near); n != 64 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := fdRead(far, q); n != 64 || err != nil {
			t.Fatal(n, err)
		}
	}
	if n := testing.AllocsPerRun(100, echo); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if inbox.head != nil || in.head != nil || outbox.head != nil {
		t.Error("an idle Buffer holds memory")
	}
}

func TestBufferWriteToConn(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	data := pattern(300_000)
	received := make(chan string)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			received <- err.Error()
			return
		}
		defer c.Close()
		p, _ := io.ReadAll(c)
		received <- string(p)
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var released counter
	var b Buffer
	for i := 0; i < len(data); i += 1000 {
		b.Append(data[i:i+1000], released.release)
	}
	b.AppendFile(tempFile(t, data), 0, int64(len(data)), released.release)
	n, err := b.WriteTo(c)
	c.Close()
	if n != 600_000 || err != nil {
		t.Errorf("WriteTo = %d, %v", n, err)
	}
	if got := <-received; got != string(data)+string(data) {
		t.Error("what arrived differs")
	}
	released.want(t, 301, "after all was written")
	b.WriteString("a")
	b.Append([]byte("b"), nil)
	if n, err := b.WriteTo(c); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("WriteTo a closed connection = %d, %v", n, err)
	}
	expect(t, &b, "ab")
}

// sendFD is b.writeFD for a caller that holds no lock.
func sendFD(b *Buffer, fd sysFD) (int, error) {
	n, spent, err := b.writeFD(fd, math.MaxInt, false)
	freeChain(spent)
	return n, err
}
