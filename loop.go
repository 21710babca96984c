// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"fmt"
	"math"
	"reflect"
	"runtime"
	"runtime/trace"
	"sync"
	"sync/atomic"
	"time"
)

// A Loop waits for what happens to its sources and delivers it as messages. It must be
// made by New: a zero Loop panics when it is run or closed.
//
// You receive its messages in one of four ways: range over All, call Poll, or receive from
// the channel that Events or Batches returns. Only one of them can be used at a time.
//
// All methods are safe for concurrent use. None of them waits for the receiver of the
// messages, so the receiver may call all of them.
type Loop struct {
	conf   Config        // as completed; never changes
	poller poller        // never changes
	edge   bool          // the poller has FeatureEdge; never changes
	limits limits        // of streams that have none of their own; never changes
	member int           // place in its Group; 0: none; never changes once the group is made
	epoch  time.Time     // zero of the loop's clock; never changes
	done   chan struct{} // closed by Close
	fedc   chan struct{} // closed when the feeder of Events has ended; with Batches from the start

	// turnc holds a token while a goroutine makes a turn. That goroutine owns the
	// following four.
	turnc          chan struct{}
	events         []ready    // what the poller has reported
	tasks          []pollable // those whose task this turn calls
	yieldAt        uint64     // the number of the turn that yields next: see yieldToScheduler
	monitorWokenAt time.Time  // when the runtime's monitor was woken: see yieldToScheduler

	bytesIn, bytesOut atomic.Uint64               // for Stats
	observed          atomic.Pointer[observation] // nil: nobody observes; changed only with mu held
	debug             *debugging                  // what EVCHAN_DEBUG asks for; nil: nothing; never changes
	polled            *polledMessage              // belongs to the goroutine in Poll
	watchMu           sync.Mutex                  // serializes what the poller is told about watches; taken before mu

	// mu guards the following. It is the innermost lock. While it is held, no other
	// lock is taken, no system call is made, and no code of the user is called.
	mu        sync.Mutex
	withdrawn *sync.Cond // on mu: route.offer or route.waiting of a route may have changed

	own         route                   // to the receiver of All, Poll, Events or Batches
	routes      map[chan<- Event]*route // to channels of Notify, if live sources send there
	live        table[*source]          // the live sources, in no order, without those in counted
	counted     int                     // live sources that are not in live: timers
	backgrounds int                     // live sources that are in the background
	watched     map[sysFD]*descriptor   // descriptors with a Watch
	regs        table[registered]       // by the slot of a token
	freed       uint32                  // the first slot to be used again, plus one; 0: none
	taken       fdSet                   // descriptors of streams, listeners and packet connections
	timers      timerQueue
	blocked     map[*Stream]*blocked // streams whose WriteTo has found its destination full
	enders      map[*source]struct{} // sources whose layer has to be told the end
	ends        []func()             // calls of End that wait until the turn is over
	spent       *chunk               // sent in turns; their release functions are to be called
	due         int64                // when the turn that waits for the kernel, if there is one, will end by itself
	work        []pollable           // those whose task is to be called: see assign
	seq         uint64               // number of the last entry into a lane
	streams     atomic.Int64         // streams that are not released yet
	quiet       chan struct{}        // closed when streams falls to 0; nil: nothing waits for it
	draining    atomic.Bool          // Shutdown was called; changed only with mu held
	lost        int                  // bytes of output that were lost since then

	feedersToWake []*route    // routes whose feeders unlock wakes
	preempted     []*route    // routes whose offers unlock withdraws
	acceptors     []*Listener // listeners of other loops, whose acceptOn unlock calls
	layerWork     bool        // a source with a layer has entered the loop's own queue, since serveLayers has looked
	feederWork    bool        // the same for the queue of a feeder, after Shutdown was called
	stopping      []*source   // whose layers serveStopping has to tell
	wakePoller    bool        // unlock ends the wait for the kernel, if there is one

	running     bool // All or Poll is running, or Events or Batches was called
	stepping    bool // it is Poll
	parked      bool // the goroutine that makes the turn may be waiting for the kernel
	closed      bool
	hadLive     bool // there has been a live source, for ExitOnEmpty
	left        int  // messages to deliver before the next turn
	turns       uint64
	wakeups     uint64
	messages    [kinds]uint64
	customs     map[reflect.Type]*uint64 // of messages, those of kindCustom by their type
	customType  reflect.Type             // of the last message of kindCustom
	customCount *uint64                  // in customs, of customType
	turnTime    time.Time                // when the kernel had answered in the last turn, or UpdateNow was called
	stampClock  int64                    // turnClock, while the turn queues what has happened; else 0
	turnClock   int64                    // when the kernel had answered in the last turn, on the loop's clock
	err         error                    // why the kernel has failed, if that has ended the loop

	exit     exitTimer
	exitDue  bool   // the range ends when all that entered the queue up to exitMark is received
	exitMark uint64 // a seq; MaxUint64: the turn sets it
	brk      bool   // the range ends before the next message
	exited   bool   // Exit has ended the last range
	broke    bool   // Break has

	eventsc  chan Event
	batchesc chan Batch
	batching

	signals signalHub
}

