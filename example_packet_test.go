// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan_test

import (
	"fmt"
	"log"
	"net"

	"github.com/evchan/evchan"
)

// Two packet connections of one loop: the client sends, and the server answers.
func ExampleLoop_ListenPacket() {
	loop := newLoop()
	defer loop.Close()
	open := func() *evchan.PacketConn {
		conn, err := loop.ListenPacket("udp", "127.0.0.1:0", nil)
		if err != nil {
			log.Fatal(err)
		}
		return conn
	}
	client, server := open(), open()
	if _, err := client.WriteTo([]byte("hello"), server.LocalAddr()); err != nil {
		log.Fatal(err)
	}

	buf := make([]byte, 1500)
	for ev := range loop.All() {
		conn := ev.(evchan.Packets).Conn
		for {
			n, from, err := conn.ReadFromAddrPort(buf)
			if err == evchan.ErrWouldBlock {
				break // a message comes when there are more
			}
			if err != nil {
				log.Fatal(err)
			}
			if conn == client {
				fmt.Printf("client got %q\n", buf[:n])
				loop.Break()
				continue
			}
			fmt.Printf("server got %q\n", buf[:n])
			conn.WriteToAddrPort(append(buf[:n], " yourself"...), from)
		}
	}
	// Output:
	// server got "hello"
	// client got "hello yourself"
}

// WriteBatch sends several datagrams with as few system calls as possible. Those
// that cannot be sent are left out.
func ExamplePacketConn_WriteBatch() {
	loop := newLoop()
	defer loop.Close()
	conn, err := loop.ListenPacket("udp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	to := conn.LocalAddr().(*net.UDPAddr).AddrPort() // itself
	ds := []evchan.Datagram{
		{Data: []byte("one"), Addr: to},
		{Data: []byte("lost"), NetAddr: nil},
		{Data: []byte("two"), Addr: to},
	}
	for len(ds) > 0 {
		n, err := conn.WriteBatch(ds)
		if err == nil {
			break
		}
		fmt.Printf("%q cannot be sent\n", ds[n].Data)
		ds = ds[n+1:]
	}

	buf := make([]byte, 1500)
	for got := 0; got < 2; {
		if _, ok := loop.Poll(-1); !ok {
			break
		}
		for {
			n, _, err := conn.ReadFromAddrPort(buf)
			if err != nil {
				break
			}
			fmt.Printf("%s\n", buf[:n])
			got++
		}
	}
	// Output:
	// "lost" cannot be sent
	// one
	// two
}

// A server on a host with several addresses answers from the one that it was asked at. To
// be asked at all of them, it would listen on ":53", say.
func ExamplePacketConn_ReadPacket() {
	loop := newLoop()
	defer loop.Close()
	server, err := loop.ListenPacket("udp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := net.Dial("udp", server.LocalAddr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("which address is this?")); err != nil {
		log.Fatal(err)
	}

	buf := make([]byte, 1500)
	for ev := range loop.All() {
		conn := ev.(evchan.Packets).Conn
		_, from, to, err := conn.ReadPacket(buf)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := conn.WritePacket([]byte(to.String()), from, to); err != nil {
			log.Fatal(err)
		}
		loop.Break()
	}
	n, err := client.Read(buf)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", buf[:n])
	// Output:
	// 127.0.0.1
}
