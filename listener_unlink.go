// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"os"
	"reflect"
)

// SetUnlinkOnClose says whether closing the listener, or its loop, removes the file of its
// unix socket. From the beginning it does if Listen has made the listener. After WrapListener
// it does what closing the net.Listener would have done: package net removes the file if it
// has created it (net.Listen), not if it was given the socket (net.FileListener), unless
// its own SetUnlinkOnClose was called.
//
// A file that has another's socket by now stays in any case. Listeners without a file, and
// closed ones, ignore the call.
func (ln *Listener) SetUnlinkOnClose(unlink bool) {
	ln.mustBeMade()
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.unlinks = unlink
}

// An unlinker is a *net.UnixListener, where that has a file.
type unlinker interface{ SetUnlinkOnClose(bool) }

// unlinksOnClose reports whether closing nl removes its file. Package net does not tell, so
// the answer is read from its own field; were that to go, the file would stay.
func unlinksOnClose(nl unlinker) bool {
	f := reflect.ValueOf(nl).Elem().FieldByName("unlink")
	return f.IsValid() && f.Kind() == reflect.Bool && f.Bool()
}

// A socketFile is the file of a unix socket.
type socketFile struct {
	name string      // "": it has none
	info os.FileInfo // as it was in the beginning; nil if it could not be asked for
}

// fileOf returns the file of the unix socket with the address name.
func fileOf(name string) socketFile {
	if name == "" || name[0] == '@' {
		return socketFile{}
	}
	info, err := os.Lstat(name)
	if err != nil {
		info = nil
	}
	return socketFile{name, info}
}

// remove removes the file, unless it is another one by now.
func (f *socketFile) remove() {
	if f.name == "" {
		return
	}
	if f.info != nil {
		if now, err := os.Lstat(f.name); err != nil || !os.SameFile(f.info, now) {
			return
		}
	}
	os.Remove(f.name)
}
