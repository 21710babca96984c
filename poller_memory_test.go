// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestMemoryPoller is what TestPoller checks of waits and wakes. There are no descriptors.
func TestMemoryPoller(t *testing.T) {
	for name, f := range map[string]func(*testing.T, poller, testNet){
		"WakeBeforeWait":   testWakeBeforeWait,
		"WakeOutlivesPoll": testWakeOutlivesPoll,
		"WakeDuringWait":   testWakeDuringWait,
		"WakesCoalesce":    testWakesCoalesce,
		"WakeStorm":        testWakeStorm,
		"ShortWait":        testShortWait,
		"NoDescriptors":    testMemoryPollerRefuses,
		"Close":            testMemoryPollerCloses,
	} {
		t.Run(name, func(t *testing.T) {
			p := memoryMethod(t)
			defer p.close()
			f(t, p, nil)
		})
	}
}

func testMemoryPollerRefuses(t *testing.T, p poller, _ testNet) {
	if err := p.add(1, testToken(1), Read); !errors.Is(err, ErrUnsupported) {
		t.Errorf("add: %v", err)
	}
	for name, err := range map[string]error{
		"arm":      p.arm(1, testToken(1), Read),
		"remove":   p.remove(1),
		"removeIf": p.removeIf(1, testToken(1)),
	} {
		if err != eNOENT {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testMemoryPollerCloses(t *testing.T, p poller, _ testNet) {
	ended := make(chan error)
	go func() {
		_, err := p.wait(nil, -1)
		ended <- err
	}()
	yield()
	must(t, p.close())
	must(t, p.close())
	if err := <-ended; err == nil {
		t.Error("the wait in progress does not tell")
	}
	if p.wake() == nil {
		t.Error("wake does not tell")
	}
	for _, d := range []time.Duration{0, 1, -1} {
		if _, err := p.wait(nil, d); err == nil {
			t.Errorf("wait %d does not tell", d)
		}
	}
}

// A goroutine that waits is durably blocked, and waits exactly as long as it should.
func TestMemoryPollerInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := memoryMethod(t)
		for _, d := range []time.Duration{1, time.Hour, time.Millisecond} {
			began := time.Now()
			_, err := p.wait(nil, d)
			must(t, err)
			if passed := time.Since(began); passed != d {
				t.Errorf("a wait of %v took %v", d, passed)
			}
		}
		done := false
		go func() {
			p.wait(nil, -1)
			done = true
		}()
		synctest.Wait()
		if done {
			t.Fatal("it does not wait")
		}
		must(t, p.wake())
		synctest.Wait()
		if !done {
			t.Fatal("it was not woken")
		}
	})
}
