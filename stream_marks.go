// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "math"

// limits are the marks of a stream.
type limits struct {
	readLow   int // with so much input or more, Readable is sent; at least 1
	readHigh  int // with so much input or more, reading stops; at least readLow
	writeLow  int // with so much output or less, Drained is sent
	writeHigh int // with so much output or more, Write returns ErrFull; greater than writeLow

	maxInput, maxOutput int // the high marks that the stream began with
}

// raise raises high marks that are below their low marks.
func (lim *limits) raise() {
	lim.readHigh = max(lim.readHigh, lim.readLow)
	lim.writeLow = min(lim.writeLow, math.MaxInt-1)
	if lim.writeHigh <= lim.writeLow {
		lim.writeHigh = lim.writeLow + 1
	}
}

// with returns the limits with these sizes: 0 leaves one as it is, negative means no limit.
func (lim *limits) with(maxInput, maxOutput int) *limits {
	if maxInput == 0 && maxOutput == 0 {
		return lim
	}
	c := *lim
	replace := func(p *int, n int) {
		if n > 0 {
			*p = n
		} else if n < 0 {
			*p = math.MaxInt
		}
	}
	replace(&c.maxInput, maxInput)
	replace(&c.maxOutput, maxOutput)
	c.readHigh, c.writeHigh = c.maxInput, c.maxOutput
	return &c
}

// above returns the limits with these low marks.
func (lim *limits) above(readLow, writeLow int) *limits {
	if readLow <= 1 && writeLow <= 0 {
		return lim
	}
	c := *lim
	c.readLow, c.writeLow = max(readLow, 1), max(writeLow, 0)
	c.raise()
	return &c
}

// SetReadMarks sets the two marks of the input:
//   - low: Readable is sent when the input has so many bytes or more. The default is 1, which
//     is also the least.
//   - high: while the input has so many bytes or more, the loop does not read. 0 means the
//     MaxInput that the stream began with: the listener's, the DialConfig's, the
//     StreamConfig's or the loop's.
//
// Negative values count as 0. If high is less than low, it is raised. SetReadMarks sends no
// Readable for input that has arrived already, and takes back one that is not received if the
// input is below low now. libevent does this by bufferevent_setwatermark with EV_READ.
func (s *Stream) SetReadMarks(low, high int) {
	s.mu.Lock()
	defer s.unlock()
	lim := *s.limits.Load()
	if lim.readHigh = high; high <= 0 {
		lim.readHigh = lim.maxInput
	}
	lim.readLow = max(low, 1)
	lim.raise()
	s.limits.Store(&lim)
	if s.stopIfFull() {
		s.halt(dirRead)
	}
	s.reconsider()
}

// SetWriteMarks sets the two marks of the output:
//   - low: when the output has fallen to so many bytes, Drained is sent. The default is 0.
//     After CloseWrite, Drained waits for the last byte, whatever low is.
//   - high: while the output has so many bytes or more, Write returns ErrFull. 0 means the
//     MaxOutput that the stream began with: the listener's, the DialConfig's, the
//     StreamConfig's or the loop's.
//
// Negative values count as 0. If high is not greater than low, it is raised. libevent does
// this by bufferevent_setwatermark with EV_WRITE.
func (s *Stream) SetWriteMarks(low, high int) {
	s.mu.Lock()
	defer s.unlock()
	lim := *s.limits.Load()
	if lim.writeHigh = high; high <= 0 {
		lim.writeHigh = lim.maxOutput
	}
	lim.writeLow = max(low, 0)
	lim.raise()
	s.limits.Store(&lim)
	if s.output() > 0 {
		s.announce(s.flush()) // the output may be at the new low mark already
	}
}
