// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Tls is an echo server whose connections are encrypted by crypto/tls, which needs a
// net.Conn and a goroutine. The loop accepts clients and waits for their first bytes.
// Then it turns the stream into a net.Conn, which returns these bytes first, and a
// goroutine serves the client.
//
//	go run ./examples/tls
//	openssl s_client -connect 127.0.0.1:7050 -quiet
//
// With -demo it connects to itself a client that trusts the certificate.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/evchan/evchan"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7050", "listen on `address`")
	demo := flag.Bool("demo", false, "connect a client to the server itself, then end")
	flag.Parse()
	if *demo && *listen == flag.Lookup("listen").DefValue {
		*listen = "127.0.0.1:0"
	}

	cert, roots, err := certificate()
	if err != nil {
		log.Fatal(err)
	}
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", *listen, &evchan.ListenConfig{
		MaxStreams: 1000, // clients that have sent nothing yet
		ReadIdle:   10 * time.Second,
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

	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Readable:
			// The beginning of the handshake has arrived. The net.Conn returns it first.
			conn, err := ev.Stream.NetConn()
			if err != nil {
				log.Print(err)
				ev.Stream.Close()
				continue
			}
			go serve(tls.Server(conn, config))
		case evchan.EOF:
			ev.Stream.Close()
		case evchan.TimedOut:
			ev.Stream.Abort()
		case evchan.Signaled:
			return
		}
	}
	if err := loop.Err(); err != nil {
		log.Fatal(err)
	}
}

// serve sends back what it receives.
func serve(conn *tls.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Hour)) // NetConn has ended the loop's limits
	if _, err := io.Copy(conn, conn); err != nil {
		log.Print(conn.RemoteAddr(), ": ", err)
	}
}

// certificate returns a new certificate for this machine, valid for a day, and a pool
// that holds only this certificate.
func certificate() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots, nil
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
