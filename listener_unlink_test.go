// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !plan9

package evchan

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestListenerUnlink: whose file it is decides whether closing removes it.
func TestListenerUnlink(t *testing.T) {
	if !slices.Contains(networks, "unix") {
		t.Skip("there are no unix sockets here")
	}
	type maker func(t *testing.T, l *Loop, name string) *Listener
	listenUnix := func(t *testing.T, l *Loop, name string) *Listener {
		ln, err := l.Listen("unix", name, nil)
		must(t, err)
		return ln
	}
	wrapped := func(prepare func(*net.UnixListener) *net.UnixListener) maker {
		return func(t *testing.T, l *Loop, name string) *Listener {
			nl, err := net.Listen("unix", name)
			must(t, err)
			ln, err := l.WrapListener(prepare(nl.(*net.UnixListener)), nil)
			must(t, err)
			return ln
		}
	}
	inherited := func(nl *net.UnixListener) *net.UnixListener { // as from a service manager
		f, err := nl.File()
		must(t, err)
		defer f.Close()
		nl.SetUnlinkOnClose(false)
		nl.Close()
		got, err := net.FileListener(f)
		must(t, err)
		return got.(*net.UnixListener)
	}
	successor := func(name string) {
		must(t, os.Remove(name))
		nl, err := net.Listen("unix", name)
		must(t, err)
		nl.(*net.UnixListener).SetUnlinkOnClose(false)
		t.Cleanup(func() { nl.Close(); os.Remove(name) })
	}
	none := func(*Listener, string) {}
	for name, c := range map[string]struct {
		make   maker
		before func(*Listener, string)
		stays  bool
	}{
		"Listen":                  {listenUnix, none, false},
		"Listen, off":             {listenUnix, func(ln *Listener, _ string) { ln.SetUnlinkOnClose(false) }, true},
		"Listen, off and on":      {listenUnix, func(ln *Listener, _ string) { ln.SetUnlinkOnClose(false); ln.SetUnlinkOnClose(true) }, false},
		"Listen, successor":       {listenUnix, func(_ *Listener, name string) { successor(name) }, true},
		"net.Listen":              {wrapped(func(nl *net.UnixListener) *net.UnixListener { return nl }), none, false},
		"net.Listen, off":         {wrapped(func(nl *net.UnixListener) *net.UnixListener { nl.SetUnlinkOnClose(false); return nl }), none, true},
		"net.FileListener":        {wrapped(inherited), none, true},
		"net.FileListener, on":    {wrapped(inherited), func(ln *Listener, _ string) { ln.SetUnlinkOnClose(true) }, false},
		"net.FileListener, on it": {wrapped(func(nl *net.UnixListener) *net.UnixListener { nl = inherited(nl); nl.SetUnlinkOnClose(true); return nl }), none, false},
	} {
		for how, end := range map[string]func(*testing.T, *Listener){
			"Close":      func(_ *testing.T, ln *Listener) { ln.Close() },
			"Loop.Close": func(_ *testing.T, ln *Listener) { ln.Loop().Close() },
			"NetListener": func(t *testing.T, ln *Listener) {
				nl, err := ln.NetListener()
				must(t, err)
				nl.Close()
			},
			"NetListener, wrapped again": func(t *testing.T, ln *Listener) {
				nl, err := ln.NetListener()
				must(t, err)
				ln, err = ln.Loop().WrapListener(nl, nil)
				must(t, err)
				ln.Close()
			},
		} {
			if strings.HasPrefix(how, "NetListener") && strings.HasSuffix(name, "successor") {
				continue // package net removes whatever is there
			}
			t.Run(name+"/"+how, func(t *testing.T) {
				l := socketLoop(t)
				file := filepath.Join(tempDir(t), "s")
				ln := c.make(t, l, file)
				c.before(ln, file)
				end(t, ln)
				if _, err := os.Lstat(file); (err == nil) != c.stays {
					t.Errorf("Lstat says %v", err)
				}
			})
		}
	}
	l := socketLoop(t)
	ln := listen(t, l, "tcp", nil)
	ln.SetUnlinkOnClose(true) // has no file
	ln.Close()
	ln.SetUnlinkOnClose(true)
}
