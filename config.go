// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// A Config sets up a Loop. A nil Config and zero values mean the defaults. New
// copies it.
type Config struct {
	// Method is the way of asking the kernel what is ready: one of Methods(). If
	// it is empty, New takes the best one that Avoid and Require allow and that
	// works. It takes "memory" only where there is no other. New fails if the method
	// is unavailable.
	Method string

	// Avoid lists methods that must not be used. Unknown names are ignored.
	Avoid []string

	// Require lists features that the method must have. New fails if the method
	// that is asked for lacks one of them, or if all methods that may be used do.
	Require Feature

	// IgnoreEnv makes New ignore the environment. If it is false, three variables
	// count: if Method is empty, EVCHAN_METHOD names the method; the methods
	// in EVCHAN_AVOID, a comma-separated list, are added to Avoid; and EVCHAN_DEBUG
	// finds mistakes (see the package documentation).
	IgnoreEnv bool

	// Priorities is the number of lanes, 1 to 256; 0 means 1. Lane 0 is the most
	// urgent: as long as it has messages, lane 1 waits, and so on. A source starts
	// in the middle, lane Priorities/2. Lanes order messages only: output is sent
	// as the kernel takes it, whatever the lane of its stream.
	Priorities int

	// MaxBatch is how many messages the loop delivers at most before it asks the
	// kernel again what is ready; 0 means 512; if negative, there is no limit.
	//
	// With Events, another goroutine asks the kernel while messages are received.
	// MaxBatch matters there only while the receivers keep all processors busy:
	// after so many messages, that goroutine gets one of them. With Batches, it is
	// also the greatest number of messages in one Batch.
	MaxBatch int

	// ExitOnEmpty ends the range over All when no live source is left (see
	// [Loop.Sources]), after there has been one. With Events and Batches it closes
	// the loop. If it is false, the range goes on until Close, Exit or Break.
	//
	// With Events and Batches, the loop goes on while you handle a message: a
	// source that you make then may come too late.
	ExitOnEmpty bool

	// MaxInput is how many unread bytes a stream holds before it stops reading;
	// 0 means 64 KiB; if negative, there is no limit. They take at most twice as
	// much memory, plus 64 KiB.
	//
	// When its input is consumed, the stream reads on at once: at most 16 times in
	// a row before the others of its lane have their turn.
	//
	// If the connection fails, the stream reads all that the kernel has received of it
	// until then, also above MaxInput.
	MaxInput int

	// MaxOutput is how many unsent bytes a stream holds before Write returns
	// ErrFull; 0 means 16 MiB; if negative, there is no limit. The Write that
	// exceeds it is still taken whole. What SendFile sends does not count. A proxy
	// may hold that much for each peer that is slow.
	MaxOutput int

	// Linger is how long a closing stream may go without progress (see
	// [Stream.Close]); 0 means 5 seconds. If negative, Close waits for nothing and
	// drops what is unsent.
	Linger time.Duration
}

const (
	defaultMaxBatch  = 512
	defaultMaxInput  = 64 << 10
	defaultMaxOutput = 16 << 20
	defaultLinger    = 5 * time.Second

	maxPriorities = 256
)

// complete returns a copy of c with the defaults filled in, and the environment's
// choice of a method. It returns an error if Priorities is out of range.
func (c *Config) complete() (Config, error) {
	var d Config
	if c != nil {
		d = *c
	}
	if d.Priorities < 0 || d.Priorities > maxPriorities {
		return d, fmt.Errorf("evchan: Config.Priorities is %d, which is not in 0 to %d", d.Priorities, maxPriorities)
	}
	if d.Priorities == 0 {
		d.Priorities = 1
	}
	orDefault := func(p *int, value int) {
		if *p == 0 {
			*p = value
		} else if *p < 0 {
			*p = math.MaxInt
		}
	}
	orDefault(&d.MaxBatch, defaultMaxBatch)
	orDefault(&d.MaxInput, defaultMaxInput)
	orDefault(&d.MaxOutput, defaultMaxOutput)
	if d.Linger == 0 {
		d.Linger = defaultLinger
	}
	if !d.IgnoreEnv {
		if d.Method == "" {
			d.Method = os.Getenv("EVCHAN_METHOD")
		}
		d.Avoid = slices.Concat(d.Avoid, strings.Split(os.Getenv("EVCHAN_AVOID"), ","))
	}
	return d, nil
}

// open returns a poller of the best method that c allows and that works. Its error is the
// one of the best method, if any was tried.
func (c *Config) open() (poller, error) {
	all := methods()
	if p := seamPoller(c.Method); p != nil {
		return p, nil
	}
	if c.Method != "" && !slices.ContainsFunc(all, func(m method) bool { return m.name == c.Method }) {
		return nil, fmt.Errorf("evchan: there is no method %q here, only %q: %w", c.Method, Methods(), ErrUnsupported)
	}
	var firstErr error
	for i, m := range all {
		if c.Method == "" && i > 0 && m.name == "memory" {
			continue // a loop without sockets helps nobody who did not ask for it
		}
		if c.Method != "" && m.name != c.Method || slices.Contains(c.Avoid, m.name) || m.features&c.Require != c.Require {
			continue
		}
		p, err := m.open()
		if err == nil {
			return p, nil
		}
		if firstErr == nil {
			firstErr = fmt.Errorf("evchan: method %s: %w", m.name, err)
		}
	}
	if firstErr != nil {
		return nil, firstErr
	}
	return nil, fmt.Errorf("evchan: no method is left of %q (asked for %q, avoided %q, required %v): %w",
		Methods(), c.Method, c.Avoid, c.Require, ErrUnsupported)
}

// Methods returns the names of the methods that this program has on this system, the
// best first. A Loop uses one of them. The last one is "memory", which every system has:
// it has no sockets or other descriptors, but all that lies within the process.
func Methods() []string {
	var names []string
	for _, m := range methods() {
		names = append(names, m.name)
	}
	return names
}

// A Feature is a set of abilities that some methods have and others do not.
type Feature uint

const (
	FeatureEdge       Feature = 1 << iota // the kernel itself reports edge-triggered (see Edge)
	FeatureO1                             // the cost of a wait does not grow with the number of descriptors
	FeatureAnyFD                          // any descriptor can be watched, also one of a regular file
	FeatureEarlyClose                     // EarlyClose is reported while input is still unread
)

// String returns the names of the features in f joined by "|", or "0".
func (f Feature) String() string {
	if f == 0 {
		return "0"
	}
	var names []string
	for i, name := range [...]string{"FeatureEdge", "FeatureO1", "FeatureAnyFD", "FeatureEarlyClose"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}
