// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
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
	mine := filepath.Join(dir, "bin", "raw-epoll")
	err := run(t.Context(), []string{
		"-bin", filepath.Join(dir, "bin"), "-out", filepath.Join(dir, "out"),
		"-work", "echo,rate,sink,source,proxy,churn,idle", "-only", "raw-epoll,std,echoes,mine",
		"-conns", "50", "-pipeline", "3", "-size", "1000", "-rate", "2000",
		"-server", "echoes=" + mine + " -work echo -listen {host}:{port}",
		"-server", "mine=" + mine + " -work {work} -listen {addr} -backend {backend}",
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
	for _, want := range []string{
		"### echo, shared, conns 50, size 1000, pipeline 3\n", "### rate, shared, conns 50, size 1000, 2000 a second\n", "### proxy, shared, conns 50\n",
		"\n| mine | 2 |", "(latency.svg)", "(bulk.svg)",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
	for _, name := range []string{"latency.svg", "bulk.svg"} {
		if svg, err := os.ReadFile(filepath.Join(dir, "out", name)); err != nil || !bytes.Contains(svg, []byte("raw-epoll")) {
			t.Errorf("%s: %d bytes without raw-epoll, error %v", name, len(svg), err)
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
	if got, want := len(rep.Rows), 7*4-3; got != want { // one server only echoes
		t.Fatalf("%d rows, want %d", got, want)
	}
	for _, row := range rep.Rows {
		if len(row.Runs) != 2 || len(row.Failures) != 0 {
			t.Errorf("%v, %s: %d runs, failures %q", row.Setting, row.Server, len(row.Runs), row.Failures)
		}
		for _, m := range row.Runs {
			if !plausible(row.Setting.Work, m) {
				t.Errorf("%v, %s: impossible: %+v", row.Setting, row.Server, m)
			}
		}
	}
}

// plausible reports whether m can be a measurement of 50 connections for 100 ms.
func plausible(work string, m measurement) bool {
	if m.Seconds < 0.1 || m.Peak == 0 {
		return false
	}
	switch work {
	case "idle":
		return m.Requests == 0 && m.Bytes == 0 // so few connections may fit into pages that were there before
	case "sink", "source", "proxy":
		return m.Requests == 0 && m.Bytes > 0 && m.CPU > 0
	}
	return m.Requests > 0 && m.Bytes == 0 && m.CPU > 0 && 0 < m.P50 && m.P50 <= m.P99 && m.P99 <= m.P999
}

// Each mode works, and without a rate one is found.
func TestRunModes(t *testing.T) {
	needTools(t)
	if runtime.NumCPU() < 2 {
		t.Skip("mode split needs two CPUs")
	}
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), []string{
		"-bin", t.TempDir(), "-work", "echo,rate", "-mode", "shared,unpinned,split", "-only", "raw-epoll",
		"-conns", "5", "-rounds", "1", "-warmup", "10ms", "-time", "100ms",
	}, &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	for _, want := range []string{"### echo, shared", "### echo, unpinned", "### echo, split", "### rate, shared", "### rate, unpinned", "### rate, split", "00 a second"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
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
	for _, want := range []string{"\n| ends | 0 | – |", "ends failed (echo, shared, conns 2, size 64, pipeline 1): the server: no such luck", "\n| raw-epoll | 1 |"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
}

func TestParse(t *testing.T) {
	for _, args := range []string{
		"-conns 0", "-size x", "-pipeline 1,", "-mode", "-mode sharp", "-work ech", "-rate -1", "-suite -conns 5", "-rounds 0", "-time 0s", "-warmup -1s",
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
	if len(o.settings) != 4 || o.settings[1] != (setting{"unpinned", load{Work: "echo", Conns: 2, Size: 3, Pipeline: 1}}) {
		t.Errorf("settings %v", o.settings)
	}
	if len(o.servers) != 2 || o.servers[0].name != "x" || o.servers[1].name != "std" {
		t.Errorf("servers %v", o.servers)
	}
}

func TestParseWorks(t *testing.T) {
	o, err := parse(strings.Fields("-work sink,rate,idle,echo -pipeline 1,2 -rate 7"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := []setting{
		{"shared", load{Work: "sink", Conns: 32}},
		{"shared", load{Work: "rate", Conns: 200, Size: 64, Rate: 7}},
		{"shared", load{Work: "idle", Conns: 15000, Size: 64}},
		echoSetting("shared", 200, 64, 1),
		echoSetting("shared", 200, 64, 2),
	}
	if !slices.Equal(o.settings, want) {
		t.Errorf("settings %v, want %v", o.settings, want)
	}
	if got := o.timing(want[2]); got != idleTiming {
		t.Errorf("idle takes %v", got)
	}
	if o, err = parse(strings.Fields("-suite -time 2s"), io.Discard); err != nil {
		t.Fatal(err)
	}
	if got, want := o.timing(want[2]), (timing{200 * time.Millisecond, 2 * time.Second}); got != want {
		t.Errorf("idle takes %v, want %v", got, want)
	}
	if o.out != "results" || !slices.Equal(o.settings, suite) || o.rounds(want[0]) != 11 || o.rounds(want[2]) != idleRounds {
		t.Errorf("the suite is %+v", o)
	}
}

// Every target is about a setting, servers and a metric that the suite has.
func TestTargets(t *testing.T) {
	known := func(name string) bool {
		return slices.ContainsFunc(servers, func(s server) bool { return s.name == name })
	}
	for _, target := range targets {
		if target.group != "" {
			continue
		}
		if !slices.Contains(suite, target.setting) {
			t.Errorf("the suite lacks %v", target.setting)
		}
		if !slices.ContainsFunc(workNamed(target.setting.Work).metrics, func(m metric) bool { return m.key == target.metric }) {
			t.Errorf("%v has no %s", target.setting, target.metric)
		}
		for _, name := range target.ours {
			if !known(name) {
				t.Errorf("no server %s", name)
			}
		}
		if target.against != "" && !known(target.against) {
			t.Errorf("no server %s", target.against)
		}
	}
}

func TestJudge(t *testing.T) {
	run := func(cpu, bytes float64) []measurement {
		return []measurement{{Requests: 1e6, Bytes: uint64(bytes), Seconds: 1, CPU: cpu}}
	}
	at := rate200
	at.Rate = 1000 // found while running
	split := echoSetting("split", 1, 1, 1)
	rep := &report{
		Rows: []*row{
			{Setting: shared200, Server: "a", Runs: run(1, 0)},
			{Setting: shared200, Server: "b", Runs: run(2, 0)},
			{Setting: shared200, Server: "c"},
			{Setting: bulkSink, Server: "a", Runs: run(1, 3e9)},
			{Setting: bulkSink, Server: "b", Runs: run(1, 2e9)},
			{Setting: at, Server: "a", Runs: run(0.5, 0)},
			{Setting: split, Server: "a", Runs: run(0.96, 0)}, // not busy enough
			{Setting: split, Server: "b", Runs: run(0.97, 0)},
		},
		Singles: []*single{
			{Group: "g", Name: "n", Program: "a", Unit: "ns/op", Values: []float64{2, 4, 3}},
			{Group: "g", Name: "n", Program: "b", Unit: "ns/op", Values: []float64{6}},
			{Group: "g", Name: "n", Program: "a", Unit: "B/op", Values: []float64{0}},
			{Group: "g", Name: "m", Program: "a", Unit: "ns/op", Values: []float64{2}},
		},
	}
	rep.summarize()
	for _, test := range []struct {
		name   string
		target target
		want   string
	}{
		{"Most", target{setting: shared200, metric: cpuRequest.key, ours: []string{"b"}, against: "a", limit: 2}, "2.00 met"},
		{"TooMuch", target{setting: shared200, metric: cpuRequest.key, ours: []string{"b"}, against: "a", limit: 1.99}, "2.00 not met"},
		{"Least", target{setting: bulkSink, metric: bytesCPU.key, ours: []string{"a"}, against: "b", least: true, limit: 1.5}, "1.50 met"},
		{"TooLittle", target{setting: bulkSink, metric: bytesCPU.key, ours: []string{"b"}, against: "a", least: true, limit: 0.67}, "0.67 not met"},
		{"Absolute", target{setting: rate200, metric: cpuRequest.key, ours: []string{"a"}, limit: 0.5}, "0.50 met"},
		{"NoRuns", target{setting: shared200, metric: cpuRequest.key, ours: []string{"c"}, against: "a", limit: 2}, "not measured"},
		{"NoServer", target{setting: shared200, metric: cpuRequest.key, ours: []string{"a"}, against: "d", limit: 2}, "not measured"},
		{"NotBusy", target{setting: split, metric: cpuRequest.key, ours: []string{"b"}, against: "a", limit: 2}, "not measured"},
		{"Single", target{group: "g", op: "n", ours: []string{"a"}, against: "b", limit: 0.5}, "0.50 met"},
		{"NoSingle", target{group: "h", op: "n", ours: []string{"a"}, against: "b", limit: 0.5}, "not measured"},
	} {
		vv := rep.judge([]target{test.target})
		if len(vv) != 1 {
			t.Errorf("%s: %d verdicts", test.name, len(vv))
			continue
		}
		got := "not measured"
		if v := vv[0]; v.Measured {
			got = fmt.Sprintf("%.2f met", v.Value)
			if !v.Met {
				got = fmt.Sprintf("%.2f not met", v.Value)
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	if md := rep.markdown(nil); !strings.Contains(md, "\n| (a) | 1 |") || !strings.Contains(md, "\n| b | 1 |") {
		t.Errorf("the row that does not count is not marked, or others are, in\n%s", md)
	}
}

func TestRoundsRatio(t *testing.T) {
	runs := func(cpu map[int]float64) (mm []measurement) {
		for _, round := range slices.Sorted(maps.Keys(cpu)) {
			mm = append(mm, measurement{Round: round, Requests: 1e6, Seconds: 1, CPU: cpu[round]})
		}
		return mm
	}
	rep := &report{Rows: []*row{
		{Setting: shared200, Server: "raw", Runs: runs(map[int]float64{1: 1, 2: 3, 3: 5})},
		{Setting: shared200, Server: "a", Runs: runs(map[int]float64{1: 2, 3: 10, 4: 1})},
		{Setting: shared200, Server: "b", Runs: runs(map[int]float64{1: 4, 2: 9, 3: 15})},
		{Setting: shared200, Server: "c", Runs: runs(map[int]float64{5: 1})},
	}}
	rep.summarize()
	verdict := func(ours, against string) verdict {
		return rep.judge([]target{{setting: shared200, metric: cpuRequest.key, ours: []string{ours}, against: against, limit: 1}})[0]
	}
	if v := verdict("a", "raw"); v.Value != 2.0/3 || v.Rounds != 2 || v.C != 0 {
		t.Errorf("a to raw: %+v", v)
	}
	if v := verdict("b", "a"); v.Value != 4.5 || v.Rounds != 1.75 || v.C != 1.5 {
		t.Errorf("b to a: %+v", v)
	}
	if v := verdict("c", "a"); v.Rounds != 0 || !v.Measured {
		t.Errorf("c to a: %+v", v)
	}
}

func TestSingles(t *testing.T) {
	rep := new(report)
	for _, round := range []string{
		`{"group":"g","name":"n","program":"a","value":2,"unit":"ns/op"}` + "\n" + `{"group":"g","name":"n","program":"b","value":5,"unit":"ns/op"}` + "\n",
		`{"group":"g","name":"n","program":"b","value":7,"unit":"ns/op"}` + "\n" + `{"group":"g","name":"n","program":"a","value":4,"unit":"ns/op"}` + "\n",
	} {
		if err := rep.addSingles([]byte(round)); err != nil {
			t.Fatal(err)
		}
	}
	rep.summarize()
	const want = "| operation | unit | a | b |\n|---|---|---:|---:|\n| n | ns/op | 3.0 (2.0..4.0) | 6.0 (5.0..7.0) |\n"
	if md := rep.markdown(nil); !strings.Contains(md, want) {
		t.Errorf("no\n%s\nin\n%s", want, md)
	}
	if err := rep.addSingles([]byte("no\n")); err == nil {
		t.Error("no error for a line that is not JSON")
	}
}

func TestCharts(t *testing.T) {
	run := []measurement{{Requests: 1e6, Seconds: 1, CPU: 2}}
	rep := &report{Rows: []*row{
		{Setting: shared200, Server: "a", Runs: run},
		{Setting: shared200, Server: "b"},
		{Setting: shared32, Server: "a"},
		{Setting: shared32, Server: "b", Runs: run},
		{Setting: unpinned200, Server: "c", Runs: run}, // not in a chart
	}}
	rep.summarize()
	charts := rep.charts()
	if len(charts) != 1 || charts[0].file != "cpu.svg" {
		t.Fatalf("charts %+v", charts)
	}
	// b alone at 32 has no reference.
	want := []bars{{"a", []float64{0, 1}}}
	if c := charts[0]; !slices.Equal(c.places, []string{"32", "200"}) || !slices.EqualFunc(c.bars, want, func(x, y bars) bool {
		return x.server == y.server && slices.Equal(x.values, y.values)
	}) {
		t.Errorf("chart %+v, want bars %v", c, want)
	}
}

// A server whose library is missing is left out, with the package to install.
func TestMissingLibrary(t *testing.T) {
	needTools(t)
	p := &program{name: "p", c: "load/load.c", libs: []string{"-lno-such-library"}, deb: "no-such-dev"}
	if err := p.build(t.Context(), t.TempDir(), io.Discard); err == nil || !strings.HasPrefix(err.Error(), "it needs Debian's no-such-dev: ") {
		t.Errorf("error %v", err)
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
