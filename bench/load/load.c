// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Load is the load generator: a closed loop of echo requests over many
// connections, on one thread.
//
//	load -a ADDR:PORT -P PID -c CONNS -s SIZE -p PIPELINE -w WARMUP -t TIME -l LIMIT
//
// Times are milliseconds. Every connection keeps PIPELINE messages of SIZE
// bytes in flight, sends the next one when a reply is complete, and compares
// every byte of a reply with what it sent. A wrong byte, a byte too many, an
// end of input, or LIMIT without any reply ends the program with a message on
// stderr and status 1; so does a connection that had no reply in the window.
//
// Two lines of JSON on stdout mark the measured window the moment it begins
// and ends; the second has the result, with the CPU time that process PID used
// in the window. The load goes on until stdin ends, so that whoever samples
// more of the server at these lines finds it in the same state at both. Where
// stdin cannot be waited for, the program ends with the window.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PERIOD = 1 << 16, // bytes after which a connection's data repeats; a power of two
	BATCH = 512,      // events taken from epoll at a time; arbitrary
	GROUP = 64,       // connections made before they must all have answered; less than any backlog
	MINOR = 64,       // buckets of the histogram for one power of two
};

// A conn is one connection. Byte i of what it sends is
// table[(start + i) % PERIOD].
struct conn {
	int fd;
	uint32_t start;
	uint32_t slot;      // index in times of the oldest message in flight
	uint32_t window;    // replies in the measured window
	uint64_t due;       // bytes that may be sent so far
	uint64_t sent;      // bytes sent; sent <= due
	uint64_t received;  // bytes received; received <= sent
	uint64_t boundary;  // value of received that completes the oldest message in flight
	uint64_t *times;    // when each message in flight became due, in ns; a ring
};

static int nconns = 1, size = 64, pipeline = 1;
static clockid_t server_clock; // the CPU time of PID, user and system, all threads
static int has_clock;          // PID was given
static uint64_t warmup = 500000000, measured = 2000000000, limit = 5000000000; // ns

static unsigned char table[2 * PERIOD]; // random, and the same again, so that PERIOD bytes from any start are contiguous
static unsigned char buf[PERIOD];
static struct conn *conns;
static int epfd;
static int has_stdin; // stdin is watched, and its end ends the program

static enum { CONNECTING, WARMING, MEASURING, MEASURED } phase;
static uint64_t phase_end; // when WARMING or MEASURING is over, in ns
static uint64_t began;     // when MEASURING began
static uint64_t cpu_began; // the server's CPU time then, in ns
static uint64_t last;      // when the last reply came
static int answered;       // connections that have had their first reply
static uint64_t requests;  // replies completed in the window
static uint64_t hist[64 * MINOR]; // their latencies, by bucket

