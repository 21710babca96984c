// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"fmt"
	"unicode/utf8"
)

// Codes of close frames, RFC 6455 section 7.4. Codes from 3000 to 4999 are for applications.
const (
	Normal          = 1000 // the purpose is fulfilled
	GoingAway       = 1001 // a server goes down, a page is left
	ProtocolError   = 1002 // the peer breaks the protocol
	Unsupported     = 1003 // a type of message that is not understood
	NoStatus        = 1005 // in Closed only: the close frame had no code
	Abnormal        = 1006 // in Closed only: there was no close frame
	InvalidPayload  = 1007 // text that is not UTF-8, or data that cannot be decompressed
	PolicyViolation = 1008 // a message that is not allowed
	TooBig          = 1009 // a message that is too long
	NoExtension     = 1010 // from a client: the server has not agreed to an extension
	InternalError   = 1011 // the server has failed
	ServiceRestart  = 1012 // the server restarts
	TryAgainLater   = 1013 // the server is overloaded
)

// validCode reports whether a close frame may have the code.
func validCode(code int) bool {
	switch {
	case code >= 3000 && code <= 4999:
		return true
	case code >= 1000 && code <= 1014:
		return code != 1004 && code != NoStatus && code != Abnormal
	}
	return false
}

// A PeerError says what a peer has done wrong. The peer was sent the code.
type PeerError struct {
	Code   int
	Reason string
}

// Error returns the reason.
func (e *PeerError) Error() string { return fmt.Sprintf("evws: %s (code %d)", e.Reason, e.Code) }

func protocolError(reason string) error { return &PeerError{ProtocolError, reason} }

// parseClose takes the payload of a close frame apart.
func parseClose(p []byte) (code int, reason string, err error) {
	switch {
	case len(p) == 0:
		return NoStatus, "", nil
	case len(p) == 1:
		return 0, "", protocolError("a close frame has half a code")
	}
	code = int(p[0])<<8 | int(p[1])
	switch {
	case !validCode(code):
		return 0, "", protocolError(fmt.Sprintf("a close frame has the code %d", code))
	case !utf8.Valid(p[2:]):
		return 0, "", &PeerError{InvalidPayload, "the reason of a close frame is not UTF-8"}
	}
	return code, string(p[2:]), nil
}

// appendClose appends the payload of a close frame. What of reason is too long is cut off, between
// two characters.
func appendClose(dst []byte, code int, reason string) []byte {
	if code == NoStatus {
		return dst
	}
	if len(reason) > maxControl-2 {
		n := maxControl - 2
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	return append(append(dst, byte(code>>8), byte(code)), reason...)
}
