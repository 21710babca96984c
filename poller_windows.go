// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// kernelMethods returns the methods that ask this system's kernel, best first.
func kernelMethods() []method {
	return []method{{"afd", afdFeatures, openAFD}}
}

// Without FeatureEarlyClose: EarlyClose is reported, but on Wine only after the input
// was read. Whether Windows does better is not known.
const afdFeatures = FeatureO1

// afdGroupSize is how many sockets share a helper handle. The driver's work for one poll
// grows with the number of polls in flight on its handle; others have found 32 to be
// good.
const afdGroupSize = 32

// afdResults is how many results one wait takes. The number is arbitrary, but must not
// be large: sockets that have reported are not polled until the next wait, and Wine's
// server becomes very slow when it polls a thousand sockets that have unread input.
const afdResults = 256

// System calls that golang.org/x/sys/windows lacks.
var (
	modntdll    = windows.NewLazySystemDLL("ntdll.dll")
	modkernel32 = windows.NewLazySystemDLL("kernel32.dll")

	procNtDeviceIoControlFile       = modntdll.NewProc("NtDeviceIoControlFile")
	procNtCancelIoFileEx            = modntdll.NewProc("NtCancelIoFileEx")
	procGetQueuedCompletionStatusEx = modkernel32.NewProc("GetQueuedCompletionStatusEx")
)

// The request code and the conditions of a poll by AFD, the driver of all sockets.
// Microsoft does not document them, but they have been the same since Windows 2000, and
// select itself uses them.
const (
	ioctlAFDPoll = 0x00012024

	afdReceive     = 0x0001 // there is something to read
	afdSend        = 0x0004 // there is room to write
	afdDisconnect  = 0x0008 // the peer has finished sending
	afdAbort       = 0x0010 // the connection was reset
	afdLocalClose  = 0x0020 // the socket was closed here
	afdAccept      = 0x0080 // a connection waits to be accepted
	afdConnectFail = 0x0100 // a connection attempt has failed

	afdHangup = afdAbort | afdLocalClose | afdConnectFail
)

// An afdPollInfo is a request to AFD and, in the same memory, its answer.
type afdPollInfo struct {
	timeout   int64 // in 100 ns; math.MaxInt64: none
	count     uint32
	exclusive uint32 // not 0: ends other polls of the socket
	handle    uintptr
	events    uint32
	status    uint32
}

// afdPollInfoSize is the size of the structure in C, where on 386 four bytes of padding
// follow.
const afdPollInfoSize = (unsafe.Sizeof(afdPollInfo{}) + 7) &^ 7

// An afdPoller is the poller over AFD, the driver of all sockets.
//
// A poll is an asynchronous request to AFD about one socket, made through a helper
// handle of our own. When one of its conditions holds, it completes once, on our
// completion port. The socket itself may belong to any other port, or to none.
//
// So after each result the poll has to be made again. The next wait does that, since
// more conditions may be asked for until then. If a wait is in progress, the poll is
// made at once.
type afdPoller struct {
	port windows.Handle // open until closed and not waiting

	// woken is set by wake and cleared by the wait that consumes it. It is set if and
	// only if a packet is in the port, is about to be posted, or was seen.
	woken atomic.Bool

	mu      sync.Mutex // guards following
	socks   map[sysFD]*afdSock
	changed []*afdSock  // may have to be polled again; each stands here once
	groups  []*afdGroup // full ones first
	full    int         // number of full groups
	flying  *afdOp      // list of the polls in flight
	idle    *afdOp      // list of ops to use again
	waiting bool        // a wait is between its submissions and its results
	closed  bool

	// The goroutine in wait owns the rest.
	results [afdResults]afdResult
	seen    bool // a wait that did not block has taken a wake from the port
}

// An afdSock is a registration.
type afdSock struct {
	fd    sysFD
	base  uintptr // the handle that AFD knows it by
	group *afdGroup
	op    *afdOp // in flight; nil: none

	tok    token
	i      What // what was asked for, with Edge
	left   What // the conditions of i that are still to be reported
	mute   bool // not polled until it is added or armed again
	queued bool // stands in changed
}

// An afdGroup is a helper handle.
type afdGroup struct {
	handle windows.Handle
	at     int // in groups
	n      int // number of sockets that use it or still have a poll in flight on it
}

