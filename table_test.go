// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"testing"
)

func TestTable(t *testing.T) {
	var x table[*int]
	const n = 5*tablePage + 1
	first := (**int)(nil)
	for i := range n {
		x.push(&i)
		if i == 0 {
			first = x.at(0)
		}
	}
	if x.n != n || len(x.pages) != 6 || x.at(0) != first {
		t.Fatalf("%d elements on %d pages, the first moved: %v", x.n, len(x.pages), x.at(0) != first)
	}
	for i := range n {
		if *x.at(i) == nil || **x.at(i) != i {
			t.Fatalf("element %d is %v", i, *x.at(i))
		}
	}
	for x.n > 0 {
		x.pop()
		pages := (x.n + tablePage - 1) / tablePage
		if got := len(x.pages); got < pages || got > pages+1 {
			t.Fatalf("%d pages with %d elements", got, x.n)
		}
		if page := x.pages[x.n/tablePage]; page[x.n%tablePage] != nil {
			t.Fatalf("element %d is kept", x.n)
		}
	}
	x.push(nil)
	if x.n != 1 || len(x.pages) != 1 {
		t.Errorf("%d elements on %d pages after a push", x.n, len(x.pages))
	}
}

// FuzzTable compares a table with a slice. Each byte is a run of pushes, or of pops
// if its highest bit is set.
func FuzzTable(f *testing.F) {
	f.Add([]byte{127, 127, 3, 129, 1, 130, 2, 255, 255, 255})
	f.Add([]byte{127, 127, 2, 129, 1, 129, 1, 129, 1})
	f.Add([]byte{1, 129, 129, 1})
	f.Fuzz(func(t *testing.T, runs []byte) {
		var x table[*int]
		var want []*int
		for _, run := range runs[:min(len(runs), 200)] {
			for range run & 127 {
				if run < 128 {
					p := new(int)
					x.push(p)
					want = append(want, p)
				} else if len(want) > 0 {
					x.pop()
					want = want[:len(want)-1]
				}
			}
			if full := (len(want) + tablePage - 1) / tablePage; x.n != len(want) || len(x.pages) < full || len(x.pages) > full+1 {
				t.Fatalf("%d elements on %d pages; want %d", x.n, len(x.pages), len(want))
			}
			for i, p := range want {
				if *x.at(i) != p {
					t.Fatalf("element %d of %d is another one", i, x.n)
				}
			}
			for i := x.n; i < len(x.pages)*tablePage; i++ {
				if *x.at(i) != nil {
					t.Fatalf("element %d, behind all %d, is kept", i, x.n)
				}
			}
		}
	})
}
