// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !unix && !windows

package evchan

import (
	"net"
	"os"
	"syscall"
)

// A sock would be the transport of a stream that has a descriptor. There is none here: the
// method memory has no descriptors.
type sock struct {
	fd         sysFD
	plain      bool
	class      int8
	shortReads bool // a read may give less than there is; never changes once there is a socket

	lent      bool  // close has left closing fd to the last of the borrowers
	borrowers int32 // running Controls of SyscallConn
}

func (k *sock) write(p []byte) (int, error)                { return 0, ErrUnsupported }
func (k *sock) closeWrite() error                          { return ErrUnsupported }
func (k *sock) failure() error                             { return ErrUnsupported }
func (k *sock) close(reset bool)                           {}
func (k *sock) localAddr() net.Addr                        { return nil }
func (ln *Listener) accept(*Loop) (*Stream, error)         { return nil, ErrUnsupported }
func (ln *Listener) setOptions() error                     { return ErrUnsupported }
func transient(error) bool                                 { return false }
func sysRead(sysFD, []byte) (int, error)                   { return 0, ErrUnsupported }
func sysWrite(sysFD, []byte) (int, error)                  { return 0, ErrUnsupported }
func sysRecv(sysFD, []byte) (int, error)                   { return 0, eAGAIN }
func sysSend(sysFD, []byte) (int, error)                   { return 0, eAGAIN }
func sysWriteChain(sysFD, *chunk, int, bool) (int, error)  { return 0, ErrUnsupported }
func sysSendFile(sysFD, *os.File, int64, int) (int, error) { return 0, ErrUnsupported }
func setReusePort(sysFD) error                             { return ErrUnsupported }
func setBroadcast(sysFD, bool) error                       { return ErrUnsupported }
func setReadBuffer(sysFD, int) error                       { return ErrUnsupported }
func setWriteBuffer(sysFD, int) error                      { return ErrUnsupported }
func takeFD(syscall.Conn) (sysFD, error)                   { return noFD, ErrUnsupported }
func dupFD(sysFD) (sysFD, error)                           { return noFD, ErrUnsupported }
func closeFD(sysFD)                                        {}
func (k *sock) halfCloses() bool                           { return true }
func inspectFD(sysFD) (plain, readable bool, err error)    { return false, false, ErrUnsupported }
func socketAddrs(sysFD) (local, remote net.Addr)           { return nil, nil }
func resetLinger(sysFD) (restore func())                   { return func() {} }
func sysCheckFile(uintptr) error                           { return nil }
func (k *sock) netConn() (net.Conn, error)                 { return nil, ErrUnsupported }
func portable(err error) error                             { return err }

const hangupIsReset = false

func sysListenPacket(network, _ string, _ *PacketConfig) (sysFD, net.Addr, error) {
	return noFD, nil, &net.OpError{Op: "listen", Net: network, Err: ErrUnsupported}
}

func sysPacketFamily(sysFD) (ipv6, ipv6Only bool, err error) { return false, false, ErrUnsupported }

func sysTellDestination(sysFD, bool) error { return ErrUnsupported }

func sysRecvFrom(sysFD, []byte, bool) (n int, from packetAddr, at peerAddr, cut bool, err error) {
	return 0, from, at, false, ErrUnsupported
}

func sysPeek(sysFD) error { return ErrUnsupported }

func sysSendTo(sysFD, []byte, *packetAddr) error { return ErrUnsupported }

// kernelMethods returns nothing: the only method here is memory.
func kernelMethods() []method { return nil }

// A sysFD is a descriptor in the form that the system's calls take.
type sysFD = uintptr

// noFD is never a valid descriptor.
const noFD = ^sysFD(0)
