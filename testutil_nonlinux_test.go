// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build !linux

package evchan

// useModels has nothing to make known: the models are made of what Linux has.
func useModels() {}
