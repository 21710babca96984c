// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package evchan

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These fuzz tests give the pollers whatever a kernel might say, and hold what they
// report against the contract in poller.go. FuzzAFD is in poller_windows_test.go.

// eventScript takes a script apart.
type eventScript []byte

// next returns the next byte, 0 behind the end.
func (s *eventScript) next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

// interest returns conditions to ask for.
func (s *eventScript) interest() What {
	return What(s.next()) & (whatPolled | Edge | urgent)
}

// FuzzEpoll has epoll_wait return any events. Each entry is a slot and four bytes.
func FuzzEpoll(f *testing.F) {
	f.Add([]byte{7, 0, 0, 0, 0, unix.EPOLLIN, 1, 0, 0, 0, unix.EPOLLHUP, 2, 0, 0, 0, unix.EPOLLERR})
	f.Add([]byte{0, 1, 0, 0, 32, unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI, 3, 255, 255, 255, 255, 200, 0, 0, 0, unix.EPOLLIN})
	const slots = 200
	f.Fuzz(func(t *testing.T, bytes []byte) {
		script := eventScript(bytes)
		e := &epoll{epfd: noFD}
		for slot := range uint32(slots) {
			e.setAskedLocked(slot, What(slot)&whatPolled)
		}
		var want []ready
		e.events = make([]unix.EpollEvent, min(len(bytes)/5, 1000))
		e.n = len(e.events)
		for k := range e.events {
			tok := testToken(int(script.next()))
			ev := &e.events[k]
			ev.Events = uint32(script.next())<<24 | uint32(script.next())<<16 | uint32(script.next())<<8 | uint32(script.next())
			if tok.slot >= slots {
				tok = timerToken // the only one that nothing is noted for
			}
			ev.Fd, ev.Pad = int32(tok.slot), int32(tok.gen)
			if tok == timerToken {
				continue
			}
			r := ready{tok: tok}
			for bit, w := range map[uint32]What{unix.EPOLLIN: Read, unix.EPOLLOUT: Write, unix.EPOLLRDHUP: EarlyClose, unix.EPOLLPRI: urgent,
				unix.EPOLLHUP: What(tok.slot)&whatPolled | hangup, unix.EPOLLERR: What(tok.slot)&whatPolled | hangup} {
				if ev.Events&bit != 0 {
					r.what |= w
				}
			}
			if ev.Events&(unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLPRI|unix.EPOLLHUP|unix.EPOLLERR) == unix.EPOLLERR && r.what != hangup {
				r.what |= errorOnly
			}
			want = append(want, r)
		}
		got, err := e.collect(nil)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	})
}

