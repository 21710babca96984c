// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// microEstimate is about how long one round of ./micro takes.
const microEstimate = 66 * time.Second

// microRounds is the most rounds of it. Each measures repeatedly by itself.
const microRounds = 3

// A single is what one program took for one operation of ./micro.
type single struct {
	Group   string    `json:"group"`
	Name    string    `json:"name"`
	Program string    `json:"program"`
	Unit    string    `json:"unit"`
	Values  []float64 `json:"values"` // one a round
	Summary spread    `json:"summary"`
}

// runMicro runs ./micro round by round, and adds what it prints to the report.
// It lets its programs take turns by itself.
func runMicro(ctx context.Context, h *harness, o *options, rep *report, p *progress) error {
	if ctx.Err() != nil {
		return nil
	}
	if err := microProgram.build(ctx, o.bin, p.w); err != nil {
		rep.LeftOut = append(rep.LeftOut, omission{"micro", err.Error()})
		return err
	}
	for round := range min(o.most, microRounds) {
		p.begin("single operations, round %d", round+1)
		argv := []string{filepath.Join(o.bin, microProgram.name), "-allocs", "-round", strconv.Itoa(round)}
		if o.times.measured < 200*time.Millisecond { // arbitrary: whoever asks for that does not ask for numbers
			argv = append(argv, "-quick")
		}
		out, said, err := h.output(ctx, argv...)
		if ctx.Err() != nil {
			p.end(0, "interrupted")
			return nil
		}
		if err == nil {
			err = rep.addSingles(out)
		}
		if err != nil {
			p.end(microEstimate, "failed: %v", err)
			return fmt.Errorf("micro: %w", err)
		}
		if said != "" && round == 0 {
			rep.LeftOut = append(rep.LeftOut, omission{"of micro", said})
		}
		p.end(microEstimate, "done")
	}
	return nil
}

// addSingles adds the lines of one round.
func (r *report) addSingles(lines []byte) error {
	for line := range bytes.Lines(lines) {
		var l struct {
			Group, Name, Program, Unit string
			Value                      float64
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		i := slices.IndexFunc(r.Singles, func(s *single) bool {
			return s.Group == l.Group && s.Name == l.Name && s.Program == l.Program && s.Unit == l.Unit
		})
		if i < 0 {
			i = len(r.Singles)
			r.Singles = append(r.Singles, &single{Group: l.Group, Name: l.Name, Program: l.Program, Unit: l.Unit})
		}
		r.Singles[i].Values = append(r.Singles[i].Values, l.Value)
	}
	return nil
}

// single returns the result of that operation, or nil.
func (r *report) single(group, name, program, unit string) *single {
	for _, s := range r.Singles {
		if s.Group == group && s.Name == name && s.Program == program && s.Unit == unit {
			return s
		}
	}
	return nil
}

// singles writes a table for each group, with a column for each program.
func (r *report) singles(b *strings.Builder) {
	var groups []string
	for _, s := range r.Singles {
		if !slices.Contains(groups, s.Group) {
			groups = append(groups, s.Group)
		}
	}
	for _, g := range groups {
		type operation struct{ name, unit string }
		var operations []operation
		var programs []string
		for _, s := range r.Singles {
			if s.Group != g {
				continue
			}
			if op := (operation{s.Name, s.Unit}); !slices.Contains(operations, op) {
				operations = append(operations, op)
			}
			if !slices.Contains(programs, s.Program) {
				programs = append(programs, s.Program)
			}
		}
		// The order of the first round is that of the first rotation, which is
		// the order that micro has them in.
		fmt.Fprintf(b, "\n### single operations: %s\n\n| operation | unit | %s |\n|---|---|%s\n", g, strings.Join(programs, " | "), strings.Repeat("---:|", len(programs)))
		for _, op := range operations {
			fmt.Fprintf(b, "| %s | %s |", op.name, op.unit)
			for _, p := range programs {
				if s := r.single(g, op.name, p, op.unit); s != nil {
					fmt.Fprintf(b, " %s |", s.Summary.format(1))
				} else {
					b.WriteString(" – |")
				}
			}
			b.WriteString("\n")
		}
	}
}
