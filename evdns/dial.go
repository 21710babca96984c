// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"net"
	"net/netip"

	"github.com/evchan/evchan"
)

var _ evchan.Namer = (*Resolver)(nil)

// LookupHost is Lookup for evchan.DialConfig.Names: it calls done in place of sending an
// Answer. done is called once, with the addresses or the error, unless the returned function
// is called before. That is while LookupHost runs, or on the goroutine that delivers messages,
// or in Close. So done must not wait; it may call all methods of the resolver.
func (r *Resolver) LookupHost(network, host string, done func([]netip.Addr, error)) (cancel func()) {
	q := newQuery(r, nil)
	switch network {
	case "ip", "ip4", "ip6":
		q.Host, q.network, q.done = host, network, done
		_, err := r.run(q, q.lookup)
		if err == nil {
			return func() { q.Close() }
		}
		done(nil, err)
	default:
		done(nil, net.UnknownNetworkError(network))
	}
	return func() {}
}
