// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// Sizes in the wire format (RFC 1035, RFC 6891).
const (
	headerSize = 12
	optSize    = 11    // an OPT record without options
	maxMessage = 65535 // what two bytes of length can say
	plainUDP   = 512   // the longest datagram without EDNS
)

// Bits of the third and the fourth byte of a message.
const (
	bitResponse   = 0x80
	maskOpcode    = 0x78
	bitAuthorit   = 0x04
	bitTruncated  = 0x02
	bitRecurse    = 0x01
	bitRecursable = 0x80
	bitAuthentic  = 0x20
)

func errorf(format string, args ...any) error { return fmt.Errorf("evdns: "+format, args...) }

// queryForm says how a question is sent.
type queryForm struct {
	udpSize int  // of EDNS; 0: without EDNS
	mix     bool // mix capital and small letters
	trustAD bool // ask for the bit that says that the server has checked signatures
	pad     bool // pad to a multiple of 128 bytes (RFC 8467)
}

// appendQuery appends a message that asks q. Mixed case makes an answer harder to forge: who
// does not see the question does not know it (dns0x20).
func appendQuery(b []byte, id uint16, q question, form queryForm) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, id)
	b = append(b, bitRecurse, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	if form.trustAD {
		b[start+3] |= bitAuthentic
	}
	name := len(b)
	b = appendName(b, q.name)
	if form.mix {
		mixCase(b[name:])
	}
	b = binary.BigEndian.AppendUint16(b, uint16(q.typ))
	b = binary.BigEndian.AppendUint16(b, uint16(q.class))
	if form.udpSize == 0 {
		return b
	}
	b[start+11] = 1
	b = append(b, 0, 0, byte(dnsmessage.TypeOPT), byte(form.udpSize>>8), byte(form.udpSize), 0, 0, 0, 0, 0, 0)
	if form.pad {
		const block, option, code = 128, 4, 12
		n := (block - (len(b)-start+option)%block) % block
		b[len(b)-1] = byte(option + n)
		b = append(b, 0, code, 0, byte(n))
		b = append(b, make([]byte, n)...)
	}
	return b
}

// appendName appends name, which isWireName, without compression.
func appendName(b []byte, name string) []byte {
	if name == "." {
		return append(b, 0)
	}
	size := len(b)
	b = append(b, 0)
	for i := range len(name) {
		if name[i] != '.' {
			b = append(b, name[i])
			continue
		}
		b[size] = byte(len(b) - size - 1)
		size = len(b)
		b = append(b, 0)
	}
	return b
}

// mixCase makes each letter of a name in the wire format a capital or a small one at random.
// The bytes that are no letters, such as the lengths of labels, stay.
func mixCase(name []byte) {
	var bits uint64
	for i, n := 0, 0; i < len(name); i++ {
		c := lowerByte(name[i])
		if c < 'a' || c > 'z' {
			continue
		}
		if n == 0 {
			bits, n = rand.Uint64(), 64 // the runtime's ChaCha8: not to be guessed
		}
		name[i] = c - byte(bits&1)*('a'-'A')
		bits >>= 1
		n--
	}
}

// unmixCase makes the letters of the question in a message small. Other names in the message may
// end with that name, by compression: they must not show what mixCase has done.
func unmixCase(msg []byte) {
	if msg[5] == 0 {
		return // it has no question
	}
	q := msg[headerSize:]
	for i := range max(questionSize(q)-4, 0) {
		q[i] = lowerByte(q[i]) // the lengths of labels are no letters
	}
}

// How a message relates to a query that was sent.
type match int

const (
	matchNone match = iota // it is no answer to the query: forged, late or broken
	matchFold              // it would be one if the case of letters did not count
	matchFull              // it is the answer
)

// matchReply compares a message with the query that was sent. The caller has
// checked where it comes from.
func matchReply(msg, query []byte) match {
	if len(msg) < headerSize || msg[0] != query[0] || msg[1] != query[1] {
		return matchNone
	}
	if msg[2]&bitResponse == 0 || msg[2]&maskOpcode != query[2]&maskOpcode {
		return matchNone
	}
	if msg[4] != 0 || msg[5] != 1 {
		// A server that did not understand the query may answer without a question (BIND
		// does for FORMERR). Its id and its address have been right.
		rcode := dnsmessage.RCode(msg[3] & 0xf)
		if msg[4]|msg[5] == 0 && (rcode == dnsmessage.RCodeFormatError || rcode == dnsmessage.RCodeNotImplemented) {
			return matchFull
		}
		return matchNone
	}
	q := query[headerSize : headerSize+questionSize(query[headerSize:])]
	if len(msg) < headerSize+len(q) {
		return matchNone
	}
	r := msg[headerSize : headerSize+len(q)]
	if bytes.Equal(q, r) {
		return matchFull
	}
	// The lengths of labels are no letters: they are below 64.
	name := len(q) - 4
	if equalFold(q[:name], r[:name]) && bytes.Equal(q[name:], r[name:]) {
		return matchFold
	}
	return matchNone
}

