// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bytes"
	"compress/flate"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// stdDeflate compresses as RFC 7692 wants it, with compress/flate.
func stdDeflate(t testing.TB, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(p)
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), tail)
}

// TestInflateExamples has the examples of RFC 7692, section 7.2.3.
func TestInflateExamples(t *testing.T) {
	for name, in := range map[string]string{
		"fixed codes":       "\xf2\x48\xcd\xc9\xc9\x07\x00",
		"no compression":    "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
		"a last block":      "\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
		"two blocks":        "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
		"last, no padding":  "\xf3\x48\xcd\xc9\xc9\x07\x00",
		"a last one before": "\x01\x02\x00\xfd\xff\x48\x65\xca\xc9\xc9\x07\x00",
	} {
		if got, err := inflate([]byte(in), 5, nil); string(got) != "Hello" || err != nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if _, err := inflate([]byte(in), 4, nil); err != errInflatedTooBig {
			t.Errorf("%s with a limit of 4: %v", name, err)
		}
	}
	if got, err := inflate([]byte("\x00"), 0, nil); len(got) != 0 || err != nil {
		t.Errorf("the empty message: %q, %v", got, err)
	}
	for name, in := range map[string]string{
		"a reserved block":  "\x06",
		"a wrong length":    "\x00\x05\x00\x00\xff\x48",
		"beyond the window": "\x02\x40\x00",
		"a cut code":        "\xf2\x48\xcd",
	} {
		if got, err := inflate([]byte(in), 100, nil); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestDeflate(t *testing.T) {
	t.Parallel()
	random := make([]byte, 50000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	var words strings.Builder
	for words.Len() < 100000 {
		words.WriteString([]string{"alpha ", "beta ", "gamma ", "delta "}[rng.IntN(4)])
	}
	for name, p := range map[string][]byte{
		"a": []byte("a"), "zeros": make([]byte, 1<<18), "random": random, "words": []byte(words.String()),
		"repeated": bytes.Repeat(random[:1000], 200),
	} {
		for _, window := range []int{8, 12, maxWindow} {
			small := deflate(p, window, nil)
			got, err := inflate(small, len(p), nil)
			if err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%s, window %d: %d bytes, %v", name, window, len(got), err)
			}
			if window < maxWindow {
				continue
			}
			std, err := inflate(stdDeflate(t, p), len(p), nil)
			if err != nil || !bytes.Equal(std, p) {
				t.Errorf("%s by compress/flate: %d bytes, %v", name, len(std), err)
			}
			if (name == "zeros" || name == "words") && len(small) > len(p)/2 {
				t.Errorf("%s, window %d: %d bytes of %d", name, window, len(small), len(p))
			}
		}
	}
}

// TestWindow has zlib decompress with the small windows that a peer may ask for.
func TestWindow(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3, for zlib")
	}
	p := bytes.Repeat([]byte("the same words, again and again, with distances of many sizes; "), 3000)
	for _, window := range []int{9, 13} { // zlib has no window of 8 bits
		cmd := exec.Command(python, "-c", fmt.Sprintf("import sys, zlib; sys.stdout.buffer.write(zlib.decompressobj(-%d).decompress(sys.stdin.buffer.read()))", window))
		cmd.Stdin = bytes.NewReader(append(deflate(p, window, nil), tail...))
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, p) {
			t.Errorf("window %d: %d bytes, %v", window, len(got), err)
		}
	}
}

// TestBomb has a megabyte become more than is allowed.
func TestBomb(t *testing.T) {
	t.Parallel()
	w := newWire(t, &Config{Compress: true, MaxMessage: 1 << 20}, false)
	bomb := stdDeflate(t, make([]byte, 4<<20))
	if len(bomb) > 1<<17 {
		t.Fatalf("%d bytes", len(bomb))
	}
	w.send(frame(fin|bitRSV1|opBinary, string(bomb)), 0)
	if got := w.told(); got != "closed 1009: evws: the message is too long when it is decompressed (code 1009)" {
		t.Errorf("told %s", got)
	}
}

