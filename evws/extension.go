// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"strconv"
	"strings"
)

const (
	deflateName  = "permessage-deflate"
	noServerKeep = "; server_no_context_takeover"
	noClientKeep = "; client_no_context_takeover"

	// What this side offers, and what it agrees to, without Config.ContextTakeover: no memory is kept
	// from one message to the next.
	deflateOffer = deflateName + noServerKeep + noClientKeep
)

// offer returns what a client offers.
func offer(takeover bool) string {
	if takeover {
		return deflateName
	}
	return deflateOffer
}

// An agreement is how messages are compressed. The zero value means that they are not.
type agreement struct {
	window                   uint8 // bits of the window for what this side compresses; 0: nothing is
	keepsSent, keepsReceived bool  // see takeover
}

// deflateParams are the parameters of permessage-deflate, RFC 7692 section 7.1.
type deflateParams struct {
	serverNoTakeover, clientNoTakeover bool
	serverWindow, clientWindow         int  // 0: not there
	clientWindowAny                    bool // client_max_window_bits without a value
}

// negotiate returns the server's answer to the first offer of permessage-deflate that can be agreed
// to, and what it says; "" if there is none.
func negotiate(lists []string, takeover bool) (string, agreement) {
	for _, item := range items(lists) {
		p, ok := parseDeflate(item)
		if !ok {
			continue
		}
		a := agreement{maxWindow, takeover && !p.serverNoTakeover, takeover && !p.clientNoTakeover}
		answer := deflateName
		if !a.keepsSent {
			answer += noServerKeep
		}
		if !a.keepsReceived {
			answer += noClientKeep
		}
		if p.serverWindow != 0 {
			a.window = uint8(p.serverWindow)
			answer += "; server_max_window_bits=" + strconv.Itoa(p.serverWindow)
			a.keepsSent = a.keepsSent && a.window == maxWindow // see deflate
		}
		return answer, a
	}
	return "", agreement{}
}

// agreed returns what the server's answer to the offer of a client says. ok is false if the answer
// is not one to that offer.
func agreed(lists []string, offered, takeover bool) (a agreement, ok bool) {
	list := items(lists)
	if len(list) == 0 {
		return a, true
	}
	p, ok := parseDeflate(list[0])
	if len(list) > 1 || !offered || !ok || p.clientWindow != 0 || p.clientWindowAny || !takeover && !p.serverNoTakeover {
		return a, false
	}
	return agreement{maxWindow, takeover && !p.clientNoTakeover, takeover && !p.serverNoTakeover}, true
}

// parseDeflate parses an offer or an answer. A comma within quotes is not understood: no valid
// value has one.
func parseDeflate(item string) (p deflateParams, ok bool) {
	name, rest, more := strings.Cut(item, ";")
	if !strings.EqualFold(strings.TrimSpace(name), "permessage-deflate") {
		return p, false
	}
	for more {
		var param string
		param, rest, more = strings.Cut(rest, ";")
		name, value, has := strings.Cut(param, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		switch strings.ToLower(name) {
		case "server_no_context_takeover":
			if has || p.serverNoTakeover {
				return p, false
			}
			p.serverNoTakeover = true
		case "client_no_context_takeover":
			if has || p.clientNoTakeover {
				return p, false
			}
			p.clientNoTakeover = true
		case "server_max_window_bits":
			if p.serverWindow != 0 || !bits(value, &p.serverWindow) {
				return p, false
			}
		case "client_max_window_bits":
			if p.clientWindow != 0 || p.clientWindowAny || has && !bits(value, &p.clientWindow) {
				return p, false
			}
			p.clientWindowAny = !has
		default:
			return p, false
		}
	}
	return p, true
}

// bits parses the number of bits of a window: 8 to 15, in decimal, without a zero in front.
func bits(s string, n *int) bool {
	v, err := strconv.Atoi(s)
	if err != nil || v < 8 || v > 15 || strconv.Itoa(v) != s {
		return false
	}
	*n = v
	return true
}
