// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"crypto/tls"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A Config sets up a [Resolver]. A nil Config and zero values mean the defaults. It is copied.
//
// What the Config does not say, the system's files say: resolv.conf, hosts and nsswitch.conf,
// on Windows the settings of the network interfaces. They are looked at again every 5 seconds
// while names are looked up.
type Config struct {
	// Servers are the name servers, in the order in which they are asked. Each is an IP
	// address, with a port or without, and has one of these forms:
	//
	//	192.0.2.1                    by UDP, and by TCP where an answer is too long
	//	[2001:db8::1]:5353           with a port; otherwise it is 53
	//	tcp://192.0.2.1              by TCP only
	//	tls://192.0.2.1#example.net  by TLS (RFC 7858), port 853. The name after # must be in the server's
	//	                             certificate; without it the IP address must be.
	//
	// If it is nil, the system's servers are asked. If it is empty and not nil, the resolver
	// begins suspended: see SetServers.
	Servers []string

	// TLS is the configuration for servers by TLS; nil means the defaults. It must not be
	// changed any more. Its ServerName is not used, and without a ClientSessionCache it gets
	// one. Questions are padded, so that their length says little (RFC 8467).
	TLS *tls.Config

	// Search has the domains to try for names without a final dot. If it is nil, they are
	// the system's; if it is empty and not nil, there are none.
	Search []string

	// Ndots is the number of dots from which on a name is tried as it is before the
	// domains of the search list; 0 means what resolv.conf says, or 1; if negative, 0.
	Ndots int

	// ResolvConf, Hosts and NSSwitch are files to use in place of the system's. "" means the
	// system's, os.DevNull means none.
	ResolvConf, Hosts, NSSwitch string

	// Timeout is how long to wait for an answer before the question is sent again, to the
	// next server. It doubles each time that all servers were asked. 0 means what resolv.conf
	// says, or 5 seconds.
	Timeout time.Duration

	// Attempts is how often each server is asked; 0 means what resolv.conf says, or 3.
	Attempts int

	// MaxTimeouts is how many questions in a row a server may leave unanswered
	// until it counts as down: then the others are asked first. 0 means 3.
	MaxTimeouts int

	// ProbeInterval is how long after a server went down it is asked something to see
	// whether it is up again; 0 means 10 seconds. Each time in vain, the interval is
	// multiplied by ProbeBackoff (0 means 3), up to MaxProbeInterval (0 means an
	// hour).
	ProbeInterval, MaxProbeInterval time.Duration
	ProbeBackoff                    int

	// MaxInflight is how many questions may be under way; others wait for their turn. 0
	// means 64; the most is 32,768. A look-up of a host has two questions.
	MaxInflight int

	// Skew is how long a look-up waits for the addresses of one family once it has those of the
	// other; 0 means 3 seconds.
	Skew time.Duration

	// UDPSize is the longest answer, in bytes, that servers may send by UDP (EDNS0). 0
	// means 1232, which needs no fragments; if negative, EDNS is not used, and the
	// limit is 512. Longer answers come by TCP. It is at most 4096.
	UDPSize int

	// UseTCP asks all questions by TCP.
	UseTCP bool

	// IgnoreTruncation takes what a truncated answer has, and does not ask again by TCP. If
	// the answer lacks what was asked for, that is an error.
	IgnoreTruncation bool

	// TCPIdle is how long an unused connection to a server stays open; 0 means 5 seconds. The
	// UDP sockets are closed as well when nothing was asked for so long.
	TCPIdle time.Duration

	// KeepCase sends names as they are. Otherwise each letter is sent as a capital or a small
	// one at random, and only an answer with the same letters counts. That makes answers
	// harder to forge. A server that returns other letters is asked again without, and after a
	// few times always.
	KeepCase bool

	// LocalAddr is the address to ask from; the zero Addr leaves it to the system. Only
	// servers of the same family can be asked.
	LocalAddr netip.Addr

	// ReadBuffer and WriteBuffer are how many bytes the kernel may hold for each UDP socket; 0
	// means the system's default.
	ReadBuffer, WriteBuffer int

	// CacheSize is the limit of the cache in bytes; 0 means 4 MiB; if negative, there is no
	// cache.
	CacheSize int

	// MinTTL and MaxTTL bound how long an answer is kept; 0 means no lower bound, and a day.
	// An answer whose time is 0 seconds is never kept.
	MinTTL, MaxTTL time.Duration

	// MaxNegativeTTL bounds how long it is kept that there is nothing; 0 means an hour.
	MaxNegativeTTL time.Duration

	// Stale is how long after its time an answer may still be used if no server
	// answers (RFC 8767); 0 means that it may not.
	Stale time.Duration

	// NoPrefetch asks for nothing before its time. Otherwise, when what the cache has is used
	// often and shortly before its end, the question is asked again in the background.
	NoPrefetch bool
}

