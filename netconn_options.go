// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evchan

import (
	"runtime"
	"syscall"
)

// A sockOption is an option of a socket whose value is a number.
type sockOption struct{ level, name int }

// keepOptions returns a function that gives the socket back the options that net.FileConn
// changes: it turns NODELAY and keep-alive on, with times of its own.
func (k *sock) keepOptions() (restore func()) {
	values := make(map[sockOption]int)
	for _, o := range append(keepAliveTimes(),
		sockOption{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
		sockOption{syscall.IPPROTO_TCP, syscall.TCP_NODELAY}) {
		if value, err := sysGetOption(k.fd, o); err == nil { // a Unix socket has few of them
			values[o] = value
		}
	}
	return func() {
		for o, value := range values {
			sysSetOption(k.fd, o, value)
		}
	}
}

// keepAliveTimes returns the options that say after how much idle time keep-alive asks
// the peer, at which intervals, and how often. The numbers are those of each system's
// netinet/tcp.h. OpenBSD has no such options.
func keepAliveTimes() []sockOption {
	names := map[string][]int{
		"linux":     {4, 5, 6},
		"android":   {4, 5, 6},
		"darwin":    {0x10, 0x101, 0x102},
		"ios":       {0x10, 0x101, 0x102},
		"freebsd":   {0x100, 0x200, 0x400},
		"dragonfly": {0x100, 0x200, 0x400},
		"netbsd":    {3, 5, 6},
		"solaris":   {0x22, 0x24, 0x23},
		"illumos":   {0x22, 0x24, 0x23},
		"aix":       {0x11, 0x12, 0x13},
		"windows":   {3, 17, 16},
	}
	var options []sockOption
	for _, name := range names[runtime.GOOS] {
		options = append(options, sockOption{syscall.IPPROTO_TCP, name})
	}
	return options
}
