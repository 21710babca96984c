// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPoller(t *testing.T) {
	t.Run("fake", func(t *testing.T) { testPoller(t, openTestFake) })
	for _, m := range kernelMethods() {
		t.Run(m.name, func(t *testing.T) { testPoller(t, openTestMethod(m, newTestNet())) })
	}
}

// testPoller is what every poller must pass, real or fake.
func testPoller(t *testing.T, open openTestPoller) {
	for _, c := range []struct {
		name string
		f    func(*testing.T, poller, testNet)
	}{
		{"ZeroTimeoutPolls", testZeroTimeoutPolls},
		{"ReadableOnData", testReadableOnData},
		{"WritableWhenIdle", testWritableWhenIdle},
		{"PeerCloseIsReadable", testPeerCloseIsReadable},
		{"LevelRepeats", testLevelRepeats},
		{"EdgeOnce", testEdgeOnce},
		{"RearmAfterEAGAIN", testRearmAfterEAGAIN},
		{"ArmReportsAnew", testArmReportsAnew},
		{"ArmChangesInterest", testArmChangesInterest},
		{"EarlyClose", testEarlyClose},
		{"EarlyCloseWithUnreadData", testEarlyCloseWithUnreadData},
		{"NoConditions", testNoConditions},
		{"AddRemoveAdd", testAddRemoveAdd},
		{"AddReplaces", testAddReplaces},
		{"RemoveUnknown", testRemoveUnknown},
		{"StaleTokenDropped", testStaleTokenDropped},
		{"ManyReady", func(t *testing.T, p poller, n testNet) { testManyReady(t, p, n, 70, true) }},
		{"ManyReadyGrows", func(t *testing.T, p poller, n testNet) { testManyReady(t, p, n, 2000, false) }},
		{"WakeBeforeWait", testWakeBeforeWait},
		{"WakeOutlivesPoll", testWakeOutlivesPoll},
		{"WakeDuringWait", testWakeDuringWait},
		{"WakesCoalesce", testWakesCoalesce},
		{"WakeStorm", testWakeStorm},
		{"WokenButReady", testWokenButReady},
		{"AddDuringWait", testAddDuringWait},
		{"ArmDuringWait", testArmDuringWait},
		{"RemoveDuringWait", testRemoveDuringWait},
		{"ShortWait", testShortWait},
		{"IdleWait", testIdleWait},
		{"Churn", testChurn},
		{"CloseUnblocks", testCloseUnblocks},
		{"UseAfterClose", testUseAfterClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, n := open(t)
			c.f(t, p, n)
		})
	}
}

func testZeroTimeoutPolls(t *testing.T, p poller, n testNet) {
	a, _ := n.pair(t)
	must(t, p.add(a, testToken(1), Read))
	expectNone(t, p)
}

func testReadableOnData(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), Read))
	expectNone(t, p)
	n.write(t, b)
	expectReady(t, p, ready{testToken(1), Read})
	n.drain(t, a)
	expectNone(t, p)
	// dst is appended to.
	n.write(t, b)
	first := ready{testToken(9), Write}
	got, err := p.wait([]ready{first}, 0)
	must(t, err)
	if want := []ready{first, {testToken(1), Read}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func testWritableWhenIdle(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), Write))
	expectReady(t, p, ready{testToken(1), Write})
	n.fill(t, a)
	expectNone(t, p)
	n.drain(t, b)
	expectReady(t, p, ready{testToken(1), Write})
}

func testPeerCloseIsReadable(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	c, d := n.pair(t)
	must(t, p.add(a, testToken(1), Read))
	n.fill(t, c)
	must(t, p.add(c, testToken(2), Write))
	expectNone(t, p)
	n.close(t, b)
	expectReady(t, p, ready{testToken(1), Read | hangup})
	must(t, p.remove(a))
	n.close(t, d)
	expectReady(t, p, ready{testToken(2), Write | hangup})
	expectReady(t, p, ready{testToken(2), Write | hangup}) // Level-triggered.
}

func testLevelRepeats(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), Read))
	n.write(t, b)
	for range 3 {
		expectReady(t, p, ready{testToken(1), Read})
	}
	n.drain(t, a)
	expectNone(t, p)
}

