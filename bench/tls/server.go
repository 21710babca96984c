// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evtls"
)

// pattern is what a source sends.
var pattern = make([]byte, 64<<10)

// runServer serves until its standard input ends. For each line of that, it prints a sample.
func runServer(name, do string, useRSA bool) error {
	conf, err := config(useRSA)
	if err != nil {
		return err
	}
	run := serveStd
	if name == "evtls" {
		run = serveEvtls
	} else if name != "std" {
		return fmt.Errorf("there is no server %q", name)
	}
	addr := make(chan net.Addr, 1)
	failed := make(chan error, 1)
	go func() { failed <- run(conf, do, addr) }()
	var at string
	select {
	case a := <-addr:
		at = a.String()
	case err := <-failed:
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "gc" {
			time.Sleep(500 * time.Millisecond) // until what it does has ended
			debug.FreeOSMemory()
			debug.FreeOSMemory()
		}
		s := sample{Addr: at}
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
			return err
		}
		s.CPU = t.Nano()
		statm, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			return err
		}
		pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
		if err != nil {
			return err
		}
		s.RSS = pages * int64(os.Getpagesize())
		if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
			return err
		}
	}
	return nil
}

func config(useRSA bool) (*tls.Config, error) {
	var key crypto.Signer
	var err error
	if useRSA {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}

// serveStd is crypto/tls on package net.
func serveStd(conf *tls.Config, do string, addr chan<- net.Addr) error {
	ln, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		return err
	}
	addr <- ln.Addr()
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			switch do {
			case "sink":
				p := make([]byte, 64<<10)
				for {
					if _, err := c.Read(p); err != nil {
						return
					}
				}
			case "source":
				for {
					if _, err := c.Write(pattern); err != nil {
						return
					}
				}
			default:
				p := make([]byte, 4<<10)
				for {
					n, err := c.Read(p)
					if err != nil {
						return
					}
					if _, err := c.Write(p[:n]); err != nil {
						return
					}
				}
			}
		}()
	}
}

// serveEvtls is evtls on a loop.
func serveEvtls(conf *tls.Config, do string, addr chan<- net.Addr) error {
	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	lc := &evchan.ListenConfig{Over: evtls.Over(conf, nil)}
	if do == "source" {
		lc.WriteLow, lc.MaxOutput = 32<<10, 64<<10 // as in ../servers/evchan
	}
	ln, err := loop.Listen("tcp", "127.0.0.1:0", lc)
	if err != nil {
		return err
	}
	addr <- ln.Addr()
	fill := func(s *evchan.Stream) {
		for !s.OutputFull() {
			s.Output().Append(pattern, nil) // without a copy, as package net's Write has none
			s.Flush()
		}
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Accepted:
			if do == "source" {
				fill(ev.Stream)
			}
		case evchan.Drained:
			fill(ev.Stream)
		case evchan.Readable:
			if do == "sink" {
				ev.Stream.Input().Discard(ev.Stream.Input().Len())
			} else {
				io.Copy(ev.Stream, ev.Stream)
			}
		case evchan.EOF:
			ev.Stream.Close()
		}
	}
	return loop.Err()
}
