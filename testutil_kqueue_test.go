// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package evchan

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// useModels makes methods of other systems known, over a model of their kernel,
// so that all tests run on them as on those of the system itself.
func useModels() {
	testMethods = []method{{"kqueue", kqueueFeatures, openModelKqueue(true)}}
}

func openModelKqueue(userEvents bool) func() (poller, error) {
	return func() (poller, error) {
		q, err := newModelQueue(userEvents)
		if err != nil {
			return nil, err
		}
		return newKqueue(q, userEvents)
	}
}

// A modelQueue is a model of a kernel event queue, after the manual pages
// kqueue(2) of macOS and the BSDs, and the sources of FreeBSD where those leave
// something open:
//
//   - There is one note for each descriptor and filter. Adding it again does not
//     make a second one, and leaves EV_CLEAR as it was.
//   - A note becomes active, and goes to the end of the queue, when it is
//     added, or its descriptor's object changes, and its filter holds then.
//   - To be reported it must still hold when it is taken from the queue. Then
//     it goes to the end of the queue again or, with EV_CLEAR, leaves it until
//     the next change. Each note is looked at once in a call.
//   - What does not fit into the events stays in the queue.
//   - Closing a descriptor removes its notes.
//   - A change that fails is reported by an event with EV_ERROR if there is room,
//     and then nothing else is; without room the call fails.
//   - A signal ends a call that waits, with EINTR.
//
// The state of an object is asked of Linux, by poll(2) for the most part. That
// it has changed is told by an edge-triggered epoll, which reports what has
// happened to a descriptor and what else it is ready for, so that a note can
// become active a little more often than it need. On BSD that happens as well:
// each acknowledgement of what was sent makes a socket writable anew.
type modelQueue struct {
	userEvents bool // the system has them

	ep   int // tells that descriptors have changed
	kick int // an eventfd: tells that there is something in the queue

	mu       sync.Mutex         // guards following
	files    map[int]*modelFile // by descriptor; those without notes are kept for the next time
	users    map[int]*modelNote
	active   []*modelNote // the queue
	again    []*modelNote // scratch
	gen      int32        // of the last modelFile
	sleeping bool         // the one call that may wait does

	// Scratch.
	results [64]unix.EpollEvent
	pollfd  [1]unix.PollFd
	sleepfd [2]unix.PollFd
	count   [8]byte
}

// A modelFile is a descriptor, with its notes.
type modelFile struct {
	fd    int
	gen   int32
	kind  modelKind
	notes [2]modelNote // by filter
}

type modelKind int

const (
	modelOther     modelKind = iota // an eventfd, a terminal
	modelSocket                     // of a connection
	modelListener                   // a socket that accepts
	modelPipe                       // or a named one
	modelDiskFile                   // or a directory
	modelDatagrams                  // a socket without connections
)

// A modelNote is a knote.
type modelNote struct {
	kevent            // as it was added; data and fflags are what the filter has said last
	file   *modelFile // nil: a user event
	there  bool
	active bool // in the queue
	raised bool // a user event was triggered
}

func newModelQueue(userEvents bool) (*modelQueue, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	kick, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(ep)
		return nil, err
	}
	return &modelQueue{
		userEvents: userEvents,
		ep:         ep,
		kick:       kick,
		files:      make(map[int]*modelFile),
		users:      make(map[int]*modelNote),
	}, nil
}

func (q *modelQueue) close() {
	unix.Close(q.ep)
	unix.Close(q.kick)
}

func (q *modelQueue) kevent(changes, events []kevent, d time.Duration) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, c := range changes {
		errno := q.register(&c)
		if errno == 0 {
			continue
		}
		if n == len(events) {
			return 0, errno
		}
		c.flags, c.data = evError, int64(errno)
		events[n] = c
		n++
	}
	if n > 0 || len(events) == 0 {
		return n, nil
	}
	for start := time.Now(); ; {
		q.pump()
		if n := q.scan(events); n > 0 || d == 0 {
			return n, nil
		}
		var limit *unix.Timespec
		if d > 0 {
			left := d - time.Since(start)
			if left <= 0 {
				return 0, nil
			}
			ts := unix.NsecToTimespec(int64(left))
			limit = &ts
		}
		if err := q.sleep(limit); err != nil {
			return 0, err
		}
	}
}

// sleep waits until there may be something. The caller holds q.mu, which is
// unlocked meanwhile.
func (q *modelQueue) sleep(limit *unix.Timespec) error {
	q.sleepfd[0] = unix.PollFd{Fd: int32(q.ep), Events: unix.POLLIN}
	q.sleepfd[1] = unix.PollFd{Fd: int32(q.kick), Events: unix.POLLIN}
	q.sleeping = true
	q.mu.Unlock()
	_, err := unix.Ppoll(q.sleepfd[:], limit, nil)
	q.mu.Lock()
	q.sleeping = false
	unix.Read(q.kick, q.count[:])
	return err
}

