// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file has signals, and system calls that end with EINTR, while everything that a
// loop can do goes on over real sockets.

// TestSignalStorm sends signals to all threads of the process, one upon the other:
// nobody but those who watch them may notice.
func TestSignalStorm(t *testing.T) {
	for _, method := range socketMethods() {
		t.Run(method, func(t *testing.T) {
			l := dialLoop(t, method)
			var taken atomic.Int64
			for _, sig := range stormSignals {
				w, err := l.Signal(sig)
				if err != nil {
					t.Fatal(err)
				}
				w.Data = func() { taken.Add(int64(w.Take())) }
			}
			stop, sent := make(chan struct{}), make(chan int)
			go func() { sent <- storm(stop) }()
			mixedWork(t, l, method, nil)
			close(stop)
			n := <-sent
			if taken.Load() == 0 || taken.Load() > int64(n) {
				t.Errorf("%d signals of %d were received", taken.Load(), n)
			}
			t.Logf("%d signals, %d received", n, taken.Load())
		})
	}
}

var stormSignals = []os.Signal{syscall.SIGUSR1, syscall.SIGWINCH, syscall.SIGURG}

// storm sends signals to the threads of the process until stop is closed, and returns
// how many.
func storm(stop chan struct{}) (n int) {
	pid := os.Getpid()
	for {
		tasks, _ := os.ReadDir("/proc/self/task")
		for range 10 {
			for _, task := range tasks {
				select {
				case <-stop:
					return n
				default:
				}
				if tid, err := strconv.Atoi(task.Name()); err == nil {
					if unix.Tgkill(pid, tid, stormSignals[n%len(stormSignals)].(syscall.Signal)) == nil {
						n++
					}
				}
			}
		}
	}
}

