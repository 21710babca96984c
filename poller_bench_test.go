// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "testing"

func benchmarkPollers(b *testing.B, f func(*testing.B, poller, testNet)) {
	for _, m := range kernelMethods() {
		b.Run(m.name, func(b *testing.B) {
			p, n := openTestMethod(m, newTestNet())(b)
			b.ReportAllocs()
			f(b, p, n)
		})
	}
}

func BenchmarkPollerWait1(b *testing.B) { benchmarkPollers(b, benchmarkWait(1)) }

func BenchmarkPollerWait100(b *testing.B) { benchmarkPollers(b, benchmarkWait(100)) }

func benchmarkWait(count int) func(*testing.B, poller, testNet) {
	return func(b *testing.B, p poller, n testNet) {
		for k := range count {
			a, _ := n.pair(b)
			must(b, p.add(a, testToken(k), Write))
		}
		var got []ready
		for b.Loop() {
			got, _ = p.wait(got[:0], -1)
			if len(got) != count {
				b.Fatalf("%d ready", len(got))
			}
		}
	}
}

// BenchmarkPollerWake is the way of a wake to a parked goroutine and back.
func BenchmarkPollerWake(b *testing.B) {
	benchmarkPollers(b, func(b *testing.B, p poller, n testNet) {
		back := make(chan struct{})
		go func() {
			defer close(back)
			for {
				if _, err := p.wait(nil, -1); err != nil {
					return
				}
				back <- struct{}{}
			}
		}()
		for b.Loop() {
			p.wake()
			<-back
		}
		p.close()
		<-back
	})
}

func BenchmarkPollerAddRemove(b *testing.B) {
	benchmarkPollers(b, func(b *testing.B, p poller, n testNet) {
		a, _ := n.pair(b)
		for b.Loop() {
			p.add(a, testToken(1), Read)
			p.remove(a)
		}
	})
}
