// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Loop waits for what happens to its sources and delivers it as messages. It
// must be made by New: a zero Loop panics when it is run or closed.
//
// Its messages are received in one of four ways: by ranging over All, by calling
// Poll, or from the channel that Events or Batches returns. There can be one of
// them at a time.
//
// All methods are safe for concurrent use. None of them waits for whoever
// receives the messages, so all may be called by the receiver itself.
type Loop struct {
	conf   Config        // as completed; never changes
	poller poller        // never changes
	edge   bool          // the poller tells new readiness from lasting one; never changes
	limits limits        // of its streams, if nothing else is said; never changes
	epoch  time.Time     // zero of the loop's clock; never changes
	done   chan struct{} // closed by Close
	fedc   chan struct{} // closed when the feeder of Events or Batches has ended

	// turnc holds a token while somebody makes a turn. Its holder owns the
	// following three.
	turnc          chan struct{}
	events         []ready
	tasks          []pollable
	yieldAt        uint64    // the turn after which others get the processor, see courtesy
	monitorWokenAt time.Time // when the runtime's monitor was woken, see courtesy

	bytesIn, bytesOut atomic.Uint64

	watchMu sync.Mutex // serializes what the poller is told for watches; taken before mu

	// mu guards the following. It is the innermost lock: no other is taken, no
	// system call made and no code of the user's called under it.
	mu        sync.Mutex
	withdrawn *sync.Cond // on mu: an offer was withdrawn, or those who wanted that have changed what they wanted

	own      route                   // to All, Poll, Events or Batches
	routes   map[chan<- Event]*route // to Notify's channels, those with live sources
	live     table[*source]          // in no order, all but the counted
	counted  int                     // live sources that are not in live: timers
	watched  map[sysFD]*descriptor   // those with a Watch
	regs     table[registered]       // by slot
	freed    uint32                  // the first slot to be used again, plus one; 0: none
	taken    fdSet                   // of streams, listeners and packet connections
	timers   timerQueue
	blocked  map[*Stream]*blocked // streams whose WriteTo has found its destination full
	spent    *chunk               // sent in turns: their release functions are to be called
	due      int64                // when the turn that waits for the kernel, if there is one, will end by itself
	work     []pollable           // wants its turn's task called
	seq      uint64               // of the last entry into a lane
	streams  int                  // that are not released yet
	quiet    chan struct{}        // closed when streams falls to 0; nil: nobody waits for it
	draining atomic.Bool          // Shutdown was called; to change it, mu is held
	lost     int                  // bytes of output that were lost since then

	feedersToWake []*route // feeders to wake when the lock is let go
	preempted     []*route // offers to withdraw when the lock is let go
	wakePoller    bool     // the goroutine that makes the turns has something to look at

	running   bool // somebody ranges over All, or calls Poll, or Events or Batches was called
	stepping  bool // it is Poll
	parked    bool // the turn's maker may be waiting for the kernel
	closed    bool
	hadLive   bool // there has been a live source
	left      int  // messages to deliver before the next turn
	turns     uint64
	wakeups   uint64
	messages  [kinds]uint64
	turnTime  time.Time // when the last turn began
	turnClock int64     // the same on the loop's clock
	err       error     // why the loop ended

	exit     exitTimer
	exitDue  bool // the range ends after what entered the queue up to exitMark
	exitMark uint64
	brk      bool // the range ends before the next message
	exited   bool // how the last range ended
	broke    bool

	eventsc  chan Event
	batchesc chan Batch

	signals signalHub
}

// New returns a loop that has no sources yet. Close releases it.
//
// It returns an error if conf is not valid, if no method meets it, or if the
// kernel refuses the descriptors.
func New(conf *Config) (*Loop, error) {
	c, err := conf.complete()
	if err != nil {
		return nil, err
	}
	p, err := c.open()
	if err != nil {
		return nil, err
	}
	return newLoop(c, p), nil
}

// newLoop returns a loop on p.
func newLoop(c Config, p poller) *Loop {
	l := &Loop{
		conf:    c,
		poller:  p,
		edge:    p.features()&FeatureEdge != 0,
		limits:  *(&limits{readLow: 1}).with(c.MaxInput, c.MaxOutput),
		epoch:   time.Now(),
		done:    make(chan struct{}),
		fedc:    make(chan struct{}),
		turnc:   make(chan struct{}, 1),
		routes:  make(map[chan<- Event]*route),
		watched: make(map[sysFD]*descriptor),
		left:    c.MaxBatch,
	}
	l.withdrawn = sync.NewCond(&l.mu)
	l.own = *l.newRoute(nil)
	l.exit.loop = l
	l.exit.owner = &l.exit
	return l
}