// An afdOp is one poll. The kernel writes to iosb and info until the poll has completed,
// also if it was cancelled. Until then the op is pinned and stands in flying.
type afdOp struct {
	iosb   windows.IO_STATUS_BLOCK
	info   afdPollInfo
	_      uint32 // see afdPollInfoSize
	pin    runtime.Pinner
	asked  uint32    // conditions
	sock   *afdSock  // nil: the result is to be ignored
	leaves *afdGroup // the group that its socket leaves when it has completed; nil: none

	next, prev *afdOp // in flying; next also in idle
}

// An afdResult is an OVERLAPPED_ENTRY.
type afdResult struct {
	key      uintptr
	op       *afdOp // the context of the request; nil: a wake
	internal uintptr
	bytes    uint32
}

func openAFD() (poller, error) {
	port, err := windows.CreateIoCompletionPort(windows.InvalidHandle, 0, 0, 1)
	if err != nil {
		return nil, os.NewSyscallError("CreateIoCompletionPort", err)
	}
	p := &afdPoller{
		port:  port,
		socks: make(map[sysFD]*afdSock),
	}
	if err := p.openGroup(); err != nil { // fails if there is no such driver
		windows.CloseHandle(port)
		return nil, err
	}
	afdPollers.Store(p, nil)
	return p, nil
}

func (p *afdPoller) name() string      { return "afd" }
func (p *afdPoller) features() Feature { return afdFeatures }

func (p *afdPoller) add(fd sysFD, tok token, i What) error {
	base, err := baseHandle(fd)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	if s := p.socks[fd]; s != nil {
		p.dropLocked(s)
	}
	g, err := p.joinLocked()
	if err != nil {
		return err
	}
	s := &afdSock{fd: fd, base: base, group: g, tok: tok, i: i, left: i & whatPolled}
	p.socks[fd] = s
	return p.changeLocked(s)
}

func (p *afdPoller) arm(fd sysFD, tok token, i What) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	s := p.socks[fd]
	if s == nil {
		return syscall.ENOENT
	}
	s.tok, s.i, s.left, s.mute = tok, i, i&whatPolled, false
	return p.changeLocked(s)
}

// remove does not wait for the poll in flight. The poll has a reference to the socket
// of its own, but closing the socket closes the connection all the same.
func (p *afdPoller) remove(fd sysFD) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	s := p.socks[fd]
	if s == nil {
		return syscall.ENOENT
	}
	p.dropLocked(s)
	return nil
}

func (p *afdPoller) removeIf(fd sysFD, tok token) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	s := p.socks[fd]
	if s == nil || s.tok != tok {
		return syscall.ENOENT
	}
	p.dropLocked(s)
	return nil
}

// dropLocked ends a registration.
func (p *afdPoller) dropLocked(s *afdSock) {
	delete(p.socks, s.fd)
	s.mute = true // since it may stand in changed
	if s.op == nil {
		p.leaveLocked(s.group)
		return
	}
	s.op.leaves = s.group
	p.cancelLocked(s)
}

// changeLocked makes sure that s is polled for all that is asked of it: by the next
// wait, or at once if a wait is in progress.
func (p *afdPoller) changeLocked(s *afdSock) error {
	if !s.queued {
		s.queued = true
		p.changed = append(p.changed, s)
	}
	if p.waiting {
		return p.submitLocked()
	}
	return nil
}

func (p *afdPoller) wait(dst []ready, d time.Duration) ([]ready, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return dst, os.ErrClosed
	}
	if err := p.submitLocked(); err != nil {
		p.mu.Unlock()
		return dst, err
	}
	woken := d != 0 && p.seen
	if woken {
		d = 0
	}
	p.waiting = true
	p.mu.Unlock()

	n, err := dequeueResults(p.port, p.results[:], d)

	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	for k := range p.results[:n] {
		r := &p.results[k]
		if r.op == nil {
			p.seen = true
			woken = woken || d != 0
		} else if rep, ok := p.completeLocked(r.op); ok && !p.closed {
			dst = append(dst, rep)
		}
		r.op = nil
	}
	if p.closed {
		p.shutLocked()
		return dst, os.ErrClosed
	}
	if woken {
		// The packet was taken before the flag is cleared. A wake between the two does
		// nothing, which is right because this wait is about to return.
		p.seen = false
		p.woken.Store(false)
	}
	return dst, err
}

