// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Raw-epoll is as close to the kernel as C allows: one thread, epoll, recv and
// send, nothing else.
//
//	raw-epoll -listen ADDR:PORT -work echo|sink|source|proxy [-backend ADDR:PORT]

#define _GNU_SOURCE
#include "../peer.h"
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

// A conn is one connection. Its memory is freed when fd is closed, that of a
// proxy's two together at the end of the turn.
struct conn {
	int fd;
	char *rest;         // what the socket did not take yet; NULL if and only if len == 0
	size_t off;         // bytes of rest that have been sent
	size_t len;         // bytes of rest in all
	struct conn *other; // proxy: the other side
	int connected;      // proxy: what is not is left alone
	int ended;          // proxy: the end of input was read, and sent to the other side
	struct conn *next;  // proxy: in the list of dead ones, which have no fd any more
};

// A busy connection lets others have their turn after that many reads or
// writes (arbitrary), where there can be more than one needs for a message.
enum { ROUNDS = 16 };

static char buf[1 << 16];
static int epfd;
static struct conn *dead;

// put sends p and returns how many bytes the socket took, or -1.
static ssize_t put(int fd, const char *p, size_t n) {
	for (;;) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
		if (k >= 0)
			return k;
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			return -1;
	}
}

// get receives into buf and returns how many bytes, 0 at the end of input, -1
// after an error, and -2 if there is nothing.
static ssize_t get(int fd) {
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof buf, 0);
		if (n >= 0)
			return n;
		if (errno == EAGAIN)
			return -2;
		if (errno != EINTR)
			return -1;
	}
}

// put_rest sends more of c->rest. It returns 1 if there is none left, and 0 or
// -1 as put does.
static int put_rest(struct conn *c) {
	ssize_t k = put(c->fd, c->rest + c->off, c->len - c->off);
	if (k < 0)
		return -1;
	c->off += k;
	if (c->off < c->len)
		return 0;
	free(c->rest);
	c->rest = NULL;
	c->len = 0;
	return 1;
}

// keep makes p the rest of c, which must have none.
static void keep(struct conn *c, const char *p, size_t n) {
	c->off = 0;
	c->len = n;
	c->rest = malloc(n);
	if (c->rest == NULL)
		fail("malloc");
	memcpy(c->rest, p, n);
}

// echo does what can be done on a connection for which epoll reported events,
// each once. It returns -1 when the connection is over.
static int echo(struct conn *c, uint32_t events) {
	// A short read has emptied the socket, unless the end of input is behind
	// it or reading was held up by output.
	int to_the_end = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	if (c->rest != NULL) {
		int done = put_rest(c);
		if (done <= 0)
			return done;
		to_the_end = 1;
	}
	for (;;) {
		ssize_t n = get(c->fd);
		if (n <= 0)
			return n == -2 ? 0 : -1;
		ssize_t k = put(c->fd, buf, n);
		if (k < 0)
			return -1;
		if (k < n) {
			keep(c, buf + k, n - k);
			return 0;
		}
		if ((size_t)n < sizeof buf && !to_the_end)
			return 0;
	}
}

// sink is reported as long as there is input.
static int sink(struct conn *c, uint32_t events) {
	(void)events;
	for (int i = 0; i < ROUNDS; i++) {
		ssize_t n = get(c->fd);
		if (n <= 0)
			return n == -2 ? 0 : -1;
		if ((size_t)n < sizeof buf)
			break;
	}
	return 0;
}

// source is reported as long as there is room. Its off is where it is in the
// pattern.
static int source(struct conn *c, uint32_t events) {
	if (events & (EPOLLHUP | EPOLLERR))
		return -1;
	for (int i = 0; i < ROUNDS; i++) {
		ssize_t k = put(c->fd, pattern + c->off, PERIOD - c->off);
		if (k <= 0)
			return k;
		c->off = (c->off + k) % PERIOD;
	}
	return 0;
}

// watch adds c to epoll, or has epoll look again at what it has reported.
static void watch(struct conn *c, int op) {
	static const uint32_t interest[] = {
	    [WORK_ECHO] = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	    [WORK_SINK] = EPOLLIN,
	    [WORK_SOURCE] = EPOLLOUT,
	    [WORK_PROXY] = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	};
	struct epoll_event e = {.events = interest[options.work], .data.ptr = c};
	if (epoll_ctl(epfd, op, c->fd, &e) < 0)
		fail("epoll_ctl");
}

