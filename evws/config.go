// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/evchan/evchan"
)

// A Config has the settings of connections. nil and zero values mean the defaults. Connections
// keep the pointer and share it: the Config must not be changed once it was used.
type Config struct {
	// Data is what Conn.Data begins with.
	Data any

	// MaxMessage is how many bytes a message may have, as it is sent and as it is decompressed.
	// 0 means 1 MiB. If negative, there is no limit, and a peer can make the connection hold all
	// memory. A message that is longer ends the connection with TooBig.
	MaxMessage int

	// Parts delivers messages in parts, as they arrive: all but the last have Message.More.
	// Then MaxMessage is only about compressed messages, which come whole.
	Parts bool

	// Subprotocols are those that this side speaks, the best one first. A server takes the first
	// one that the client has offered.
	Subprotocols []string

	// Origins are the hosts, besides the one that the request is for, whose pages may connect to
	// a server: "example.com", "*.example.com", or "*" for all. A browser sends the origin of the
	// page, and other programs usually send none, which is allowed. A port belongs to the
	// host: "localhost:3000".
	Origins []string

	// Compress agrees to compress messages (permessage-deflate, RFC 7692), if the peer does.
	// Each message is compressed on its own, and no memory is kept between messages, unless
	// ContextTakeover is set.
	Compress bool

	// ContextTakeover, with Compress, lets a message refer to those before it, so that many short
	// ones that are alike become shorter. A connection then keeps the end of what was sent
	// compressed, at most 8 KiB, and that of what has arrived compressed, at most 32 KiB, as long
	// as it is open. Neither is kept if the peer asks for that (server_no_context_takeover and
	// client_no_context_takeover), and the former not if it asks for a smaller window. A message of
	// Prepare is compressed once for all and refers to no other.
	ContextTakeover bool

	// CompressFrom is the length from which messages are compressed. 0 means 256 bytes.
	CompressFrom int

	// PingAfter is how long nothing may arrive before the peer is sent a ping. 0 means that no
	// pings are sent. If nothing arrives for PongTimeout after that, the connection ends, and the
	// Err of Closed is ErrPongTimeout. PongTimeout 0 means 10 seconds.
	PingAfter, PongTimeout time.Duration

	// WriteTimeout is how long a peer may read nothing while there is output for it. Then the
	// connection ends, with ErrSlow in Closed. 0 means that there is no limit: a peer that
	// neither reads nor leaves holds its connection, until Slow says otherwise.
	WriteTimeout time.Duration

	// CloseTimeout bounds the closing handshake, which begins with Conn.Close: when it has passed,
	// the connection ends. 0 means 5 seconds.
	CloseTimeout time.Duration

	// MaxOutput is how many bytes may be unsent before the peer counts as slow. 0 means the
	// setting of the stream, which is 256 KiB if an evhttp.Server has accepted it.
	MaxOutput int

	// Slow says what happens to a message that is sent to a slow peer.
	Slow Policy
}

// A Policy says what happens to a message that is sent to a peer that reads too slowly.
type Policy int

const (
	// Refuse does not send the message: Send returns evchan.ErrFull, and Writable comes when the
	// peer has read what was sent before.
	Refuse Policy = iota

	// KeepNewest keeps the last one of such messages, and sends it when the peer has read what
	// was sent before. Those between are dropped; Send returns nil.
	KeepNewest

	// Disconnect ends the connection. Closed comes, with ErrSlow in Err.
	Disconnect
)

// Errors of this package. Test with errors.Is.
var (
	// ErrNotOpen is returned by Send before the handshake is over.
	ErrNotOpen = errors.New("evws: the handshake is not over")

	// ErrBusy is returned by Send while another message is sent in parts, see Conn.Begin.
	ErrBusy = errors.New("evws: another message is sent in parts")

	// ErrClosing is returned by Send after Close, or when the peer has closed the connection.
	ErrClosing = errors.New("evws: the connection is closed")

	// ErrPongTimeout says that a peer has not answered a ping.
	ErrPongTimeout = errors.New("evws: the peer has not answered a ping")

	// ErrSlow says that a peer has read too slowly, see Disconnect and Config.WriteTimeout.
	ErrSlow = errors.New("evws: the peer reads too slowly")

	// ErrCloseTimeout says that a peer has not answered a close frame in time.
	ErrCloseTimeout = errors.New("evws: the peer has not answered the close frame")
)

// A HandshakeError says why a handshake has failed.
type HandshakeError struct {
	// Status is the status that the server has replied, or what Accept has replied; 0 if there
	// was no reply that could be understood.
	Status int

	// Reason says what was wrong.
	Reason string
}

// Error returns the reason, with the status.
func (e *HandshakeError) Error() string {
	if e.Status == 0 {
		return "evws: " + e.Reason
	}
	return fmt.Sprintf("evws: %s (status %d)", e.Reason, e.Status)
}

var defaults Config

// orDefault returns what a nil Config means, and an error if c is not valid.
func (c *Config) orDefault() (*Config, error) {
	if c == nil {
		return &defaults, nil
	}
	if c.Slow < Refuse || c.Slow > Disconnect {
		return nil, errors.New("evws: Config.Slow is no Policy")
	}
	for _, p := range c.Subprotocols {
		if !isToken(p) {
			return nil, fmt.Errorf("evws: Config.Subprotocols: %q is no token", p)
		}
	}
	return c, nil
}

func (c *Config) maxMessage() int {
	switch {
	case c.MaxMessage == 0:
		return 1 << 20
	case c.MaxMessage < 0:
		return math.MaxInt / 2
	}
	return min(c.MaxMessage, math.MaxInt/2)
}

func (c *Config) compressFrom() int {
	if c.CompressFrom <= 0 {
		return 256
	}
	return c.CompressFrom
}

func (c *Config) pongTimeout() time.Duration {
	if c.PongTimeout <= 0 {
		return 10 * time.Second
	}
	return c.PongTimeout
}

func (c *Config) closeTimeout() time.Duration {
	if c.CloseTimeout <= 0 {
		return 5 * time.Second
	}
	return c.CloseTimeout
}

// prepare applies the settings that are the stream's.
func (c *Config) prepare(s *evchan.Stream) {
	if c.MaxOutput > 0 {
		s.SetWriteMarks(0, c.MaxOutput)
	}
	if c.PingAfter > 0 || c.WriteTimeout > 0 {
		s.SetIdleTimeouts(c.PingAfter, c.WriteTimeout)
	}
}
