// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A server is a program under comparison. It is one process, of any number of
// threads, that echoes on the TCP address it is given until it is killed.
type server struct {
	name    string
	program *program // nil: nothing to build
	args    []string // the command line; args[0] is relative to the directory of the built programs if there is a program
}

// argv returns the command line with addr filled in. bin is the directory of
// the built programs.
func (s server) argv(bin, addr string) ([]string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	fill := strings.NewReplacer("{addr}", addr, "{host}", host, "{port}", port)
	argv := make([]string, len(s.args))
	for i, a := range s.args {
		argv[i] = fill.Replace(a)
	}
	if s.program != nil {
		argv[0] = filepath.Join(bin, argv[0])
	}
	return argv, nil
}

// A program is how one executable is built from one directory.
type program struct {
	name string // of the executable
	c    string // the C file; or
	dir  string // the directory in whose module the Go package is, and
	pkg  string // the Go package
}

var (
	loadProgram = &program{name: "load", c: "load/load.c"}
	rawEpoll    = &program{name: "raw-epoll", c: "servers/rawepoll/rawepoll.c"}
	std         = &program{name: "std", dir: ".", pkg: "./servers/std"}
	evchanEcho  = &program{name: "evchan", dir: "..", pkg: "./examples/echo"}
)

// servers are the programs that are compared unless the command line says
// otherwise. The first is what the others are related to.
var servers = []server{
	{"raw-epoll", rawEpoll, []string{"raw-epoll", "-listen", "{addr}"}},
	{"evchan-all", evchanEcho, []string{"evchan", "-listen", "{addr}"}},
	{"evchan-batches", evchanEcho, []string{"evchan", "-listen", "{addr}", "-batches"}},
	{"evchan-events", evchanEcho, []string{"evchan", "-listen", "{addr}", "-events"}},
	{"std", std, []string{"std", "-listen", "{addr}"}},
}

// build builds the load generator and o's servers, and drops the servers that
// cannot be built, with the reason in the report and on stderr.
func build(ctx context.Context, o *options, rep *report, stderr io.Writer) error {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	o.bin = bin
	if err := os.MkdirAll(o.bin, 0o777); err != nil {
		return err
	}
	if err := loadProgram.build(ctx, o.bin, stderr); err != nil {
		return fmt.Errorf("building the load generator: %w", err)
	}
	done := map[*program]error{nil: nil}
	var built []server
	for _, s := range o.servers {
		err, ok := done[s.program]
		if !ok {
			err = s.program.build(ctx, o.bin, stderr)
			done[s.program] = err
		}
		if err != nil {
			fmt.Fprintf(stderr, "%s is left out: %v\n", s.name, err)
			rep.LeftOut = append(rep.LeftOut, omission{s.name, err.Error()})
			continue
		}
		built = append(built, s)
	}
	o.servers = built
	return ctx.Err()
}

// build compiles p into the directory bin. The error has the compiler's words.
func (p *program) build(ctx context.Context, bin string, stderr io.Writer) error {
	fmt.Fprintf(stderr, "building %s\n", p.name)
	out := filepath.Join(bin, p.name)
	var cmd *exec.Cmd
	if p.c != "" {
		cmd = exec.CommandContext(ctx, "gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", out, p.c)
	} else {
		if _, err := os.Stat(filepath.Join(p.dir, p.pkg)); err != nil {
			return err
		}
		cmd = exec.CommandContext(ctx, "go", "build", "-o", out, p.pkg)
		cmd.Dir = p.dir
	}
	if words, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(words)))
	}
	return nil
}
