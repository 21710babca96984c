// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Timers runs three timers side by side: a periodic one, one that expires once, and
// one that is stopped before. While the receiver is busy the periodic one expires
// several times, and then sends one Tick for all of them.
package main

import (
	"flag"
	"fmt"
	"log"
	"time"

	"github.com/evchan/evchan"
)

func main() {
	unit := flag.Duration("unit", 100*time.Millisecond, "the unit of time")
	flag.Parse()

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()

	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%3.0f  %s\n", float64(time.Since(began))/float64(*unit), fmt.Sprintf(format, args...))
	}

	tick := loop.Every(2 * *unit)
	once := loop.After(5 * *unit)
	never := loop.After(7 * *unit)
	loop.Exit(13 * *unit)

	for ev := range loop.All() {
		switch ev.(evchan.Tick).Timer {
		case tick:
			say("tick, %d expired", tick.Take())
		case once:
			say("once; the third timer was running and is stopped: %v; now the receiver is busy", never.Stop())
			time.Sleep(4 * *unit)
		case never:
			log.Fatal("a stopped timer has sent a Tick")
		}
	}
	say("ended by Exit: %v", loop.Exited())
}
