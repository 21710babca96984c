// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evchan/evchan/evrpc/evtag"
)

var integers = []uint64{
	0, 1, 0xf, 0x10, 0xff, 0x100, 0xaf0, 0x1000, 0xbef000, 0xdeadbeef, math.MaxUint32,
	math.MaxUint32 + 1, 0xdead0a0bcafebeef, math.MaxUint64,
}

func TestRawUint(t *testing.T) {
	for _, test := range []struct {
		v    uint64
		want string
	}{
		{0, "\x00"},
		{1, "\x01"},
		{0xf, "\x0f"},
		{0x10, "\x10\x10"},
		{0xaf0, "\x20\xfa"},
		{0x1234, "\x34\x32\x10"},
		{0xdeadbeef, "\x7f\xee\xbd\xae\xd0"},
		{0xdead0a0bcafebeef, "\xff\xee\xbe\xfa\xcb\x0a\x0d\xae\xd0"},
	} {
		got := evtag.AppendRawUint(nil, test.v)
		if string(got) != test.want {
			t.Errorf("%#x is encoded as %x, want %x", test.v, got, test.want)
		}
	}

	var b []byte
	for _, v := range integers {
		b = evtag.AppendRawUint(b, v)
	}
	d := evtag.NewDecoder(b)
	for _, want := range integers {
		if want <= math.MaxUint32 {
			v, err := d.RawUint32()
			if err != nil || uint64(v) != want {
				t.Errorf("decoded %#x, %v; want %#x", v, err, want)
			}
			continue
		}
		if v, err := d.RawUint32(); !errors.Is(err, evtag.ErrRange) {
			t.Errorf("%#x decoded as 32 bits: %#x, %v", want, v, err)
		}
		v, err := d.RawUint64()
		if err != nil || v != want {
			t.Errorf("decoded %#x, %v; want %#x", v, err, want)
		}
	}
	if v, err := d.RawUint32(); err != io.EOF {
		t.Errorf("after the last: %#x, %v", v, err)
	}
}

func TestRawTag(t *testing.T) {
	var b []byte
	for _, v := range integers {
		b = evtag.AppendTag(b, uint32(v))
	}
	d := evtag.NewDecoder(b)
	for _, v := range integers {
		tag, err := d.RawTag()
		if err != nil || tag != uint32(v) {
			t.Errorf("decoded %#x, %v; want %#x", tag, err, uint32(v))
		}
	}
	if tag, err := d.RawTag(); err != io.EOF {
		t.Errorf("after the last: %#x, %v", tag, err)
	}
	if got := evtag.AppendTag(nil, 0x10121); !bytes.Equal(got, []byte{0xa1, 0x82, 0x04}) {
		t.Errorf("0x10121 is encoded as %x", got)
	}
}

// What libevent accepts although it does not send it.
func TestLaxEncodings(t *testing.T) {
	d := evtag.NewDecoder([]byte{
		0x81, 0x80, 0x80, 0x80, 0x00, // tag 1 in five bytes
		0x71, 0x00, 0x00, 0x00, 0x0f, // length 1 in nine nibbles, and something in the last one
		0x05, // the integer 5
	})
	if v, err := d.Uint32(1); v != 5 || err != nil || d.Len() != 0 {
		t.Errorf("got %d, %v, and %d bytes are left", v, err, d.Len())
	}
	d = evtag.NewDecoder([]byte{2, 3, 0x06, 0x07, 0x08}) // three bytes for an integer of one
	if v, err := d.Uint64(2); v != 6 || err != nil || d.Len() != 0 {
		t.Errorf("got %d, %v, and %d bytes are left", v, err, d.Len())
	}
}

func TestPeek(t *testing.T) {
	b := evtag.AppendUint(nil, 30, 0)
	b = evtag.AppendString(b, 40, "Hello world")
	d := evtag.NewDecoder(b)
	expect := func(tag uint32, whole, payload int) {
		t.Helper()
		if got, err := d.Peek(); got != tag || err != nil {
			t.Errorf("Peek: %d, %v; want %d", got, err, tag)
		}
		if got, err := d.PeekLength(); got != whole || err != nil {
			t.Errorf("PeekLength: %d, %v; want %d", got, err, whole)
		}
		if got, err := d.PayloadLength(); got != payload || err != nil {
			t.Errorf("PayloadLength: %d, %v; want %d", got, err, payload)
		}
	}
	expect(30, 3, 1)
	if err := d.Skip(); err != nil || d.Offset() != 3 {
		t.Errorf("Skip: %v, now at %d", err, d.Offset())
	}
	expect(40, 13, 11)
	if err := d.Skip(); err != nil || d.Len() != 0 {
		t.Errorf("Skip: %v, %d bytes are left", err, d.Len())
	}
	for range 2 {
		if err := d.Skip(); err != io.EOF {
			t.Errorf("Skip at the end: %v", err)
		}
	}
}

