// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxDepth is how deep messages may be nested. It is arbitrary; it keeps the stack small.
const maxDepth = 100

// A plan is what Marshal and Unmarshal know about a type of struct. It does not change once
// planOf has returned it.
type plan struct {
	fields []field        // in the order of the struct, which is that of the items
	byTag  map[uint32]int // index in fields
}

// A field is a field of a struct that is part of the message.
type field struct {
	name     string
	index    int // in the struct
	tag      uint32
	head     []byte // the tag, encoded
	optional bool   // what is not sent if it is the zero value
	array    bool   // a slice: an item for each element
	pointer  bool   // the value, or the element of an array, is behind a pointer
	kind     kind
	size     int   // of kindFixed
	plan     *plan // of kindStruct
}

// required says whether the message must have the field.
func (f *field) required() bool { return !f.optional && !f.array }

// A kind says how a value is encoded.
type kind uint8

const (
	kindUint32 kind = iota
	kindUint64
	kindInt32
	kindInt64
	kindString
	kindBytes
	kindFixed
	kindTimeval
	kindDuration
	kindTime
	kindStruct
)

var (
	timevalType  = reflect.TypeFor[Timeval]()
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
)

var (
	plans   sync.Map   // from reflect.Type to *plan
	plansMu sync.Mutex // held while plans are made
)

// planOf returns the plan of a type of struct.
func planOf(t reflect.Type) (*plan, error) {
	if p, ok := plans.Load(t); ok {
		return p.(*plan), nil
	}
	plansMu.Lock()
	defer plansMu.Unlock()
	made := make(map[reflect.Type]*plan)
	p, err := makePlan(t, made)
	if err != nil {
		return nil, err
	}
	for t, p := range made {
		plans.LoadOrStore(t, p)
	}
	return p, nil
}

// makePlan makes the plan of t and those of the structs in it. It puts them into made, before they
// are complete, for a struct may contain itself.
func makePlan(t reflect.Type, made map[reflect.Type]*plan) (*plan, error) {
	if p, ok := plans.Load(t); ok {
		return p.(*plan), nil
	}
	if p := made[t]; p != nil {
		return p, nil
	}
	p := &plan{byTag: make(map[uint32]int)}
	made[t] = p
	for i := range t.NumField() {
		sf := t.Field(i)
		text, ok := sf.Tag.Lookup("evtag")
		if !ok || text == "-" {
			continue
		}
		f := field{name: sf.Name, index: i}
		err := f.parseTag(text)
		if err == nil && !sf.IsExported() {
			err = errors.New("the field is not exported")
		}
		if err == nil {
			err = f.resolve(sf.Type, made)
		}
		if j, ok := p.byTag[f.tag]; ok && err == nil {
			err = fmt.Errorf("tag %d is that of %s", f.tag, p.fields[j].name)
		}
		if err != nil {
			return nil, fmt.Errorf("evtag: %v.%s: %w", t, sf.Name, err)
		}
		p.byTag[f.tag] = len(p.fields)
		p.fields = append(p.fields, f)
	}
	if len(p.fields) == 0 && t.NumField() > 0 {
		return nil, fmt.Errorf("evtag: no field of %v has a tag", t)
	}
	return p, nil
}

// parseTag reads what stands in a field's tag.
func (f *field) parseTag(text string) error {
	number, option, more := strings.Cut(text, ",")
	if more && option != "optional" {
		return fmt.Errorf("unknown option %q in the tag", option)
	}
	f.optional = more
	digits, base := number, 10
	if hex, ok := strings.CutPrefix(strings.ToLower(number), "0x"); ok {
		digits, base = hex, 16
	}
	tag, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return fmt.Errorf("%q is no number from 0 to 4294967295", number)
	}
	f.tag = uint32(tag)
	f.head = AppendTag(nil, f.tag)
	return nil
}

// resolve finds out how a field of type t is encoded.
func (f *field) resolve(t reflect.Type, made map[reflect.Type]*plan) error {
	whole := t
	if t.Kind() == reflect.Slice && !isBytes(t) {
		f.array = true
		t = t.Elem()
	}
	if t.Kind() == reflect.Pointer {
		f.pointer = true
		f.optional = f.optional || !f.array
		t = t.Elem()
	}
	switch {
	case t == timevalType:
		f.kind = kindTimeval
	case t == durationType:
		f.kind = kindDuration
	case t == timeType:
		f.kind = kindTime
	case t.Kind() == reflect.Uint32:
		f.kind = kindUint32
	case t.Kind() == reflect.Uint64:
		f.kind = kindUint64
	case t.Kind() == reflect.Int32:
		f.kind = kindInt32
	case t.Kind() == reflect.Int64:
		f.kind = kindInt64
	case t.Kind() == reflect.String:
		f.kind = kindString
	case isBytes(t):
		f.kind = kindBytes
	case t.Kind() == reflect.Array && t.Elem().Kind() == reflect.Uint8:
		f.kind = kindFixed
		f.size = t.Len()
	case t.Kind() == reflect.Struct:
		f.kind = kindStruct
		var err error
		f.plan, err = makePlan(t, made)
		return err
	default:
		return fmt.Errorf("libevent has no encoding for %v", whole)
	}
	return nil
}

// isBytes says whether t is a slice of bytes, which is one value and no array.
func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}
