// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/evchan/evchan"
	"golang.org/x/sys/unix"
)

// A pair is two connected sockets: what is written to out is read from in.
type pair struct {
	in, out int
	next    *pair
}

// openPairs returns n pairs in a ring.
func openPairs(n int) ([]pair, error) {
	ps := make([]pair, n)
	for i := range ps {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			closePairs(ps[:i])
			return nil, os.NewSyscallError("socketpair", err)
		}
		ps[i] = pair{fds[0], fds[1], &ps[(i+1)%n]}
	}
	return ps, nil
}

func closePairs(ps []pair) {
	for _, p := range ps {
		unix.Close(p.in)
		unix.Close(p.out)
	}
}

var oneByte = []byte{'e'}

// send writes one byte to p.
func (p *pair) send() {
	if _, err := unix.Write(p.out, oneByte); err != nil {
		panic("BUG: " + os.NewSyscallError("write", err).Error()) // there is always room for one
	}
}

// A relay is one run: what is read from a pair is passed on to the next as long
// as there are writes left.
type relay struct {
	writes int // left
	fired  int // bytes written
	count  int // bytes read
	buf    []byte
}

// start writes a byte to each of active of ps.
func (r *relay) start(ps []pair, active, writes int) {
	r.writes, r.fired, r.count = writes, active, 0
	for i := range active {
		ps[i*(len(ps)/active)].send()
	}
}

// pass reads what len(r.buf) allows from p, passes it on, and reports whether
// nothing is under way any more.
func (r *relay) pass(p *pair) bool {
	n, _ := unix.Read(p.in, r.buf)
	for range max(n, 0) {
		r.count++
		if r.writes > 0 {
			r.writes--
			r.fired++
			p.next.send()
		}
	}
	return r.count == r.fired
}

// A looper is a way of waiting for pairs.
type looper interface {
	// add watches all of the pairs, which are not watched yet.
	add() error
	// remove undoes add.
	remove() error
	// poll looks whether anything is ready, which nothing is.
	poll()
	// run relays until nothing is under way.
	run(*relay) error
	close()
}