func testEdgeOnce(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), Read|Edge))
	expectNone(t, p)
	n.write(t, b)
	expectReady(t, p, ready{testToken(1), Read})
	expectNone(t, p)
	if p.features()&FeatureEdge == 0 {
		return // The rest is RearmAfterEAGAIN.
	}
	n.write(t, b)
	expectReady(t, p, ready{testToken(1), Read})
	expectNone(t, p)
	n.drain(t, a)
	expectNone(t, p)
	n.write(t, b)
	expectReady(t, p, ready{testToken(1), Read})
	expectNone(t, p)
	n.close(t, b)
	expectReady(t, p, ready{testToken(1), Read | hangup})
	expectNone(t, p)
}

// testRearmAfterEAGAIN is how a stream uses a method without FeatureEdge.
func testRearmAfterEAGAIN(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), Read|Write|Edge))
	expectReady(t, p, ready{testToken(1), Write})
	expectNone(t, p)
	n.fill(t, a)
	for range 3 {
		n.write(t, b)
		expectReady(t, p, ready{testToken(1), Read})
		expectNone(t, p)
		n.drain(t, a)
		must(t, p.arm(a, testToken(1), Read|Write|Edge))
		expectNone(t, p)
	}
	n.drain(t, b)
	expectReady(t, p, ready{testToken(1), Write})
	expectNone(t, p)
	n.close(t, b)
	expectReady(t, p, ready{testToken(1), Read | Write | hangup})
	expectNone(t, p)
}

func testArmReportsAnew(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), Read|Edge))
	n.write(t, b)
	for i := range 3 {
		expectReady(t, p, ready{testToken(1 + i), Read})
		expectNone(t, p)
		must(t, p.arm(a, testToken(2+i), Read|Edge)) // Under a new name, too.
	}
}

func testArmChangesInterest(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	tok := testToken(1)
	must(t, p.add(a, tok, Read))
	expectNone(t, p)
	must(t, p.arm(a, tok, Write))
	expectReady(t, p, ready{tok, Write})
	n.write(t, b)
	expectReady(t, p, ready{tok, Write})
	must(t, p.arm(a, tok, Read|Write))
	expectReady(t, p, ready{tok, Read | Write})
	must(t, p.arm(a, tok, 0))
	expectBlocks(t, p)
	must(t, p.arm(a, tok, Read))
	expectReady(t, p, ready{tok, Read})
}

func needEarlyClose(t *testing.T, p poller) {
	if p.features()&FeatureEarlyClose == 0 {
		t.Skipf("%s has no FeatureEarlyClose", p.name())
	}
}

func testEarlyClose(t *testing.T, p poller, n testNet) {
	needEarlyClose(t, p)
	for k, mode := range []What{0, Edge} {
		a, b := n.pair(t)
		c, d := n.pair(t)
		must(t, p.add(a, testToken(2*k), EarlyClose|mode))
		must(t, p.add(c, testToken(2*k+1), EarlyClose|mode))
		expectNone(t, p)
		n.shutdown(t, b)
		expectReady(t, p, ready{testToken(2 * k), EarlyClose})
		if mode == Edge {
			expectNone(t, p)
		} else {
			expectReady(t, p, ready{testToken(2 * k), EarlyClose})
			expectReady(t, p, ready{testToken(2 * k), EarlyClose})
		}
		must(t, p.remove(a))
		n.close(t, d)
		expectReady(t, p, ready{testToken(2*k + 1), EarlyClose | hangup})
		if mode == Edge {
			expectNone(t, p)
		}
		must(t, p.remove(c))
	}
}

func testEarlyCloseWithUnreadData(t *testing.T, p poller, n testNet) {
	needEarlyClose(t, p)
	a, b := n.pair(t)
	must(t, p.add(a, testToken(1), EarlyClose))
	n.write(t, b)
	expectNone(t, p)
	n.shutdown(t, b)
	expectReady(t, p, ready{testToken(1), EarlyClose})
}