// New returns a loop that has no sources yet. Close releases it. conf may be nil.
//
// New returns an error if conf is not valid, if no method meets it (errors.Is(err,
// ErrUnsupported)), or if the kernel refuses the descriptors that the method needs.
func New(conf *Config) (*Loop, error) {
	c, err := conf.complete()
	if err != nil {
		return nil, err
	}
	d, err := c.debugFromEnv()
	if err != nil {
		return nil, err
	}
	p, err := c.open()
	if err != nil {
		return nil, err
	}
	l := newLoop(c, p)
	l.debug = d
	return l, nil
}

// newLoop returns a loop with the poller p. c is completed.
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

// String describes the loop for people to read: its method, and whether it is closed.
func (l *Loop) String() string {
	if l.done == nil {
		return "loop (zero)"
	}
	if l.isClosed() {
		return "loop " + l.Method() + " closed"
	}
	return "loop " + l.Method()
}

// Done returns a channel that is closed when the loop is closed: by Close or Shutdown, because
// the kernel has failed, which Err tells, or, with Events and Batches, by Exit, Break or
// ExitOnEmpty. The loop's messages end at the same time.
func (l *Loop) Done() <-chan struct{} { return l.done }

// Method returns the name of the method that the loop uses, such as "epoll".
func (l *Loop) Method() string { return l.poller.name() }

// Features returns what the loop's method can do.
func (l *Loop) Features() Feature { return l.poller.features() }

// clock returns the time on the loop's clock, in nanoseconds.
func (l *Loop) clock() int64 { return int64(time.Since(l.epoch)) }

// mustBeMade panics if l is a zero Loop, which would wait without end.
func (l *Loop) mustBeMade() {
	if l.done == nil {
		panic("evchan: a Loop must be made by New")
	}
}

// mustNotRun panics if the loop is running. The caller holds l.mu.
func (l *Loop) mustNotRun() {
	l.mustBeMade()
	if l.running {
		panic("evchan: loop is already running")
	}
}

// A pollable has a task, and can have a descriptor that the poller reports on.
type pollable interface {
	// ready is called with what the poller has reported. It enqueues workRead or assigns
	// the task: see queue.go. The caller holds the loop's mu.
	ready(what What)

	// task does the work that needs system calls and no receiver, such as to flush output,
	// accept connections or drive a close. A turn calls it after assign, with no lock held
	// and never twice at once.
	task()

	// registration returns what the loop keeps in the pollable.
	registration() *registration
}

// A registration is what a loop keeps in each pollable. The loop's mu guards it.
type registration struct {
	slot   uint32 // in Loop.regs
	inWork bool   // stands in Loop.work
}

// A registered is a slot of the table that leads from tokens to pollables.
type registered struct {
	who  pollable // nil: the slot is free
	gen  uint32   // counts the holders, so that reports for earlier ones are recognized
	next uint32   // of a free slot: the next free one, as in Loop.freed
}

// register gives p a slot and returns the token for the poller. fd is the descriptor if p owns
// it, else noFD. The caller holds l.mu.
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

// unregister undoes register. Reports that the poller makes later with the token are
// dropped. If p is not registered, it does nothing. The caller holds l.mu.
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

// token returns the token of p, which is registered. The caller holds l.mu.
func (l *Loop) token(p pollable) token {
	slot := p.registration().slot
	return token{slot, l.regs.at(int(slot)).gen}
}

// assign puts p into Loop.work, unless it stands there already. Each turn takes what stands
// there after it has called ready and handled the timers, and calls task of all. On a closed
// loop, assign does nothing. The caller holds l.mu.
func (l *Loop) assign(p pollable) {
	if r := p.registration(); !r.inWork && !l.closed {
		r.inWork = true
		l.work = append(l.work, p)
		l.wakePoller = true
	}
}

// turnBudget is how many bytes a turn sends before messages are delivered again. Arbitrary.
const turnBudget = 1 << 20

// runTasks calls the tasks of this turn. It leaves the rest for the next turn when turnBudget
// is used up, or when a task has panicked or ended the goroutine. The caller holds the token.
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