// submitLocked makes the polls that the sockets in changed need.
func (p *afdPoller) submitLocked() (err error) {
	for k, s := range p.changed {
		p.changed[k] = nil
		s.queued = false
		if s.mute {
			continue
		}
		asked := afdEvents(s.left)
		if s.op != nil {
			if asked&^s.op.asked == 0 {
				continue // the poll in flight covers it
			}
			p.cancelLocked(s)
		}
		if e := p.pollLocked(s, asked); e != nil {
			err = e
		}
	}
	p.changed = p.changed[:0]
	return err
}

// pollLocked makes one poll.
func (p *afdPoller) pollLocked(s *afdSock, asked uint32) error {
	op := p.idle
	if op != nil {
		p.idle = op.next
	} else {
		op = new(afdOp)
	}
	op.info = afdPollInfo{timeout: math.MaxInt64, count: 1, handle: s.base, events: asked}
	op.iosb = windows.IO_STATUS_BLOCK{Status: windows.STATUS_PENDING}
	op.asked = asked
	op.sock, s.op = s, op
	op.pin.Pin(op)
	op.prev, op.next = nil, p.flying
	if op.next != nil {
		op.next.prev = op
	}
	p.flying = op

	switch status := op.submit(s.group.handle); status {
	case windows.STATUS_SUCCESS, windows.STATUS_PENDING:
		return nil // the port gets a packet in either case
	default:
		// Post the failure as a result.
		op.iosb.Status = status
		return windows.PostQueuedCompletionStatus(p.port, 0, 0, (*windows.Overlapped)(unsafe.Pointer(op)))
	}
}

// cancelLocked ends the poll of s that is in flight. Its result is ignored, whether it was
// cancelled in time or not.
func (p *afdPoller) cancelLocked(s *afdSock) {
	op := s.op
	op.sock, s.op = nil, nil
	op.cancel(s.group.handle) // fails if it has completed
}

// completeLocked takes back an op that has completed, and makes a report of its result.
// It returns false if the registration has ended meanwhile, or the conditions are not
// asked for any more.
func (p *afdPoller) completeLocked(op *afdOp) (r ready, ok bool) {
	status, count, events := op.iosb.Status, op.info.count, op.info.events
	s := op.sock
	p.landLocked(op)
	if s == nil {
		return r, false
	}
	s.op = nil
	// Poll it again, whatever the result is. The next wait does that: this one is not
	// in progress any more.
	if !s.queued {
		s.queued = true
		p.changed = append(p.changed, s)
	}
	w := s.left
	switch status {
	case windows.STATUS_SUCCESS:
		if count == 0 {
			return r, false // ended by an exclusive poll of someone else's
		}
		w &= afdWhat(events)
	case windows.STATUS_CANCELLED:
		return r, false // not by us: the thread that made the poll has ended
	case windows.STATUS_INVALID_HANDLE, windows.STATUS_OBJECT_TYPE_MISMATCH:
		events = afdLocalClose
	default:
		events = 0 // short of memory, perhaps: report it as ready, and its user finds out
	}
	if events&afdHangup != 0 {
		w = s.i&whatPolled | hangup
	}
	if w == 0 {
		return r, false
	}
	if s.i&Edge != 0 {
		s.left &^= w
	}
	// AFD reports a hangup with every poll. That is right for level-triggered
	// conditions only, and never for a socket that was closed while it was watched.
	if w&hangup != 0 && (s.i&Edge != 0 || s.i&whatPolled == 0) || events&afdLocalClose != 0 {
		s.mute = true
	}
	return ready{s.tok, w}, true
}

// landLocked puts op, which has completed, into the list of idle ones.
func (p *afdPoller) landLocked(op *afdOp) {
	op.pin.Unpin()
	if op.prev != nil {
		op.prev.next = op.next
	} else {
		p.flying = op.next
	}
	if op.next != nil {
		op.next.prev = op.prev
	}
	if op.leaves != nil {
		p.leaveLocked(op.leaves)
	}
	op.sock, op.leaves, op.prev = nil, nil, nil
	op.next = p.idle
	p.idle = op
}

// wake posts a packet.
func (p *afdPoller) wake() error {
	if p.woken.Load() {
		return nil // another wake is in progress
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	if !p.woken.CompareAndSwap(false, true) {
		return nil // another wake is in progress
	}
	err := windows.PostQueuedCompletionStatus(p.port, 0, 0, nil)
	if err != nil {
		p.woken.Store(false)
	}
	return err
}

func (p *afdPoller) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if p.waiting {
		return windows.PostQueuedCompletionStatus(p.port, 0, 0, nil) // the wait calls shutLocked
	}
	p.shutLocked()
	return nil
}

