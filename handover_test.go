// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// envSuccessor is set for a process that the tests of HandOver start: it says what that does.
const envSuccessor = "EVCHAN_TEST_SUCCESSOR"

func init() {
	if what := os.Getenv(envSuccessor); what != "" {
		if err := succeed(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// succeed is the new process: it answers each line with its name until its input ends.
func succeed(what string) error {
	in, err := Inherit()
	if err != nil {
		return err
	}
	switch what {
	case "fails":
		return errors.New("failed as it was told to")
	case "hangs":
		select {}
	}
	l, err := New(nil)
	if err != nil {
		return err
	}
	for _, nl := range in.Listeners {
		if _, err := l.WrapListener(nl, nil); err != nil {
			return err
		}
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		l.Shutdown(context.Background())
	}()
	in.Ready()
	answerLines(l, what)
	return nil
}

// answerLines answers each line with name, until the loop ends.
func answerLines(l *Loop, name string) {
	for ev := range l.All() {
		switch ev := ev.(type) {
		case Readable:
			for range ev.Stream.Input().Lines(LFOrCRLF) {
				ev.Stream.WriteString(name + "\n")
			}
		case EOF:
			ev.Stream.Close()
		}
	}
}

// successor returns a command that runs succeed(what), and a function that ends it.
func successor(t *testing.T, what string) (*exec.Cmd, func()) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envSuccessor+"="+what)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	return cmd, func() {
		stdin.Close()
		cmd.Wait()
	}
}

// Servers replace one another while clients connect. No client is refused, reset, or left
// without its reply.
func TestHandOver(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "socket")
			}
			l := dialLoop(t, "")
			ln, err := l.Listen(network, address, nil)
			must(t, err)
			done := make(chan struct{})
			go func() {
				defer close(done)
				answerLines(l, "old")
			}()
			var replies [2]atomic.Int64
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						c, err := net.Dial(network, ln.Addr().String())
						if err != nil {
							t.Error(err)
							return
						}
						c.SetDeadline(time.Now().Add(20 * time.Second))
						fmt.Fprintln(c, "who?")
						got := make([]byte, 4)
						if _, err := io.ReadFull(c, got); err != nil {
							t.Error(err)
						}
						c.Close()
						if string(got) == "old\n" {
							replies[0].Add(1)
						} else {
							replies[1].Add(1)
						}
					}
				})
			}
			for replies[0].Load() < 10 {
				time.Sleep(time.Millisecond) // until the clients are at work
			}
			cmd, end := successor(t, "new")
			must(t, HandOver(t.Context(), cmd, ln))
			ln.Close()
			for l.Stats().Sources > 0 { // the clients close
				time.Sleep(time.Millisecond)
			}
			must(t, l.Shutdown(t.Context()))
			<-done
			for n := replies[1].Load(); replies[1].Load() < n+20 && !t.Failed(); {
				time.Sleep(time.Millisecond)
			}
			close(stop)
			wg.Wait()
			end()
		})
	}
}

// If the new process fails or does not become ready, the old one serves on.
func TestHandOverFails(t *testing.T) {
	l := dialLoop(t, "")
	ln := listen(t, l, "tcp", nil)
	go answerLines(l, "old")
	cmd, _ := successor(t, "fails")
	cmd.Stderr = nil
	if err := HandOver(t.Context(), cmd, ln); err == nil {
		t.Error("it has not failed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	cmd, _ = successor(t, "hangs")
	if err := HandOver(ctx, cmd, ln); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := HandOver(t.Context(), exec.Command("true"), l.Trigger()); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	c := dial(t, ln)
	fmt.Fprintln(c, "who?")
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "old\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// What is meant for another process is left alone, and so is nothing at all.
func TestInheritNothing(t *testing.T) {
	for _, env := range []map[string]string{{}, {envSockets: "1", envProcess: "1"}, {envSockets: "x"}} {
		for name, value := range env {
			t.Setenv(name, value)
		}
		in, err := Inherit()
		must(t, err)
		if len(in.Listeners)+len(in.PacketConns) > 0 || os.Getenv(envSockets) != "" {
			t.Errorf("%v: %+v", env, in)
		}
		must(t, in.Ready())
		must(t, in.Close())
	}
}
