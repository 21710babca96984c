// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package interop tests evhttp with libraries that others have written for net/http: routers and
// WebSockets. It is a module of its own, so that those who use evchan do not need them.
package interop
