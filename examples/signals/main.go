// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Signals counts interrupts (Ctrl-C) and ends after the third. With -demo it sends
// them to its own process.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/evchan/evchan"
)

func main() {
	demo := flag.Bool("demo", false, "send the signals to this process, from a timer")
	flag.Parse()

	loop, err := evchan.New(&evchan.Config{ExitOnEmpty: true})
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	interrupt, err := loop.Signal(os.Interrupt)
	if err != nil {
		log.Fatal(err)
	}
	var timer *evchan.Timer
	if *demo {
		timer = loop.Every(50 * time.Millisecond)
	} else {
		fmt.Println("press Ctrl-C three times")
	}

	count := 0
	for ev := range loop.All() {
		switch ev.(type) {
		case evchan.Tick:
			self, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = self.Signal(os.Interrupt)
			}
			if err != nil {
				log.Fatal(err)
			}
		case evchan.Signaled:
			count += interrupt.Take()
			fmt.Println("interrupts:", count)
			if count < 3 {
				continue
			}
			// After this no source can send a message. So the range ends, since
			// ExitOnEmpty is set.
			interrupt.Close()
			if timer != nil {
				timer.Close()
			}
		}
	}
	fmt.Println("nothing is left to wait for")
}
