// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Raw-epoll is an echo server as close to the kernel as C allows: one thread,
// edge-triggered epoll, recv and send, nothing else.
//
//	raw-epoll -listen ADDR:PORT

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// A conn is one connection. Its memory is freed when fd is closed.
struct conn {
	int fd;
	char *rest; // what the socket did not take yet; NULL if and only if len == 0
	size_t off; // bytes of rest that have been sent
	size_t len; // bytes of rest in all
};

static char buf[1 << 16];

static void fail(const char *what) {
	perror(what);
	exit(1);
}

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

// serve does what can be done on a connection for which epoll reported events.
// It returns -1 when the connection is over.
static int serve(struct conn *c, uint32_t events) {
	// A short read has emptied the socket, unless the end of input is behind
	// it or reading was held up by output.
	int to_the_end = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	if (c->rest != NULL) {
		ssize_t k = put(c->fd, c->rest + c->off, c->len - c->off);
		if (k < 0)
			return -1;
		c->off += k;
		if (c->off < c->len)
			return 0;
		free(c->rest);
		c->rest = NULL;
		c->len = 0;
		to_the_end = 1;
	}
	for (;;) {
		ssize_t n = recv(c->fd, buf, sizeof buf, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		if (n == 0)
			return -1;
		ssize_t k = put(c->fd, buf, n);
		if (k < 0)
			return -1;
		if (k < n) {
			c->off = 0;
			c->len = n - k;
			c->rest = malloc(c->len);
			if (c->rest == NULL)
				fail("malloc");
			memcpy(c->rest, buf + k, c->len);
			return 0;
		}
		if ((size_t)n < sizeof buf && !to_the_end)
			return 0;
	}
}

static void accept_all(int epfd, int lfd) {
	for (;;) {
		int fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			if (errno == EAGAIN)
				return;
			fail("accept4");
		}
		int one = 1;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		struct conn *c = calloc(1, sizeof *c);
		if (c == NULL)
			fail("calloc");
		c->fd = fd;
		struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
		if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e) < 0)
			fail("epoll_ctl");
	}
}

int main(int argc, char **argv) {
	char *colon = argc == 3 && strcmp(argv[1], "-listen") == 0 ? strrchr(argv[2], ':') : NULL;
	struct sockaddr_in addr = {.sin_family = AF_INET};
	if (colon != NULL) {
		*colon = '\0';
		addr.sin_port = htons(atoi(colon + 1));
	}
	if (colon == NULL || inet_pton(AF_INET, argv[2], &addr.sin_addr) != 1) {
		fputs("usage: raw-epoll -listen ADDR:PORT\n", stderr);
		return 2;
	}
	int lfd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;
	setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(lfd, (struct sockaddr *)&addr, sizeof addr) < 0)
		fail("bind");
	if (listen(lfd, SOMAXCONN) < 0)
		fail("listen");
	int epfd = epoll_create1(EPOLL_CLOEXEC);
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
				accept_all(epfd, lfd);
			} else if (serve(c, events[i].events) < 0) {
				close(c->fd);
				free(c->rest);
				free(c);
			}
		}
	}
}
