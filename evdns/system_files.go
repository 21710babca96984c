// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !windows

package evdns

import "net/netip"

// Where the system keeps what it knows about names.
const (
	systemResolvConf = "/etc/resolv.conf"
	systemHosts      = "/etc/hosts"
	systemSwitch     = "/etc/nsswitch.conf"
)

// systemServers returns nothing: the servers stand in a file.
func systemServers() []netip.AddrPort { return nil }
