// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails if a test has left a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if stacks := leaked(); stacks != "" {
			fmt.Println("goroutines are left:\n\n" + stacks)
			code = 1
		}
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines that do not end.
func leaked() string {
	var stacks []string
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		stacks = nil
		for _, s := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")[1:] {
			if strings.Contains(s, "evchan") || strings.Contains(s, "miekg") {
				stacks = append(stacks, s)
			}
		}
		if len(stacks) == 0 {
			return ""
		}
	}
	return strings.Join(stacks, "\n\n")
}
