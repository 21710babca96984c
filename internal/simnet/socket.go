// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package simnet

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/evchan/evchan/internal/seam"
)

// A Peer is the far end of a Socket. The caller of its methods holds the Net's Mu.
type Peer interface {
	Act() (busy bool)  // does something by itself; reports whether it could do more
	Pauses() time.Time // it does nothing before then
	Lost()             // a fault has cut the connection: bytes may be lost from now on
	News()             // the socket has changed
	String() string
}

// A Socket is one end of a connection as the kernel of a loop has it. The Net's Mu guards it. The
// methods of seam.Conn are the loop's, and lock Mu; the callers of the others hold it.
type Socket struct {
	ID    int
	Plain bool // no socket: it has no half-close; set before it is watched

	In              []byte  // to be read by the loop
	Out             []byte  // to be read by the peer
	InRoom, OutRoom int     // how many bytes In and Out hold; set before it is watched
	InEnd, OutEnd   bool    // nothing follows
	Dead            bool    // there is no connection any more
	Errs            []error // all that the loop may have met with
	Closed          bool    // the loop has closed it
	WasReset        bool    // and said so
	Gone            bool    // the peer has closed its end

	net           *Net
	peer          Peer
	fd            int
	local, remote net.Addr

	// The registration.
	watched bool
	tok     seam.Token
	asked   seam.What
	left    seam.What // of a one-shot method: what is still to be reported
	mute    bool      // of a one-shot method: a hangup was reported

	flight   []byte    // on its way to In
	flying   int       // steps until it arrives
	fin      bool      // follows flight
	short    bool      // the loop waits for room in Out
	renew    seam.What // is to be reported anew
	renewing int       // after so many steps
	deadAt   time.Time // when the peer has reset
	err      error     // why, until it was told
}

var _ seam.Conn = (*Socket)(nil)

// NewSocket returns a socket that is connected to peer. The caller holds Mu.
func (n *Net) NewSocket(peer Peer, local, remote net.Addr) *Socket {
	n.made++
	s := &Socket{ID: n.made, net: n, peer: peer, fd: n.P.Open(), local: local, remote: remote, InRoom: n.room(), OutRoom: n.room()}
	n.sockets = append(n.sockets, s)
	s.sync(seam.Write)
	return s
}

func (s *Socket) String() string {
	return fmt.Sprintf("%d: in %d, end %v; out %d, end %v; dead %v, closed %v, reset %v; peer gone %v: %v",
		s.ID, len(s.In), s.InEnd, len(s.Out), s.OutEnd, s.Dead, s.Closed, s.WasReset, s.Gone, s.peer)
}

func (s *Socket) FD() int              { return s.fd }
func (s *Socket) LocalAddr() net.Addr  { return s.local }
func (s *Socket) RemoteAddr() net.Addr { return s.remote }

// ---- What the poller has of it ----

// ask sets what is to be reported.
func (s *Socket) ask(tok seam.Token, i seam.What) {
	s.watched, s.tok, s.asked, s.left, s.mute = true, tok, i, i&seam.Polled, false
}

// report returns what of w the method reports.
func (s *Socket) report(w seam.What) seam.What {
	if !s.net.OneShot {
		return w
	}
	if w&seam.Hangup != 0 {
		if s.mute {
			return 0
		}
		s.mute = true
		s.left = 0
		return s.asked&seam.Polled | seam.Hangup
	}
	w &= s.left
	s.left &^= w
	return w
}

// sync tells the poller what the socket is ready for, and that there is news of what is in w.
func (s *Socket) sync(w seam.What) {
	if s.Closed {
		return
	}
	var now seam.What
	if len(s.In) > 0 || s.InEnd || s.Dead {
		now |= seam.Read
	}
	if len(s.Out) < s.OutRoom || s.Dead || s.Gone {
		now |= seam.Write
	}
	if s.InEnd || s.Dead {
		now |= seam.EarlyClose
	}
	if s.Dead || s.InEnd && s.OutEnd && !HangupIsReset {
		now |= seam.Hangup // on Windows that is a reset and nothing else
	}
	all := seam.Polled | seam.Hangup
	s.net.P.Lower(s.fd, all&^now)
	s.net.P.Raise(s.fd, now&w)
}

// later has w reported anew after a while.
func (s *Socket) later(w seam.What) {
	s.renew |= w
	s.renewing = 1 + s.net.R.IntN(4)
	s.net.P.Stir()
}