// afdShutTries is how many times, a tenth of a second each, shutLocked waits in vain for
// the results of cancelled polls before it gives up. Arbitrary.
const afdShutTries = 20

// shutLocked cancels all polls, waits for their results, and closes the handles.
func (p *afdPoller) shutLocked() {
	for op := p.flying; op != nil; op = op.next {
		op.sock, op.leaves = nil, nil
	}
	for _, g := range p.groups {
		cancelAll(g.handle)
	}
	for tries := 0; p.flying != nil && tries < afdShutTries; {
		n, err := dequeueResults(p.port, p.results[:], 100*time.Millisecond)
		if n == 0 || err != nil {
			tries++
		}
		for k := range p.results[:n] {
			if op := p.results[k].op; op != nil {
				p.landLocked(op)
			}
		}
	}
	for _, g := range p.groups {
		windows.CloseHandle(g.handle)
	}
	windows.CloseHandle(p.port)
	p.socks, p.changed, p.groups, p.idle = nil, nil, nil, nil
	if p.flying == nil {
		afdPollers.Delete(p)
	}
}

// afdPollers keeps the pollers reachable to whose memory the kernel may write: from open
// until they are closed and have no poll in flight.
var afdPollers sync.Map

// ---- Helper handles ----

// joinLocked returns a group that has room, and counts one more socket in it.
func (p *afdPoller) joinLocked() (*afdGroup, error) {
	if p.full == len(p.groups) {
		if err := p.openGroup(); err != nil {
			return nil, err
		}
	}
	g := p.groups[p.full]
	if g.n++; g.n == afdGroupSize {
		p.full++
	}
	return g, nil
}

// leaveLocked undoes joinLocked. It closes a group that has become empty, unless it is
// the only one with room.
func (p *afdPoller) leaveLocked(g *afdGroup) {
	if g.n == afdGroupSize {
		p.full--
		p.swapGroups(g.at, p.full)
	}
	if g.n--; g.n == 0 && len(p.groups)-p.full > 1 {
		last := len(p.groups) - 1
		p.swapGroups(g.at, last)
		p.groups[last] = nil
		p.groups = p.groups[:last]
		windows.CloseHandle(g.handle)
	}
}

func (p *afdPoller) swapGroups(i, j int) {
	p.groups[i], p.groups[j] = p.groups[j], p.groups[i]
	p.groups[i].at, p.groups[j].at = i, j
}

// openGroup opens a helper handle whose results go to the port.
func (p *afdPoller) openGroup() error {
	// What follows the driver's name is arbitrary, and visible in debugging tools.
	name, err := windows.NewNTUnicodeString(`\Device\Afd\evchan`)
	if err != nil {
		return err
	}
	oa := windows.OBJECT_ATTRIBUTES{ObjectName: name}
	oa.Length = uint32(unsafe.Sizeof(oa))
	var h windows.Handle
	var iosb windows.IO_STATUS_BLOCK
	err = windows.NtCreateFile(&h, windows.SYNCHRONIZE, &oa, &iosb, nil, 0,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, windows.FILE_OPEN, 0, 0, 0)
	if err != nil {
		return os.NewSyscallError("NtCreateFile", err)
	}
	if _, err := windows.CreateIoCompletionPort(h, p.port, 0, 0); err != nil {
		windows.CloseHandle(h)
		return os.NewSyscallError("CreateIoCompletionPort", err)
	}
	// The handle itself is never waited for, so it need not be signaled.
	if err := windows.SetFileCompletionNotificationModes(h, windows.FILE_SKIP_SET_EVENT_ON_HANDLE); err != nil {
		windows.CloseHandle(h)
		return os.NewSyscallError("SetFileCompletionNotificationModes", err)
	}
	p.groups = append(p.groups, &afdGroup{handle: h, at: len(p.groups)})
	return nil
}

// ---- System calls ----

// submit asks AFD for the poll.
func (op *afdOp) submit(h windows.Handle) windows.NTStatus {
	status, _, _ := syscall.SyscallN(procNtDeviceIoControlFile.Addr(), uintptr(h),
		0, 0, uintptr(unsafe.Pointer(op)), uintptr(unsafe.Pointer(&op.iosb)), ioctlAFDPoll,
		uintptr(unsafe.Pointer(&op.info)), afdPollInfoSize,
		uintptr(unsafe.Pointer(&op.info)), afdPollInfoSize)
	return windows.NTStatus(status)
}

