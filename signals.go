// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
)

// A SignalWatch sends a [Signaled] when the process receives its signal. It must be made
// by [Loop.Signal].
//
// It uses package os/signal. So the documentation of that package tells which signals
// can be caught, and what a signal does that is not watched any more. All watches of a
// signal get it, in all loops, and so do the channels given to signal.Notify.
type SignalWatch struct {
	source

	// Data is for the user; the package does not touch it.
	Data any

	sig   os.Signal // never changes
	count int       // since the last Take; the loop's mu guards it
}

// A signalHub receives a loop's signals from os/signal.
type signalHub struct {
	mu sync.Mutex     // guards following; taken before the loop's mu
	c  chan os.Signal // given to os/signal; nil: no signal was watched yet

	// watches has the open watches of each signal. It may be read under either lock,
	// and is changed under both.
	watches map[os.Signal][]*SignalWatch
}

// Signal returns a watch of sig, which is live until it is closed.
//
// It returns an error if sig is nil or cannot be caught, and ErrClosed on a closed
// loop.
func (l *Loop) Signal(sig os.Signal) (*SignalWatch, error) {
	if err := checkSignal(sig); err != nil {
		return nil, err
	}
	w := &SignalWatch{sig: sig}
	w.init(l, w)
	h := &l.signals
	h.mu.Lock()
	defer h.mu.Unlock()
	l.lock()
	if l.closed {
		l.unlock()
		return nil, ErrClosed
	}
	if h.c == nil {
		// os/signal drops a signal if the channel is full. Signals are rare and the
		// receiver does very little, so room for 64 is plenty.
		h.c = make(chan os.Signal, 64)
		h.watches = make(map[os.Signal][]*SignalWatch)
		go l.receiveSignals(h.c)
	}
	h.watches[sig] = append(h.watches[sig], w)
	l.refresh(&w.source)
	l.unlock()
	signal.Notify(h.c, sig)
	return w, nil
}

// checkSignal returns an error if sig cannot be watched.
func checkSignal(sig os.Signal) error {
	if sig == nil {
		return errors.New("evchan: nil signal")
	}
	n, ok := sig.(sysSignal)
	switch {
	case !ok:
		return fmt.Errorf("evchan: signal %v is not a syscall.Signal", sig)
	case n <= 0 || n > maxSignal:
		return fmt.Errorf("evchan: there is no signal %d", int(n))
	case !catchable(n):
		return fmt.Errorf("evchan: signal %v cannot be caught", sig)
	}
	return nil
}

// receiveSignals is a goroutine. It counts signals until the loop is closed.
func (l *Loop) receiveSignals(c <-chan os.Signal) {
	for {
		select {
		case sig := <-c:
			l.lock()
			for _, w := range l.signals.watches[sig] {
				w.count++
				l.enqueue(&w.source, msgSingle)
			}
			l.unlock()
		case <-l.done:
			return
		}
	}
}

// stop gives up all signals. The loop is closed.
func (h *signalHub) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.c != nil {
		signal.Stop(h.c)
	}
}

// Signal returns the signal that is watched.
func (w *SignalWatch) Signal() os.Signal { return w.sig }

// Take returns how many times the signal has come since the last Take. It takes back a
// Signaled that has not been received. Signals that come at the same time may count as
// one, since the kernel does not count them.
func (w *SignalWatch) Take() int {
	return w.takeCount(&w.count)
}

// Close ends the watch, and takes back a Signaled that has not been received. If it was
// the last watch of its signal in the process, the signal has its former effect again
// when Close returns.
func (w *SignalWatch) Close() error {
	l := w.Loop()
	h := &l.signals
	h.mu.Lock()
	defer h.mu.Unlock()
	w.lockAndWithdraw()
	if w.life != lifeOpen || l.closed {
		w.life = lifeClosed
		l.unlock()
		return nil
	}
	w.life = lifeClosed
	rest := h.watches[w.sig]
	for i, o := range rest {
		if o == w {
			rest = append(rest[:i:i], rest[i+1:]...)
			break
		}
	}
	if len(rest) > 0 {
		h.watches[w.sig] = rest
	} else {
		delete(h.watches, w.sig)
	}
	l.retract(&w.source, msgSingle)
	l.unlock()
	if len(rest) > 0 {
		return nil
	}
	// os/signal has no call to give up one signal of a channel.
	signal.Stop(h.c)
	if len(h.watches) > 0 {
		signals := make([]os.Signal, 0, len(h.watches))
		for sig := range h.watches {
			signals = append(signals, sig)
		}
		signal.Notify(h.c, signals...)
	}
	return nil
}

func (w *SignalWatch) event(pending) Event { return Signaled{w} }
func (w *SignalWatch) alive() bool         { return w.life == lifeOpen }
func (w *SignalWatch) label() string       { return "signal " + signalName(w.sig) }

func (w *SignalWatch) abandon() {
	l := w.lockLoop()
	w.life = lifeClosed
	l.unlock()
}

func (w *SignalWatch) dump() string {
	l := w.lockLoop()
	defer l.unlock()
	return "signal " + w.words() + " count=" + itoa(w.count) + " signal=" + signalName(w.sig)
}
