// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

const memoryFeatures = FeatureEdge | FeatureO1 | FeatureEarlyClose

// A memoryPoller is the poller of the method memory: it waits and wakes, and has no
// descriptors. What the streams and listeners in memory have to report, they report by
// themselves (see pipeEnd.tell).
//
// It consists of channels. So a goroutine of a testing/synctest bubble that waits in it is
// durably blocked.
type memoryPoller struct {
	woken  chan struct{} // holds a wake that no wait has consumed
	closed chan struct{} // closed by close
	once   sync.Once     // for close

	timer *time.Timer // of wait; nil: no wait had a limit yet; the goroutine that waits owns it
}

var _ poller = (*memoryPoller)(nil)

func openMemory() (poller, error) {
	return &memoryPoller{woken: make(chan struct{}, 1), closed: make(chan struct{})}, nil
}

func (p *memoryPoller) name() string      { return "memory" }
func (p *memoryPoller) features() Feature { return memoryFeatures }

// errNoDescriptors is what the method memory says of all descriptors.
var errNoDescriptors = fmt.Errorf("the method memory has no descriptors, and so no sockets: use another method, or the network memory: %w", ErrUnsupported)

func (p *memoryPoller) add(sysFD, token, What) error { return errNoDescriptors }
func (p *memoryPoller) arm(sysFD, token, What) error { return eNOENT }
func (p *memoryPoller) remove(sysFD) error           { return eNOENT }
func (p *memoryPoller) removeIf(sysFD, token) error  { return eNOENT }

func (p *memoryPoller) wait(dst []ready, d time.Duration) ([]ready, error) {
	select {
	case <-p.closed:
		return dst, os.ErrClosed
	default:
	}
	var late <-chan time.Time
	switch {
	case d == 0:
		return dst, nil
	case d > 0:
		if p.timer == nil {
			p.timer = time.NewTimer(d)
		} else {
			p.timer.Reset(d)
		}
		defer p.timer.Stop()
		late = p.timer.C
	}
	select {
	case <-p.woken:
	case <-late:
	case <-p.closed:
		return dst, os.ErrClosed
	}
	return dst, nil
}

func (p *memoryPoller) wake() error {
	select {
	case <-p.closed:
		return os.ErrClosed
	default:
	}
	select {
	case p.woken <- struct{}{}:
	default: // one is there already
	}
	return nil
}

func (p *memoryPoller) close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// memoryOnly reports whether the loop's method is memory, which has no descriptors.
func (l *Loop) memoryOnly() bool {
	_, ok := l.poller.(*memoryPoller)
	return ok
}

// socketless returns an error if the loop's method has no sockets; op and network are what
// was asked of it.
func (l *Loop) socketless(op, network string) error {
	if l.memoryOnly() {
		return &net.OpError{Op: op, Net: network, Err: errNoDescriptors}
	}
	return nil
}