// cancel makes the poll complete at once. It has no effect if the poll has completed.
func (op *afdOp) cancel(h windows.Handle) {
	var iosb windows.IO_STATUS_BLOCK
	syscall.SyscallN(procNtCancelIoFileEx.Addr(), uintptr(h),
		uintptr(unsafe.Pointer(&op.iosb)), uintptr(unsafe.Pointer(&iosb)))
}

// cancelAll cancels all polls that were made through h.
func cancelAll(h windows.Handle) {
	var iosb windows.IO_STATUS_BLOCK
	syscall.SyscallN(procNtCancelIoFileEx.Addr(), uintptr(h), 0, uintptr(unsafe.Pointer(&iosb)))
}

// dequeueResults takes results from the port, with a limit as in poller.wait. The system
// counts milliseconds: d is rounded up, since a wait that ends a little early would
// make the loop turn again for nothing.
func dequeueResults(port windows.Handle, results []afdResult, d time.Duration) (int, error) {
	ms := uint32(windows.INFINITE)
	if d >= 0 {
		up := d / time.Millisecond
		if d%time.Millisecond != 0 {
			up++
		}
		ms = uint32(min(up, windows.INFINITE-1))
	}
	var n uint32
	ok, _, errno := syscall.SyscallN(procGetQueuedCompletionStatusEx.Addr(), uintptr(port),
		uintptr(unsafe.Pointer(&results[0])), uintptr(len(results)),
		uintptr(unsafe.Pointer(&n)), uintptr(ms), 0)
	switch {
	case ok != 0:
		return int(n), nil
	case errno == syscall.Errno(windows.WAIT_TIMEOUT):
		return 0, nil
	}
	return 0, errno
}

// Requests for WSAIoctl, and options, that golang.org/x/sys/windows lacks.
const (
	sioBaseHandle    = 0x48000022 // the provider's own handle
	sioBSPHandlePoll = 0x4800001D // the handle of the next lower layer, for polls

	soError = 0x1007
	soType  = 0x1008
)

// baseHandle returns the handle by which AFD knows the socket fd. It differs from fd
// where a layered service provider is installed.
func baseHandle(fd sysFD) (uintptr, error) {
	// Check that fd is a socket: Wine answers the requests below for any handle.
	if _, err := windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, soType); err != nil {
		return 0, notSocket(fd, err)
	}
	h, err := handleBelow(fd, sioBaseHandle)
	if err == nil {
		return h, nil
	}
	// Some layers refuse the request, but tell the handle of the next lower layer.
	for {
		below, e := handleBelow(fd, sioBSPHandlePoll)
		if e != nil || below == fd {
			return 0, err
		}
		fd = below
		if h, err = handleBelow(fd, sioBaseHandle); err == nil {
			return h, nil
		}
	}
}

func handleBelow(fd sysFD, code uint32) (h uintptr, err error) {
	var n uint32
	err = windows.WSAIoctl(windows.Handle(fd), code, nil, 0, (*byte)(unsafe.Pointer(&h)), uint32(unsafe.Sizeof(h)), &n, nil, 0)
	return h, err
}

// notSocket returns the error for fd, for which a call on sockets has failed with err.
func notSocket(fd sysFD, err error) error {
	if err != windows.WSAENOTSOCK && err != windows.WSAEOPNOTSUPP { // Wine's for a pipe
		return err
	}
	if kind, err := windows.GetFileType(windows.Handle(fd)); err != nil || kind == windows.FILE_TYPE_UNKNOWN {
		return syscall.EBADF
	}
	return ErrUnsupported // a pipe, a file, a console
}

// afdEvents returns the conditions in w as AFD's bits, with those of a hangup.
func afdEvents(w What) (events uint32) {
	events = afdHangup
	if w&Read != 0 {
		events |= afdReceive | afdAccept
	}
	if w&Write != 0 {
		events |= afdSend
	}
	if w&(Read|EarlyClose) != 0 {
		events |= afdDisconnect
	}
	return events
}

// afdWhat is the reverse of afdEvents, without the hangup.
func afdWhat(events uint32) (w What) {
	if events&(afdReceive|afdAccept|afdDisconnect) != 0 {
		w |= Read
	}
	if events&afdSend != 0 {
		w |= Write
	}
	if events&afdDisconnect != 0 {
		w |= EarlyClose
	}
	return w
}
