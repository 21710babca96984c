// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"fmt"
	"strconv"
	"strings"
)

// A structure is a struct of an .rpc file.
type structure struct {
	name   string
	pos    position
	fields []*fieldDef
}

// A fieldDef is a field of a structure.
type fieldDef struct {
	name     string
	pos      position
	base     string // "int", "int64", "string", "bytes" or "struct"
	ref      string // the name of the structure, if base is "struct"
	size     int    // of bytes with a length; 0: none
	tag      uint32
	optional bool
	array    bool
}

// A position is where something stands in a file.
type position struct {
	file string
	line int
}

func (p position) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// errorf returns an error that begins with the position.
func (p position) errorf(format string, args ...any) error {
	return fmt.Errorf("%v: %s", p, fmt.Sprintf(format, args...))
}

// A lexeme is a name, a number, one of the characters {}[]=; or, at the end of the file, empty.
type lexeme struct {
	text string
	pos  position
}

func (l lexeme) String() string {
	if l.text == "" {
		return "the end of the file"
	}
	return strconv.Quote(l.text)
}

// A reader reads a file.
type reader struct {
	text    string // what is left
	pos     position
	defines map[string]string // what #define has defined
	next    lexeme
}

// parse returns the structures of a file.
func parse(file, text string) ([]*structure, error) {
	r := &reader{text: text, pos: position{file, 1}, defines: make(map[string]string)}
	if err := r.advance(); err != nil {
		return nil, err
	}
	var all []*structure
	for r.next.text != "" {
		s, err := r.structure()
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// structure reads: struct NAME { FIELD... }
func (r *reader) structure() (*structure, error) {
	if err := r.expect("struct"); err != nil {
		return nil, err
	}
	s := &structure{pos: r.next.pos}
	var err error
	if s.name, err = r.name(); err != nil {
		return nil, err
	}
	if err := r.expect("{"); err != nil {
		return nil, err
	}
	for r.next.text != "}" {
		f, err := r.field()
		if err != nil {
			return nil, err
		}
		s.fields = append(s.fields, f)
	}
	return s, r.advance()
}

// field reads: [optional] [array] TYPE NAME [ "[" LENGTH "]" ] = TAG ;
func (r *reader) field() (*fieldDef, error) {
	f := &fieldDef{pos: r.next.pos}
	for {
		word := r.next.text
		switch {
		case word == "optional" && !f.optional:
			f.optional = true
		case word == "array" && !f.array:
			f.array = true
		default:
			word = ""
		}
		if word == "" {
			break
		}
		if err := r.advance(); err != nil {
			return nil, err
		}
	}
	if err := r.fieldType(f); err != nil {
		return nil, err
	}
	var err error
	if f.name, err = r.name(); err != nil {
		return nil, err
	}
	if r.next.text == "[" {
		if err := r.fieldLength(f); err != nil {
			return nil, err
		}
	}
	if err := r.expect("="); err != nil {
		return nil, err
	}
	if f.tag, err = r.number(); err != nil {
		return nil, err
	}
	if f.array && f.optional {
		return nil, f.pos.errorf("%s is optional and an array", f.name)
	}
	if f.array && f.base == "bytes" {
		return nil, f.pos.errorf("%s is an array of bytes", f.name)
	}
	return f, r.expect(";")
}

// fieldType reads: int | int64 | string | bytes | struct "[" NAME "]"
func (r *reader) fieldType(f *fieldDef) error {
	f.base = r.next.text
	switch f.base {
	case "int", "int64", "string", "bytes":
		return r.advance()
	case "struct":
		if err := r.advance(); err != nil {
			return err
		}
		if err := r.expect("["); err != nil {
			return err
		}
		var err error
		if f.ref, err = r.name(); err != nil {
			return err
		}
		return r.expect("]")
	}
	return r.next.pos.errorf("%v is no type", r.next)
}

// maxSize is the longest bytes with a length that there may be. It is arbitrary: an
// array has its full length in each struct.
const maxSize = 1 << 24

// fieldLength reads the length of bytes.
func (r *reader) fieldLength(f *fieldDef) error {
	if f.base != "bytes" {
		return r.next.pos.errorf("%s has a length and is no bytes", f.name)
	}
	if err := r.advance(); err != nil {
		return err
	}
	if defined, ok := r.defines[r.next.text]; ok {
		r.next.text = defined
	}
	pos := r.next.pos
	n, err := r.number()
	if err != nil {
		return err
	}
	if n == 0 || n > maxSize {
		return pos.errorf("the length of %s is not between 1 and %d", f.name, maxSize)
	}
	f.size = int(n)
	return r.expect("]")
}

// name reads a name.
func (r *reader) name() (string, error) {
	name := r.next.text
	if name == "" || !isLetter(name[0]) {
		return "", r.next.pos.errorf("%v is no name", r.next)
	}
	return name, r.advance()
}

// number reads a decimal or hexadecimal number of 32 bits.
func (r *reader) number() (uint32, error) {
	digits, base := r.next.text, 10
	if hex, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
		digits, base = hex, 16
	} else if len(digits) > 1 && digits[0] == '0' {
		return 0, r.next.pos.errorf("%v begins with 0: octal or decimal?", r.next)
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return 0, r.next.pos.errorf("%v is no number from 0 to 4294967295", r.next)
	}
	return uint32(n), r.advance()
}

// expect reads a token with the given text.
func (r *reader) expect(text string) error {
	if r.next.text != text {
		return r.next.pos.errorf("%q expected, not %v", text, r.next)
	}
	return r.advance()
}

// advance reads the next token into r.next.
func (r *reader) advance() error {
	if err := r.skip(); err != nil {
		return err
	}
	n := 0
	switch {
	case r.text == "":
	case strings.IndexByte("{}[]=;", r.text[0]) >= 0:
		n = 1
	case isLetter(r.text[0]) || isDigit(r.text[0]):
		for n < len(r.text) && (isLetter(r.text[n]) || isDigit(r.text[n])) {
			n++
		}
	default:
		return r.pos.errorf("unexpected character %q", []rune(r.text[:min(len(r.text), 4)])[0])
	}
	r.next = lexeme{r.text[:n], r.pos}
	r.text = r.text[n:]
	return nil
}

// skip skips space, comments, and lines that begin with #.
func (r *reader) skip() error {
	for r.text != "" {
		switch {
		case r.text[0] == '\n':
			r.pos.line++
			r.text = r.text[1:]
		case strings.IndexByte(" \t\r\v\f", r.text[0]) >= 0:
			r.text = r.text[1:]
		case strings.HasPrefix(r.text, "//"):
			r.line()
		case r.text[0] == '#':
			if words := strings.Fields(r.line()); len(words) >= 3 && words[0] == "#define" {
				r.defines[words[1]] = words[2]
			}
		case strings.HasPrefix(r.text, "/*"):
			comment, rest, ok := strings.Cut(r.text[2:], "*/")
			if !ok {
				return r.pos.errorf("the comment does not end")
			}
			r.pos.line += strings.Count(comment, "\n")
			r.text = rest
		default:
			return nil
		}
	}
	return nil
}

// line reads the rest of the line, without its end.
func (r *reader) line() string {
	n := strings.IndexByte(r.text, '\n')
	if n < 0 {
		n = len(r.text)
	}
	line := r.text[:n]
	r.text = r.text[n:]
	return line
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
