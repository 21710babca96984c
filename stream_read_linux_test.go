// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var urgentRounds = flag.Int("urgent.rounds", 1000, "how many urgent bytes TestUrgentSignals reads past while signals come")

// This file has peers whose bytes come in portions that a read does not cross:
// urgent ones (tcp(7), and unix(7) since Linux 5.15), and those that bring
// descriptors (SCM_RIGHTS). A read gives less than there is, and no report follows.

// urgentByte is in nothing else that is sent.
const urgentByte = '!'

// markedPair returns a stream and its peer's end, which is blocking and not watched by
// anybody, so that it can be given to system calls.
func markedPair(t *testing.T, l *Loop, network string) (*Stream, int) {
	t.Helper()
	ln := listen(t, l, network, nil)
	defer ln.Close()
	c := dial(t, ln)
	s := acceptOne(t, l)
	f, err := c.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	t.Cleanup(func() { f.Close() })
	return s, int(f.Fd())
}

// onNetworks runs the tests on each method and kind of socket.
func onNetworks(t *testing.T, tests map[string]func(*testing.T, *Loop, string)) {
	on := make(map[string]func(*testing.T, *Loop))
	for _, network := range []string{"tcp", "unix"} {
		for name, test := range tests {
			on[network+"/"+name] = func(t *testing.T, l *Loop) { test(t, l, network) }
		}
	}
	onMethods(t, Config{}, on)
}

func sendUrgent(fd int) error { return syscall.Sendto(fd, []byte{urgentByte}, syscall.MSG_OOB, nil) }

// hearMarked receives until EOF, and returns all that has come, but for the urgent
// bytes. (One that a second overtakes is an ordinary one from then on.)
func hearMarked(t *testing.T, l *Loop, s *Stream) []byte {
	t.Helper()
	var got []byte
	for {
		ev, ok := l.Poll(10 * time.Second)
		if !ok {
			var b bytes.Buffer
			l.Dump(&b)
			waiting, _ := sysPending(s.sock.fd)
			t.Fatalf("nothing comes after %d bytes; the kernel has %d\n%s", len(got), waiting, b.String())
		}
		switch ev := ev.(type) {
		case Readable:
			if s.in.held.Load() == 0 {
				t.Error("Readable, and there is nothing")
			}
		case EOF:
			return bytes.ReplaceAll(s.Input().appendTo(got), []byte{urgentByte}, nil)
		default:
			t.Fatalf("unexpected %v, %v", ev, s.Err())
		}
		got = s.Input().appendTo(got)
	}
}

