// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"container/heap"
	"time"
)

// An alarm calls its owner at some time. The resolver has one timer for all of its alarms.
type alarm struct {
	at    time.Time
	index int // its place in alarms, plus one; 0: not set
	owner interface{ expired(now time.Time) }
}

// alarms is a heap: the first to go off comes first.
type alarms []*alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i+1, j+1
}

func (a *alarms) Push(x any) {
	m := x.(*alarm)
	*a = append(*a, m)
	m.index = len(*a)
}

func (a *alarms) Pop() any {
	n := len(*a) - 1
	m := (*a)[n]
	(*a)[n] = nil
	*a = (*a)[:n]
	m.index = 0
	return m
}

// set makes m go off at the time at, and not when it would have before.
func (a *alarms) set(m *alarm, at time.Time) {
	m.at = at
	if m.index == 0 {
		heap.Push(a, m)
	} else {
		heap.Fix(a, m.index-1)
	}
}

// stop keeps m from going off.
func (a *alarms) stop(m *alarm) {
	if m.index != 0 {
		heap.Remove(a, m.index-1)
	}
}

// due returns an alarm whose time has come and stops it; nil if there is none.
func (a *alarms) due(now time.Time) *alarm {
	if len(*a) == 0 || (*a)[0].at.After(now) {
		return nil
	}
	return heap.Pop(a).(*alarm)
}
