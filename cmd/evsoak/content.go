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

// period is after how many bytes the content repeats: a prime, so that bytes that
// are lost or doubled show.
const period = 65521

// content is what is sent: the same bytes over and over, from anywhere on.
type content struct {
	twice []byte   // so that any period bytes are in one piece
	file  *os.File // the same
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

// at returns the n <= period bytes that come at pos.
func (c *content) at(pos, n int) []byte { return c.twice[pos%period:][:n] }

// A checker is told bytes, as an io.Writer, that have to be those of content.
type checker struct {
	content *content
	rep     *report
	key     int // where in the content it begins
	got     int // bytes so far
}

func (k *checker) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), period)
		if !bytes.Equal(rest[:n], k.content.at(k.key+k.got, n)) {
			return 0, fmt.Errorf("of the bytes %d to %d some are wrong", k.got, k.got+n)
		}
		k.got += n
		rest = rest[n:]
	}
	k.rep.bytes.Add(int64(len(p)))
	return len(p), nil
}
