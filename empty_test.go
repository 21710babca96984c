// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"runtime"
	"testing"
)

// A slowEnd is a transport that fails when it is written to, and whose close takes as
// long as it takes the loop to make some turns, or to end.
type slowEnd struct {
	l    *Loop
	over chan struct{} // closed when the range has ended
}

func (slowEnd) fill(*chain, int) (int, bool, error)   { return 0, false, eAGAIN }
func (slowEnd) write([]byte) (int, error)             { return 0, eCONNRESET }
func (slowEnd) flush(out *chain) (int, *chunk, error) { return 0, nil, eCONNRESET }
func (slowEnd) failure() error                        { return nil }
func (slowEnd) closeWrite() error                     { return nil }
func (slowEnd) halfCloses() bool                      { return true }

func (e slowEnd) close(bool) {
	for until := e.l.Stats().Turns + 3; e.l.Stats().Turns < until; runtime.Gosched() {
		select {
		case <-e.over:
			return
		default:
			e.l.poller.wake()
		}
	}
}

// TestEmptyWithClosed: a loop is not empty as long as the Closed of its last stream has
// not been received, whichever goroutine has met with the failure.
func TestEmptyWithClosed(t *testing.T) {
	for form, receive := range ranges {
		for how, fail := range map[string]func(*Stream){
			"Write": func(s *Stream) { s.Write([]byte("x")) },
			"Flush": func(s *Stream) { s.Output().WriteString("x"); s.Flush() },
			"Close": func(s *Stream) {
				s.Pause(Write)
				s.Write([]byte("x"))
				s.Close() // there will be no message
			},
		} {
			t.Run(form+"/"+how, func(t *testing.T) {
				l, err := New(&Config{IgnoreEnv: true, ExitOnEmpty: true})
				if err != nil {
					t.Skip(err)
				}
				defer l.Close()
				over := make(chan struct{})
				s := l.newStream(noFD)
				s.more().transport = slowEnd{l, over}
				l.mu.Lock()
				l.streams++
				l.enqueue(&s.source, msgConnected)
				l.unlock()
				closed := 0
				done := make(chan struct{})
				receive(l, func(ev Event) {
					switch ev {
					case Connected{s}:
						go func() {
							defer close(done)
							fail(s)
						}()
					case Closed{s}:
						closed++
					default:
						t.Errorf("received %v", ev)
					}
				})
				close(over)
				<-done
				want := 1
				if how == "Close" {
					want = 0
				}
				if closed != want {
					t.Errorf("%d messages said that the stream has ended; want %d", closed, want)
				}
			})
		}
	}
}
