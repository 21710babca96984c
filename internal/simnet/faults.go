// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package simnet

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A Fault is something that the kernel, or the network, does out of turn.
type Fault int

const (
	Late        Fault = iota // a condition is reported some waits later
	Doubled                  // a report comes twice
	Spurious                 // something is reported that is not so
	HangupOnly               // a hangup is reported, and there is no error
	Stale                    // a report is of a registration that is over
	Early                    // a wait returns with nothing, as after EINTR
	TwoWakes                 // a wake ends two waits
	Flight                   // bytes arrive some waits later
	ReadAgain                // there is something to be read, and EAGAIN says no
	ShortRead                // a read gives less than there is
	ExactRead                // a read says that there may be more, and there is not
	ReadError                // a read fails
	WriteAgain               // there is room, and EAGAIN says no
	ShortWrite               // a write takes less than there is room for
	WriteError               // a write fails
	NoBufs                   // a write fails with ENOBUFS
	Pipe                     // a write fails with EPIPE
	Reset                    // the peer resets
	Shutdown                 // ENOTCONN for the end of the output
	RefusedAdd               // the poller does not take a descriptor
	AcceptAgain              // a connection waits, and EAGAIN says no
	NoFiles                  // accept fails with EMFILE
	Aborted                  // accept fails with ECONNABORTED, for one connection
	Faults                   // how many there are
)

var faultNames = [Faults]string{"late readiness", "doubled", "spurious", "spurious hangup", "stale", "early return",
	"doubled wake", "late arrival", "read EAGAIN", "short read", "read filled exactly", "read error", "write EAGAIN",
	"short write", "write error", "ENOBUFS", "EPIPE", "ECONNRESET", "shutdown ENOTCONN", "refused add",
	"accept EAGAIN", "EMFILE", "ECONNABORTED"}

func (f Fault) String() string { return faultNames[f] }

// Rates says how often each fault happens, as a probability where it may. What loses bytes that were
// sent, or a connection, is ReadError, WriteError, NoBufs, RefusedAdd and Aborted. Pipe and Reset are
// counted where they follow from what the peers do, and have no rate.
type Rates [Faults]float64

// Harmless returns rates, chosen by seed, of faults that lose nothing: a program that is right
// behaves as on a network without faults.
func Harmless(seed uint64) Rates {
	r := rand.New(rand.NewPCG(seed, 3))
	var rates Rates
	for k := range rates {
		rates[k] = []float64{0, 0.02, 0.1, 0.4}[r.IntN(4)]
	}
	for _, k := range []Fault{ReadError, WriteError, NoBufs, RefusedAdd, Aborted} {
		rates[k] = 0
	}
	return rates
}

// Random returns Harmless(seed), and now and then some of the faults that end connections.
func Random(seed uint64) Rates {
	r := rand.New(rand.NewPCG(seed, 4))
	rates := Harmless(seed)
	for _, k := range []Fault{ReadError, WriteError, NoBufs, RefusedAdd, Aborted} {
		rates[k] = []float64{0, 0, 0, 0.02}[r.IntN(4)]
	}
	return rates
}

// A Count counts faults by kind.
type Count [Faults]int64

// Add adds d to c.
func (c *Count) Add(d *Count) {
	for k, n := range d {
		c[k] += n
	}
}

func (c *Count) String() string {
	var words []string
	for k, n := range c {
		words = append(words, fmt.Sprintf("%s %d", faultNames[k], n))
	}
	return strings.Join(words, ", ")
}
