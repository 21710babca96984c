// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build solaris || illumos || aix

package evchan

// kernelMethods returns the methods that ask this system's kernel, best first.
func kernelMethods() []method {
	return []method{{"poll", pollFeatures, openPollSet}}
}

// setReusePort fails: the system has no such option.
func setReusePort(sysFD) error { return ErrUnsupported }
