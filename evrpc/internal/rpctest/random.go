// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package rpctest

import (
	"math/rand/v2"
	"strings"
)

// RandomAll returns a random message.
func RandomAll(r *rand.Rand) All {
	return All{
		Number:    uint32(RandomUint(r)),
		Large:     RandomUint(r),
		Text:      RandomString(r),
		Data:      RandomBytes(r),
		Key:       [24]byte(randomN(r, 24)),
		Part:      RandomPart(r, 3),
		OptNumber: maybe(r, uint32(RandomUint(r))),
		OptLarge:  maybe(r, RandomUint(r)),
		OptText:   maybe(r, RandomString(r)),
		OptData:   [][]byte{nil, RandomBytes(r)}[r.IntN(2)],
		OptKey:    maybe(r, [3]byte(randomN(r, 3))),
		OptPart:   maybe(r, RandomPart(r, 1)),
		Numbers:   several(r, 20, func() uint32 { return uint32(RandomUint(r)) }),
		Larges:    several(r, 20, func() uint64 { return RandomUint(r) }),
		Texts:     several(r, 20, func() string { return RandomString(r) }),
		Parts:     several(r, 5, func() Part { return RandomPart(r, 2) }),
	}
}

// RandomPart returns a random part, with others in it down to that depth.
func RandomPart(r *rand.Rand, depth int) Part {
	p := Part{Name: RandomString(r), Count: maybe(r, RandomUint(r))}
	if depth > 0 {
		p.Parts = several(r, 4, func() Part { return RandomPart(r, depth-1) })
	}
	return p
}

// RandomUint returns a number; all lengths are as frequent.
func RandomUint(r *rand.Rand) uint64 { return r.Uint64() >> r.IntN(64) }

func randomN(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// RandomBytes returns bytes, mostly few.
func RandomBytes(r *rand.Rand) []byte {
	switch r.IntN(16) {
	case 0:
		return []byte{}
	case 1:
		return randomN(r, r.IntN(500))
	}
	return randomN(r, r.IntN(40))
}

// RandomString returns a string of any bytes but zero, mostly a short one.
func RandomString(r *rand.Rand) string {
	return strings.ReplaceAll(string(RandomBytes(r)), "\x00", "0")
}

// maybe returns nil or a pointer to v.
func maybe[T any](r *rand.Rand, v T) *T {
	if r.IntN(2) == 0 {
		return nil
	}
	return &v
}

// several returns fewer than limit values, nil for none.
func several[T any](r *rand.Rand, limit int, random func() T) []T {
	var s []T
	for range r.IntN(limit) {
		s = append(s, random())
	}
	return s
}
