// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// understand is a simple reading of RFC 6455 for a server that has all of the input. It returns
// what wire.told and wire.sent would.
func understand(in []byte, limit int, compressed bool) (told, sent []string) {
	var message []byte
	op, small := byte(0), false
	fail := func(code int) ([]string, []string) {
		return append(told, fmt.Sprint("closed ", code)), append(sent, fmt.Sprint("close ", code))
	}
	for {
		if len(in) < 2 {
			return told, sent
		}
		first, second := in[0], in[1]
		kind, end := first&15, first&fin != 0
		switch {
		case first&0x30 != 0, first&0x40 != 0 && (!compressed || kind == 0 || kind >= 8):
			return fail(1002)
		case kind > 2 && kind < 8, kind > 10, second&0x80 == 0:
			return fail(1002)
		case kind >= 8 && (!end || second&0x7f > 125):
			return fail(1002)
		}
		n, at := int(second&0x7f), 2
		if n >= 126 {
			size := 2
			if n == 127 {
				size = 8
			}
			if len(in) < 2+size+4 {
				return told, sent
			}
			v := uint64(0)
			for _, b := range in[2 : 2+size] {
				v = v<<8 | uint64(b)
			}
			if size == 2 && v < 126 || size == 8 && (v < 65536 || v >= 1<<63) {
				return fail(1002)
			}
			n, at = int(v), 2+size
		}
		if len(in) < at+4 {
			return told, sent
		}
		if kind < 8 {
			if (kind == 0) != (op != 0) {
				return fail(1002)
			}
			if n > limit-len(message) {
				return fail(1009)
			}
		}
		body := in[at+4:]
		whole := len(body) >= n
		if !whole && kind >= 8 {
			return told, sent
		}
		body = bytes.Clone(body[:min(n, len(body))])
		for i := range body {
			body[i] ^= in[at+i%4]
		}
		in = in[at+4+len(body):]
		switch kind {
		case opPing:
			sent = append(sent, strings.TrimSpace("pong "+short(body)))
			continue
		case opPong:
			continue
		case opClose:
			code, reply := 1005, "close"
			if len(body) == 1 {
				return fail(1002)
			}
			if len(body) > 1 {
				code = int(body[0])<<8 | int(body[1])
				reply = fmt.Sprint("close ", code)
				ok := code >= 3000 && code < 5000
				for _, c := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} {
					ok = ok || code == c
				}
				if !ok {
					return fail(1002)
				}
				if !utf8.Valid(body[2:]) {
					return fail(1007)
				}
			}
			return append(told, fmt.Sprint("closed ", code)), append(sent, reply)
		}
		if kind != 0 {
			op, small = kind, first&0x40 != 0
		}
		message = append(message, body...)
		if op == opText && !small {
			if _, beginning := rfc3629(message); !beginning {
				return fail(1007)
			}
		}
		if !whole {
			return told, sent
		}
		if !end {
			continue
		}
		if small {
			out, err := simpleInflate(message)
			if len(out) > limit {
				return fail(1009)
			}
			if err != nil {
				return fail(1007)
			}
			message = out
		}
		if op == opText && !utf8.Valid(message) {
			return fail(1007)
		}
		told = append(told, fmt.Sprintf("%v %s", Type(op), short(message)))
		message, op = nil, 0
	}
}

// simpleInflate is inflate by compress/flate and without a limit.
func simpleInflate(p []byte) (out []byte, err error) {
	src := bytes.NewReader(append(bytes.Clone(p), ending...))
	for {
		r := flate.NewReaderDict(src, out[max(0, len(out)-1<<maxWindow):])
		more, err := io.ReadAll(r)
		out = append(out, more...)
		switch {
		case err != nil:
			return out, err
		case src.Len() == 0 || src.Len() == len(ending):
			return out, nil
		case src.Len() < len(ending):
			return out, errInflate
		}
	}
}