// pass copies from one side of a proxy to the other until one of them has had
// enough. Unless it goes on to the end, a short read is enough. It returns -1
// if the connection failed.
static int pass(struct conn *from, struct conn *to, int to_the_end) {
	if (to->rest != NULL) {
		int done = put_rest(to);
		if (done <= 0)
			return done;
		to_the_end = 1;
	}
	for (int i = 0; !from->ended; i++) {
		if (i == ROUNDS) {
			watch(from, EPOLL_CTL_MOD);
			return 0;
		}
		ssize_t n = get(from->fd);
		if (n < 0)
			return n == -2 ? 0 : -1;
		if (n == 0) {
			from->ended = 1;
			return shutdown(to->fd, SHUT_WR);
		}
		ssize_t k = put(to->fd, buf, n);
		if (k < 0)
			return -1;
		if (k < n) {
			keep(to, buf + k, n - k);
			return 0;
		}
		if ((size_t)n < sizeof buf && !to_the_end)
			return 0;
	}
	return 0;
}

static void proxy_end(struct conn *c) {
	close(c->fd);
	free(c->rest);
	c->fd = -1;
	c->next = dead;
	dead = c;
}

// proxy serves one side of a proxy, and the other as far as this one held it
// up. It frees nothing that epoll may have reported in the same turn.
static int proxy(struct conn *c, uint32_t events) {
	struct conn *o = c->other;
	if (c->fd < 0)
		return 0;
	int failed = (events & EPOLLERR) != 0;
	int first = !c->connected && (events & EPOLLOUT);
	c->connected |= first;
	if (c->connected && o->connected) {
		int ending = (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
		if (!failed && (first || ending || (events & EPOLLIN)))
			failed = pass(c, o, first || ending) < 0;
		if (!failed && (first || c->rest != NULL))
			failed = pass(o, c, 1) < 0;
	}
	if (failed || (c->ended && o->ended)) {
		proxy_end(c);
		proxy_end(o);
	}
	return 0;
}

static struct conn *new_conn(int fd) {
	struct conn *c = calloc(1, sizeof *c);
	if (c == NULL)
		fail("calloc");
	c->fd = fd;
	no_delay(fd);
	return c;
}

// dial connects c to the backend. However that goes, epoll reports it as ready
// for output, or as failed.
static void dial(struct conn *c) {
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("socket");
	c->other = new_conn(fd);
	c->other->other = c;
	c->connected = 1;
	connect(fd, (struct sockaddr *)&options.backend, sizeof options.backend);
	watch(c->other, EPOLL_CTL_ADD);
}

static void accept_all(int lfd) {
	for (;;) {
		int fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			if (errno == EAGAIN)
				return;
			fail("accept4");
		}
		struct conn *c = new_conn(fd);
		if (options.work == WORK_PROXY)
			dial(c);
		watch(c, EPOLL_CTL_ADD);
	}
}

int main(int argc, char **argv) {
	parse_options(argc, argv);
	int (*const serve)(struct conn *, uint32_t) = (int (*const[])(struct conn *, uint32_t)){
	    [WORK_ECHO] = echo, [WORK_SINK] = sink, [WORK_SOURCE] = source, [WORK_PROXY] = proxy}[options.work];

	int lfd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;
	setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(lfd, (struct sockaddr *)&options.listen, sizeof options.listen) < 0)
		fail("bind");
	if (listen(lfd, SOMAXCONN) < 0)
		fail("listen");
	epfd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, lfd, &e) < 0)
		fail("epoll_ctl");

	static struct epoll_event events[512];
	for (;;) {
		int n = epoll_wait(epfd, events, sizeof events / sizeof *events, -1);
		if (n < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c == NULL) {
				accept_all(lfd);
			} else if (serve(c, events[i].events) < 0) {
				close(c->fd);
				free(c->rest);
				free(c);
			}
		}
		while (dead != NULL) {
			struct conn *c = dead;
			dead = c->next;
			free(c);
		}
	}
}
