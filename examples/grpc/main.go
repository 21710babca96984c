// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Grpc runs google.golang.org/grpc over connections that a loop has accepted and
// dialled: NetConn makes a net.Conn of each. The service is the health check that
// comes with grpc. The example is a module of its own, since evchan does not require
// grpc.
//
//	cd examples/grpc
//	go run . &
//	go run . -check 127.0.0.1:7060
//
// With -demo it does both in one process.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/evchan/evchan"
)

func main() {
	address := flag.String("listen", "127.0.0.1:7060", "listen on `address`")
	target := flag.String("check", "", "be a client, and check the server at `address`")
	demo := flag.Bool("demo", false, "start a server, check it, then end")
	flag.Parse()
	if *demo && *address == flag.Lookup("listen").DefValue {
		*address = "127.0.0.1:0"
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *address, *target, *demo); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address, target string, demo bool) error {
	if target != "" {
		return check(ctx, target)
	}
	l, err := listen(address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	fmt.Println("listening on", l.Addr())

	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if demo {
		err = check(ctx, l.Addr().String())
	} else {
		select {
		case <-ctx.Done():
		case err = <-served:
			return err
		}
	}
	server.GracefulStop() // closes l
	if err != nil {
		return err
	}
	return <-served
}

// check asks the server at address for its health.
func check(ctx context.Context, address string) error {
	d, err := newDialer()
	if err != nil {
		return err
	}
	defer d.loop.Close()
	client, err := d.client(address)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	reply, err := healthpb.NewHealthClient(client).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	fmt.Println("the server is", reply.GetStatus())
	if reply.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("the server does not serve")
	}
	return nil
}

// A listener is a net.Listener whose Accept runs a loop until a client has sent
// something. Until then a connection costs no goroutine. (Listener.NetListener
// returns a net.Listener that needs no loop.)
type listener struct {
	*evchan.Listener
}

func listen(address string) (net.Listener, error) {
	loop, err := evchan.New(nil)
	if err != nil {
		return nil, err
	}
	ln, err := loop.Listen("tcp", address, &evchan.ListenConfig{
		MaxStreams: 1000, // clients that have sent nothing yet
		ReadIdle:   10 * time.Second,
	})
	if err != nil {
		loop.Close()
		return nil, err
	}
	return listener{ln}, nil
}

// Accept must be called by one goroutine at a time, since it calls Poll.
func (l listener) Accept() (net.Conn, error) {
	for {
		ev, ok := l.Loop().Poll(-1)
		if !ok {
			return nil, evchan.ErrClosed
		}
		switch ev := ev.(type) {
		case evchan.Readable:
			if conn, err := ev.Stream.NetConn(); err == nil {
				return conn, nil // it returns first what has arrived
			}
			ev.Stream.Close()
		case evchan.EOF:
			ev.Stream.Close()
		case evchan.TimedOut:
			ev.Stream.Abort()
		}
	}
}

// Close ends the loop, and so Accept.
func (l listener) Close() error { return l.Loop().Close() }

// A dialer connects by means of a loop that runs on a goroutine of its own.
type dialer struct {
	loop *evchan.Loop
}

func newDialer() (*dialer, error) {
	loop, err := evchan.New(nil)
	if err != nil {
		return nil, err
	}
	loop.Events() // starts the loop; all messages go to the channels that dial makes
	return &dialer{loop}, nil
}

// client returns a client of the server at address.
func (d *dialer) client(address string) (*grpc.ClientConn, error) {
	// With passthrough the loop looks up the name, not grpc.
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithContextDialer(d.dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// dial returns a connection to address. The connection does not need the loop.
func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	s, err := d.loop.Dial("tcp", address, nil)
	if err != nil {
		return nil, err
	}
	messages := make(chan evchan.Event)
	s.Notify(messages)
	select {
	case ev := <-messages:
		if _, ok := ev.(evchan.Connected); !ok {
			return nil, s.Err()
		}
		conn, err := s.NetConn()
		if err != nil {
			s.Close()
		}
		return conn, err
	case <-ctx.Done():
		s.Close()
		return nil, ctx.Err()
	}
}
