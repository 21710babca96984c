// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Requests and replies: a closed loop, an open loop at a fixed rate, and
// connections on which nothing happens.

#include "load.h"

#include <math.h>
#include <string.h>
#include <sys/epoll.h>

static void echo_open(struct conn *c) {
	c->due = c->boundary = size;
	flush(c);
}

size_t input(struct conn *c) {
	size_t n = receive(c);
	if (c->received + n > c->sent)
		die("the server sent %llu bytes more than it received",
			(unsigned long long)(c->received + n - c->sent));
	if (memcmp(buf, table + (c->start + c->received) % PERIOD, n) != 0)
		die("a reply differs from the request, within %zu bytes after byte %llu of the connection",
			n, (unsigned long long)c->received);
	c->received += n;
	return n;
}

// complete takes note at time t that the oldest message in flight has been
// answered. In the closed loop that makes the next one due.
static void complete(struct conn *c, uint64_t t) {
	c->boundary += size;
	last = t;
	if (phase == CONNECTING) {
		answered++;
		return;
	}
	if (phase == MEASURING) {
		c->window++;
		count(t - c->times[c->slot]);
	}
	if (rate > 0) {
		c->slot = (c->slot + 1) % RING;
		return;
	}
	c->times[c->slot] = t;
	c->slot = c->slot + 1 == (uint32_t)pipeline ? 0 : c->slot + 1;
	c->due += size;
}

static void echo_serve(struct conn *c, uint32_t events) {
	size_t n;
	while ((n = input(c)) > 0) {
		if (c->received >= c->boundary) {
			uint64_t t = now();
			advance(t);
			while (c->received >= c->boundary)
				complete(c, t);
		}
		// A short read has emptied the socket, unless the end of input is behind it.
		if (n < sizeof buf && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
			break;
	}
	flush(c);
}

static void echo_start(void) {
	for (int i = 0; i < nconns; i++) {
		struct conn *c = &conns[i];
		c->times = calloc(pipeline, sizeof *c->times);
		if (c->times == NULL)
			die("out of memory");
		c->due += (uint64_t)pipeline * size;
		uint64_t t = now();
		for (int k = 0; k < pipeline; k++)
			c->times[k] = t;
		flush(c);
	}
}

const struct work echo_work = {
	.name = "echo",
	.interest = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	.open = echo_open,
	.serve = echo_serve,
	.start = echo_start,
};

// The open loop. Requests become due at random moments that do not depend on
// the server (exponential gaps, the same in every run), on one connection after the other.
// One that cannot be sent yet, or waits behind another, is none the less timed from its moment.

static double upcoming; // when the next request is due, in ns
static int turn_of;     // the connection it is for

// gap returns a random time to the next request, in ns.
static double gap(void) {
	return -log((random() + 1.0) / (RAND_MAX + 1.0)) * 1e9 / rate;
}

static void rate_start(void) {
	for (int i = 0; i < nconns; i++) {
		conns[i].times = calloc(RING, sizeof *conns[i].times);
		if (conns[i].times == NULL)
			die("out of memory");
	}
	upcoming = now() + gap();
}

// in_flight returns how many requests are due and not answered. The boundary
// is one message ahead of what was answered.
static uint64_t in_flight(const struct conn *c) { return (c->due + size - c->boundary) / size; }

static uint64_t rate_schedule(uint64_t t) {
	if (phase == CONNECTING)
		return 20000000; // arbitrary
	while (upcoming <= t) {
		struct conn *c = &conns[turn_of];
		turn_of = turn_of + 1 == nconns ? 0 : turn_of + 1;
		uint64_t open = in_flight(c);
		if (open >= RING)
			die("the server is %llu requests behind on one connection: it cannot keep up with the rate", (unsigned long long)open);
		c->times[(c->slot + open) % RING] = upcoming;
		c->due += size;
		upcoming += gap();
		flush(c);
	}
	return upcoming - t;
}

static void rate_rest(uint64_t t) {
	for (int i = 0; i < nconns; i++) {
		struct conn *c = &conns[i];
		uint64_t open = in_flight(c);
		for (uint64_t k = 0; k < open; k++)
			count(t - c->times[(c->slot + k) % RING]);
	}
}

const struct work rate_work = {
	.name = "rate",
	.interest = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	.open = echo_open,
	.serve = echo_serve,
	.start = rate_start,
	.schedule = rate_schedule,
	.rest = rate_rest,
};

// Idle: each connection has had one reply. An event later would be the
// server's end, or bytes nobody asked for.
const struct work idle_work = {
	.name = "idle",
	.interest = EPOLLIN | EPOLLRDHUP | EPOLLET,
	.open = echo_open,
	.serve = echo_serve,
	.start = nothing,
	.quiet = 1,
};
