// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "strings"

// What is a set of conditions. As an interest it says what to watch for: some
// of Read, Write and EarlyClose, and the modes Edge and Persist. As a result
// it says what happened: some of Read, Write, EarlyClose and Timeout.
type What uint8

const (
	Read       What = 1 << iota // input, an end of input, or a connection to accept
	Write                       // room for output
	EarlyClose                  // the peer has finished sending or is gone, whatever is still unread
	Timeout                     // the time limit of an armed Watch or of an idle Stream has passed
	Edge                        // report new readiness only, not readiness that lasts
	Persist                     // stay armed after a message

	// hangup accompanies Read and Write in what a poller reports: the
	// descriptor has failed or both its directions are over, whatever was asked.
	hangup

	// urgent asks for, and says, that there are urgent bytes (tcp(7)): a read
	// stops before them though there is more.
	urgent
)

// conditions are the members of What that can happen.
const conditions = Read | Write | EarlyClose | Timeout

// String returns the names of the members of w joined by "|", or "0".
func (w What) String() string {
	if w == 0 {
		return "0"
	}
	var names []string
	for i, name := range [...]string{"Read", "Write", "EarlyClose", "Timeout", "Edge", "Persist", "hangup", "urgent"} {
		if w&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}