// String returns a short description of the loop for people: its method, and whether it is
// closed.
func (l *Loop) String() string {
	if l.done == nil {
		return "loop (zero)"
	}
	if l.isClosed() {
		return "loop " + l.Method() + " closed"
	}
	return "loop " + l.Method()
}

// Done returns a channel that is closed when the loop is: by Close or Shutdown, by Exit,
// Break or ExitOnEmpty with Events and Batches, or because the kernel failed. The messages
// of the loop have ended by then; Err tells whether it has failed.
func (l *Loop) Done() <-chan struct{} { return l.done }

// Method returns the name of the method that the loop uses, such as "epoll".
func (l *Loop) Method() string { return l.poller.name() }

// Features returns what the loop's method can do.
func (l *Loop) Features() Feature { return l.poller.features() }

// clock returns the time on the loop's clock, in nanoseconds.
func (l *Loop) clock() int64 { return int64(time.Since(l.epoch)) }

// mustBeMade panics if l is a zero Loop, which would wait for ever.
func (l *Loop) mustBeMade() {
	if l.done == nil {
		panic("evchan: a Loop must be made by New")
	}
}

func (l *Loop) mustNotRun() {
	l.mustBeMade()
	if l.running {
		panic("evchan: loop is already running")
	}
}

// A pollable is what the poller reports on.
type pollable interface {
	// ready is told what the poller has reported. The loop's mu is held.
	ready(what What)

	// task does the part of the source's work that is nobody else's: what
	// needs a system call and does not wait until a message is received. No
	// lock is held; never called twice at once.
	task()

	// registration returns the part that the loop keeps in the pollable.
	registration() *registration
}

// A registration is what a loop keeps in each pollable. The loop's mu guards it.
type registration struct {
	slot   uint32 // in Loop.regs
	inWork bool   // stands in Loop.work
}

// A registered is a slot of the table that leads from tokens to pollables.
type registered struct {
	who  pollable // nil: free
	gen  uint32   // counts the holders, so that late reports are told apart
	next uint32   // of a free slot: the next one, as in Loop.freed
}

// register gives p a slot and returns the token for the poller. fd is the descriptor
// that p owns; noFD: it is the user's. mu is held.
func (l *Loop) register(p pollable, fd sysFD) token {
	if l.freed == 0 {
		l.regs.push(registered{})
		l.freed = uint32(l.regs.n)
	}
	slot := l.freed - 1
	r := l.regs.at(int(slot))
	l.freed = r.next
	r.who = p
	l.taken.add(fd)
	p.registration().slot = slot
	return token{slot, r.gen}
}

// unregister undoes register: what the poller still reports is not for p. mu is
// held.
func (l *Loop) unregister(p pollable, fd sysFD) {
	slot := p.registration().slot
	if int(slot) >= l.regs.n || l.regs.at(int(slot)).who != p {
		return // was never registered
	}
	r := l.regs.at(int(slot))
	r.who = nil
	r.gen++
	r.next, l.freed = l.freed, slot+1
	l.taken.remove(fd)
}

// token returns the token of p, which is registered. mu is held.
func (l *Loop) token(p pollable) token {
	slot := p.registration().slot
	return token{slot, l.regs.at(int(slot)).gen}
}

// assign has p's task called in the next turn. mu is held.
func (l *Loop) assign(p pollable) {
	if r := p.registration(); !r.inWork && !l.closed {
		r.inWork = true
		l.work = append(l.work, p)
		l.wakePoller = true
	}
}

// turnBudget is how many bytes are sent in one turn before messages are delivered again.
// Arbitrary.
const turnBudget = 1 << 20

// runTasks calls the tasks of this turn. What the budget has no room for, or what comes
// after a task that has ended this goroutine, has its turn next. The caller holds the token.
func (l *Loop) runTasks() {
	next, sent := 0, l.bytesOut.Load()
	defer func() {
		if next < len(l.tasks) {
			l.postpone(l.tasks[next:])
		}
	}()
	for next < len(l.tasks) && l.bytesOut.Load()-sent < turnBudget {
		p := l.tasks[next]
		l.tasks[next] = nil
		next++
		p.task()
	}
}

