// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"errors"
	"fmt"
	"net/http"
)

// A responseHead is the status line and the fields of a response. target is the text behind the
// status, and method is "".
type responseHead struct {
	head
	status int
}

// ErrBadResponse means that the server has sent what is no response of HTTP/1, or that its parts
// contradict each other.
var ErrBadResponse = errors.New("evhttp: malformed response")

func badResponse(text string) error { return fmt.Errorf("%w: %s", ErrBadResponse, text) }

// parse parses the head of a response that p begins with and returns its length. It keeps nothing
// of p. If p has only a part of the head, the error is errMore; all others are ErrBadResponse.
func (h *responseHead) parse(p []byte) (int, error) {
	h.head = head{}
	i, err := h.parseStatus(p)
	if err != nil {
		return 0, err
	}
	if i, err = h.parseFields(p, i); err != nil {
		var refused *refusal
		if errors.As(err, &refused) {
			err = badResponse(refused.text)
		}
		return 0, err
	}
	if h.flags&hasChunked != 0 {
		if h.minor == 0 {
			return 0, badResponse(errCodingOld.text)
		}
		if h.flags&hasLength != 0 {
			h.flags |= hasClose // Transfer-Encoding counts, and the connection is not used again (RFC 9112, 6.3)
			h.length = 0
		}
	}
	return i, nil
}

// parseStatus parses the status line, and returns where the fields begin.
func (h *responseHead) parseStatus(p []byte) (int, error) {
	const start = "HTTP/1."
	for i := 0; i < len(start); i++ {
		if i == len(p) {
			return 0, errMore
		}
		if p[i] != start[i] {
			return 0, badResponse("no status line of HTTP/1")
		}
	}
	const line = len("HTTP/1.1 200")
	if len(p) <= line {
		return 0, errMore
	}
	if p[7] > '1' || p[7] < '0' || p[8] != ' ' || !isDigit(p[9]) || !isDigit(p[10]) || !isDigit(p[11]) || p[9] == '0' {
		return 0, badResponse("status line")
	}
	h.minor = p[7] - '0'
	h.status = int(p[9]-'0')*100 + int(p[10]-'0')*10 + int(p[11]-'0')
	from := line
	if p[line] == ' ' {
		from++
	} else if p[line] != '\r' {
		return 0, badResponse("status line")
	}
	end := control(p, from)
	for end < len(p) && p[end] == '\t' {
		end = control(p, end+1)
	}
	switch {
	case end+1 >= len(p) && (end == len(p) || p[end] == '\r'):
		return 0, errMore
	case p[end] != '\r' || p[end+1] != '\n':
		return 0, badResponse(errLineEnd.text)
	case end+2 > maxHead:
		return 0, badResponse(errLargeHead.text)
	}
	h.target = span{uint16(from), uint16(end)}
	return end + 2, nil
}

// noteOfResponse is note for a response.
func (h *head) noteOfResponse(name, value []byte) error {
	switch len(name) {
	case len("connection"):
		if equalFold(name, "connection") {
			h.noteConnection(value)
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			return h.noteLengthOfResponse(value)
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			return h.noteCoding(value)
		}
	}
	return nil
}

// noteLengthOfResponse takes several fields Content-Length if they agree.
func (h *head) noteLengthOfResponse(value []byte) error {
	other := head{}
	if err := other.noteLength(value); err != nil {
		return err
	}
	if h.flags&hasLength != 0 && h.length != other.length {
		return errLength
	}
	h.flags |= hasLength
	h.length = other.length
	return nil
}

// A bodyKind says where a body ends.
type bodyKind uint8

const (
	bodyNone   bodyKind = iota
	bodyLength          // after Content-Length bytes
	bodyChunks          // at the last chunk
	bodyToEOF           // where the connection ends
)

// kind returns where the body of the response to a request with that method ends (RFC 9112, 6.3).
func (h *responseHead) kind(method string) bodyKind {
	switch {
	case method == "HEAD", noBody(h.status), method == http.MethodConnect && h.status < 300:
		return bodyNone
	case h.flags&hasChunked != 0:
		return bodyChunks
	case h.flags&hasLength == 0:
		return bodyToEOF
	case h.length == 0:
		return bodyNone
	}
	return bodyLength
}
