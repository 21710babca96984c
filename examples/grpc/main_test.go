// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// serveHealth starts a server, which the end of the test stops, and returns its address.
func serveHealth(t *testing.T) string {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.GracefulStop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// Clients are served at the same time, while another one sends nothing.
func TestCheck(t *testing.T) {
	addr := serveHealth(t)
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var g errgroup.Group
	for range 10 {
		g.Go(func() error { return check(t.Context(), addr) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// Many calls use one connection of the dialer.
func TestCallsInARow(t *testing.T) {
	addr := serveHealth(t)
	d, err := newDialer()
	if err != nil {
		t.Fatal(err)
	}
	defer d.loop.Close()
	client, err := d.client(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 100 {
		if _, err := healthpb.NewHealthClient(client).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.loop.Stats().Messages["Connected"]; n != 1 {
		t.Errorf("connected %d times", n)
	}
}

// A dial that fails returns the reason.
func TestDialFails(t *testing.T) {
	d, err := newDialer()
	if err != nil {
		t.Fatal(err)
	}
	defer d.loop.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	if conn, err := d.dial(t.Context(), addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial to nobody: %v, %v", conn, err)
	}
}