// arrive lets what is on its way arrive. It reports whether more is.
func (s *Socket) arrive() (busy bool) {
	if s.renew != 0 {
		if s.renewing--; s.renewing <= 0 {
			s.sync(s.renew)
			s.renew = 0
		}
		busy = true
	}
	if len(s.flight) == 0 && !s.fin {
		return busy
	}
	if s.flying--; s.flying > 0 {
		return true
	}
	if len(s.flight) > 0 {
		s.In = append(s.In, s.flight...)
		s.flight = nil
		s.sync(seam.Read)
	}
	if s.fin {
		s.fin = false
		s.InEnd = true
		w := seam.Read | seam.EarlyClose
		if s.OutEnd {
			w |= seam.Hangup
		}
		if s.Gone {
			w |= seam.Write
		}
		s.sync(w)
	}
	s.net.Progress()
	return true
}

// die ends the connection with err. What has arrived stays readable if keep is true.
func (s *Socket) die(err error, keep bool) {
	s.peer.Lost()
	s.err = err
	s.Errs = append(s.Errs, err)
	s.Dead = true
	s.flight, s.fin = nil, false
	if !keep {
		s.In = nil
	}
	s.peer.News()
}

// ---- What the loop does ----

var lostErrors = []error{syscall.ETIMEDOUT, syscall.EIO, syscall.EHOSTUNREACH}

func (s *Socket) Read(p []byte) (n int, full bool, err error) {
	f := s.net
	f.Mu.Lock()
	defer f.Mu.Unlock()
	if s.Closed {
		f.Fail("the stream %d reads after it was closed", s.ID)
		return 0, false, syscall.EBADF
	}
	if !s.Dead && (len(s.In) > 0 || s.InEnd) {
		if f.hit(ReadAgain) {
			s.later(seam.Read)
			return 0, false, syscall.EAGAIN
		}
		if f.hit(ReadError) {
			s.die(lostErrors[f.R.IntN(3)], false)
			s.later(seam.Polled | seam.Hangup)
		}
	}
	if len(s.In) > 0 {
		size := min(len(p), []int{64, 1 << 10, 64 << 10}[f.R.IntN(3)]) // as if there were that much room
		n = min(len(s.In), size)
		full = n == size || s.Plain
		if !s.Dead && n > 1 && f.hit(ShortRead) {
			n = 1 + f.R.IntN(n-1)
			if full = s.Plain; !full {
				s.later(seam.Read)
			}
		} else if !full && f.hit(ExactRead) {
			full = true
		}
		copy(p, s.In[:n])
		s.In = s.In[n:]
		s.sync(0)
		s.peer.News()
		f.Progress()
		f.Note("%d: read %d, full %v, %d left", s.ID, n, full, len(s.In))
		return n, full, nil
	}
	if err := s.err; err != nil {
		s.err = nil
		f.Note("%d: read %v", s.ID, err)
		return 0, false, err
	}
	if s.InEnd || s.Dead {
		f.Note("%d: read the end", s.ID)
		return 0, false, nil
	}
	return 0, false, syscall.EAGAIN
}

func (s *Socket) Write(p []byte) (int, error) {
	f := s.net
	f.Mu.Lock()
	defer f.Mu.Unlock()
	switch {
	case s.Closed:
		f.Fail("the stream %d writes after it was closed", s.ID)
		return 0, syscall.EBADF
	case s.OutEnd:
		f.Fail("the stream %d writes after the end", s.ID)
	}
	if err := s.err; err != nil {
		s.err = nil
		return 0, err
	}
	if s.Dead || s.Gone && f.R.IntN(2) == 0 {
		f.Counts[Pipe]++
		s.Errs = append(s.Errs, syscall.EPIPE)
		s.Dead = true
		s.flight, s.fin = nil, false
		return 0, syscall.EPIPE
	}
	if f.hit(WriteError) {
		s.die(lostErrors[f.R.IntN(3)], true)
	} else if f.hit(NoBufs) {
		s.die(syscall.ENOBUFS, true)
	}
	if err := s.err; err != nil {
		s.err = nil
		s.sync(0)
		s.later(seam.Polled | seam.Hangup)
		return 0, err
	}
	if f.hit(WriteAgain) {
		s.short = true
		s.later(seam.Write)
		return 0, syscall.EAGAIN
	}
	n := min(len(p), s.OutRoom-len(s.Out))
	if n > 1 && f.hit(ShortWrite) {
		n = 1 + f.R.IntN(n-1)
		s.later(seam.Write)
	}
	if n < len(p) {
		s.short = true
	}
	if n <= 0 {
		return 0, syscall.EAGAIN
	}
	s.Out = append(s.Out, p[:n]...)
	f.P.Stir()
	if s.Gone { // nobody is there to take it, and the loop will hear so
		s.Out = nil
		s.Dead = true
		s.flight, s.fin = nil, false
		s.deadAt = time.Now()
		s.err = syscall.ECONNRESET
		s.Errs = append(s.Errs, s.err)
		f.Counts[Reset]++
		s.later(seam.Polled | seam.Hangup)
	}
	s.sync(0)
	s.peer.News()
	f.Progress()
	f.Note("%d: wrote %d of %d", s.ID, n, len(p))
	return n, nil
}

