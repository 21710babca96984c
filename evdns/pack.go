// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

var errTooLong = errors.New("evdns: the message is too long")

// A packer writes a message. It compresses names without a table on the heap.
type packer struct {
	buf   []byte
	start int // of the message in buf
	limit int // bytes of the message

	// Where labels begin that a name may end with, from start.
	suffixes [64]uint16
	n        int
}

// size returns how long the message is.
func (p *packer) size() int { return len(p.buf) - p.start }

// note remembers that a label begins here.
func (p *packer) note() {
	if at := p.size(); p.n < len(p.suffixes) && at < 1<<14 {
		p.suffixes[p.n] = uint16(at)
		p.n++
	}
}

// question copies a question in the wire format, whose name is not compressed.
func (p *packer) question(q []byte) {
	for i := 0; q[i] != 0; i += int(q[i]) + 1 {
		if at := p.size() + i; p.n < len(p.suffixes) {
			p.suffixes[p.n] = uint16(at)
			p.n++
		}
	}
	p.buf = append(p.buf, q...)
}

// name writes a name with a final dot.
func (p *packer) name(name []byte) error {
	if len(name) == 0 || len(name) > maxName || name[len(name)-1] != '.' {
		return errorf("bad name %q", name)
	}
	if len(name) == 1 {
		p.buf = append(p.buf, 0)
		return nil
	}
	for len(name) > 0 {
		if at := p.find(name); at >= 0 {
			p.buf = append(p.buf, 0xc0|byte(at>>8), byte(at))
			return nil
		}
		n := 0
		for name[n] != '.' {
			n++
		}
		if n == 0 || n > 63 {
			return errorf("bad label in a name")
		}
		p.note()
		p.buf = append(p.buf, byte(n))
		p.buf = append(p.buf, name[:n]...)
		name = name[n+1:]
	}
	p.buf = append(p.buf, 0)
	return nil
}

// find returns where name stands in the message already, -1 if it does not. Capital and small
// letters differ, so that names are returned as they were given. The last name in the
// message may be incomplete.
func (p *packer) find(name []byte) int {
	for _, at := range p.suffixes[:p.n] {
		if p.standsAt(int(at), name) {
			return int(at)
		}
	}
	return -1
}

// standsAt reports whether name, and nothing more, stands at i.
func (p *packer) standsAt(i int, name []byte) bool {
	msg := p.buf[p.start:]
	for i < len(msg) {
		n := int(msg[i])
		switch {
		case n&0xc0 == 0xc0:
			i = n&0x3f<<8 | int(msg[i+1])
			continue
		case n == 0:
			return len(name) == 0
		case n >= len(name) || name[n] != '.' || string(msg[i+1:i+1+n]) != string(name[:n]):
			return false
		}
		i, name = i+1+n, name[n+1:]
	}
	return false
}

// A mark is a state to return to.
type mark struct{ size, n int }

func (p *packer) mark() mark { return mark{len(p.buf), p.n} }

func (p *packer) back(m mark) { p.buf, p.n = p.buf[:m.size], m.n }

// header writes the beginning of a record, up to the length of its data, which end sets.
func (p *packer) header(name []byte, typ dnsmessage.Type, class dnsmessage.Class, ttl uint32) error {
	if err := p.name(name); err != nil {
		return err
	}
	p.buf = binary.BigEndian.AppendUint16(p.buf, uint16(typ))
	p.buf = binary.BigEndian.AppendUint16(p.buf, uint16(class))
	p.buf = binary.BigEndian.AppendUint32(p.buf, ttl)
	p.buf = append(p.buf, 0, 0)
	return nil
}

// end sets the length of the data that began at data. It returns errTooLong if the record
// does not fit.
func (p *packer) end(data int) error {
	if p.size() > p.limit || len(p.buf)-data > maxMessage {
		return errTooLong
	}
	binary.BigEndian.PutUint16(p.buf[data-2:], uint16(len(p.buf)-data))
	return nil
}

// addr writes an A or AAAA record.
func (p *packer) addr(name []byte, ttl uint32, a netip.Addr) error {
	m := p.mark()
	typ := dnsmessage.TypeA
	if a.Is6() {
		typ = dnsmessage.TypeAAAA
	}
	if err := p.header(name, typ, dnsmessage.ClassINET, ttl); err != nil {
		p.back(m)
		return err
	}
	data := len(p.buf)
	if a.Is6() {
		b := a.As16()
		p.buf = append(p.buf, b[:]...)
	} else {
		b := a.As4()
		p.buf = append(p.buf, b[:]...)
	}
	if err := p.end(data); err != nil {
		p.back(m)
		return err
	}
	return nil
}

