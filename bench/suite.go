// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"fmt"
	"io"
	"time"
)

// suite is everything that -suite runs besides the single operations of
// ./micro, in this order.
var suite = []setting{
	echoSetting("shared", 1, 64, 1),
	echoSetting("shared", 32, 64, 1),
	echoSetting("shared", 200, 64, 1),
	echoSetting("shared", 1000, 64, 1),
	echoSetting("shared", 10000, 64, 1),
	echoSetting("unpinned", 200, 64, 1),
	echoSetting("shared", 200, 64, 16),
	echoSetting("shared", 32, 16<<10, 1),
	{"shared", load{Work: "sink", Conns: 32}},
	{"shared", load{Work: "source", Conns: 32}},
	{"shared", load{Work: "proxy", Conns: 32}},
	{"shared", load{Work: "churn", Conns: 64, Size: 64}},
	{"split", load{Work: "rate", Conns: 200, Size: 64}},
	{"shared", load{Work: "idle", Conns: 15000, Size: 64}},
}

func echoSetting(mode string, conns, size, pipeline int) setting {
	return setting{mode, load{Work: "echo", Conns: conns, Size: size, Pipeline: pipeline}}
}

// idleRounds is the most rounds that the suite has of work idle: memory
// hardly differs from one to the next.
const idleRounds = 3

// rounds returns how many rounds s has.
func (o *options) rounds(s setting) int {
	if o.suite && s.Work == "idle" {
		return min(o.most, idleRounds)
	}
	return o.most
}

// timing returns how long a run in s takes.
func (o *options) timing(s setting) timing {
	if s.Work == "idle" && !o.timed {
		return idleTiming
	}
	return o.times
}

// estimate returns about how long a run in s takes, with all that belongs to
// it.
func (o *options) estimate(s setting) time.Duration {
	t := o.timing(s)
	const start, connect = 60 * time.Millisecond, 120 * time.Microsecond // connect with its end; measured once, arbitrary enough
	return t.warmup + t.measured + start + time.Duration(s.Conns)*connect
}

// A progress tells on w how far things are.
type progress struct {
	w           io.Writer
	began       time.Time
	total, done time.Duration // estimates
}

// begin announces a step.
func (p *progress) begin(format string, args ...any) {
	left := p.total - p.done
	if p.done > 0 { // then there is experience
		left = time.Duration(float64(left) * float64(time.Since(p.began)) / float64(p.done))
	}
	fmt.Fprintf(p.w, "[%v left] %s", left.Round(time.Second), fmt.Sprintf(format, args...))
}

// end ends the step, which was expected to take d.
func (p *progress) end(d time.Duration, format string, args ...any) {
	p.done += d
	fmt.Fprintf(p.w, ": %s\n", fmt.Sprintf(format, args...))
}
