// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startLimit is how long a server may take to accept, and a load to connect.
const startLimit = 10 * time.Second

// A harness starts processes and measures them. All of them are gone when
// close returns, and even if the harness is killed.
type harness struct {
	cpu   int         // of the server, where it is pinned
	other int         // of the load generator in mode split; negative: there is none
	forks chan func() // calls to make on the thread that is the parent of all processes; closed by close
}

// newHarness returns a harness that pins servers to the given CPU, or to the
// last of those it may use if cpu is negative.
func newHarness(cpu int) (*harness, error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	if cpu >= 0 && !all.IsSet(cpu) {
		return nil, fmt.Errorf("-cpu: CPU %d is not to be had", cpu)
	}
	var cpus []int
	for i := range len(all) * strconv.IntSize {
		if all.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	if cpu < 0 {
		cpu = cpus[len(cpus)-1]
	}
	other := -1
	if i := slices.IndexFunc(cpus, func(i int) bool { return i != cpu }); i >= 0 {
		other = cpus[i]
	}
	// Children inherit the limit, so that no server needs code to raise it.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	files.Cur = files.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, os.NewSyscallError("setrlimit", err)
	}
	h := &harness{cpu: cpu, other: other, forks: make(chan func())}
	go func() {
		// A child inherits the CPUs of the thread that forks it, and with
		// Pdeathsig dies with that thread: so one thread forks them all. It is
		// never unlocked, and ends with this goroutine.
		runtime.LockOSThread()
		for f := range h.forks {
			f()
		}
	}()
	return h, nil
}

// close releases what newHarness acquired. No process may be running.
func (h *harness) close() { close(h.forks) }

// A process is a child and whatever it started itself.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has been waited for
	err  error         // how it ended; valid after done
	said tail          // its stderr
}

