// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
)

// A server and its client on one loop. The server sends back what it receives.
func Example() {
	cert, roots := certificate()
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	server := &tls.Config{Certificates: []tls.Certificate{cert}}
	ln, err := loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{Over: evtls.Over(server, nil)})
	if err != nil {
		log.Fatal(err)
	}
	client, err := evtls.Dial(loop, "tcp", ln.Addr().String(), nil, &tls.Config{RootCAs: roots})
	if err != nil {
		log.Fatal(err)
	}
	client.WriteString("hello") // is sent when the handshake is over

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Connected:
			state, _ := evtls.State(ev.Stream)
			fmt.Println("connected by", tls.VersionName(state.Version))
		case evchan.Readable:
			if ev.Stream != client {
				io.Copy(ev.Stream, ev.Stream)
				break
			}
			fmt.Printf("the client receives %q\n", ev.Stream.Input().Bytes())
			client.Close()
		case evchan.EOF:
			ev.Stream.Close()
			loop.Exit(0)
		}
	}
	// Output:
	// connected by TLS 1.3
	// the client receives "hello"
}

// A server that speaks plain text until its client says STARTTLS.
func ExampleServer() {
	cert, roots := certificate()
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	ln, err := loop.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		defer loop.Exit(0)
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "STARTTLS\n")
		secret := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		io.WriteString(secret, "WHO?\n")
		reply := make([]byte, 100)
		n, _ := secret.Read(reply)
		fmt.Printf("%s", reply[:n])
	}()

	for ev := range loop.All() {
		ev, ok := ev.(evchan.Readable)
		if !ok {
			continue
		}
		line, ok := ev.Stream.Input().ReadLine(evchan.LFOrCRLF)
		switch {
		case !ok:
		case string(line) == "STARTTLS":
			if _, err := evtls.Server(ev.Stream, config, nil); err != nil {
				log.Print(err)
			}
		default:
			_, secret := evtls.State(ev.Stream)
			fmt.Fprintf(ev.Stream, "%s encrypted: %v\n", line, secret)
		}
	}
	// Output: WHO? encrypted: true
}

// certificate returns a certificate for this machine, and a pool with it.
func certificate() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
