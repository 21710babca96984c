// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag

import (
	"fmt"
	"math"
	"math/bits"
)

// The functions in this file append to dst and return the extended slice, like append. They
// panic if a payload is longer than 4294967295 bytes, the most that the format can say.

// AppendTag appends a tag alone, without length and payload.
func AppendTag(dst []byte, tag uint32) []byte {
	for tag >= 0x80 {
		dst = append(dst, byte(tag)|0x80)
		tag >>= 7
	}
	return append(dst, byte(tag))
}

// AppendRawUint appends an integer alone, without tag and length. It takes 1 to 9 bytes,
// or up to 5 if v has no more than 32 bits: the encoding of 32 and of 64 bits is the same.
func AppendRawUint(dst []byte, v uint64) []byte {
	nibbles := uintNibbles(v)
	dst = append(dst, byte(nibbles-1)<<4|byte(v&0xf))
	for v >>= 4; nibbles > 1; nibbles -= 2 {
		dst = append(dst, byte(v&0xf)<<4|byte(v>>4&0xf))
		v >>= 8
	}
	return dst
}

// uintNibbles returns how many nibbles v has: 1 to 16.
func uintNibbles(v uint64) int { return max(1, (bits.Len64(v)+3)/4) }

// uintLen returns how many bytes AppendRawUint appends.
func uintLen(v uint64) int { return uintNibbles(v)/2 + 1 }

// AppendUint appends an integer of up to 64 bits.
func AppendUint(dst []byte, tag uint32, v uint64) []byte {
	return appendUint(AppendTag(dst, tag), v)
}

// appendUint appends the length of an integer, and the integer.
func appendUint(dst []byte, v uint64) []byte {
	dst = AppendRawUint(dst, uint64(uintLen(v)))
	return AppendRawUint(dst, v)
}

// AppendBytes appends bytes. They may be an encoded message.
func AppendBytes(dst []byte, tag uint32, p []byte) []byte {
	dst = appendLength(AppendTag(dst, tag), len(p))
	return append(dst, p...)
}

// AppendString appends a string. libevent's programs see only what is before the first zero byte.
func AppendString(dst []byte, tag uint32, s string) []byte {
	dst = appendLength(AppendTag(dst, tag), len(s))
	return append(dst, s...)
}

// AppendTimeval appends a time or a duration.
func AppendTimeval(dst []byte, tag uint32, t Timeval) []byte {
	return appendTimeval(AppendTag(dst, tag), t)
}

// appendTimeval appends the length of a timeval, and the timeval.
func appendTimeval(dst []byte, t Timeval) []byte {
	dst = AppendRawUint(dst, uint64(uintLen(uint64(t.Sec))+uintLen(uint64(t.Usec))))
	dst = AppendRawUint(dst, uint64(t.Sec))
	return AppendRawUint(dst, uint64(t.Usec))
}

// AppendMessage appends a message in a message: what encode appends to its argument.
func AppendMessage(dst []byte, tag uint32, encode func(dst []byte) []byte) []byte {
	dst, begin := beginMessage(AppendTag(dst, tag))
	return endMessage(encode(dst), begin)
}

// appendLength appends the length of a payload.
func appendLength(dst []byte, n int) []byte {
	if uint64(n) > math.MaxUint32 {
		panic(fmt.Sprintf("evtag: a payload of %d bytes is too long", n))
	}
	return AppendRawUint(dst, uint64(n))
}

// maxLengthLen is how many bytes the length of a payload takes at most.
const maxLengthLen = 5

// beginMessage makes room for the length of a payload that is appended afterwards. It
// returns where the payload begins, for endMessage.
func beginMessage(dst []byte) ([]byte, int) {
	dst = append(dst, make([]byte, maxLengthLen)...)
	return dst, len(dst)
}

// endMessage puts the length before the payload that begins at begin, and closes the gap between.
func endMessage(dst []byte, begin int) []byte {
	payload := dst[begin:]
	head := appendLength(dst[:begin-maxLengthLen], len(payload))
	return append(head, payload...)
}
