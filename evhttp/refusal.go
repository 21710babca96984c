// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import "errors"

// A refusal is why the server does not take a request, and the status that says so to the
// client. The connection is closed after it: what follows in it cannot be told apart.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return "evhttp: " + e.text }

var (
	errRequestLine  = &refusal{400, "malformed request line"}
	errTarget       = &refusal{400, "malformed request target"}
	errLongTarget   = &refusal{414, "request line too long"}
	errVersion      = &refusal{505, "HTTP version not supported"}
	errFieldName    = &refusal{400, "malformed field name"}
	errFold         = &refusal{400, "field value on several lines"}
	errFieldValue   = &refusal{400, "control character in a field value"}
	errLineEnd      = &refusal{400, "line does not end in CR LF"}
	errHost         = &refusal{400, "not exactly one valid Host"}
	errNoHost       = &refusal{400, "no Host"}
	errLength       = &refusal{400, "malformed or repeated Content-Length"}
	errCoding       = &refusal{501, "Transfer-Encoding other than chunked"}
	errCodingTwice  = &refusal{400, "more than one Transfer-Encoding"}
	errCodingOld    = &refusal{400, "Transfer-Encoding in HTTP/1.0"}
	errLengthCoding = &refusal{400, "both Content-Length and Transfer-Encoding"}
	errConnectBody  = &refusal{400, "CONNECT with a body"}
	errExpectation  = &refusal{417, "unknown expectation"}
	errLargeHead    = &refusal{431, "request head too large"}
	errChunk        = &refusal{400, "malformed chunk"}
	errTrailer      = &refusal{400, "malformed or forbidden trailer"}
	errLargeBody    = &refusal{413, "request body too large"}
	errSlowHead     = &refusal{408, "request head took too long"}
	errSlowBody     = &refusal{408, "request body took too long"}
	errMethod       = &refusal{405, "method not allowed"}
	errBusy         = &refusal{503, "too many connections"}
)

// errMore means that the head is not complete.
var errMore = errors.New("evhttp: the head is not complete")