// FuzzPollSet has poll(2) return any revents, also of what was changed meanwhile. Each
// step is an operation, a descriptor and an interest or revents.
func FuzzPollSet(f *testing.F) {
	f.Add([]byte{0, 0, 3, 0, 1, 19, 3, unix.POLLIN, unix.POLLOUT, 0, 3, unix.POLLIN, unix.POLLOUT, 0, 1, 1, 19, 3, unix.POLLIN, unix.POLLIN, 0})
	f.Add([]byte{0, 0, 0, 3, unix.POLLHUP, 0, 0, 3, unix.POLLHUP, 0, 0, 0, 0, 1, 3, unix.POLLNVAL, 0, 0, 3, unix.POLLNVAL})
	f.Add([]byte{0, 0, 19, 3, unix.POLLERR, 0, 1, 0, 19, 3, unix.POLLERR, 0, 1, 0, 19, 3, 4, 1, 0, 3, 3, unix.POLLERR, 0})
	f.Add([]byte{0, 0, 3, 0, 1, 3, 4, 0, 3, 2, 0, 0, 3, unix.POLLIN, unix.POLLIN})

	// reg is what the model knows of a descriptor.
	type reg struct {
		tok    token
		i      What
		left   What // not reported yet
		mute   bool
		errors int  // reports in a row with errorOnly
		paused bool // not polled for errorPause, since an error lasts
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		p := &pollSet{index: make(map[sysFD]int), changed: true, pipe: [2]sysFD{noFD, noFD}}
		script := eventScript(bytes)
		want := make(map[sysFD]*reg)
		gen := 0
		// report gives p one result of the kernel's.
		report := func(fd *unix.PollFd, tok token) {
			got, ok := p.reportLocked(fd, tok)
			r := want[sysFD(fd.Fd)]
			var what What
			if r != nil && r.tok == tok {
				for bit, w := range map[int16]What{unix.POLLIN: Read, unix.POLLOUT: Write, unix.POLLRDHUP: EarlyClose} {
					if fd.Revents&bit != 0 {
						what |= w & r.left
					}
				}
				if fd.Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
					only := What(0)
					if what == 0 && r.i&whatPolled != 0 && fd.Revents&(unix.POLLHUP|unix.POLLNVAL) == 0 {
						only = errorOnly
					}
					what = r.i&whatPolled | hangup | only
				}
				if r.errors++; what&errorOnly == 0 {
					r.errors = 0
				}
				if r.i&Edge != 0 {
					r.left &^= what
				}
				if what&hangup != 0 && (r.i&Edge != 0 || r.i&whatPolled == 0) || fd.Revents&unix.POLLNVAL != 0 {
					r.mute = true
				}
			}
			if ok != (what != 0) || ok && got != (ready{tok, what}) {
				t.Fatalf("%#x of %v: got %v, %v; want %v", fd.Revents, tok, got, ok, what)
			}
		}
		for steps := 0; len(script) > 0 && steps < 200; steps++ {
			// The descriptors are there in every process. Nobody looks at what they are.
			op, fd := script.next()%5, sysFD(0)
			if op < 3 {
				fd = sysFD(script.next() % 3)
			}
			switch op {
			case 0, 1: // add, arm
				r := &reg{tok: testToken(gen), i: script.interest()}
				r.left = r.i & whatPolled
				gen++
				change, due := p.add, error(nil)
				if op == 1 {
					change = p.arm
					if want[fd] == nil {
						due = unix.ENOENT
					}
				}
				switch err := change(fd, r.tok, r.i); {
				case err == unix.EBADF: // it is not there
				case err != due:
					t.Fatalf("got %v, want %v", err, due)
				case err == nil:
					if op == 1 {
						r.errors = want[fd].errors
						r.paused = r.errors > 1 && r.i&Edge != 0
					}
					want[fd] = r
				}
			case 2:
				if err := p.remove(fd); (err == nil) != (want[fd] != nil) {
					t.Fatal(err)
				}
				delete(want, fd)
			case 3, 4: // a wait; with 4 something is changed before it is over
				p.copyLocked(0)
				asked := 0
				for fd, r := range want {
					if p.regs[p.index[fd]].resume.IsZero() {
						r.paused = false // if it was, its time is over
					} else if !r.paused {
						t.Fatalf("%v is put off", r.tok)
					}
					if !r.mute && !r.paused {
						asked++
					}
				}
				if len(p.toks) != asked || len(p.fds) != asked+1 {
					t.Fatalf("%d are polled, want %d", len(p.toks), asked)
				}
				for j, tok := range p.toks {
					r := want[sysFD(p.fds[j].Fd)]
					if r == nil || r.mute || r.paused || r.tok != tok || pollWhat(p.fds[j].Events) != r.left {
						t.Fatalf("%v is polled for %#x, want %v", tok, p.fds[j].Events, r)
					}
				}
				if op == 4 && len(p.toks) > 0 {
					fd := sysFD(script.next() % 3)
					if script.next()&1 == 0 {
						p.remove(fd)
						delete(want, fd)
					} else if r := want[fd]; r != nil {
						r.tok = testToken(gen)
						gen++
						r.i = script.interest()
						r.left, r.mute = r.i&whatPolled, false
						r.paused = r.errors > 1 && r.i&Edge != 0
						must(t, p.arm(fd, r.tok, r.i))
					}
				}
				for j := range p.toks {
					p.fds[j].Revents = int16(script.next())
					if script.next()&1 != 0 {
						p.fds[j].Revents |= int16(script.next()) << 8
					}
					if p.fds[j].Revents != 0 {
						report(&p.fds[j], p.toks[j])
					}
				}
			}
		}
	})
}

