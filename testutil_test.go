// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// offeredNow reports whether a message of s waits to be received.
func (s *source) offeredNow() bool {
	l := s.lockLoop()
	defer l.mu.Unlock()
	return s.offered
}

// socketMethods returns the methods that have sockets, best first.
func socketMethods() []string {
	all := Methods()
	return all[:len(all)-1] // memory comes last
}

// needSockets skips the test on systems where no method has sockets.
func needSockets(t testing.TB) {
	if len(kernelMethods()) == 0 {
		t.Helper()
		t.Skip("only the method memory is here, which has no sockets")
	}
}

// onMethods runs each test on a new loop of each method that has sockets.
func onMethods(t *testing.T, conf Config, tests map[string]func(*testing.T, *Loop)) {
	onLoops(t, socketMethods(), conf, tests)
}

// onAllMethods runs each test on a new loop of each method, memory among them.
func onAllMethods(t *testing.T, conf Config, tests map[string]func(*testing.T, *Loop)) {
	onLoops(t, Methods(), conf, tests)
}

func onLoops(t *testing.T, methods []string, conf Config, tests map[string]func(*testing.T, *Loop)) {
	for _, method := range methods {
		for name, test := range tests {
			t.Run(method+"/"+name, func(t *testing.T) {
				c := conf
				c.Method, c.IgnoreEnv = method, true
				l, err := New(&c)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				test(t, l)
			})
		}
	}
}

// waitReleased runs l until no source is live.
func waitReleased(t *testing.T, l *Loop) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); l.Stats().Sources > 0; {
		if ev, ok := l.Poll(time.Millisecond); ok {
			t.Errorf("unexpected %v", ev)
		}
		if time.Now().After(until) {
			t.Fatal("a source is live for ever")
		}
	}
}

// ranges are the ways of receiving until the loop, or the range, ends.
var ranges = map[string]func(*Loop, func(Event)){
	"All": func(l *Loop, f func(Event)) {
		for ev := range l.All() {
			f(ev)
		}
	},
	"Events": func(l *Loop, f func(Event)) {
		for ev := range l.Events() {
			f(ev)
		}
	},
	"Batches": func(l *Loop, f func(Event)) {
		for b := range l.Batches() {
			for ev := range b.All() {
				f(ev)
			}
		}
	},
}

// drain reads all of c, closes it, and returns how much that was.
func drain(c net.Conn) <-chan int {
	got := make(chan int, 1)
	go func() {
		n, buf := 0, make([]byte, 64<<10)
		for {
			k, err := c.Read(buf)
			if n += k; err != nil {
				c.Close()
				got <- n
				return
			}
		}
	}()
	return got
}

// dialLoop returns a loop on each method.
func dialLoop(t *testing.T, method string) *Loop {
	t.Helper()
	l, err := New(&Config{Method: method, IgnoreEnv: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// nextOf returns the next message that s sends.
func nextOf(t *testing.T, l *Loop, s *Stream) Event {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		if ev, ok := l.Poll(time.Second); ok && ev.Source() == Source(s) {
			return ev
		}
	}
	t.Fatalf("no message of %s in time", s.label())
	return nil
}

// expectMoved receives the Moved of s, which MoveTo has moved to l.
func expectMoved(t *testing.T, l *Loop, s *Stream) {
	t.Helper()
	if ev := nextOf(t, l, s); ev != Event(Moved{s}) {
		t.Fatalf("received %v, want Moved", ev)
	}
}

// serveOnce answers one client on ln: it sends back all it gets, then closes.
func serveOnce(ln net.Listener) {
	if c, err := ln.Accept(); err == nil {
		io.Copy(c, c)
		c.Close()
	}
}

// dialEcho returns a stream that is being connected to addr, where serveOnce answers.
func dialEcho(t *testing.T, l *Loop) (s *Stream, addr net.Addr) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	go serveOnce(ln)
	s, err = l.Dial("tcp", ln.Addr().String(), nil)
	must(t, err)
	return s, ln.Addr()
}

// A resolver that does not answer until it is given up.
func stuckResolver(gaveUp chan<- struct{}) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		select {
		case gaveUp <- struct{}{}:
		default:
		}
		return nil, ctx.Err()
	}}
}

// netDial is net.Dial, which also has the network memory.
func netDial(network, address string) (net.Conn, error) {
	if network != "memory" {
		return net.Dial(network, address)
	}
	l, err := New(&Config{Method: "memory", IgnoreEnv: true})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	s, err := l.Dial(network, address, nil)
	if err != nil {
		return nil, err
	}
	return s.NetConn()
}

