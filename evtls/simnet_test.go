// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package evtls

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/internal/simnet"
)

// TestNetwork: handshakes and bytes pass whole, however the kernel cuts and delays them, and
// whenever it reports. crypto/tls is the client.
func TestNetwork(t *testing.T) {
	versions(t, func(t *testing.T, v uint16) {
		server, client := serverConfig(v), clientConfig(v) // made outside: their keys take time
		for seed := range uint64(25) {
			if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testNetwork(t, seed, server.Clone(), client.Clone()) })
			}) {
				return
			}
		}
	})
}

func testNetwork(t *testing.T, seed uint64, server, client *tls.Config) {
	n := simnet.New(seed, simnet.Harmless(seed))
	loop, err := evchan.New(&evchan.Config{Method: n.Method()})
	if err != nil {
		t.Fatal(err)
	}
	n.Streams = loop.Dump
	if _, err := loop.Listen("tcp", ":443", &evchan.ListenConfig{Over: Over(server, nil)}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev := range loop.Events() {
			switch ev := ev.(type) {
			case evchan.Readable:
				io.Copy(ev.Stream, ev.Stream)
			case evchan.EOF:
				ev.Stream.Close()
			case evchan.Closed:
				t.Errorf("%v", ev)
			}
		}
	}()
	c, err := n.Dial("tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	// The test's certificates are of today, and the bubble's clock begins in 2000.
	client.InsecureSkipVerify = true
	conn := tls.Client(c, client)
	// Were the handshake left to Read and Write, one would wait for the other's mutex, and the time
	// of the bubble would stand still.
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	want := []byte(pattern(20000))
	go func() {
		conn.Write(want)
		conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes have come back, %v", len(got), err)
	}
	c.Close()
	loop.Close()
	<-ended
	if err := n.Err(); err != nil {
		t.Error(err)
	}
}
