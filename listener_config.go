// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"net"
	"syscall"
	"time"
)

// A ListenConfig has the settings of a Listener and of its streams. A nil ListenConfig and
// zero values mean the defaults. It is copied.
type ListenConfig struct {
	// ReusePort lets several listeners share an address, in one process or in several
	// (SO_REUSEPORT). Linux, FreeBSD and DragonFly divide the connections between them; on
	// other systems one listener may get them all. It is an error where the system lacks
	// the option, and for unix.
	ReusePort bool

	// Backlog is how many connections the kernel holds until they are accepted; 0 means
	// as many as the system allows. The system may use less.
	Backlog int

	// KeepAlive is the idle time after which the kernel begins to ask a peer whether it is
	// still there, and the interval at which it asks again; 0 means 15 seconds; if
	// negative, it does not ask. It is ignored if KeepAliveConfig.Enable is true.
	KeepAlive time.Duration

	// KeepAliveConfig says the same in detail, as in net.ListenConfig, if Enable is true: a
	// field that is 0 means 15 seconds, or 9 questions without an answer, and a negative
	// one what the system has. Here and in KeepAlive, times above 32,767 seconds (9 hours)
	// and counts above 127 mean these: some systems cannot do more. OpenBSD has times of
	// the whole system only.
	KeepAliveConfig net.KeepAliveConfig

	// Delay lets the kernel hold back small segments (Nagle's algorithm). If it is
	// false, TCP_NODELAY is set, as package net does.
	Delay bool

	// DeferAccept is how long the kernel waits for the first bytes of a connection before
	// it reports the connection (TCP_DEFER_ACCEPT); 0 means that it does not wait.
	// Systems without the option ignore it.
	DeferAccept time.Duration

	// Paused says that the listener accepts nothing until Resume.
	Paused bool

	// Control is called with the new socket before it is bound, as in net.ListenConfig; nil
	// means that nothing is. An error that it returns is Listen's.
	Control func(network, address string, c syscall.RawConn) error

	// MaxPending is the number of Accepted, sent and not yet received, at which accepting
	// stops; 0 means 128; if negative, there is no limit.
	MaxPending int

	// MaxStreams is the number of open streams at which the listener accepts no more. A
	// stream that is closing counts until all of it is released; a stream that NetConn was
	// called on no longer counts. If it is 0 or negative, only the process's descriptors
	// are a limit, see [AcceptFailed].
	MaxStreams int

	// MaxInput and MaxOutput replace those of Config for the listener's streams;
	// 0 means those of Config; if negative, there is no limit.
	MaxInput, MaxOutput int

	// ReadLow and WriteLow are the streams' low marks, see [Stream.SetReadMarks]
	// and [Stream.SetWriteMarks].
	ReadLow, WriteLow int

	// ReadIdle and WriteIdle are the streams' idle timeouts, see
	// [Stream.SetIdleTimeouts].
	ReadIdle, WriteIdle time.Duration

	// Lifetime is how long each stream may live, see [Stream.SetLifetime].
	Lifetime time.Duration

	// RateLimit is the limit of each stream by itself; nil means none.
	RateLimit *RateLimit

	// RateGroup is the limit of all streams together; nil means none.
	RateGroup *RateGroup

	// Layer turns the messages of the listener's streams into others, Accepted among them:
	// see StreamConfig. The listener itself has no layer.
	Layer Layer

	// Data is what Listener.Data begins with, and Stream.Data of each of its streams.
	Data any

	// Notify is where the listener and its streams send their messages, see [Source]; nil
	// means the loop's own way.
	Notify chan<- Event

	// Over puts a stream on top of each accepted one, as Filter does: TLS, for example. nil
	// means that nothing is. The returned stream sends Accepted, once it is open (see
	// [Filter]); it is the one that the settings for streams are about, except RateLimit,
	// RateGroup and Lifetime, which are the accepted one's. If it ends before it is open, no
	// message tells. Until then it does not count for MaxPending, but for MaxStreams.
	//
	// The loop calls Over, with no lock held, and waits for it: it must not block. If it
	// returns an error, the connection is closed, and AcceptFailed follows.
	Over func(*Stream) (*Stream, error)
}

// stream returns the part of c that is for the listener's streams. Notify is not in it:
// each stream gets the channel that the listener has when it is accepted.
func (c *ListenConfig) stream() *StreamConfig {
	return &StreamConfig{
		Data:      c.Data,
		MaxInput:  c.MaxInput,
		MaxOutput: c.MaxOutput,
		ReadLow:   c.ReadLow,
		WriteLow:  c.WriteLow,
		ReadIdle:  c.ReadIdle,
		WriteIdle: c.WriteIdle,
		Lifetime:  c.Lifetime,
		RateLimit: c.RateLimit,
		RateGroup: c.RateGroup,
		Layer:     c.Layer,
	}
}