// questionSize returns the size of the question that b begins with; 0 if it is incomplete, or
// if its name is compressed.
func questionSize(b []byte) int {
	n := 0
	for n < len(b) && b[n] != 0 {
		if b[n]&0xc0 != 0 {
			return 0
		}
		n += int(b[n]) + 1
	}
	if n += 1 + 4; n > len(b) {
		return 0
	}
	return n
}

// maxChain is how many CNAMEs an answer may have between the question and the records.
const maxChain = 16

var (
	errMalformed = errors.New("malformed message")
	errChain     = errors.New("a loop of CNAME records, or too many")
)

// A reply is what a server has answered. It is not changed once it is made: queries and the
// cache share it.
type reply struct {
	msg    []byte // the message, owned
	q      question
	server netip.AddrPort
	rcode  dnsmessage.RCode // with the upper bits of EDNS

	authoritative, truncated, authentic, recursable bool

	edns      bool
	canonical string       // the name at the end of the CNAMEs, with a final dot
	addrs     []netip.Addr // for A and AAAA
	found     int          // how many records there are for the question
	referral  bool         // nothing but name servers of a zone below: no answer
	ttl       uint32       // seconds; the least of all that was used; for negative answers that of the SOA
	aliasTTL  uint32       // the least of the CNAMEs that were followed
	cacheable bool
}

// negative reports whether the answer is that there is nothing, by a server that knows.
func (r *reply) negative() bool {
	return r.rcode == dnsmessage.RCodeNameError || r.rcode == dnsmessage.RCodeSuccess && r.found == 0
}

// elsewhere returns the name that is to be asked next, if the server knows only that the name
// that it was asked is an alias of that; else "".
func (r *reply) elsewhere() string {
	if r == nil || r.rcode != dnsmessage.RCodeSuccess || r.found > 0 || r.cacheable || r.canonical == r.q.name {
		return ""
	}
	return r.canonical
}

// parseReply reads an answer to q. It takes ownership of msg.
//
// Of the records only those count whose owner is the name that was asked, or one that it is
// an alias of, by CNAMEs in the message. Others are not believed, whatever section they are
// in.
func parseReply(msg []byte, q question) (*reply, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return nil, errMalformed
	}
	r := &reply{
		msg: msg, q: q, rcode: h.RCode, canonical: q.name,
		authoritative: h.Authoritative, truncated: h.Truncated, authentic: h.AuthenticData, recursable: h.RecursionAvailable,
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, errMalformed
	}
	if err := r.parseAnswers(&p); err != nil {
		if h.Truncated { // the last record may be cut
			return r, nil
		}
		return nil, err
	}
	if err := r.parseRest(&p); err != nil && !h.Truncated {
		return nil, err
	}
	return r, nil
}

// parseAnswers follows the CNAMEs and counts the records at their end.
func (r *reply) parseAnswers(p *dnsmessage.Parser) error {
	least := ^uint32(0)
	for chain := 0; ; {
		again := *p // CNAMEs may come in any order
		followed := false
		r.found, r.addrs = 0, r.addrs[:0]
		ttl := least
		for {
			h, err := p.AnswerHeader()
			if err == dnsmessage.ErrSectionDone {
				break
			}
			if err != nil {
				return errMalformed
			}
			if h.Class != r.q.class || !equalFold(h.Name.Data[:h.Name.Length], r.canonical) {
				if p.SkipAnswer() != nil {
					return errMalformed
				}
				continue
			}
			switch {
			case h.Type == dnsmessage.TypeCNAME && r.q.typ != dnsmessage.TypeCNAME && r.q.typ != dnsmessage.TypeALL:
				c, err := p.CNAMEResource()
				if err != nil {
					return errMalformed
				}
				if chain++; chain > maxChain {
					return errChain
				}
				r.canonical = lower(c.CNAME.String())
				least = min(least, saneTTL(h.TTL))
				followed = true
				ttl, r.found, r.addrs = least, 0, r.addrs[:0]
				continue
			case h.Type == dnsmessage.TypeA && r.q.typ == h.Type:
				a, err := p.AResource()
				if err != nil || h.Length != 4 { // dnsmessage does not look at the length
					return errMalformed
				}
				r.addrs = append(r.addrs, netip.AddrFrom4(a.A))
			case h.Type == dnsmessage.TypeAAAA && r.q.typ == h.Type:
				a, err := p.AAAAResource()
				if err != nil || h.Length != 16 {
					return errMalformed
				}
				r.addrs = append(r.addrs, netip.AddrFrom16(a.AAAA))
			default:
				if p.SkipAnswer() != nil {
					return errMalformed
				}
				if h.Type != r.q.typ && r.q.typ != dnsmessage.TypeALL {
					continue
				}
			}
			r.found++
			ttl = min(ttl, saneTTL(h.TTL))
		}
		if !followed {
			r.ttl, r.aliasTTL = ttl, least
			if r.found > 0 {
				r.cacheable = r.rcode == dnsmessage.RCodeSuccess && !r.truncated
			}
			return nil
		}
		*p = again // the records may stand before the CNAME that leads to them
	}
}

