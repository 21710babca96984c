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

// methods returns what can be had here, best first.
func methods() []method {
	return []method{{"afd", afdFeatures, openAFD}}
}

// EarlyClose is reported, but for all that is known not before the input was read:
// on Wine it is not.
const afdFeatures = FeatureO1

// afdGroupSize is how many sockets share a helper handle. What the driver does
// for one poll grows with the number that its handle has in flight; 32 is what
// others have found good.
const afdGroupSize = 32

// afdResults is how many results one wait takes: arbitrary, but not too many, since
// the sockets that have reported are not polled until the next wait. Wine's server, to
// which each that has unread input is work, becomes very slow with a thousand.
const afdResults = 256

// System calls that golang.org/x/sys/windows lacks.
var (
	modntdll    = windows.NewLazySystemDLL("ntdll.dll")
	modkernel32 = windows.NewLazySystemDLL("kernel32.dll")

	procNtDeviceIoControlFile       = modntdll.NewProc("NtDeviceIoControlFile")
	procNtCancelIoFileEx            = modntdll.NewProc("NtCancelIoFileEx")
	procGetQueuedCompletionStatusEx = modkernel32.NewProc("GetQueuedCompletionStatusEx")
)

// What the driver of all sockets, AFD, calls a poll and its conditions. It is not
// documented by Microsoft, but has been the same since Windows 2000, and select
// itself stands on it.
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

// An afdPollInfo is what is asked of AFD, and, in the same memory, its answer.
type afdPollInfo struct {
	timeout   int64 // in 100 ns; math.MaxInt64: none
	count     uint32
	exclusive uint32 // not 0: evicts other polls of the socket
	handle    uintptr
	events    uint32
	status    uint32
}

// afdPollInfoSize is the size of an afdPollInfo in C, which on 386 has four bytes
// behind it.
const afdPollInfoSize = (unsafe.Sizeof(afdPollInfo{}) + 7) &^ 7

// An afdPoller is the poller over AFD, the driver of all sockets.
//
// A poll is an asynchronous request to it, about one socket, that is made
// through a helper handle of our own. It completes once, when one of its
// conditions holds, on our completion port. The socket itself may belong to any
// other port, or to none.
//
// So a poll has to be made again for what is wanted again. That is put off until
// the next wait, by when more may have been asked of the socket, unless a wait is
// in progress.
type afdPoller struct {
	port windows.Handle // open until closed and not waiting

	// woken is set by wake and cleared by the wait that consumes it; there is a
	// packet in the port, or about to be, or seen, if and only if it is set.
	woken atomic.Bool

	mu      sync.Mutex // guards following
	socks   map[sysFD]*afdSock
	changed []*afdSock  // to be polled anew, perhaps; each once
	groups  []*afdGroup // those without room first
	full    int         // how many of groups have no room
	flying  *afdOp      // list of all that the kernel has
	idle    *afdOp      // list of ops to use again
	waiting bool        // a wait is between its submissions and its results
	closed  bool

	// The goroutine in wait owns the rest.
	results [afdResults]afdResult
	seen    bool // a wake was taken from the port by a wait that did not block
}

// An afdSock is a registration.
type afdSock struct {
	fd    sysFD
	base  uintptr // the handle that AFD knows it by
	group *afdGroup
	op    *afdOp // in flight; nil: none

	tok    token
	i      What // what was asked for, with Edge
	left   What // the conditions of i still to be reported
	mute   bool // not polled at all until asked anew
	queued bool // stands in changed
}

// An afdGroup is a helper handle.
type afdGroup struct {
	handle windows.Handle
	at     int // in groups
	n      int // sockets that use it, and those that did and still have a poll in flight
}

// An afdOp is one poll. The kernel writes to iosb and info until it has completed,
// cancelled or not; so long it is pinned and stands in flying.
type afdOp struct {
	iosb   windows.IO_STATUS_BLOCK
	info   afdPollInfo
	_      uint32 // see afdPollInfoSize
	pin    runtime.Pinner
	asked  uint32    // conditions
	sock   *afdSock  // nil: nobody wants the result any more
	leaves *afdGroup // has one fewer when it has completed; nil: no change

	next, prev *afdOp // in flying; next also in idle
}

// An afdResult is an OVERLAPPED_ENTRY.
type afdResult struct {
	key      uintptr
	op       *afdOp // what was passed as context; nil: a wake
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
	if err := p.openGroup(); err != nil { // tells whether there is such a driver
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

// remove does not wait for the poll in flight: AFD has a reference of its own to
// the socket, and whoever closes that closes the connection all the same.
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

// dropLocked ends a registration.
func (p *afdPoller) dropLocked(s *afdSock) {
	delete(p.socks, s.fd)
	s.mute = true // it may stand in changed
	if s.op == nil {
		p.leaveLocked(s.group)
		return
	}
	s.op.leaves = s.group
	p.cancelLocked(s)
}

// changeLocked has s polled anew as far as needed: by the next wait, or now if one
// is in progress.
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
		// The packet went before the flag: a wake that comes between does
		// nothing, which is right because this wait is about to return.
		p.seen = false
		p.woken.Store(false)
	}
	return dst, err
}