// SetOption sets what the line "options" of resolv.conf can set, and what libevent has in
// addition: the name is the one that is used there, with a colon at its end or without. Times
// are in seconds and may have a fraction. The options are:
//
//	ndots timeout attempts max-timeouts max-inflight randomize-case bind-to initial-probe-timeout
//	max-probe-timeout probe-backoff-factor getaddrinfo-allow-skew so-rcvbuf so-sndbuf
//	tcp-idle-timeout edns-udp-size use-vc ignore-tc
//
// The last two take no value. An unknown name and a value that is not possible are errors.
func (c *Config) SetOption(name, value string) error {
	name = strings.TrimSuffix(name, ":")
	bad := func() error { return errorf("option %s: bad value %q", name, value) }
	number := func(dst *int, least int) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < least || n > 1<<30 {
			return bad()
		}
		*dst = n
		return nil
	}
	seconds := func(dst *time.Duration) error {
		s, err := strconv.ParseFloat(value, 64)
		if d := time.Duration(s * float64(time.Second)); err == nil && s < 1e9 && d > 0 {
			*dst = d
			return nil
		}
		return bad()
	}
	flag := func(dst *bool) error {
		if value != "" {
			return bad()
		}
		*dst = true
		return nil
	}
	switch name {
	case "ndots":
		err := number(&c.Ndots, 0)
		if err == nil && c.Ndots == 0 {
			c.Ndots = -1
		}
		return err
	case "timeout":
		return seconds(&c.Timeout)
	case "attempts":
		return number(&c.Attempts, 1)
	case "max-timeouts":
		return number(&c.MaxTimeouts, 1)
	case "max-inflight":
		return number(&c.MaxInflight, 1)
	case "randomize-case":
		n := 0
		err := number(&n, 0)
		if err == nil {
			c.KeepCase = n == 0
		}
		return err
	case "bind-to":
		a, err := netip.ParseAddr(value)
		if err != nil {
			return bad()
		}
		c.LocalAddr = a
		return nil
	case "initial-probe-timeout":
		return seconds(&c.ProbeInterval)
	case "max-probe-timeout":
		return seconds(&c.MaxProbeInterval)
	case "probe-backoff-factor":
		return number(&c.ProbeBackoff, 1)
	case "getaddrinfo-allow-skew":
		return seconds(&c.Skew)
	case "so-rcvbuf":
		return number(&c.ReadBuffer, 0)
	case "so-sndbuf":
		return number(&c.WriteBuffer, 0)
	case "tcp-idle-timeout":
		return seconds(&c.TCPIdle)
	case "edns-udp-size":
		err := number(&c.UDPSize, 0)
		if err == nil && c.UDPSize <= plainUDP {
			c.UDPSize = -1
		}
		return err
	case "use-vc":
		return flag(&c.UseTCP)
	case "ignore-tc":
		return flag(&c.IgnoreTruncation)
	}
	return errorf("unknown option %q", name)
}

// settings are what a Config and the system's files say together.
type settings struct {
	Config
	ndots   int
	search  []string
	rotate  bool
	single  bool
	trustAD bool
	udpSize int // 0: no EDNS
}

