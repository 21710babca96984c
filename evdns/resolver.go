// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evchan/evchan"
	"golang.org/x/net/dns/dnsmessage"
)

// A Resolver asks name servers. It is made by [NewResolver].
//
// All methods are safe for concurrent use, and none of them waits for a server or for the
// receiver of messages.
type Resolver struct {
	loop *evchan.Loop
	conf Config // as given

	mu sync.Mutex // guards the following; taken before any lock of the loop

	closed    bool
	prio      int  // the lane of all sources; negative: as the loop gives it
	given     bool // the servers are not the system's
	suspended bool // there are none, until SetServers is called
	sys       system
	set       settings
	servers   []*nameserver
	rotor     uint32
	cache     cache
	sources   sources

	open     Query    // ring of the queries that are not answered
	dones    []*Query // that are answered, and whose done is to be called by unlock
	underway map[ask]*exchange
	waiting  fifo
	inflight int
	asked    uint64
	starting bool

	alarms alarms
	timer  *evchan.Timer
	armed  time.Time // when the timer goes off; zero: it does not run
	idle   idleAlarm

	boxes map[chan<- evchan.Event]*box
	sweep int // when there are so many boxes, those that are not needed any more go

	buf [maxUDP]byte
}

// NewResolver returns a resolver whose answers are messages of the loop. It returns an error
// if conf is not right.
//
// A resolver by itself does not keep the loop from being empty (see ExitOnEmpty), but queries
// that are not answered do.
func NewResolver(loop *evchan.Loop, conf *Config) (*Resolver, error) {
	if loop == nil {
		return nil, errorf("no loop")
	}
	r := &Resolver{
		loop:     loop,
		prio:     -1,
		underway: make(map[ask]*exchange),
		boxes:    make(map[chan<- evchan.Event]*box),
	}
	if conf != nil {
		r.conf = *conf
		r.conf.Servers = slices.Clone(conf.Servers)
		r.conf.Search = slices.Clone(conf.Search)
	}
	r.open.prev, r.open.next = &r.open, &r.open
	r.idle.r = r
	r.idle.owner = &r.idle
	r.cache.init()
	r.sys.resolvPath, r.sys.hostsPath, r.sys.switchPath = systemResolvConf, systemHosts, systemSwitch
	pick2 := func(dst *string, path string) {
		if path != "" {
			*dst = path
		}
	}
	pick2(&r.sys.resolvPath, r.conf.ResolvConf)
	pick2(&r.sys.hostsPath, r.conf.Hosts)
	pick2(&r.sys.switchPath, r.conf.NSSwitch)
	for _, domain := range r.conf.Search {
		if !isWireName(rooted(domain)) {
			return nil, errorf("search list: bad domain %q", domain)
		}
	}
	servers, err := parseServers(r.conf.Servers)
	if err != nil {
		return nil, err
	}
	r.given = r.conf.Servers != nil
	r.timer = loop.After(time.Hour)
	r.timer.Stop()
	if err := r.timer.SetLayer((*timerLayer)(r)); err != nil {
		return nil, err
	}
	r.timer.SetBackground(true)

	r.mu.Lock()
	defer r.unlock()
	now := r.now()
	r.update(now)
	if r.given {
		r.replaceServers(servers, now)
	}
	return r, nil
}