// pairs measures n pairs, some of them active, as libevent's bench does.
func (b *bench) pairs(open func([]pair) (looper, error), size int) error {
	for _, n := range b.sizes {
		for _, active := range []int{1, 100} {
			if active > n {
				continue
			}
			if err := b.pairsOf(open, size, n, active, 1000); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) pairsOf(open func([]pair) (looper, error), size, n, active, writes int) error {
	ps, err := openPairs(n)
	if err != nil {
		return err
	}
	defer closePairs(ps)
	l, err := open(ps)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.add(); err != nil {
		return err
	}
	r := &relay{buf: make([]byte, size)}
	name := fmt.Sprintf("n=%d,a=%d,w=%d", n, active, writes)
	var runs, both []cost
	for range b.repeats() {
		readd := b.cost(name+"/readd", 1, func() time.Duration {
			start := time.Now()
			if err = l.remove(); err == nil {
				err = l.add()
			}
			l.poll()
			return time.Since(start)
		})
		if err != nil {
			return err
		}
		run := b.cost(name+"/run", 1, func() time.Duration {
			start := time.Now()
			r.start(ps, active, writes)
			err = l.run(r)
			return time.Since(start)
		})
		if err != nil {
			return err
		}
		if r.count != active+writes {
			return fmt.Errorf("%s: %d bytes were read, not %d", name, r.count, active+writes)
		}
		runs = append(runs, run)
		both = append(both, readd.add(run))
	}
	b.reportRuns(name+"/run", runs)
	b.reportRuns(name+"/readd+run", both)
	return nil
}

// A watcher is the looper over evchan's watches.
type watcher struct {
	loop    *evchan.Loop
	watches []*evchan.Watch
}

func openWatcher(ps []pair, interest evchan.What) (looper, error) {
	loop, err := evchan.New(nil)
	if err != nil {
		return nil, err
	}
	l := &watcher{loop: loop}
	for i := range ps {
		w, err := loop.Watch(uintptr(ps[i].in), interest)
		if err != nil {
			loop.Close()
			return nil, err
		}
		w.Data = &ps[i]
		l.watches = append(l.watches, w)
	}
	return l, nil
}

func (l *watcher) add() error {
	for _, w := range l.watches {
		if err := w.Arm(0); err != nil {
			return err
		}
	}
	return nil
}

func (l *watcher) remove() error {
	for _, w := range l.watches {
		if err := w.Disarm(); err != nil {
			return err
		}
	}
	return nil
}

func (l *watcher) poll() { l.loop.Poll(0) }

func (l *watcher) run(r *relay) error {
	for ev := range l.loop.All() {
		if ev, ok := ev.(evchan.Ready); ok && r.pass(ev.Watch.Data.(*pair)) {
			break
		}
	}
	return l.loop.Err()
}

func (l *watcher) close() { l.loop.Close() }

func evchanPairs(b *bench) error {
	return b.pairs(func(ps []pair) (looper, error) { return openWatcher(ps, evchan.Read|evchan.Persist) }, 1)
}

// evchanEdgePairs reads more than there can be at once: a short read says that
// nothing is left, which who watches for edges has to know.
func evchanEdgePairs(b *bench) error {
	return b.pairs(func(ps []pair) (looper, error) { return openWatcher(ps, evchan.Read|evchan.Persist|evchan.Edge) }, 1024)
}

// An epoll is the looper over epoll itself, in Go: what no library in Go that a
// program like this one uses can do better.
type epoll struct {
	fd     int
	ps     []pair
	events []unix.EpollEvent
}

func openEpoll(ps []pair) (looper, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &epoll{fd, ps, make([]unix.EpollEvent, 4096)}, nil
}

func (l *epoll) ctl(op int) error {
	for i := range l.ps {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(l.fd, op, l.ps[i].in, &ev); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	return nil
}

func (l *epoll) add() error    { return l.ctl(unix.EPOLL_CTL_ADD) }
func (l *epoll) remove() error { return l.ctl(unix.EPOLL_CTL_DEL) }
func (l *epoll) poll()         { unix.EpollWait(l.fd, l.events, 0) }

func (l *epoll) run(r *relay) error {
	for done := false; !done; {
		n, err := unix.EpollWait(l.fd, l.events, 0)
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("epoll_wait", err)
		}
		for i := range max(n, 0) {
			done = r.pass(&l.ps[l.events[i].Fd])
		}
	}
	return nil
}

func (l *epoll) close() { unix.Close(l.fd) }

func epollPairs(b *bench) error { return b.pairs(openEpoll, 1) }

// evchanCascade sends one byte through all pairs, each of which waits for it
// once, with a time limit.
func evchanCascade(b *bench) error {
	for _, n := range b.sizes {
		if err := b.cascadeOf(n); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) cascadeOf(n int) error {
	ps, err := openPairs(n)
	if err != nil {
		return err
	}
	defer closePairs(ps)
	open, err := openWatcher(ps, evchan.Read)
	if err != nil {
		return err
	}
	defer open.close()
	l := open.(*watcher)
	name := fmt.Sprintf("n=%d", n)
	r := &relay{buf: make([]byte, 1)}
	var runs, both []cost
	for range b.repeats() {
		add := b.cost(name+"/add", 1, func() time.Duration {
			start := time.Now()
			for _, w := range l.watches {
				if err = w.Arm(time.Minute); err != nil {
					break
				}
			}
			return time.Since(start)
		})
		if err != nil {
			return err
		}
		run := b.cost(name+"/run", 1, func() time.Duration {
			start := time.Now()
			r.start(ps, 1, n-1)
			err = l.run(r)
			return time.Since(start)
		})
		if err != nil {
			return err
		}
		if r.count != n {
			return fmt.Errorf("cascade %s: %d bytes were read", name, r.count)
		}
		runs = append(runs, run)
		both = append(both, add.add(run))
	}
	b.reportRuns(name+"/run", runs)
	b.reportRuns(name+"/add+run", both)
	return nil
}
