// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/evchan/evchan"
	"golang.org/x/net/dns/dnsmessage"
)

// A Request is the message with which a [Server] tells of a question. It is answered by Reply,
// at once or later, or given up by Drop. Every request must come to one of them: the client of
// a TCP connection may have only so many questions open.
//
// The methods may be called from any goroutine, but only from one at a time.
type Request struct {
	evchan.Custom

	// Data is for the user; the package does not touch it.
	Data any

	// Server is the server that was asked.
	Server *Server

	// Network is "udp" or "tcp". From is the client. To is the address that was asked, without
	// port; the reply comes from there. The zero Addr means that the system has not told it.
	Network string
	From    netip.AddrPort
	To      netip.Addr

	// Question is what is asked, with the letters that the client has sent: the name of
	// the records of an answer should be this name. There is always one question: a message
	// with another number of them is answered by the server (RFC 9619).
	Question dnsmessage.Question

	// RecursionDesired and CheckingDisabled are flags of the question.
	RecursionDesired, CheckingDisabled bool

	// UDPSize is the longest reply by UDP that the client takes, in bytes, as it says
	// with EDNS; 0 if it does not use EDNS. DNSSECOK is its wish for signatures.
	UDPSize  int
	DNSSECOK bool

	// Authoritative, RecursionAvailable and AuthenticData are flags of the reply. Set them
	// before Reply.
	Authoritative, RecursionAvailable, AuthenticData bool

	replied  atomic.Bool
	socket   *udpServer // nil: by TCP
	client   *tcpClient // nil: by UDP
	sections [3][]dnsmessage.Resource
	addrs    []netip.Addr // answers for the question's own name
	ttl      uint32       // of addrs
	question int          // size of the question in the wire format
	msg      []byte
	space    [96]byte // of msg, if it is short
}

// Errors of Reply.
var (
	errReplied = errors.New("evdns: the request was answered or dropped already")
	errLimited = errors.New("evdns: not sent: the client's network gets too many replies")
)

// Message returns the whole message that has arrived. It must not be modified.
func (q *Request) Message() []byte { return q.msg }

// ID returns the id of the message.
func (q *Request) ID() uint16 { return binary.BigEndian.Uint16(q.msg) }

// String describes the request for people to read.
func (q *Request) String() string {
	return fmt.Sprintf("request for %s %s by %s from %v", q.Question.Name.String(), strings.TrimPrefix(q.Question.Type.String(), "Type"), q.Network, q.From)
}

// Options returns the options that the client has sent with EDNS.
func (q *Request) Options() []dnsmessage.Option {
	var p dnsmessage.Parser
	if q.UDPSize == 0 {
		return nil
	}
	if _, err := p.Start(q.msg); err != nil || p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return nil
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return nil
		}
		if h.Type == dnsmessage.TypeOPT {
			opt, _ := p.OPTResource()
			return opt.Options
		}
		if p.SkipAdditional() != nil {
			return nil
		}
	}
}

// Answer adds records to the answer. A Class of 0 is INET, and the type is that of Body.
func (q *Request) Answer(rr ...dnsmessage.Resource) { q.sections[0] = append(q.sections[0], rr...) }

// Authority adds records about the zone that the name lies in: its SOA, if there is no answer.
func (q *Request) Authority(rr ...dnsmessage.Resource) { q.sections[1] = append(q.sections[1], rr...) }

// Additional adds records that the client may need next. If they do not fit, they are left out.
func (q *Request) Additional(rr ...dnsmessage.Resource) {
	q.sections[2] = append(q.sections[2], rr...)
}

// Addrs adds A and AAAA records for the name in the question: those of the addresses that are
// of the type that is asked for. ttl is in seconds. It is faster than Answer. In the reply
// they come first.
func (q *Request) Addrs(ttl uint32, addrs ...netip.Addr) {
	q.ttl = ttl
	for _, a := range addrs {
		a = a.Unmap()
		switch t := q.Question.Type; {
		case t == dnsmessage.TypeALL, t == dnsmessage.TypeA && a.Is4(), t == dnsmessage.TypeAAAA && a.Is6():
			q.addrs = append(q.addrs, a)
		}
	}
}

// CNAME adds a record that says that the name in the question is an alias of target, which has
// a final dot. ttl is in seconds.
func (q *Request) CNAME(ttl uint32, target string) error {
	name, err := dnsmessage.NewName(target)
	if err == nil {
		q.Answer(dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Question.Name, TTL: ttl},
			Body:   &dnsmessage.CNAMEResource{CNAME: name},
		})
	}
	return err
}

// PTR adds a record that says that host, with a final dot, is the name of the address that the
// question is about. ttl is in seconds.
func (q *Request) PTR(ttl uint32, host string) error {
	name, err := dnsmessage.NewName(host)
	if err == nil {
		q.Answer(dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Question.Name, TTL: ttl},
			Body:   &dnsmessage.PTRResource{PTR: name},
		})
	}
	return err
}

