// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Churn: connect, one request, its reply, close, and the same again on as many
// connections at a time as there are. Each is closed by a reset (dial sees to
// that), so that no port waits in TIME_WAIT.

#include "load.h"

#include <sys/epoll.h>
#include <unistd.h>

static void churn_open(struct conn *c) {
	c->sent = c->received = 0;
	c->due = size;
	flush(c);
}

// again replaces the connection by a new one.
static void again(struct conn *c) {
	close(c->fd);
	c->times[0] = now();
	dial(c, 0);
	c->sent = c->received = 0;
}

static void churn_serve(struct conn *c, uint32_t events) {
	if (events & EPOLLOUT)
		flush(c);
	if (!(events & ~EPOLLOUT))
		return;
	input(c);
	if (c->received < (uint64_t)size)
		return;
	last = now();
	if (phase == CONNECTING) {
		answered++;
		return;
	}
	advance(last);
	if (phase == MEASURING) {
		c->window++;
		count(last - c->times[0]);
	}
	again(c);
}

static void churn_start(void) {
	for (int i = 0; i < nconns; i++) {
		conns[i].times = calloc(1, sizeof *conns[i].times);
		if (conns[i].times == NULL)
			die("out of memory");
		again(&conns[i]);
	}
}

const struct work churn_work = {
	.name = "churn",
	.interest = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	.open = churn_open,
	.serve = churn_serve,
	.start = churn_start,
};
