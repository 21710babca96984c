// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package rpctest has what the tests of evtag and evrpc share: a message with each kind of field, in Go and in
// C, and C programs that use libevent.
package rpctest

import (
	"embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:generate go run ../../evrpcgen -package rpctest -o message.go all.rpc

// sources are the C programs, and what they share.
//
//go:embed c all.rpc
var sources embed.FS

// Build returns the path of the C program of that name, linked with libevent. It skips the test if there is no C
// compiler or no libevent.
//
// If the environment variable EVENT_RPCGEN is the path of libevent's event_rpcgen.py, what that generates takes the
// place of message.c and message.h. (Debian has it in libevent's source package only.)
func Build(t *testing.T, name string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler: ", err)
	}
	probe := exec.Command(cc, "-x", "c", "-fsyntax-only", "-")
	probe.Stdin = strings.NewReader("#include <event2/rpc.h>\n")
	if said, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no libevent to compile with: %v\n%s", err, said)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, sources); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "c")
	warnings := []string{"-Wall", "-Wextra", "-Werror"}
	if generator := os.Getenv("EVENT_RPCGEN"); generator != "" {
		warnings = nil // what is generated has some
		generate := exec.Command("python3", generator, "--quiet", "../all.rpc", "message.h", "message.c")
		generate.Dir = dir
		if said, err := generate.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", generate, err, said)
		}
	}
	build := exec.Command(cc, append(warnings, "-std=gnu11", "-O1", "-g", "-o", name,
		name+".c", "message.c", "random.c", "-levent_extra", "-levent_core")...)
	build.Dir = dir
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, said)
	}
	return filepath.Join(dir, name)
}
