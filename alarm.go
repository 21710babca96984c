// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "time"

// An alarm calls a function on a goroutine of its own. If the function returns a positive
// duration, it is called again after that.
type alarm interface {
	// set has the function called after d, and not at the time that was set before.
	set(d time.Duration)

	// stop ends the alarm. A call in progress goes on.
	stop()
}

// newAlarm returns an alarm for a loop with the poller p.
//
// With epoll it is a kernelAlarm if possible. While a timer of the runtime is pending, or a
// goroutine waits in the runtime's poller, a thread that has nothing to do waits there. So
// that thread gets the loop's next event, and not the one that has handled the last: that
// costs 20 % of an echo. The other pollers may be in a bubble of testing/synctest, where a
// timer must be one of the runtime.
func newAlarm(p poller, f func() time.Duration) alarm {
	if p.name() == "epoll" {
		if a := newKernelAlarm(f); a != nil {
			return a
		}
	}
	a := new(timerAlarm)
	a.timer = time.AfterFunc(time.Hour, func() {
		if d := f(); d > 0 {
			a.set(d)
		}
	})
	a.timer.Stop()
	return a
}

// A timerAlarm is an alarm by a timer of the runtime.
type timerAlarm struct{ timer *time.Timer }

func (a *timerAlarm) set(d time.Duration) { a.timer.Reset(d) }

func (a *timerAlarm) stop() { a.timer.Stop() }
