// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

func TestErrors(t *testing.T) {
	for _, err := range []error{ErrClosed, ErrWouldBlock, ErrFull, ErrFrozen, ErrUnsupported, errSelf, errCommit, errNegative, ErrTooLarge} {
		if !bytes.HasPrefix([]byte(err.Error()), []byte("evchan: ")) {
			t.Errorf("text %q", err)
		}
	}
	if !errors.Is(ErrClosed, net.ErrClosed) || !errors.Is(ErrUnsupported, errors.ErrUnsupported) {
		t.Error("not the standard library's errors")
	}
	var ne net.Error
	//lint:ignore SA1019 crypto/tls looks at Temporary, and so the contract promises it.
	if !errors.As(ErrWouldBlock, &ne) || ne.Timeout() || !ne.Temporary() {
		t.Error("ErrWouldBlock is no temporary net.Error")
	}
}
