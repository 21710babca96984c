// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

// Accept answers a request for a WebSocket, and returns the connection, which is open: Send may
// be called at once. The fields that were set before by req.Set, cookies for example, are sent
// with the answer. conf may be nil.
//
// If the request is not one for a WebSocket, or its origin is not allowed, Accept replies with
// 400, 403, 405 or 426 and returns a *HandshakeError. To reply something else, check before:
// req.Upgrades("websocket"). Other errors are those of a Config that is not valid, and of
// Request.Upgrade.
func Accept(req *evhttp.Request, conf *Config) (*Conn, error) {
	conf, err := conf.orDefault()
	if err != nil {
		return nil, err
	}
	a := asking{
		method:   req.Method(),
		minor:    req.Minor(),
		host:     req.Host(),
		upgrades: req.Upgrades("websocket"),
		values:   req.Values,
	}
	ok, refusal := a.check(conf)
	if refusal != nil {
		if refusal.Status == http.StatusUpgradeRequired {
			req.Set("Sec-WebSocket-Version", "13")
		}
		if refusal.Status == http.StatusMethodNotAllowed {
			req.Set("Allow", "GET")
		}
		if err := req.Reply(refusal.Status, []byte(refusal.Reason+"\n")); err != nil {
			return nil, err
		}
		return nil, refusal
	}
	req.Set("Sec-WebSocket-Accept", ok.accept)
	if ok.protocol > 0 {
		req.Set("Sec-WebSocket-Protocol", conf.Subprotocols[ok.protocol-1])
	}
	if ok.extensions != "" {
		req.Set("Sec-WebSocket-Extensions", ok.extensions)
	}
	s := req.Stream()
	c := newServer(conf, ok)
	c.s = s
	c.mu.Lock() // Next waits until the settings are applied
	defer c.mu.Unlock()
	if _, err := req.Upgrade("websocket", (*layer)(c)); err != nil {
		return nil, err
	}
	conf.prepare(s)
	return c, nil
}

// AcceptHTTP is Accept for a handler of package net/http, whose connection it takes over by
// http.Hijacker. The connection is served by loop. Fields in the header of w are sent with the
// answer.
//
// It works for plain TCP and Unix connections, of http.Server and of evhttp. For a TLS connection
// of http.Server it replies 501 and returns evchan.ErrUnsupported: serve TLS by package evtls
// instead.
func AcceptHTTP(loop *evchan.Loop, w http.ResponseWriter, r *http.Request, conf *Config) (*Conn, error) {
	conf, err := conf.orDefault()
	if err != nil {
		return nil, err
	}
	a := asking{
		method:   r.Method,
		minor:    r.ProtoMinor,
		host:     r.Host,
		upgrades: r.ProtoMajor == 1 && has(r.Header, "Connection", "upgrade") && has(r.Header, "Upgrade", "websocket"),
		values:   r.Header.Values,
	}
	ok, refusal := a.check(conf)
	if refusal != nil {
		if refusal.Status == http.StatusUpgradeRequired {
			w.Header().Set("Sec-WebSocket-Version", "13")
		}
		if refusal.Status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", "GET")
		}
		http.Error(w, refusal.Reason, refusal.Status)
		return nil, refusal
	}
	if r.TLS != nil {
		http.Error(w, "this server has no WebSockets over TLS", http.StatusNotImplemented)
		return nil, evchan.ErrUnsupported
	}
	header := w.Header().Clone()
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "this server has no WebSockets", http.StatusNotImplemented)
		return nil, err
	}
	c, err := wrap(loop, conn, rw.Reader, header, conf, ok)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// wrap answers on a connection that was hijacked, and gives it to loop.
func wrap(loop *evchan.Loop, conn net.Conn, r *bufio.Reader, header http.Header, conf *Config, ok *answer) (*Conn, error) {
	header.Del("Content-Length")
	header.Del("Content-Type")
	header.Del("Transfer-Encoding")
	header.Set("Upgrade", "websocket")
	header.Set("Connection", "Upgrade")
	header.Set("Sec-WebSocket-Accept", ok.accept)
	if ok.protocol > 0 {
		header.Set("Sec-WebSocket-Protocol", conf.Subprotocols[ok.protocol-1])
	}
	if ok.extensions != "" {
		header.Set("Sec-WebSocket-Extensions", ok.extensions)
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	header.Write(&b)
	b.WriteString("\r\n")
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(b.Bytes()); err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	early, _ := r.Peek(r.Buffered())
	c := newServer(conf, ok)
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := loop.Wrap(conn, &evchan.StreamConfig{Layer: (*layer)(c), Input: bytes.Clone(early)})
	if err != nil {
		return nil, err
	}
	c.s = s
	conf.prepare(s)
	if len(early) > 0 {
		s.Again()
	}
	return c, nil
}

func newServer(conf *Config, ok *answer) *Conn {
	c := &Conn{Data: conf.Data, conf: conf, flags: flagOpen, window: ok.window, protocol: ok.protocol}
	c.beginTakeover(ok.keepsSent, ok.keepsReceived)
	return c
}

// has reports whether the list in the field of h has the item.
func has(h http.Header, name, item string) bool {
	for _, x := range items(h.Values(name)) {
		if equalFold(x, item) {
			return true
		}
	}
	return false
}

var errNilLoop = errors.New("evws: a nil Loop")
