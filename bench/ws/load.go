// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

const opBinary = 2

// perAddress is how many connections are made from one address of 127.0.0.0/8. Each needs a port.
const perAddress = 20000

// message returns the payload of n bytes that clients send.
func message(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}

// masked returns a message as a client sends it.
func masked(p []byte) []byte {
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b := []byte{0x80 | opBinary}
	if len(p) < 126 {
		b = append(b, 0x80|byte(len(p)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(len(p)))
	}
	b = append(b, mask[:]...)
	for i, x := range p {
		b = append(b, x^mask[i%4])
	}
	return b
}

// plain returns a message as a server sends it.
func plain(p []byte) []byte {
	b := []byte{0x80 | opBinary}
	if len(p) < 126 {
		b = append(b, byte(len(p)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(len(p)))
	}
	return append(b, p...)
}

// descriptor reads and writes a socket that blocks for at most 10 seconds.
type descriptor int

func (d descriptor) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(d), p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		default:
			return n, nil
		}
	}
}

func (d descriptor) Write(p []byte) (int, error) {
	n, err := unix.Write(int(d), p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return max(n, 0), os.NewSyscallError("write", err)
}

// connect opens n more connections.
func (s *server) connect(n int) error {
	addr, err := netip.ParseAddrPort(s.addr)
	if err != nil {
		return err
	}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		i := len(s.open) / perAddress
		s.open = append(s.open, fd)
		if i > 0 {
			unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, byte(1 + i/250), byte(1 + i%250)}}); err != nil {
				return os.NewSyscallError("bind", err)
			}
		}
		limit := unix.Timeval{Sec: 10}
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
			return os.NewSyscallError("connect", err)
		}
		if err := upgrade(descriptor(fd)); err != nil {
			return err
		}
	}
	return nil
}

// upgrade makes the handshake.
func upgrade(c io.ReadWriter) error {
	if _, err := io.WriteString(c, request); err != nil {
		return err
	}
	var got []byte
	p := make([]byte, 4096)
	for !bytes.HasSuffix(got, []byte("\r\n\r\n")) {
		n, err := c.Read(p)
		if got = append(got, p[:n]...); err != nil {
			return fmt.Errorf("%q: %w", got, err)
		}
	}
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 101 ")) {
		return fmt.Errorf("%q", got)
	}
	return nil
}

// roundTrip sends a message and checks what comes back.
func roundTrip(c io.ReadWriter, n int) error {
	p := message(n)
	if _, err := c.Write(masked(p)); err != nil {
		return err
	}
	return expect(c, plain(p))
}

func expect(c io.Reader, want []byte) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errWrong
	}
	return nil
}

// echo is a closed loop: every connection has one message in flight. It returns the server's CPU
// time for a message.
func echo(s *server) (float64, error) {
	if err := s.connect(*echoers); err != nil {
		return 0, err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return 0, os.NewSyscallError("epoll_create1", err)
	}
	defer unix.Close(ep)
	p := message(*size)
	out, want := masked(p), plain(p)
	got := make([][]byte, len(s.open))
	for i, fd := range s.open {
		got[i] = make([]byte, 0, len(want)+1)
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
			return 0, os.NewSyscallError("epoll_ctl", err)
		}
		if _, err := descriptor(fd).Write(out); err != nil {
			return 0, err
		}
	}
	n := 0
	events := make([]unix.EpollEvent, 256)
	run := func(d time.Duration) error {
		for end := time.Now().Add(d); time.Now().Before(end); {
			ready, err := unix.EpollWait(ep, events, 5000)
			if err == unix.EINTR {
				continue
			}
			if err != nil || ready == 0 {
				return errors.Join(errors.New("nothing comes back"), err)
			}
			for _, ev := range events[:ready] {
				i := ev.Fd
				c := descriptor(s.open[i])
				read, err := c.Read(got[i][len(got[i]):cap(got[i])])
				if err != nil {
					return err
				}
				if got[i] = got[i][:len(got[i])+read]; len(got[i]) < len(want) {
					continue
				}
				if !bytes.Equal(got[i], want) {
					return errWrong
				}
				got[i] = got[i][:0]
				n++
				if _, err := c.Write(out); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := run(*window / 4); err != nil {
		return 0, err
	}
	before, err := s.ask("")
	if err != nil {
		return 0, err
	}
	n = 0
	if err := run(*window); err != nil {
		return 0, err
	}
	after, err := s.ask("")
	if n == 0 {
		return 0, errors.New("nothing was done")
	}
	return float64((after.CPU - before.CPU).Nanoseconds()) / 1e3 / float64(n), err
}

// idle returns the memory that a connection holds after its first message.
func idle(s *server) (float64, error) {
	n := min(*conns*9/10, 5000)
	grow := func(n int) error {
		at := len(s.open)
		if err := s.connect(n); err != nil {
			return err
		}
		for _, fd := range s.open[at:] {
			if err := roundTrip(descriptor(fd), 64); err != nil {
				return err
			}
		}
		return nil
	}
	if err := grow(n / 10); err != nil { // what comes with the first ones is not counted
		return 0, err
	}
	return s.growth(n, func() error { return grow(n) })
}

// growth returns by how much grow has made the server's resident memory grow, for each of n.
func (s *server) growth(n int, grow func() error) (float64, error) {
	before, err := s.ask("gc")
	if err != nil {
		return 0, err
	}
	if err := grow(); err != nil {
		return 0, err
	}
	after, err := s.ask("gc")
	return float64(after.RSS-before.RSS) / float64(n), err
}

// idleTLS is idle over TLS.
func idleTLS(s *server) (float64, error) {
	n := min(*conns*9/10, 2000)
	var open []*tls.Conn
	defer func() {
		for _, c := range open {
			c.NetConn().Close()
		}
	}()
	grow := func(n int) error {
		for range n {
			c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				return err
			}
			open = append(open, c)
			c.SetDeadline(time.Now().Add(time.Minute))
			if err := upgrade(c); err != nil {
				return err
			}
			if err := roundTrip(c, 64); err != nil {
				return err
			}
		}
		return nil
	}
	if err := grow(n / 10); err != nil {
		return 0, err
	}
	return s.growth(n, func() error { return grow(n) })
}

// broadcast returns the server's CPU time for a message of 128 bytes to all, in milliseconds: the
// mean of three, after one that does not count.
func broadcast(s *server) (float64, error) {
	if err := s.connect(*conns); err != nil {
		return 0, err
	}
	if err := s.all(len(s.open)); err != nil {
		return 0, err
	}
	want := plain(news)
	var sum time.Duration
	const times = 3
	for i := range 1 + times {
		before, err := s.ask("broadcast")
		if err != nil {
			return 0, err
		}
		for _, fd := range s.open {
			if err := expect(descriptor(fd), want); err != nil {
				return 0, err
			}
		}
		after, err := s.ask("")
		if err != nil {
			return 0, err
		}
		if i > 0 {
			sum += after.CPU - before.CPU
		}
	}
	return float64(sum.Nanoseconds()) / 1e6 / times, nil
}
