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

// A Config sets up a Loop. A nil Config and zero values mean the defaults. It
// is copied by New.
type Config struct {
	// Method is the way of asking the kernel what is ready, one of Methods().
	// If empty, the best that may be used is taken. New fails if it is not to
	// be had.
	Method string

	// Avoid lists methods that must not be used.
	Avoid []string

	// Require lists features that the method must have. New fails if no
	// method that may be used has them.
	Require Feature

	// IgnoreEnv makes New look at Method and Avoid only. Otherwise the
	// environment variable EVCHAN_METHOD names the method to use where Method
	// is empty, and EVCHAN_AVOID, a comma-separated list, adds to Avoid.
	IgnoreEnv bool

	// Priorities is the number of lanes, 1 to 256; 0 means 1. Lane 0 is the most
	// urgent. As long as it has messages, lane 1 waits, and so on. That is about
	// messages: output is sent as the kernel takes it, whatever its lane. A source
	// starts in the middle, lane Priorities/2.
	Priorities int

	// MaxBatch is how many messages are delivered at most before the kernel
	// is asked again; 0 means 512; if negative, there is no limit. With Events and
	// Batches it is asked in any case when there is time, and after so many
	// messages even if the receivers keep all processors busy.
	MaxBatch int

	// ExitOnEmpty ends the range over All, or the loop if it is received from
	// Events or Batches, when no live source is left, after there has been one.
	// If false it runs until Close. With Events and Batches, where the loop goes on
	// while a message is answered, a source that the answer makes may be too late.
	ExitOnEmpty bool

	// MaxInput is how many unread bytes a stream holds before it stops
	// reading; 0 means 64 KiB; if negative, there is no limit. When its input is consumed
	// it reads on at once, 16 times in a row at most before others of its lane. When a
	// connection fails, what the kernel has received of it by then is read, however much.
	MaxInput int

	// MaxOutput is how many unsent bytes a stream must hold for Write to return
	// ErrFull; 0 means 16 MiB; if negative, there is no limit. A proxy may hold
	// that much for each peer that is slow.
	MaxOutput int

	// Linger is how long a stream may take to close once Close was called, even if
	// its peer keeps reading (see Stream.Close); 0 means 5 seconds. If negative,
	// Close waits for nothing and drops what is unsent.
	Linger time.Duration
}

const (
	defaultMaxBatch  = 512
	defaultMaxInput  = 64 << 10
	defaultMaxOutput = 16 << 20
	defaultLinger    = 5 * time.Second

	maxPriorities = 256
)

// complete returns c with the defaults filled in.
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

// open returns a poller of the method that c asks for.
func (c *Config) open() (poller, error) {
	all := methods()
	if c.Method != "" && !slices.ContainsFunc(all, func(m method) bool { return m.name == c.Method }) {
		return nil, fmt.Errorf("evchan: there is no method %q here, only %q: %w", c.Method, Methods(), ErrUnsupported)
	}
	var firstErr error
	for _, m := range all {
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

// Methods returns the names of the methods that this program has on this
// system, the best first.
func Methods() []string {
	var names []string
	for _, m := range methods() {
		names = append(names, m.name)
	}
	return names
}

// Feature is a set of the abilities in which methods differ.
type Feature uint

const (
	FeatureEdge       Feature = 1 << iota // edge-triggered interest (Edge) is the system's own
	FeatureO1                             // the cost of a wait does not grow with the number of descriptors
	FeatureAnyFD                          // any descriptor can be watched, also one of a regular file
	FeatureEarlyClose                     // EarlyClose is reported while input is still unread
)

// String returns the names of the members of f joined by "|", or "0".
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
