// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

/*
Package simnet is a network in memory for tests: a kernel that does on demand whatever a
kernel may do. It has short reads and writes, EAGAIN without a reason, reports that come late,
twice or for nothing, refused registrations, lost connections and resets. Time is that of a
testing/synctest bubble, in which everything has to be made.

	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(seed, simnet.Random(seed))
		loop, err := evchan.New(&evchan.Config{Method: n.Method()})
		...
		ln, err := loop.Listen("tcp", "127.0.0.1:80", nil) // of the loop: no socket is made
		peer, err := n.Dial("tcp", "127.0.0.1:80")         // a net.Conn, for the test
		peer.Write(...)
		peer.Reset()

A Net has one loop. The other ends are the test's: a [Conn] that [Net.Dial] has made, or that a
[Listener] of [Net.Listen] has accepted after the loop's Dial. They block as connections of package net
do, durably, and have no faults themselves. The test controls what they write, when it arrives
(SetDelay), and how they end (CloseWrite, Close, Reset).

The seed decides which faults there are, as long as the test's goroutines run in one order.
*/
package simnet
