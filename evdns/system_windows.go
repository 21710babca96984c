// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Windows has no resolv.conf and no nsswitch.conf.
const (
	systemResolvConf = ""
	systemSwitch     = ""
)

var systemHosts = os.Getenv("SystemRoot") + `\System32\drivers\etc\hosts`

// systemServers returns the name servers of the interfaces that are up and have a gateway, as
// package net does.
func systemServers() []netip.AddrPort {
	const flags = windows.GAA_FLAG_INCLUDE_PREFIX | windows.GAA_FLAG_INCLUDE_GATEWAYS
	size := uint32(15000) // what the documentation of the call recommends
	var first *windows.IpAdapterAddresses
	for {
		buf := make([]byte, size)
		first = (*windows.IpAdapterAddresses)(unsafe.Pointer(&buf[0]))
		err := windows.GetAdaptersAddresses(syscall.AF_UNSPEC, flags, 0, first, &size)
		if err == nil {
			break
		}
		if err != windows.ERROR_BUFFER_OVERFLOW || size <= uint32(len(buf)) {
			return nil
		}
	}
	var servers []netip.AddrPort
	for a := first; a != nil; a = a.Next {
		if a.OperStatus != windows.IfOperStatusUp || a.FirstGatewayAddress == nil {
			continue
		}
		for s := a.FirstDnsServerAddress; s != nil; s = s.Next {
			sa, err := s.Address.Sockaddr.Sockaddr()
			if err != nil {
				continue
			}
			var addr netip.Addr
			switch sa := sa.(type) {
			case *syscall.SockaddrInet4:
				addr = netip.AddrFrom4(sa.Addr)
			case *syscall.SockaddrInet6:
				if sa.Addr[0] == 0xfe && sa.Addr[1] == 0xc0 {
					continue // site-local: a default of Windows that nobody answers
				}
				addr = netip.AddrFrom16(sa.Addr)
				if sa.ZoneId != 0 {
					addr = addr.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
				}
			}
			if server := netip.AddrPortFrom(addr, 53); addr.IsValid() && !slices.Contains(servers, server) {
				servers = append(servers, server)
			}
		}
	}
	return servers
}
