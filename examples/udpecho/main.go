// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Udpecho sends each datagram back to its sender, many with one system call. With
// -demo it sends datagrams to itself, and ends.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/evchan/evchan"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7000", "receive on `address`")
	demo := flag.Bool("demo", false, "send some datagrams to the server itself, then end")
	flag.Parse()
	if *demo {
		*listen = "127.0.0.1:0"
	}
	if err := serve(*listen, *demo); err != nil {
		log.Fatal(err)
	}
}

func serve(listen string, demo bool) error {
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	defer loop.Close()
	conn, err := loop.ListenPacket("udp", listen, nil)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "udpecho: receiving at", conn.LocalAddr())
	client := make(chan error, 1) // the result of the demonstration
	if demo {
		go func() {
			client <- talk(conn.LocalAddr())
			loop.Close()
		}()
	}

	e := newEcho()
	for ev := range loop.All() {
		if ev, ok := ev.(evchan.Packets); ok {
			e.answer(ev.Conn)
		}
	}
	if demo {
		return <-client
	}
	return loop.Err()
}

// An echo holds the datagrams that it answers for one message.
type echo struct {
	bufs [32][]byte
	ds   []evchan.Datagram
}

func newEcho() *echo {
	e := new(echo)
	for i := range e.bufs {
		e.bufs[i] = make([]byte, 64<<10)
	}
	return e
}

// answer sends back as many waiting datagrams as there are buffers. If more wait,
// another Packets comes, after other sources have had their turn.
func (e *echo) answer(conn *evchan.PacketConn) {
	e.ds = e.ds[:0]
	for _, buf := range e.bufs {
		n, from, err := conn.ReadFromAddrPort(buf)
		if errors.Is(err, evchan.ErrWouldBlock) {
			break
		}
		if err != nil {
			log.Print(err)
			continue
		}
		e.ds = append(e.ds, evchan.Datagram{Data: buf[:n], Addr: from})
	}
	for ds := e.ds; len(ds) > 0; {
		n, err := conn.WriteBatch(ds)
		if err == nil {
			break
		}
		log.Print(err)
		ds = ds[n+1:] // leaves out the datagram that could not be sent
	}
}

// talk sends datagrams to addr, and checks that each comes back before the next.
func talk(addr net.Addr) error {
	conn, err := net.Dial("udp", addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	const count = 100
	buf := make([]byte, 100)
	for i := range count {
		text := fmt.Sprint("datagram ", i)
		if _, err := conn.Write([]byte(text)); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if string(buf[:n]) != text {
			return fmt.Errorf("got %q back; want %q", buf[:n], text)
		}
	}
	fmt.Printf("%d datagrams came back\n", count)
	return nil
}
