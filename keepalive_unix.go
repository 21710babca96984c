// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"math"
	"net"
	"runtime"
	"syscall"
)

// A keepAliveOption is an option of TCP and its value.
type keepAliveOption struct{ name, value int }

// keepAliveOptions returns the options that say what c says, as goos has them in
// <netinet/tcp.h>.
func keepAliveOptions(goos string, c net.KeepAliveConfig) []keepAliveOption {
	options := func(idle, interval, count int) []keepAliveOption {
		return []keepAliveOption{{idle, toSeconds(c.Idle)}, {interval, toSeconds(c.Interval)}, {count, c.Count}}
	}
	switch goos {
	case "linux", "android":
		return options(4, 5, 6)
	case "darwin", "ios":
		return options(0x10, 0x101, 0x102) // TCP_KEEPALIVE is the idle time
	case "freebsd", "dragonfly":
		return options(0x100, 0x200, 0x400)
	case "netbsd":
		return options(3, 5, 6)
	case "aix":
		return options(0x11, 0x12, 0x13)
	case "solaris", "illumos":
		// TCP_KEEPALIVE_THRESHOLD and TCP_KEEPALIVE_ABORT_THRESHOLD, in milliseconds: after
		// the latter without an answer the connection ends.
		idle, abort := -1, -1
		if c.Idle >= 0 {
			idle = int(c.Idle.Milliseconds())
		}
		if c.Interval >= 0 && c.Count >= 0 {
			abort = int(min(c.Interval.Milliseconds()*int64(c.Count), math.MaxInt32))
		}
		return []keepAliveOption{{0x16, idle}, {0x17, abort}}
	}
	return nil // OpenBSD has the times of the whole system only
}

// setKeepAlive has the kernel probe an idle peer as c says, or not at all.
func setKeepAlive(fd sysFD, c net.KeepAliveConfig) error {
	if !c.Enable {
		return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 0)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1); err != nil {
		return err
	}
	for _, o := range keepAliveOptions(runtime.GOOS, c) {
		if o.value < 0 {
			continue
		}
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, o.name, o.value); err != nil {
			return err
		}
	}
	return nil
}