static void die(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t read_clock(clockid_t clock) {
	struct timespec t;
	if (clock_gettime(clock, &t) < 0)
		die("clock_gettime: %s", strerror(errno));
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t now(void) { return read_clock(CLOCK_MONOTONIC); }

// server_cpu returns the CPU time the server has used, in ns. The clock is
// exact even for threads that are running, where /proc has ticks or what the
// scheduler noted last; and read here, no delay of another process blurs the
// window.
static uint64_t server_cpu(void) { return has_clock ? read_clock(server_clock) : 0; }

// bucket returns the histogram's bucket for ns. Buckets are exact below MINOR
// and at most 1/MINOR of their value wide above.
static int bucket(uint64_t ns) {
	if (ns < MINOR)
		return ns;
	int e = 63 - __builtin_clzll(ns); // at least 6
	return (e - 5) * MINOR + (ns >> (e - 6)) % MINOR;
}

// middle returns the value in the middle of a bucket.
static double middle(int b) {
	if (b < MINOR)
		return b;
	int e = b / MINOR + 5;
	double width = (double)(1ull << (e - 6));
	return (MINOR + b % MINOR) * width + width / 2;
}

// quantile returns the latency in ns that the share q of the requests did not
// exceed.
static double quantile(double q) {
	uint64_t seen = 0;
	for (int b = 0; b < 64 * MINOR; b++) {
		seen += hist[b];
		if (seen > 0 && seen >= q * requests)
			return middle(b);
	}
	return 0;
}

static void report(uint64_t t) {
	uint64_t cpu = server_cpu() - cpu_began;
	int starved = 0;
	for (int i = 0; i < nconns; i++)
		starved += conns[i].window == 0;
	if (starved > 0)
		die("%d of %d connections had no reply in the window", starved, nconns);
	printf("{\"phase\":\"end\",\"requests\":%llu,\"seconds\":%.9f,\"cpu_ns\":%llu,\"p50_ns\":%.0f,\"p99_ns\":%.0f,\"p999_ns\":%.0f}\n",
		(unsigned long long)requests, (t - began) / 1e9, (unsigned long long)cpu,
		quantile(0.5), quantile(0.99), quantile(0.999));
	fflush(stdout);
}

// advance moves to the next phase if it is time t for it.
static void advance(uint64_t t) {
	if (phase == WARMING && t >= phase_end) {
		puts("{\"phase\":\"start\"}");
		fflush(stdout);
		phase = MEASURING;
		began = t;
		cpu_began = server_cpu();
		phase_end = t + measured;
	} else if (phase == MEASURING && t >= phase_end) {
		report(t);
		phase = MEASURED;
		if (!has_stdin)
			exit(0);
	}
}

// flush sends what is due, as far as the socket takes it.
static void flush(struct conn *c) {
	while (c->sent < c->due) {
		size_t n = c->due - c->sent;
		if (n > PERIOD)
			n = PERIOD;
		ssize_t k = send(c->fd, table + (c->start + c->sent) % PERIOD, n, MSG_NOSIGNAL);
		if (k < 0) {
			if (errno == EAGAIN)
				return; // epoll reports when there is room
			if (errno == EINTR)
				continue;
			die("send: %s", strerror(errno));
		}
		c->sent += k;
	}
}

// complete takes note at time t that the oldest message in flight has been
// answered, and makes the next one due.
static void complete(struct conn *c, uint64_t t) {
	c->boundary += size;
	last = t;
	if (phase == CONNECTING) {
		answered++;
		return;
	}
	if (phase == MEASURING) {
		requests++;
		c->window++;
		hist[bucket(t - c->times[c->slot])]++;
	}
	c->times[c->slot] = t;
	c->slot = c->slot + 1 == (uint32_t)pipeline ? 0 : c->slot + 1;
	c->due += size;
}

// serve does what can be done on a connection for which epoll reported events.
static void serve(struct conn *c, uint32_t events) {
	for (;;) {
		ssize_t n = recv(c->fd, buf, sizeof buf, 0);
		if (n < 0) {
			if (errno == EAGAIN)
				break;
			if (errno == EINTR)
				continue;
			die("recv: %s", strerror(errno));
		}
		if (n == 0)
			die("the server closed a connection");
		if (c->received + n > c->sent)
			die("the server sent %llu bytes more than it received",
				(unsigned long long)(c->received + n - c->sent));
		if (memcmp(buf, table + (c->start + c->received) % PERIOD, n) != 0)
			die("a reply differs from the request, within %zd bytes after byte %llu of the connection",
				n, (unsigned long long)c->received);
		c->received += n;
		if (c->received >= c->boundary) {
			uint64_t t = now();
			advance(t);
			while (c->received >= c->boundary)
				complete(c, t);
		}
		// A short read has emptied the socket, unless the end of input is behind it.
		if ((size_t)n < sizeof buf && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
			break;
	}
	flush(c);
}

// turn waits for events and serves them.
static void turn(void) {
	static struct epoll_event events[BATCH];
	int n = epoll_wait(epfd, events, BATCH, 20); // the timeout only bounds how late a phase ends when nothing happens
	if (n < 0 && errno != EINTR)
		die("epoll_wait: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr == NULL)
			exit(0); // stdin has ended: the result is no longer waited for
		serve(events[i].data.ptr, events[i].events);
	}
	if (n < BATCH) {
		uint64_t t = now();
		if (t > last && t - last > limit)
			die("no reply for %llu ms", (unsigned long long)(limit / 1000000));
		advance(t);
	}
}

static void watch(int fd, uint32_t interest, void *ptr) {
	struct epoll_event e = {.events = interest, .data.ptr = ptr};
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl: %s", strerror(errno));
}

// open_conn connects and sends one message.
static void open_conn(struct conn *c, const struct sockaddr_in *addr) {
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket: %s", strerror(errno));
	int one = 1;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	// Reset at the end: thousands of ports in TIME_WAIT would burden the next round.
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	if (connect(c->fd, (const struct sockaddr *)addr, sizeof *addr) < 0)
		die("connect: %s", strerror(errno));
	if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
		die("fcntl: %s", strerror(errno));
	watch(c->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c);
	c->start = random() % PERIOD;
	c->times = calloc(pipeline, sizeof *c->times);
	if (c->times == NULL)
		die("out of memory");
	c->boundary = size;
	c->due = size;
	flush(c);
}

// number parses an option's value, which must be from low to high.
static long long number(int opt, const char *s, long long low, long long high) {
	char *end;
	long long n = strtoll(s, &end, 10);
	if (*s == '\0' || *end != '\0' || n < low || n > high)
		die("-%c %s: want a number from %lld to %lld", opt, s, low, high);
	return n;
}

int main(int argc, char **argv) {
	struct sockaddr_in addr = {.sin_family = AF_INET};
	int opt;
	while ((opt = getopt(argc, argv, "a:P:c:s:p:w:t:l:")) != -1) {
		switch (opt) {
		case 'a': {
			char *colon = strrchr(optarg, ':');
			if (colon == NULL)
				die("-a %s: want ADDR:PORT", optarg);
			addr.sin_port = htons(number('a', colon + 1, 1, 65535));
			*colon = '\0';
			if (inet_pton(AF_INET, optarg, &addr.sin_addr) != 1)
				die("-a %s: not an IPv4 address", optarg);
			break;
		}
		case 'P': {
			int err = clock_getcpuclockid(number(opt, optarg, 1, INT32_MAX), &server_clock);
			if (err != 0)
				die("-P %s: %s", optarg, strerror(err));
			has_clock = 1;
			break;
		}
		case 'c': nconns = number(opt, optarg, 1, 1000000); break;
		case 's': size = number(opt, optarg, 1, 1 << 30); break;
		case 'p': pipeline = number(opt, optarg, 1, 1 << 20); break;
		case 'w': warmup = number(opt, optarg, 0, 3600000) * 1000000; break;
		case 't': measured = number(opt, optarg, 1, 3600000) * 1000000; break;
		case 'l': limit = number(opt, optarg, 1, 3600000) * 1000000; break;
		default: return 2;
		}
	}
	if (addr.sin_port == 0 || optind != argc)
		die("usage: load -a ADDR:PORT [-P PID] [-c CONNS] [-s SIZE] [-p PIPELINE] [-w WARMUP] [-t TIME] [-l LIMIT]");

	srandom(1);
	for (int i = 0; i < PERIOD; i++)
		table[i] = table[PERIOD + i] = random() >> 8;
	epfd = epoll_create1(EPOLL_CLOEXEC);
	conns = calloc(nconns, sizeof *conns);
	if (epfd < 0 || conns == NULL)
		die("starting: %s", strerror(errno));
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
	has_stdin = epoll_ctl(epfd, EPOLL_CTL_ADD, 0, &e) == 0; // a file or /dev/null cannot be watched

	for (int i = 0; i < nconns; i++) {
		last = now();
		open_conn(&conns[i], &addr);
		while ((i + 1) % GROUP == 0 && answered <= i)
			turn();
	}
	while (answered < nconns)
		turn();

	last = now();
	phase_end = last + warmup;
	phase = WARMING;
	for (int i = 0; i < nconns; i++) {
		struct conn *c = &conns[i];
		c->due += (uint64_t)pipeline * size;
		uint64_t t = now();
		for (int k = 0; k < pipeline; k++)
			c->times[k] = t;
		flush(c);
	}
	for (;;)
		turn();
}
