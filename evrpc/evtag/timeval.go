// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag

import "time"

// A Timeval is a time since 1970, or a duration, as C's struct timeval. The format has 32
// bits for each part, unsigned; the microseconds may be more than a second.
type Timeval struct {
	Sec  uint32
	Usec uint32
}

// Duration returns t as a duration.
func (t Timeval) Duration() time.Duration {
	return time.Duration(t.Sec)*time.Second + time.Duration(t.Usec)*time.Microsecond
}

// Time returns t as a time since 1970, in UTC.
func (t Timeval) Time() time.Time {
	return time.Unix(int64(t.Sec), int64(t.Usec)*1000).UTC()
}

// DurationTimeval returns d in whole microseconds, rounded down. It returns false if d is negative,
// or longer than 32 bits can say (136 years).
func DurationTimeval(d time.Duration) (Timeval, bool) {
	sec := d / time.Second
	if d < 0 || sec > 1<<32-1 {
		return Timeval{}, false
	}
	return Timeval{uint32(sec), uint32(d % time.Second / time.Microsecond)}, true
}

// TimeTimeval returns t in whole microseconds, rounded down. It returns false if t is before 1970
// or after February 2106.
func TimeTimeval(t time.Time) (Timeval, bool) {
	sec := t.Unix()
	if sec < 0 || sec > 1<<32-1 {
		return Timeval{}, false
	}
	return Timeval{uint32(sec), uint32(t.Nanosecond() / 1000)}, true
}
