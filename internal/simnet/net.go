// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix || windows

package simnet

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/evchan/evchan/internal/seam"
)

// A Net is the kernel of one loop, and the network that the loop is on.
type Net struct {
	P       *Poller                          // never changes
	OneShot bool                             // as a method that reports a condition once, until it is asked anew; set before the loop is made
	Note    func(format string, args ...any) // is told what happens, step by step; set before the loop is made
	Streams func(io.Writer) error            // writes what the streams are, for a failure; nil: nothing; set before the loop runs

	Mu      sync.Mutex // guards the following; taken after the streams', before the poller's
	R       *rand.Rand
	Rates   Rates
	Counts  Count
	Budget  int // reports without a reason still to come: they must end, or the loop would never rest
	Waits   int
	Failure string // what was wrong first
	Dump    string // what there was then
	Over    bool   // the loop has ended: peers do not pause

	method    string // "": Method was not called
	manual    bool   // goroutines of the test take part: not all peers act by themselves
	sockets   []*Socket
	made      int // sockets so far
	late      []lateReport
	stale     []seam.Token
	got       []seam.Ready // of the poller
	turns     int          // waits since something has moved
	moved     time.Time    // when that was
	listeners map[string]*loopListener
	servers   map[string]*Listener
	ports     int // chosen so far
}

// A lateReport is a report that comes later.
type lateReport struct {
	seam.Ready
	steps int // waits until then
}

// spin is how many waits may pass without anything moving: more than there are reports without
// a reason. Arbitrary. If other goroutines than the loop's take part, a hundred times as many: a
// loop may make turns while it waits for one of them, which has yet to get a processor.
const spin = 1000

// HangupIsReset says that the system's hangup is a reset and nothing else.
const HangupIsReset = runtime.GOOS == "windows"

// errFailed ends the loop after a failure.
var errFailed = fmt.Errorf("simnet: it has failed")

// New returns a network whose faults seed and rates decide.
func New(seed uint64, rates Rates) *Net {
	return &Net{
		P:         NewPoller(),
		OneShot:   seed%2 == 0,
		Note:      func(string, ...any) {},
		R:         rand.New(rand.NewPCG(seed, 2)),
		Rates:     rates,
		Budget:    200,
		moved:     time.Now(),
		listeners: make(map[string]*loopListener),
		servers:   make(map[string]*Listener),
	}
}

// nets has the networks whose Method was called, until their loops are closed.
var nets struct {
	mu    sync.Mutex // guards the following
	names map[string]*Net
	last  int
}

func init() { seam.Open = openMethod } // so that importing the package is enough

func openMethod(method string, hook any) any {
	nets.mu.Lock()
	n := nets.names[method]
	nets.mu.Unlock()
	if n == nil {
		return nil
	}
	return hook.(seam.Poller).NewPoller(kernel{n})
}

// Method returns a name for evchan.Config.Method. The one loop that is made with it has n as
// its kernel.
func (n *Net) Method() string {
	nets.mu.Lock()
	defer nets.mu.Unlock()
	if n.method == "" {
		nets.last++
		n.method = fmt.Sprintf("simnet %d", nets.last)
		if nets.names == nil {
			nets.names = make(map[string]*Net)
		}
		nets.names[n.method] = n
	}
	return n.method
}

// Fail takes note of what is wrong; the first counts. The loop ends then. The caller holds Mu.
func (n *Net) Fail(format string, args ...any) {
	if n.Failure == "" {
		n.Failure = fmt.Sprintf(format, args...)
		n.Note("FAILED: %s", n.Failure)
	}
}

// Describe returns what there is, for people. The caller does not hold Mu.
func (n *Net) Describe() string {
	var b strings.Builder
	if n.Streams != nil {
		n.Streams(&b)
	}
	n.Mu.Lock()
	defer n.Mu.Unlock()
	for _, s := range n.sockets {
		fmt.Fprintf(&b, "%v\n", s)
	}
	return b.String()
}

// Err returns what was wrong with what the loop did, or nil: it spins, waits for what has
// happened, or uses a socket after its end.
func (n *Net) Err() error {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	if n.Failure == "" {
		return nil
	}
	return fmt.Errorf("simnet: %s\n%s", n.Failure, n.Dump)
}