// testNoConditions wants a hangup reported once: a loop that asked for nothing
// must not turn for ever.
func testNoConditions(t *testing.T, p poller, n testNet) {
	for k, mode := range []What{0, Edge} {
		a, b := n.pair(t)
		tok := testToken(k)
		must(t, p.add(a, tok, mode))
		n.write(t, b)
		expectNone(t, p)
		n.close(t, b)
		expectReady(t, p, ready{tok, hangup})
		expectNone(t, p)
		expectBlocks(t, p)
		must(t, p.arm(a, tok, Read|mode))
		expectReady(t, p, ready{tok, Read | hangup})
		must(t, p.remove(a))
	}
}

func testAddRemoveAdd(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	n.write(t, b)
	for k := range 3 {
		must(t, p.add(a, testToken(k), Read))
		expectReady(t, p, ready{testToken(k), Read})
		must(t, p.remove(a))
		expectNone(t, p)
	}
	// From the middle of others.
	var fds []sysFD
	var want []ready
	for k := range 5 {
		c, _ := n.pair(t)
		fds = append(fds, c)
		want = append(want, ready{testToken(k), Write})
		must(t, p.add(c, testToken(k), Write))
	}
	for _, k := range []int{2, 0, 2, 1, 0} {
		must(t, p.remove(fds[k]))
		fds, want = slices.Delete(fds, k, k+1), slices.Delete(want, k, k+1)
		expectReady(t, p, want...)
	}
	expectNone(t, p)
}

func testAddReplaces(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	n.write(t, b)
	must(t, p.add(a, testToken(1), Read))
	must(t, p.add(a, testToken(2), Write))
	expectReady(t, p, ready{testToken(2), Write})
	n.fill(t, a)
	expectBlocks(t, p) // Nothing is left of the first.
	must(t, p.remove(a))
	expectNone(t, p)
}

func testRemoveUnknown(t *testing.T, p poller, n testNet) {
	a, _ := n.pair(t)
	if p.remove(a) == nil {
		t.Error("remove: no error")
	}
	if p.arm(a, testToken(1), Read) == nil {
		t.Error("arm: no error")
	}
	must(t, p.add(a, testToken(1), Write))
	must(t, p.remove(a))
	if p.remove(a) == nil {
		t.Error("remove again: no error")
	}
	if p.arm(a, testToken(1), Write) == nil {
		t.Error("arm after remove: no error")
	}
	expectNone(t, p)
	for _, fd := range []sysFD{noFD, 1 << 30} {
		if p.add(fd, testToken(1), Read) == nil {
			t.Errorf("add %d: no error", fd)
		}
		if p.arm(fd, testToken(1), Read) == nil {
			t.Errorf("arm %d: no error", fd)
		}
		if p.remove(fd) == nil {
			t.Errorf("remove %d: no error", fd)
		}
	}
}

func testStaleTokenDropped(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	c, d := n.pair(t)
	for gen := range uint32(3) {
		n.write(t, b)
		n.write(t, d)
		must(t, p.add(a, token{1, 2 * gen}, Read))
		must(t, p.remove(a))
		must(t, p.add(c, token{1, 2*gen + 1}, Read))
		expectReady(t, p, ready{token{1, 2*gen + 1}, Read})
		must(t, p.remove(c))
	}
	// The extremes but the reserved one come back as they are.
	tok := token{0, 1<<32 - 1}
	must(t, p.add(a, tok, Read))
	expectReady(t, p, ready{tok, Read})
}

func testManyReady(t *testing.T, p poller, n testNet, count int, once bool) {
	if room := testRoom(); 2*count+100 > room {
		t.Skipf("%d descriptors can be open, too few", room)
	}
	want := make(map[token]bool, count)
	for k := range count {
		a, _ := n.pair(t)
		must(t, p.add(a, testToken(k), Write|Edge))
		want[testToken(k)] = true
	}
	var got []ready
	for start := time.Now(); len(want) > 0; {
		var err error
		got, err = p.wait(got[:0], 0)
		must(t, err)
		// Linux's epoll_wait first looks without a lock whether anything is ready. While the
		// thread of the runtime that polls the nested descriptor goes through the list of what
		// is, a wait that does not block may find nothing.
		if len(got) == 0 && time.Since(start) < testPatience {
			continue
		}
		if len(got) == 0 || once && len(got) < count {
			t.Fatalf("%d reported, %d still expected", len(got), len(want))
		}
		for _, r := range got {
			if r.what != Write || !want[r.tok] {
				t.Fatalf("unexpected %v", r)
			}
			delete(want, r.tok)
		}
	}
	expectNone(t, p)
}