// start starts a child, pinned to cpu unless that is negative. Its first files
// are those given; of stdin and stdout nil is /dev/null.
func (h *harness) start(cpu int, stdin, stdout, file3 *os.File, argv ...string) (*process, error) {
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	if stdin != nil {
		p.cmd.Stdin = stdin
	}
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	if file3 != nil {
		p.cmd.ExtraFiles = []*os.File{file3}
	}
	p.cmd.Stderr = &p.said
	p.cmd.WaitDelay = time.Second
	// A group of its own: an interrupt at the terminal is for the harness, and
	// stop reaches whatever the child started.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	errc := make(chan error, 1)
	h.forks <- func() { errc <- forkOn(cpu, p.cmd) }
	if err := <-errc; err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// forkOn starts cmd from a thread that is on cpu meanwhile. The thread must be
// locked to the calling goroutine.
func forkOn(cpu int, cmd *exec.Cmd) error {
	if cpu < 0 {
		return cmd.Start()
	}
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	err := cmd.Start()
	return errors.Join(err, os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}

// kill kills the child and its group without waiting. It is safe for
// concurrent use, and after the child's end.
func (p *process) kill() { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// stop kills the child and its group, and waits for the child.
func (p *process) stop() {
	p.kill()
	<-p.done
}

// ended returns why the child ended by itself. It must have ended.
func (p *process) ended() error {
	if said := p.said.String(); said != "" {
		return errors.New(said)
	}
	if p.err != nil {
		return p.err
	}
	return errors.New("ended early")
}

// A tail is a Writer that keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex // guards following
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const keep = 1 << 10 // arbitrary
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-keep):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// output runs a program to its end, unpinned, and returns its stdout, and the
// end of its stderr.
func (h *harness) output(ctx context.Context, argv ...string) ([]byte, string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	p, err := h.start(-1, nil, w, nil, argv...)
	w.Close()
	if err != nil {
		return nil, "", err
	}
	defer p.stop()
	defer context.AfterFunc(ctx, p.kill)()
	out, err := io.ReadAll(r)
	<-p.done
	if p.err != nil {
		err = p.ended()
	}
	return out, p.said.String(), err
}

// cpus returns the CPUs to which server and load generator are pinned in mode,
// negative if they are not.
func (h *harness) cpus(mode string) (server, load int, err error) {
	switch mode {
	case "shared":
		return h.cpu, h.cpu, nil
	case "split":
		if h.other < 0 {
			return 0, 0, errors.New("mode split needs two CPUs")
		}
		return h.cpu, h.other, nil
	}
	return -1, -1, nil
}

// measure runs one server in one setting.
func (h *harness) measure(ctx context.Context, o *options, s setting, t timing, srv server) (measurement, error) {
	serverCPU, loadCPU, err := h.cpus(s.Mode)
	if err != nil {
		return measurement{}, err
	}
	r := drive{options: o, timing: t, load: s.load, cpu: loadCPU}
	backend := ""
	if s.Work == "proxy" {
		// Open before the proxy is, because the first connection to that only
		// tries whether it accepts.
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return measurement{}, err
		}
		defer ln.Close()
		backend = ln.Addr().String()
		if r.backend, err = ln.(*net.TCPListener).File(); err != nil {
			return measurement{}, err
		}
		defer r.backend.Close()
	}
	// After the backend, which else could be given the same port.
	r.addr, err = freeAddr()
	if err != nil {
		return measurement{}, err
	}
	argv, err := srv.argv(o.bin, r.addr, workNamed(s.Work).server, backend)
	if err != nil {
		return measurement{}, err
	}
	p, err := h.start(serverCPU, nil, nil, nil, argv...)
	if err != nil {
		return measurement{}, err
	}
	defer p.stop()
	if err := waitAccept(ctx, p, r.addr); err != nil {
		return measurement{}, err
	}
	r.pid = p.cmd.Process.Pid
	m, err := h.drive(ctx, r)
	if err != nil {
		select {
		case <-p.done:
			err = fmt.Errorf("%w; the server: %w", err, p.ended())
		default:
		}
	}
	return m, err
}

// freeAddr returns a loopback address whose port was free a moment ago.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// waitAccept waits until p accepts connections on addr.
func waitAccept(ctx context.Context, p *process, addr string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("nothing accepts on %s after %v", addr, startLimit))
	defer cancel()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp4", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("the server: %w", p.ended())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A drive is how to put a server under load.
type drive struct {
	*options
	timing
	load
	addr    string   // where the server listens
	pid     int      // of the server
	cpu     int      // for the load generator; negative: it is not pinned
	backend *os.File // for a proxy, the listener it leads to
}

// drive puts a server under load, and measures it in the window that the load
// generator announces.
func (h *harness) drive(ctx context.Context, r drive) (measurement, error) {
	limit := startLimit + r.warmup + r.measured + r.stall
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no result after %v", limit))
	defer cancel()

	before, err := take(r.pid)
	if err != nil {
		return measurement{}, err
	}
	stdin, hold, err := os.Pipe()
	if err != nil {
		return measurement{}, err
	}
	defer hold.Close() // ends the load
	lines, stdout, err := os.Pipe()
	if err != nil {
		stdin.Close()
		return measurement{}, err
	}
	defer lines.Close()
	p, err := h.start(r.cpu, stdin, stdout, r.backend, filepath.Join(r.bin, loadProgram.name),
		"-a", r.addr,
		"-k", r.Work,
		"-P", strconv.Itoa(r.pid),
		"-c", strconv.Itoa(r.Conns),
		"-s", strconv.Itoa(max(1, r.Size)),
		"-p", strconv.Itoa(max(1, r.Pipeline)),
		"-r", strconv.Itoa(r.Rate),
		"-w", strconv.FormatInt(r.warmup.Milliseconds(), 10),
		"-t", strconv.FormatInt(r.measured.Milliseconds(), 10),
		"-l", strconv.FormatInt(r.stall.Milliseconds(), 10))
	stdin.Close()
	stdout.Close() // the child has the other copy, and its end ends lines
	if err != nil {
		return measurement{}, err
	}
	defer p.stop()
	defer context.AfterFunc(ctx, p.kill)()

	samples := map[string]sample{"": before}
	last, err := follow(lines, samples, func() (sample, error) { return take(r.pid) })
	switch {
	case ctx.Err() != nil:
		return measurement{}, context.Cause(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF):
		<-p.done
		return measurement{}, p.ended()
	case err != nil:
		return measurement{}, err
	}
	m := last.measurement(samples)
	if r.Work == "idle" {
		grown := func(s sample) float64 { return (float64(s.resident) - float64(before.resident)) / float64(r.Conns) }
		m.Opened, m.Settled = grown(samples["connected"]), grown(samples["start"])
	}
	return m, nil
}

// A line is what the load generator says at the beginning of a phase, and at
// the end what it found.
type line struct {
	Phase    string  `json:"phase"` // connected, start, end
	Requests uint64  `json:"requests"`
	Bytes    uint64  `json:"bytes"`
	Seconds  float64 `json:"seconds"`
	CPU      float64 `json:"cpu_ns"`
	P50      float64 `json:"p50_ns"`
	P99      float64 `json:"p99_ns"`
	P999     float64 `json:"p999_ns"`
}

// follow reads the load generator's lines up to the last one, which it
// returns, and puts into samples what take returns at each, by phase. The error is
// io.ErrUnexpectedEOF if the lines end before.
func follow(lines io.Reader, samples map[string]sample, take func() (sample, error)) (line, error) {
	for in := bufio.NewScanner(lines); in.Scan(); {
		// The sample comes first: whatever happens after the line is not
		// the window's.
		now, err := take()
		if err != nil {
			return line{}, err
		}
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return line{}, fmt.Errorf("the load generator said %q: %w", in.Text(), err)
		}
		samples[l.Phase] = now
		if l.Phase == "end" {
			return l, nil
		}
	}
	return line{}, io.ErrUnexpectedEOF
}

// measurement returns what the last line and the samples say about the window.
func (l line) measurement(samples map[string]sample) measurement {
	start, end := samples["start"], samples["end"]
	m := measurement{
		Requests: l.Requests,
		Bytes:    l.Bytes,
		Seconds:  l.Seconds,
		CPU:      l.CPU / 1e9,
		Switches: end.since(start),
		P50:      l.P50 / 1e3,
		P99:      l.P99 / 1e3,
		P999:     l.P999 / 1e3,
		Peak:     end.peak,
	}
	if user, system := end.user-start.user, end.system-start.system; user+system > 0 {
		m.User = float64(user) / float64(user+system)
	}
	return m
}
