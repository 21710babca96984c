// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"net"
	"time"

	"github.com/evchan/evchan/internal/seam"
)

// This file puts a kernel that is made for tests (package simnet) under a loop. A program that
// does not import simnet never calls NewPoller through seam.Poller. So the linker finds that
// nothing makes a kernelPoller, and leaves out all but seamPoller.

// seamPoller returns the poller of a kernel for tests that has the name; nil if there is none.
func seamPoller(method string) poller {
	if seam.Open == nil {
		return nil
	}
	p, _ := seam.Open(method, seamHook{}).(poller)
	return p
}

// A seamHook implements seam.Poller.
type seamHook struct{}

func (seamHook) NewPoller(k seam.Kernel) any { return &kernelPoller{kernel: k} }

// A kernelPoller is a poller over a seam.Kernel.
type kernelPoller struct {
	kernel seam.Kernel  // never changes
	got    []seam.Ready // of wait
}

var _ virtualNetwork = (*kernelPoller)(nil)

func (p *kernelPoller) name() string { return "test" }

func (p *kernelPoller) features() Feature {
	f := FeatureEarlyClose
	if p.kernel.Edge() {
		f |= FeatureEdge
	}
	return f
}

func (p *kernelPoller) add(fd sysFD, tok token, i What) error {
	return p.kernel.Add(int(fd), seam.Token{Slot: tok.slot, Gen: tok.gen}, seam.What(i))
}

func (p *kernelPoller) arm(fd sysFD, tok token, i What) error {
	return p.kernel.Arm(int(fd), seam.Token{Slot: tok.slot, Gen: tok.gen}, seam.What(i))
}

func (p *kernelPoller) remove(fd sysFD) error       { return p.kernel.Remove(int(fd)) }
func (p *kernelPoller) removeIf(sysFD, token) error { return eNOENT } // of watches, which it does not have
func (p *kernelPoller) wake() error                 { return p.kernel.Wake() }
func (p *kernelPoller) close() error                { return p.kernel.Close() }
func (p *kernelPoller) wait(dst []ready, d time.Duration) ([]ready, error) {
	got, err := p.kernel.Wait(p.got[:0], d)
	for _, r := range got {
		dst = append(dst, ready{token{r.Tok.Slot, r.Tok.Gen}, What(r.What)})
	}
	p.got = got
	return dst, err
}

func (p *kernelPoller) listen(network, address string) (virtualListener, error) {
	k, err := p.kernel.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return kernelListener{k}, nil
}

func (p *kernelPoller) dial(ctx context.Context, network, address string) (transport, error) {
	c, err := p.kernel.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &kernelConn{conn: c}, nil
}

func (p *kernelPoller) give(s *Stream, t transport) { s.virtual(t.(*kernelConn)) }

// A kernelListener is a virtualListener over a seam.Listener.
type kernelListener struct{ k seam.Listener }

func (n kernelListener) fd() sysFD          { return sysFD(n.k.FD()) }
func (n kernelListener) address() net.Addr  { return n.k.Addr() }
func (n kernelListener) closeFor(*Listener) { n.k.Close() }

func (n kernelListener) accept(l *Loop) (*Stream, error) {
	c, err := n.k.Accept()
	if err != nil {
		return nil, err
	}
	s := l.newStream(noFD)
	s.mu.Lock()
	s.virtual(&kernelConn{conn: c})
	s.mu.Unlock()
	return s, nil
}

// virtual makes k the transport of s. Caller holds s.mu.
func (s *Stream) virtual(k *kernelConn) {
	s.sock.fd = sysFD(k.conn.FD())
	x := s.more()
	x.transport, x.local, x.remote = k, k.conn.LocalAddr(), k.conn.RemoteAddr()
}

// A kernelConn is the transport over a seam.Conn.
type kernelConn struct{ conn seam.Conn }

var _ transport = (*kernelConn)(nil)

func (k *kernelConn) fill(in *chain, limit int) (n int, full bool, err error) {
	c := newChunk(streamClass)
	p := c.buf
	n, full, err = k.conn.Read(p[:min(len(p), limit)])
	in.pushRead(c, n)
	return n, full, err
}

func (k *kernelConn) write(p []byte) (int, error) { return k.conn.Write(p) }

func (k *kernelConn) flush(out *chain, limit int) (n int, spent *chunk, err error) {
	for out.n > 0 && n < limit {
		c := out.head
		if c.isFile() {
			d, err := out.loadSome(nil, c)
			if err != nil {
				return n, spent, err
			}
			if c.size() == 0 {
				out.unlinkAfter(d)
				c.next = spent
				spent = c
			}
			continue
		}
		size, err := k.conn.Write(c.buf[c.r : c.r+min(c.size(), limit-n)])
		if err == eAGAIN {
			return n, spent, nil
		}
		if err != nil {
			return n, spent, err
		}
		n += size
		if d := out.cut(size); d != nil {
			d.next = spent
			spent = d
		}
	}
	return n, spent, nil
}

func (k *kernelConn) closeWrite() error { return k.conn.CloseWrite() }
func (k *kernelConn) failure() error    { return k.conn.Failure() }
func (k *kernelConn) halfCloses() bool  { return k.conn.HalfCloses() }
func (k *kernelConn) close(reset bool)  { k.conn.Close(reset) }
