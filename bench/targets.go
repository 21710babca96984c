// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"fmt"
	"slices"
	"strings"
)

// A target is a ratio of medians that this project wants to reach, between
// two servers in one setting of the suite, or two programs of ./micro.
type target struct {
	setting setting  // its Rate does not matter; or
	group   string   // of ./micro, and
	op      string   // how the operation's name ends
	metric  string   // a metric's key; of ./micro ""
	ours    []string // servers or programs, each a line of its own
	against string   // "": the median itself is compared
	least   bool     // limit is the least, not the most
	limit   float64
}

// A verdict is what a run says about one target.
type verdict struct {
	What     string  `json:"what"`
	Metric   string  `json:"metric"`
	Ours     string  `json:"ours"`
	Against  string  `json:"against,omitempty"`
	Least    bool    `json:"at_least"` // else at most
	Limit    float64 `json:"limit"`
	Measured bool    `json:"measured"` // if false, what follows means nothing
	Value    float64 `json:"value"`
	Met      bool    `json:"met"`
	Rounds   float64 `json:"rounds,omitempty"` // the same by rounds, see roundsRatio
	C        float64 `json:"c,omitempty"`      // what the reference of the setting has in our place
}

var (
	all           = []string{"evchan-all"}
	batches       = []string{"evchan-batches"}
	events        = []string{"evchan-events"}
	allAndBatches = []string{"evchan-all", "evchan-batches"}
	shared32      = echoSetting("shared", 32, 64, 1)
	shared200     = echoSetting("shared", 200, 64, 1)
	shared1000    = echoSetting("shared", 1000, 64, 1)
	unpinned200   = echoSetting("unpinned", 200, 64, 1)
	pipelined     = echoSetting("shared", 200, 64, 16)
	large         = echoSetting("shared", 32, 16<<10, 1)
	bulkSink      = setting{"shared", load{Work: "sink", Conns: 32}}
	bulkSource    = setting{"shared", load{Work: "source", Conns: 32}}
	bulkProxy     = setting{"shared", load{Work: "proxy", Conns: 32}}
	churn64       = setting{"shared", load{Work: "churn", Conns: 64, Size: 64}}
	rate200       = setting{"split", load{Work: "rate", Conns: 200, Size: 64}}
	idle15000     = setting{"shared", load{Work: "idle", Conns: 15000, Size: 64}}
)

// targets are what the project has set itself.
var targets = []target{
	{setting: shared32, metric: cpuRequest.key, ours: allAndBatches, against: "raw-epoll", limit: 1.06},
	{setting: shared32, metric: cpuRequest.key, ours: allAndBatches, against: "std", limit: 0.70},
	{setting: shared32, metric: cpuRequest.key, ours: allAndBatches, against: "libevent", limit: 0.52},
	{setting: shared32, metric: cpuRequest.key, ours: allAndBatches, against: "netpoll", limit: 0.68},
	{setting: shared32, metric: cpuRequest.key, ours: events, against: "evchan-all", limit: 1.08},
	{setting: shared200, metric: cpuRequest.key, ours: allAndBatches, against: "raw-epoll", limit: 1.06},
	{setting: shared200, metric: cpuRequest.key, ours: allAndBatches, against: "std", limit: 0.62},
	{setting: shared200, metric: cpuRequest.key, ours: allAndBatches, against: "libevent", limit: 0.52},
	{setting: shared200, metric: cpuRequest.key, ours: allAndBatches, against: "netpoll", limit: 0.68},
	{setting: shared200, metric: cpuRequest.key, ours: events, against: "evchan-all", limit: 1.08},
	{setting: shared1000, metric: cpuRequest.key, ours: allAndBatches, against: "raw-epoll", limit: 1.06},
	{setting: shared1000, metric: cpuRequest.key, ours: allAndBatches, against: "std", limit: 0.70},
	{setting: shared1000, metric: cpuRequest.key, ours: allAndBatches, against: "libevent", limit: 0.52},
	{setting: shared1000, metric: cpuRequest.key, ours: allAndBatches, against: "netpoll", limit: 0.68},
	{setting: shared1000, metric: cpuRequest.key, ours: events, against: "evchan-all", limit: 1.08},
	{setting: unpinned200, metric: cpuRequest.key, ours: all, against: "raw-epoll", limit: 1.06},
	{setting: unpinned200, metric: cpuRequest.key, ours: batches, against: "raw-epoll", limit: 1.12},
	{setting: unpinned200, metric: cpuRequest.key, ours: events, against: "std", limit: 0.90},
	{setting: pipelined, metric: cpuRequest.key, ours: all, against: "raw-epoll", limit: 1.05},
	{setting: large, metric: cpuRequest.key, ours: all, against: "raw-epoll", limit: 1.12},
	{setting: bulkSink, metric: bytesCPU.key, ours: all, against: "raw-epoll", least: true, limit: 0.95},
	{setting: bulkSource, metric: bytesCPU.key, ours: all, against: "raw-epoll", least: true, limit: 0.95},
	{setting: bulkProxy, metric: bytesCPU.key, ours: all, against: "libevent", least: true, limit: 1.3},
	{setting: churn64, metric: cpuConnection.key, ours: all, against: "std", limit: 0.75},
	{setting: rate200, metric: p99.key, ours: all, against: "std", limit: 0.8},
	{setting: idle15000, metric: idleSettled.key, ours: all, limit: 350},
	{setting: idle15000, metric: switchRate.key, ours: all, limit: 0},
	{group: "timers", op: "random/add+stop", ours: []string{"evchan"}, against: "libevent", limit: 0.7},
	{group: "timers", op: "random/add+stop", ours: []string{"evchan"}, against: "std", limit: 1.0},
	{group: "timers", op: "equal/reset", ours: []string{"evchan"}, against: "libevent", limit: 2.5},
	{group: "pairs", op: ",a=100,w=1000/run", ours: []string{"evchan"}, against: "libevent", limit: 1.25},
	{group: "buffer", op: "write+drain/64B", ours: []string{"evchan"}, against: "libevent", limit: 0.8},
	{group: "buffer", op: "write+drain/4KiB", ours: []string{"evchan"}, against: "libevent", limit: 0.8},
	{group: "buffer", op: "write+drain/64KiB", ours: []string{"evchan"}, against: "libevent", limit: 0.8},
	{group: "buffer", op: "readline/100B", ours: []string{"evchan"}, against: "libevent", limit: 0.6},
	{group: "buffer", op: "search-crlf/1MiB", ours: []string{"evchan"}, against: "libevent", limit: 1.3},
}