// postpone assigns tasks, before those that were assigned during this turn. If the loop was
// closed meanwhile, it does with them what Close does with what it has found.
func (l *Loop) postpone(tasks []pollable) {
	l.lock()
	if l.closed {
		l.unlock()
		var all []abandoned
		for _, p := range tasks {
			if p, ok := p.(abandoned); ok {
				all = append(all, p)
			}
		}
		abandonAll(all)
		return
	}
	defer l.unlock()
	assigned := l.work
	l.work = nil
	for _, p := range assigned {
		p.registration().inWork = false
	}
	for _, p := range tasks {
		l.assign(p)
	}
	for _, p := range assigned {
		l.assign(p)
	}
}

// turn asks the kernel what is ready, waits for it if there is nothing to be
// delivered on this goroutine, but not longer than limit if that is not
// negative, and has all that happened put into the queue.
func (l *Loop) turn(limit time.Duration) {
	l.makeTurn(limit, true)
	l.callReleases()
}

// makeTurn makes a turn as soon as nobody else makes one.
func (l *Loop) makeTurn(limit time.Duration, delivers bool) {
	l.turnc <- struct{}{}
	defer func() { <-l.turnc }()
	l.turnHoldingToken(limit, delivers)
}

// callReleases calls the release functions of what was sent in turns. It is called without
// the token, so that a release function may call Shutdown. If one of them panics, or ends
// the goroutine, the next turn calls the others.
func (l *Loop) callReleases() {
	l.lock()
	spent := l.spent
	l.spent = nil
	l.unlock()
	if spent == nil {
		return
	}
	defer func() {
		l.releaseLater(spent)
	}()
	for spent != nil {
		c := spent
		spent = c.next
		c.next = nil
		freeChain(c)
	}
}

// releaseLater frees the chain c, whose release functions are called when the turn is
// over; at once if the loop is closed.
func (l *Loop) releaseLater(c *chunk) {
	if c == nil {
		return
	}
	last := c
	for last.next != nil {
		last = last.next
	}
	l.lock()
	if l.closed {
		l.unlock()
		freeChain(c)
		return
	}
	last.next = l.spent
	l.spent = c
	l.wakePoller = true
	l.unlock()
}

// turnHoldingToken is turn for the holder of the token. If nobody is to deliver what is in
// the queue, that is no reason not to wait.
func (l *Loop) turnHoldingToken(limit time.Duration, delivers bool) {
	l.lock()
	wait := l.wait(limit, delivers)
	l.wakePoller = false
	l.parked = wait != 0
	l.unlock()

	events, err := l.poller.wait(l.events[:0], wait)
	l.events = events
	now := time.Now()

	l.lock()
	l.parked = false
	l.turnTime = now
	l.turnClock = int64(now.Sub(l.epoch))
	l.left = l.conf.MaxBatch
	l.turns++
	if wait != 0 {
		l.wakeups++
	}
	if l.closed {
		l.unlock()
		return
	}
	for _, e := range events {
		// The slot may have another holder by now, or none.
		if int(e.tok.slot) >= l.regs.n {
			continue
		}
		if r := l.regs.at(int(e.tok.slot)); r.gen == e.tok.gen && r.who != nil {
			r.who.ready(e.what)
		}
	}
	upto := l.timers.seq()
	for t := l.timers.expire(l.turnClock, upto); t != nil; t = l.timers.expire(l.turnClock, upto) {
		t.owner.expired(l.turnClock)
	}
	if l.exitDue && l.exitMark == math.MaxUint64 {
		l.exitMark = l.seq
	}
	l.tasks, l.work = l.work, l.tasks[:0]
	for _, p := range l.tasks {
		p.registration().inWork = false
	}
	turns := l.turns
	l.unlock()

	l.runTasks()
	if err != nil {
		l.fail(err)
	}
	l.yieldToScheduler(now, turns)
}

