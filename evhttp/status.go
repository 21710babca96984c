// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// statusLines has the status lines of the codes that package net/http knows.
var statusLines = func() (t [600]string) {
	for code := range t {
		if text := http.StatusText(code); text != "" {
			t[code] = "HTTP/1.1 " + strconv.Itoa(code) + " " + text + "\r\n"
		}
	}
	return
}()

// appendStatus appends the status line of code, which has three digits.
func appendStatus(p []byte, code int) []byte {
	if code < len(statusLines) && statusLines[code] != "" {
		return append(p, statusLines[code]...)
	}
	p = append(p, "HTTP/1.1 "...)
	p = strconv.AppendInt(p, int64(code), 10)
	return append(p, " \r\n"...)
}

// statusText returns the text of code for an error page.
func statusText(code int) string {
	if text := http.StatusText(code); text != "" {
		return text
	}
	return "Status " + strconv.Itoa(code)
}

// noBody reports whether a reply with this code never has a body (RFC 9112, 6.3).
func noBody(code int) bool {
	return code < 200 || code == http.StatusNoContent || code == http.StatusNotModified
}

// A dateCache has the field Date, which is made once a second.
type dateCache struct{ p atomic.Pointer[dateLine] }

type dateLine struct {
	second int64
	line   string
}

// appendDate appends the field Date with its line end.
func (d *dateCache) appendDate(p []byte, now time.Time) []byte {
	second := now.Unix()
	l := d.p.Load()
	if l == nil || l.second != second {
		l = &dateLine{second, "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
		d.p.Store(l)
	}
	return append(p, l.line...)
}
