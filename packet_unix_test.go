// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"encoding/binary"
	"syscall"
	"testing"
)

// TestPacketConnSignals receives bursts while signals come in all the time. A call
// that takes several datagrams may be cut short by one: under an emulator that makes
// several calls of it, where the rest would be left unread without a Packets.
func TestPacketConnSignals(t *testing.T) {
	onPackets(t, Config{}, map[string]func(*testing.T, *Loop, func() *PacketConn){
		"Bursts": func(t *testing.T, l *Loop, open func() *PacketConn) {
			a, b := open(), open()
			if b.LocalAddr().Network() == "unixgram" {
				t.Skip("datagrams are taken one by one")
			}
			done, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					select {
					case <-done:
						return
					default:
						syscall.Kill(syscall.Getpid(), syscall.SIGURG) // which the runtime takes for one of its own
					}
				}
			}()
			defer func() {
				close(done)
				<-stopped
			}()

			const rounds, burst = 100, maxPacketBatch - 1 // a full batch would be followed by another look anyway
			p := make([]byte, 8)
			for round := range rounds {
				for i := range burst {
					binary.BigEndian.PutUint64(p, uint64(round*burst+i))
					if _, err := a.WriteToAddrPort(p, localPort(b)); err != nil {
						t.Fatal(err)
					}
				}
				for i := 0; i < burst; {
					nextPackets(t, l, b)
					for ; i < burst; i++ {
						_, _, err := b.ReadFrom(p)
						if err == ErrWouldBlock {
							break
						}
						if got := binary.BigEndian.Uint64(p); err != nil || got != uint64(round*burst+i) {
							t.Fatalf("got number %d, %v; want %d", got, err, round*burst+i)
						}
					}
				}
			}
		},
	})
}
