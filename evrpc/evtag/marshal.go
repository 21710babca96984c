// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
)

// Check returns an error if v is not a struct, or pointer to a struct, that Marshal and
// Unmarshal can encode and decode: if a tag is no number or there twice, or libevent has no encoding for a field's type.
// It looks at the type only.
func Check(v any) error {
	_, err := planOfValue(v, "Check")
	return err
}

// planOfValue returns the plan of v's type, or of the type that v points to.
func planOfValue(v any, caller string) (*plan, error) {
	t := reflect.TypeOf(v)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("evtag: %s of %T, which is no struct", caller, v)
	}
	return planOf(t)
}

// Marshal appends v to dst, encoded, and returns the extended slice. v is a struct or a
// pointer to one. The fields are encoded in their order. If there is
// an error, Marshal returns dst as it was.
//
// Errors are: a type that Check refuses, a nil pointer in a slice or as v, a string with a zero byte, a time or
// duration that a Timeval cannot hold (ErrRange), messages nested too deeply (ErrDepth), and a payload
// longer than 4294967295 bytes.
func Marshal(dst []byte, v any) ([]byte, error) {
	p, err := planOfValue(v, "Marshal")
	if err != nil {
		return dst, err
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer {
		if rv.IsNil() {
			return dst, fmt.Errorf("evtag: Marshal of a nil %T", v)
		}
		rv = rv.Elem()
	} else {
		copied := reflect.New(rv.Type()).Elem() // arrays of bytes must be addressable
		copied.Set(rv)
		rv = copied
	}
	out, fault := appendStruct(dst, p, rv, 0)
	if fault != nil {
		return dst, fault
	}
	return out, nil
}

var (
	errNil      = errors.New("nil pointer in a slice")
	errZeroByte = errors.New("string with a zero byte")
	errTooLong  = errors.New("payload longer than 4294967295 bytes")
)

// appendStruct appends the fields of v.
func appendStruct(dst []byte, p *plan, v reflect.Value, depth int) ([]byte, *Error) {
	if depth > maxDepth {
		return dst, &Error{Offset: -1, Err: ErrDepth}
	}
	var fault *Error
	for i := range p.fields {
		f := &p.fields[i]
		fv := v.Field(f.index)
		if f.array {
			for j := range fv.Len() {
				if dst, fault = appendItem(dst, f, fv.Index(j), depth); fault != nil {
					return dst, fault.inside(f.name, j)
				}
			}
			continue
		}
		if f.optional && fv.IsZero() {
			continue
		}
		if dst, fault = appendItem(dst, f, fv, depth); fault != nil {
			return dst, fault.inside(f.name, -1)
		}
	}
	return dst, nil
}

// appendItem appends one value of f.
func appendItem(dst []byte, f *field, v reflect.Value, depth int) ([]byte, *Error) {
	if f.pointer {
		if v.IsNil() {
			return dst, &Error{Offset: -1, Err: errNil}
		}
		v = v.Elem()
	}
	dst = append(dst, f.head...)
	switch f.kind {
	case kindUint32, kindUint64:
		return appendUint(dst, v.Uint()), nil
	case kindInt32:
		return appendUint(dst, uint64(uint32(v.Int()))), nil
	case kindInt64:
		return appendUint(dst, uint64(v.Int())), nil
	case kindString:
		s := v.String()
		if strings.IndexByte(s, 0) >= 0 {
			return dst, &Error{Offset: -1, Err: errZeroByte}
		}
		if uint64(len(s)) > math.MaxUint32 {
			return dst, &Error{Offset: -1, Err: errTooLong}
		}
		return append(appendLength(dst, len(s)), s...), nil
	case kindBytes, kindFixed:
		p := v.Bytes()
		if uint64(len(p)) > math.MaxUint32 {
			return dst, &Error{Offset: -1, Err: errTooLong}
		}
		return append(appendLength(dst, len(p)), p...), nil
	case kindStruct:
		dst, begin := beginMessage(dst)
		dst, fault := appendStruct(dst, f.plan, v, depth+1)
		if fault != nil {
			return dst, fault
		}
		if uint64(len(dst)-begin) > math.MaxUint32 {
			return dst, &Error{Offset: -1, Err: errTooLong}
		}
		return endMessage(dst, begin), nil
	}
	var t Timeval
	ok := true
	switch f.kind {
	case kindTimeval:
		t = *v.Addr().Interface().(*Timeval)
	case kindDuration:
		t, ok = DurationTimeval(time.Duration(v.Int()))
	case kindTime:
		t, ok = TimeTimeval(v.Addr().Interface().(*time.Time).UTC())
	default:
		panic("BUG: unknown kind")
	}
	if !ok {
		return dst, &Error{Offset: -1, Err: ErrRange}
	}
	return appendTimeval(dst, t), nil
}
