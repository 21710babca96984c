// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Bulk in one direction: to a server that drops it, from a server that makes
// it, and through a proxy, where the load generator is on both sides.
//
// Epoll is level-triggered here, with one send or recv an event, so that a
// connection that never runs dry or full does not keep the others waiting.

#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// moved takes note of n bytes that went over c.
static void moved(struct conn *c, size_t n) {
	last = now();
	advance(last);
	if (phase == MEASURING) {
		c->window++;
		bytes += n;
	}
}

// fill sends once. What counts are the bytes that arrive somewhere, unless
// nobody here sees them arrive.
static void fill(struct conn *c, int counts) {
	ssize_t k = send(c->fd, table + (c->start + c->sent) % PERIOD, PERIOD, MSG_NOSIGNAL);
	if (k < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return;
		die("send: %s", strerror(errno));
	}
	c->sent += k;
	if (counts)
		moved(c, k);
	else if (phase == MEASURING)
		c->window++;
}

// hear looks for what a server that is to be silent sends.
static void hear(struct conn *c, uint32_t events) {
	if ((events & ~EPOLLOUT) && receive(c) > 0)
		die("the server sent what nobody asked for");
}

// begin sends on all connections from now on, where until now one byte is
// enough to see that a connection stands.
static void begin(void) {
	for (int i = 0; i < nconns; i++)
		rewatch(&conns[i], EPOLLIN | EPOLLOUT | EPOLLRDHUP);
}

// Sink: what the socket has taken counts as sent. The buffers between are full
// when the window begins, and as full when it ends.

static void sink_open(struct conn *c) {
	(void)c;
	answered++; // there will be no answer
}

static void sink_serve(struct conn *c, uint32_t events) {
	hear(c, events);
	if (events & EPOLLOUT)
		fill(c, 1);
}

const struct work sink_work = {
	.name = "sink",
	.interest = EPOLLIN | EPOLLRDHUP,
	.open = sink_open,
	.serve = sink_serve,
	.start = begin,
};

// Source: byte i of a connection is that of made.

static unsigned char made[2 * PERIOD];

static void source_open(struct conn *c) {
	for (int i = 0; c == conns && i < 2 * PERIOD; i++)
		made[i] = i % PERIOD * 7 + i % PERIOD / 251;
}

// check compares the n bytes that have arrived on c with the ones expected.
static void check(struct conn *c, const unsigned char *expected, size_t n) {
	if (memcmp(buf, expected + c->received % PERIOD, n) != 0)
		die("wrong bytes, within %zu bytes after byte %llu of the connection",
			n, (unsigned long long)c->received);
	if (c->received == 0)
		answered++;
	c->received += n;
	moved(c, n);
}

static void source_serve(struct conn *c, uint32_t events) {
	(void)events;
	size_t n = receive(c);
	if (n > 0)
		check(c, made, n);
}

const struct work source_work = {
	.name = "source",
	.interest = EPOLLIN | EPOLLRDHUP,
	.open = source_open,
	.serve = source_serve,
	.start = nothing,
};

// Proxy: every connection sends the same data, so that whoever gets it behind
// the proxy knows what it must be.

static struct conn backend = {.fd = 3}; // it listens; whoever started the program has opened it

// backend_serve checks and drops what comes through the proxy.
static void backend_serve(struct conn *c, uint32_t events) {
	if (c->received == 0 && (events & EPOLLRDHUP)) {
		char b;
		if (recv(c->fd, &b, 1, MSG_PEEK) <= 0) {
			// Somebody only tried whether the proxy accepts.
			close(c->fd);
			free(c);
			return;
		}
	}
	size_t n = receive(c);
	if (n > 0)
		check(c, table, n);
}

static void backend_accept(struct conn *l, uint32_t events) {
	(void)events;
	int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		die("accept: %s", strerror(errno));
	}
	struct conn *c = calloc(1, sizeof *c);
	if (c == NULL)
		die("out of memory");
	c->fd = fd;
	watch(c, EPOLLIN | EPOLLRDHUP, backend_serve);
}

static void proxy_open(struct conn *c) {
	if (c == conns) {
		unblock(backend.fd);
		watch(&backend, EPOLLIN, backend_accept);
	}
	c->start = 0;
	c->due = 1;
	flush(c);
}

static void proxy_serve(struct conn *c, uint32_t events) {
	hear(c, events);
	if (events & EPOLLOUT)
		fill(c, 0);
}

const struct work proxy_work = {
	.name = "proxy",
	.interest = EPOLLIN | EPOLLRDHUP,
	.open = proxy_open,
	.serve = proxy_serve,
	.start = begin,
};
