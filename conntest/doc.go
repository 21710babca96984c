// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package conntest tests with golang.org/x/net/nettest that NetConn returns a correct
// net.Conn. It is a module of its own, so that evchan does not require golang.org/x/net.
package conntest
