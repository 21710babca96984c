// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

// headFlags are what the fields that frame a message, or that concern the connection, have
// said.
type headFlags uint8

const (
	hasLength headFlags = 1 << iota
	hasChunked
	hasClose     // Connection: close
	hasKeepAlive // Connection: keep-alive
	hasUpgrade   // Connection: upgrade
	hasExpect    // Expect: 100-continue
	hasHost
	isTrailer // the fields are those behind a chunked body
)

// note looks at a field that frames the message or concerns the connection. All others have
// no meaning for the server.
func (h *head) note(name, value []byte) error {
	switch {
	case h.flags&isTrailer != 0:
		return checkTrailer(name)
	case h.method == "": // a response
		return h.noteOfResponse(name, value)
	}
	switch len(name) {
	case len("host"):
		if equalFold(name, "host") {
			if h.flags&hasHost != 0 || !validHost(value) {
				return errHost
			}
			h.flags |= hasHost
		}
	case len("expect"):
		if equalFold(name, "expect") {
			if !equalFold(value, "100-continue") {
				return errExpectation
			}
			h.flags |= hasExpect
		}
	case len("connection"):
		if equalFold(name, "connection") {
			h.noteConnection(value)
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			return h.noteLength(value)
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			return h.noteCoding(value)
		}
	}
	return nil
}

// noteCoding notes the value of a field Transfer-Encoding, which must be chunked, once.
func (h *head) noteCoding(value []byte) error {
	if h.flags&hasChunked != 0 {
		return errCodingTwice
	}
	if !equalFold(value, "chunked") {
		return errCoding
	}
	h.flags |= hasChunked
	return nil
}

func (h *head) noteConnection(value []byte) {
	for len(value) > 0 {
		var item []byte
		item, value = cutItem(value)
		switch {
		case equalFold(item, "close"):
			h.flags |= hasClose
		case equalFold(item, "keep-alive"):
			h.flags |= hasKeepAlive
		case equalFold(item, "upgrade"):
			h.flags |= hasUpgrade
		}
	}
}

// noteLength takes one Content-Length of decimal digits, and no second one. RFC 9110, 8.6,
// allows to take equal ones for one; what lies in front of us may disagree.
func (h *head) noteLength(value []byte) error {
	const maxDigits = 18 // fit into an int64
	if h.flags&hasLength != 0 || len(value) == 0 || len(value) > maxDigits {
		return errLength
	}
	for _, c := range value {
		if !isDigit(c) {
			return errLength
		}
		h.length = h.length*10 + int64(c-'0')
	}
	h.flags |= hasLength
	return nil
}

// checkFraming checks what all fields together say of the message (RFC 9112, 3.2 and 6.3).
func (h *head) checkFraming() error {
	if h.flags&hasChunked != 0 {
		if h.flags&hasLength != 0 {
			return errLengthCoding
		}
		if h.minor == 0 {
			return errCodingOld
		}
	}
	if h.method == "CONNECT" && h.hasBody() {
		return errConnectBody
	}
	if h.flags&hasHost == 0 && h.minor == 1 {
		return errNoHost // the last one, since Intercept allows it
	}
	return nil
}

// hasBody reports whether a body follows the head.
func (h *head) hasBody() bool {
	return h.flags&hasChunked != 0 || h.length > 0
}

// keepAlive reports whether the client wants the connection to stay open.
func (h *head) keepAlive() bool {
	if h.minor == 0 {
		return h.flags&(hasKeepAlive|hasClose) == hasKeepAlive
	}
	return h.flags&hasClose == 0
}

// checkTrailer refuses the fields that must not come behind the body, because something has
// already been done that depends on them.
func checkTrailer(name []byte) error {
	for _, bad := range [...]string{"content-length", "transfer-encoding", "host", "trailer", "connection", "te", "upgrade",
		"expect", "content-encoding", "content-type", "content-range", "authorization", "set-cookie", "cookie"} {
		if equalFold(name, bad) {
			return errTrailer
		}
	}
	return nil
}

// validHost reports whether p has only bytes that a host with a port may have. An empty Host
// is valid.
func validHost(p []byte) bool {
	for _, c := range p {
		if !isHostByte(c) {
			return false
		}
	}
	return true
}

func isHostByte(c byte) bool {
	switch c {
	case ':', '[', ']', '(', ')', ',', ';', '=':
		return true
	case '#', '^', '`', '|':
		return false // tokens, but in no host
	}
	return isToken[c]
}

// cutItem cuts the first item off a comma-separated list, without the space around it.
func cutItem[T string | []byte](list T) (item, rest T) {
	i := 0
	for i < len(list) && list[i] != ',' {
		i++
	}
	item = list[:i]
	if i < len(list) {
		rest = list[i+1:]
	}
	for len(item) > 0 && (item[0] == ' ' || item[0] == '\t') {
		item = item[1:]
	}
	for len(item) > 0 && (item[len(item)-1] == ' ' || item[len(item)-1] == '\t') {
		item = item[:len(item)-1]
	}
	return item, rest
}

// equalFold reports whether a and b are equal but for the case of ASCII letters.
func equalFold[T string | []byte](a T, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}
