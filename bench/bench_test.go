// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// needTools skips the test where servers cannot be built or measured.
func needTools(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the servers are measured on Linux only")
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc: ", err)
	}
}

func TestRun(t *testing.T) {
	needTools(t)
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), []string{
		"-bin", filepath.Join(dir, "bin"), "-out", filepath.Join(dir, "out"),
		"-mode", "shared,unpinned", "-only", "raw-epoll,std,mine", "-conns", "50", "-pipeline", "3", "-size", "1000",
		"-server", "mine=" + filepath.Join(dir, "bin", "raw-epoll") + " -listen {host}:{port}",
		"-rounds", "2", "-warmup", "10ms", "-time", "100ms",
	}, &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	md, err := os.ReadFile(filepath.Join(dir, "out", "results.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(md, stdout.Bytes()) {
		t.Error("results.md is not what stdout had")
	}
	for _, want := range []string{"### shared, conns 50,", "### unpinned, conns 50,", "\n| mine | 2 |"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}

	js, err := os.ReadFile(filepath.Join(dir, "out", "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(js, &rep); err != nil {
		t.Fatal(err)
	}
	if got, want := len(rep.Rows), 2*3; got != want {
		t.Fatalf("%d rows, want %d", got, want)
	}
	for _, row := range rep.Rows {
		if len(row.Runs) != 2 || len(row.Failures) != 0 {
			t.Errorf("%v, %s: %d runs, failures %q", row.Setting, row.Server, len(row.Runs), row.Failures)
		}
		for _, m := range row.Runs {
			if m.Requests == 0 || m.Seconds < 0.1 || m.CPU <= 0 || m.Busy <= 0 || m.P50 <= 0 || m.P50 > m.P99 || m.P99 > m.P999 {
				t.Errorf("%v, %s: impossible: %+v", row.Setting, row.Server, m)
			}
		}
	}
}

// A server that cannot be run, or that ends, costs its own row only.
func TestRunFailures(t *testing.T) {
	needTools(t)
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), []string{
		"-bin", t.TempDir(), "-only", "ends,raw-epoll",
		"-server", "ends=sh -c 'echo no such luck >&2; exit 3'",
		"-rounds", "1", "-conns", "2", "-warmup", "0", "-time", "100ms",
	}, &stdout, &stderr)
	if err == nil {
		t.Error("no error for a server that ended")
	}
	for _, want := range []string{"\n| ends | 0 | – |", "ends failed (shared, conns 2, size 64, pipeline 1): the server: no such luck", "\n| raw-epoll | 1 |"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
}

func TestParse(t *testing.T) {
	for _, args := range []string{
		"-conns 0", "-size x", "-pipeline 1,", "-mode", "-mode split", "-rounds 0", "-time 0s", "-warmup -1s",
		"-server std=x", "-server =x", "-server x=", "-only nobody", "more",
	} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("no error for %q", args)
		}
	}
	o, err := parse(strings.Fields("-mode unpinned,shared -conns 1,2 -size 3 -server x=y -only x,std"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.settings) != 4 || o.settings[1] != (setting{"unpinned", load{Conns: 2, Size: 3, Pipeline: 1}}) {
		t.Errorf("settings %v", o.settings)
	}
	if len(o.servers) != 2 || o.servers[0].name != "x" || o.servers[1].name != "std" {
		t.Errorf("servers %v", o.servers)
	}
}

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{5}, spread{5, 5, 5}},
		{[]float64{4, 1}, spread{2.5, 1, 4}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{9, 1, 2, 4}, spread{3, 1, 9}},
	} {
		if got := spreadOf(test.values); got != test.want {
			t.Errorf("spreadOf(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}
