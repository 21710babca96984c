// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc

import "testing"

func TestHost(t *testing.T) {
	for _, test := range []struct{ network, address, want string }{
		{"tcp", "example.com:80", "example.com:80"},
		{"tcp4", "127.0.0.1:80", "127.0.0.1:80"},
		{"tcp6", "[fe80::1%eth0]:80", "[fe80::1]:80"},
		{"tcp", ":80", "localhost:80"},
		{"tcp", "no port", "localhost"},
		{"unix", "/tmp/a:1", "localhost"},
		{"memory", "a b", "localhost"},
	} {
		if got := (&Conn{network: test.network, address: test.address}).host(); got != test.want {
			t.Errorf("%s %s: the host is %q, want %q", test.network, test.address, got, test.want)
		}
	}
}