func testWakeBeforeWait(t *testing.T, p poller, n testNet) {
	for range 3 {
		must(t, p.wake())
		got, err := p.wait(nil, -1)
		must(t, err)
		if len(got) > 0 {
			t.Fatalf("got %v", got)
		}
	}
	expectBlocks(t, p)
}

// testWakeOutlivesPoll checks that a wait that does not block leaves the wake
// to one that does.
func testWakeOutlivesPoll(t *testing.T, p poller, n testNet) {
	must(t, p.wake())
	expectNone(t, p)
	_, err := p.wait(nil, -1)
	must(t, err)
	expectBlocks(t, p)
}

func testWakeDuringWait(t *testing.T, p poller, n testNet) {
	const rounds = 500
	var wg sync.WaitGroup
	step := make(chan struct{})
	wg.Go(func() {
		for range rounds {
			if _, err := p.wait(nil, -1); err != nil {
				t.Error(err)
			}
			step <- struct{}{}
		}
	})
	for range rounds {
		yield()
		must(t, p.wake())
		<-step
	}
	wg.Wait()
}

func testWakesCoalesce(t *testing.T, p poller, n testNet) {
	for range 100 {
		must(t, p.wake())
	}
	_, err := p.wait(nil, -1)
	must(t, err)
	expectBlocks(t, p)
}

// testWakeStorm checks that no wake is lost: each comes after a request, and
// the waiter hangs if it has not seen the last one and is not woken.
func testWakeStorm(t *testing.T, p poller, n testNet) {
	const senders, each = 8, 2000
	var requests atomic.Int64
	var wg sync.WaitGroup
	for k := range senders {
		wg.Go(func() {
			for range each {
				requests.Add(1)
				if err := p.wake(); err != nil {
					t.Error(err)
				}
				if k%2 == 0 { // The others as fast as they can.
					yield()
				}
			}
		})
	}
	for requests.Load() < senders*each {
		_, err := p.wait(nil, -1)
		must(t, err)
	}
	wg.Wait()
	must(t, p.wake())
	_, err := p.wait(nil, -1)
	must(t, err)
}

