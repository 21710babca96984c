// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evrpc"
)

// A server and a client in one loop.
func Example() {
	type Words struct {
		Words []string `evtag:"1"`
	}
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()

	srv := evrpc.New(nil)
	if err := evrpc.Register[Words, Words](srv, "Shout"); err != nil {
		log.Fatal(err)
	}
	ln, err := srv.HTTP().Listen(loop, "tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}

	pool := evrpc.NewPool(loop, nil)
	pool.Add("tcp", ln.Addr().String())
	pool.Call("Shout", &Words{[]string{"hello", "world"}}, new(Words))

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evrpc.Call[Words, Words]:
			for i, w := range ev.Request.Words {
				ev.Request.Words[i] = strings.ToUpper(w)
			}
			ev.Reply(&ev.Request)
		case *evrpc.Reply:
			fmt.Println(ev.Name, ev.Err, ev.Reply.(*Words).Words)
			return
		}
	}
	// Output:
	// Shout <nil> [HELLO WORLD]
}
