// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Wschat is a chat room in the browser: libevent's ws-chat-server. All clients get what one of them
// says. One goroutine serves the page and all connections.
//
//	go run ./evws/examples/wschat
//
// and then open http://127.0.0.1:8080/ in two windows. /nick NAME changes the name, /quit leaves.
// With -demo two clients talk to each other, and the program ends.
package main

import (
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
	"github.com/evchan/evchan/evws"
)

//go:embed chat.html
var page []byte

// A line is what the page gets. A note of the room has no From.
type line struct {
	From string `json:"from,omitempty"`
	Text string `json:"text"`
}

// A room holds its clients and their names.
type room map[*evws.Conn]string

func main() {
	log.SetFlags(0)
	log.SetPrefix("wschat: ")
	listen := flag.String("listen", "127.0.0.1:8080", "listen on `address`")
	demo := flag.Bool("demo", false, "talk to itself, and end")
	flag.Parse()
	if *demo {
		*listen = "127.0.0.1:0"
	}

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	srv, err := evhttp.Listen(loop, "tcp", *listen, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	addr := srv.Listeners()[0].Addr().String()
	fmt.Println("serving http://" + addr + "/")
	if *demo {
		go talk("ws://" + addr + "/ws")
	}

	conf := &evws.Config{
		MaxMessage: 4 << 10,
		MaxOutput:  256 << 10,
		Slow:       evws.Disconnect, // who does not read is not in the room
		PingAfter:  time.Minute,
		Compress:   true,
	}
	clients, guests := make(room), 0
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			switch ev.Path() {
			case "/":
				ev.Set("Content-Type", "text/html; charset=utf-8")
				ev.Reply(200, page)
			case "/ws":
				if c, err := evws.Accept(ev, conf); err == nil {
					guests++
					clients[c] = fmt.Sprint("guest", guests)
					clients.say("", clients[c]+" has come")
				}
			default:
				ev.Error(404)
			}
		case *evws.Message:
			clients.hear(ev.Conn, string(ev.Data))
		case *evws.Closed:
			name := clients[ev.Conn]
			delete(clients, ev.Conn)
			clients.say("", name+" has left")
			if *demo && len(clients) == 0 {
				return
			}
		case evchan.Signaled:
			return
		}
	}
	log.Fatal(loop.Err())
}

// hear takes what c has sent.
func (r room) hear(c *evws.Conn, text string) {
	text = strings.TrimSpace(text)
	name := r[c]
	if nick, ok := strings.CutPrefix(text, "/nick "); ok && strings.TrimSpace(nick) != "" {
		r[c] = strings.TrimSpace(nick)
		r.say("", name+" is "+r[c]+" now")
	} else if text == "/quit" {
		c.Close(evws.Normal, "see you")
	} else if text != "" {
		r.say(name, text)
	}
}

// say sends a line to all clients. If it cannot be sent to one, Closed of that one comes.
func (r room) say(from, text string) {
	p, err := json.Marshal(line{from, text})
	if err != nil {
		log.Fatal(err)
	}
	m := evws.Prepare(evws.Text, p)
	for c := range r {
		c.SendPrepared(m)
	}
}

// talk has two clients say something to each other.
func talk(url string) {
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	ann, err := evws.Dial(loop, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	var bob *evws.Conn
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evws.Opened:
			if ev.Conn == ann {
				ann.SendText("/nick Ann")
				if bob, err = evws.Dial(loop, url, nil); err != nil {
					log.Fatal(err)
				}
			} else {
				bob.SendText("/nick Bob")
				bob.SendText("Hello, is anybody here?")
			}
		case *evws.Message:
			var l line
			if err := json.Unmarshal(ev.Data, &l); err != nil {
				log.Fatal(err)
			}
			switch {
			case ev.Conn == ann:
				fmt.Println("Ann sees:", strings.TrimPrefix(l.From+": "+l.Text, ": "))
				if l.From == "Bob" {
					ann.SendText("I am. Bye, Bob.")
				}
			case l.From == "Ann":
				bob.SendText("/quit")
				ann.SendText("/quit")
			}
		case *evws.Closed:
			fmt.Println(ev.Code, ev.Reason)
			if ev.Code != evws.Normal {
				log.Fatal(ev)
			}
		}
	}
}
