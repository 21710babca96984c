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
//go:embed c
var sources embed.FS

// Build returns the path of the C program of that name, linked with libevent. It skips the test if there is no C
// compiler or no libevent.
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
	build := exec.Command(cc, "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o", name,
		name+".c", "message.c", "random.c", "-levent_extra", "-levent_core")
	build.Dir = filepath.Join(dir, "c")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, said)
	}
	return filepath.Join(build.Dir, name)
}
