// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan/evrpc/evtag"
)

// The messages of libevent's own test of event_rpcgen.py.
type (
	msg struct {
		FromName string `evtag:"1"`
		ToName   string `evtag:"2"`
		Attack   *kill  `evtag:"3,optional"`
		Run      []run  `evtag:"4"`
	}
	kill struct {
		Weapon   string   `evtag:"0x10121"`
		Action   string   `evtag:"2"`
		HowOften []uint32 `evtag:"3"`
	}
	run struct {
		How          string   `evtag:"1"`
		SomeBytes    []byte   `evtag:"2,optional"`
		FixedBytes   [24]byte `evtag:"3"`
		Notes        []string `evtag:"4"`
		LargeNumber  *uint64  `evtag:"5,optional"`
		OtherNumbers []uint32 `evtag:"6"`
	}
)

func ptr[T any](v T) *T { return &v }

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := evtag.Marshal(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMarshalMsg(t *testing.T) {
	want := msg{
		FromName: "niels",
		ToName:   "phoenix",
		Attack:   &kill{Weapon: "feather", Action: "tickle", HowOften: []uint32{0, 1, 2}},
	}
	for range 1000 {
		want.Run = append(want.Run, run{
			How:          "very fast but with some data in it",
			FixedBytes:   [24]byte([]byte("012345678901234567890123")),
			Notes:        []string{"this is my note", "pps"},
			LargeNumber:  ptr[uint64](0xdead0a0bcafebeef),
			OtherNumbers: []uint32{0xdead0a0b, 0xbeefcafe},
		})
	}
	data := marshal(t, &want)
	head := "\x01\x05niels\x02\x07phoenix\x03\x1c\x10" + // the length is 0x1c
		"\xa1\x82\x04\x07feather\x02\x06tickle\x03\x01\x00\x03\x01\x01\x03\x01\x02" +
		"\x04\x1f\x60\x01\x12\x20very fast" // the lengths are 0x6f and 0x22
	if !strings.HasPrefix(string(data), head) {
		t.Errorf("the message begins with\n%q, want\n%q", data[:len(head)], head)
	}
	if byValue := marshal(t, want); !bytes.Equal(byValue, data) {
		t.Error("the struct itself is encoded otherwise than its pointer")
	}

	var got msg
	if err := evtag.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

// A struct with each type that a field can have.
type everything struct {
	U32  uint32             `evtag:"1"`
	U64  uint64             `evtag:"2"`
	I32  int32              `evtag:"3"`
	I64  int64              `evtag:"4"`
	Str  string             `evtag:"5"`
	Byt  []byte             `evtag:"6"`
	Fix  [3]byte            `evtag:"7"`
	Tv   evtag.Timeval      `evtag:"8"`
	Dur  time.Duration      `evtag:"9"`
	Time time.Time          `evtag:"10"`
	Sub  sub                `evtag:"11"`
	ID   id                 `evtag:"0xffffffff"`
	Not  map[string]float64 // no field of the message

	PU32  *uint32        `evtag:"21"`
	PU64  *uint64        `evtag:"22"`
	PI32  *int32         `evtag:"23"`
	PI64  *int64         `evtag:"24"`
	PStr  *string        `evtag:"25"`
	PByt  *[]byte        `evtag:"26"`
	PFix  *[3]byte       `evtag:"27"`
	PTv   *evtag.Timeval `evtag:"28"`
	PDur  *time.Duration `evtag:"29"`
	PTime *time.Time     `evtag:"30"`
	PSub  *sub           `evtag:"31"`

	OU32 uint32  `evtag:"41,optional"`
	OStr string  `evtag:"45,optional"`
	OByt []byte  `evtag:"46,optional"`
	OFix [3]byte `evtag:"47,optional"`
	OSub sub     `evtag:"51,optional"`

	SU32  []uint32        `evtag:"61"`
	SU64  []uint64        `evtag:"62"`
	SI32  []int32         `evtag:"63"`
	SI64  []int64         `evtag:"64"`
	SStr  []string        `evtag:"65"`
	SByt  [][]byte        `evtag:"66"`
	SFix  [][3]byte       `evtag:"67"`
	STv   []evtag.Timeval `evtag:"68"`
	SDur  []time.Duration `evtag:"69"`
	STime []time.Time     `evtag:"70"`
	SSub  []sub           `evtag:"71"`
	SPtr  []*sub          `evtag:"72"`
}

type (
	id  uint32
	sub struct {
		Name string `evtag:"1"`
		Next *sub   `evtag:"2"`
	}
)

func full() everything {
	noon := time.Date(2026, 11, 29, 12, 0, 0, 123456000, time.UTC)
	return everything{
		U32: math.MaxUint32, U64: math.MaxUint64, I32: -1, I64: math.MinInt64, Str: "str", Byt: []byte{0, 1},
		Fix: [3]byte{1, 2, 3}, Tv: evtag.Timeval{Sec: 1, Usec: math.MaxUint32}, Dur: 1500 * time.Millisecond,
		Time: noon, Sub: sub{Name: "outer", Next: &sub{Name: "inner"}}, ID: 7,

		PU32: ptr[uint32](0), PU64: ptr[uint64](0), PI32: ptr[int32](0), PI64: ptr[int64](0), PStr: ptr(""),
		PByt: ptr([]byte{}), PFix: ptr([3]byte{}), PTv: ptr(evtag.Timeval{}), PDur: ptr[time.Duration](0),
		PTime: ptr(time.Unix(0, 0).UTC()), PSub: ptr(sub{}),

		OU32: 1, OStr: "o", OByt: []byte{}, OFix: [3]byte{1}, OSub: sub{Name: "sub"},

		SU32: []uint32{0, 1}, SU64: []uint64{0, 1}, SI32: []int32{0, -1}, SI64: []int64{0, -1}, SStr: []string{"", "a"},
		SByt: [][]byte{{}, {1}}, SFix: [][3]byte{{}, {1}}, STv: []evtag.Timeval{{}, {Sec: 1}},
		SDur: []time.Duration{0, time.Hour}, STime: []time.Time{noon, noon.Add(time.Hour)},
		SSub: []sub{{}, {Name: "a"}}, SPtr: []*sub{{}, {Next: &sub{}}},
	}
}

func TestEverything(t *testing.T) {
	for _, want := range []everything{
		full(),
		{Byt: []byte{}, Time: time.Unix(0, 0).UTC()}, // what is required only
	} {
		data := marshal(t, &want)
		got := everything{Not: map[string]float64{"x": 1}, PU32: ptr[uint32](1), SU32: []uint32{1}}
		if err := evtag.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if got.Not["x"] != 1 {
			t.Error("a field without a tag was changed")
		}
		got.Not = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	}
}

// The struct shares no memory with the message.
func TestUnmarshalCopies(t *testing.T) {
	want := full()
	data := marshal(t, want)
	var got everything
	if err := evtag.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	clear(data)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// Times keep whole microseconds, rounded down.
func TestTimes(t *testing.T) {
	type times struct {
		D time.Duration `evtag:"1"`
		T time.Time     `evtag:"2"`
	}
	v := times{time.Second + 1999, time.Unix(1, 1999)}
	if err := evtag.Unmarshal(marshal(t, v), &v); err != nil {
		t.Fatal(err)
	}
	if want := (times{time.Second + 1000, time.Unix(1, 1000).UTC()}); v != want {
		t.Errorf("got %v, want %v", v, want)
	}
	for _, bad := range []times{
		{D: -1, T: time.Unix(0, 0)},
		{T: time.Unix(-1, 0)},
		{T: time.Unix(1<<32, 0)},
		{D: 1 << 32 * time.Second, T: time.Unix(0, 0)},
		{}, // the zero time is long before 1970
	} {
		if _, err := evtag.Marshal(nil, bad); !errors.Is(err, evtag.ErrRange) {
			t.Errorf("%v: error %v", bad, err)
		}
	}
}

func TestUnmarshalErrors(t *testing.T) {
	r := run{How: "fast", Notes: []string{"a", "b"}}
	good := string(marshal(t, &msg{FromName: "a", ToName: "b", Run: []run{r, r}}))
	whole := len(good)
	second := strings.LastIndex(good, "\x01\x04fast") // where the second run's items begin
	notes := strings.LastIndex(good, "\x04\x01b")

	replace := func(at int, with string) string { return good[:at] + with + good[at+len(with):] }
	for _, test := range []struct {
		name  string
		data  string
		at    int
		tag   uint32
		field string
		why   error
	}{
		{"unknown tag", good + "\x05\x00", whole, 5, "", evtag.ErrUnknown},
		{"unknown tag inside", replace(notes, "\x07"), notes, 7, "Run[1]", evtag.ErrUnknown},
		{"twice", good + "\x01\x01c", whole, 1, "FromName", evtag.ErrDuplicate},
		{"missing", good[3:], whole - 3, 1, "FromName", evtag.ErrMissing},
		{"nothing", "", 0, 1, "FromName", evtag.ErrMissing},
		{"missing inside", replace(second, "\x04"), whole, 1, "Run[1].How", evtag.ErrMissing},
		{"cut off", good[:whole-1], second - 3, 4, "", io.ErrUnexpectedEOF},
		{"longer than what is around it", replace(notes, "\x04\x0f"), notes, 4, "Run[1]", io.ErrUnexpectedEOF},
		{"array of bytes", replace(second+6, "\x03\x17\x10"), second + 6, 3, "Run[1].FixedBytes", evtag.ErrLength},
	} {
		got := msg{FromName: "before", Run: []run{{}}}
		err := evtag.Unmarshal([]byte(test.data), &got)
		var where *evtag.Error
		if !errors.As(err, &where) || !errors.Is(err, test.why) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.why)
			continue
		}
		if where.Offset != test.at || where.Tag != test.tag || where.Field != test.field {
			t.Errorf("%s: error %v, want %q, tag %d at byte %d", test.name, err, test.field, test.tag, test.at)
		}
		if !reflect.DeepEqual(got, msg{}) {
			t.Errorf("%s: the struct is %v", test.name, got)
		}
	}

	err := evtag.Unmarshal([]byte(good[3:]), new(msg))
	if want := "evtag: FromName: tag 1 at byte 87: a required field is missing"; err.Error() != want {
		t.Errorf("the error says %q, want %q", err, want)
	}
}

func TestMarshalErrors(t *testing.T) {
	type bad struct {
		A []*sub `evtag:"1"`
	}
	loop := &sub{}
	loop.Next = loop
	for _, test := range []struct {
		v    any
		want string
	}{
		{nil, "evtag: Marshal of <nil>, which is no struct"},
		{1, "evtag: Marshal of int, which is no struct"},
		{(*msg)(nil), "evtag: Marshal of a nil *evtag_test.msg"},
		{&bad{A: []*sub{{}, nil}}, "evtag: A[1]: nil pointer in a slice"},
		{&bad{A: []*sub{{Name: "a\x00b"}}}, "evtag: A[0].Name: string with a zero byte"},
		{loop, "messages are nested too deeply"},
	} {
		dst := []byte("before")
		got, err := evtag.Marshal(dst, test.v)
		if err == nil || !strings.HasSuffix(err.Error(), test.want) || string(got) != "before" {
			t.Errorf("%T: %q, error %v, want %s", test.v, got, err, test.want)
		}
	}
}

func TestUnmarshalTargets(t *testing.T) {
	for _, v := range []any{nil, 1, msg{}, (*msg)(nil), ptr(1), ptr(&msg{})} {
		if err := evtag.Unmarshal(nil, v); err == nil {
			t.Errorf("no error for %T", v)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		v    any
		want string // a part of the error
	}{
		{msg{}, ""},
		{&everything{}, ""},
		{struct{}{}, ""},
		{struct{ A int }{}, "no field"},
		{struct {
			A int `evtag:"1"`
		}{}, "A: libevent has no encoding for int"},
		{struct {
			A bool `evtag:"1"`
		}{}, "no encoding for bool"},
		{struct {
			A [][]uint32 `evtag:"1"`
		}{}, "no encoding for [][]uint32"},
		{struct {
			A **uint32 `evtag:"1"`
		}{}, "no encoding for **uint32"},
		{struct {
			A *[]uint32 `evtag:"1"`
		}{}, "no encoding for *[]uint32"},
		{struct {
			A []struct {
				B map[int]int `evtag:"1"`
			} `evtag:"1"`
		}{}, "B: libevent has no encoding for map[int]int"},
		{struct {
			a uint32 `evtag:"1"`
		}{}, "a: the field is not exported"},
		{struct {
			A, B uint32 `evtag:"0x1"`
		}{}, "B: tag 1 is that of A"},
		{struct {
			A uint32 `evtag:"1,omitempty"`
		}{}, "omitempty"},
		{struct {
			A uint32 `evtag:"4294967296"`
		}{}, "no number"},
		{struct {
			A uint32 `evtag:"-1"`
		}{}, "no number"},
		{struct {
			A uint32 `evtag:""`
		}{}, "no number"},
	} {
		err := evtag.Check(test.v)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%T: error %v, want %q", test.v, err, test.want)
		}
		if _, again := evtag.Marshal(nil, test.v); test.want != "" && again == nil {
			t.Errorf("%T: Marshal has no error", test.v)
		}
	}
}

// A message can be nested as deep as Marshal does it, and no deeper.
func TestDepth(t *testing.T) {
	nested := func(depth int) *sub {
		s := &sub{}
		for range depth {
			s = &sub{Next: s}
		}
		return s
	}
	if err := evtag.Unmarshal(marshal(t, nested(100)), new(sub)); err != nil {
		t.Error(err)
	}
	if _, err := evtag.Marshal(nil, nested(101)); !errors.Is(err, evtag.ErrDepth) {
		t.Errorf("Marshal of 101: %v", err)
	}
	data := []byte("\x01\x00")
	for range 101 {
		data = append([]byte("\x01\x00"), evtag.AppendBytes(nil, 2, data)...)
	}
	if err := evtag.Unmarshal(data, new(sub)); !errors.Is(err, evtag.ErrDepth) {
		t.Errorf("Unmarshal of 101: %v", err)
	}
}

// A struct with more fields than fit into one word of bits.
func TestManyFields(t *testing.T) {
	var fields []reflect.StructField
	for i := range 150 {
		fields = append(fields, reflect.StructField{
			Name: fmt.Sprint("F", i),
			Type: reflect.TypeFor[uint32](),
			Tag:  reflect.StructTag(fmt.Sprintf(`evtag:"%d"`, i)),
		})
	}
	v := reflect.New(reflect.StructOf(fields))
	for i := range fields {
		v.Elem().Field(i).SetUint(uint64(i))
	}
	data := marshal(t, v.Interface())
	got := reflect.New(v.Type().Elem())
	if err := evtag.Unmarshal(data, got.Interface()); err != nil || !reflect.DeepEqual(got.Interface(), v.Interface()) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := evtag.Unmarshal(evtag.AppendUint(data, 149, 0), got.Interface()); !errors.Is(err, evtag.ErrDuplicate) {
		t.Errorf("the last field twice: %v", err)
	}
	last, err := evtag.Marshal(nil, struct {
		A uint32 `evtag:"149"`
	}{149})
	if err != nil {
		t.Fatal(err)
	}
	if err := evtag.Unmarshal(data[:len(data)-len(last)], got.Interface()); !errors.Is(err, evtag.ErrMissing) {
		t.Errorf("without the last field: %v", err)
	}
}

// Plans are made once, whoever asks first.
func TestConcurrentPlans(t *testing.T) {
	type b struct {
		A []*struct {
			C sub `evtag:"1"`
		} `evtag:"1"`
	}
	type a struct {
		B b `evtag:"1"`
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var v any = &a{}
			if i%2 == 0 {
				v = &b{}
			}
			if _, err := evtag.Marshal(nil, v); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Marshal allocates nothing if dst has room.
func TestMarshalAllocations(t *testing.T) {
	v := full()
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := evtag.Marshal(dst, &v); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Marshal makes %v allocations", n)
	}
	numbers := struct {
		A uint32        `evtag:"1"`
		B [8]byte       `evtag:"2"`
		C evtag.Timeval `evtag:"3"`
		D time.Duration `evtag:"4"`
	}{A: 1}
	data := marshal(t, numbers)
	if n := testing.AllocsPerRun(100, func() {
		if err := evtag.Unmarshal(data, &numbers); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Unmarshal makes %v allocations for fields that need none", n)
	}
}
