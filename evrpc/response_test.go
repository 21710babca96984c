// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/evchan/evchan"
)

// A response is the same in one piece and in many. What net/http understands as well has the same status and
// body.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbodymore"), uint16(3))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\r\nConnection: x, close\r\n\r\nbody"), uint16(1))
	f.Add([]byte("HTTP/1.1 204 No Content\r\n\r\n"), uint16(7))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		const limit = 1000
		var whole, pieces response
		var in evchan.Buffer
		in.Write(data)
		done, err := whole.read(&in, true, limit)
		if done == (err != nil) {
			t.Fatalf("at the end of the connection: %v, %v", done, err)
		}
		if whole.body.Len() > limit {
			t.Fatalf("a body of %d bytes", whole.body.Len())
		}
		left := in.Len()

		in.Reset()
		var done2 bool
		var err2 error
		rest := data
		for !done2 && err2 == nil {
			n := min(len(rest), 1+int(size)%100)
			in.Write(rest[:n])
			rest = rest[n:]
			done2, err2 = pieces.read(&in, len(rest) == 0, limit)
		}
		if done2 != done || done && (pieces.status != whole.status || pieces.keepAlive != whole.keepAlive ||
			!bytes.Equal(pieces.body.Bytes(), whole.body.Bytes()) || in.Len()+len(rest) != left) {
			t.Fatalf("whole: %v, %v, status %d, %d left; in pieces: %v, %v, status %d, %d left",
				done, err, whole.status, left, done2, err2, pieces.status, in.Len()+len(rest))
		}
		if !done {
			return
		}

		r := bufio.NewReader(bytes.NewReader(data))
		resp, err := http.ReadResponse(r, &http.Request{Method: "POST"})
		for err == nil && resp.StatusCode < 200 {
			resp, err = http.ReadResponse(r, &http.Request{Method: "POST"})
		}
		if err != nil {
			return
		}
		body, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != whole.status || !bytes.Equal(body, whole.body.Bytes())) {
			t.Fatalf("status %d, body %q; of net/http: %d, %q", whole.status, whole.body.Bytes(), resp.StatusCode, body)
		}
	})
}