// sysPending returns how many bytes can be read from the socket fd.
func sysPending(fd int) (int, error) {
	buf := make([]byte, 1<<20)
	n, _, err := syscall.Recvfrom(fd, buf, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n, err
}

// fewTurns checks that l has made no more turns than n things have given it reason to.
func fewTurns(t *testing.T, l *Loop, n int) {
	t.Helper()
	if st := l.Stats(); st.Turns > uint64(4*n+100) {
		t.Errorf("%d turns, %d wakeups for %d things", st.Turns, st.Wakeups, n)
	}
}

func TestUrgent(t *testing.T) {
	onNetworks(t, map[string]func(*testing.T, *Loop, string){
		"Amid":  testUrgentAmid,
		"Only":  testUrgentOnly,
		"Rests": testUrgentRests,
		"Close": testUrgentClose,
	})
}

// Urgent bytes amid others, many times.
func testUrgentAmid(t *testing.T, l *Loop, network string) {
	s, fd := markedPair(t, l, network)
	const things = 3000
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	var want []byte
	for i := range things {
		want = fmt.Appendf(want, "%d,", i)
	}
	done := make(chan error, 1)
	go func() {
		var err error
		for rest := want; err == nil && len(rest) > 0; {
			if r.IntN(2) == 0 {
				err = sendUrgent(fd)
				continue
			}
			var n int
			n, err = syscall.Write(fd, rest[:1+r.IntN(min(len(rest), 40))])
			rest = rest[max(n, 0):]
		}
		syscall.Shutdown(fd, syscall.SHUT_WR)
		done <- err
	}()
	if got := hearMarked(t, l, s); !bytes.Equal(got, want) {
		t.Errorf("seed %d: %d bytes have come; want %d", seed, len(got), len(want))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	fewTurns(t, l, things)
	s.Abort()
}

// Nothing but urgent bytes: no message, but for those that are not urgent any more.
func testUrgentOnly(t *testing.T, l *Loop, network string) {
	s, fd := markedPair(t, l, network)
	const things = 3000
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && i < things; i++ {
			err = sendUrgent(fd)
		}
		syscall.Shutdown(fd, syscall.SHUT_WR)
		done <- err
	}()
	if got := hearMarked(t, l, s); len(got) > 0 {
		t.Errorf("%d bytes have come", len(got))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	fewTurns(t, l, things)
	s.Abort()
}

// An urgent byte that nobody reads is no reason to wake up again and again, nor does
// it hold anything up.
func testUrgentRests(t *testing.T, l *Loop, network string) {
	s, fd := markedPair(t, l, network)
	for i := range 6 {
		if err := sendUrgent(fd); err != nil {
			t.Fatal(err)
		}
		for quiet := 0; quiet < 3; { // until nothing comes of it any more
			if _, ok := l.Poll(time.Millisecond); ok {
				s.Input().Reset() // an urgent byte that was overtaken
				quiet = 0
			} else {
				quiet++
			}
		}
		turns := l.Stats().Turns
		if ev, ok := l.Poll(5 * time.Millisecond); ok {
			t.Errorf("unexpected %v", ev)
		}
		if n := l.Stats().Turns - turns; n > 3 {
			t.Errorf("%d turns while nothing happens", n)
		}
		if i%2 == 0 {
			continue
		}
		if _, err := syscall.Write(fd, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if ev := nextOf(t, l, s); ev != Event(Readable{s}) {
			t.Fatalf("unexpected %v", ev)
		}
		if got := string(bytes.ReplaceAll(s.Input().Next(10), []byte{urgentByte}, nil)); got != "x" {
			t.Fatalf("%q has come", got)
		}
	}
	s.Abort()
}

// A stream that closes reads on past urgent bytes until the end.
func testUrgentClose(t *testing.T, l *Loop, network string) {
	s, fd := markedPair(t, l, network)
	s.Write([]byte("bye"))
	s.Close()
	const things = 200
	for range things {
		if _, err := syscall.Write(fd, []byte("more")); err != nil {
			t.Fatal(err)
		}
		if err := sendUrgent(fd); err != nil {
			t.Fatal(err)
		}
		l.Poll(0)
	}
	syscall.Write(fd, []byte("more"))
	syscall.Shutdown(fd, syscall.SHUT_WR)
	waitReleased(t, l)
	if got, err := io.ReadAll(os.NewFile(uintptr(dupOrFail(t, fd)), "")); err != nil || string(got) != "bye" {
		t.Errorf("the peer has read %q, %v", got, err)
	}
}

func dupOrFail(t *testing.T, fd int) int {
	t.Helper()
	dup, err := dupFD(fd)
	if err != nil {
		t.Fatal(err)
	}
	return dup
}

// TestUrgentSignals reads past urgent bytes while signals come one upon the other. A
// read that begins at an urgent byte gives EAGAIN if a signal is pending, although more
// follows, and no report comes of that.
func TestUrgentSignals(t *testing.T) {
	onNetworks(t, map[string]func(*testing.T, *Loop, string){"": testUrgentSignals})
}

func testUrgentSignals(t *testing.T, l *Loop, network string) {
	s, fd := markedPair(t, l, network)
	signalMe(t)
	for i := range *urgentRounds {
		for _, err := range []error{sendAll(fd, "a"), sendUrgent(fd), sendAll(fd, "b")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		var got []byte
		for len(got) < 2 {
			if _, ok := l.Poll(5 * time.Second); !ok {
				n, err := sysPending(s.sock.fd)
				t.Fatalf("round %d: nothing comes after %q; the kernel has %d, %v", i, got, n, err)
			}
			got = bytes.ReplaceAll(s.Input().appendTo(got), []byte{urgentByte}, nil)
		}
		if string(got) != "ab" {
			t.Fatalf("%q has come", got)
		}
	}
	s.Abort()
}

func sendAll(fd int, p string) error {
	_, err := syscall.Write(fd, []byte(p))
	return err
}

// signalMe keeps the calling goroutine on its thread until the end of the test, and
// sends signals to that, as many as it takes.
func signalMe(t *testing.T) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	runtime.LockOSThread()
	pid, tid := os.Getpid(), unix.Gettid()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Tgkill(pid, tid, syscall.SIGUSR1)
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
		runtime.UnlockOSThread()
		signal.Stop(c)
	})
}

// TestRights: bytes that bring descriptors come like others, and the descriptors are
// dropped.
func TestRights(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Amid": func(t *testing.T, l *Loop) {
			s, fd := markedPair(t, l, "unix")
			before := openDescriptors()
			var want []byte
			sent := func(err error) {
				if err != nil {
					t.Fatal(err)
				}
			}
			const things = 500
			r := rand.New(rand.NewPCG(1, 1))
			for i := range things {
				p := fmt.Appendf(nil, "%d,", i)
				want = append(want, p...)
				var rights []byte
				if r.IntN(2) == 0 {
					rights = syscall.UnixRights(fd)
				}
				sent(syscall.Sendmsg(fd, p, rights, nil, 0))
				if r.IntN(4) == 0 {
					l.Poll(0)
				}
			}
			sent(syscall.Shutdown(fd, syscall.SHUT_WR))
			if got := hearMarked(t, l, s); !bytes.Equal(got, want) {
				t.Errorf("%d bytes have come; want %d", len(got), len(want))
			}
			if n := openDescriptors(); n > before {
				t.Errorf("%d descriptors are open, were %d", n, before)
			}
			fewTurns(t, l, things)
			s.Abort()
		},
		// What comes after the descriptor is already there, and nothing will follow.
		"Behind": func(t *testing.T, l *Loop) {
			s, fd := markedPair(t, l, "unix")
			s.Pause(Read)
			for _, rights := range [][]byte{syscall.UnixRights(fd), nil} {
				if err := syscall.Sendmsg(fd, []byte("12345"), rights, nil, 0); err != nil {
					t.Fatal(err)
				}
			}
			noMessage(t, l)
			s.Resume(Read)
			for s.Input().Len() < 10 {
				if _, ok := l.Poll(5 * time.Second); !ok {
					n, err := sysPending(s.sock.fd)
					t.Fatalf("nothing comes after %d bytes; the kernel has %d, %v", s.Input().Len(), n, err)
				}
			}
			s.Abort()
		},
	})
}

