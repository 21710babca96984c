// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !linux

package evchan

import "net/netip"

// packetBatches says that no system call receives several datagrams here.
const packetBatches = false

// maxPacketBatch is how many datagrams WriteBatch prepares together; arbitrary.
const maxPacketBatch = 16

// A packetBatch is never used: all connections are direct.
type packetBatch struct{ n int }

func receiveBatch(sysFD, bool) (*packetBatch, error) { return nil, ErrUnsupported }
func (b *packetBatch) free()                         {}
func (b *packetBatch) size() int                     { return 0 }

func (b *packetBatch) next() (p []byte, from netip.AddrPort, to peerAddr) { return nil, from, to }

// A packetOutput holds datagrams that are sent one by one.
type packetOutput struct {
	n    int
	data [maxPacketBatch][]byte
	to   [maxPacketBatch]packetAddr
}

// send sends datagrams of b, in their order, and returns how many. It returns an
// error only if it sent none; the error is about the first.
func (b *packetOutput) send(fd sysFD) (int, error) {
	for i, p := range b.data[:b.n] {
		if err := sysSendTo(fd, p, &b.to[i]); err != nil {
			if i == 0 {
				return 0, err
			}
			return i, nil
		}
	}
	return b.n, nil
}

// wakeMonitor does nothing: all system calls here are ordinary ones, which the scheduler
// knows of.
func wakeMonitor() {}

// tryRecv reads once from the socket fd to p, which is not empty. It returns the number
// of bytes, to be converted to int: -1 if it failed, with the error in e.
func tryRecv(fd sysFD, p []byte) (n uintptr, e sysErrno) { return try(sysRecv(fd, p)) }

// trySend writes p once to the socket fd, with results like tryRecv.
func trySend(fd sysFD, p []byte) (uintptr, sysErrno) { return try(sysSend(fd, p)) }

func try(n int, err error) (uintptr, sysErrno) {
	var errno sysErrno
	if err != nil {
		return ^uintptr(0), err.(sysErrno)
	}
	return uintptr(n), errno
}

// sysUnread reports whether the socket fd has something to read although a read has
// returned EAGAIN. No such case is known here.
func sysUnread(sysFD) bool { return false }
