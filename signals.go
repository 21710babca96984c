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
// signal get it, in all loops, and so do the channels given to signal.Notify. As it does to
// channels, signal.Reset or signal.Ignore ends that until Loop.Signal is called again.
//
// A program that ends gracefully at a signal closes the watch when the signal has come, before
// [Loop.Shutdown] for example. Then the same signal, if it comes again, ends the program at once.
type SignalWatch struct {
	source

	// Data is for the user; the package does not touch it.
	Data any

	sig os.Signal // never changes

	// The loop's mu guards the following.

	count      int          // since the last Take
	next, prev *SignalWatch // in its feed
}

// A signalHub is a loop's part of the signals of the process.
type signalHub struct {
	mu    sync.Mutex // guards following; taken before the loop's mu
	feeds map[os.Signal]*signalFeed
}

// A signalFeed receives one signal for one loop. Each signal has a channel of its own,
// since os/signal cannot give up one signal of a channel: to stop the channel and register
// it again would give the other signals their former effect for a moment.
type signalFeed struct {
	c    chan os.Signal // given to os/signal; closed after signal.Stop
	link SignalWatch    // the open watches are in a ring with it, the oldest first; the loop's mu guards it
}

// A signalFlush goes through a feed's channel, behind the signals that are in it. It is
// closed when they are counted.
type signalFlush chan struct{}

func (signalFlush) Signal()        {}
func (signalFlush) String() string { return "flush" }

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
	if l.isClosed() {
		return nil, ErrClosed
	}
	f := h.feeds[sig]
	if f == nil {
		f = newSignalFeed()
		if h.feeds == nil {
			h.feeds = make(map[os.Signal]*signalFeed)
		}
		h.feeds[sig] = f
		go l.receiveSignals(f)
	}
	// Each time, for signal.Reset may have been called. Notify also waits until a signal that
	// os/signal is just sending to channels is in all of them.
	signal.Notify(f.c, sig)
	f.flush() // signals that have come before are not for w
	l.lock()
	defer l.unlock()
	if l.closed {
		return nil, ErrClosed // Close waits for h.mu, and stops the feed
	}
	w.prev, w.next = f.link.prev, &f.link
	w.prev.next, w.next.prev = w, w
	l.refresh(&w.source)
	return w, nil
}

// newSignalFeed returns a feed without watches, not yet known to os/signal.
func newSignalFeed() *signalFeed {
	// os/signal drops a signal if the channel is full. Signals are rare and the receiver
	// does very little, so room for 64 is plenty.
	f := &signalFeed{c: make(chan os.Signal, 64)}
	f.link.next, f.link.prev = &f.link, &f.link
	return f
}

// flush returns when all signals that are in the channel are counted. Caller holds the
// hub's mu, and no loop's.
func (f *signalFeed) flush() {
	done := make(signalFlush)
	f.c <- done
	<-done
}

// stop ends f, after all signals that the process has received are counted. Caller holds the
// hub's mu, and no loop's.
func (f *signalFeed) stop() {
	signal.Stop(f.c) // waits for signals on their way to the channel
	f.flush()
	close(f.c)
}

// settle returns when all signals that the process has received are counted. Caller holds
// the hub's mu, and no loop's.
func (f *signalFeed) settle(sig os.Signal) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, sig)
	signal.Stop(c) // waits for signals on their way to all channels; f.c keeps the signal caught
	f.flush()
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

// receiveSignals is a goroutine. It counts the signals of f until f is stopped.
func (l *Loop) receiveSignals(f *signalFeed) {
	for sig := range f.c {
		if done, ok := sig.(signalFlush); ok {
			close(done)
			continue
		}
		l.lock()
		for w := f.link.next; w != &f.link; w = w.next {
			w.count++
			l.enqueue(&w.source, msgSingle)
		}
		l.unlock()
	}
}

// stop gives up all signals. The loop is closed.
func (h *signalHub) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.feeds {
		f.stop()
	}
	h.feeds = nil
}

// Signal returns the signal that is watched.
func (w *SignalWatch) Signal() os.Signal { return w.sig }

// Take returns how many times the signal has come since the last Take. It takes back a
// Signaled that has not been received. It works after Close, too. Signals that come at
// the same time may count as one, since the kernel does not count them.
func (w *SignalWatch) Take() int {
	return w.takeCount(&w.count)
}

// Close ends the watch, and takes back a Signaled that has not been received. Other watches
// miss no signal meanwhile. Signals that came before Close count, and Take returns them. If
// it was the last watch of its signal in the process, the signal has its former effect
// again when Close returns.
func (w *SignalWatch) Close() error {
	l := w.Loop()
	h := &l.signals
	var end ender
	defer func() { callEnd(end, &w.source) }()
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.feeds[w.sig]; f != nil && w.next != nil {
		if w.next == w.prev { // the only one
			f.stop()
			delete(h.feeds, w.sig)
		} else {
			f.settle(w.sig)
		}
	}
	w.lockAndWithdraw()
	defer l.unlock()
	if w.next != nil {
		w.prev.next, w.next.prev = w.next, w.prev
		w.next, w.prev = nil, nil
	}
	w.life = lifeClosed
	if !l.closed {
		end = l.retractAll(&w.source)
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
