// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestSendFile(t *testing.T) {
	name := filepath.Join(tempDir(t), "f")
	content := pattern(3 << 20)
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	onMethods(t, Config{MaxOutput: 64 << 10}, map[string]func(*testing.T, *Loop){
		"Whole": func(t *testing.T, l *Loop) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			s, far := connectedPair(t, l)
			s.Write([]byte("head "))
			released := make(chan struct{})
			if err := s.SendFile(f, 10, int64(len(content))-10, func() { f.Close(); close(released) }); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Write([]byte(" tail")); n != 5 || err != nil {
				t.Errorf("the file counts against MaxOutput: %d, %v", n, err)
			}
			s.Close()
			got := make(chan []byte)
			go func() {
				p, _ := io.ReadAll(far)
				far.Close()
				got <- p
			}()
			waitReleased(t, l)
			want := append(append([]byte("head "), content[10:]...), " tail"...)
			if p := <-got; !bytes.Equal(p, want) {
				t.Errorf("the peer got %d bytes of %d", len(p), len(want))
			}
			<-released
		},
		"Truncated": func(t *testing.T, l *Loop) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			s, far := connectedPair(t, l)
			go io.Copy(io.Discard, far)
			released := make(chan struct{})
			s.SendFile(f, 0, int64(len(content))+1, func() { f.Close(); close(released) })
			if ev := nextOf(t, l, s); ev != Event(Closed{s}) || !errors.Is(s.Err(), io.ErrUnexpectedEOF) {
				t.Errorf("%v, %v", ev, s.Err())
			}
			<-released
		},
		"Dropped": func(t *testing.T, l *Loop) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s, _ := connectedPair(t, l)
			s.Pause(Write)
			calls := 0
			s.SendFile(f, 0, 100, func() { calls++ })
			s.Abort()
			if calls != 1 {
				t.Errorf("released %d times", calls)
			}
			if err := s.SendFile(f, 0, 1, func() { calls++ }); err != ErrClosed || calls != 1 {
				t.Errorf("after the end it gives %v, and releases", err)
			}
			if err := s.SendFile(f, -1, 1, nil); err == nil {
				t.Error("a negative offset gives no error")
			}
		},
	})
}
