// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/evchan/evchan/evrpc/evtag"
	"github.com/evchan/evchan/evrpc/internal/rpctest"
)

// The tests in this file compare evtag with libevent itself, in a C program.

var (
	messages = flag.Int("libevent.messages", 10_000, "how many random messages each test compares")
	seed     = flag.Uint64("libevent.seed", 1, "of the random messages")
)

// runPeer runs the C program with the given messages as its input, and returns its answers. One that is nil
// means that libevent could not decode the message.
func runPeer(t *testing.T, program string, in [][]byte, args ...string) [][]byte {
	t.Helper()
	var input, output bytes.Buffer
	for _, msg := range in {
		input.Write(binary.BigEndian.AppendUint32(nil, uint32(len(msg))))
		input.Write(msg)
	}
	var said strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &input, &output, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, said.String())
	}
	var out [][]byte
	for output.Len() > 0 {
		length := binary.BigEndian.Uint32(output.Next(4))
		if length == 1<<32-1 {
			out = append(out, nil)
			continue
		}
		msg := output.Next(int(length))
		if len(msg) != int(length) {
			t.Fatalf("%v: an answer is cut off", cmd)
		}
		out = append(out, append([]byte{}, msg...))
	}
	return out
}

func TestLibevent(t *testing.T) {
	t.Parallel()
	program := rpctest.Build(t, "peer")
	t.Run("GoToC", func(t *testing.T) { t.Parallel(); testGoToC(t, program) })
	t.Run("CToGo", func(t *testing.T) { t.Parallel(); testCToGo(t, program) })
	t.Run("Broken", func(t *testing.T) { t.Parallel(); testBroken(t, program) })
	t.Run("Items", func(t *testing.T) { t.Parallel(); testItems(t, program) })
}

// testGoToC compares what Go encodes with what libevent encodes after it has decoded that.
func testGoToC(t *testing.T, program string) {
	sent := goMessages()
	got := runPeer(t, program, sent, "echo")
	if len(got) != len(sent) {
		t.Fatalf("%d answers to %d messages", len(got), len(sent))
	}
	for i := range sent {
		if !bytes.Equal(got[i], sent[i]) {
			t.Fatalf("message %d: libevent makes\n%x of\n%x", i, got[i], sent[i])
		}
	}
}

// testCToGo compares what libevent encodes with what Go encodes after it has decoded that.
func testCToGo(t *testing.T, program string) {
	got := runPeer(t, program, nil, "make", fmt.Sprint(*messages))
	if len(got) != *messages {
		t.Fatalf("%d messages", len(got))
	}
	for i, data := range got {
		var msg rpctest.All
		if err := evtag.Unmarshal(data, &msg); err != nil {
			t.Fatalf("message %d: %v\n%x", i, err, data)
		}
		again, err := evtag.Marshal(nil, &msg)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("message %d: Go makes\n%x, %v, of\n%x", i, again, err, data)
		}
	}
}

// testBroken damages messages. Go accepts those that libevent accepts, and decodes the same.
func testBroken(t *testing.T, program string) {
	r := rand.New(rand.NewPCG(*seed, 4))
	var sent [][]byte
	for len(sent) < *messages {
		// Small ones, so that tags and lengths are hit often.
		msg := rpctest.All{Data: []byte("data"), Texts: []string{"text"}, Numbers: []uint32{1}, Part: rpctest.RandomPart(r, 1)}
		data, err := evtag.Marshal(nil, &msg)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, damage(r, data))
	}
	accepted := 0
	for i, got := range runPeer(t, program, sent, "echo") {
		var msg rpctest.All
		err := evtag.Unmarshal(sent[i], &msg)
		if (err == nil) != (got != nil) {
			t.Fatalf("error %v, but libevent makes\n%x of\n%x", err, got, sent[i])
		}
		if err != nil {
			continue
		}
		accepted++
		again, err := evtag.Marshal(nil, &msg)
		if err != nil { // a string with a zero byte: libevent has lost a part
			continue
		}
		if !bytes.Equal(again, got) {
			t.Fatalf("Go makes\n%x, libevent\n%x of\n%x", again, got, sent[i])
		}
	}
	t.Logf("%d of %d damaged messages can be decoded", accepted, *messages)
	if accepted == 0 || accepted == *messages {
		t.Error("the damage proves nothing")
	}
}