// testWokenButReady checks that wakes do not hide readiness.
func testWokenButReady(t *testing.T, p poller, n testNet) {
	a, _ := n.pair(t)
	must(t, p.add(a, testToken(1), Write))
	for range 10 {
		must(t, p.wake())
		got, err := p.wait(nil, -1)
		must(t, err)
		if want := []ready{{testToken(1), Write}}; !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func testAddDuringWait(t *testing.T, p poller, n testNet) {
	a, _ := n.pair(t)
	for k := range 100 {
		var wg sync.WaitGroup
		wg.Go(func() {
			yield()
			if err := p.add(a, testToken(k), Write); err != nil {
				t.Error(err)
			}
		})
		expectReady(t, p, ready{testToken(k), Write})
		wg.Wait()
		must(t, p.remove(a))
	}
}

func testArmDuringWait(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	n.write(t, b)
	must(t, p.add(a, testToken(0), Read|Edge))
	expectReady(t, p, ready{testToken(0), Read})
	for k := range 100 {
		var wg sync.WaitGroup
		wg.Go(func() {
			yield()
			if err := p.arm(a, testToken(k), Read|Edge); err != nil {
				t.Error(err)
			}
		})
		expectReady(t, p, ready{testToken(k), Read})
		wg.Wait()
	}
}

func testRemoveDuringWait(t *testing.T, p poller, n testNet) {
	a, b := n.pair(t)
	c, d := n.pair(t)
	must(t, p.add(d, testToken(2), Read))
	for range 100 {
		must(t, p.add(a, testToken(1), Read))
		var wg sync.WaitGroup
		wg.Go(func() {
			yield()
			if err := p.remove(a); err != nil {
				t.Error(err)
			}
			n.write(t, b)
			n.write(t, c)
		})
		expectReady(t, p, ready{testToken(2), Read})
		wg.Wait()
		n.drain(t, a)
		n.drain(t, d)
	}
}

func testShortWait(t *testing.T, p poller, n testNet) {
	for _, d := range []time.Duration{1, time.Microsecond, 100 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond} {
		start := time.Now()
		got, err := p.wait(nil, d)
		must(t, err)
		if len(got) > 0 {
			t.Fatalf("got %v", got)
		}
		t.Logf("%v took %v", d, time.Since(start))
	}
	expectBlocks(t, p)
}

// testIdleWait counts how often a loop turns that waits for one moment.
func testIdleWait(t *testing.T, p poller, n testNet) {
	a, _ := n.pair(t)
	must(t, p.add(a, testToken(1), Read))
	_, err := p.wait(nil, 30*time.Millisecond) // Leaves no earlier alarm behind.
	must(t, err)
	turns := 0
	for end := time.Now().Add(30 * time.Millisecond); time.Now().Before(end); turns++ {
		_, err := p.wait(nil, time.Until(end))
		must(t, err)
	}
	if turns > 3 {
		t.Errorf("%d turns", turns)
	}
}

// testChurn changes registrations from several goroutines while one waits, for
// the race detector and for whatever breaks.
func testChurn(t *testing.T, p poller, n testNet) {
	const workers = 4
	var fds [workers]sysFD
	for k := range fds {
		fds[k], _ = n.pair(t)
	}
	var wg sync.WaitGroup
	var busy atomic.Int32
	busy.Store(workers)
	for k, fd := range fds {
		wg.Go(func() {
			defer p.wake()
			defer busy.Add(-1)
			for j := range 200 {
				tok := token{uint32(k), uint32(j)}
				if p.add(fd, tok, Read|Write) != nil || p.arm(fd, tok, Write|Edge) != nil || p.remove(fd) != nil {
					t.Error("a call failed")
				}
			}
		})
	}
	for busy.Load() > 0 {
		got, err := p.wait(nil, -1)
		must(t, err)
		for _, r := range got {
			if r.tok.slot >= workers || r.what != Write {
				t.Errorf("unexpected %v", r)
			}
		}
	}
	wg.Wait()
	expectNone(t, p)
}

func testCloseUnblocks(t *testing.T, p poller, n testNet) {
	a, _ := n.pair(t)
	must(t, p.add(a, testToken(1), Read))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			got, err := p.wait(nil, -1)
			if err != nil {
				return
			}
			if len(got) > 0 {
				t.Errorf("got %v", got)
			}
		}
	}()
	yield()
	must(t, p.close())
	<-done
}

func testUseAfterClose(t *testing.T, p poller, n testNet) {
	a, _ := n.pair(t)
	must(t, p.add(a, testToken(1), Write))
	must(t, p.close())
	must(t, p.close())
	for name, err := range map[string]error{
		"add":    p.add(a, testToken(1), Write),
		"arm":    p.arm(a, testToken(1), Write),
		"remove": p.remove(a),
		"wake":   p.wake(),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, d := range []time.Duration{0, 1, -1} {
		if got, err := p.wait(nil, d); err == nil || len(got) > 0 {
			t.Errorf("wait %d: got %v, %v", d, got, err)
		}
	}
}

func TestFakePollerInBubble(t *testing.T) { synctest.Test(t, testFakePollerInBubble) }

func testFakePollerInBubble(t *testing.T) {
	p := newFakePoller()
	fd := p.open()
	must(t, p.add(fd, testToken(1), Read))
	start := time.Now()
	got, err := p.wait(nil, time.Hour)
	must(t, err)
	if len(got) > 0 || time.Since(start) != time.Hour {
		t.Errorf("got %v after %v, want nothing after an hour", got, time.Since(start))
	}
	done := false
	go func() {
		expectReady(t, p, ready{testToken(1), Read})
		done = true
	}()
	synctest.Wait()
	if done {
		t.Fatal("returned with nothing ready")
	}
	p.raise(fd, Read)
	synctest.Wait()
	if !done {
		t.Fatal("did not return")
	}
	must(t, p.close())
}
