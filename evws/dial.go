// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
)

// A DialConfig has the settings of a connection that Dial makes. nil and zero values mean the
// defaults. It is copied.
type DialConfig struct {
	// Config has the settings that clients and servers share. nil means the defaults.
	Config *Config

	// Header has fields of the request, such as Cookie, Authorization and Origin. Those that
	// belong to the handshake cannot be set. Host replaces the host of the URL.
	Header http.Header

	// Timeout bounds the time until the connection is open: look-up, TCP, TLS and handshake. 0
	// means 30 seconds.
	Timeout time.Duration

	// TLS is the configuration for wss; nil means the zero one.
	TLS *tls.Config

	// Proxy returns the HTTP proxy to connect through, by CONNECT, as in http.Transport: it may be
	// http.ProxyFromEnvironment. A URL of nil means no proxy, and so does a nil Proxy. It is
	// called by Dial. The URL of the request begins with http or https.
	Proxy func(*http.Request) (*url.URL, error)

	// Net has further settings of the stream: its local address, resolver and Notify, for example.
	// nil means the defaults. Layer and Timeout are set by Dial.
	Net *evchan.DialConfig
}

// maxReply is how long the head of a server's reply may be. Arbitrary.
const maxReply = 64 << 10

// A dialing is what a client needs until it is open.
type dialing struct {
	proxy    []byte      // the request to a proxy, whose reply is awaited; nil: there is none (any more)
	secret   *tls.Config // for TLS behind the proxy; nil: none
	request  []byte      // nil: it was sent
	accept   string      // what the server has to reply
	compress bool        // it was offered
}

// Dial connects to a server. The URL begins with ws:// or wss://. It returns at once: Opened
// comes when the connection is open, or Closed if it cannot be opened, with the reason in Err,
// which may be a *HandshakeError. Redirects are not followed.
//
// Dial returns the errors of Loop.Dial and of a URL, field or Config that is not valid.
func Dial(loop *evchan.Loop, rawURL string, conf *DialConfig) (*Conn, error) {
	if loop == nil {
		return nil, errNilLoop
	}
	var d DialConfig
	if conf != nil {
		d = *conf
	}
	common, err := d.Config.orDefault()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("evws: %w", err)
	}
	port := map[string]string{"ws": "80", "wss": "443"}[strings.ToLower(u.Scheme)]
	switch {
	case port == "":
		return nil, fmt.Errorf("evws: the URL %q begins with neither ws:// nor wss://", rawURL)
	case u.Hostname() == "":
		return nil, fmt.Errorf("evws: the URL %q has no host", rawURL)
	case u.Fragment != "":
		return nil, fmt.Errorf("evws: the URL %q has a fragment", rawURL)
	}
	c := &Conn{Data: common.Data, conf: common, flags: flagClient}
	if c.dial, err = newDialing(u, &d, common); err != nil {
		return nil, err
	}
	var n evchan.DialConfig
	if d.Net != nil {
		n = *d.Net
	}
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	n.Timeout, n.Layer = timeout, (*layer)(c)
	if u.Port() != "" {
		port = u.Port()
	}
	address := net.JoinHostPort(u.Hostname(), port)
	secret := strings.EqualFold(u.Scheme, "wss")
	tlsConf := d.TLS
	if secret {
		if tlsConf == nil {
			tlsConf = new(tls.Config)
		}
		tlsConf = tlsConf.Clone()
		if len(tlsConf.NextProtos) == 0 {
			tlsConf.NextProtos = []string{"http/1.1"}
		}
		if tlsConf.ServerName == "" {
			tlsConf.ServerName = u.Hostname()
		}
	}
	proxy, err := d.proxyFor(u)
	if err != nil {
		return nil, err
	}
	if proxy != nil {
		c.dial.proxy = connectRequest(address, proxy)
		if secret {
			c.dial.secret, secret = tlsConf, false
		}
		if port = proxy.Port(); port == "" {
			port = "80"
		}
		address = net.JoinHostPort(proxy.Hostname(), port)
	}
	c.mu.Lock() // Next waits until s is set
	defer c.mu.Unlock()
	if secret {
		c.s, err = evtls.Dial(loop, "tcp", address, &n, tlsConf)
	} else {
		c.s, err = loop.Dial("tcp", address, &n)
	}
	if err != nil {
		return nil, err
	}
	c.s.SetLifetime(timeout)
	return c, nil
}

