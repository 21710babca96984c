// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build solaris || illumos || aix

package evchan

// methods returns the methods of this system, best first.
func methods() []method {
	return []method{{"poll", pollFeatures, openPollSet}}
}

// setReusePort fails: the system has no such option.
func setReusePort(sysFD) error { return ErrUnsupported }