// judge compares what was measured with targets. The report has been
// summarized.
func (r *report) judge(targets []target) []verdict {
	var vv []verdict
	for _, t := range targets {
		for _, ours := range t.ours {
			if t.group == "" {
				vv = append(vv, r.judgeRow(t, ours))
			} else {
				vv = append(vv, r.judgeSingle(t, ours))
			}
		}
	}
	return vv
}

func (r *report) judgeRow(t target, ours string) verdict {
	find := func(server string) *row {
		i := slices.IndexFunc(r.Rows, func(row *row) bool {
			s := row.Setting
			s.Rate = t.setting.Rate
			return s == t.setting && row.Server == server && len(row.Runs) > 0
		})
		if i < 0 {
			return nil
		}
		return r.Rows[i]
	}
	v := t.verdict(t.setting.String(), t.metric, ours)
	row := find(ours)
	switch {
	case row == nil:
	case t.against == "":
		v.judge(row.Summary[t.metric].Median)
	default:
		if ref := find(t.against); ref != nil {
			if ratio, ok := ratioOf(row, ref, t.metric); ok {
				v.judge(ratio)
				v.Rounds = roundsRatio(row, ref, t.metric)
			}
			if c := r.reference(row.Setting); c != ref && c != row && v.Measured {
				v.C, _ = ratioOf(c, ref, t.metric)
			}
		}
	}
	return v
}

func (r *report) judgeSingle(t target, ours string) verdict {
	v := t.verdict(t.group+": "+t.op, "time", ours)
	for _, s := range r.Singles { // the last is the one with the most pairs
		if s.Group != t.group || !strings.HasSuffix(s.Name, t.op) || s.Program != ours || s.Unit != "ns/op" && s.Unit != "µs" {
			continue
		}
		if ref := r.single(s.Group, s.Name, t.against, s.Unit); ref != nil {
			v = t.verdict(s.Group+": "+s.Name, s.Unit, ours)
			v.judge(s.Summary.Median / ref.Summary.Median)
		}
	}
	return v
}

// verdict returns a verdict with nothing measured.
func (t target) verdict(what, metric, ours string) verdict {
	return verdict{What: what, Metric: metric, Ours: ours, Against: t.against, Least: t.least, Limit: t.limit}
}

// judge enters what was measured.
func (v *verdict) judge(value float64) {
	v.Measured = true
	v.Value = value
	v.Met = value <= v.Limit
	if v.Least {
		v.Met = value >= v.Limit
	}
}

// verdicts writes the table of targets, if there are any.
func (r *report) verdicts(b *strings.Builder) {
	if len(r.Targets) == 0 {
		return
	}
	b.WriteString("\n### targets\n\nRatios of the medians above, and what this project has set itself. Beside them the medians of the ratios in each round, and what " +
		"the first server of the table would have in our place.\n\n")
	b.WriteString("| where | what | ours | against | target | measured | by rounds | first server | |\n|---|---|---|---|---:|---:|---:|---:|---|\n")
	for _, v := range r.Targets {
		sign, against, value, met := "≤", v.Against, "–", "not measured"
		if v.Least {
			sign = "≥"
		}
		if against == "" {
			against = "–"
		}
		if v.Measured {
			value, met = number(v.Value), "not met"
			if v.Met {
				met = "met"
			}
		}
		optional := func(x float64) string {
			if x == 0 {
				return "–"
			}
			return number(x)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s %s | %s | %s | %s | %s |\n", v.What, v.Metric, v.Ours, against, sign, number(v.Limit), value,
			optional(v.Rounds), optional(v.C), met)
	}
}

// number formats a ratio or a count.
func number(x float64) string {
	if x >= 10 || x == 0 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2f", x)
}