func TestItems(t *testing.T) {
	b := evtag.AppendUint(nil, 1, 1<<40)
	b = evtag.AppendBytes(b, 2, []byte("bytes"))
	b = evtag.AppendString(b, 300, "")
	b = evtag.AppendTimeval(b, 4, evtag.Timeval{Sec: 1 << 31, Usec: 999999})
	b = evtag.AppendMessage(b, 5, func(dst []byte) []byte {
		return evtag.AppendBytes(dst, 6, make([]byte, 1000))
	})
	b = evtag.AppendBytes(b, 7, []byte("fixed"))

	d := evtag.NewDecoder(b)
	if v, err := d.Uint64(1); v != 1<<40 || err != nil {
		t.Errorf("Uint64: %d, %v", v, err)
	}
	if p, err := d.Bytes(2); string(p) != "bytes" || cap(p) != len(p) || err != nil {
		t.Errorf("Bytes: %q (capacity %d), %v", p, cap(p), err)
	}
	if s, err := d.String(300); s != "" || err != nil {
		t.Errorf("String: %q, %v", s, err)
	}
	if v, err := d.Timeval(4); v != (evtag.Timeval{Sec: 1 << 31, Usec: 999999}) || err != nil {
		t.Errorf("Timeval: %v, %v", v, err)
	}
	inner, err := d.Message(5)
	if err != nil {
		t.Fatal(err)
	}
	if at := inner.Offset(); at+inner.Len() != d.Offset() {
		t.Errorf("the inner message has %d bytes from %d on, the next item is at %d", inner.Len(), at, d.Offset())
	}
	if p, err := inner.Bytes(6); len(p) != 1000 || err != nil {
		t.Errorf("Bytes: %d of them, %v", len(p), err)
	}
	fixed := make([]byte, 5)
	if err := d.Fixed(7, fixed[:4]); !errors.Is(err, evtag.ErrLength) {
		t.Errorf("Fixed of another length: %v", err)
	}
	if err := d.Fixed(7, fixed); string(fixed) != "fixed" || err != nil {
		t.Errorf("Fixed: %q, %v", fixed, err)
	}
	if d.Len() != 0 || d.Offset() != len(b) {
		t.Errorf("%d bytes are left at %d", d.Len(), d.Offset())
	}
}

// An error says where and why, and the decoder has not moved.
func TestDecoderErrors(t *testing.T) {
	good := evtag.AppendUint(nil, 9, 9)
	for _, test := range []struct {
		name string
		item string
		why  error
	}{
		{"no end of the tag", "\x81\x82", io.ErrUnexpectedEOF},
		{"tag of 33 bits", "\x80\x80\x80\x80\x10\x00", evtag.ErrRange},
		{"tag of six bytes", "\x80\x80\x80\x80\x80\x00", evtag.ErrRange},
		{"no length", "\x01", io.ErrUnexpectedEOF},
		{"half a length", "\x01\x30\x00", io.ErrUnexpectedEOF},
		{"length of nine nibbles", "\x01\x80\x00\x00\x00\x00", evtag.ErrRange},
		{"payload too short", "\x01\x04abc", io.ErrUnexpectedEOF},
		{"payload of 4 GiB", "\x01\x7f\xff\xff\xff\xf0abc", io.ErrUnexpectedEOF},
		{"other tag", "\x02\x01\x00", evtag.ErrTag},
		{"empty payload", "\x01\x00", io.ErrUnexpectedEOF},
		{"integer longer than its payload", "\x01\x01\x10\x00", io.ErrUnexpectedEOF},
		{"integer of nine nibbles", "\x01\x05\x80\x00\x00\x00\x00", evtag.ErrRange},
	} {
		d := evtag.NewDecoder(append(good[:len(good):len(good)], test.item...))
		if _, err := d.Uint32(9); err != nil {
			t.Fatal(err)
		}
		_, err := d.Uint32(1)
		where, ok := err.(*evtag.Error)
		if !ok || where.Offset != len(good) || !errors.Is(err, test.why) {
			t.Errorf("%s: error %v, want %v at byte %d", test.name, err, test.why, len(good))
		}
		if d.Offset() != len(good) {
			t.Errorf("%s: the decoder has moved to %d", test.name, d.Offset())
		}
	}
}

// Random bytes are hardly ever a timeval, and a broken length never.
func TestRandomBytesFail(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 4096)
	good := 0
	for range 100 {
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		if _, err := evtag.NewDecoder(data).Timeval(0); err == nil {
			good++
		}
	}
	if good >= 10 {
		t.Errorf("%d of 100 were decoded", good)
	}

	b := evtag.AppendTimeval(nil, 0, evtag.Timeval{Sec: 1})
	b = append(b, data...)
	b[1] = 0xff
	if v, err := evtag.NewDecoder(b).Timeval(0); err == nil {
		t.Errorf("decoded %v with a broken length", v)
	}
}
