// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !windows

package evchan

import "net"

// There are no packet connections here yet.

func sysListenPacket(network, _ string) (sysFD, net.Addr, error) {
	return noFD, nil, &net.OpError{Op: "listen", Net: network, Err: ErrUnsupported}
}

func sysPacketFamily(sysFD) (six, only bool, err error) { return false, false, ErrUnsupported }

func sysRecvFrom(sysFD, []byte) (n int, from packetAddr, cut bool, err error) {
	return 0, packetAddr{}, false, ErrUnsupported
}

func sysPeek(sysFD) error                        { return ErrUnsupported }
func sysSendTo(sysFD, []byte, *packetAddr) error { return ErrUnsupported }