// register makes a change.
func (q *modelQueue) register(c *kevent) unix.Errno {
	if c.filter == kfUser {
		return q.registerUser(c)
	}
	if _, err := unix.FcntlInt(uintptr(c.ident), unix.F_GETFD, 0); err != nil {
		return unix.EBADF
	}
	f := q.file(c.ident)
	switch {
	case c.flags&evDelete != 0:
		if f == nil || !f.notes[c.filter].there {
			return unix.ENOENT
		}
		q.forget(&f.notes[c.filter])
		return 0
	case f != nil && f.notes[c.filter].there:
	case c.flags&evAdd == 0:
		return unix.ENOENT
	default:
		if f == nil {
			var errno unix.Errno
			if f, errno = q.newFile(c.ident); errno != 0 {
				return errno
			}
		}
		note := &f.notes[c.filter]
		*note = modelNote{kevent: *c, file: f, there: true}
		note.flags &^= evAdd
		if errno := q.refuses(note); errno != 0 {
			q.forget(note)
			return errno
		}
	}
	q.touch(&f.notes[c.filter])
	return 0
}

// registerUser makes a change to a user event.
func (q *modelQueue) registerUser(c *kevent) unix.Errno {
	if !q.userEvents {
		return unix.EINVAL
	}
	note := q.users[c.ident]
	switch {
	case c.flags&evDelete != 0:
		if note == nil {
			return unix.ENOENT
		}
		q.forget(note)
		return 0
	case c.flags&evAdd == 0 && note == nil:
		return unix.ENOENT
	case note == nil:
		note = &modelNote{kevent: *c, there: true, raised: c.fflags&noteTrigger != 0}
		note.flags &^= evAdd
		q.users[c.ident] = note
	default:
		if c.fflags&noteTrigger != 0 {
			note.raised = true
		}
		if c.flags&evClear != 0 {
			note.raised = false // FreeBSD does this last
		}
	}
	q.touch(note)
	return 0
}

// file returns the file of fd, nil if it has no notes. If fd was closed since
// they were added, they are gone.
func (q *modelQueue) file(fd int) *modelFile {
	f := q.files[fd]
	if f == nil || !f.notes[kfRead].there && !f.notes[kfWrite].there {
		return nil
	}
	if f.kind == modelDiskFile {
		return f // for them epoll does not tell
	}
	// A descriptor that was closed has left the epoll set.
	ev := unix.EpollEvent{}
	switch err := unix.EpollCtl(q.ep, unix.EPOLL_CTL_ADD, fd, &ev); err {
	case unix.EEXIST:
		return f
	case nil:
		unix.EpollCtl(q.ep, unix.EPOLL_CTL_DEL, fd, nil)
	}
	for i := range f.notes {
		q.dequeue(&f.notes[i])
		f.notes[i].there = false
	}
	return nil
}

// newFile starts to look after fd.
func (q *modelQueue) newFile(fd int) (*modelFile, unix.Errno) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, unix.EBADF
	}
	f := q.files[fd]
	if f == nil {
		f = new(modelFile)
		q.files[fd] = f
	}
	q.gen++
	*f = modelFile{fd: fd, gen: q.gen}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		f.kind = modelDiskFile
		return f, 0
	case unix.S_IFIFO:
		f.kind = modelPipe
	case unix.S_IFSOCK:
		f.kind = modelSocket
		if n, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); n != 0 {
			f.kind = modelListener
		} else if n, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); n != unix.SOCK_STREAM {
			f.kind = modelDatagrams
		}
	}
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(fd),
		Pad:    f.gen,
	}
	if err := unix.EpollCtl(q.ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return nil, err.(unix.Errno)
	}
	return f, 0
}

// refuses returns why a filter cannot be had.
func (q *modelQueue) refuses(note *modelNote) unix.Errno {
	switch f := note.file; {
	case note.filter == kfWrite && f.kind == modelDiskFile:
		return unix.EINVAL
	case note.filter == kfWrite && f.kind == modelPipe && q.poll(f.fd)&(unix.POLLHUP|unix.POLLERR) != 0:
		return unix.EPIPE // the other end was closed
	}
	return 0
}

// forget removes a note.
func (q *modelQueue) forget(note *modelNote) {
	q.dequeue(note)
	note.there = false
	f := note.file
	if f == nil {
		delete(q.users, note.ident)
		return
	}
	if !f.notes[kfRead].there && !f.notes[kfWrite].there && f.kind != modelDiskFile {
		unix.EpollCtl(q.ep, unix.EPOLL_CTL_DEL, f.fd, nil)
	}
}

// touch makes a note active if its filter holds.
func (q *modelQueue) touch(note *modelNote) {
	if !note.there || note.active || !q.holds(note) {
		return
	}
	note.active = true
	q.active = append(q.active, note)
	if q.sleeping {
		binary.NativeEndian.PutUint64(q.count[:], 1)
		for {
			if _, err := unix.Write(q.kick, q.count[:]); err != unix.EINTR {
				break
			}
		}
	}
}

func (q *modelQueue) dequeue(note *modelNote) {
	if note.active {
		note.active = false
		i := slices.Index(q.active, note)
		q.active = slices.Delete(q.active, i, i+1)
	}
}