// Reply sends the reply. By UDP, what does not fit is left out, and the client is told so
// unless only additional records are missing: it can ask again by TCP. The client may have gone
// without notice, so a nil error does not say that it gets the reply.
//
// Errors, with which nothing was sent:
//   - a record cannot be sent. The request is not answered then; correct it or Reply with
//     RCodeServerFailure after Reset;
//   - the request was answered or dropped already;
//   - the client gets no more replies for now (ServerConfig.RateLimit);
//   - the error of the socket, or evchan.ErrClosed.
func (q *Request) Reply(rcode dnsmessage.RCode) error {
	if q.replied.Load() {
		return errReplied
	}
	if q.client != nil {
		return q.client.reply(q, rcode)
	}
	return q.socket.reply(q, rcode)
}

// Reset forgets the records that were added.
func (q *Request) Reset() {
	q.sections = [3][]dnsmessage.Resource{}
	q.addrs = nil
}

// Drop gives the request up: the client gets no reply.
func (q *Request) Drop() {
	if !q.replied.Swap(true) && q.client != nil {
		q.client.settled()
	}
}

// parse reads q.msg. It returns false if the message is not a question that a user can
// answer. Then rcode is what to answer, and nothing is to be answered if it is negative.
func (q *Request) parse() (rcode int, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(q.msg)
	if err != nil || h.Response {
		return -1, false
	}
	if h.OpCode != 0 {
		return int(dnsmessage.RCodeNotImplemented), false
	}
	q.RecursionDesired, q.CheckingDisabled = h.RecursionDesired, h.CheckingDisabled
	if q.Question, err = p.Question(); err != nil {
		return int(dnsmessage.RCodeFormatError), false
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone {
		return int(dnsmessage.RCodeFormatError), false
	}
	// A name in the only question need not be compressed: there is no name before it.
	if q.question = questionSize(q.msg[headerSize:]); q.question == 0 {
		return int(dnsmessage.RCodeFormatError), false
	}
	if q.msg[10]|q.msg[11]|q.msg[6]|q.msg[7]|q.msg[8]|q.msg[9] == 0 {
		return 0, true
	}
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return int(dnsmessage.RCodeFormatError), false
	}
	for {
		rr, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			return 0, true
		}
		if err != nil {
			return int(dnsmessage.RCodeFormatError), false
		}
		if rr.Type == dnsmessage.TypeOPT {
			if q.UDPSize != 0 {
				return int(dnsmessage.RCodeFormatError), false // two of them
			}
			q.UDPSize = max(int(rr.Class), plainUDP)
			q.DNSSECOK = rr.DNSSECAllowed()
			if rr.TTL>>16&0xff != 0 {
				return badVersion, false
			}
		}
		if p.SkipAdditional() != nil {
			return int(dnsmessage.RCodeFormatError), false
		}
	}
}

// badVersion says that a version of EDNS is not known (RFC 6891).
const badVersion = 16

// appendReply appends the reply to buf. limit is how long it may be.
func (q *Request) appendReply(buf []byte, rcode dnsmessage.RCode, limit int) ([]byte, error) {
	p := packer{buf: buf, start: len(buf), limit: limit}
	edns := q.UDPSize != 0
	if edns {
		p.limit -= optSize
	}
	p.buf = append(p.buf, q.msg[0], q.msg[1], bitResponse|q.msg[2]&(maskOpcode|bitRecurse), byte(rcode&0xf)|q.msg[3]&0x10)
	p.buf = append(p.buf, 0, 0, 0, 0, 0, 0, 0, 0)
	flags := func(at int, bit byte, on bool) {
		if on {
			p.buf[p.start+at] |= bit
		}
	}
	flags(2, bitAuthorit, q.Authoritative)
	flags(3, bitRecursable, q.RecursionAvailable)
	flags(3, bitAuthentic, q.AuthenticData)
	if q.question > 0 {
		p.buf[p.start+5] = 1
		p.question(q.msg[headerSize : headerSize+q.question])
	}
	truncated := false
	count := 0
	name := q.Question.Name.Data[:q.Question.Name.Length]
	for _, a := range q.addrs {
		if err := p.addr(name, q.ttl, a); err != nil {
			truncated = true
			break
		}
		count++
	}
	for i := range q.sections {
		for j := range q.sections[i] {
			if truncated {
				break
			}
			err := p.resource(&q.sections[i][j])
			if err == errTooLong {
				truncated = true
				break
			}
			if err != nil {
				return buf, err
			}
			count++
		}
		if count > maxMessage {
			return buf, errTooLong
		}
		binary.BigEndian.PutUint16(p.buf[p.start+6+2*i:], uint16(count))
		count = 0
		if truncated {
			flags(2, bitTruncated, i < 2)
			break
		}
	}
	if edns {
		p.buf = append(p.buf, 0, 0, byte(dnsmessage.TypeOPT), byte(ednsSize>>8), byte(ednsSize&0xff), byte(rcode>>4), 0, 0, 0, 0, 0)
		if q.DNSSECOK {
			p.buf[len(p.buf)-4] = 0x80
		}
		n := binary.BigEndian.Uint16(p.buf[p.start+10:])
		binary.BigEndian.PutUint16(p.buf[p.start+10:], n+1)
	}
	return p.buf, nil
}

// ednsSize is how long questions by UDP may be.
const ednsSize = 1232
