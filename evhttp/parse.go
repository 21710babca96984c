// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"encoding/binary"
	"math/bits"
)

// maxHead is a bound that comes from the 16 bits of a span.
const maxHead = 1<<16 - 1

// A span is a piece of a head, from one offset to another.
type span struct{ from, to uint16 }

// A field is a line of a head: Name: value.
type field struct{ name, value span }

// A head is the request line and the fields of a request, as they were sent. All that it
// returns are pieces of one string. To parse one allocates nothing, unless it has more fields
// than few, or an unusual method.
type head struct {
	raw    string // the caller of parse sets it, to what parse has measured
	method string
	target span
	minor  uint8 // of the version: HTTP/1.minor
	flags  headFlags
	length int64 // Content-Length
	n      int   // number of fields
	few    [20]field
	many   []field // all fields, if they are more than few has room for
}

// isToken tells which bytes may stand in a method or in the name of a field (RFC 9110, 5.6.2).
var isToken = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return
}()

// control returns the position of the first control character (below 0x20, or DEL) at or
// behind i, or len(p). It looks at eight bytes at a time.
func control(p []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(p) {
		x := binary.LittleEndian.Uint64(p[i:])
		del := x ^ 0x7f*ones
		// In the lowest byte that is not zero here, the condition holds. Higher bytes may be
		// wrong because of the borrow.
		if m := ((x-0x20*ones)&^x | (del-ones)&^del) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(p) && p[i] >= 0x20 && p[i] != 0x7f {
		i++
	}
	return i
}

// parse parses the request head that p begins with and returns its length. It keeps nothing of
// p. If p has only a part of the head, the error is errMore; all other errors are refusals.
func (h *head) parse(p []byte) (int, error) {
	h.flags, h.length, h.n, h.many = 0, 0, 0, nil
	i, err := h.parseLine(p)
	if err != nil {
		return 0, err
	}
	if i, err = h.parseFields(p, i); err != nil {
		return 0, err
	}
	return i, h.checkFraming()
}

// parseLine parses the request line, and returns where the fields begin.
func (h *head) parseLine(p []byte) (int, error) {
	i := 0
	if len(p) > 0 && p[0] == '\r' { // one empty line before it is allowed (RFC 9112, 2.2)
		if len(p) == 1 {
			return 0, errMore
		}
		if p[1] != '\n' {
			return 0, errLineEnd
		}
		i = 2
	}
	start := i
	for i < len(p) && isToken[p[i]] {
		i++
	}
	if i == len(p) {
		return 0, errMore
	}
	if p[i] != ' ' || i == start {
		return 0, errRequestLine
	}
	h.method = methodName(p[start:i])
	i++
	end := control(p, i)
	if end == len(p) {
		return 0, errMore
	}
	const version = " HTTP/1.x"
	to := end - len(version) // of the target
	if to <= i || p[end] != '\r' || string(p[to:to+6]) != " HTTP/" {
		return 0, errRequestLine
	}
	if p[to+7] != '.' || !isDigit(p[to+6]) || !isDigit(p[to+8]) {
		return 0, errRequestLine
	}
	if p[to+6] != '1' || p[to+8] > '1' {
		return 0, errVersion
	}
	h.minor = p[to+8] - '0'
	if end > maxHead {
		return 0, errLargeHead
	}
	h.target = span{uint16(i), uint16(to)}
	if err := h.checkTarget(p[i:to]); err != nil {
		return 0, err
	}
	if end+1 == len(p) {
		return 0, errMore
	}
	if p[end+1] != '\n' {
		return 0, errLineEnd
	}
	return end + 2, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// methodName returns the method as a string, which it allocates only for an unusual one.
func methodName(p []byte) string {
	switch string(p) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "HEAD":
		return "HEAD"
	case "PUT":
		return "PUT"
	case "DELETE":
		return "DELETE"
	case "OPTIONS":
		return "OPTIONS"
	case "PATCH":
		return "PATCH"
	case "CONNECT":
		return "CONNECT"
	}
	return string(p)
}

// parseFields parses the fields that begin at i, and the empty line behind them, and returns
// where that ends.
func (h *head) parseFields(p []byte, i int) (int, error) {
	for {
		start := i
		for i < len(p) && isToken[p[i]] {
			i++
		}
		if i == len(p) {
			return 0, errMore
		}
		if i == start {
			return fieldsEnd(p, i)
		}
		if p[i] != ':' {
			return 0, errFieldName
		}
		name := p[start:i]
		from := i + 1
		for from < len(p) && (p[from] == ' ' || p[from] == '\t') {
			from++
		}
		end := control(p, from)
		for end < len(p) && p[end] == '\t' {
			end = control(p, end+1)
		}
		if end+1 >= len(p) {
			if end < len(p) && p[end] != '\r' {
				return 0, valueError(p[end])
			}
			return 0, errMore
		}
		if p[end] != '\r' || p[end+1] != '\n' {
			return 0, valueError(p[end])
		}
		to := end
		for to > from && (p[to-1] == ' ' || p[to-1] == '\t') {
			to--
		}
		i = end + 2
		if i > maxHead {
			return 0, errLargeHead
		}
		h.add(field{span{uint16(start), uint16(start + len(name))}, span{uint16(from), uint16(to)}})
		if err := h.note(name, p[from:to]); err != nil {
			return 0, err
		}
	}
}

// fieldsEnd is parseFields where a line does not begin with a name: at the empty line, if all
// is well.
func fieldsEnd(p []byte, i int) (int, error) {
	switch p[i] {
	case '\r':
		if i+1 == len(p) {
			return 0, errMore
		}
		if p[i+1] == '\n' {
			return i + 2, nil
		}
		return 0, errLineEnd
	case '\n':
		return 0, errLineEnd
	case ' ', '\t':
		return 0, errFold
	}
	return 0, errFieldName
}

// valueError returns the error for c, which ends a value and is not CR LF.
func valueError(c byte) error {
	if c == '\r' || c == '\n' {
		return errLineEnd
	}
	return errFieldValue
}

func (h *head) add(f field) {
	switch {
	case h.n < len(h.few):
		h.few[h.n] = f
	case h.n == len(h.few):
		h.many = append(append(make([]field, 0, 2*len(h.few)), h.few[:]...), f)
	default:
		h.many = append(h.many, f)
	}
	h.n++
}

// str returns the piece s of the head.
func (h *head) str(s span) string { return h.raw[s.from:s.to] }

// fields returns all fields.
func (h *head) fields() []field {
	if h.many != nil {
		return h.many
	}
	return h.few[:h.n]
}

// get returns the value of the first field of that name, in any case, and whether there is one.
func (h *head) get(name string) (string, bool) {
	for _, f := range h.fields() {
		if int(f.name.to-f.name.from) == len(name) && equalFold(h.str(f.name), name) {
			return h.str(f.value), true
		}
	}
	return "", false
}
