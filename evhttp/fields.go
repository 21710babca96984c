// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// A replyFields is what a program has set of the head of a reply: complete lines. The zero
// value is empty.
type replyFields struct {
	lines  []byte
	flags  replyFlags
	length int64 // the Content-Length that was set
}

type replyFlags uint8

const (
	setLength  replyFlags = 1 << iota // Content-Length
	setType                           // Content-Type
	setDate                           // Date
	setClose                          // Connection: close
	setUpgrade                        // Connection: upgrade
)

var errReplyField = errors.New("evhttp: a reply's field has a bad name or value")

// fieldOf returns the flag of the fields that the server would else write itself.
func fieldOf(name string) replyFlags {
	switch len(name) {
	case len("Date"):
		if equalFold(name, "date") {
			return setDate
		}
	case len("Content-Type"):
		if equalFold(name, "content-type") {
			return setType
		}
	case len("Content-Length"):
		if equalFold(name, "content-length") {
			return setLength
		}
	}
	return 0
}

// add appends a field. It refuses what would end the line, or the name.
func (f *replyFields) add(name, value string) error {
	if !validName(name) || !validValue(value) {
		return fmt.Errorf("%w: %.40q: %.40q", errReplyField, name, value)
	}
	switch flag := fieldOf(name); {
	case flag == setLength:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 || f.flags&setLength != 0 {
			return fmt.Errorf("%w: %.40q: %.40q", errReplyField, name, value)
		}
		f.length = n
		f.flags |= setLength
		return nil // written with the head
	case flag != 0:
		f.flags |= flag
	case equalFold(name, "transfer-encoding"):
		return fmt.Errorf("%w: Transfer-Encoding is the server's", errReplyField)
	case equalFold(name, "connection"):
		return f.addConnection(value)
	}
	f.lines = append(f.lines, name...)
	f.lines = append(f.lines, ": "...)
	f.lines = append(f.lines, value...)
	f.lines = append(f.lines, "\r\n"...)
	return nil
}

// addConnection notes what the program wants of the connection. The server writes the field.
func (f *replyFields) addConnection(value string) error {
	for len(value) > 0 {
		var item string
		item, value = cutItem(value)
		switch {
		case equalFold(item, "close"):
			f.flags |= setClose
		case equalFold(item, "upgrade"):
			f.flags |= setUpgrade
		case equalFold(item, "keep-alive"), item == "":
		default:
			return fmt.Errorf("%w: Connection: %.40q", errReplyField, item)
		}
	}
	return nil
}

// del removes the fields of that name.
func (f *replyFields) del(name string) {
	f.flags &^= fieldOf(name)
	if equalFold(name, "connection") {
		f.flags &^= setClose | setUpgrade
	}
	kept := f.lines[:0]
	for rest := f.lines; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n') + 1
		line := rest[:end]
		rest = rest[end:]
		if len(line) > len(name) && line[len(name)] == ':' && equalFold(line[:len(name)], name) {
			continue
		}
		kept = append(kept, line...)
	}
	f.lines = kept
}

// set replaces the fields of that name by one.
func (f *replyFields) set(name, value string) error {
	if !validName(name) || !validValue(value) {
		return fmt.Errorf("%w: %.40q: %.40q", errReplyField, name, value)
	}
	if len(f.lines) > 0 || f.flags != 0 {
		f.del(name)
	}
	return f.add(name, value)
}

// has reports whether there is a field of that name.
func (f *replyFields) has(name string) bool {
	for rest := f.lines; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n') + 1
		if line := rest[:end]; len(line) > len(name) && line[len(name)] == ':' && equalFold(line[:len(name)], name) {
			return true
		}
		rest = rest[end:]
	}
	return false
}

func validName(name string) bool {
	for i := 0; i < len(name); i++ {
		if !isToken[name[i]] {
			return false
		}
	}
	return name != ""
}

// validValue reports whether value has no control character but the tab.
func validValue(value string) bool {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
