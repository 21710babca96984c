// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"encoding/binary"

	"github.com/evchan/evchan"
)

// Opcodes, RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

const (
	bitFin    = 0x80
	bitRSV1   = 0x40 // the message is compressed, RFC 7692
	bitsRSV   = 0x70
	bitsOp    = 0x0f
	bitMasked = 0x80

	maxControl = 125 // payload of a control frame
	maxHeader  = 14
)

// A header is what a frame begins with.
type header struct {
	fin, rsv1, masked bool
	op                byte
	length            int64
	mask              [4]byte
}

func (h *header) control() bool { return h.op >= opClose }

// readHeader returns the header that in begins with, and its size. The size is 0 if the header has
// not arrived. It removes nothing. The error is a protocolError. What the first two bytes show
// to be wrong is an error even if the rest has not arrived.
func readHeader(in *evchan.Buffer, client, compressed bool) (h header, size int, err error) {
	var b [maxHeader]byte
	n := in.CopyTo(b[:], 0)
	if n < 2 {
		return h, 0, nil
	}
	h.fin = b[0]&bitFin != 0
	h.rsv1 = b[0]&bitRSV1 != 0
	h.op = b[0] & bitsOp
	h.masked = b[1]&bitMasked != 0
	length := int64(b[1] &^ bitMasked)
	switch {
	case b[0]&bitsRSV&^bitRSV1 != 0, h.rsv1 && !compressed:
		return h, 0, protocolError("a reserved bit is set")
	case h.op > opBinary && h.op < opClose, h.op > opPong:
		return h, 0, protocolError("unknown opcode")
	case h.rsv1 && (h.control() || h.op == opContinuation):
		return h, 0, protocolError("a control frame or a continuation is marked as compressed")
	case h.control() && !h.fin:
		return h, 0, protocolError("a control frame is fragmented")
	case h.control() && length > maxControl:
		return h, 0, protocolError("a control frame is too long")
	case h.masked && client:
		return h, 0, protocolError("the server has masked a frame")
	case !h.masked && !client:
		return h, 0, protocolError("the client has not masked a frame")
	}
	size = 2
	switch length {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	at := size
	if h.masked {
		size += 4
	}
	if n < size {
		return h, 0, nil
	}
	switch at {
	case 4:
		if length = int64(binary.BigEndian.Uint16(b[2:])); length < 126 {
			return h, 0, protocolError("the length is not in its shortest form")
		}
	case 10:
		v := binary.BigEndian.Uint64(b[2:])
		if v>>63 != 0 || v < 1<<16 {
			return h, 0, protocolError("the length is negative or not in its shortest form")
		}
		length = int64(v)
	}
	h.length = length
	if h.masked {
		copy(h.mask[:], b[at:])
	}
	return h, size, nil
}

// appendHeader appends the header of a frame of n bytes, without a mask.
func appendHeader(dst []byte, first byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, first, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
}

// appendFrame appends a frame to dst. If mask is not nil, the frame is masked with it.
func appendFrame(dst []byte, first byte, p []byte, mask *[4]byte) []byte {
	at := len(dst)
	dst = appendHeader(dst, first, len(p))
	if mask == nil {
		return append(dst, p...)
	}
	dst[at+1] |= bitMasked
	dst = append(dst, mask[:]...)
	at = len(dst)
	dst = append(dst, p...)
	xor(dst[at:], *mask, 0)
	return dst
}

// xor masks p, or unmasks it. pos is the position of p in the payload.
func xor(p []byte, mask [4]byte, pos int) {
	var m [8]byte
	for i := range m {
		m[i] = mask[(pos+i)%4]
	}
	word := binary.LittleEndian.Uint64(m[:])
	for len(p) >= 32 {
		q := p[:32]
		binary.LittleEndian.PutUint64(q, binary.LittleEndian.Uint64(q)^word)
		binary.LittleEndian.PutUint64(q[8:], binary.LittleEndian.Uint64(q[8:])^word)
		binary.LittleEndian.PutUint64(q[16:], binary.LittleEndian.Uint64(q[16:])^word)
		binary.LittleEndian.PutUint64(q[24:], binary.LittleEndian.Uint64(q[24:])^word)
		p = p[32:]
	}
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^word)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= m[i]
	}
}
