// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Starttls is a server of lines, as SMTP and IRC have them, that begins in plain text. After the
// command STARTTLS, it goes on with TLS on the same connection.
//
//	go run ./examples/starttls
//	openssl s_client -connect 127.0.0.1:7051 -starttls smtp -quiet
//	NOOP
//
// With -demo it connects to itself a client that trusts the certificate.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
	"github.com/evchan/evchan/examples/internal/democert"
)

const (
	maxLine   = 1000     // bytes of a line
	maxOutput = 64 << 10 // unsent bytes, with which a client is not read from
)

// A server is what all connections share.
type server struct{ tls *tls.Config }

// A session is one connection. It is the Data of its stream: first of the plain one, then of the
// one with TLS.
type session struct{ greeted bool }

func main() {
	listen := flag.String("listen", "127.0.0.1:7051", "listen on `address`")
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
	ln, err := loop.Listen("tcp", *listen, &evchan.ListenConfig{
		MaxStreams: 1000,
		MaxOutput:  maxOutput,
		ReadIdle:   5 * time.Minute,
		WriteIdle:  time.Minute,
		Lifetime:   time.Hour,
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

	srv := &server{tls: &tls.Config{Certificates: []tls.Certificate{cert}}}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Accepted:
			ev.Stream.Data = new(session)
			ev.Stream.WriteString("220 ready\r\n")
		case evchan.Connected:
			// The handshake is over.
			state, _ := evtls.State(ev.Stream)
			log.Print(ev.Stream, " speaks ", tls.VersionName(state.Version))
		case evchan.Readable:
			srv.read(ev.Stream)
		case evchan.Drained:
			srv.read(ev.Stream) // what was left because too much was unsent
		case evchan.EOF:
			ev.Stream.Close()
		case evchan.TimedOut:
			ev.Stream.Abort()
		case evchan.Closed:
			log.Print(ev.Stream.Err()) // a handshake that has failed, for example
		case evchan.Signaled:
			return
		}
	}
	if err := loop.Err(); err != nil {
		log.Fatal(err)
	}
}

// read answers the lines that have come.
func (srv *server) read(s *evchan.Stream) {
	for !s.OutputFull() {
		line, ok := s.Input().ReadLine(evchan.LFOrCRLF)
		if !ok {
			if s.Input().Len() > maxLine {
				s.WriteString("500 the line is too long\r\n")
				s.Close()
			}
			return
		}
		if !srv.answer(s, string(bytes.ToUpper(line))) {
			return
		}
	}
}

// answer answers a line. It returns false if s is not to be read any more.
func (srv *server) answer(s *evchan.Stream, line string) bool {
	_, secret := evtls.State(s)
	said := s.Data.(*session)
	switch command, _, _ := strings.Cut(line, " "); {
	case command == "EHLO" && secret:
		said.greeted = true
		s.WriteString("250 hello\r\n")
	case command == "EHLO":
		said.greeted = true
		s.WriteString("250-hello\r\n250 STARTTLS\r\n")
	case command == "STARTTLS" && !secret:
		// The reply is the last thing in plain text. What the client has sent behind its
		// command is not read here: it belongs to the handshake.
		s.WriteString("220 go ahead\r\n")
		// A new session begins, since nobody knows who has sent what was in plain text.
		opts := &evtls.Options{Stream: &evchan.StreamConfig{Data: &session{}, MaxOutput: maxOutput}}
		if _, err := evtls.Server(s, srv.tls, opts); err != nil {
			s.Close() // the client has disconnected already
		}
		return false
	case command == "NOOP" && said.greeted:
		fmt.Fprintf(s, "250 encrypted: %v\r\n", secret)
	case command == "QUIT":
		s.WriteString("221 bye\r\n")
		s.Close()
		return false
	default:
		s.WriteString("503 not now\r\n")
	}
	return true
}

// client says EHLO in plain text, then STARTTLS, and EHLO and NOOP by TLS.
func client(addr string, roots *x509.CertPool) error {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(conn)
	expect := func(want string) error {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return fmt.Errorf("waiting for %q: %w", want, err)
			}
			fmt.Printf("the client reads %q\n", line)
			if strings.HasPrefix(line, want) {
				return nil
			}
		}
	}
	if err := expect("220 ready"); err != nil {
		return err
	}
	io.WriteString(conn, "EHLO client\r\nNOOP\r\nSTARTTLS\r\n")
	for _, want := range []string{"250 STARTTLS", "250 encrypted: false", "220 go ahead"} {
		if err := expect(want); err != nil {
			return err
		}
	}
	secret := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	r = bufio.NewReader(secret)
	if _, err := io.WriteString(secret, "EHLO client\r\nNOOP\r\nQUIT\r\n"); err != nil {
		return err
	}
	for _, want := range []string{"250 hello", "250 encrypted: true", "221 bye"} {
		if err := expect(want); err != nil {
			return err
		}
	}
	return nil
}
