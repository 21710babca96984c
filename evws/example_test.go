// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws_test

import (
	"fmt"
	"log"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evws"
)

// A server and a client in one loop. The server says what it got.
func Example() {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := evws.Dial(loop, "ws://"+srv.Listeners()[0].Addr().String()+"/", nil)
	if err != nil {
		log.Fatal(err)
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			evws.Accept(ev, nil)
		case *evws.Opened:
			client.SendText("hello")
		case *evws.Message:
			if ev.Conn != client {
				ev.Conn.SendText("you said " + string(ev.Data))
				break
			}
			fmt.Printf("%s\n", ev.Data)
			client.Close(evws.Normal, "done")
		case *evws.Closed:
			if ev.Conn == client {
				fmt.Println(ev.Code)
				return
			}
		}
	}
	// Output:
	// you said hello
	// 1000
}

// One message for many connections.
func ExamplePrepare() {
	var clients []*evws.Conn // those of a server
	m := evws.Prepare(evws.Text, []byte("breaking news"))
	for _, c := range clients {
		c.SendPrepared(m)
	}
}