// mixedWork has a loop of its own talk to l: streams, dials, files, datagrams and
// timers, over sockets of IP and Unix. It checks every byte. l runs until the end of
// the test. What has a func() as Data is l's caller's.
//
// Each stream is given to adapt, if that is not nil, once it is connected. The clients
// have two loops, and move their streams from one to the other.
func mixedWork(t *testing.T, l *Loop, method string, adapt func(*Stream)) {
	if adapt == nil {
		adapt = func(*Stream) {}
	}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	text := modelContent()
	file := tempFile(t, text)

	// The server.
	echoes := []*Listener{listen(t, l, "tcp", nil), listen(t, l, "unix", nil)}
	files := []*Listener{listen(t, l, "tcp", nil), listen(t, l, "unix", nil)}
	packets := []*PacketConn{listenPacket(t, l, "udp4"), listenPacket(t, l, "unixgram")}
	var ticks atomic.Int64
	beat := l.Every(time.Millisecond)
	serve(t, l, func(ev Event) {
		switch ev := ev.(type) {
		case Accepted:
			adapt(ev.Stream)
			for _, ln := range files {
				if ev.Stream.Listener() == ln {
					if err := ev.Stream.SendFile(file, 0, int64(len(text)), nil); err != nil {
						t.Errorf("SendFile: %v", err)
					}
					ev.Stream.CloseWrite()
				}
			}
		case Tick:
			ticks.Add(int64(ev.Timer.Take()))
		case Packets:
			echoPackets(t, ev.Conn)
		case Signaled:
			ev.Signal.Data.(func())()
		case AcceptFailed:
			t.Errorf("AcceptFailed: %v", ev.Listener.Err())
		case Closed:
			t.Errorf("the server's stream has ended: %v", ev.Stream.Err())
		default:
			echo(ev)
		}
	})

	// The clients.
	loops := []*Loop{dialLoop(t, method), dialLoop(t, method)}
	type client struct {
		rest []byte // to be sent
		want []byte // to be received
	}
	open := 0
	connect := func(ln *Listener, rest, want []byte) {
		s, err := loops[open%2].Dial(ln.Addr().Network(), ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.SetWriteMarks(0, 16<<10)
		s.Data = &client{rest, want}
		open++
	}
	for i := range 8 {
		k := r.IntN(min(len(text), 100<<10))
		connect(echoes[i%2], text[:k], text[:k])
		if i < 4 {
			connect(files[i%2], nil, text)
		}
	}
	const datagrams = 200
	asked := map[*PacketConn]*packetTalk{}
	for _, to := range packets {
		c := listenPacket(t, loops[0], strings.Replace(to.LocalAddr().Network(), "udp", "udp4", 1))
		asked[c] = &packetTalk{to: to.LocalAddr(), left: datagrams}
		asked[c].say(t, c)
		open++
	}
	say := func(s *Stream, x *client) {
		for x.rest != nil {
			if len(x.rest) == 0 {
				x.rest = nil
				if err := s.CloseWrite(); err != nil {
					t.Errorf("CloseWrite: %v", err)
				}
				return
			}
			p := x.rest[:1+r.IntN(min(len(x.rest), 10000))]
			var err error
			if r.IntN(2) == 0 {
				_, err = s.Write(p)
			} else {
				out := s.Output()
				for q := p; len(q) > 0; {
					n := min(len(q), 1+r.IntN(1000))
					out.Append(q[:n], nil)
					q = q[n:]
				}
				if err = s.Flush(); err != nil {
					out.Reset()
				}
			}
			if err == ErrFull {
				return
			}
			if err != nil {
				t.Errorf("a write has failed: %v", err)
				return
			}
			x.rest = x.rest[len(p):]
		}
	}
	for turn, heard := 0, time.Now(); open > 0; turn++ {
		ev, ok := loops[turn%2].Poll(time.Duration(r.IntN(2)) * time.Millisecond)
		if !ok {
			if time.Since(heard) > 20*time.Second {
				var b bytes.Buffer
				for _, l := range append(loops, l) {
					l.Dump(&b)
				}
				t.Fatalf("seed %d: nothing comes any more\n%s", seed, b.String())
			}
			continue
		}
		heard = time.Now()
		if ev, ok := ev.(Packets); ok {
			if asked[ev.Conn].hear(t, ev.Conn) {
				ev.Conn.Close()
				open--
			}
			continue
		}
		s := ev.Source().(*Stream)
		x := s.Data.(*client)
		switch ev.(type) {
		case Connected:
			adapt(s)
			if x.rest == nil {
				s.CloseWrite()
			}
			say(s, x)
		case Drained:
			say(s, x)
		case Readable:
			got := s.Input().appendTo(nil)
			if len(got) > len(x.want) || !bytes.Equal(got, x.want[:len(got)]) {
				t.Fatalf("seed %d: other bytes have come", seed)
			}
			x.want = x.want[len(got):]
		case EOF:
			if len(x.want) > 0 {
				t.Errorf("seed %d: %d bytes have not come", seed, len(x.want))
			}
			s.Close()
			open--
		case Closed:
			t.Errorf("a stream has ended: %v", s.Err())
			open--
			continue
		}
		if _, over := ev.(EOF); !over && r.IntN(4) == 0 {
			if err := s.MoveTo(loops[r.IntN(2)]); err != nil {
				t.Errorf("MoveTo: %v", err)
			}
		}
	}
	beat.Stop()
	if ticks.Load() == 0 {
		t.Error("the timer has not expired")
	}
}

// echoPackets sends back all datagrams that wait.
func echoPackets(t *testing.T, c *PacketConn) {
	var buf [2000]byte
	for {
		n, from, err := c.ReadFrom(buf[:])
		if err == ErrWouldBlock || err == ErrClosed { // the last has gone back, and all is over
			return
		}
		if err == nil {
			err = sendPacket(c, buf[:n], from)
		}
		if err != nil {
			t.Errorf("a datagram: %v", err)
			return
		}
	}
}

// sendPacket sends a datagram when the kernel takes it: a unixgram socket may be full.
func sendPacket(c *PacketConn, p []byte, to net.Addr) error {
	for {
		if n, err := c.WriteBatch([]Datagram{{Data: p, NetAddr: to}}); n == 1 || !errors.Is(err, ErrWouldBlock) {
			return err
		}
	}
}

// A packetTalk sends one datagram after the other, once the one before has come back.
type packetTalk struct {
	to   net.Addr
	left int
}

func (x *packetTalk) content() []byte { return modelContent()[x.left : x.left+x.left%1500] }

func (x *packetTalk) say(t *testing.T, c *PacketConn) {
	if err := sendPacket(c, x.content(), x.to); err != nil {
		t.Errorf("a datagram: %v", err)
	}
}

// hear takes what has come back. It reports whether that was all.
func (x *packetTalk) hear(t *testing.T, c *PacketConn) bool {
	var buf [2000]byte
	for {
		n, _, err := c.ReadFrom(buf[:])
		if err == ErrWouldBlock {
			return false
		}
		if err != nil || !bytes.Equal(buf[:n], x.content()) {
			t.Errorf("%d bytes have come back, %v", n, err)
			return true
		}
		if x.left--; x.left == 0 {
			return true
		}
		x.say(t, c)
	}
}

// ---- Sockets that refuse ----

// TestFaultSockets is the same work while a read or write of a real socket says EAGAIN,
// or does less than it could, at random. That is for methods without
// FeatureEdge: they look again when they are asked to; the others may count on it that a
// kernel does not say so without a report to follow.
func TestFaultSockets(t *testing.T) {
	var counts [len(faultSockNames)]atomic.Int64
	for _, method := range socketMethods() {
		t.Run(method, func(t *testing.T) {
			l := dialLoop(t, method)
			if l.edge {
				t.Skip("a report is renewed by the kernel only")
			}
			seed := uint64(time.Now().UnixNano())
			var streams atomic.Uint64
			mixedWork(t, l, method, func(s *Stream) {
				r := rand.New(rand.NewPCG(seed, streams.Add(1)))
				s.mu.Lock()
				defer s.mu.Unlock()
				if t := s.transport(); t == &s.sock {
					s.more().transport = &faultSock{&s.sock, r, &counts}
				}
			})
		})
	}
	var b strings.Builder
	for k, name := range faultSockNames {
		fmt.Fprintf(&b, " %s %d", name, counts[k].Load())
		if counts[k].Load() == 0 {
			t.Errorf("there was no %s", name)
		}
	}
	t.Logf("faults:%s", b.String())
}

// A faultSock is a socket that refuses at random. The stream's mu guards it.
type faultSock struct {
	*sock
	r      *rand.Rand
	counts *[len(faultSockNames)]atomic.Int64
}

var faultSockNames = [...]string{"read EAGAIN", "short read", "write EAGAIN", "short write"}

func (k *faultSock) hit(fault int) bool {
	if k.r.IntN(5) > 0 {
		return false
	}
	k.counts[fault].Add(1)
	return true
}

func (k *faultSock) fill(in *chain, limit int) (n int, full bool, err error) {
	if k.hit(0) {
		return 0, false, eAGAIN
	}
	if k.hit(1) {
		limit = 1 + k.r.IntN(min(limit, 1000))
	}
	return k.sock.fill(in, limit)
}

func (k *faultSock) write(p []byte) (n int, err error) {
	if k.hit(2) {
		return 0, eAGAIN
	}
	if k.hit(3) {
		p = p[:1+k.r.IntN(len(p))]
	}
	return k.sock.write(p)
}

func (k *faultSock) flush(out *chain, limit int) (n int, spent *chunk, err error) {
	if k.hit(2) {
		return 0, nil, nil
	}
	if !k.hit(3) {
		return k.sock.flush(out, limit)
	}
	var part chain
	part.moveN(out, 1+k.r.IntN(out.n))
	n, spent, err = k.sock.flush(&part, limit)
	part.splice(out)
	*out = part
	return n, spent, err
}

// ---- Calls that are interrupted ----

// interruptible are the calls that TestInterruptedCalls has fail with EINTR. Not
// connect, which package net makes: interrupted, it has begun all the same.
var interruptible = []struct {
	name string
	nr   uint32
}{
	{"read", unix.SYS_READ}, {"write", unix.SYS_WRITE}, {"writev", unix.SYS_WRITEV}, {"sendfile", unix.SYS_SENDFILE},
	{"recvfrom", unix.SYS_RECVFROM}, {"sendto", unix.SYS_SENDTO}, {"recvmmsg", unix.SYS_RECVMMSG}, {"sendmmsg", unix.SYS_SENDMMSG},
	{"accept4", unix.SYS_ACCEPT4}, {"epoll_pwait", unix.SYS_EPOLL_PWAIT}, {"ppoll", unix.SYS_PPOLL},
}

// TestInterruptedCalls has about every third of the calls above fail with EINTR before it has
// done anything, in a process of its own, whose calls this one decides about
// (seccomp_unotify(2)).
func TestInterruptedCalls(t *testing.T) {
	for _, method := range []string{"epoll", "poll"} { // the model of kqueue makes calls of its own, many
		t.Run(method, func(t *testing.T) { testInterruptedCalls(t, method) })
	}
}

func testInterruptedCalls(t *testing.T, method string) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	defer syscall.Close(pair[0])
	cmd := childCommand("TestInterruptedCallsChild", method)
	cmd.ExtraFiles = []*os.File{theirs}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Start()
	theirs.Close()
	needExec(t, err)
	if err != nil {
		t.Fatal(err)
	}
	notify, why := receiveFD(pair[0])
	if notify < 0 {
		cmd.Wait()
		if why != "" {
			t.Skip("this process may not decide about the calls of others: ", why)
		}
		t.Fatalf("the child has ended early\n%s", out.String())
	}
	counted := make(chan map[uint32][2]int)
	go func() { counted <- interrupt(notify) }()
	err = cmd.Wait()
	counts := <-counted
	if err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	var b bytes.Buffer
	for _, call := range interruptible {
		n := counts[call.nr]
		fmt.Fprintf(&b, " %s %d of %d", call.name, n[1], n[0])
		if n[1] == 0 && call.nr != unix.SYS_PPOLL {
			t.Errorf("%s was never interrupted", call.name)
		}
	}
	t.Logf("interrupted:%s", b.String())
}