// FuzzFrames gives a server bytes in pieces, beside a simple reading of the RFC.
func FuzzFrames(f *testing.F) {
	for _, r := range rulings() {
		if len(r.in) < 1000 {
			f.Add(r.in, uint8(3), false)
		}
	}
	f.Add(join(frame(fin|bitRSV1|opText, "\xf2\x48\xcd\xc9\xc9\x07\x00"), closing(1000, "")), uint8(0), true)
	f.Fuzz(func(t *testing.T, in []byte, piece uint8, compressed bool) {
		const limit = 2000
		if len(in) > 10000 {
			return
		}
		w := newWire(t, &Config{MaxMessage: limit, Compress: compressed}, false)
		defer w.loop.Close()
		w.send(in, max(int(piece), len(in)/50))
		told, sent := understand(in, limit, compressed)
		var got []string
		for _, ev := range w.got {
			if c, ok := ev.(*Closed); ok {
				got = append(got, fmt.Sprint("closed ", c.Code))
			} else {
				got = append(got, describe(ev))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(told) {
			t.Errorf("told %q\nwant %q", got, told)
		}
		if s := w.sent(t); s != strings.Join(sent, ", ") {
			t.Errorf("sent %q\nwant %q", s, strings.Join(sent, ", "))
		}
	})
}

// FuzzInflate decompresses any bytes, beside compress/flate.
func FuzzInflate(f *testing.F) {
	f.Add([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), 100)
	f.Add([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), 5)
	f.Add([]byte("\x01\x02\x00\xfd\xff\x48\x65\xca\xc9\xc9\x07\x00"), 5)
	f.Fuzz(func(t *testing.T, p []byte, limit int) {
		limit = min(max(limit, 0), 1<<16)
		got, err := inflate(bytes.Clone(p), limit, nil)
		if len(got) > limit || err != nil && got != nil {
			t.Fatalf("%d bytes, limit %d, %v", len(got), limit, err)
		}
		want, werr := simpleInflate(p)
		switch {
		case err == nil && (werr != nil || !bytes.Equal(got, want)):
			t.Fatalf("got %q, compress/flate %q, %v", got, want, werr)
		case err == errInflatedTooBig && len(want) <= limit:
			t.Fatalf("too big; compress/flate: %d bytes, %v", len(want), werr)
		case err != nil && err != errInflatedTooBig && werr == nil:
			t.Fatalf("%v; compress/flate has no error in %d bytes", err, len(want))
		}
	})
}

// FuzzDeflate has each message come out as it went in.
func FuzzDeflate(f *testing.F) {
	f.Add([]byte("hello hello hello hello hello hello hello"), uint8(15))
	f.Fuzz(func(t *testing.T, p []byte, window uint8) {
		if len(p) == 0 {
			return
		}
		small := deflate(p, 8+int(window)%8, nil)
		got, err := inflate(small, len(p), nil)
		if err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%v", err)
		}
		before := keepEnd(bytes.Clone(p[:len(p)/2]), p[len(p)/2:], maxSentBefore)
		if got, err := inflate(deflate(p, maxWindow, before), len(p), before); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("after itself: %v", err)
		}
		r := flate.NewReader(io.MultiReader(bytes.NewReader(small), bytes.NewReader(ending)))
		if got, err = io.ReadAll(r); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("compress/flate: %v", err)
		}
	})
}

// FuzzNegotiate parses offers: what is agreed to is an answer that a client takes, and that says the
// same of what both keep.
func FuzzNegotiate(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits, permessage-deflate; server_max_window_bits=9", false)
	f.Add("permessage-deflate; server_no_context_takeover", true)
	f.Fuzz(func(t *testing.T, offers string, takeover bool) {
		answer, server := negotiate([]string{offers}, takeover)
		if (answer == "") != (server.window == 0) {
			t.Fatalf("%q, window %d", answer, server.window)
		}
		if answer == "" {
			return
		}
		client, ok := agreed([]string{answer}, true, takeover)
		if !ok || client.window == 0 || server.window < 8 || server.window > maxWindow ||
			client.keepsSent != server.keepsReceived || !client.keepsReceived && server.keepsSent || !takeover && server.keepsSent {
			t.Fatalf("%q, server %v, client %v", answer, server, client)
		}
	})
}
