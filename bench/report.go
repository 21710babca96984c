// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A measurement is what one run of one server gave.
type measurement struct {
	Requests uint64  `json:"requests"`           // in the measured window
	Seconds  float64 `json:"seconds"`            // length of the window
	CPU      float64 `json:"cpu_us_per_request"` // the server's, user and system
	Rate     float64 `json:"requests_per_second"`
	Switches float64 `json:"switches_per_second"` // of the server's threads, voluntary and not
	Busy     float64 `json:"busy_percent"`        // the server's CPU time by the window's length; above 100 with several CPUs
	P50      float64 `json:"p50_us"`              // latency of a request at the load generator
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
}

// A metric is a column of the table.
type metric struct {
	key    string // in JSON
	title  string
	digits int // after the decimal point
	of     func(measurement) float64
}

var metrics = []metric{
	{"cpu_us_per_request", "CPU µs/request", 2, func(m measurement) float64 { return m.CPU }},
	{"requests_per_second", "requests/s", 0, func(m measurement) float64 { return m.Rate }},
	{"switches_per_second", "switches/s", 0, func(m measurement) float64 { return m.Switches }},
	{"p50_us", "p50 µs", 0, func(m measurement) float64 { return m.P50 }},
	{"p99_us", "p99 µs", 0, func(m measurement) float64 { return m.P99 }},
	{"busy_percent", "busy %", 0, func(m measurement) float64 { return m.Busy }},
}

// A spread is a median and what it is the median of.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf returns the spread of one or more values.
func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1]}
}

// A row is one server in one setting.
type row struct {
	Setting  setting           `json:"setting"`
	Server   string            `json:"server"`
	Runs     []measurement     `json:"runs"`               // one a round
	Failures []string          `json:"failures,omitempty"` // of the rounds that gave nothing
	Summary  map[string]spread `json:"summary,omitempty"`  // of Runs, by a metric's key; set by write
}

// An omission is a server that was not run.
type omission struct {
	Server string `json:"server"`
	Reason string `json:"reason"`
}

// A report is what a whole command found, and what is needed to find it again.
type report struct {
	Command string     `json:"command"`
	Date    string     `json:"date"` // RFC 3339
	Kernel  string     `json:"kernel"`
	CPU     string     `json:"cpu"`
	CPUs    int        `json:"cpus"` // that the harness may use
	Go      string     `json:"go"`
	CC      string     `json:"cc"`
	LeftOut []omission `json:"left_out,omitempty"`
	Rows    []*row     `json:"rows"` // grouped by setting
}

func newReport(args []string) *report {
	command := []string{"go", "run", "."}
	for _, a := range args {
		if strings.ContainsAny(a, " '\"$\\{}*?;&|<>()`") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		command = append(command, a)
	}
	rep := &report{
		Command: strings.Join(command, " "),
		Date:    time.Now().UTC().Format(time.RFC3339),
		CPUs:    runtime.NumCPU(),
		Go:      runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
	}
	// These only describe the machine: what cannot be read stays empty.
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		rep.Kernel = "Linux " + strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				rep.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if b, err := exec.Command("gcc", "--version").Output(); err == nil {
		rep.CC, _, _ = strings.Cut(string(b), "\n")
	}
	return rep
}

// group adds an empty row for each server and returns these rows.
func (r *report) group(s setting, servers []server) []*row {
	for _, srv := range servers {
		r.Rows = append(r.Rows, &row{Setting: s, Server: srv.name})
	}
	return r.Rows[len(r.Rows)-len(servers):]
}

// write writes the report as Markdown to w, and with a dir also to
// results.md and results.json in it.
func (r *report) write(w io.Writer, dir string) error {
	for _, row := range r.Rows {
		if len(row.Runs) == 0 {
			continue
		}
		row.Summary = make(map[string]spread)
		for _, m := range metrics {
			var values []float64
			for _, run := range row.Runs {
				values = append(values, m.of(run))
			}
			row.Summary[m.key] = spreadOf(values)
		}
	}
	md := r.markdown()
	if _, err := io.WriteString(w, md); err != nil {
		return err
	}
	if dir == "" {
		return nil
	}
	js, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.md"), []byte(md), 0o666); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "results.json"), append(js, '\n'), 0o666)
}

// markdown returns the tables. write has set the summaries.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`\n\n%s; %s; %d × %s; %s; %s\n", r.Command, r.Date, r.Kernel, r.CPUs, r.CPU, r.Go, r.CC)
	for _, o := range r.LeftOut {
		reason, _, _ := strings.Cut(o.Reason, "\n")
		fmt.Fprintf(&b, "\n%s was left out: %s\n", o.Server, reason)
	}
	for i, row := range r.Rows {
		if i == 0 || r.Rows[i-1].Setting != row.Setting {
			fmt.Fprintf(&b, "\n### %v\n\n| server | rounds |", row.Setting)
			for j, m := range metrics {
				fmt.Fprintf(&b, " %s |", m.title)
				if j == 0 {
					fmt.Fprintf(&b, " to %s |", r.reference(row.Setting).Server)
				}
			}
			b.WriteString("\n|---|" + strings.Repeat("---:|", len(metrics)+2) + "\n")
		}
		r.line(&b, row)
	}
	for _, row := range r.Rows {
		for _, f := range row.Failures {
			fmt.Fprintf(&b, "\n%s failed (%v): %s\n", row.Server, row.Setting, strings.ReplaceAll(f, "\n", " "))
		}
	}
	return b.String()
}

// reference returns the row that others of the setting are related to: the
// first.
func (r *report) reference(s setting) *row {
	return r.Rows[slices.IndexFunc(r.Rows, func(row *row) bool { return row.Setting == s })]
}

// line writes one row of a table.
func (r *report) line(b *strings.Builder, row *row) {
	fmt.Fprintf(b, "| %s | %d |", row.Server, len(row.Runs))
	ref := r.reference(row.Setting)
	for i, m := range metrics {
		s, ok := row.Summary[m.key]
		if !ok {
			b.WriteString(" – |")
		} else {
			fmt.Fprintf(b, " %.*f (%.*f..%.*f) |", m.digits, s.Median, m.digits, s.Min, m.digits, s.Max)
		}
		if i > 0 {
			continue
		}
		if base, has := ref.Summary[m.key]; ok && has {
			fmt.Fprintf(b, " %.2f |", s.Median/base.Median)
		} else {
			b.WriteString(" – |")
		}
	}
	b.WriteString("\n")
}