// own are the fields that belong to the handshake.
var own = map[string]bool{
	"Host": true, "Upgrade": true, "Connection": true, "Content-Length": true, "Transfer-Encoding": true,
	"Sec-Websocket-Key": true, "Sec-Websocket-Version": true, "Sec-Websocket-Extensions": true,
	"Sec-Websocket-Protocol": true,
}

func newDialing(u *url.URL, d *DialConfig, conf *Config) (*dialing, error) {
	var raw [16]byte
	rand.Read(raw[:])
	key := base64.StdEncoding.EncodeToString(raw[:])
	host := u.Host
	if h := d.Header.Get("Host"); h != "" {
		host = h
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", u.RequestURI(), host)
	fmt.Fprintf(&b, "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n", key)
	if len(conf.Subprotocols) > 0 {
		fmt.Fprintf(&b, "Sec-WebSocket-Protocol: %s\r\n", strings.Join(conf.Subprotocols, ", "))
	}
	if conf.Compress {
		b.WriteString("Sec-WebSocket-Extensions: " + offer(conf.ContextTakeover) + "\r\n")
	}
	if strings.ContainsAny(host, "\r\n \t") {
		return nil, fmt.Errorf("evws: the host %q is not valid", host)
	}
	for name, values := range d.Header {
		if own[http.CanonicalHeaderKey(name)] {
			if http.CanonicalHeaderKey(name) == "Host" {
				continue
			}
			return nil, fmt.Errorf("evws: the field %s belongs to the handshake", name)
		}
		for _, v := range values {
			if !isToken(name) || strings.ContainsAny(v, "\r\n\x00") {
				return nil, fmt.Errorf("evws: the field %q or its value is not valid", name)
			}
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	if u.User != nil && d.Header.Get("Authorization") == "" {
		b.WriteString("Authorization: " + basic(u.User) + "\r\n")
	}
	b.WriteString("\r\n")
	return &dialing{request: b.Bytes(), accept: acceptKey(key), compress: conf.Compress}, nil
}

// proxyFor returns the proxy for a URL; nil if there is none.
func (d *DialConfig) proxyFor(u *url.URL) (*url.URL, error) {
	if d.Proxy == nil {
		return nil, nil
	}
	asked := *u
	asked.Scheme = map[string]string{"ws": "http", "wss": "https"}[strings.ToLower(u.Scheme)]
	proxy, err := d.Proxy(&http.Request{Method: "GET", URL: &asked, Host: u.Host, Header: make(http.Header)})
	if err != nil || proxy == nil {
		return nil, err
	}
	if !strings.EqualFold(proxy.Scheme, "http") || proxy.Hostname() == "" {
		return nil, fmt.Errorf("evws: the proxy %q is not supported: its URL has to begin with http://", proxy.Redacted())
	}
	return proxy, nil
}

// connectRequest returns the request to a proxy for a connection to address.
func connectRequest(address string, proxy *url.URL) []byte {
	b := fmt.Appendf(nil, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", address, address)
	if proxy.User != nil {
		b = append(b, "Proxy-Authorization: "+basic(proxy.User)+"\r\n"...)
	}
	return append(b, "\r\n"...)
}

// basic returns a name and a password as fields of requests have them.
func basic(u *url.Userinfo) string {
	password, _ := u.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password))
}

// connectedLocked sends the request, or that to the proxy.
func (c *Conn) connectedLocked() {
	if c.dial == nil {
		return
	}
	// An error of Write is the stream's: Closed comes.
	if c.dial.proxy != nil {
		c.s.Write(c.dial.proxy)
	} else if c.dial.request != nil {
		c.s.Write(c.dial.request)
		c.dial.request = nil
	}
}

// proxiedLocked goes on when the proxy has replied.
func (c *Conn) proxiedLocked(r *http.Response) *HandshakeError {
	if r.StatusCode/100 != 2 {
		return &HandshakeError{r.StatusCode, "the proxy has refused"}
	}
	c.dial.proxy = nil
	if c.dial.secret == nil {
		c.connectedLocked()
		return nil
	}
	// Connected of the stream on top comes when its handshake is over.
	s, err := evtls.Client(c.s, c.dial.secret, &evtls.Options{Stream: &evchan.StreamConfig{Layer: (*layer)(c)}})
	if err != nil {
		return &HandshakeError{0, err.Error()}
	}
	c.s = s
	return nil
}

var headEnd = []byte("\r\n\r\n")

// readReply takes the server's reply. It returns Opened if the connection is open.
func (c *Conn) readReply(in *evchan.Buffer) evchan.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := in.IndexRange(headEnd, 0, min(in.Len(), maxReply))
	if c.peer != nil || c.dial == nil {
		return nil
	}
	if end < 0 {
		switch {
		case in.Len() >= maxReply || c.s.InputFull():
			c.refuseLocked(&HandshakeError{0, "the head of the reply is too long"})
		case c.has(flagLost) && errors.Is(c.s.Err(), os.ErrDeadlineExceeded):
			c.endLocked(Abnormal, "", c.s.Err())
		case c.has(flagLost) && c.s.Err() != nil:
			c.endLocked(Abnormal, "", c.s.Err())
		case c.has(flagEOF | flagLost):
			c.refuseLocked(&HandshakeError{0, "the server has closed the connection before it has replied"})
		}
		return nil
	}
	method := "GET"
	if c.dial.proxy != nil {
		method = "CONNECT"
	}
	head, _ := in.Peek(end + len(headEnd))
	reply, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: method})
	if err != nil {
		c.refuseLocked(&HandshakeError{0, "the reply is not HTTP: " + err.Error()})
		return nil
	}
	reply.Body.Close()
	in.Discard(end + len(headEnd))
	if c.dial.proxy != nil {
		if err := c.proxiedLocked(reply); err != nil {
			c.refuseLocked(err)
		}
		return nil
	}
	if err := c.agreeLocked(reply); err != nil {
		c.refuseLocked(err)
		return nil
	}
	c.dial = nil
	c.flags |= flagOpen
	for s := c.s; s != nil; s = s.Under() {
		s.SetLifetime(0)
	}
	c.conf.prepare(c.s)
	return &Opened{Conn: c}
}

