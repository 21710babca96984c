// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"io"
	"testing"
	"unsafe"
)

// TestEchoCopiesNothing sends a megabyte from one stream to another by
// AppendBuffer and by io.Copy, and follows the memory: what was read is what is
// written. Only the small pieces between which copying is cheaper may move.
func TestEchoCopiesNothing(t *testing.T) {
	const total = 1 << 20
	l := dialLoop(t, "")
	src, from := connectedPair(t, l)
	dst, to := connectedPair(t, l)
	src.SetReadMarks(total, 2*total)
	payload := pattern(total)
	for _, way := range []string{"AppendBuffer", "io.Copy"} {
		dst.Pause(Write)
		go from.Write(payload)
		if ev := nextOf(t, l, src); ev != Event(Readable{src}) {
			t.Fatalf("unexpected %v", ev)
		}
		before := memoryOf(&src.Input().chain)
		switch way {
		case "AppendBuffer":
			if err := dst.Output().AppendBuffer(src.Input()); err != nil {
				t.Fatal(err)
			}
			if err := dst.Flush(); err != nil {
				t.Fatal(err)
			}
		case "io.Copy":
			if n, err := io.Copy(dst, src); n != total || err != nil {
				t.Fatalf("io.Copy gives %d, %v", n, err)
			}
		}
		dst.mu.Lock()
		after := memoryOf(&dst.out)
		dst.mu.Unlock()
		same := 0
		for p, n := range after {
			if before[p] == n {
				same += n
			}
		}
		if same < total-2*smallCopy {
			t.Errorf("%s: %d bytes of %d lie where they were read", way, same, total)
		}

		got := make(chan []byte)
		go func() {
			p := make([]byte, total)
			io.ReadFull(to, p)
			got <- p
		}()
		dst.Resume(Write)
		if ev := nextOf(t, l, dst); ev != Event(Drained{dst}) || dst.Queued() > 0 {
			t.Fatalf("unexpected %v", ev)
		}
		if !bytes.Equal(<-got, payload) {
			t.Errorf("%s: other bytes have arrived", way)
		}
		noMessage(t, l)
	}
}

// memoryOf returns where the bytes of b lie, with their number.
func memoryOf(b *chain) map[*byte]int {
	m := make(map[*byte]int)
	for c := b.head; c != nil; c = c.next {
		m[unsafe.SliceData(c.buf[c.r:c.w])] = c.size()
	}
	return m
}