// hit decides whether a fault is due, and counts it. The caller holds Mu.
func (n *Net) hit(k Fault) bool {
	if n.Rates[k] == 0 || n.R.Float64() >= n.Rates[k] {
		return false
	}
	n.Counts[k]++
	return true
}

// idle is hit for a report without a reason.
func (n *Net) idle(k Fault) bool {
	if n.Budget == 0 || !n.hit(k) {
		return false
	}
	n.Budget--
	return true
}

// Progress takes note that something has moved. The caller holds Mu.
func (n *Net) Progress() { n.turns = 0 }

// room returns how many bytes are held on the way: few seldom, for that takes long. The caller
// holds Mu.
func (n *Net) room() int {
	if n.R.IntN(20) == 0 {
		return 1 + n.R.IntN(8)
	}
	return 64 << n.R.IntN(8)
}

// find returns the socket that tok is the registration of. The caller holds Mu.
func (n *Net) find(tok seam.Token) *Socket {
	for _, s := range n.sockets {
		if s.watched && s.tok == tok {
			return s
		}
	}
	return nil
}

func (n *Net) socket(fd int) *Socket {
	for _, s := range n.sockets {
		if s.fd == fd && !s.Closed {
			return s
		}
	}
	return nil
}

// ---- The poller ----

func (n *Net) Edge() bool { return !n.OneShot }

func (n *Net) Add(fd int, tok seam.Token, i seam.What) error {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	if n.listening(fd) != nil {
		return n.P.Add(fd, tok, i)
	}
	s := n.socket(fd)
	if s == nil {
		n.Fail("add of the unknown descriptor %d", fd)
		return ErrUnknown
	}
	if n.hit(RefusedAdd) {
		s.peer.Lost()
		return syscall.ENOMEM
	}
	s.ask(tok, i)
	return n.P.Add(fd, tok, i)
}

func (n *Net) Arm(fd int, tok seam.Token, i seam.What) error {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	if n.listening(fd) != nil {
		return n.P.Arm(fd, tok, i)
	}
	s := n.socket(fd)
	if s == nil || !s.watched {
		n.Fail("arm of the descriptor %d, which is not watched", fd)
		return ErrUnknown
	}
	s.ask(tok, i)
	return n.P.Arm(fd, tok, i)
}

func (n *Net) Remove(fd int) error {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	if s := n.socket(fd); s != nil && s.watched {
		s.watched = false
		n.stale = append(n.stale, s.tok)
	}
	return n.P.Remove(fd)
}

func (n *Net) Wake() error { return n.P.Wake() }

func (n *Net) Close() error {
	nets.mu.Lock()
	delete(nets.names, n.method)
	nets.mu.Unlock()
	return n.P.Close()
}

func (n *Net) Wait(dst []seam.Ready, d time.Duration) ([]seam.Ready, error) {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	n.Waits++
	if now := time.Now(); now != n.moved {
		n.moved = now
		n.Progress()
	}
	if n.turns++; n.turns > spin && (n.turns > 100*spin || !n.manual) {
		n.Fail("the loop spins: %d waits, and nothing has moved", n.turns)
	}
	for tries := 0; ; tries++ {
		if tries > 100000 {
			n.Fail("BUG of the test: the peers do not come to rest")
		}
		if n.Failure != "" {
			if n.Dump == "" {
				n.Mu.Unlock()
				dump := n.Describe()
				n.Mu.Lock()
				n.Dump = dump
			}
			return dst, errFailed
		}
		busy, next := n.Step()
		had := len(dst)
		var err error
		if dst, err = n.collect(dst); err != nil || len(dst) > had || d == 0 {
			if len(dst) > had {
				n.Note("reported: %v", dst[had:])
			}
			return dst, err
		}
		select {
		case <-n.P.Wakec:
			if n.idle(TwoWakes) {
				n.P.Wake()
			}
			return dst, nil
		default:
		}
		if n.idle(Early) {
			return dst, nil
		}
		now := time.Now()
		nap := next.Sub(now)
		if busy || len(n.late) > 0 { // collect may have put one there
			if n.R.IntN(16) > 0 {
				continue
			}
			nap = time.Duration(1+n.R.IntN(2000)) * time.Microsecond
		} else if next.IsZero() {
			nap = -1
			if !n.manual {
				nap = 2 * time.Hour
			}
		}
		if d > 0 && (nap < 0 || d < nap) {
			nap = d
		}
		woken, err := n.sleep(nap)
		if err != nil || woken {
			return dst, err
		}
		passed := time.Since(now)
		if d > 0 {
			if d -= passed; d <= 0 {
				return dst, nil
			}
		} else if passed >= time.Hour && !n.manual {
			n.Fail("the loop waits for ever")
		}
	}
}

