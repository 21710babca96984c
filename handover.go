// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// A server can be replaced by a new version of itself without one refused connection: the new
// process gets the listening sockets, so that the kernel goes on to take connections while one
// process takes over from the other. The environment says how many sockets there are, as service
// managers do it (sd_listen_fds(3)).
const (
	envSockets = "LISTEN_FDS"      // how many descriptors there are, from 3 on
	envProcess = "LISTEN_PID"      // of which process; a service manager sets it
	envNames   = "LISTEN_FDNAMES"  // is not used
	envReady   = "EVCHAN_READY_FD" // the descriptor to which Ready writes
)

// firstInherited is the number of the first descriptor.
const firstInherited = 3

// HandOver starts cmd, usually a new version of this server, and gives it the sockets of
// sources, which are Listeners and PacketConns. It returns nil when the new process has called
// [Inherited.Ready]. From then on that process accepts as well, and the caller
//
//  1. closes its listeners,
//  2. finishes what is under way, and
//  3. calls Shutdown.
//
// No connection is refused meanwhile. The file of a unix socket stays.
//
// If the new process ends before it is ready, HandOver returns an error. If ctx ends before
// that, HandOver kills the new process and returns ctx.Err(). In both cases this process keeps
// its sockets and goes on serving.
//
// cmd must not have been started and must have no ExtraFiles. After HandOver has returned nil,
// the caller calls cmd.Wait, or exits and lets the new process live on.
//
// With [KernelPort], each loop of a Group has a socket of its own, and HandOver passes only the
// first of them. On Windows HandOver returns ErrUnsupported.
func HandOver(ctx context.Context, cmd *exec.Cmd, sources ...Source) (err error) {
	switch {
	case ctx == nil || cmd == nil:
		return errors.New("evchan: HandOver with a nil context or command")
	case len(cmd.ExtraFiles) > 0:
		return errors.New("evchan: HandOver of a command that has ExtraFiles")
	case !canInherit:
		return fmt.Errorf("evchan: HandOver on this system: %w", ErrUnsupported)
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, s := range sources {
		f, ok := s.(interface{ File() (*os.File, error) })
		if !ok {
			return fmt.Errorf("evchan: HandOver of a %T, which is no Listener or PacketConn: %w", s, ErrUnsupported)
		}
		file, err := f.File()
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	ready, tells, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(withoutInherited(cmd.Env), envSockets+"="+strconv.Itoa(len(files)),
		envReady+"="+strconv.Itoa(firstInherited+len(files)))
	cmd.ExtraFiles = append(files, tells)
	err = cmd.Start()
	tells.Close()
	for _, f := range files {
		setNonblocking(f) // exec.Cmd has made it blocking, also for this process
	}
	if err != nil {
		return err
	}
	told := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(ready, make([]byte, 1))
		told <- err
	}()
	select {
	case err = <-told:
		if err != nil {
			err = errors.New("evchan: HandOver: the new process has ended, or has closed the descriptor, before it was ready")
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	for _, s := range sources {
		if s, ok := s.(interface{ SetUnlinkOnClose(bool) }); ok {
			s.SetUnlinkOnClose(false)
		}
	}
	return nil
}

// withoutInherited returns env without the variables of an earlier hand-over.
func withoutInherited(env []string) (rest []string) {
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case envSockets, envProcess, envNames, envReady:
		default:
			rest = append(rest, v)
		}
	}
	return rest
}

// Inherited has the sockets that a process was given when it was started. Give them to
// WrapListener and WrapPacketConn of a [Loop] or [Group].
type Inherited struct {
	Listeners   []net.Listener   // in the order in which they were passed
	PacketConns []net.PacketConn // likewise

	ready *os.File // nil: nobody waits
}

// Inherit returns the sockets that this process was given: by [HandOver] of the version before, or
// by a service manager (socket activation: LISTEN_FDS and LISTEN_PID, see sd_listen_fds(3)). If it
// was given none, the result is empty. Call it once, before other processes are started: Inherit
// removes the variables from the environment. It returns an error if a descriptor is no socket
// that listens or takes datagrams.
func Inherit() (*Inherited, error) {
	in := new(Inherited)
	n, err := strconv.Atoi(os.Getenv(envSockets))
	pid := os.Getenv(envProcess)
	readyFD, readyErr := strconv.Atoi(os.Getenv(envReady))
	for _, name := range []string{envSockets, envProcess, envNames, envReady} {
		os.Unsetenv(name)
	}
	if err != nil || n < 0 || !canInherit || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return in, nil
	}
	if readyErr == nil {
		in.ready = inheritedFile(readyFD)
	}
	for fd := firstInherited; fd < firstInherited+n; fd++ {
		f := inheritedFile(fd)
		ln, err := net.FileListener(f)
		if err == nil {
			in.Listeners = append(in.Listeners, ln)
		} else if pc, perr := net.FilePacketConn(f); perr == nil {
			in.PacketConns = append(in.PacketConns, pc)
		} else {
			f.Close()
			in.Close()
			return nil, fmt.Errorf("evchan: Inherit: descriptor %d: %w", fd, err)
		}
		f.Close() // in has a duplicate
	}
	return in, nil
}

// Ready tells the process that has called HandOver that this one serves. Call it when the loop
// listens. If there is no such process, Ready does nothing.
func (in *Inherited) Ready() error {
	if in.ready == nil {
		return nil
	}
	defer in.ready.Close()
	_, err := in.ready.Write([]byte{1})
	in.ready = nil
	return err
}

// Close closes the sockets that were not given to a loop.
func (in *Inherited) Close() error {
	for _, ln := range in.Listeners {
		ln.Close()
	}
	for _, pc := range in.PacketConns {
		pc.Close()
	}
	if in.ready != nil {
		in.ready.Close()
		in.ready = nil
	}
	return nil
}