// submitLocked makes the polls that have been put off.
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
				continue // It would have completed if anything held.
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
		return nil // There is a packet in either case.
	default:
		// That is a result like any other.
		op.iosb.Status = status
		return windows.PostQueuedCompletionStatus(p.port, 0, 0, (*windows.Overlapped)(unsafe.Pointer(op)))
	}
}

// cancelLocked ends the poll of s that is in flight. Its result is of no interest
// any more, whatever it may be.
func (p *afdPoller) cancelLocked(s *afdSock) {
	op := s.op
	op.sock, s.op = nil, nil
	op.cancel(s.group.handle) // fails if it has completed
}

// completeLocked takes an op back from the kernel and turns its result into a
// report, unless it is of a registration that is no more, or of a condition that is
// no longer asked for.
func (p *afdPoller) completeLocked(op *afdOp) (r ready, ok bool) {
	status, count, events := op.iosb.Status, op.info.count, op.info.events
	s := op.sock
	p.landLocked(op)
	if s == nil {
		return r, false
	}
	s.op = nil
	// Whatever this comes to, there is more to ask for. It is no reason to end a wait.
	if !s.queued {
		s.queued = true
		p.changed = append(p.changed, s)
	}
	w := s.left
	switch status {
	case windows.STATUS_SUCCESS:
		if count == 0 {
			return r, false // Evicted by another's exclusive poll.
		}
		w &= afdWhat(events)
	case windows.STATUS_CANCELLED:
		return r, false // Not by us: the thread that made the poll has ended.
	case windows.STATUS_INVALID_HANDLE, windows.STATUS_OBJECT_TYPE_MISMATCH:
		events = afdLocalClose
	default:
		events = 0 // Memory is short, say. Who looks at the socket will see.
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
	// AFD reports a hangup again and again, asked or not. That is as it should be
	// for a level-triggered condition only, and never for a socket that was closed
	// while watched.
	if w&hangup != 0 && (s.i&Edge != 0 || s.i&whatPolled == 0) || events&afdLocalClose != 0 {
		s.mute = true
	}
	return ready{s.tok, w}, true
}

// landLocked makes op, which has completed, ready for use again.
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
		return nil // there is one under way
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	if !p.woken.CompareAndSwap(false, true) {
		return nil // there is one under way
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
		return windows.PostQueuedCompletionStatus(p.port, 0, 0, nil) // the wait shuts
	}
	p.shutLocked()
	return nil
}

// shutTries is how often a result that is due is waited for, a tenth of a second
// each time, before the kernel's word is not trusted any more. Arbitrary.
const shutTries = 20

// shutLocked takes everything back from the kernel, and closes the handles.
func (p *afdPoller) shutLocked() {
	for op := p.flying; op != nil; op = op.next {
		op.sock, op.leaves = nil, nil
	}
	for _, g := range p.groups {
		cancelAll(g.handle)
	}
	for tries := 0; p.flying != nil && tries < shutTries; {
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

// afdPollers keeps those pollers whose memory the kernel may write to: from open
// until nothing is in flight any more, which is never for one that is not closed.
var afdPollers sync.Map

// ---- Helper handles ----

// joinLocked returns a group that has room, for one more socket.
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

// leaveLocked undoes joinLocked. A group that nobody is left in is closed unless
// it is the only one with room.
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

// openGroup opens a helper handle, whose results come to the port.
func (p *afdPoller) openGroup() error {
	// What follows the driver's name is for those who look at the handle.
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
	// Nobody waits for the handle itself. Without this it is signaled all the time.
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

// cancel has the poll completed at once. It fails if it has completed already.
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

// dequeueResults takes results from the port, with a limit as in poller.wait. The
// system counts milliseconds: d is rounded up, since a wait that is a little short
// would make the loop turn idly.
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
	sioBSPHandlePoll = 0x4800001D // the handle that the next layer down polls

	soError = 0x1007
	soType  = 0x1008
)

// baseHandle returns the handle by which AFD knows the socket fd. It differs from fd
// where a layered service provider is installed.
func baseHandle(fd sysFD) (uintptr, error) {
	// Wine answers the question without a look at what fd is.
	if _, err := windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, soType); err != nil {
		return 0, notSocket(fd, err)
	}
	h, err := handleBelow(fd, sioBaseHandle)
	if err == nil {
		return h, nil
	}
	// There are layers that do not let the question through, but answer for the
	// one below them.
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

// notSocket returns what is wrong with fd, for which a call for sockets gave err.
func notSocket(fd sysFD, err error) error {
	if err != windows.WSAENOTSOCK && err != windows.WSAEOPNOTSUPP { // Wine's for a pipe
		return err
	}
	if kind, err := windows.GetFileType(windows.Handle(fd)); err != nil || kind == windows.FILE_TYPE_UNKNOWN {
		return syscall.EBADF
	}
	return ErrUnsupported // a pipe, a file, a console
}

// afdEvents returns what AFD calls the conditions in w. A hangup is always asked for.
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