// parseRest reads the SOA of a negative answer (RFC 2308), and EDNS.
func (r *reply) parseRest(p *dnsmessage.Parser) error {
	if err := p.SkipAllAnswers(); err != nil {
		return errMalformed
	}
	soa, ns := false, false
	for {
		h, err := p.AuthorityHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return errMalformed
		}
		// A zone has a say only about what lies in it.
		if h.Type == dnsmessage.TypeSOA && !soa && isBelow(r.canonical, lower(h.Name.String())) {
			s, err := p.SOAResource()
			if err != nil {
				return errMalformed
			}
			soa = true
			if r.found == 0 {
				r.ttl = min(r.ttl, saneTTL(h.TTL), saneTTL(s.MinTTL))
			}
			continue
		}
		ns = ns || h.Type == dnsmessage.TypeNS
		if p.SkipAuthority() != nil {
			return errMalformed
		}
	}
	for {
		h, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return errMalformed
		}
		if h.Type == dnsmessage.TypeOPT {
			r.edns = true
			r.rcode = h.ExtendedRCode(r.rcode)
		}
		if p.SkipAdditional() != nil {
			return errMalformed
		}
	}
	if r.negative() {
		r.cacheable = soa && !r.truncated
		r.referral = ns && !soa && !r.authoritative && r.rcode == dnsmessage.RCodeSuccess
		if !soa {
			r.ttl = 0
		}
	}
	if r.rcode != dnsmessage.RCodeSuccess && r.rcode != dnsmessage.RCodeNameError {
		r.cacheable = false
	}
	return nil
}

// saneTTL returns ttl, and 0 if its highest bit is set (RFC 2181, section 8).
func saneTTL(ttl uint32) uint32 {
	if ttl > 1<<31-1 {
		return 0
	}
	return ttl
}

// records returns the records that answer the question, with the CNAMEs that lead to them. age
// is how many seconds ago they were received.
func (r *reply) records(age uint32) []dnsmessage.Resource {
	var p dnsmessage.Parser
	if _, err := p.Start(r.msg); err != nil || p.SkipAllQuestions() != nil {
		return nil
	}
	var all []dnsmessage.Resource
	for {
		rr, err := p.Answer()
		if err != nil {
			break
		}
		if n := &rr.Header.Name; equalFold(n.Data[:n.Length], r.q.name) {
			copy(n.Data[:n.Length], r.q.name) // the server may have copied what was sent in mixed case
		}
		if rr.Header.Class == r.q.class {
			rr.Header.TTL = saneTTL(rr.Header.TTL)
			rr.Header.TTL -= min(age, rr.Header.TTL)
			all = append(all, rr)
		}
	}
	// Only what the question leads to is believed, as in parseAnswers.
	var chain []dnsmessage.Resource
	name := r.q.name
	for range maxChain + 1 {
		next := ""
		for _, rr := range all {
			if !equalFold(rr.Header.Name.Data[:rr.Header.Name.Length], name) {
				continue
			}
			c, isCNAME := rr.Body.(*dnsmessage.CNAMEResource)
			switch {
			case rr.Header.Type == r.q.typ || r.q.typ == dnsmessage.TypeALL:
				chain = append(chain, rr)
			case isCNAME && next == "":
				chain = append(chain, rr)
				next = c.CNAME.String()
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	return chain
}

// size returns about how many bytes r occupies.
func (r *reply) size() int {
	return 200 + cap(r.msg) + 24*cap(r.addrs) + len(r.canonical) + 2*len(r.q.name)
}