// TestCompressedRules has the rules about compressed messages.
func TestCompressedRules(t *testing.T) {
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	half := string(stdDeflate(t, []byte("a\xf0\x9d")))
	bye := closing(1000, "")
	for _, r := range []ruling{
		{"whole", join(frame(fin|bitRSV1|text, hello), bye), "text Hello, closed 1000", "close 1000"},
		{"not compressed", join(frame(fin|text, "plain"), bye), "text plain, closed 1000", "close 1000"},
		{"in fragments", join(frame(bitRSV1|text, hello[:3]), frame(fin|ping, ""), frame(cont, hello[3:4]), frame(fin|cont, hello[4:]), bye), "text Hello, closed 1000", "pong, close 1000"},
		{"empty", join(frame(fin|bitRSV1|bin, "\x00"), bye), "binary , closed 1000", "close 1000"},
		{"of nothing", frame(fin|bitRSV1|bin, ""), "closed 1007: evws: the message cannot be decompressed (code 1007)", "close 1007"},
		{"marked in a continuation", join(frame(bitRSV1|text, hello[:3]), frame(fin|bitRSV1|cont, hello[3:])), broken("a control frame or a continuation is marked as compressed"), "close 1002"},
		{"marked ping", frame(fin|bitRSV1|ping, ""), broken("a control frame or a continuation is marked as compressed"), "close 1002"},
		{"RSV2", frame(fin|0x20|text, hello), broken("a reserved bit is set"), "close 1002"},
		{"garbage", frame(fin|bitRSV1|bin, "\x06garbage"), "closed 1007: evws: the message cannot be decompressed (code 1007)", "close 1007"},
		{"not UTF-8", frame(fin|bitRSV1|text, half), notUTF8, "close 1007"},
		{"bytes", join(frame(fin|bitRSV1|bin, half), bye), "binary a\xf0\x9d, closed 1000", "close 1000"},
		{"two, each on its own", join(frame(fin|bitRSV1|text, hello), frame(fin|bitRSV1|text, hello), bye), "text Hello, text Hello, closed 1000", "close 1000"},
		{"too long before it is decompressed", frame(fin|bitRSV1|bin, strings.Repeat("x", 1<<20+1)), "closed 1009: evws: the message is too long (code 1009)", "close 1009"},
	} {
		for _, piece := range []int{0, 1} {
			if len(r.in) > 2000 && piece > 0 {
				continue
			}
			for _, parts := range []bool{false, true} {
				w := newWire(t, &Config{Compress: true, Parts: parts}, false)
				w.send(r.in, piece)
				told := r.told
				if parts && (r.name == "not compressed") && piece > 0 {
					told = "text p..., text l..., text a..., text i..., text n, closed 1000"
				}
				if got := w.told(); got != told {
					t.Errorf("%s: told %s\nwant %s", r.name, got, told)
				}
				if got := w.sent(t); got != r.sent {
					t.Errorf("%s: sent %s\nwant %s", r.name, got, r.sent)
				}
			}
		}
	}
}

// TestSendCompressed checks what is sent compressed, and what is not.
func TestSendCompressed(t *testing.T) {
	w := newWire(t, &Config{Compress: true, CompressFrom: 100}, false)
	w.conn.SendText(strings.Repeat("a", 99))
	w.conn.SendText(strings.Repeat("a", 100))
	w.run()
	first, p, rest, _ := cutFrame(w.out)
	if first != fin|opText || len(p) != 99 {
		t.Errorf("the short one: %x, %d bytes", first, len(p))
	}
	first, p, _, _ = cutFrame(rest)
	got, err := inflate(p, 1000, nil)
	if first != fin|bitRSV1|opText || len(got) != 100 || err != nil {
		t.Errorf("the long one: %x, %d bytes, %v", first, len(got), err)
	}
}
