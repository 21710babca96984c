// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The test's executable runs itself where the program does.
func TestMain(m *testing.M) {
	if os.Getenv("MICRO_CHILD") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// expected returns what every program of a group has to report in a quick run.
func expected() map[string][]string {
	n := pairSizes(true, descriptors())[0]
	return map[string][]string{
		"timers": {
			"random/add", "random/stop", "random/add+stop", "random/reset",
			"equal/add", "equal/stop", "equal/add+stop", "equal/reset",
			"random/fire",
		},
		"buffer": {
			"write+drain/64B", "write+drain/4KiB", "write+drain/64KiB",
			"write+read/64B", "write+read/4KiB", "write+read/64KiB",
			"write-64Bx1000+read-4KiB", "move/1MiB", "prepend/16B+4KiB", "search-crlf/1MiB", "readline/100B",
		},
		"pairs": {
			fmt.Sprintf("n=%d,a=1,w=1000/run", n), fmt.Sprintf("n=%d,a=1,w=1000/readd+run", n),
			fmt.Sprintf("n=%d,a=100,w=1000/run", n), fmt.Sprintf("n=%d,a=100,w=1000/readd+run", n),
		},
		"cascade": {fmt.Sprintf("n=%d/run", n), fmt.Sprintf("n=%d/add+run", n)},
	}
}

func TestRun(t *testing.T) {
	missing := buildC(t.Context(), t.TempDir())
	for _, m := range missing {
		t.Logf("without %s: %v", m.program, m.reason)
	}
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), []string{"-quick", "-allocs", "-round", "1", "-profile", t.TempDir()}, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}

	type key struct{ group, name, program, unit string }
	got := make(map[key]float64)
	var order []string // of the programs of pairs
	for d := json.NewDecoder(&stdout); ; {
		var r result
		if err := d.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		k := key{r.Group, r.Name, r.Program, r.Unit}
		if _, ok := got[k]; ok {
			t.Errorf("%v twice", k)
		}
		got[k] = r.Value
		if r.Group == "pairs" && !slices.Contains(order, r.Program) {
			order = append(order, r.Program)
		}
	}

	for _, g := range groups {
		for _, p := range g.programs {
			if slices.ContainsFunc(missing, func(m omission) bool { return m.program == p }) {
				continue
			}
			units := []string{"ns/op"}
			if g.name == "pairs" || g.name == "cascade" {
				units[0] = "µs"
			}
			if !slices.Contains(inC, p) {
				units = append(units, "allocs/op", "B/op")
			}
			for _, name := range expected()[g.name] {
				for i, unit := range units {
					k := key{g.name, name, p, unit}
					if v, ok := got[k]; !ok || v < 0 || v == 0 && i == 0 {
						t.Errorf("%v: %v, %v", k, v, ok)
					}
					delete(got, k)
				}
			}
		}
	}
	for k := range got {
		t.Errorf("%v was not expected", k)
	}
	if order[0] != "evchan-edge" || order[len(order)-1] != "evchan" {
		t.Errorf("round 1 ran %v", order)
	}
}

func TestWithoutLibevent(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc: ", err)
	}
	cmd := exec.Command("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-DNO_LIBEVENT", "-o", os.DevNull, "-x", "c", "-")
	cmd.Stdin = strings.NewReader(microC)
	if words, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, words)
	}
}

func TestParse(t *testing.T) {
	for _, args := range []string{"-groups none", "-groups timers,", "-round -1", "-sizes 0", "-sizes 1,x", "more"} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("no error for %q", args)
		}
	}
	o, err := parse(strings.Fields("-groups cascade,timers -quick -round 3"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.groups) != 2 || o.groups[0].name != "cascade" || o.groups[1].name != "timers" || !o.quick || o.round != 3 {
		t.Errorf("%+v", o)
	}
}

func TestPairSizes(t *testing.T) {
	for _, test := range []struct {
		quick bool
		limit int
		want  []int
	}{
		{false, 1 << 20, []int{100, 1000, 10000}},
		{false, 20000, []int{100, 1000, 9968}},
		{false, 1024, []int{100, 480}},
		{true, 1024, []int{100}},
	} {
		if got := pairSizes(test.quick, test.limit); !slices.Equal(got, test.want) {
			t.Errorf("pairSizes(%v, %d) = %v, want %v", test.quick, test.limit, got, test.want)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := table(&b, []result{
		{"timers", "random/add", "evchan", 50, "ns/op"},
		{"timers", "random/add", "std", 100, "ns/op"},
	})
	if err != nil {
		t.Fatal(err)
	}
	row := strings.Fields(strings.Split(b.String(), "\n")[1])
	if want := []string{"random/add", "ns/op", "50.0", "–", "100.0", "–", "0.50"}; !slices.Equal(row, want) {
		t.Errorf("%q, want %q", row, want)
	}
}
