// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// acceptKey returns the answer to the key of a client, RFC 6455 section 4.2.2.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// An asking is the request of a client for a WebSocket.
type asking struct {
	method   string
	minor    int // of HTTP/1
	host     string
	upgrades bool // "websocket" is in Upgrade, and "upgrade" in Connection
	values   func(name string) []string
}

// An answer is what a server agrees to.
type answer struct {
	accept     string // Sec-WebSocket-Accept
	protocol   uint8  // 1 + index of the subprotocol; 0: none
	extensions string // Sec-WebSocket-Extensions; "": none
	agreement
}

// check returns the answer to a request, or what is wrong with it.
func (a *asking) check(conf *Config) (*answer, *HandshakeError) {
	keys, versions := a.values("Sec-Websocket-Key"), a.values("Sec-Websocket-Version")
	switch {
	case a.method != "GET":
		return nil, &HandshakeError{http.StatusMethodNotAllowed, "the method is not GET"}
	case a.minor < 1:
		return nil, &HandshakeError{http.StatusBadRequest, "the request is older than HTTP/1.1"}
	case !a.upgrades:
		return nil, &HandshakeError{http.StatusBadRequest, "the client does not ask for a WebSocket"}
	case len(versions) != 1 || strings.TrimSpace(versions[0]) != "13":
		return nil, &HandshakeError{http.StatusUpgradeRequired, "the version is not 13"}
	case len(keys) != 1 || !validKey(keys[0]):
		return nil, &HandshakeError{http.StatusBadRequest, "there is no valid Sec-WebSocket-Key"}
	case !originAllowed(a.values("Origin"), a.host, conf.Origins):
		return nil, &HandshakeError{http.StatusForbidden, "the origin is not allowed"}
	}
	r := &answer{accept: acceptKey(strings.TrimSpace(keys[0]))}
	offered := items(a.values("Sec-Websocket-Protocol"))
	for i, p := range conf.Subprotocols {
		if i < 255 && slices.Contains(offered, p) {
			r.protocol = uint8(i + 1)
			break
		}
	}
	if conf.Compress {
		r.extensions, r.agreement = negotiate(a.values("Sec-Websocket-Extensions"), conf.ContextTakeover)
	}
	return r, nil
}

func validKey(key string) bool {
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(key))
	return err == nil && len(raw) == 16
}

// originAllowed reports whether a page of the origin may connect to host.
func originAllowed(origin []string, host string, allowed []string) bool {
	if len(origin) == 0 {
		return true // not a browser
	}
	if len(origin) > 1 {
		return false
	}
	if slices.Contains(allowed, "*") {
		return true
	}
	u, err := url.Parse(origin[0])
	if err != nil || u.Host == "" { // "null" of sandboxed pages and files, for example
		return false
	}
	if strings.EqualFold(u.Host, host) {
		return true
	}
	for _, a := range allowed {
		if suffix, ok := strings.CutPrefix(a, "*"); ok {
			if strings.HasPrefix(suffix, ".") && len(u.Host) > len(suffix) && strings.EqualFold(u.Host[len(u.Host)-len(suffix):], suffix) {
				return true
			}
		} else if strings.EqualFold(u.Host, a) {
			return true
		}
	}
	return false
}

// items returns the items of lists that are separated by commas.
func items(lists []string) []string {
	var all []string
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if item = strings.TrimSpace(item); item != "" {
				all = append(all, item)
			}
		}
	}
	return all
}

// isToken reports whether s is a token of RFC 9110.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
