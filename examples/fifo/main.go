// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

// Fifo reads a named pipe with a Watch: the loop says when there is input, and the
// program reads it with a system call.
//
//	go run ./examples/fifo -path /tmp/events &
//	echo hello > /tmp/events
//
// With -demo it makes a pipe of its own and writes to it.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/evchan/evchan"
)

func main() {
	path := flag.String("path", "event.fifo", "the pipe; it is made, and removed at the end")
	demo := flag.Bool("demo", false, "make a pipe in a temporary directory, and write to it")
	flag.Parse()
	if *demo {
		dir, err := os.MkdirTemp("", "fifo")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(dir)
		*path = filepath.Join(dir, "event.fifo")
	}
	if err := run(*path, *demo); err != nil {
		log.Fatal("fifo: ", err)
	}
}

func run(path string, demo bool) error {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return fmt.Errorf("mkfifo %s: %w", path, err)
	}
	defer os.Remove(path)
	// The pipe is open for writing as well. So there is no end of input when the last
	// writer closes it.
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)

	loop, err := evchan.New(nil)
	if err != nil {
		return err
	}
	defer loop.Close()
	watch, err := loop.Watch(uintptr(fd), evchan.Read|evchan.Persist)
	if err != nil {
		return err
	}
	if err := watch.Arm(0); err != nil {
		return err
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		return err
	}
	fmt.Println("reading", filepath.Base(path))
	if demo {
		go func() {
			for i := range 3 {
				os.WriteFile(path, fmt.Appendf(nil, "line %d\n", i+1), 0)
			}
			os.WriteFile(path, []byte("quit\n"), 0)
		}()
	}

	buf := make([]byte, 4096)
	for ev := range loop.All() {
		switch ev.(type) {
		case evchan.Ready:
			n, err := syscall.Read(fd, buf)
			if err == syscall.EAGAIN {
				continue // there may be nothing to read any more
			}
			if err != nil {
				return err
			}
			fmt.Printf("%q\n", buf[:n])
			if demo && n >= 5 && string(buf[n-5:n]) == "quit\n" {
				return nil
			}
		case evchan.Signaled:
			return nil
		}
	}
	return loop.Err()
}
