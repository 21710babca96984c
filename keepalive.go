// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"cmp"
	"math"
	"net"
	"time"
)

const (
	defaultKeepAlive      = 15 * time.Second
	defaultKeepAliveCount = 9 // as package net has it

	// What every system takes: Linux fails with EINVAL above these.
	maxKeepAlive      = math.MaxInt16 * time.Second
	maxKeepAliveCount = math.MaxInt8
)

// keepAlive returns what KeepAlive and KeepAliveConfig of a ListenConfig or a DialConfig say
// together. If Enable is true, no field is 0, and a negative one leaves what the system
// has.
func keepAlive(d time.Duration, c net.KeepAliveConfig) net.KeepAliveConfig {
	if !c.Enable {
		if d < 0 {
			return net.KeepAliveConfig{}
		}
		c = net.KeepAliveConfig{Enable: true, Idle: d, Interval: d}
	}
	c.Idle = min(cmp.Or(c.Idle, defaultKeepAlive), maxKeepAlive)
	c.Interval = min(cmp.Or(c.Interval, defaultKeepAlive), maxKeepAlive)
	c.Count = min(cmp.Or(c.Count, defaultKeepAliveCount), maxKeepAliveCount)
	return c
}

// keepsAlive returns the keep-alive of the listener's connections. If set is false, they have
// what is set at the listening socket.
func (c *ListenConfig) keepsAlive(wrapped bool) (k net.KeepAliveConfig, set bool) {
	if wrapped && c.KeepAlive == 0 && !c.KeepAliveConfig.Enable {
		return k, false
	}
	k = keepAlive(c.KeepAlive, c.KeepAliveConfig)
	return k, k.Enable || wrapped // a new socket has none
}

// toSeconds returns d in seconds, rounded up, at most what an option takes; -1 if d is
// negative.
func toSeconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	s := d / time.Second
	if d%time.Second > 0 {
		s++
	}
	return int(min(s, math.MaxInt32))
}
