// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/evchan/evchan"
)

// A hundred loops can watch one file and accept from one socket, as doc.go says. With
// epoll the kernel allows no more, since each loop's epoll set lies in another one, and
// that in the runtime's.
func TestHundredLoops(t *testing.T) {
	const most = 100
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()

	uses := map[string]func(*evchan.Loop) error{
		"Watch": func(l *evchan.Loop) error {
			watch, err := l.WatchConn(r, evchan.Read)
			if err != nil {
				return err
			}
			return watch.Arm(0)
		},
		"Listener": func(l *evchan.Loop) error {
			f, err := nl.(*net.TCPListener).File()
			if err != nil {
				return err
			}
			defer f.Close()
			again, err := net.FileListener(f)
			if err != nil {
				return err
			}
			if _, err = l.WrapListener(again, nil); err != nil {
				again.Close()
			}
			return err
		},
	}
	for _, method := range []string{"epoll", "poll"} {
		for name, use := range uses {
			t.Run(method+"/"+name, func(t *testing.T) {
				for i := range most + 1 {
					loop, err := evchan.New(&evchan.Config{Method: method, IgnoreEnv: true})
					if err != nil {
						t.Fatal(err)
					}
					defer loop.Close()
					switch err := use(loop); {
					case i == most && method == "epoll" && err != nil:
						// It works if one of the loops was not in the runtime's set at that moment.
						if !errors.Is(err, syscall.EINVAL) {
							t.Errorf("loop %d: %v; want %v", i+1, err, syscall.EINVAL)
						}
					case err != nil:
						t.Fatalf("loop %d: %v", i+1, err)
					}
				}
			})
		}
	}
}
