// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !linux

package main

import (
	"context"
	"errors"
)

// A harness cannot be had here.
type harness struct{}

func newHarness(int) (*harness, error) {
	return nil, errors.New("the servers are measured on Linux only")
}

func (*harness) close() {}

func (*harness) output(context.Context, ...string) ([]byte, string, error) {
	panic("BUG: running without a harness")
}

func (*harness) measure(context.Context, *options, setting, timing, server) (measurement, error) {
	panic("BUG: measuring without a harness")
}
