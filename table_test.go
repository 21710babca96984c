// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "testing"

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