// resource writes a record. If that is not possible, nothing is written.
func (p *packer) resource(r *dnsmessage.Resource) error {
	m := p.mark()
	err := p.resourceAt(r)
	if err != nil {
		p.back(m)
	}
	return err
}

func (p *packer) resourceAt(r *dnsmessage.Resource) error {
	h := &r.Header
	typ := h.Type
	switch b := r.Body.(type) {
	case nil:
		return errorf("a record without Body")
	case *dnsmessage.AResource:
		typ = dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		typ = dnsmessage.TypeAAAA
	case *dnsmessage.NSResource:
		typ = dnsmessage.TypeNS
	case *dnsmessage.CNAMEResource:
		typ = dnsmessage.TypeCNAME
	case *dnsmessage.PTRResource:
		typ = dnsmessage.TypePTR
	case *dnsmessage.MXResource:
		typ = dnsmessage.TypeMX
	case *dnsmessage.SOAResource:
		typ = dnsmessage.TypeSOA
	case *dnsmessage.TXTResource:
		typ = dnsmessage.TypeTXT
	case *dnsmessage.SRVResource:
		typ = dnsmessage.TypeSRV
	case *dnsmessage.HTTPSResource:
		typ = dnsmessage.TypeHTTPS
	case *dnsmessage.SVCBResource:
		typ = dnsmessage.TypeSVCB
	case *dnsmessage.UnknownResource:
		typ = b.Type
	}
	class := h.Class
	if class == 0 {
		class = dnsmessage.ClassINET
	}
	if err := p.header(h.Name.Data[:h.Name.Length], typ, class, h.TTL); err != nil {
		return err
	}
	data := len(p.buf)
	var err error
	switch b := r.Body.(type) {
	case *dnsmessage.AResource:
		p.buf = append(p.buf, b.A[:]...)
	case *dnsmessage.AAAAResource:
		p.buf = append(p.buf, b.AAAA[:]...)
	case *dnsmessage.NSResource:
		err = p.name(b.NS.Data[:b.NS.Length])
	case *dnsmessage.CNAMEResource:
		err = p.name(b.CNAME.Data[:b.CNAME.Length])
	case *dnsmessage.PTRResource:
		err = p.name(b.PTR.Data[:b.PTR.Length])
	case *dnsmessage.MXResource:
		p.buf = binary.BigEndian.AppendUint16(p.buf, b.Pref)
		err = p.name(b.MX.Data[:b.MX.Length])
	case *dnsmessage.SOAResource:
		if err = p.name(b.NS.Data[:b.NS.Length]); err == nil {
			err = p.name(b.MBox.Data[:b.MBox.Length])
		}
		for _, v := range [...]uint32{b.Serial, b.Refresh, b.Retry, b.Expire, b.MinTTL} {
			p.buf = binary.BigEndian.AppendUint32(p.buf, v)
		}
	case *dnsmessage.UnknownResource:
		p.buf = append(p.buf, b.Data...)
	default:
		p.buf, err = appendBody(p.buf, r.Body)
	}
	if err != nil {
		return err
	}
	return p.end(data)
}

// appendBody writes the data of a record whose names must not be compressed, by the encoder
// of dnsmessage.
func appendBody(buf []byte, body dnsmessage.ResourceBody) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	b.StartAnswers()
	h := dnsmessage.ResourceHeader{Name: rootName, Class: dnsmessage.ClassINET}
	var err error
	switch r := body.(type) {
	case *dnsmessage.TXTResource:
		err = b.TXTResource(h, *r)
	case *dnsmessage.SRVResource:
		err = b.SRVResource(h, *r)
	case *dnsmessage.HTTPSResource:
		err = b.HTTPSResource(h, *r)
	case *dnsmessage.SVCBResource:
		err = b.SVCBResource(h, *r)
	default:
		err = errorf("records of type %T cannot be sent", body)
	}
	if err != nil {
		return buf, err
	}
	msg, err := b.Finish()
	if err != nil {
		return buf, err
	}
	const before = headerSize + 1 + 10 // the root's name, type, class, TTL and length
	return append(buf, msg[before:]...), nil
}

var rootName = dnsmessage.MustNewName(".")