// pump makes the notes active whose objects have changed.
func (q *modelQueue) pump() {
	for {
		n, err := unix.EpollWait(q.ep, q.results[:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, ev := range q.results[:n] {
			f := q.files[int(ev.Fd)]
			if f == nil || f.gen != ev.Pad {
				continue // closed, but there is a duplicate
			}
			if ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
				q.touch(&f.notes[kfRead])
			}
			if ev.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
				q.touch(&f.notes[kfWrite])
			}
		}
		if n < len(q.results) {
			return
		}
	}
}

// scan takes what is active into events.
func (q *modelQueue) scan(events []kevent) int {
	n := 0
	q.again = q.again[:0]
	for len(q.active) > 0 && n < len(events) {
		note := q.active[0]
		q.dequeue(note)
		if note.file != nil && q.file(note.ident) == nil || !q.holds(note) {
			continue
		}
		events[n] = note.kevent
		n++
		if note.flags&evClear != 0 {
			note.raised = false
		} else {
			q.again = append(q.again, note)
		}
	}
	for _, note := range q.again {
		note.active = true
		q.active = append(q.active, note)
	}
	return n
}

// poll returns what poll(2) says of fd now.
func (q *modelQueue) poll(fd int) int16 {
	q.pollfd[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT | unix.POLLRDHUP}
	for {
		if _, err := unix.Poll(q.pollfd[:], 0); err != unix.EINTR {
			return q.pollfd[0].Revents
		}
	}
}

// holds is the filter of a note: it reports whether there is something to be
// reported, and sets EV_EOF, data and fflags accordingly.
func (q *modelQueue) holds(note *modelNote) bool {
	f := note.file
	if f == nil {
		return note.raised
	}
	note.flags &^= evEOF
	note.data, note.fflags = 0, 0
	end := func(failed bool) {
		note.flags |= evEOF
		if failed {
			// Asking for the number would clear it. Whoever reads it from the
			// socket gets the right one.
			note.fflags = uint32(unix.ECONNRESET)
		}
	}
	is := q.poll(f.fd)
	if is&unix.POLLNVAL != 0 {
		return false
	}
	if note.filter == kfRead {
		switch f.kind {
		case modelDiskFile:
			return diskFileHolds(note)
		case modelListener:
			note.data = 1 // at least
			return is&unix.POLLIN != 0
		case modelDatagrams:
			note.data = int64(unread(f.fd))
			return is&(unix.POLLIN|unix.POLLERR) != 0
		case modelSocket:
			if is&(unix.POLLRDHUP|unix.POLLHUP) != 0 {
				end(is&unix.POLLERR != 0)
			}
		default:
			if is&(unix.POLLHUP|unix.POLLERR) != 0 {
				end(false)
			}
		}
		note.data = int64(unread(f.fd))
		return is&(unix.POLLIN|unix.POLLERR) != 0 || note.flags&evEOF != 0
	}

	switch f.kind {
	case modelListener:
		return false
	case modelSocket:
		if is&(unix.POLLERR|unix.POLLHUP) != 0 || cannotSend(f.fd) {
			end(is&unix.POLLERR != 0)
			return true
		}
		note.data = int64(room(f.fd))
	case modelPipe:
		if is&(unix.POLLERR|unix.POLLHUP) != 0 {
			end(false)
			return true
		}
		// On FreeBSD pipes go both ways. That other way is always empty.
		flags, _ := unix.FcntlInt(uintptr(f.fd), unix.F_GETFL, 0)
		if flags&unix.O_ACCMODE == unix.O_RDONLY {
			return true
		}
	}
	return is&unix.POLLOUT != 0
}

// diskFileHolds is EVFILT_READ of a regular file.
func diskFileHolds(note *modelNote) bool {
	var st unix.Stat_t
	at, err := unix.Seek(note.ident, 0, 1)
	if err != nil || unix.Fstat(note.ident, &st) != nil {
		return false
	}
	note.data = st.Size - at
	return note.data != 0
}

// unread returns how many bytes wait in fd.
func unread(fd int) int {
	n, _ := unix.IoctlGetUint32(fd, unix.TIOCINQ) // IoctlGetInt is wrong on big-endian systems
	return int(n)
}

// room returns how many bytes can be sent to the socket fd.
func room(fd int) int {
	size, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	used, _ := unix.IoctlGetUint32(fd, unix.TIOCOUTQ)
	return max(0, size-int(used))
}

// cannotSend reports whether the sending direction of a socket was shut down, and the
// connection has not ended. Of a Unix socket, Linux says so when no bytes are sent. Of a TCP
// socket that would take an error that has just come from the reader.
func cannotSend(fd int) bool {
	if info, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
		var p [4]byte // the first bytes of struct tcp_info
		binary.NativeEndian.PutUint32(p[:], uint32(info))
		switch p[0] {
		case unix.BPF_TCP_FIN_WAIT1, unix.BPF_TCP_FIN_WAIT2, unix.BPF_TCP_CLOSING, unix.BPF_TCP_LAST_ACK:
			return true
		}
		return false
	}
	return unix.Send(fd, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) == unix.EPIPE
}
