// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package conntest holds the tests that need other modules: that what NetConn
// returns is a net.Conn as golang.org/x/net/nettest understands it. It is a module of
// its own, so that evchan requires none of them.
package conntest