// resolve returns the settings that hold if the system's files say sys.
func (c Config) resolve(sys *resolvConf) settings {
	for _, option := range sys.other {
		var o Config
		name, value, _ := strings.Cut(option, ":")
		if o.SetOption(name, value) == nil {
			c = c.or(o)
		}
	}
	c = c.or(Config{Timeout: sys.timeout, Attempts: sys.attempts})
	c.UseTCP = c.UseTCP || sys.useTCP
	c = c.or(Config{
		Timeout:          5 * time.Second,
		Attempts:         3,
		MaxTimeouts:      3,
		ProbeInterval:    10 * time.Second,
		MaxProbeInterval: time.Hour,
		ProbeBackoff:     3,
		MaxInflight:      64,
		Skew:             3 * time.Second,
		UDPSize:          1232,
		TCPIdle:          5 * time.Second,
		CacheSize:        4 << 20,
		MaxTTL:           24 * time.Hour,
		MaxNegativeTTL:   time.Hour,
	})
	c.MaxInflight = min(c.MaxInflight, 1<<15) // a connection has 1<<16 ids
	s := settings{Config: c, rotate: sys.rotate, single: sys.single, trustAD: sys.trustAD, search: c.Search}
	switch {
	case c.Ndots > 0:
		s.ndots = c.Ndots
	case c.Ndots == 0 && sys.ndots >= 0:
		s.ndots = sys.ndots
	case c.Ndots == 0:
		s.ndots = 1
	}
	if c.Search == nil {
		s.search = sys.search
	}
	if c.UDPSize > 0 {
		s.udpSize = min(max(c.UDPSize, plainUDP), maxUDP)
	}
	return s
}

// maxUDP is the longest datagram that a resolver asks for; the size of its read buffer.
const maxUDP = 4096

// or returns c, with the values of d where c has zero values.
func (c Config) or(d Config) Config {
	pick(&c.Ndots, d.Ndots)
	pick(&c.Timeout, d.Timeout)
	pick(&c.Attempts, d.Attempts)
	pick(&c.MaxTimeouts, d.MaxTimeouts)
	pick(&c.ProbeInterval, d.ProbeInterval)
	pick(&c.MaxProbeInterval, d.MaxProbeInterval)
	pick(&c.ProbeBackoff, d.ProbeBackoff)
	pick(&c.MaxInflight, d.MaxInflight)
	pick(&c.Skew, d.Skew)
	pick(&c.UDPSize, d.UDPSize)
	pick(&c.UseTCP, d.UseTCP)
	pick(&c.IgnoreTruncation, d.IgnoreTruncation)
	pick(&c.TCPIdle, d.TCPIdle)
	pick(&c.KeepCase, d.KeepCase)
	pick(&c.LocalAddr, d.LocalAddr)
	pick(&c.ReadBuffer, d.ReadBuffer)
	pick(&c.WriteBuffer, d.WriteBuffer)
	pick(&c.CacheSize, d.CacheSize)
	pick(&c.MaxTTL, d.MaxTTL)
	pick(&c.MaxNegativeTTL, d.MaxNegativeTTL)
	return c
}

// pick sets *v to d if *v is zero.
func pick[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// A serverAddr is a name server as Config.Servers gives it.
type serverAddr struct {
	addr netip.AddrPort
	tcp  bool   // by TCP only
	tls  bool   // and encrypted
	name string // for tls
}

// parseServerAddr reads an element of Config.Servers.
func parseServerAddr(s string) (a serverAddr, err error) {
	port := uint16(53)
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		a.addr, err = parseServer(s, port)
		return a, err
	}
	switch scheme {
	case "udp":
	case "tcp":
		a.tcp = true
	case "tls":
		a.tcp, a.tls, port = true, true, 853
		rest, a.name, _ = strings.Cut(rest, "#")
	default:
		return a, errorf("server %q: unknown kind %q", s, scheme)
	}
	a.addr, err = parseServer(rest, port)
	if a.tls && a.name == "" {
		a.name = a.addr.Addr().String()
	}
	return a, err
}
