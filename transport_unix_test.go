// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import (
	"math"
	"os"
	"syscall"
	"testing"
)

func TestBufferWriteFDToNobody(t *testing.T) {
	a, b := socketPair(t)
	var out Buffer
	syscall.Shutdown(b, syscall.SHUT_RD)
	out.WriteString("x")
	if n, err := sendFD(&out, a); n != 0 || err != syscall.EPIPE {
		t.Errorf("writeFD to who reads no more: %d, %v", n, err)
	}
	expect(t, &out, "x")
}

// What cannot take a part of a file from the file gets it all the same.
func TestBufferFileIsWritten(t *testing.T) {
	data := pattern(500_000)
	f := tempFile(t, data)
	// sendfile refuses a descriptor that appends.
	name := t.TempDir() + "/out"
	w, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var out Buffer
	out.WriteString("head")
	var c counter
	out.AppendFile(f, 1, 300_000, c.release)
	out.WriteString("tail")
	n, spent, err := out.writeFD(sysFD(w.Fd()), math.MaxInt, false)
	if n != 300_008 || err != nil {
		t.Errorf("writeFD = %d, %v", n, err)
	}
	c.want(t, 0, "while a lock may be held")
	freeChain(spent)
	c.want(t, 1, "when it was let go")
	if got, _ := os.ReadFile(name); string(got) != "head"+string(data[1:300_001])+"tail" {
		t.Error("what was appended differs")
	}
}
