// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A sample is what the system says about a process at one moment.
type sample struct {
	switches map[int]uint64 // context switches, voluntary and not, by thread
	user     uint64         // CPU time in ticks
	system   uint64
	resident uint64 // bytes
	peak     uint64 // the most that resident has been, in bytes
}

// since returns how many context switches there were between two samples.
// Those of threads that ended in between are not counted.
func (s sample) since(before sample) uint64 {
	var n uint64
	for tid, k := range s.switches {
		n += k - before.switches[tid]
	}
	return n
}

// take samples the process pid.
func take(pid int) (sample, error) {
	var s sample
	var err error
	if s.switches, err = switches(pid); err != nil {
		return sample{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return sample{}, err
	}
	// The name, in parentheses, may have spaces. The third field follows it;
	// user and system time are the 14th and the 15th.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return sample{}, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	if s.user, err = strconv.ParseUint(fields[11], 10, 64); err != nil {
		return sample{}, err
	}
	if s.system, err = strconv.ParseUint(fields[12], 10, 64); err != nil {
		return sample{}, err
	}
	// The Rss that status has may be behind by what each CPU has not told yet.
	if s.resident, err = kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Rss"); err != nil {
		return sample{}, err
	}
	s.peak, err = kilobytes(fmt.Sprintf("/proc/%d/status", pid), "VmHWM")
	return s, err
}

// switches returns the context switches of each thread of the process pid.
func switches(pid int) (map[int]uint64, error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	s := make(map[int]uint64)
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return nil, err
		}
		b, err := os.ReadFile(filepath.Join(dir, t.Name(), "status"))
		if err != nil {
			continue // the thread has ended meanwhile
		}
		for line := range strings.Lines(string(b)) {
			if name, value, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "voluntary_ctxt_switches") {
				n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
				if err != nil {
					return nil, err
				}
				s[tid] += n
			}
		}
	}
	return s, nil
}

// kilobytes returns in bytes what a file of /proc has in a line "NAME: 123 kB".
func kilobytes(file, name string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if key, value, _ := strings.Cut(line, ":"); key == name {
			n, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}