// testItems compares the functions for single items, with whole and with damaged messages.
func testItems(t *testing.T, program string) {
	r := rand.New(rand.NewPCG(*seed, 6))
	var sent [][]byte
	for len(sent) < *messages {
		var data []byte
		for range 1 + r.IntN(6) {
			tag := uint32(rpctest.RandomUint(r))
			switch tag % 5 {
			case 0:
				data = evtag.AppendUint(data, tag, rpctest.RandomUint(r)&0xffffffff)
			case 1:
				data = evtag.AppendUint(data, tag, rpctest.RandomUint(r))
			case 2:
				data = evtag.AppendString(data, tag, rpctest.RandomString(r))
			case 3:
				data = evtag.AppendTimeval(data, tag, evtag.Timeval{Sec: uint32(rpctest.RandomUint(r)), Usec: uint32(rpctest.RandomUint(r))})
			case 4:
				data = evtag.AppendBytes(data, tag, rpctest.RandomBytes(r))
			}
		}
		if r.IntN(2) == 0 {
			data = damage(r, data)
		}
		sent = append(sent, data)
	}
	accepted := 0
	for i, got := range runPeer(t, program, sent, "items") {
		again, err := copyItems(sent[i])
		if (err == nil) != (got != nil) || err == nil && !bytes.Equal(again, got) {
			t.Fatalf("Go makes\n%x, %v; libevent makes\n%x of\n%x", again, err, got, sent[i])
		}
		if err == nil {
			accepted++
		}
	}
	t.Logf("%d of %d sequences of items can be decoded", accepted, *messages)
	if accepted < *messages/2 || accepted == *messages {
		t.Error("the damage proves nothing")
	}
}

// copyItems decodes items and encodes them again, like the C program.
func copyItems(data []byte) ([]byte, error) {
	var out []byte
	d := evtag.NewDecoder(data)
	for d.Len() > 0 {
		tag, err := d.Peek()
		if err != nil {
			return nil, err
		}
		switch tag % 5 {
		case 0:
			var v uint32
			v, err = d.Uint32(tag)
			out = evtag.AppendUint(out, tag, uint64(v))
		case 1:
			var v uint64
			v, err = d.Uint64(tag)
			out = evtag.AppendUint(out, tag, v)
		case 2:
			var s string
			s, err = d.String(tag)
			s, _, _ = strings.Cut(s, "\x00") // what C sees
			out = evtag.AppendString(out, tag, s)
		case 3:
			var v evtag.Timeval
			v, err = d.Timeval(tag)
			out = evtag.AppendTimeval(out, tag, v)
		case 4:
			err = d.Skip()
			out = evtag.AppendBytes(out, tag, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	return append([]byte{}, out...), nil
}

// goMessages returns encoded random messages.
var goMessages = sync.OnceValue(func() [][]byte {
	r := rand.New(rand.NewPCG(*seed, 2))
	var out [][]byte
	for range *messages {
		msg := rpctest.RandomAll(r)
		data, err := evtag.Marshal(nil, &msg)
		if err != nil {
			panic(err)
		}
		var again rpctest.All
		if err := evtag.Unmarshal(data, &again); err != nil || !reflect.DeepEqual(again, msg) {
			panic(fmt.Sprintf("%+v becomes %+v, %v", msg, again, err))
		}
		out = append(out, data)
	}
	return out
})

// damage changes a few bytes of a message, or takes some out or doubles them.
func damage(r *rand.Rand, data []byte) []byte {
	for range 1 + r.IntN(2) {
		i := r.IntN(len(data))
		switch r.IntN(6) {
		case 0:
			data[i] = byte(r.Uint32())
		case 1:
			data[i] ^= 1 << r.IntN(8)
		case 2:
			data = slices.Insert(data, i, byte(r.Uint32()))
		case 3:
			data = slices.Delete(data, i, i+1)
		case 4:
			data = data[:i]
		case 5:
			data = slices.Insert(data, i, data[i:i+r.IntN(len(data)-i)]...)
		}
		if len(data) == 0 {
			break
		}
	}
	return data
}
