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
// threads, that does the work it is given until it is killed.
type server struct {
	name    string
	program *program // nil: nothing to build
	args    []string // what comes after -listen and -work; without a program the whole command line
}

// argv returns the command line. bin is the directory of the built programs,
// backend the address that a proxy leads to, or "".
func (s server) argv(bin, addr, work, backend string) ([]string, error) {
	if s.program != nil {
		argv := []string{filepath.Join(bin, s.program.name), "-listen", addr, "-work", work}
		if backend != "" {
			argv = append(argv, "-backend", backend)
		}
		return append(argv, s.args...), nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if backend == "" {
		backend = addr // any address: the work has no use for it
	}
	fill := strings.NewReplacer("{addr}", addr, "{host}", host, "{port}", port, "{work}", work, "{backend}", backend)
	argv := make([]string, len(s.args))
	for i, a := range s.args {
		argv[i] = fill.Replace(a)
	}
	return argv, nil
}

// does reports whether the server can do w. One whose command does not say
// {work} can echo.
func (s server) does(w *work) bool {
	return s.program != nil && !s.program.echoOnly || w.server == "echo" || strings.Contains(strings.Join(s.args, " "), "{work}")
}

// A program is how one executable is built.
type program struct {
	name string   // of the executable
	c    string   // the C files, as a pattern; or
	pkg  string   // the Go package
	tags string   // the Go build tags
	libs []string // arguments for the linker of the C files
	deb  string   // the Debian package that has libs and their headers

	echoOnly bool // it can do nothing else
}

var (
	loadProgram  = &program{name: "load", c: "load/*.c", libs: []string{"-lm"}}
	microProgram = &program{name: "micro", pkg: "./micro"}

	rawEpoll = &program{name: "raw-epoll", c: "servers/rawepoll/*.c"}
	libevent = &program{name: "libevent", c: "servers/libevent/*.c", libs: []string{"-levent"}, deb: "libevent-dev"}
	libuv    = &program{name: "libuv", c: "servers/libuv/*.c", libs: []string{"-luv"}, deb: "libuv1-dev"}
	std      = &program{name: "std", pkg: "./servers/std"}
	netpoll  = &program{name: "netpoll", pkg: "./servers/netpoll"}
	gnet     = &program{name: "gnet", pkg: "./servers/gnet", echoOnly: true}
	gnetOpt  = &program{name: "gnet-opt", pkg: "./servers/gnet", tags: "poll_opt", echoOnly: true}
	nbio     = &program{name: "nbio", pkg: "./servers/nbio", echoOnly: true}
	evchan   = &program{name: "evchan", pkg: "./servers/evchan"}
)

// servers are the programs that are compared unless the command line says
// otherwise. The first is what the others are related to.
var servers = []server{
	{"raw-epoll", rawEpoll, nil},
	{"evchan-all", evchan, []string{"-mode", "all"}},
	{"evchan-batches", evchan, []string{"-mode", "batches"}},
	{"evchan-events", evchan, []string{"-mode", "events"}},
	{"evchan-netconn", evchan, []string{"-mode", "netconn"}},
	{"evchan-group", evchan, []string{"-loops", "2"}},
	{"evchan-group-of-one", evchan, []string{"-loops", "1"}},
	{"std", std, nil},
	{"netpoll", netpoll, nil},
	{"gnet", gnet, nil},
	{"gnet-opt", gnetOpt, nil},
	{"gnet-multicore", gnet, []string{"-loops", "0"}},
	{"nbio", nbio, nil},
	{"nbio-et", nbio, []string{"-mode", "et"}},
	{"nbio-oneshot", nbio, []string{"-mode", "oneshot"}},
	{"libevent", libevent, nil},
	{"libuv", libuv, nil},
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

// build compiles p into the directory bin. The error begins with what to do
// about it if that is known, and has the compiler's words.
func (p *program) build(ctx context.Context, bin string, stderr io.Writer) error {
	fmt.Fprintf(stderr, "building %s\n", p.name)
	out := filepath.Join(bin, p.name)
	var cmd *exec.Cmd
	if p.c != "" {
		files, err := filepath.Glob(p.c)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("no file %s", p.c)
		}
		args := append([]string{"-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", out}, files...)
		cmd = exec.CommandContext(ctx, "gcc", append(args, p.libs...)...)
	} else {
		cmd = exec.CommandContext(ctx, "go", "build", "-tags", p.tags, "-o", out, p.pkg)
	}
	words, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(words)))
	missing := strings.Contains(string(words), "No such file") || strings.Contains(string(words), "cannot find -l")
	if p.deb != "" && missing {
		return fmt.Errorf("it needs Debian's %s: %w", p.deb, err)
	}
	return err
}
