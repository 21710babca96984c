// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag

import (
	"errors"
	"fmt"
	"strings"
)

// The reasons why a message cannot be decoded; test for them with errors.Is. Another one
// is io.ErrUnexpectedEOF: the message, or the message in a message, ends within an item.
var (
	ErrUnknown   = errors.New("the message has no field with this tag")
	ErrDuplicate = errors.New("the field occurs twice")
	ErrMissing   = errors.New("a required field is missing")
	ErrTag       = errors.New("the item has another tag")
	ErrRange     = errors.New("value out of range") // an integer, tag or time that does not fit
	ErrLength    = errors.New("wrong length")       // of a payload whose length is fixed
	ErrDepth     = errors.New("messages are nested too deeply")
)

// An Error says where in a message something is wrong. All errors of Unmarshal and of
// a Decoder are of this type, except io.EOF and those that are about the type.
type Error struct {
	// Offset is where the item begins, in bytes from the beginning of the outermost
	// message. For ErrMissing it is where the message ends that has no such item. It is -1
	// if the error is of Marshal.
	Offset int

	// Tag is the tag of the item, or 0 if that could not be read.
	Tag uint32

	// Field is the field of the struct, with those around it, for example "Run[3].How". It
	// is empty if the error is not of a field.
	Field string

	// Err is the reason.
	Err error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("evtag: ")
	if e.Field != "" {
		fmt.Fprintf(&b, "%s: ", e.Field)
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, "tag %d at byte %d: ", e.Tag, e.Offset)
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// inside puts the field's name, and its index if that is not negative, before the field that
// e names so far.
func (e *Error) inside(field string, index int) *Error {
	if index >= 0 {
		field = fmt.Sprintf("%s[%d]", field, index)
	}
	if e.Field != "" {
		field += "." + e.Field
	}
	e.Field = field
	return e
}
