// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/evchan/evchan"
)

// A result is a message of this program: what a worker has computed.
type result struct {
	evchan.Custom
	job    int
	square int
}

// Workers compute, and post their results. The loop receives these beside everything else. It
// ends when no more results are expected.
func ExampleMailbox() {
	loop, err := evchan.New(&evchan.Config{ExitOnEmpty: true})
	if err != nil {
		log.Fatal(err)
	}
	defer loop.Close()
	const count = 10
	results := loop.Mailbox(0)
	results.Expect(count)

	jobs := make(chan int)
	for range 3 { // the workers
		go func() {
			for job := range jobs {
				results.Post(&result{job: job, square: job * job})
			}
		}()
	}
	go func() {
		for job := range count {
			jobs <- job
		}
		close(jobs)
	}()

	sum := 0
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *result:
			sum += ev.square
		}
	}
	fmt.Println("the sum of the squares is", sum)
	// Output:
	// the sum of the squares is 285
}

// A command is a message of commandLayer.
type command struct {
	evchan.Custom
	name string
	args []string
}

// A commandLayer makes commands of a stream's lines. The other messages are passed on.
type commandLayer struct{}

func (commandLayer) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	s := src.(*evchan.Stream)
	for line := range s.Input().Lines(evchan.LFOrCRLF) {
		if words := strings.Fields(string(line)); len(words) > 0 {
			return &command{name: words[0], args: words[1:]} // Next is called again for the rest
		}
	}
	switch ev.(type) {
	case evchan.Readable:
		if s.InputFull() {
			s.Abort() // a line that is too long
		}
		return nil // the line is not complete
	case evchan.Stopping: // Shutdown
		s.Close()
		return nil
	}
	return ev
}

// A protocol of commands, each of which is a message.
func ExampleLayer() {
	loop := newLoop()
	defer loop.Close()
	client, _ := loop.Pipe(nil, &evchan.StreamConfig{Layer: commandLayer{}})
	fmt.Fprint(client, "set colour green\n\nget colour\n")
	client.Close()

	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *command:
			fmt.Printf("%s %q\n", ev.name, ev.args)
		case evchan.EOF:
			ev.Stream.Close()
			loop.Exit(0)
		}
	}
	// Output:
	// set ["colour" "green"]
	// get ["colour"]
}
