// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag

import (
	"fmt"
	"reflect"
	"time"
)

// Unmarshal decodes data into the struct that v points to. The items may be in any order.
// A field that the message does not have becomes the zero value; if there is an
// error, all do. Fields without a tag stay as they are. The struct shares no memory
// with data afterwards.
//
// Errors are those of the type, as of Check, and an *Error that says where the
// message is wrong and why.
func Unmarshal(data []byte, v any) error {
	p, err := planOfValue(v, "Unmarshal")
	if err != nil {
		return err
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("evtag: Unmarshal into %T, which points to no struct", v)
	}
	rv = rv.Elem()
	p.clear(rv)
	if fault := decodeStruct(Decoder{data: data}, p, rv, 0); fault != nil {
		p.clear(rv)
		return fault
	}
	return nil
}

// clear sets the fields that are part of the message to their zero values.
func (p *plan) clear(v reflect.Value) {
	for i := range p.fields {
		v.Field(p.fields[i].index).SetZero()
	}
}

// decodeStruct decodes all of d into v, whose fields have their zero values.
func decodeStruct(d Decoder, p *plan, v reflect.Value, depth int) *Error {
	var few [1]uint64 // enough for 64 fields
	seen := few[:]    // a bit for each field that the message has
	if len(p.fields) > 64 {
		seen = make([]uint64, (len(p.fields)+63)/64)
	}
	next := 0 // the field that comes next if the items are in the order of the fields
	for d.Len() > 0 {
		it, err := d.item()
		if err != nil {
			return err.(*Error) // not io.EOF: something is left
		}
		i, ok := next, true
		if i >= len(p.fields) || p.fields[i].tag != it.tag {
			if i, ok = p.byTag[it.tag]; !ok {
				return d.fail(it.tag, ErrUnknown)
			}
		}
		f := &p.fields[i]
		if next = i; !f.array {
			next++
			if seen[i/64]&(1<<(i%64)) != 0 {
				return d.fail(it.tag, ErrDuplicate).inside(f.name, -1)
			}
		}
		seen[i/64] |= 1 << (i % 64)

		fv, index := v.Field(f.index), -1
		if f.array {
			index = fv.Len()
			fv.Grow(1)
			fv.SetLen(index + 1)
			fv = fv.Index(index)
		}
		if f.pointer {
			fv.Set(reflect.New(fv.Type().Elem()))
			fv = fv.Elem()
		}
		if fault := decodeItem(d, it, f, fv, depth); fault != nil {
			return fault.inside(f.name, index)
		}
		d.advance(it.size)
	}
	for i := range p.fields {
		if f := &p.fields[i]; f.required() && seen[i/64]&(1<<(i%64)) == 0 {
			return d.fail(f.tag, ErrMissing).inside(f.name, -1)
		}
	}
	return nil
}

// decodeItem decodes it, the next item of d, into v, a value of f.
func decodeItem(d Decoder, it item, f *field, v reflect.Value, depth int) *Error {
	var err error
	switch f.kind {
	case kindUint32, kindUint64, kindInt32, kindInt64:
		var n uint64
		switch f.kind {
		case kindUint32:
			n, _, err = decodeUint(it.payload, 8)
			v.SetUint(n)
		case kindUint64:
			n, _, err = decodeUint(it.payload, 16)
			v.SetUint(n)
		case kindInt32:
			n, _, err = decodeUint(it.payload, 8)
			v.SetInt(int64(int32(n)))
		case kindInt64:
			n, _, err = decodeUint(it.payload, 16)
			v.SetInt(int64(n))
		}
	case kindString:
		v.SetString(string(it.payload))
	case kindBytes:
		v.SetBytes(append(make([]byte, 0, len(it.payload)), it.payload...))
	case kindFixed:
		if len(it.payload) != f.size {
			err = ErrLength
			break
		}
		copy(v.Bytes(), it.payload)
	case kindTimeval, kindDuration, kindTime:
		var t Timeval
		if t, err = decodeTimeval(it.payload); err != nil {
			break
		}
		switch f.kind {
		case kindTimeval:
			*v.Addr().Interface().(*Timeval) = t
		case kindDuration:
			v.SetInt(int64(t.Duration()))
		case kindTime:
			*v.Addr().Interface().(*time.Time) = t.Time()
		}
	case kindStruct:
		if depth == maxDepth {
			err = ErrDepth
			break
		}
		return decodeStruct(it.message(d), f.plan, v, depth+1)
	default:
		panic("BUG: unknown kind")
	}
	if err != nil {
		return d.fail(it.tag, err)
	}
	return nil
}