// netListen is net.Listen, which also has the network memory.
func netListen(network, address string) (net.Listener, error) {
	if network != "memory" {
		return net.Listen(network, address)
	}
	l, err := New(&Config{Method: "memory", IgnoreEnv: true})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	ln, err := l.Listen(network, address, nil)
	if err != nil {
		return nil, err
	}
	return ln.NetListener()
}

// resetConn closes c, a *net.TCPConn or an end in memory, with a reset.
func resetConn(c net.Conn) (err error) {
	switch c := c.(type) {
	case *net.TCPConn:
		if err = c.SetLinger(0); err == nil {
			err = c.Close()
		}
	case *pipeConn:
		c.once.Do(func() {
			close(c.closed)
			c.end.close(true)
		})
	}
	return err
}

// socketLoop returns a loop of the best method, which has sockets.
func socketLoop(t *testing.T) *Loop {
	t.Helper()
	needSockets(t)
	return dialLoop(t, "")
}

// connectedPair returns a stream and the connection that it is the other end of.
func connectedPair(t *testing.T, l *Loop) (*Stream, *net.TCPConn) {
	t.Helper()
	needSockets(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	s, err := l.Wrap(near, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, far.(*net.TCPConn)
}

// noMessage fails if there is a message after everything that is ready was
// looked at.
func noMessage(t *testing.T, l *Loop) {
	t.Helper()
	for range 3 {
		if ev, ok := l.Poll(0); ok {
			t.Fatalf("unexpected %v", ev)
		}
	}
}

// idles fails if l does not rest.
func idles(t *testing.T, l *Loop) {
	t.Helper()
	noMessage(t, l)
	turns := l.Stats().Turns
	if ev, ok := l.Poll(20 * time.Millisecond); ok {
		t.Errorf("unexpected %v", ev)
	}
	// One wait; the peer's window may have opened in between, and a poll may end
	// a little early.
	if n := l.Stats().Turns - turns; n > 5 {
		t.Errorf("%d turns of an idle loop", n)
	}
}

// send writes p to the peer's end and waits until the kernel has it at ours.
func send(t *testing.T, c net.Conn, p string) {
	t.Helper()
	if _, err := io.WriteString(c, p); err != nil {
		t.Fatal(err)
	}
}

// serve runs l with f for each message until the test ends.
func serve(t *testing.T, l *Loop, f func(Event)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range l.All() {
			f(ev)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
}

// echo sends back what arrives, the way DESIGN's example does.
func echo(ev Event) {
	switch ev := ev.(type) {
	case Readable:
		io.Copy(ev.Stream, ev.Stream)
	case EOF:
		ev.Stream.Close()
	}
}

func listen(t *testing.T, l *Loop, network string, c *ListenConfig) *Listener {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(tempDir(t), "s")
	}
	ln, err := l.Listen(network, address, c)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func dial(t *testing.T, ln *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// streamPair returns two streams of l that are connected by a socket.
func streamPair(t *testing.T, l *Loop) (a, b *Stream) {
	t.Helper()
	fa, fb := socketPair(t)
	for i, fd := range []sysFD{fa, fb} {
		dup, err := dupFD(fd)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.WrapFD(uintptr(dup), nil)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			a = s
		} else {
			b = s
		}
	}
	return a, b
}

// acceptOne returns the next accepted stream.
func acceptOne(t *testing.T, l *Loop) *Stream {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		ev, ok := l.Poll(time.Second)
		if ev, is := ev.(Accepted); ok && is {
			return ev.Stream
		}
	}
	t.Fatal("nothing was accepted in time")
	return nil
}

// netConn returns what NetConn makes of s, once all has been sent.
func netConn(t *testing.T, l *Loop, s *Stream) net.Conn {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		c, err := s.NetConn()
		if err == nil {
			return c
		}
		if err != ErrWouldBlock {
			t.Fatal(err)
		}
		l.Poll(time.Millisecond)
	}
	t.Fatal("its output is not sent")
	return nil
}

func closeWrite(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
}

// memoryMethod returns a poller of the method memory.
func memoryMethod(t testing.TB) poller {
	p, err := openMemory()
	must(t, err)
	return p
}

// inBubble runs each test on a loop with a fake poller and virtual time.
func inBubble(t *testing.T, conf Config, tests map[string]func(*testing.T, *Loop)) {
	conf.IgnoreEnv = true
	c, err := conf.complete()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLoop(c, newFakePoller())
				defer l.Close()
				test(t, l)
			})
		})
	}
}

