// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// A table is a list that grows and shrinks page by page. Its elements are never
// copied to a larger place, so they stay where they are, and growth leaves nothing
// for the garbage collector. Its zero value is empty.
type table[T any] struct {
	pages []*[tablePage]T // all full but the last with elements; one more may follow
	n     int             // elements
}

// tablePage is how many elements have a page: so few that a small loop needs little
// memory, and so many that the pages are a short list. Arbitrary.
const tablePage = 256

// at returns the element i, which must be less than n.
func (t *table[T]) at(i int) *T { return &t.pages[i/tablePage][i%tablePage] }

// push appends x.
func (t *table[T]) push(x T) {
	if t.n == len(t.pages)*tablePage {
		t.pages = append(t.pages, new([tablePage]T))
	}
	t.n++
	*t.at(t.n - 1) = x
}

// pop removes the last element.
func (t *table[T]) pop() {
	t.n--
	var zero T
	*t.at(t.n) = zero
	if last := len(t.pages) - 1; last > 0 && t.n <= (last-1)*tablePage {
		t.pages[last] = nil
		t.pages = t.pages[:last] // an empty page stays, lest the next push makes one again
	}
}

// An fdSet is a set of descriptors, with a bit for each. They are small numbers; what
// is too large is never in the set. Its zero value is empty.
type fdSet struct{ words []uint64 }

// fdSetMax is where descriptors are too large, lest one alone cost more than 2 MB.
// Arbitrary.
const fdSetMax = 1 << 24

func (s *fdSet) add(fd sysFD) {
	if uint64(fd) >= fdSetMax {
		return
	}
	for len(s.words) <= int(fd/64) {
		s.words = append(s.words, 0)
	}
	s.words[fd/64] |= 1 << (fd % 64)
}

func (s *fdSet) remove(fd sysFD) {
	if s.has(fd) {
		s.words[fd/64] &^= 1 << (fd % 64)
	}
}

func (s *fdSet) has(fd sysFD) bool {
	return uint64(fd) < fdSetMax && int(fd/64) < len(s.words) && s.words[fd/64]>>(fd%64)&1 != 0
}