// refuseLocked ends a client's connection that cannot be opened.
func (c *Conn) refuseLocked(err *HandshakeError) {
	c.endLocked(Abnormal, "", err)
}

// agreeLocked takes what the server has agreed to.
func (c *Conn) agreeLocked(r *http.Response) *HandshakeError {
	bad := func(reason string) *HandshakeError { return &HandshakeError{r.StatusCode, reason} }
	accept := r.Header.Values("Sec-Websocket-Accept")
	protocols := items(r.Header.Values("Sec-Websocket-Protocol"))
	deflate, ok := agreed(r.Header.Values("Sec-Websocket-Extensions"), c.dial.compress, c.conf.ContextTakeover)
	switch {
	case r.StatusCode != http.StatusSwitchingProtocols:
		return bad("the server has refused")
	case !has(r.Header, "Upgrade", "websocket") || !has(r.Header, "Connection", "upgrade"):
		return bad("the server has not changed to WebSocket")
	case len(accept) != 1 || accept[0] != c.dial.accept:
		return bad("Sec-WebSocket-Accept is wrong")
	case !ok:
		return bad("the server wants extensions that were not offered")
	case len(protocols) > 1:
		return bad("the server has chosen several subprotocols")
	}
	if len(protocols) == 1 {
		for i, p := range c.conf.Subprotocols {
			if p == protocols[0] && i < 255 {
				c.protocol = uint8(i + 1)
			}
		}
		if c.protocol == 0 {
			return bad("the server has chosen a subprotocol that was not offered")
		}
	}
	c.window = deflate.window
	c.beginTakeover(deflate.keepsSent, deflate.keepsReceived)
	return nil
}

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }
