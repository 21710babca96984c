// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// The command line of the servers in C, and what -work source sends.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum work { WORK_ECHO, WORK_SINK, WORK_SOURCE, WORK_PROXY };

static struct {
	enum work work;
	struct sockaddr_in listen, backend;
} options;

enum { PERIOD = 1 << 16 };
static char pattern[PERIOD]; // what a source sends, again and again

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static int parse_address(char *s, struct sockaddr_in *addr) {
	char *colon = strrchr(s, ':');
	if (colon == NULL)
		return -1;
	*colon = '\0';
	addr->sin_family = AF_INET;
	addr->sin_port = htons(atoi(colon + 1));
	return inet_pton(AF_INET, s, &addr->sin_addr) == 1 ? 0 : -1;
}

static int parse_work(const char *s) {
	static const char *const names[] = {"echo", "sink", "source", "proxy"};
	for (int i = 0; i < 4; i++)
		if (strcmp(s, names[i]) == 0) {
			options.work = i;
			return 0;
		}
	return -1;
}

// parse_options fills options and pattern, or exits.
static void parse_options(int argc, char **argv) {
	int bad = argc % 2 == 0;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "-listen") == 0)
			bad |= parse_address(argv[i + 1], &options.listen) < 0;
		else if (strcmp(argv[i], "-backend") == 0)
			bad |= parse_address(argv[i + 1], &options.backend) < 0;
		else if (strcmp(argv[i], "-work") == 0)
			bad |= parse_work(argv[i + 1]) < 0;
		else
			bad = 1;
	}
	if (bad || options.listen.sin_family == 0 || (options.work == WORK_PROXY && options.backend.sin_family == 0)) {
		fprintf(stderr, "usage: %s -listen ADDR:PORT -work echo|sink|source|proxy [-backend ADDR:PORT]\n", argv[0]);
		exit(2);
	}
	for (unsigned i = 0; i < PERIOD; i++)
		pattern[i] = i * 7 + i / 251;
}

static inline void no_delay(int fd) {
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}
