// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc

import (
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/evchan/evchan"
)

// maxHead is the length of the longest head of a response, in bytes.
const maxHead = 16 << 10

// A response is the answer of an HTTP server as far as it has come.
type response struct {
	headDone  bool
	status    int
	fields    []fieldLine
	length    int64 // of the body; -1: it ends with the connection
	keepAlive bool  // the connection can be used again
	body      evchan.Buffer
}

// A fieldLine is a line of a head.
type fieldLine struct{ name, value string }

// get returns the value of the first field of that name, or "".
func (r *response) get(name string) string {
	for _, f := range r.fields {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// read takes from in what belongs to the response, and returns true when the response is complete. eof
// says that nothing follows what is in in. limit is the length of the longest body, in bytes.
func (r *response) read(in *evchan.Buffer, eof bool, limit int) (done bool, err error) {
	for !r.headDone {
		end := in.IndexRange(headEnd, 0, maxHead)
		switch {
		case end >= 0:
		case in.Len() >= maxHead:
			return false, ErrProtocol
		case eof:
			return false, io.ErrUnexpectedEOF
		default:
			return false, nil
		}
		if err := r.parseHead(string(in.Next(end + len(headEnd)))); err != nil {
			return false, err
		}
		r.headDone = r.status >= 200 // what comes before is about the request: 100 Continue
	}
	have := r.body.Len()
	if r.length > int64(limit) || r.length < 0 && in.Len() > limit-have {
		return false, ErrTooLarge
	}
	if r.length < 0 {
		r.body.MoveN(in, in.Len())
		return eof, nil
	}
	r.body.MoveN(in, min(in.Len(), int(r.length)-have))
	done = r.body.Len() == int(r.length)
	if eof && !done {
		err = io.ErrUnexpectedEOF
	}
	return done, err
}

var headEnd = []byte("\r\n\r\n")

// parseHead reads the head of a response, with the empty line at its end.
func (r *response) parseHead(head string) error {
	line, rest, _ := strings.Cut(head, "\r\n")
	version, after, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(after, " ")
	status, err := strconv.ParseUint(code, 10, 16)
	if err != nil || len(code) != 3 || status < 100 || version != "HTTP/1.1" && version != "HTTP/1.0" || !validField("reason", after) {
		return ErrProtocol
	}
	r.status, r.fields, r.length, r.keepAlive = int(status), nil, -1, version == "HTTP/1.1"
	for {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !validField(name, value) {
			return ErrProtocol
		}
		r.fields = append(r.fields, fieldLine{name, value})
		switch strings.ToLower(name) {
		case "content-length":
			n, err := strconv.ParseUint(value, 10, 62)
			if err != nil || value[0] == '+' || r.length >= 0 && r.length != int64(n) {
				return ErrProtocol
			}
			r.length = int64(n)
		case "transfer-encoding":
			return ErrProtocol // what answers an RPC has the answer as a whole, and says its length
		case "connection":
			switch {
			case hasToken(value, "close"):
				r.keepAlive = false
			case hasToken(value, "keep-alive"):
				r.keepAlive = true
			}
		}
	}
	if status == 204 || status == 304 {
		r.length = 0
	}
	if r.length < 0 {
		r.keepAlive = false
	}
	return nil
}

// hasToken reports whether a list that is separated by commas has the token, in any case.
func hasToken(list, token string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}

// A fieldList has fields of a head that is sent.
type fieldList struct{ lines []fieldLine }

// set replaces the fields of that name by one.
func (l *fieldList) set(name, value string) {
	l.lines = slices.DeleteFunc(l.lines, func(f fieldLine) bool { return strings.EqualFold(f.name, name) })
	l.lines = append(l.lines, fieldLine{name, value})
}