// interrupt decides about the calls that notify tells of, until nobody is left to make
// any. It returns how many there were of each, and how many of them failed.
func interrupt(notify int) map[uint32][2]int {
	defer syscall.Close(notify)
	r := rand.New(rand.NewPCG(1, 1))
	counts := make(map[uint32][2]int)
	for {
		p := []unix.PollFd{{Fd: int32(notify), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err == unix.EINTR {
			continue
		}
		if p[0].Revents&unix.POLLIN == 0 {
			return counts
		}
		var call struct { // struct seccomp_notif
			id         uint64
			pid, flags uint32
			nr, arch   uint32
			ip         uint64
			args       [6]uint64
		}
		if _, _, e := syscall.Syscall(unix.SYS_IOCTL, uintptr(notify), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call))); e != 0 {
			continue // it was over
		}
		answer := struct { // struct seccomp_notif_resp
			id    uint64
			val   int64
			err   int32
			flags uint32
		}{id: call.id}
		n := counts[call.nr]
		n[0]++
		if n[0] <= 2 || r.IntN(3) == 0 {
			n[1]++
			answer.err = -int32(syscall.EINTR)
		} else {
			answer.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		}
		counts[call.nr] = n
		syscall.Syscall(unix.SYS_IOCTL, uintptr(notify), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer)))
	}
}

