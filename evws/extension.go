// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"strconv"
	"strings"
)

// What this side offers, and what it agrees to: no memory is kept from one message to the next.
const deflateOffer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// deflateParams are the parameters of permessage-deflate, RFC 7692 section 7.1.
type deflateParams struct {
	serverNoTakeover, clientNoTakeover bool
	serverWindow, clientWindow         int  // 0: not there
	clientWindowAny                    bool // client_max_window_bits without a value
}

// negotiate returns the answer to the first offer of permessage-deflate that can be agreed to, and
// the window; "" and 0 if there is none.
func negotiate(lists []string) (string, uint8) {
	for _, offer := range items(lists) {
		p, ok := parseDeflate(offer)
		if !ok {
			continue
		}
		if p.serverWindow == 0 {
			return deflateOffer, maxWindow
		}
		return deflateOffer + "; server_max_window_bits=" + strconv.Itoa(p.serverWindow), uint8(p.serverWindow)
	}
	return "", 0
}

// agreed returns the window that a client may use after the server's answer to deflateOffer: 0 if
// messages are not compressed. ok is false if the answer is not one to that offer.
func agreed(lists []string, offered bool) (window uint8, ok bool) {
	list := items(lists)
	if len(list) == 0 {
		return 0, true
	}
	p, ok := parseDeflate(list[0])
	if len(list) > 1 || !offered || !ok || !p.serverNoTakeover || p.clientWindow != 0 || p.clientWindowAny {
		return 0, false
	}
	return maxWindow, true
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
