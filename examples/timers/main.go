// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Timers runs a few timers side by side: periodic ones, one that fires once, one
// that is stopped in time, and one that a slow receiver is late for.
package main

import (
	"flag"
	"fmt"
	"log"
	"time"

	"github.com/evchan/evchan"
)

func main() {
	unit := flag.Duration("unit", 100*time.Millisecond, "how long a step takes")
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
			say("once; stops the other one: %v; now the receiver is busy", never.Stop())
			time.Sleep(4 * *unit)
		case never:
			log.Fatal("a stopped timer has fired")
		}
	}
	say("ended by Exit: %v", loop.Exited())
}
