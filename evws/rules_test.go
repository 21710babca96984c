// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"fmt"
	"strings"
	"testing"
)

// A ruling is what a client sends, and what must come of it.
type ruling struct {
	name string
	in   []byte
	told string // messages of the server's side
	sent string // frames of the server's side
}

const (
	text, bin, cont  = opText, opBinary, opContinuation
	ping, pong, shut = opPing, opPong, opClose
)

func broken(reason string) string { return "closed 1002: evws: " + reason + " (code 1002)" }

func rulings() []ruling {
	bye := closing(1000, "")
	rs := []ruling{
		// Sizes.
		{"empty text", join(frame(fin|text, ""), bye), "text , closed 1000", "close 1000"},
		{"empty binary", join(frame(fin|bin, ""), bye), "binary , closed 1000", "close 1000"},

		// Pings and pongs.
		{"ping", join(frame(fin|ping, ""), bye), "closed 1000", "pong, close 1000"},
		{"ping with text", join(frame(fin|ping, "Hello"), bye), "closed 1000", "pong Hello, close 1000"},
		{"ping with bytes", join(frame(fin|ping, "\x00\xff\xfe\xfd"), bye), "closed 1000", "pong \x00\xff\xfe\xfd, close 1000"},
		{"longest ping", join(frame(fin|ping, strings.Repeat("a", 125)), bye), "closed 1000", `pong "a" x125, close 1000`},
		{"too long a ping", frame(fin|ping, strings.Repeat("a", 126)), broken("a control frame is too long"), "close 1002"},
		{"pong that nobody asked for", join(frame(fin|pong, ""), frame(fin|pong, "x"), frame(fin|ping, "y"), bye), "closed 1000", "pong y, close 1000"},
		{"ten pings", join(frame(fin|ping, "0"), frame(fin|ping, "1"), frame(fin|ping, "2"), frame(fin|ping, "3"), frame(fin|ping, "4"), frame(fin|ping, "5"),
			frame(fin|ping, "6"), frame(fin|ping, "7"), frame(fin|ping, "8"), frame(fin|ping, "9"), bye), "closed 1000",
			"pong 0, pong 1, pong 2, pong 3, pong 4, pong 5, pong 6, pong 7, pong 8, pong 9, close 1000"},

		// Fragments.
		{"fragmented ping", join(frame(ping, "a"), frame(fin|cont, "b")), broken("a control frame is fragmented"), "close 1002"},
		{"fragmented pong", join(frame(pong, "a"), frame(fin|cont, "b")), broken("a control frame is fragmented"), "close 1002"},
		{"fragmented close", join(frame(shut, "\x03\xe8"), frame(fin|cont, "b")), broken("a control frame is fragmented"), "close 1002"},
		{"two fragments", join(frame(text, "frag"), frame(fin|cont, "ment"), bye), "text fragment, closed 1000", "close 1000"},
		{"two fragments of bytes", join(frame(bin, "\xff"), frame(fin|cont, "\xfe"), bye), "binary \xff\xfe, closed 1000", "close 1000"},
		{"a ping between fragments", join(frame(text, "frag"), frame(fin|ping, "p"), frame(fin|cont, "ment"), bye), "text fragment, closed 1000", "pong p, close 1000"},
		{"empty fragments", join(frame(text, ""), frame(cont, ""), frame(fin|cont, ""), bye), "text , closed 1000", "close 1000"},
		{"an empty fragment between", join(frame(text, "a"), frame(cont, ""), frame(fin|cont, "b"), bye), "text ab, closed 1000", "close 1000"},
		{"five fragments and pings", join(frame(text, "1"), frame(cont, "2"), frame(fin|ping, "a"), frame(cont, "3"), frame(cont, "4"), frame(fin|ping, "b"), frame(fin|cont, "5"), bye),
			"text 12345, closed 1000", "pong a, pong b, close 1000"},
		{"nothing to continue", join(frame(fin|cont, "a"), frame(fin|text, "b")), broken("there is nothing to continue"), "close 1002"},
		{"nothing to continue, no FIN", join(frame(cont, "a"), frame(fin|text, "b")), broken("there is nothing to continue"), "close 1002"},
		{"nothing to continue any more", join(frame(text, "a"), frame(fin|cont, "b"), frame(cont, "c"), frame(fin|text, "d")), "text ab, " + broken("there is nothing to continue"), "close 1002"},
		{"a message within a message", join(frame(text, "a"), frame(fin|text, "b")), broken("a message begins within a message"), "close 1002"},
		{"a binary message within a message", join(frame(text, "a"), frame(bin, "b")), broken("a message begins within a message"), "close 1002"},

		// Closing.
		{"close without a code", frame(fin|shut, ""), "closed 1005", "close"},
		{"half a code", frame(fin|shut, "\x03"), broken("a close frame has half a code"), "close 1002"},
		{"close with a reason", closing(1000, "bye"), "closed 1000 bye", "close 1000"},
		{"the longest reason", closing(1000, strings.Repeat("r", 123)), `closed 1000 "r" x123`, "close 1000"},
		{"too long a reason", closing(1000, strings.Repeat("r", 124)), broken("a control frame is too long"), "close 1002"},
		{"a reason that is not UTF-8", closing(1000, "\xce\xba\xed\xa0\x80"), "closed 1007: evws: the reason of a close frame is not UTF-8 (code 1007)", "close 1007"},
		{"two closes", join(bye, bye), "closed 1000", "close 1000"},
		{"a ping after close", join(bye, frame(fin|ping, "p")), "closed 1000", "close 1000"},
		{"text after close", join(bye, frame(fin|text, "p")), "closed 1000", "close 1000"},
		{"close between fragments", join(frame(text, "a"), bye, frame(fin|cont, "b")), "closed 1000", "close 1000"},
		{"text and close", join(frame(fin|text, "last words"), bye), "text last words, closed 1000", "close 1000"},

		// Masks and lengths.
		{"no mask", []byte{fin | text, 1, 'a'}, broken("the client has not masked a frame"), "close 1002"},
		{"a zero mask", join([]byte{fin | text, 0x81, 0, 0, 0, 0, 'a'}, bye), "text a, closed 1000", "close 1000"},
		{"16 bits for a length of 7", []byte{fin | text, 0x80 | 126, 0, 125, 0, 0, 0, 0}, broken("the length is not in its shortest form"), "close 1002"},
		{"64 bits for a length of 16", []byte{fin | text, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}, broken("the length is negative or not in its shortest form"), "close 1002"},
		{"a negative length", []byte{fin | text, 0x80 | 127, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, broken("the length is negative or not in its shortest form"), "close 1002"},
		{"too long a message", []byte{fin | bin, 0x80 | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, "closed 1009: evws: the message is too long (code 1009)", "close 1009"},
		{"too long in fragments", join(frame(bin, strings.Repeat("x", 600<<10)), frame(fin|cont, strings.Repeat("x", 600<<10))), "closed 1009: evws: the message is too long (code 1009)", "close 1009"},
		{"compressed, which was not agreed on", frame(fin|bitRSV1|text, "\xaaV*J-)\xcdI\x01\x00"), broken("a reserved bit is set"), "close 1002"},

		// UTF-8.
		{"text", join(frame(fin|text, "Hello-µ@ßöäüàá-UTF-8!! κόσμε 𝄞"), bye), "text Hello-µ@ßöäüàá-UTF-8!! κόσμε 𝄞, closed 1000", "close 1000"},
		{"a character in two fragments", join(frame(text, "\xf0\x9d"), frame(cont, "\x84"), frame(fin|cont, "\x9e"), bye), "text 𝄞, closed 1000", "close 1000"},
		{"half a character at the end", join(frame(fin|text, "a\xf0\x9d\x84")), notUTF8, "close 1007"},
		{"half a character at the end of fragments", join(frame(text, "a\xf0"), frame(fin|cont, "\x9d\x84")), notUTF8, "close 1007"},
		{"a surrogate", frame(fin|text, "\xed\xa0\x80"), notUTF8, "close 1007"},
		{"overlong", frame(fin|text, "\xc0\xaf"), notUTF8, "close 1007"},
		{"beyond Unicode", frame(fin|text, "\xf4\x90\x80\x80"), notUTF8, "close 1007"},
		{"wrong before the end of the message", join(frame(text, "ok"), frame(cont, "\xf4\x90")), notUTF8, "close 1007"},
		{"wrong before the end of the frame", frame(fin|text, "ok \xf4\x90 and more that never comes")[:6+6], notUTF8, "close 1007"},
		{"any bytes in binary", join(frame(fin|bin, "\xff\xfe"), bye), "binary \xff\xfe, closed 1000", "close 1000"},
	}
	for _, n := range []int{125, 126, 127, 128, 65535, 65536, 1 << 20} {
		body := strings.Repeat("*", n)
		rs = append(rs,
			ruling{fmt.Sprint("text of ", n), join(frame(fin|text, body), bye), fmt.Sprintf(`text "*" x%d, closed 1000`, n), "close 1000"},
			ruling{fmt.Sprint("binary of ", n), join(frame(fin|bin, body), bye), fmt.Sprintf(`binary "*" x%d, closed 1000`, n), "close 1000"})
		var parts []byte // as many as there are lengths to try
		for _, size := range []int{1300, 64} {
			if n > 1<<16 {
				size *= 64
			}
			parts = append(parts, frame(text, "")...)
			for at := 0; at < n; at += size {
				parts = append(parts, frame(cont, body[at:min(at+size, n)])...)
			}
			parts = append(parts, frame(fin|cont, "")...)
		}
		rs = append(rs, ruling{fmt.Sprint("fragments of ", n), join(parts, bye), fmt.Sprintf(`text "*" x%d, text "*" x%d, closed 1000`, n, n), "close 1000"})
	}
	for rsv := byte(1); rsv < 8; rsv++ {
		for _, op := range []byte{text, bin, ping, shut} {
			rs = append(rs, ruling{fmt.Sprintf("reserved bits %d with opcode %d", rsv, op),
				join(frame(fin|text, "a"), frame(fin|rsv<<4|op, "b"), frame(fin|ping, "")), "text a, " + broken("a reserved bit is set"), "close 1002"})
		}
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		for _, body := range []string{"", "x"} {
			rs = append(rs, ruling{fmt.Sprintf("opcode %d %q", op, body),
				join(frame(fin|text, "a"), frame(fin|op, body), frame(fin|ping, "")), "text a, " + broken("unknown opcode"), "close 1002"})
		}
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		rs = append(rs, ruling{fmt.Sprint("code ", code), closing(code, "r"), fmt.Sprintf("closed %d r", code), fmt.Sprint("close ", code)})
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		rs = append(rs, ruling{fmt.Sprint("code ", code), closing(code, "r"), broken(fmt.Sprintf("a close frame has the code %d", code)), "close 1002"})
	}
	return rs
}

const notUTF8 = "closed 1007: evws: text is not UTF-8 (code 1007)"

// TestRules runs what RFC 6455 says of frames, one case each, in one piece and in small ones.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, r := range rulings() {
		for _, piece := range []int{0, 1, 7} {
			if piece > 0 {
				if len(r.in) > 20000 {
					piece *= 1009
				} else if len(r.in) > 2000 {
					piece *= 37
				}
			}
			t.Run(fmt.Sprintf("%s/%d", r.name, piece), func(t *testing.T) {
				w := newWire(t, nil, false)
				w.send(r.in, piece)
				if got := w.told(); got != r.told {
					t.Errorf("told %s\nwant %s", got, r.told)
				}
				if got := w.sent(t); got != r.sent {
					t.Errorf("sent %s\nwant %s", got, r.sent)
				}
				if !w.eof {
					t.Error("the server has not ended the connection")
				}
			})
		}
	}
}