// A scriptQueue is a kernelQueue whose events a test makes up. It takes changes as a
// kernel does.
type scriptQueue struct {
	notes   map[[2]int]uint32 // flags, by descriptor and filter
	events  []kevent          // of the next wait
	after   func()            // called when a wait has its events
	refused kfilter           // which filter cannot be added
	err     error             // what it gives then; nil: it can
}

func (q *scriptQueue) kevent(changes, events []kevent, _ time.Duration) (int, error) {
	for _, c := range changes {
		at := [2]int{c.ident, int(c.filter)}
		_, there := q.notes[at]
		switch {
		case c.filter == kfUser:
		case c.flags&evDelete != 0 && !there:
			return 0, unix.ENOENT
		case c.flags&evDelete != 0:
			delete(q.notes, at)
		case c.filter == q.refused && q.err != nil:
			return 0, q.err
		case !there:
			q.notes[at] = c.flags
		}
	}
	if len(events) == 0 {
		return 0, nil
	}
	n := copy(events, q.events)
	q.events = q.events[n:]
	if q.after != nil {
		q.after()
	}
	return n, nil
}

func (q *scriptQueue) close() {}

// FuzzKqueue has kevent(2) return any events, also of what was changed meanwhile, and
// refuse any filter. Each step is an operation with its arguments.
func FuzzKqueue(f *testing.F) {
	const read, write, end = 0, 1, 2 // of an event
	f.Add([]byte{0, 0, 0, 3, 3, 0, 2, 0, read, 0, write, 3, 0, 2, 0, read | end, 0, write | end, 3, 0, 1, 0, write | end})
	f.Add([]byte{0, 0, 0, 19, 3, 0, 1, 0, read | end, 3, 0, 1, 0, write | end, 0, 1, 0, 0, 3, 0, 1, 1, read | end})
	f.Add([]byte{0, 2, 1, 3, 3, 0, 1, 2, read | end, 0, 1, 2, 0, 3, 2, 1, 1, read | end})
	f.Add([]byte{0, 0, 0, 4, 3, 3, 1, 0, read | end, 0, 0, 0, 5, 3, 0, 1, 0, read | end, 2, 0, 3, 0, 1, 0, write})

	// One descriptor of each kind that matters here.
	var fds []sysFD
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(f, err)
	var pipe [2]int
	must(f, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	fds = append(fds, pair[0], pair[1], pipe[0], pipe[1])
	f.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	oneWay := map[sysFD]kfilter{pipe[0]: kfWrite, pipe[1]: kfRead} // what it has not

	// reg is what the model knows of a descriptor.
	type reg struct {
		tok     token
		i       What
		ended   [2]bool // the last event that counts says so
		refused [2]bool // the filter was refused at some time
		round   int     // the wait that it was made in; 0: in none
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		script := eventScript(bytes)
		q := &scriptQueue{notes: make(map[[2]int]uint32)}
		made, err := newKqueue(q, true)
		must(t, err)
		p := made.(*kqueue)
		defer p.close()
		want := make(map[sysFD]*reg)
		gen, round, waiting := 0, 0, false
		refuse := func(b byte) {
			q.refused = kfilter(b & 1)
			q.err = []error{nil, unix.EPIPE, unix.EINVAL, unix.EBADF}[b>>1&3]
		}
		change := func(op byte) {
			fd := fds[int(script.next())%len(fds)]
			switch op {
			case 0, 1: // add, arm
				refuse(script.next())
				defer refuse(0)
				r := &reg{tok: testToken(gen), i: script.interest()}
				r.refused[q.refused] = q.err != nil
				if waiting {
					r.round = round
				}
				gen++
				var err error
				if op == 0 {
					err = p.add(fd, r.tok, r.i)
				} else if err = p.arm(fd, r.tok, r.i); want[fd] == nil {
					if err != unix.ENOENT {
						t.Fatalf("arm of what is not monitored: %v", err)
					}
					return
				}
				if err == nil {
					want[fd] = r
				} else if delete(want, fd); q.err == nil || err != q.err && err != unix.EPERM {
					t.Fatalf("got %v with %v refused by %v", err, q.refused, q.err)
				}
			case 2:
				if err := p.remove(fd); (err == nil) != (want[fd] != nil) {
					t.Fatal(err)
				}
				delete(want, fd)
			}
		}
		wait := func() {
			round++
			mode := script.next()
			for range script.next() % 8 {
				ev := kevent{ident: fds[int(script.next())%len(fds)]}
				b := script.next()
				ev.filter = kfilter(b & 1)
				if b&2 != 0 {
					ev.flags |= evEOF
				}
				if b&4 != 0 {
					ev.fflags = uint32(unix.ECONNRESET)
				}
				if b&0xf8 == 8 {
					ev = kevent{filter: kfUser}
				}
				q.events = append(q.events, ev)
			}
			events := slices.Clone(q.events)
			q.after = func() {
				for range mode >> 6 {
					waiting = true
					change(script.next() % 3)
					waiting = false
				}
				refuse(mode | 1) // what the wait itself asks for: it can still read, if only the end
				for _, r := range want {
					r.refused[q.refused] = r.refused[q.refused] || q.err != nil
				}
			}
			got, err := p.wait(nil, time.Duration(mode&8))
			must(t, err)
			q.after = nil
			refuse(0)

			// due is what has to be reported, may what can be.
			due, may := make(map[token]What), make(map[token]What)
			for _, ev := range events {
				r := want[ev.ident]
				if ev.filter == kfUser || r == nil {
					continue
				}
				if ev.flags&evEOF == 0 {
					r.ended[ev.filter] = false
				} else if r.round == round {
					continue // it may be an earlier one's
				} else {
					r.ended[ev.filter] = true
				}
				w := r.i & Write
				if ev.filter == kfRead {
					w = r.i & (Read | urgent)
					if r.ended[kfRead] {
						w |= r.i & EarlyClose
					}
				}
				if r.ended[kfRead] && r.ended[kfWrite] {
					w = r.i&whatPolled | hangup
				}
				due[r.tok] |= w
				may[r.tok] |= w
				over := r.ended
				for f := range over {
					none, is := oneWay[ev.ident]
					over[f] = over[f] || r.refused[f] || is && none == kfilter(f)
				}
				if over[kfRead] && over[kfWrite] {
					may[r.tok] |= r.i&whatPolled | hangup
				} else if over[kfRead] {
					may[r.tok] |= r.i & EarlyClose
				}
			}
			told := make(map[token]What)
			for _, r := range got {
				if told[r.tok] != 0 || r.what == 0 {
					t.Fatalf("%v twice, or of nothing", r)
				}
				told[r.tok] = r.what
				if r.what&^may[r.tok] != 0 {
					t.Fatalf("%v of %v; want at most %v", r, events, may[r.tok])
				}
			}
			for tok, w := range due {
				if told[tok]&hangup != 0 {
					w &^= urgent // which nobody needs to know who knows of a hangup
				}
				if w&^told[tok] != 0 {
					t.Fatalf("%v: %v was not reported", tok, w)
				}
			}
		}
		for steps := 0; len(script) > 0 && steps < 100; steps++ {
			if op := script.next() & 3; op < 3 {
				change(op)
			} else {
				wait()
			}
			// What the kernel was asked for is what is known to have been.
			for _, fd := range fds {
				var state kqueueState
				if r := p.regLocked(fd); r != nil {
					state = r.state
				}
				for f := range kfUser {
					flags, there := q.notes[[2]int{fd, int(f)}]
					if there != (state&(kqRead<<f) != 0) || there && (flags&evClear == 0) != (state&(kqReadLevel<<f) != 0) {
						t.Fatalf("filter %d of %d: %v, flags %#x; state %b", f, fd, there, flags, state)
					}
				}
				r := want[fd]
				switch {
				case r == nil && state != 0:
					t.Fatalf("%d is monitored", fd)
				case r == nil || r.refused != [2]bool{}:
				case r.i&(Read|EarlyClose) != 0 && state&(kqRead|kqReadEnded) == 0, r.i&Write != 0 && state&(kqWrite|kqWriteEnded) == 0,
					state&kqFilters == 0:
					t.Fatalf("%v of %d has state %b", r.i, fd, state)
				}
			}
		}
	})
}