// postpone assigns tasks for the next turn, before those that were assigned during this turn.
// If the loop was closed meanwhile, it ends them as Close does.
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

// turn makes one turn of the loop: it asks the kernel what is ready, puts what has happened
// into the queue, and calls the tasks. If this goroutine has nothing to deliver, turn waits
// for the kernel: at most for limit, or without limit if that is negative.
func (l *Loop) turn(limit time.Duration) {
	l.turnc <- struct{}{}
	defer l.callReleases() // also if a Filter ends the goroutine
	l.makeTurn(limit, true)
	if l.draining.Load() { // otherwise feederWork is false
		l.serveLayers(false)
	}
}

// makeTurn makes a turn for a caller that holds the token, and gives the token back. See
// turnHoldingToken for delivers.
func (l *Loop) makeTurn(limit time.Duration, delivers bool) {
	defer func() { <-l.turnc }()
	l.turnHoldingToken(limit, delivers)
}

// callReleases calls the release functions of what was sent in turns, and End of the layers
// whose sources turns have ended. The caller does not hold the token, so that a release
// function may call Shutdown. If one of them panics, or ends the goroutine, the others are
// called after the next turn.
func (l *Loop) callReleases() {
	l.lock()
	spent, ends, stopping := l.spent, l.ends, l.stopping != nil
	l.spent, l.ends = nil, nil
	l.unlock()
	if stopping {
		defer l.serveStopping()
	}
	for _, call := range ends {
		defer call()
	}
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

// releaseLater has the chain c freed after the turn, or at once if the loop is closed and no
// turn is under way. That calls its release functions. The caller holds no lock of the loop
// or of a stream.
func (l *Loop) releaseLater(c *chunk) {
	if c == nil {
		return
	}
	last := c
	for last.next != nil {
		last = last.next
	}
	l.lock()
	if l.closed && len(l.turnc) == 0 {
		l.unlock()
		freeChain(c)
		return
	}
	last.next = l.spent
	l.spent = c
	l.wakePoller = true
	l.unlock()
}

// endLater has End called after the turn, or by a goroutine of its own if the loop is closed and
// no turn is under way. end is the layer of s, or nil. The caller may hold locks of streams.
func (l *Loop) endLater(end ender, s *source) {
	if end == nil {
		return
	}
	l.lock()
	defer l.unlock()
	if l.closed && len(l.turnc) == 0 {
		go callEnd(end, s)
		return
	}
	l.ends = append(l.ends, func() { callEnd(end, s) })
	l.wakePoller = true
}

// turnHoldingToken is turn for a caller that holds the token, without the release functions.
// If delivers is false, the caller delivers no messages: those in the queue do not end a wait.
func (l *Loop) turnHoldingToken(limit time.Duration, delivers bool) {
	if trace.IsEnabled() {
		l.observeTurn(limit, delivers)
	} else {
		l.takeTurn(limit, delivers)
	}
}

func (l *Loop) takeTurn(limit time.Duration, delivers bool) {
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
	l.stampClock = l.turnClock
	for _, e := range events {
		if int(e.tok.slot) >= l.regs.n { // by now, a slot may be free or have another holder
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
	l.stampClock = 0
	if l.exitDue && l.exitMark == math.MaxUint64 {
		l.exitMark = l.seq
	}
	l.tasks, l.work = l.work, l.tasks[:0]
	l.wakePoller = false // this is the turn that it asked for
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

// yieldToScheduler lets other goroutines run, however busy the loop is. The caller has made a
// turn and holds the token.
//
// It yields every eighth turn, which is arbitrary. That costs less than to wait until the
// runtime's monitor takes the processor away. If a yield takes longer than slowYield, many
// other goroutines want to run: it leaves them to the monitor for yieldSkip turns.
//
// It wakes the monitor. If no processor is idle, goroutines that wait for the network, or for
// the processor of one that computes without end, depend on the monitor. When everything is
// idle the monitor falls asleep, for up to a minute, and only an ordinary system call wakes
// it. Then it looks around every 20 µs for a while. So it is woken at most 10 times a second:
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

// wait returns how long the turn may wait for the kernel, without limit if negative: see turn
// and turnHoldingToken. It sets l.due. The caller holds l.mu.
func (l *Loop) wait(limit time.Duration, delivers bool) time.Duration {
	if len(l.work) > 0 || l.spent != nil || l.ends != nil || l.stopping != nil || l.closed || l.draining.Load() && l.streams.Load() == 0 {
		return 0
	}
	if l.feederWork || !delivers && l.layerWork {
		return 0
	}
	if delivers && (!l.own.fed && l.own.n > 0 || l.attended || !l.stepping && l.over()) {
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

// fail closes the loop because the poller has failed with err.
func (l *Loop) fail(err error) {
	l.lock()
	if !l.closed && l.err == nil {
		l.err = fmt.Errorf("evchan: %s: %w", l.Method(), err)
	}
	l.unlock()
	l.Close()
}

// Err returns the kernel's error, if that has ended the loop. It returns nil as long as the
// loop has not ended, and after Close, Exit, Break and ExitOnEmpty.
func (l *Loop) Err() error {
	l.lock()
	defer l.unlock()
	return l.err
}

// Close ends the loop and all its sources at once. Descriptors are closed. Output that is
// unsent and messages that were not received are dropped; a peer that does not get all
// that was written gets a reset. What streams have received stays readable. A range ends,
// and the channel of Events or Batches is closed, before the next message.
//
// Close returns nil, also the second time. After it, other methods return ErrClosed or do
// nothing. To close streams gracefully, call Shutdown.
func (l *Loop) Close() error {
	l.mustBeMade()
	if l.debug != nil {
		l.debug.ends(l)
	}
	l.lock()
	if l.closed {
		l.unlock()
		<-l.done
		return nil
	}
	l.closed = true
	l.timers.stop(&l.exit.timerNode)
	l.withdrawAll()
	close(l.done)
	live := l.allLive()
	l.live, l.counted, l.backgrounds = table[*source]{}, 0, 0
	for _, s := range live {
		s.index = 0
		if s.layer != nil {
			s.layer.forget()
		}
	}
	var paused []owner // sources that are not live, but have a descriptor
	for i := range l.regs.n {
		if o, ok := l.regs.at(i).who.(owner); ok && !o.alive() {
			paused = append(paused, o)
		}
	}
	clear(l.routes)
	l.resume()
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
	l.lock()
	ends := l.takeEnders()
	l.unlock()
	for s, end := range ends {
		end.End(s.owner)
	}
	return nil
}

// withdrawAll has all feeders cancel their offers. The caller holds l.mu, which is let go
// meanwhile, and the loop is closed, so that nothing is offered any more.
func (l *Loop) withdrawAll() {
	routes := []*route{&l.own}
	for _, r := range l.routes {
		routes = append(routes, r)
	}
	for _, r := range routes {
		l.withdraw(r)
	}
}

// An abandoned is ended by Loop.Close, which calls abandon.
type abandoned interface{ abandon() }

// abandonAll calls abandon of all, even if a call panics or ends the goroutine.
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

// isClosed reports whether the loop is closed. The caller does not hold l.mu.
func (l *Loop) isClosed() bool {
	l.lock()
	defer l.unlock()
	return l.closed
}

// startTimer starts t: it expires when d has passed since now, which is the real time on the
// loop's clock. The caller holds l.mu.
func (l *Loop) startTimer(t *timerNode, now int64, d time.Duration) {
	l.timers.start(t, now, d)
	if t.when < l.due {
		l.wakePoller = true // the wait in progress, if there is one, would last too long
	}
}

// lock takes the loop's lock, l.mu. There are three ways to take it: lock, for a caller that
// has the loop, and source.lockLoop and source.lockAndWithdraw, for a caller that has a
// source. All three end with unlock.
func (l *Loop) lock() { l.mu.Lock() }

// unlock lets go of the loop's lock, and then calls acceptOn of l.acceptors. Before, it withdraws the offers of l.preempted, to whose
// routes something more urgent has come: it waits for their feeders, never for a receiver. It
// also wakes the feeders of l.feedersToWake and, if l.wakePoller is set, the goroutine that
// waits for the kernel.
func (l *Loop) unlock() {
	if len(l.preempted) == 0 && len(l.feedersToWake) == 0 && len(l.acceptors) == 0 && !(l.wakePoller && (l.parked || l.standing)) {
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

// unlockOffering is unlock for a feeder that has a message on offer. It withdraws no other
// offers: if it waited for another feeder, that one could wait for it. The next unlock of
// another goroutine withdraws them.
func (l *Loop) unlockOffering() {
	for i, r := range l.feedersToWake {
		l.feedersToWake[i] = nil
		r.waking = false
		if r.batches != nil {
			l.offerBatch()
			continue
		}
		select {
		case r.wakec <- struct{}{}:
		default:
		}
	}
	l.feedersToWake = l.feedersToWake[:0]
	wake := l.wakePoller && l.parked
	if wake {
		l.wakePoller = false
	} else if l.standing && l.mustTurn() {
		l.resume()
	}
	acceptors := l.acceptors
	l.acceptors = nil
	l.mu.Unlock()
	if wake {
		l.poller.wake()
	}
	for _, ln := range acceptors {
		ln.acceptOn()
	}
}