// yieldToScheduler lets the rest of the program go on, however busy the loop is. The
// caller makes turns, and holds the token.
//
// Other goroutines that can run get the processor now and then, before the
// runtime's monitor takes it away, which is dearer; each 8th turn is arbitrary. Where
// that takes long they are many, and left to the monitor for a while (see manners).
// While no processor is idle, those that wait for the network, or for one that
// computes without end, depend on the monitor. It falls asleep, for up to a minute,
// when all is idle, and only an ordinary system call wakes it. Then it looks around
// every 20 µs for a while, so it is not woken more often than 10 times a second:
// arbitrary, but 100 times cost 3 % of a processor.
func (l *Loop) yieldToScheduler(now time.Time, turns uint64) {
	if now.Sub(l.monitorWokenAt) >= 100*time.Millisecond {
		l.monitorWokenAt = now
		wakeMonitor()
	}
	if turns >= l.yieldAt {
		began := l.clock()
		runtime.Gosched()
		l.yieldAt = turns + 8
		if l.clock()-began > slowYield {
			l.yieldAt = turns + yieldSkip
		}
	}
}

// wait returns how long the turn may wait for the kernel. mu is held.
func (l *Loop) wait(limit time.Duration, delivers bool) time.Duration {
	if len(l.work) > 0 || l.spent != nil || l.closed || l.draining.Load() && l.streams == 0 {
		return 0
	}
	if delivers && (!l.own.fed && l.own.n > 0 || !l.stepping && l.over()) {
		return 0
	}
	l.due = math.MaxInt64
	if when, ok := l.timers.next(); ok {
		l.due = when
		if d := max(0, time.Duration(when-l.clock())); limit < 0 || d < limit {
			return d
		}
	}
	return limit
}

// fail ends the loop because the kernel has failed.
func (l *Loop) fail(err error) {
	l.lock()
	if !l.closed && l.err == nil {
		l.err = fmt.Errorf("evchan: %s: %w", l.Method(), err)
	}
	l.unlock()
	l.Close()
}

// Err returns why the loop has ended, if the kernel failed. It returns nil as
// long as the loop has not ended, and after Close, Exit, Break and ExitOnEmpty.
func (l *Loop) Err() error {
	l.lock()
	defer l.unlock()
	return l.err
}

// Close ends the loop and all its sources at once: descriptors are closed and
// what is unsent or undelivered is dropped; a peer that does not get all that was
// written gets a reset. See Shutdown for the gentle way. A
// range ends, and the channel of Events or Batches is closed, before the next
// message. What streams have received stays readable.
//
// Later calls of other methods return ErrClosed, or do nothing. Close returns
// the same the second time: nil.
func (l *Loop) Close() error {
	l.mustBeMade()
	l.lock()
	if l.closed {
		l.unlock()
		return nil
	}
	l.closed = true
	l.timers.stop(&l.exit.timerNode)
	close(l.done)
	live := l.allLive()
	l.live, l.counted = table[*source]{}, 0
	for _, s := range live {
		s.index = 0
	}
	var paused []owner // not live, but with a descriptor
	for i := range l.regs.n {
		if o, ok := l.regs.at(i).who.(owner); ok && !o.alive() {
			paused = append(paused, o)
		}
	}
	clear(l.routes)
	work := l.work
	l.work = nil
	l.unlock()
	defer l.callReleases()
	var all []abandoned
	for _, s := range live {
		all = append(all, s.owner)
	}
	for _, p := range work {
		if p, ok := p.(abandoned); ok {
			all = append(all, p)
		}
	}
	for _, o := range paused {
		all = append(all, o)
	}
	defer func() {
		l.signals.stop()
		l.poller.close()
	}()
	abandonAll(all)
	return nil
}

// An abandoned is what Close ends.
type abandoned interface{ abandon() }

// abandonAll calls abandon of all, even if one of them panics or calls runtime.Goexit.
func abandonAll(all []abandoned) {
	i := 0
	defer func() {
		if i < len(all) {
			abandonAll(all[i:])
		}
	}()
	for i < len(all) {
		i++
		all[i-1].abandon()
	}
}

