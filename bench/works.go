// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A work is one kind of load that the load generator can make.
type work struct {
	name    string
	server  string   // what a server does for it: its -work
	conns   int      // unless the command line says otherwise
	sizes   bool     // whether the size of a message can be chosen
	metrics []metric // the first is what servers are related by
}

// works are all kinds of load.
var works = []*work{
	// Every connection keeps messages in flight, and sends the next one when a reply is complete.
	{"echo", "echo", 200, true,
		[]metric{cpuRequest, userShare, requestRate, switchRate, p50, p99, p999, peak, busy}},
	// Messages at random moments, as many a second for every server, whether or not replies come.
	{"rate", "echo", 200, true,
		[]metric{cpuRequest, userShare, requestRate, switchRate, p50, p99, p999, peak, busy}},
	// Every connection sends as much as the server takes.
	{"sink", "sink", 32, false,
		[]metric{bytesCPU, userShare, byteRate, switchRate, peak, busy}},
	// Every connection receives as much as the server sends.
	{"source", "source", 32, false,
		[]metric{bytesCPU, userShare, byteRate, switchRate, peak, busy}},
	// Every connection sends as much as gets through the server to the load generator's other side.
	{"proxy", "proxy", 32, false,
		[]metric{bytesCPU, userShare, byteRate, switchRate, peak, busy}},
	// Connect, a message, its reply, close, and again.
	{"churn", "echo", 64, true,
		[]metric{cpuConnection, userShare, connectionRate, switchRate, p50, p99, p999, peak, busy}},
	// A message and its reply on every connection, then nothing.
	{"idle", "echo", 15000, true,
		[]metric{idleSettled, idleOpened, switchRate, cpuIdle, peak}},
}

func workNamed(name string) *work {
	i := slices.IndexFunc(works, func(w *work) bool { return w.name == name })
	if i < 0 {
		return nil
	}
	return works[i]
}

// names returns the names of all works.
func names() string {
	var nn []string
	for _, w := range works {
		nn = append(nn, w.name)
	}
	return strings.Join(nn, ", ")
}

// modes are the ways to place server and load generator on CPUs. In each the
// harness itself, which sleeps while they work, goes where the system puts it.
var modes = []string{
	"shared",   // both pinned to the same CPU
	"unpinned", // both where the system puts them
	"split",    // each pinned to a CPU of its own
}

// A load is what is asked of a server.
type load struct {
	Work     string `json:"work"` // a name of works
	Conns    int    `json:"conns"`
	Size     int    `json:"size,omitempty"`     // bytes of a message; 0: the work is in bulk
	Pipeline int    `json:"pipeline,omitempty"` // messages in flight on a connection; 0: the work does not say
	Rate     int    `json:"rate,omitempty"`     // of work rate, messages a second; 0: half of what the slowest server can do
}

// A setting is a load and how the processes are placed. Servers are compared
// within a setting.
type setting struct {
	Mode string `json:"mode"` // a name of modes
	load
}

func (s setting) String() string {
	t := fmt.Sprintf("%s, %s, conns %d", s.Work, s.Mode, s.Conns)
	if s.Size > 0 {
		t += fmt.Sprintf(", size %d", s.Size)
	}
	if s.Pipeline > 0 {
		t += fmt.Sprintf(", pipeline %d", s.Pipeline)
	}
	if s.Rate > 0 {
		t += fmt.Sprintf(", %d a second", s.Rate)
	}
	return t
}

// leastBusy returns how busy, in per cent, a server's CPU must have been for
// its row to count. In mode split a server that is not busy all the time is
// woken again and again from the other CPU, more or less often by chance. At a
// fixed rate and when idle that is as it should be.
func (s setting) leastBusy() float64 {
	if s.Mode != "split" || s.Work == "rate" || s.Work == "idle" {
		return 0
	}
	return 97
}

// A measurement is what one run of one server gave.
type measurement struct {
	Round    int     `json:"round"`           // from 1
	Requests uint64  `json:"requests"`        // in the measured window: replies, for churn connections
	Bytes    uint64  `json:"bytes,omitempty"` // of bulk in the window
	Seconds  float64 `json:"seconds"`         // length of the window
	CPU      float64 `json:"cpu_seconds"`     // the server's, user and system
	User     float64 `json:"user_share"`      // of CPU, from 0 to 1, as far as ticks tell
	Switches uint64  `json:"switches"`        // of the server's threads, voluntary and not
	P50      float64 `json:"p50_us"`          // latency of a request at the load generator
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
	Peak     uint64  `json:"peak_bytes"`                             // resident memory of the server, at its most
	Opened   float64 `json:"opened_bytes_per_connection,omitempty"`  // growth of resident memory when the connections stand
	Settled  float64 `json:"settled_bytes_per_connection,omitempty"` // when the window begins
}

// A metric is a column of a table.
type metric struct {
	key    string // in JSON
	title  string
	digits int // after the decimal point
	of     func(measurement) float64
}

var (
	cpuRequest     = metric{"cpu_us_per_request", "CPU µs/request", 2, perRequest}
	cpuConnection  = metric{"cpu_us_per_connection", "CPU µs/connection", 2, perRequest}
	userShare      = metric{"user_percent", "user %", 0, func(m measurement) float64 { return m.User * 100 }}
	requestRate    = metric{"requests_per_second", "requests/s", 0, perSecond}
	connectionRate = metric{"connections_per_second", "connections/s", 0, perSecond}
	bytesCPU       = metric{"gb_per_cpu_second", "GB/CPU s", 2, func(m measurement) float64 { return float64(m.Bytes) / 1e9 / m.CPU }}
	byteRate       = metric{"gb_per_second", "GB/s", 2, func(m measurement) float64 { return float64(m.Bytes) / 1e9 / m.Seconds }}
	switchRate     = metric{"switches_per_second", "switches/s", 0, func(m measurement) float64 { return float64(m.Switches) / m.Seconds }}
	p50            = metric{"p50_us", "p50 µs", 0, func(m measurement) float64 { return m.P50 }}
	p99            = metric{"p99_us", "p99 µs", 0, func(m measurement) float64 { return m.P99 }}
	p999           = metric{"p999_us", "p99.9 µs", 0, func(m measurement) float64 { return m.P999 }}
	peak           = metric{"peak_mib", "peak MiB", 1, func(m measurement) float64 { return float64(m.Peak) / (1 << 20) }}
	busy           = metric{"busy_percent", "busy %", 0, func(m measurement) float64 { return m.CPU / m.Seconds * 100 }}
	idleOpened     = metric{"opened_bytes", "B/connection at first", 0, func(m measurement) float64 { return m.Opened }}
	idleSettled    = metric{"settled_bytes", "B/connection", 0, func(m measurement) float64 { return m.Settled }}
	cpuIdle        = metric{"cpu_ms_per_second", "CPU ms/s", 2, func(m measurement) float64 { return m.CPU * 1e3 / m.Seconds }}
)

func perRequest(m measurement) float64 { return m.CPU * 1e6 / float64(m.Requests) }
func perSecond(m measurement) float64  { return float64(m.Requests) / m.Seconds }

// A timing is how long a run takes.
type timing struct {
	warmup   time.Duration // under load, before the window
	measured time.Duration // the window
}

// idleTiming is for work idle, unless the command line says otherwise. The
// memory is read at the beginning and at the end of its warm-up.
var idleTiming = timing{time.Second, 3 * time.Second}