// sleep waits for a while, without limit if d < 0, or until something has changed. It reports
// whether it was woken. The caller holds Mu, which is unlocked meanwhile.
func (n *Net) sleep(d time.Duration) (woken bool, err error) {
	n.Mu.Unlock()
	defer n.Mu.Lock()
	var late <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-n.P.Changec:
	case <-late:
	case <-n.P.Wakec:
		woken = true
	case <-n.P.Donec:
		return false, os.ErrClosed
	}
	return woken, nil
}

// collect appends what is to be reported. The caller holds Mu.
func (n *Net) collect(dst []seam.Ready) ([]seam.Ready, error) {
	for i := 0; i < len(n.late); i++ {
		if n.late[i].steps--; n.late[i].steps <= 0 {
			dst = append(dst, n.late[i].Ready)
			n.late = slices.Delete(n.late, i, i+1)
			i--
		}
	}
	var err error
	if n.got, err = n.P.Collect(n.got[:0]); err != nil {
		return dst, err
	}
	slices.SortFunc(n.got, func(a, b seam.Ready) int { return int(a.Tok.Slot) - int(b.Tok.Slot) }) // they come from a map
	for _, e := range n.got {
		if s := n.find(e.Tok); s != nil { // else it is a listener's
			if e.What = s.report(e.What); e.What == 0 {
				continue
			}
		}
		if n.hit(Late) {
			n.late = append(n.late, lateReport{e, 1 + n.R.IntN(5)})
			continue
		}
		dst = append(dst, e)
		if n.hit(Doubled) {
			dst = append(dst, e)
		}
	}
	for _, s := range n.sockets {
		if !s.watched {
			continue
		}
		if n.idle(Spurious) {
			if w := s.report(seam.What(n.R.IntN(8)) & seam.Polled); w != 0 {
				dst = append(dst, seam.Ready{Tok: s.tok, What: w})
			}
		}
		if !HangupIsReset && n.idle(HangupOnly) {
			dst = append(dst, seam.Ready{Tok: s.tok, What: s.asked&seam.Polled | seam.Hangup})
		}
	}
	if k := len(n.stale); k > 0 && n.idle(Stale) {
		what := []seam.What{seam.Read, seam.Write, seam.Polled | seam.Hangup}
		dst = append(dst, seam.Ready{Tok: n.stale[n.R.IntN(k)], What: what[n.R.IntN(3)]})
	}
	return dst, nil
}

// Step lets the peers do something, and what is on its way arrive. It reports whether more will
// happen by itself, and when a peer that pauses goes on; zero: none does. The caller holds Mu.
func (n *Net) Step() (busy bool, next time.Time) {
	now := time.Now()
	for _, s := range n.sockets {
		busy = s.arrive() || busy
		if until := s.peer.Pauses(); now.Before(until) && !n.Over {
			if next.IsZero() || until.Before(next) {
				next = until
			}
			continue
		}
		busy = s.peer.Act() || busy
		if !s.Closed && s.Dead && !s.deadAt.IsZero() && now.Sub(s.deadAt) > 10*time.Second {
			n.Fail("the stream %d was reset %v ago, and has not noticed", s.ID, now.Sub(s.deadAt))
		}
	}
	n.sockets = slices.DeleteFunc(n.sockets, func(s *Socket) bool { return s.Closed && s.Gone })
	return busy || len(n.late) > 0, next
}
