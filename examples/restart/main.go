// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

// Restart is a server on all processors that can be replaced by a new version of itself without
// one refused connection. It tells each client its process number.
//
// SIGHUP has it start its program file anew, which may be another one by now, and hand its
// listening socket over. When the new process serves, the old one finishes what is under way, and
// ends. SIGINT and SIGTERM end it without a successor.
//
// With -demo, it replaces itself three times while a client connects again and again.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/evchan/evchan"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7070", "listen on `address`")
	demo := flag.Bool("demo", false, "replace the server three times, with a client at work")
	flag.Parse()
	if *demo {
		if err := demonstrate(); err != nil {
			log.Fatal("restart: ", err)
		}
		return
	}
	if err := run(*listen); err != nil {
		log.Fatal("restart: ", err)
	}
}

func run(address string) error {
	g, err := evchan.NewGroup(nil)
	if err != nil {
		return err
	}
	inherited, err := evchan.Inherit()
	if err != nil {
		return err
	}
	var ln *evchan.Listener
	if len(inherited.Listeners) > 0 { // of the process before, or of a service manager
		ln, err = g.WrapListener(inherited.Listeners[0], nil)
	} else {
		ln, err = g.Listen("tcp", address, nil)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "restart: process %d listens on %v\n", os.Getpid(), ln.Addr())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, finish := context.WithCancel(ctx)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			if err := replace(ctx, ln); err != nil {
				fmt.Fprintln(os.Stderr, "restart: going on:", err)
				continue
			}
			// Finish what is under way: each client closes when it has its answer.
			ln.Close()
			for end := time.Now().Add(5 * time.Second); g.Stats().Sources > 0 && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			finish() // closes what is left
			return
		}
	}()
	if err := inherited.Ready(); err != nil {
		return err
	}
	return g.Run(ctx, serve)
}

// replace starts the program anew, with the socket of ln, and waits until it serves.
func replace(ctx context.Context, ln *evchan.Listener) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.Command(path, os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return evchan.HandOver(ctx, cmd, ln)
}

func serve(loop *evchan.Loop) error {
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case evchan.Accepted:
			fmt.Fprintf(ev.Stream, "%d\n", os.Getpid())
			ev.Stream.Close() // ends when the client has closed
		case evchan.AcceptFailed:
			fmt.Fprintln(os.Stderr, "restart:", ev.Listener.Err())
		}
	}
	return loop.Err()
}

// demonstrate starts a server, and connects while that is replaced.
func demonstrate() error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	const address = "127.0.0.1:17070"
	cmd := exec.Command(path, "-listen", address)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait()
	pid, replaced := 0, 0
	begin := time.Now()
	for clients := 0; ; {
		now, err := ask(address)
		switch {
		case err != nil && pid == 0 && time.Since(begin) < 30*time.Second:
			time.Sleep(10 * time.Millisecond) // it is starting
			continue
		case err != nil:
			return fmt.Errorf("client %d: %w", clients, err)
		}
		clients++
		if now == pid {
			continue
		}
		if pid != 0 {
			replaced++
		}
		pid = now
		server, err := os.FindProcess(pid)
		if err != nil {
			return err
		}
		if replaced == 3 {
			fmt.Printf("%d clients were served by 4 processes, one after the other\n", clients)
			return server.Signal(os.Interrupt)
		}
		if err := server.Signal(syscall.SIGHUP); err != nil {
			return err
		}
	}
}

// ask returns the number of the process that serves.
func ask(address string) (pid int, err error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(line, &pid)
	return pid, err
}
