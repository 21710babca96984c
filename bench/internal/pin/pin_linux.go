// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package pin keeps a benchmark on one CPU.
package pin

import (
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Pin runs this program again, so that all its threads and children are on the CPU. It returns in
// that second run, or if cpu is negative.
func Pin(cpu int) error {
	const pinned = "EVCHAN_BENCH_PINNED=1"
	if cpu < 0 || slices.Contains(os.Environ(), pinned) {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return os.NewSyscallError("execve", unix.Exec(self, os.Args, append(os.Environ(), pinned)))
}
