// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package evchan

import "errors"

const pollFeatures = FeatureAnyFD

func openPollSet() (poller, error) { return nil, errors.New("evchan: not yet") }