// receiveFD returns a descriptor that comes through the socket fd, or else what comes.
func receiveFD(fd int) (int, string) {
	buf, rights := make([]byte, 200), make([]byte, 100)
	n, k, _, _, err := syscall.Recvmsg(fd, buf, rights, syscall.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err.Error()
	}
	if msgs, err := syscall.ParseSocketControlMessage(rights[:k]); err == nil && len(msgs) == 1 {
		if fds, err := syscall.ParseUnixRights(&msgs[0]); err == nil && len(fds) == 1 {
			return fds[0], ""
		}
	}
	return -1, string(buf[:n])
}

func TestInterruptedCallsChild(t *testing.T) {
	method := childArgs(t)[0]
	const parent = 3 // what ExtraFiles gives
	notify, err := offerCalls()
	if err != nil {
		syscall.Write(parent, []byte(err.Error()))
		return
	}
	if err := syscall.Sendmsg(parent, []byte("x"), syscall.UnixRights(notify), nil, 0); err != nil {
		t.Fatal(err)
	}
	syscall.Close(notify)
	syscall.Close(parent)
	l := dialLoop(t, method)
	mixedWork(t, l, method, nil)
	plainWork(t)
}

// plainWork has descriptors that are no sockets carry something.
func plainWork(t *testing.T) {
	l := dialLoop(t, "")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	from, err := l.WrapFile(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	to, err := l.WrapFile(w, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(modelContent(), modelContent())
	if _, err := to.Write(want); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for len(got) < len(want) {
		if _, ok := l.Poll(20 * time.Second); !ok {
			t.Fatalf("nothing comes after %d bytes", len(got))
		}
		got = from.Input().appendTo(got)
	}
	if !bytes.Equal(got, want) {
		t.Error("other bytes have come")
	}
}

// offerCalls has every call in interruptible, of all threads, wait for an answer
// through the descriptor that it returns.
func offerCalls() (int, error) {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the call's number
	for i, call := range interruptible {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(interruptible) - i), K: call.nr})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // the others have from this one what it has
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, os.NewSyscallError("prctl", err)
	}
	fd, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_TSYNC|unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return -1, os.NewSyscallError("seccomp", e)
	}
	return int(fd), nil
}
