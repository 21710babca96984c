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

// format returns the median, and the least and the greatest in parentheses.
func (s spread) format(digits int) string {
	return fmt.Sprintf("%.*f (%.*f..%.*f)", digits, s.Median, digits, s.Min, digits, s.Max)
}

// A row is one server in one setting.
type row struct {
	Setting  setting           `json:"setting"`
	Server   string            `json:"server"`
	Runs     []measurement     `json:"runs"`               // one a round
	Idle     bool              `json:"idle,omitempty"`     // it does not count, see setting.leastBusy; set by write
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
	Singles []*single  `json:"singles,omitempty"`
	Targets []verdict  `json:"targets,omitempty"` // set by write
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

// summarize sets what follows from the runs.
func (r *report) summarize() {
	for _, row := range r.Rows {
		if len(row.Runs) == 0 {
			continue
		}
		row.Summary = make(map[string]spread)
		for _, m := range workNamed(row.Setting.Work).metrics {
			var values []float64
			for _, run := range row.Runs {
				values = append(values, m.of(run))
			}
			row.Summary[m.key] = spreadOf(values)
		}
		row.Idle = row.Summary[busy.key].Median < row.Setting.leastBusy()
	}
	for _, s := range r.Singles {
		s.Summary = spreadOf(s.Values)
	}
}

// write writes the report as Markdown to w, and with a dir also to results.md
// and results.json in it, with plots. The targets are part of it if judge is
// true.
func (r *report) write(w io.Writer, dir string, judge bool) error {
	r.summarize()
	if judge {
		r.Targets = r.judge(targets)
	}
	var plots []chart
	if dir != "" {
		plots = r.charts()
	}
	md := r.markdown(plots)
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
	for _, p := range plots {
		if err := p.save(dir); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "results.md"), []byte(md), 0o666); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "results.json"), append(js, '\n'), 0o666)
}

// markdown returns the tables, and links to the plots. The report has been
// summarized.
func (r *report) markdown(plots []chart) string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`\n\n%s; %s; %d × %s; %s; %s\n", r.Command, r.Date, r.Kernel, r.CPUs, r.CPU, r.Go, r.CC)
	for _, o := range r.LeftOut {
		reason, _, _ := strings.Cut(o.Reason, "\n")
		fmt.Fprintf(&b, "\n%s was left out: %s\n", o.Server, reason)
	}
	for _, p := range plots {
		fmt.Fprintf(&b, "\n![%s](%s)\n", p.title, p.file)
	}
	for i, row := range r.Rows {
		if i == 0 || r.Rows[i-1].Setting != row.Setting {
			r.header(&b, row.Setting)
		}
		r.line(&b, row)
	}
	for _, row := range r.Rows {
		for _, f := range row.Failures {
			fmt.Fprintf(&b, "\n%s failed (%v): %s\n", row.Server, row.Setting, strings.ReplaceAll(f, "\n", " "))
		}
	}
	r.singles(&b)
	r.verdicts(&b)
	return b.String()
}

// reference returns the row that others of the setting are related to: the
// first.
func (r *report) reference(s setting) *row {
	return r.Rows[slices.IndexFunc(r.Rows, func(row *row) bool { return row.Setting == s })]
}

// header begins a table.
func (r *report) header(b *strings.Builder, s setting) {
	metrics := workNamed(s.Work).metrics
	fmt.Fprintf(b, "\n### %v\n\n", s)
	if slices.ContainsFunc(r.Rows, func(row *row) bool { return row.Setting == s && row.Idle }) {
		b.WriteString("Rows in parentheses do not count: the server's CPU was not busy all the time.\n\n")
	}
	b.WriteString("| server | rounds |")
	for i, m := range metrics {
		fmt.Fprintf(b, " %s |", m.title)
		if i == 0 {
			fmt.Fprintf(b, " to %s |", r.reference(s).Server)
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(metrics)+2) + "\n")
}

// line writes one row of a table.
func (r *report) line(b *strings.Builder, row *row) {
	name := row.Server
	if row.Idle {
		name = "(" + name + ")"
	}
	fmt.Fprintf(b, "| %s | %d |", name, len(row.Runs))
	ref := r.reference(row.Setting)
	for i, m := range workNamed(row.Setting.Work).metrics {
		if s, ok := row.Summary[m.key]; ok {
			fmt.Fprintf(b, " %s |", s.format(m.digits))
		} else {
			b.WriteString(" – |")
		}
		if i > 0 {
			continue
		}
		if ratio, ok := ratioOf(row, ref, m.key); ok {
			fmt.Fprintf(b, " %.2f |", ratio)
		} else {
			b.WriteString(" – |")
		}
	}
	b.WriteString("\n")
}

// ratioOf returns the ratio of the medians of two rows, if both count.
func ratioOf(row, ref *row, key string) (float64, bool) {
	a, aok := row.Summary[key]
	b, bok := ref.Summary[key]
	return a.Median / b.Median, aok && bok && !row.Idle && !ref.Idle && b.Median != 0
}

// roundsRatio returns the median of the ratios of two rows in each round. The machine's
// speed changes less within a round than from one to another. It returns 0 if no round has both.
func roundsRatio(row, ref *row, key string) float64 {
	metrics := workNamed(row.Setting.Work).metrics
	of := metrics[slices.IndexFunc(metrics, func(m metric) bool { return m.key == key })].of
	var ratios []float64
	for _, a := range row.Runs {
		for _, b := range ref.Runs {
			if a.Round == b.Round && of(b) != 0 {
				ratios = append(ratios, of(a)/of(b))
			}
		}
	}
	if len(ratios) == 0 {
		return 0
	}
	return spreadOf(ratios).Median
}
