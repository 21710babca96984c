// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix && !linux && !darwin && !freebsd && !openbsd

package evchan

// sysTellDestination fails: the system cannot do that, or x/sys does not know how.
func sysTellDestination(sysFD, bool) error { return ErrUnsupported }

func destinationOf([]byte) peerAddr { return peerAddr{} }

func sourceControl(*packetAddr) []byte { return nil }
