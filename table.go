// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// A table is a list that grows and shrinks by pages. Its elements never move: growing
// copies none of them, and leaves the garbage collector no old array. The zero value
// is empty.
type table[T any] struct {
	pages []*[tablePage]T // full pages, one that may be in part, and at most one empty page
	n     int             // elements
}

// tablePage is the number of elements in a page. Arbitrary: a small loop needs
// little memory, and the list of pages stays short.
const tablePage = 256

// at returns a pointer to element i, which must be less than n.
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
		t.pages = t.pages[:last] // one empty page stays, for the next push
	}
}

// An fdSet is a set of descriptors, which are small numbers, with one bit for each.
// Those of fdSetMax or more are never in the set. The zero value is empty.
type fdSet struct{ words []uint64 }

// fdSetMax caps the set at 2 MB. Arbitrary.
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