// TestShortReads: of some descriptors a read gives less than there is.
func TestShortReads(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){
		"Terminal": func(t *testing.T, l *Loop) {
			master, tty := openTerminal(t)
			s, err := l.WrapFile(tty, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := master.WriteString("one\ntwo\nthree\n"); err != nil {
				t.Fatal(err)
			}
			for s.Input().Len() < len("one\ntwo\nthree\n") {
				if _, ok := l.Poll(10 * time.Second); !ok {
					t.Fatalf("nothing comes after %d bytes", s.Input().Len())
				}
			}
			s.Abort()
		},
		"UrgentByte": func(t *testing.T, l *Loop) {
			s, far := connectedPair(t, l)
			raw, err := far.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			s.Pause(Read)
			send(t, far, "before")
			raw.Write(func(fd uintptr) bool {
				err = syscall.Sendto(int(fd), []byte("!"), syscall.MSG_OOB, nil)
				return !errors.Is(err, syscall.EAGAIN)
			})
			if err != nil {
				t.Fatal(err)
			}
			send(t, far, "after")
			noMessage(t, l)
			s.Resume(Read)
			for s.Input().Len() < len("beforeafter") {
				if _, ok := l.Poll(5 * time.Second); !ok {
					t.Fatalf("nothing comes after %d bytes", s.Input().Len())
				}
			}
			if p := string(s.Input().Next(100)); p != "beforeafter" {
				t.Errorf("got %q", p)
			}
		},
	})
}

// openTerminal returns both ends of a pseudo-terminal (pty(7)).
func openTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there is no terminal: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return master, tty
}

// TestTerminalChildExits: where the other side of a terminal is closed, what it has written is
// read, and then comes EOF. The kernel says EIO.
func TestTerminalChildExits(t *testing.T) {
	onMethods(t, Config{}, map[string]func(*testing.T, *Loop){"exit": func(t *testing.T, l *Loop) {
		master, tty := openTerminal(t)
		s, err := l.WrapFile(master, nil)
		must(t, err)
		if _, err := tty.WriteString("bye\n"); err != nil {
			t.Fatal(err)
		}
		tty.Close()
		for {
			switch ev := nextOf(t, l, s).(type) {
			case Readable:
				continue
			case EOF:
			default:
				t.Fatalf("received %v, Err is %v", ev, s.Err())
			}
			break
		}
		if got := string(s.Input().Next(100)); got != "bye\r\n" || s.Err() != nil {
			t.Errorf("read %q, Err is %v", got, s.Err())
		}
		s.Close()
		waitReleased(t, l)
	}})
}
