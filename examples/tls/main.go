// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Tls is an echo server whose connections are encrypted. Package evtls puts TLS on each of
// them; the rest of the program is an ordinary echo server. Accepted comes when a handshake is
// over. Of clients that never get so far, a mailbox tells.
//
//	go run ./examples/tls
//	openssl s_client -connect 127.0.0.1:7050 -quiet
//
// With -demo it connects to itself a client that trusts the certificate.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
	"github.com/evchan/evchan/examples/internal/democert"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7050", "listen on `address`")
	demo := flag.Bool("demo", false, "connect a client to the server itself, then end")
	flag.Parse()
	if *demo && *listen == flag.Lookup("listen").DefValue {
		*listen = "127.0.0.1:0"
	}

	cert, roots, err := democert.New()
	if err != nil {
		log.Fatal(err)
	}
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	ln, err := loop.Listen("tcp", *listen, &evchan.ListenConfig{
		Over:       evtls.Over(config, &evtls.Options{Failed: loop.Mailbox(100)}),
		MaxStreams: 1000,
		MaxOutput:  256 << 10, // unsent bytes, with which the client is not read from
		ReadIdle:   10 * time.Minute,
		WriteIdle:  time.Minute,
		Lifetime:   24 * time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", ln.Addr())
	if *demo {
		go func() {
			if err := client(ln.Addr().String(), roots); err != nil {
				log.Fatal(err)
			}
			loop.Exit(0)
		}()
	}

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Accepted:
			state, _ := evtls.State(ev.Stream)
			log.Print(ev.Stream, " speaks ", tls.VersionName(state.Version))
		case evchan.Readable:
			io.Copy(ev.Stream, ev.Stream)
		case evchan.EOF:
			ev.Stream.Close() // sends the rest first
		case evchan.TimedOut:
			ev.Stream.Abort()
		case evchan.Closed:
			log.Print(ev.Stream.Err())
		case *evtls.HandshakeFailed:
			log.Print(ev)
		case evchan.Signaled:
			return
		}
	}
	if err := loop.Err(); err != nil {
		log.Fatal(err)
	}
}

// client sends a line and checks that it comes back.
func client(addr string, roots *x509.CertPool) error {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", addr, &tls.Config{RootCAs: roots})
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintln(conn, "hello")
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	fmt.Printf("the reply over %s is %q\n", tls.VersionName(conn.ConnectionState().Version), reply)
	if reply != "hello\n" {
		return fmt.Errorf("the client got %q", reply)
	}
	return nil
}