func parseServers(list []string) ([]serverAddr, error) {
	var all []serverAddr
	for _, s := range list {
		a, err := parseServerAddr(s)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// Loop returns the loop that the answers are messages of.
func (r *Resolver) Loop() *evchan.Loop { return r.loop }

func (r *Resolver) now() time.Time { return time.Now() }

// unlock unlocks r.mu, and does what has to be done without it. Before, it has the timer go off
// in time for the next alarm.
func (r *Resolver) unlock() {
	if len(r.alarms) > 0 && !r.closed {
		if at := r.alarms[0].at; r.armed.IsZero() || at.Before(r.armed) {
			r.armed = at
			r.timer.Reset(time.Until(at))
		}
	}
	dones := r.dones
	r.dones = nil
	r.mu.Unlock()
	for _, q := range dones {
		q.done(q.answer.Addrs, q.answer.Err)
	}
}

// A timerLayer is a resolver as the layer of its timer.
type timerLayer Resolver

// Next is called when the timer has gone off.
func (t *timerLayer) Next(_ evchan.Source, ev evchan.Event) evchan.Event {
	if _, ok := ev.(evchan.Tick); !ok {
		return nil
	}
	r := (*Resolver)(t)
	r.mu.Lock()
	defer r.unlock()
	r.timer.Take()
	r.armed = time.Time{}
	now := r.now()
	for m := r.alarms.due(now); m != nil; m = r.alarms.due(now) {
		m.owner.expired(now)
	}
	return nil
}

// An idleAlarm closes sockets when nothing was asked for a while.
type idleAlarm struct {
	alarm
	r *Resolver
}

func (i *idleAlarm) expired(time.Time) {
	if len(i.r.underway) > 0 {
		return
	}
	for _, s := range i.r.servers {
		s.closeUnused()
	}
}

// idleIfUnused sets the alarm of r.idle if nothing is under way.
func (r *Resolver) idleIfUnused(now time.Time) {
	if len(r.underway) == 0 && !r.closed {
		r.alarms.set(&r.idle.alarm, now.Add(r.set.TCPIdle))
	}
}

// update reads the system's files if that is due, and does what they say.
func (r *Resolver) update(now time.Time) {
	r.sys.update(now)
	if !r.sys.fresh {
		return
	}
	r.sys.fresh = false
	r.set = r.conf.resolve(r.sys.resolv)
	r.cache.limit = max(r.set.CacheSize, 0)
	r.cache.minTTL, r.cache.maxTTL = r.set.MinTTL, r.set.MaxTTL
	r.cache.maxNegative, r.cache.stale = r.set.MaxNegativeTTL, r.set.Stale
	if r.given {
		return
	}
	servers := r.sys.resolv.servers
	if len(servers) == 0 {
		servers = defaultServers
	}
	var all []serverAddr
	for _, a := range servers {
		all = append(all, serverAddr{addr: a})
	}
	r.replaceServers(all, now)
}

// SetServers replaces the name servers, in the forms of Config.Servers. What was asked and not
// answered is asked of the new ones. Without servers, the resolver is suspended: questions wait
// until SetServers is called again. The cache and the hosts file still answer.
func (r *Resolver) SetServers(servers ...string) error {
	all, err := parseServers(servers)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.unlock()
	if r.closed {
		return evchan.ErrClosed
	}
	r.given = true
	r.replaceServers(all, r.now())
	return nil
}

// SetPriority sets the lane of the loop in which answers arrive, and in which the
// resolver does its work. It returns an error if the loop has no such lane.
func (r *Resolver) SetPriority(p int) error {
	r.mu.Lock()
	defer r.unlock()
	if r.closed {
		return evchan.ErrClosed
	}
	if err := r.timer.SetPriority(p); err != nil {
		return err
	}
	r.prio = p
	for _, b := range r.boxes {
		r.prioritize(b)
	}
	for _, s := range r.servers {
		for _, k := range s.sockets {
			r.prioritize(k.conn)
		}
		if s.conn != nil {
			r.prioritize(s.conn.stream)
		}
	}
	return nil
}

// prioritize puts a source of the resolver into its lane.
func (r *Resolver) prioritize(src evchan.Source) {
	if r.prio >= 0 {
		src.SetPriority(r.prio) // the timer has such a lane
	}
}

// Servers returns the addresses of the name servers, in their order.
func (r *Resolver) Servers() []netip.AddrPort {
	r.mu.Lock()
	defer r.unlock()
	var all []netip.AddrPort
	for _, s := range r.servers {
		all = append(all, s.addr)
	}
	return all
}

func (r *Resolver) replaceServers(all []serverAddr, now time.Time) {
	same := len(all) == len(r.servers)
	for i := 0; same && i < len(all); i++ {
		same = r.servers[i].serverAddr == all[i]
	}
	if same && len(all) > 0 {
		return
	}
	old := r.servers
	r.servers = nil
	for i, a := range all {
		r.servers = append(r.servers, newNameserver(r, a, i))
	}
	r.suspended = len(all) == 0
	var again []*exchange
	for _, x := range r.underway {
		if x.running {
			x.detach()
			x.running = false
			r.inflight--
			x.server, x.tries, x.bad, x.first = nil, 0, 0, 0
			x.noMix, x.noEDNS, x.byTCP, x.redial = false, false, false, false
			again = append(again, x)
		}
	}
	for _, s := range old {
		s.close()
	}
	for _, x := range again {
		r.waiting.push(x)
	}
	r.startWaiting(now)
}

// Close ends the resolver. Queries that are not answered get an answer whose error is
// net.ErrClosed. Closing again returns nil.
func (r *Resolver) Close() error {
	r.mu.Lock()
	defer r.unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	now := r.now()
	for r.open.next != &r.open {
		err := &net.DNSError{Err: evchan.ErrClosed.Error(), UnwrapErr: evchan.ErrClosed}
		r.open.next.fail(err, now)
	}
	for _, x := range r.underway { // nobody waits for what is left
		x.done = true
		x.detach()
	}
	for _, s := range r.servers {
		s.close()
	}
	r.timer.Close()
	r.cache.flush()
	return nil
}

// Lookup looks up the addresses of host. The network is "ip" for both families, "ip4" or "ip6".
// The answer has the addresses in Addrs.
//
// An IP address is its own answer, and localhost is this host. Otherwise the hosts file and DNS
// are asked, in the order that nsswitch.conf says. If host has no final dot, the domains of the
// search list are tried. IDNA is left to the caller: host must be in ASCII (see
// golang.org/x/net/idna).
//
// Lookup returns an error for a bad network, and ErrClosed after Close. All else is told by the
// answer.
func (r *Resolver) Lookup(host, network string, conf *QueryConfig) (*Query, error) {
	switch network {
	case "ip", "ip4", "ip6":
	default:
		return nil, net.UnknownNetworkError(network)
	}
	q := newQuery(r, conf)
	q.Host, q.network = host, network
	return r.run(q, q.lookup)
}

func (q *Query) lookup(now time.Time) {
	r := q.r
	if addr, err := netip.ParseAddr(q.Host); err == nil {
		q.succeedWith([]netip.Addr{addr}, q.Host, now)
		return
	}
	if r.sys.order != dnsOnly && r.sys.order != dnsFiles && q.fromFiles(now) {
		return
	}
	if isLocalhost(q.Host) {
		q.succeedWith([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, lower(rooted(q.Host)), now)
		return
	}
	if r.sys.order == filesOnly {
		q.fail(errNotFound, now)
		return
	}
	search := r.set.search
	if q.conf.NoSearch {
		search = nil
	}
	q.names = searchList(q.Host, search, r.set.ndots)
	q.begin(now)
}

// LookupAddr looks up the names of addr. The answer has them in Names.
//
// The hosts file and DNS are asked, in the order that nsswitch.conf says. Errors are those of
// Lookup.
func (r *Resolver) LookupAddr(addr netip.Addr, conf *QueryConfig) (*Query, error) {
	if !addr.IsValid() {
		return nil, errorf("no address")
	}
	q := newQuery(r, conf)
	q.Addr = addr
	return r.run(q, q.lookupAddr)
}

func (q *Query) lookupAddr(now time.Time) {
	order := q.r.sys.order
	if order != dnsOnly && order != dnsFiles && q.fromFiles(now) {
		return
	}
	if order != filesOnly {
		q.names = []string{reverseName(q.Addr)}
	}
	q.begin(now)
}

// Query asks for the records of a name, of any type and class; Records of the answer has
// them. Only DNS is asked, and the name as it is: no search list, no hosts file.
//
// Query returns an error if the name cannot be asked: its labels have 1 to 63 bytes, and all
// of it at most 253 and a final dot, which may be missing. After Close it returns ErrClosed.
// All else is told by the answer.
func (r *Resolver) Query(name string, typ dnsmessage.Type, class dnsmessage.Class, conf *QueryConfig) (*Query, error) {
	if !isWireName(rooted(name)) {
		return nil, errorf("bad name %q", name)
	}
	q := newQuery(r, conf)
	q.Host, q.Type, q.Class = name, typ, class
	return r.run(q, func(now time.Time) {
		q.names = []string{lower(rooted(name))}
		q.begin(now)
	})
}

func newQuery(r *Resolver, conf *QueryConfig) *Query {
	q := &Query{r: r}
	if conf != nil {
		q.conf = *conf
		q.Data = conf.Data
	}
	q.alarm.owner = q
	return q
}

// run begins with q, and returns it.
func (r *Resolver) run(q *Query, begin func(time.Time)) (*Query, error) {
	r.mu.Lock()
	defer r.unlock()
	select {
	case <-r.loop.Done():
		return nil, evchan.ErrClosed
	default:
	}
	if r.closed {
		return nil, evchan.ErrClosed
	}
	now := r.now()
	r.update(now)
	q.prev, q.next = r.open.prev, &r.open
	q.prev.next, q.next.prev = q, q
	r.expect(q, 1)
	begin(now)
	return q, nil
}

// sort puts addresses into the order in which to try them.
func (r *Resolver) sort(addrs []netip.Addr, now time.Time) {
	sortAddrs(addrs, func(a netip.Addr) netip.Addr { return r.sources.of(a, now) })
}

// A box is the mailbox for the answers that go to one channel.
type box struct {
	*evchan.Mailbox
	open int // queries that are not answered
}

// box returns the box for ch.
func (r *Resolver) box(ch chan<- evchan.Event) *box {
	b := r.boxes[ch]
	if b != nil {
		return b
	}
	const few = 16 // arbitrary
	if len(r.boxes) >= max(r.sweep, few) {
		for ch, b := range r.boxes {
			if b.open == 0 && b.Len() == 0 {
				b.Close()
				delete(r.boxes, ch)
			}
		}
		r.sweep = 2 * len(r.boxes)
	}
	b = &box{Mailbox: r.loop.Mailbox(0)}
	if ch != nil {
		b.Notify(ch)
	}
	r.prioritize(b)
	r.boxes[ch] = b
	return b
}

// expect notes that q will send an answer, if n is 1, or that it will not, if n is -1.
func (r *Resolver) expect(q *Query, n int) {
	if q.done == nil {
		b := r.box(q.conf.Notify)
		b.open += n
		b.Expect(n)
	}
}

// post sends the answer of q.
func (r *Resolver) post(q *Query) {
	if q.done != nil {
		r.dones = append(r.dones, q)
		return
	}
	b := r.box(q.conf.Notify)
	b.open--
	if err := b.Post(&q.answer); err != nil && !errors.Is(err, evchan.ErrClosed) {
		panic("evdns: BUG: " + err.Error())
	}
}

// Flush empties the cache.
func (r *Resolver) Flush() {
	r.mu.Lock()
	defer r.unlock()
	r.cache.flush()
}

// Add puts addresses of host into the cache, in place of those that it has, for ttl. No server
// is asked about them meanwhile. All addresses must be of one family. Without
// addresses, or if ttl is not positive, what the cache has of the host is dropped.
func (r *Resolver) Add(host string, ttl time.Duration, addrs ...netip.Addr) error {
	name := lower(rooted(host))
	if !isWireName(name) {
		return errorf("bad name %q", host)
	}
	r.mu.Lock()
	defer r.unlock()
	types := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	if len(addrs) == 0 || ttl <= 0 {
		for _, t := range types {
			if e := r.cache.entries[question{name, t, dnsmessage.ClassINET}]; e != nil {
				r.cache.drop(e)
			}
		}
		return nil
	}
	typ := types[0]
	if addrs[0].Unmap().Is6() {
		typ = types[1]
	}
	q := question{name, typ, dnsmessage.ClassINET}
	msg, err := addrMessage(q, addrs, ttl)
	if err != nil {
		return err
	}
	rep, err := parseReply(msg, q)
	if err != nil {
		return err
	}
	r.cache.add(q, rep, r.now())
	return nil
}

// addrMessage returns a message with the addresses as records.
func addrMessage(q question, addrs []netip.Addr, ttl time.Duration) ([]byte, error) {
	name, err := dnsmessage.NewName(q.name)
	if err != nil {
		return nil, err
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true})
	b.EnableCompression()
	b.StartQuestions()
	b.Question(dnsmessage.Question{Name: name, Type: q.typ, Class: q.class})
	b.StartAnswers()
	h := dnsmessage.ResourceHeader{Name: name, Class: q.class, TTL: uint32(min(max(ttl/time.Second, 1), 1<<31-1))}
	for _, a := range addrs {
		switch a = a.Unmap(); {
		case a.Is4() && q.typ == dnsmessage.TypeA:
			err = b.AResource(h, dnsmessage.AResource{A: a.As4()})
		case a.Is6() && q.typ == dnsmessage.TypeAAAA:
			err = b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()})
		default:
			err = errorf("%s: addresses of both families", strings.TrimSuffix(q.name, "."))
		}
		if err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// Stats are numbers about a resolver.
type Stats struct {
	Asked    uint64 // questions that were sent, repetitions included
	Inflight int    // questions that are under way
	Waiting  int    // questions that wait for their turn

	Hits, Misses uint64 // questions that the cache has answered, and that it has not
	Entries      int    // answers in the cache
	CacheBytes   int    // their size
	Evicted      uint64 // answers that had to go before their time, for want of room
}

// Stats returns the numbers of now.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	defer r.unlock()
	return Stats{
		Asked:      r.asked,
		Inflight:   r.inflight,
		Waiting:    len(r.underway) - r.inflight,
		Hits:       r.cache.hits,
		Misses:     r.cache.misses,
		Entries:    len(r.cache.entries),
		CacheBytes: r.cache.size,
		Evicted:    r.cache.evicted,
	}
}