func (s *Socket) CloseWrite() error {
	f := s.net
	f.Mu.Lock()
	defer f.Mu.Unlock()
	if s.Plain {
		return nil
	}
	if s.OutEnd || s.Closed {
		f.Fail("the stream %d ends its output again", s.ID)
	}
	if (s.Dead || s.Gone) && f.hit(Shutdown) {
		return syscall.ENOTCONN
	}
	f.Note("%d: shut down", s.ID)
	s.OutEnd = true
	s.peer.News()
	f.Progress()
	if s.InEnd {
		s.sync(seam.Hangup)
	}
	f.P.Stir()
	return nil
}

func (s *Socket) Failure() error {
	s.net.Mu.Lock()
	defer s.net.Mu.Unlock()
	err := s.err
	s.err = nil
	return err
}

func (s *Socket) HalfCloses() bool { return !s.Plain }

func (s *Socket) Close(reset bool) {
	f := s.net
	f.Mu.Lock()
	defer f.Mu.Unlock()
	f.Note("%d: closed, reset %v, %d unread", s.ID, reset, len(s.In))
	if s.Closed {
		f.Fail("the stream %d was closed twice", s.ID)
	}
	if s.watched {
		f.Fail("the stream %d was closed while it was watched", s.ID)
	}
	s.Closed = true
	if !s.Plain {
		s.WasReset = reset || len(s.In) > 0 // as a kernel does
	}
	s.OutEnd = true
	if s.WasReset {
		s.Out = nil
	}
	s.peer.News()
	f.Progress()
	f.P.Shut(s.fd)
	f.P.Stir()
}

// ---- What the peer does ----

// Receive takes n bytes, of those in Out.
func (s *Socket) Receive(n int) []byte {
	p := s.Out[:n]
	s.Out = s.Out[n:]
	if s.short && (len(s.Out) == 0 || s.net.R.IntN(2) == 0) {
		s.short = false
		s.sync(seam.Write)
	} else if s.short {
		s.later(seam.Write)
	}
	s.net.Progress()
	return p
}

// Room returns how many bytes Send takes.
func (s *Socket) Room() int { return s.InRoom - len(s.In) - len(s.flight) }

// Send sends p, which must not be more than Room.
func (s *Socket) Send(p []byte) {
	if len(s.flight) > 0 || s.net.hit(Flight) {
		if len(s.flight) == 0 {
			s.flying = 1 + s.net.R.IntN(6)
		}
		s.flight = append(s.flight, p...)
		s.net.P.Stir()
	} else {
		s.In = append(s.In, p...)
		s.sync(seam.Read)
	}
	s.net.Progress()
}

// Finish sends the end.
func (s *Socket) Finish() {
	s.fin = true
	if len(s.flight) == 0 {
		s.flying = 0
	}
	s.net.Progress()
	s.net.P.Stir()
}

// Leave closes the peer's end, after Finish.
func (s *Socket) Leave() {
	s.Gone = true
	s.Out = nil
	s.sync(seam.Write)
	s.net.Progress()
}

// Reset closes the peer's end with a reset. What has arrived stays readable if keep is true.
func (s *Socket) Reset(keep bool) {
	s.net.Counts[Reset]++
	s.die(syscall.ECONNRESET, keep)
	s.Out = nil
	s.deadAt = time.Now()
	s.Gone = true
	s.sync(seam.Polled | seam.Hangup)
	s.net.Progress()
}

// Arrive has p and, if end is true, the end arrive at once.
func (s *Socket) Arrive(p string, end bool) {
	s.In = append(s.In, p...)
	s.InEnd = end
	w := seam.Read
	if end {
		w |= seam.EarlyClose
	}
	s.sync(w)
}
