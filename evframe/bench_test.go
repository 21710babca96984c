// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evframe_test

import (
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evframe"
)

// BenchmarkLines sends back lines of 32 bytes, so many at a time, that come by a TCP connection:
// by hand, and with the layer. A peer that writes and reads is part of it; Peer is that alone.
// One line is what a layer is for; for many at a time, Lines of a Buffer is faster.
func BenchmarkLines(b *testing.B) {
	for _, burst := range []int{1, 16} {
		for _, form := range []string{"Peer", "Hand", "Layer", "Step"} {
			b.Run(fmt.Sprintf("%d/%s", burst, form), func(b *testing.B) { benchmarkLines(b, form, burst) })
		}
	}
}

func benchmarkLines(b *testing.B, form string, burst int) {
	l := newLoop(b)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	must(b, err)
	peer, err := ln.Accept()
	must(b, err)
	defer peer.Close()
	conf := new(evchan.StreamConfig)
	if form == "Layer" || form == "Step" {
		conf.Layer = evframe.Lines{Limit: 1000, Step: form == "Step"}
	}
	var sent []byte
	for range burst {
		sent = append(sent, "a line of thirty-two bytes long\n"...)
	}
	got := make([]byte, len(sent))
	if form == "Peer" {
		defer near.Close()
		for b.Loop() {
			peer.Write(sent)
			io.ReadFull(near, got)
			near.Write(got)
			io.ReadFull(peer, got)
		}
		return
	}
	s, err := l.Wrap(near, conf)
	must(b, err)
	defer s.Abort()
	var reply []byte
	peer.Write(sent)
	n := 0
	for ev := range l.All() {
		switch ev := ev.(type) {
		case evchan.Readable:
			in, out := s.Input(), s.Output()
			for line := range in.Lines(evchan.LFOrCRLF) {
				out.Write(line)
				out.WriteByte('\n')
				n++
			}
		case *evframe.Line:
			reply = append(append(reply[:0], ev.Bytes()...), '\n')
			s.WriteLater(reply)
			if n++; form == "Step" {
				s.Again()
			}
		}
		if n < burst {
			continue
		}
		s.Flush() // the turn would do that for WriteLater
		io.ReadFull(peer, got)
		if !b.Loop() {
			return
		}
		peer.Write(sent)
		n = 0
	}
}
