// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package main

import (
	"encoding/binary"
	"errors"

	"github.com/evchan/evchan"
)

// Members of the chat send records; the hub sends each record to all members. A
// record has the number of its sender, how many records the sender has sent before,
// and a checksum of both.
const recordSize = 12

func record(id, seq uint32) []byte {
	p := make([]byte, 0, recordSize)
	p = binary.BigEndian.AppendUint32(p, id)
	p = binary.BigEndian.AppendUint32(p, seq)
	return binary.BigEndian.AppendUint32(p, id*31+seq)
}

// A hub is the server of the chat.
type hub struct{ members map[*evchan.Stream]bool }

func newHub() func(*evchan.Stream) {
	h := &hub{members: make(map[*evchan.Stream]bool)}
	return func(s *evchan.Stream) {
		h.members[s] = true
		s.Data = h
	}
}

func (h *hub) handle(n *node, ev evchan.Event) {
	s := ev.Source().(*evchan.Stream)
	switch ev.(type) {
	case evchan.Readable:
		in := s.Input()
		p := in.Next(in.Len() / recordSize * recordSize)
		for to := range h.members {
			if _, err := to.Write(p); errors.Is(err, evchan.ErrFull) {
				n.w.fault("a member of the chat reads nothing")
				to.Abort()
				delete(h.members, to)
			}
		}
	case evchan.EOF:
		delete(h.members, s)
		s.Close()
	case evchan.Closed:
		delete(h.members, s)
	}
}

// A member sends some records, each when it has received the one before, and then
// leaves.
type member struct {
	home     *node
	id       uint32
	seq, end uint32
	last     map[uint32]uint32 // the last record of each sender
}

func (n *node) member() {
	s, err := n.loop.Dial(n.w.chat.network, n.w.chat.address, nil)
	if err != nil {
		n.w.fault("Dial: %v", err)
		return
	}
	n.begin()
	n.w.conns.Add(1)
	s.Data = &member{home: n, id: uint32(n.w.ids.Add(1)), end: 1 + n.r.Uint32N(200), last: make(map[uint32]uint32)}
}

func (m *member) handle(n *node, ev evchan.Event) {
	s := ev.Source().(*evchan.Stream)
	switch ev.(type) {
	case evchan.Connected:
		s.Write(record(m.id, 0))
	case evchan.Readable:
		in := s.Input()
		for in.Len() >= recordSize {
			p := in.Next(recordSize)
			id, seq := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
			last, known := m.last[id]
			if binary.BigEndian.Uint32(p[8:]) != id*31+seq || known && seq != last+1 {
				n.w.fault("chat: %x, after %d of the same", p, last)
			}
			m.last[id] = seq
			n.w.bytes.Add(recordSize)
			if id != m.id {
				continue
			}
			if seq != m.seq {
				n.w.fault("chat: own record %d instead of %d", seq, m.seq)
			}
			if m.seq++; m.seq == m.end {
				s.Close()
				m.home.end()
				return
			}
			s.Write(record(m.id, m.seq))
		}
	case evchan.EOF, evchan.Closed:
		n.w.fault("chat: %v, %v", ev, s.Err())
		s.Close()
		m.home.end()
	}
}
