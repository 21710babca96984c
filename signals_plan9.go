// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import "os"

const maxSignal = 0

func catchable(sysSignal) bool        { return false }
func signalName(sig os.Signal) string { return quote(sig.String()) }
