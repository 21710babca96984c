// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag_test

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/evchan/evchan/evrpc/evtag"
)

// Any message is refused with an error that says where, or decoded to a struct whose
// encoding is decoded to the same struct. What is allocated is bounded by the length.
func FuzzUnmarshal(f *testing.F) {
	seed := full()
	data, err := evtag.Marshal(nil, &seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	small, err := evtag.Marshal(nil, &msg{Attack: &kill{}, Run: []run{{LargeNumber: ptr[uint64](1)}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(small)
	f.Add([]byte("\x01\x00\x02\x00" + strings.Repeat("\x04\x00", 1000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fresh := range []func() any{
			func() any { return new(everything) },
			func() any { return new(msg) },
			func() any { return new(arrays) },
		} {
			fuzzUnmarshal(t, data, fresh)
		}
	})
}

// arrays has what takes the most memory for each byte of the message.
type arrays struct {
	Strings  []string   `evtag:"1"`
	Bytes    [][]byte   `evtag:"2"`
	Numbers  []uint64   `evtag:"3"`
	Messages []arrays   `evtag:"4"`
	Pointers []*arrays  `evtag:"5"`
	One      *arrays    `evtag:"6"`
	Fixed    [][40]byte `evtag:"7"`
}

func fuzzUnmarshal(t *testing.T, data []byte, fresh func() any) {
	kept := bytes.Clone(data)
	v := fresh()
	err := evtag.Unmarshal(data, v)
	if !bytes.Equal(data, kept) {
		t.Fatal("the message was changed")
	}
	if err != nil {
		var where *evtag.Error
		if !errors.As(err, &where) || where.Offset < 0 || where.Offset > len(data) {
			t.Fatalf("%T: error %v", v, err)
		}
		if !reflect.DeepEqual(v, fresh()) {
			t.Fatalf("after error %v: %+v", err, v)
		}
	}
	// An arrays of 152 bytes can be encoded in 2, and append allocates twice what it needs, and again as it grows.
	if limit := 4*76*len(data) + 8192; allocated(data, fresh) > limit {
		t.Fatalf("%T: more than %d bytes allocated for a message of %d", v, limit, len(data))
	}
	if err != nil {
		return
	}

	again, err := evtag.Marshal(nil, v)
	if err != nil {
		if !strings.HasSuffix(err.Error(), "string with a zero byte") {
			t.Fatalf("Marshal of %+v: %v", v, err)
		}
		return
	}
	if len(again) > len(data) {
		t.Fatalf("a message of %d bytes becomes one of %d", len(data), len(again))
	}
	w := fresh()
	if err := evtag.Unmarshal(again, w); err != nil {
		t.Fatalf("Unmarshal of %x: %v", again, err)
	}
	if !reflect.DeepEqual(v, w) {
		t.Fatalf("got %+v\nthen %+v", v, w)
	}
}

// allocated returns how many bytes an Unmarshal of data allocates: the least of some
// attempts, for other goroutines allocate as well.
func allocated(data []byte, fresh func() any) int {
	var before, after runtime.MemStats
	least := uint64(1 << 62)
	for range 3 {
		v := fresh()
		runtime.ReadMemStats(&before)
		evtag.Unmarshal(data, v)
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return int(least)
}

// What is decoded item by item fills the message, and its encoding, which is no longer, is decoded to the same.
func FuzzDecoder(f *testing.F) {
	f.Add(evtag.AppendString(evtag.AppendUint(nil, 1, 1), 1<<31, "string"))
	f.Add([]byte("\x80\x80\x80\x80\x0f\x71\x00\x00\x00\x0fx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := evtag.NewDecoder(data)
		for d.Len() > 0 {
			at, left := d.Offset(), d.Len()
			if at+left != len(data) {
				t.Fatalf("%d bytes are left at %d of %d", left, at, len(data))
			}
			peeked, peekErr := d.Peek()
			whole, wholeErr := d.PeekLength()
			length, _ := d.PayloadLength()
			tag, payload, err := d.Next()
			if err != nil {
				if d.Offset() != at {
					t.Fatalf("moved to %d in spite of %v", d.Offset(), err)
				}
				break
			}
			if peekErr != nil || wholeErr != nil || peeked != tag || length != len(payload) || d.Offset() != at+whole {
				t.Fatalf("peeked tag %d, %d and %d bytes; got tag %d, %d bytes, and went from %d to %d",
					peeked, whole, length, tag, len(payload), at, d.Offset())
			}
			again := evtag.AppendBytes(nil, tag, payload)
			if len(again) > whole {
				t.Fatalf("an item of %d bytes becomes one of %d", whole, len(again))
			}
			if tag2, payload2, err := evtag.NewDecoder(again).Next(); tag2 != tag || !bytes.Equal(payload2, payload) || err != nil {
				t.Fatalf("tag %d, %x is decoded as tag %d, %x, %v", tag, payload, tag2, payload2, err)
			}

			one := data[at : at+whole]
			if v, err := evtag.NewDecoder(one).Uint64(tag); err == nil {
				if w, err := evtag.NewDecoder(evtag.AppendUint(nil, tag, v)).Uint64(tag); w != v || err != nil {
					t.Fatalf("%d is decoded as %d, %v", v, w, err)
				}
				if w, err := evtag.NewDecoder(one).Uint32(tag); (err == nil) != (payload[0]>>4 < 8) || err == nil && uint64(w) != v {
					t.Fatalf("%x is decoded as %d, and as %d with 32 bits, %v", one, v, w, err)
				}
			}
			if v, err := evtag.NewDecoder(one).Timeval(tag); err == nil {
				if w, err := evtag.NewDecoder(evtag.AppendTimeval(nil, tag, v)).Timeval(tag); w != v || err != nil {
					t.Fatalf("%v is decoded as %v, %v", v, w, err)
				}
			}
		}
	})
}
