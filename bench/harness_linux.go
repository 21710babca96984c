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
	cpu   int         // for mode shared
	forks chan func() // calls to make on the thread that is the parent of all processes; closed by close
}

// newHarness returns a harness that uses the given CPU in mode shared, or the
// last of those it may use if cpu is negative.
func newHarness(cpu int) (*harness, error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	if cpu < 0 {
		for i := range len(all) * strconv.IntSize {
			if all.IsSet(i) {
				cpu = i
			}
		}
	} else if !all.IsSet(cpu) {
		return nil, fmt.Errorf("-cpu: CPU %d is not to be had", cpu)
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
	h := &harness{cpu: cpu, forks: make(chan func())}
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

// start starts a child, pinned to cpu unless that is negative.
func (h *harness) start(cpu int, stdin *os.File, stdout *os.File, argv ...string) (*process, error) {
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	if stdin != nil {
		p.cmd.Stdin = stdin
	}
	if stdout != nil {
		p.cmd.Stdout = stdout
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

// measure runs one server under one load.
func (h *harness) measure(ctx context.Context, o *options, s setting, srv server) (measurement, error) {
	cpu := -1
	if s.Mode == "shared" {
		cpu = h.cpu
	}
	addr, err := freeAddr()
	if err != nil {
		return measurement{}, err
	}
	argv, err := srv.argv(o.bin, addr)
	if err != nil {
		return measurement{}, err
	}
	p, err := h.start(cpu, nil, nil, argv...)
	if err != nil {
		return measurement{}, err
	}
	defer p.stop()
	if err := waitAccept(ctx, p, addr); err != nil {
		return measurement{}, err
	}
	m, err := h.drive(ctx, o, cpu, s.load, addr, p.cmd.Process.Pid)
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

// drive puts a server, which is the process pid and listens on addr, under
// load, and measures it in the window that the load generator announces.
func (h *harness) drive(ctx context.Context, o *options, cpu int, l load, addr string, pid int) (measurement, error) {
	limit := startLimit + o.warmup + o.measured + o.stall
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no result after %v", limit))
	defer cancel()

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
	p, err := h.start(cpu, stdin, stdout, filepath.Join(o.bin, loadProgram.name),
		"-a", addr,
		"-P", strconv.Itoa(pid),
		"-c", strconv.Itoa(l.Conns),
		"-s", strconv.Itoa(l.Size),
		"-p", strconv.Itoa(l.Pipeline),
		"-w", strconv.FormatInt(o.warmup.Milliseconds(), 10),
		"-t", strconv.FormatInt(o.measured.Milliseconds(), 10),
		"-l", strconv.FormatInt(o.stall.Milliseconds(), 10))
	stdin.Close()
	stdout.Close() // the child has the other copy, and its end ends lines
	if err != nil {
		return measurement{}, err
	}
	defer p.stop()
	defer context.AfterFunc(ctx, p.kill)()

	m, err := window(lines, func() (sample, error) { return take(pid) })
	switch {
	case ctx.Err() != nil:
		return measurement{}, context.Cause(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF):
		<-p.done
		return measurement{}, p.ended()
	}
	return m, err
}

// window reads the load generator's lines up to the result, and relates that
// to what take returns when the window begins and ends. The error is
// io.ErrUnexpectedEOF if the lines end before.
func window(lines io.Reader, take func() (sample, error)) (measurement, error) {
	var before sample
	for in := bufio.NewScanner(lines); in.Scan(); {
		// The sample comes first: whatever happens after the line is not
		// the window's.
		now, err := take()
		if err != nil {
			return measurement{}, err
		}
		var line struct {
			Phase    string  `json:"phase"`
			Requests uint64  `json:"requests"`
			Seconds  float64 `json:"seconds"`
			CPU      float64 `json:"cpu_ns"`
			P50      float64 `json:"p50_ns"`
			P99      float64 `json:"p99_ns"`
			P999     float64 `json:"p999_ns"`
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return measurement{}, fmt.Errorf("the load generator said %q: %w", in.Text(), err)
		}
		if line.Phase == "start" {
			before = now
			continue
		}
		return measurement{
			Requests: line.Requests,
			Seconds:  line.Seconds,
			CPU:      line.CPU / 1e3 / float64(line.Requests),
			Rate:     float64(line.Requests) / line.Seconds,
			Switches: float64(now.since(before)) / line.Seconds,
			Busy:     line.CPU / 1e9 / line.Seconds * 100,
			P50:      line.P50 / 1e3,
			P99:      line.P99 / 1e3,
			P999:     line.P999 / 1e3,
		}, nil
	}
	return measurement{}, io.ErrUnexpectedEOF
}

// A sample counts the context switches of a process at one moment, voluntary
// and not, by thread.
type sample map[int]uint64

// since returns how many context switches there were between two samples.
// Those of threads that ended in between are not counted.
func (s sample) since(before sample) uint64 {
	var n uint64
	for tid, k := range s {
		n += k - before[tid]
	}
	return n
}

// take samples the process pid.
func take(pid int) (sample, error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	s := make(sample)
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return nil, err
		}
		b, err := os.ReadFile(filepath.Join(dir, t.Name(), "status"))
		if err != nil {
			continue // the thread has ended meanwhile
		}
		for line := range strings.Lines(string(b)) {
			if name, value, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "voluntary_ctxt_switches") {
				n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
				if err != nil {
					return nil, err
				}
				s[tid] += n
			}
		}
	}
	return s, nil
}
