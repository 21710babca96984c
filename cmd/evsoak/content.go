// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// period is the number of bytes after which the content repeats. It is a prime, so
// that lost or doubled bytes show.
const period = 65521

// content is what is sent: the same bytes again and again, from any position on.
type content struct {
	twice []byte   // two periods, so that any period bytes are one slice
	file  *os.File // holds the same
}

func newContent(dir string) (*content, error) {
	c := &content{twice: make([]byte, 2*period)}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range period {
		c.twice[i] = byte(r.Uint32())
	}
	copy(c.twice[period:], c.twice)
	name := filepath.Join(dir, "content")
	if err := os.WriteFile(name, c.twice, 0o600); err != nil {
		return nil, err
	}
	file, err := os.Open(name)
	c.file = file
	return c, err
}

// at returns the n bytes at position pos; n is at most period.
func (c *content) at(pos, n int) []byte { return c.twice[pos%period:][:n] }

// A checker is an io.Writer that compares what is written to it with the content.
type checker struct {
	content *content
	rep     *report
	key     int // the position in the content at which the bytes begin
	got     int // bytes so far
}

func (k *checker) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), period)
		if !bytes.Equal(rest[:n], k.content.at(k.key+k.got, n)) {
			return 0, fmt.Errorf("there are wrong bytes among %d to %d", k.got, k.got+n)
		}
		k.got += n
		rest = rest[n:]
	}
	k.rep.bytes.Add(int64(len(p)))
	return len(p), nil
}
