// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Rpc is a shop with one RPC, Buy, for clients in C with libevent or in Go. Who buys has to say its
// name, which a hook checks on another goroutine while the call waits.
//
//	go run ./examples/rpc
//	go run ./examples/rpc -call 127.0.0.1:7080
//
// With -demo it does both at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evrpc"
)

//go:generate go run ../../evrpc/evrpcgen -o messages.go messages.rpc

func main() {
	listen := flag.String("listen", "127.0.0.1:7080", "listen on `address`")
	call := flag.String("call", "", "call the server at `address`, then end")
	demo := flag.Bool("demo", false, "call the server itself, then end")
	flag.Parse()
	if err := run(*listen, *call, *demo); err != nil {
		log.Fatal("rpc: ", err)
	}
}

func run(listen, call string, demo bool) error {
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	defer loop.Close()
	if call == "" {
		if demo {
			listen = "127.0.0.1:0"
		}
		if call, err = startServer(loop, listen); err != nil {
			return err
		}
		fmt.Println("listening on", call)
		if !demo {
			return receive(loop, 0)
		}
	}
	return receive(loop, startCalls(loop, call))
}

// startServer starts the server, and returns its address.
func startServer(loop *evchan.Loop, address string) (string, error) {
	srv := evrpc.New(nil)
	if err := evrpc.Register[Order, Receipt](srv, "Buy"); err != nil {
		return "", err
	}
	srv.AddHook(evrpc.Input, authenticate)
	ln, err := srv.HTTP().Listen(loop, "tcp", address, nil)
	if err != nil {
		return "", err
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		return "", err
	}
	return ln.Addr().String(), nil
}

type userKey struct{}

// authenticate is a hook that asks elsewhere who calls. The call waits, the loop does not.
func authenticate(x *evrpc.Exchange) evrpc.Verdict {
	go func() {
		user := x.Header("X-User")
		if user == "" {
			x.Resume(evrpc.Terminate)
			return
		}
		x.SetValue(userKey{}, user)
		x.Resume(evrpc.Continue)
	}()
	return evrpc.Pause
}

// startCalls makes some calls, and returns how many.
func startCalls(loop *evchan.Loop, address string) int {
	pool := evrpc.NewPool(loop, &evrpc.PoolConfig{Timeout: 5 * time.Second})
	pool.Add("tcp", address)
	pool.AddHook(evrpc.Output, func(x *evrpc.Exchange) evrpc.Verdict {
		x.SetHeader("X-User", "niels")
		return evrpc.Continue
	})
	note := "in a bag"
	pool.Call("Buy", &Order{Item: "tea", Count: 2, Note: &note}, new(Receipt))
	pool.Call("Buy", &Order{Item: "coffee", Count: 1}, new(Receipt))
	pool.Call("Buy", &Order{Item: "elephant", Count: 1}, new(Receipt))
	return 3
}

// receive handles messages until that many calls have ended, or, if calls is 0, until an interrupt.
func receive(loop *evchan.Loop, calls int) error {
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evrpc.Call[Order, Receipt]:
			fmt.Printf("%v wants %d %s\n", ev.Value(userKey{}), ev.Request.Count, ev.Request.Item)
			cents, ok := map[string]uint64{"tea": 250, "coffee": 300}[ev.Request.Item]
			if !ok {
				ev.Fail(errors.New("we have none"))
				continue
			}
			ev.Reply(&Receipt{Cents: cents * uint64(ev.Request.Count)})

		case *evrpc.Reply:
			item := ev.Request.(*Order).Item
			var status *evrpc.StatusError
			switch {
			case errors.As(ev.Err, &status):
				fmt.Printf("%s: %s\n", item, status.Text)
			case ev.Err != nil:
				return ev.Err
			default:
				fmt.Printf("%s: %d cents\n", item, ev.Reply.(*Receipt).Cents)
			}
			if calls--; calls == 0 {
				return nil
			}

		case *evhttp.Gone:
			fmt.Println(ev)

		case evchan.Signaled:
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return loop.Shutdown(ctx)
		}
	}
	return loop.Err()
}