// Shutdown ends the loop gently: it closes all listeners, then all streams, those included
// that are made meanwhile, waits until all output is sent and the peers' systems have
// received it, and then does what Close does. It does not wait for peers that merely keep
// their end open. Listen returns ErrClosed from the beginning of Shutdown on.
//
// Shutdown returns nil if no output was lost. If ctx ends first, it closes the loop at once;
// then it returns ctx.Err() if that has lost output. Otherwise it returns an error that says
// how much was lost: a peer took nothing for Config.Linger, was gone, or Abort was called. It
// returns ErrClosed if the loop is closed already.
//
// It makes the loop's turns itself where nobody else does. So it may be called from anywhere,
// also in the body of a range and in a release function. To let requests that are under way
// finish, call Listener.Close, wait for their end, and then call Shutdown.
func (l *Loop) Shutdown(ctx context.Context) error {
	l.lock()
	if l.closed {
		l.unlock()
		return ErrClosed
	}
	l.draining.Store(true)
	l.unlock()
	for s := range l.Sources() {
		if ln, ok := s.(*Listener); ok {
			ln.Close()
		}
	}
	// Their tasks close the streams, as they close those that are made later.
	l.lock()
	for _, s := range l.allLive() {
		if s, ok := s.owner.(*Stream); ok {
			l.assign(s)
		}
	}
	l.unlock()
	stop := context.AfterFunc(ctx, func() { l.poller.wake() })
	defer stop()
	for quiet := l.whenQuiet(); quiet != nil && ctx.Err() == nil; quiet = l.whenQuiet() {
		select {
		case <-quiet:
		case <-l.done:
		case <-ctx.Done():
		case l.turnc <- struct{}{}: // nobody is making a turn
			func() {
				defer func() { <-l.turnc }()
				if ctx.Err() == nil {
					l.turnHoldingToken(-1, false)
				}
			}()
			l.callReleases()
		}
	}
	l.Close()
	l.lock()
	lost := l.lost
	l.unlock()
	switch {
	case lost == 0:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("evchan: Shutdown: %d bytes of output were lost", lost)
}

// noteLost counts output that is lost, for Shutdown. The caller holds the loop's lock.
func (l *Loop) noteLost(n int) {
	if l.draining.Load() {
		l.lost += n
	}
}

// noteLostLocking is noteLost for a caller that does not hold the lock.
func (l *Loop) noteLostLocking(n int) {
	if n > 0 {
		l.lock()
		l.noteLost(n)
		l.unlock()
	}
}

// whenQuiet returns a channel that is closed when no stream is left that has
// not been released, or nil if that is so already.
func (l *Loop) whenQuiet() <-chan struct{} {
	l.lock()
	defer l.unlock()
	if l.closed || l.streams == 0 {
		return nil
	}
	if l.quiet == nil {
		l.quiet = make(chan struct{})
	}
	return l.quiet
}

// streamReleased counts. mu is held.
func (l *Loop) streamReleased() {
	if l.streams--; l.streams == 0 && l.quiet != nil {
		close(l.quiet)
		l.quiet = nil
		l.wakePoller = true // the one who waits for the kernel may be Shutdown
	}
}

func (l *Loop) isClosed() bool {
	l.lock()
	defer l.unlock()
	return l.closed
}

// startTimer starts t for d after now, which is the real time on the loop's
// clock. mu is held.
func (l *Loop) startTimer(t *timerNode, now int64, d time.Duration) {
	l.timers.start(t, now, d)
	if t.when < l.due {
		l.wakePoller = true // the wait is too long now
	}
}

// lock takes the loop's lock. There are three ways to take it: lock, for one who has the
// loop, and source.lockLoop and source.lockAndWithdraw, for one who has a source. All
// three end with unlock.
func (l *Loop) lock() { l.mu.Lock() }

// unlock withdraws the offers that something more urgent has preempted, lets go of the
// loop's lock, and wakes what has something to do because of what was changed under it:
// feeders, and the goroutine that waits for the kernel. While it withdraws offers, it
// waits for their feeders, never for a receiver.
func (l *Loop) unlock() {
	if len(l.preempted) == 0 && len(l.feedersToWake) == 0 && !(l.wakePoller && l.parked) {
		l.mu.Unlock()
		return
	}
	for len(l.preempted) > 0 {
		r := l.preempted[len(l.preempted)-1]
		l.preempted = l.preempted[:len(l.preempted)-1]
		r.preempted = false
		l.withdraw(r)
	}
	l.unlockOffering()
}

// unlockOffering is unlock for a feeder that has an offer out. It does not wait for other
// feeders, which could wait for it: another goroutine that unlocks withdraws what was
// preempted.
func (l *Loop) unlockOffering() {
	for i, r := range l.feedersToWake {
		l.feedersToWake[i] = nil
		r.waking = false
		select {
		case r.wakec <- struct{}{}:
		default:
		}
	}
	l.feedersToWake = l.feedersToWake[:0]
	wake := l.wakePoller && l.parked
	if wake {
		l.wakePoller = false
	}
	l.mu.Unlock()
	if wake {
		l.poller.wake()
	}
}
