// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package seam is where a test puts a kernel of its own under a loop of package evchan:
// package simnet does. A program that does not import simnet has none of that linked.
package seam

import (
	"context"
	"net"
	"time"
)

// What is a set of conditions, with the bits of evchan.What.
type What uint32

const (
	Read       What = 1 << 0
	Write      What = 1 << 1
	EarlyClose What = 1 << 2
	Edge       What = 1 << 4
	Hangup     What = 1 << 6
	Polled          = Read | Write | EarlyClose // the conditions that a poller reports
)

// A Token identifies a registration.
type Token struct{ Slot, Gen uint32 }

// A Ready is one report of a Kernel.
type Ready struct {
	Tok  Token
	What What
}

// A Kernel has the descriptors of one loop. The methods of its first part are those of
// evchan's poller, with the same meaning. Errors are syscall.Errno where a kernel has one.
type Kernel interface {
	Edge() bool // it reports edge-triggered; else once, until Arm
	Add(fd int, tok Token, i What) error
	Arm(fd int, tok Token, i What) error
	Remove(fd int) error
	Wait(dst []Ready, d time.Duration) ([]Ready, error)
	Wake() error
	Close() error

	// Listen and Dial make what Loop.Listen and Loop.Dial ask for. Dial may wait. Errors are
	// those of package net.
	Listen(network, address string) (Listener, error)
	Dial(ctx context.Context, network, address string) (Conn, error)
}

// A Listener is a socket that listens.
type Listener interface {
	FD() int
	Addr() net.Addr
	Accept() (Conn, error) // EAGAIN if there is no connection now
	Close()
}

// A Conn is a socket that is connected. No method waits.
type Conn interface {
	FD() int
	LocalAddr() net.Addr
	RemoteAddr() net.Addr

	// Read reads once. full tells that there may be more. n == 0 without an error is the end.
	Read(p []byte) (n int, full bool, err error)
	// Write writes what there is room for, or returns EAGAIN.
	Write(p []byte) (n int, err error)
	CloseWrite() error
	Failure() error // why the connection has failed
	HalfCloses() bool
	Close(reset bool)
}

// Open returns the poller of the method with the name, made by hook from a Kernel; nil if
// there is no such method. hook has a method that makes one: see Poller. nil: no test has a
// kernel.
var Open func(method string, hook any) any

// A Poller makes a poller of package evchan. Only evchan implements it, and only a caller of
// NewPoller has the implementation linked.
type Poller interface{ NewPoller(Kernel) any }