// wait returns the next message, which must be want, and checks when it came.
func wait(t *testing.T, l *Loop, want Event, after time.Duration) {
	t.Helper()
	began := time.Now()
	ev, ok := l.Poll(-1)
	if !ok || ev != want {
		t.Fatalf("got %v; want %v", ev, want)
	}
	if d := time.Since(began); d != after {
		t.Errorf("%v came after %v; want %v", ev, d, after)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testPatience is how long a test waits for what must come.
const testPatience = 10 * time.Second

// yield lets others run for a while that varies.
func yield() {
	for range rand.IntN(20) {
		runtime.Gosched()
	}
}

// expect fails the test unless b is sound and holds want.
func expect(t testing.TB, b *Buffer, want string) {
	t.Helper()
	if err := b.check(); err != nil {
		t.Fatal(err)
	}
	if got := b.contents(); string(got) != want || b.Len() != len(want) {
		t.Fatalf("Len %d, contents %q; want %d, %q", b.Len(), short(got), len(want), short([]byte(want)))
	}
}

// short cuts p to a printable size.
func short(p []byte) []byte { return p[:min(len(p), 100)] }

// pieces returns a Buffer with a chunk for each piece.
func pieces(p ...string) *Buffer {
	b := new(Buffer)
	for _, s := range p {
		b.Append([]byte(s), nil)
	}
	return b
}

// pattern returns n bytes in which every position can be told apart from most.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	return p
}

// tempFile returns a file with data, closed at the end of the test.
func tempFile(t testing.TB, data []byte) *os.File {
	t.Helper()
	name := filepath.Join(tempDir(t), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A counter counts the calls of its release function.
type counter int

func (c *counter) release() { *c++ }

func (c *counter) want(t testing.TB, n int, when string) {
	t.Helper()
	if int(*c) != n {
		t.Fatalf("released %d times %s; want %d", *c, when, n)
	}
}

// mustPanic calls f, which has to panic.
func mustPanic(t testing.TB, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	f()
}

// childEnv is the environment variable that tells a child which test it is for, and
// with which arguments.
const childEnv = "EVCHAN_TEST_CHILD"

// A child is a process that runs one of these tests and nothing else.
type child struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser // the child's standard input
	lines *bufio.Scanner // of the child's standard output and error
	said  []string       // all lines so far
}

// childCommand returns the command of a process that runs the test called name, for
// which childArgs returns args there. No argument may have spaces.
func childCommand(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+name+" "+strings.Join(args, " "))
	return cmd
}

// childArgs returns the arguments of the child that runs t. In any other process it
// skips t.
func childArgs(t *testing.T) []string {
	t.Helper()
	name, args, _ := strings.Cut(os.Getenv(childEnv), " ")
	if name != t.Name() {
		t.Skipf("it is run by %s", strings.TrimSuffix(t.Name(), "Child"))
	}
	return strings.Fields(args)
}

// needExec skips a test that has tried to start this program, where that cannot be.
func needExec(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.Contains(err.Error(), "exec format error") {
		t.Skip("the tests run under an emulator, which the kernel does not start by itself: ", err)
	}
}

// startChild starts a child, which is killed when t ends.
func startChild(t *testing.T, name string, args ...string) *child {
	t.Helper()
	cmd := childCommand(name, args...)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		needExec(t, err)
		t.Fatal(err)
	}
	c := &child{name: name, cmd: cmd, in: in, lines: bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	return c
}

// kill ends the child, if it has not ended yet.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// next returns the child's next line, false after the last.
func (c *child) next() (string, bool) {
	if !c.lines.Scan() {
		return "", false
	}
	c.said = append(c.said, c.lines.Text())
	return c.lines.Text(), true
}

// scan reads the child's lines up to one that has the format, which is fmt.Sscanf's.
func (c *child) scan(t *testing.T, format string, a ...any) {
	t.Helper()
	for {
		line, ok := c.next()
		if !ok {
			t.Fatalf("%s has ended: %v\n%s", c.name, c.lines.Err(), strings.Join(c.said, "\n"))
		}
		if _, err := fmt.Sscanf(line, format, a...); err == nil {
			return
		}
	}
}

// wait waits until the child has ended, and fails t if its test has not passed.
func (c *child) wait(t *testing.T) {
	t.Helper()
	c.in.Close()
	for ok := true; ok; _, ok = c.next() {
	}
	passed := slices.ContainsFunc(c.said, func(line string) bool { return strings.HasPrefix(line, "--- PASS: "+c.name) })
	if err := c.cmd.Wait(); err != nil || !passed {
		t.Errorf("%s: %v\n%s", c.name, err, strings.Join(c.said, "\n"))
	}
}

// runChild runs a child, and has t log what its test has logged.
func runChild(t *testing.T, name string, args ...string) {
	t.Helper()
	c := startChild(t, name, args...)
	c.wait(t)
	for _, line := range c.said {
		if _, said, ok := strings.Cut(line, "_test.go:"); ok {
			t.Log(said)
		}
	}
}

// someSignal is a signal that every system has.
var someSignal = os.Interrupt
