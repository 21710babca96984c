// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"math"
	"math/big"
	"testing"
	"time"
)

// FuzzRateLimit compares what a bucket is filled with, and which limits make sense,
// with sums of numbers of any size. Each pair of ops says how much time passes, and
// how much is taken then.
func FuzzRateLimit(f *testing.F) {
	f.Add(1000, 1000, int64(time.Second), []byte{1, 10, 2, 200})
	f.Add(1, 1, int64(1), []byte("a byte a second, by nanoseconds"))
	f.Add(math.MaxInt, math.MaxInt, int64(maxTick), []byte{255, 255, 0, 0, 63, 1})
	f.Add(333, 70, int64(200*time.Millisecond), []byte{5, 3, 5, 3, 5, 3, 100, 255})
	f.Add(0, 0, int64(0), []byte(nil))
	f.Fuzz(func(t *testing.T, rate, burst int, tick int64, ops []byte) {
		limit := RateLimit{ReadRate: rate, ReadBurst: burst, Tick: time.Duration(tick)}
		second := big.NewInt(int64(time.Second))
		brings := func(ns int64, rest *big.Int) (n, left *big.Int) {
			n = new(big.Int).Mul(big.NewInt(int64(rate)), big.NewInt(ns))
			return new(big.Int).DivMod(n.Add(n, rest), second, new(big.Int))
		}
		each, _ := brings(tick, new(big.Int))
		ok := tick > 0 && tick <= int64(maxTick) && rate >= 1 && burst >= 1 && each.Cmp(big.NewInt(int64(burst))) <= 0
		// Of what is more than an int holds, check says that it is as much as an int holds.
		if err := limit.check(); (err == nil) != ok && !(burst == math.MaxInt && err == nil) {
			t.Fatalf("%+v: %v", limit, err)
		} else if err != nil {
			return
		}

		g := new(RateGroup)
		g.set(limit)
		b := &g.dirs[dirRead]
		most := big.NewInt(int64(b.burst))
		level, rest := new(big.Int), new(big.Int)
		var now, ticks int64
		for steps := 0; len(ops) >= 2 && steps < 300; steps++ {
			// From a nanosecond to years.
			step := int64(1+ops[0]&15) << (ops[0] >> 4 * 3)
			if now > math.MaxInt64-step {
				break
			}
			now += step
			g.refill(now)
			if k := now/tick - ticks; k > 0 {
				ticks += k
				n, left := brings(k*tick, rest)
				if level.Add(level, n).Cmp(most) > 0 {
					level.Set(most)
					left.SetInt64(0)
				}
				rest = left
			}
			if big.NewInt(int64(b.level)).Cmp(level) != 0 || new(big.Int).SetUint64(b.rest).Cmp(rest) != 0 {
				t.Fatalf("%+v: after %d ns: %d and %d billionths; want %v and %v", limit, now, b.level, b.rest, level, rest)
			}
			take := int(float64(ops[1]) / 255 * float64(b.level) / 2)
			if ops[1] == 255 {
				take = b.level
			}
			b.level -= take
			level.Sub(level, big.NewInt(int64(take)))
			ops = ops[2:]
		}
	})
}
