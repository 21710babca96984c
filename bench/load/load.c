// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Load is the load generator: many connections on one thread.
//
//	load -a ADDR:PORT -k WORK -P PID -c CONNS -s SIZE -p PIPELINE -r RATE -w WARMUP -t TIME -l LIMIT
//
// Times are milliseconds. The works, in order of the files:
//
//	echo    every connection keeps PIPELINE messages of SIZE bytes in flight, and sends the next one when a reply is complete
//	rate    RATE messages a second over all connections, whether or not replies come
//	idle    a message and its reply on every connection, then nothing
//	sink    every connection sends as much as the server takes
//	source  every connection receives as much as the server sends
//	proxy   sink through the server, which leads to the listening descriptor 3 of this program
//	churn   every connection carries one message, and when the reply is complete another connection takes its place
//
// Every byte that comes back, or comes out of a source or a proxy, is compared with
// what it must be. A wrong byte, a byte too many, an end of input, or LIMIT
// without anything ends the program with a message on stderr and status 1; so
// does a connection on which nothing happened in the window, unless that is the work.
//
// Lines of JSON on stdout mark when all connections stand, and the measured
// window the moment it begins and ends; the last has the result, with the CPU
// time that process PID used in the window. The load goes on until stdin ends, so that
// whoever samples more of the server at these lines finds it in the same state
// at both. Where stdin cannot be waited for, the program ends with the window.

#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	BATCH = 512, // events taken from epoll at a time; arbitrary
	GROUP = 64,  // connections made before they must all have answered; less than any backlog
	MINOR = 64,  // buckets of the histogram for one power of two
};

static const struct work *const works[] = {
	&echo_work, &rate_work, &idle_work, &sink_work, &source_work, &proxy_work, &churn_work,
};

int nconns = 1, size = 64, pipeline = 1;
uint64_t rate;
struct conn *conns;
unsigned char table[2 * PERIOD], buf[PERIOD];
enum phase phase;
int answered;
uint64_t last, requests, bytes;

static const struct work *work = &echo_work;
static struct sockaddr_in addr = {.sin_family = AF_INET};
static clockid_t server_clock; // the CPU time of PID, user and system, all threads
static int has_clock;          // PID was given
static uint64_t warmup = 500000000, measured = 2000000000, limit = 5000000000; // ns

static int epfd;
static struct conn input_end;  // of stdin, if has_stdin
static int has_stdin;          // stdin is watched, and its end ends the program
static uint64_t phase_end;     // when WARMING or MEASURING is over, in ns
static uint64_t began;         // when MEASURING began
static uint64_t cpu_began;     // the server's CPU time then, in ns
static uint64_t hist[64 * MINOR]; // latencies of requests, by bucket
static uint64_t in_hist;          // the sum of hist

void die(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(1);
}

void nothing(void) {}

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
		if (seen > 0 && seen >= q * in_hist)
			return middle(b);
	}
	return 0;
}

void count(uint64_t ns) {
	requests++;
	in_hist++;
	hist[bucket(ns)]++;
}

// say writes one line for whoever reads stdout.
static void say(const char *line) {
	puts(line);
	fflush(stdout);
}

static void report(uint64_t t) {
	uint64_t cpu = server_cpu() - cpu_began;
	uint64_t replies = requests;
	if (work->rest != NULL)
		work->rest(t);
	int starved = 0;
	for (int i = 0; i < nconns; i++)
		starved += conns[i].window == 0;
	if (starved > 0 && !work->quiet)
		die("%d of %d connections had no reply in the window", starved, nconns);
	char line[512];
	snprintf(line, sizeof line, "{\"phase\":\"end\",\"requests\":%llu,\"bytes\":%llu,\"seconds\":%.9f,\"cpu_ns\":%llu,\"p50_ns\":%.0f,\"p99_ns\":%.0f,\"p999_ns\":%.0f}",
		(unsigned long long)replies, (unsigned long long)bytes, (t - began) / 1e9, (unsigned long long)cpu,
		quantile(0.5), quantile(0.99), quantile(0.999));
	say(line);
}

void advance(uint64_t t) {
	if (phase == WARMING && t >= phase_end) {
		say("{\"phase\":\"start\"}");
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

void flush(struct conn *c) {
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

size_t receive(struct conn *c) {
	for (;;) {
		ssize_t n = recv(c->fd, buf, sizeof buf, 0);
		if (n > 0)
			return n;
		if (n == 0)
			die("the server closed a connection");
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			die("recv: %s", strerror(errno));
	}
}

static void control(int op, struct conn *c, uint32_t interest) {
	struct epoll_event e = {.events = interest, .data.ptr = c};
	if (epoll_ctl(epfd, op, c->fd, &e) < 0)
		die("epoll_ctl: %s", strerror(errno));
}

void watch(struct conn *c, uint32_t interest, void (*serve)(struct conn *, uint32_t)) {
	c->serve = serve;
	control(EPOLL_CTL_ADD, c, interest);
}

void rewatch(struct conn *c, uint32_t interest) { control(EPOLL_CTL_MOD, c, interest); }

void unblock(int fd) {
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		die("fcntl: %s", strerror(errno));
}

void dial(struct conn *c, int wait) {
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
	if (c->fd < 0)
		die("socket: %s", strerror(errno));
	int one = 1;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	// Reset at the end: thousands of ports in TIME_WAIT would burden the next round.
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	if (connect(c->fd, (const struct sockaddr *)&addr, sizeof addr) < 0 && errno != EINPROGRESS)
		die("connect: %s", strerror(errno));
	if (wait)
		unblock(c->fd);
	watch(c, work->interest, work->serve);
}

// turn waits for events and serves them.
static void turn(void) {
	static struct epoll_event events[BATCH];
	const uint64_t most = 20000000; // ns; bounds how late a phase ends when nothing happens
	int n;
	if (work->schedule != NULL) {
		uint64_t ns = work->schedule(now());
		struct timespec wait = {.tv_nsec = ns < most ? ns : most};
		n = epoll_pwait2(epfd, events, BATCH, &wait, NULL);
	} else {
		n = epoll_wait(epfd, events, BATCH, most / 1000000);
	}
	if (n < 0 && errno != EINTR)
		die("waiting: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		struct conn *c = events[i].data.ptr;
		c->serve(c, events[i].events);
	}
	if (n < BATCH) {
		uint64_t t = now();
		if (!(work->quiet && phase != CONNECTING) && t > last && t - last > limit)
			die("no reply for %llu ms", (unsigned long long)(limit / 1000000));
		advance(t);
	}
}

// ended is called when stdin has ended: the result is no longer waited for.
static void ended(struct conn *c, uint32_t events) {
	(void)c, (void)events;
	exit(0);
}

// number parses an option's value, which must be from low to high.
static long long number(int opt, const char *s, long long low, long long high) {
	char *end;
	long long n = strtoll(s, &end, 10);
	if (*s == '\0' || *end != '\0' || n < low || n > high)
		die("-%c %s: want a number from %lld to %lld", opt, s, low, high);
	return n;
}

static const struct work *work_named(const char *name) {
	for (size_t i = 0; i < sizeof works / sizeof *works; i++)
		if (strcmp(works[i]->name, name) == 0)
			return works[i];
	die("-k %s: no such work", name);
}

int main(int argc, char **argv) {
	int opt;
	while ((opt = getopt(argc, argv, "a:k:P:c:s:p:r:w:t:l:")) != -1) {
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
		case 'k': work = work_named(optarg); break;
		case 'c': nconns = number(opt, optarg, 1, 1000000); break;
		case 's': size = number(opt, optarg, 1, 1 << 30); break;
		case 'p': pipeline = number(opt, optarg, 1, 1 << 20); break;
		case 'r': rate = number(opt, optarg, 0, 1000000000); break;
		case 'w': warmup = number(opt, optarg, 0, 3600000) * 1000000; break;
		case 't': measured = number(opt, optarg, 1, 3600000) * 1000000; break;
		case 'l': limit = number(opt, optarg, 1, 3600000) * 1000000; break;
		default: return 2;
		}
	}
	if (addr.sin_port == 0 || optind != argc)
		die("usage: load -a ADDR:PORT [-k WORK] [-P PID] [-c CONNS] [-s SIZE] [-p PIPELINE] [-r RATE] [-w WARMUP] [-t TIME] [-l LIMIT]");
	if ((work == &rate_work) != (rate > 0))
		die("work rate needs -r, and no other does");
	if (rate > 0 && rate * (measured / 1e9) < 2.0 * nconns)
		die("at %llu a second the window has less than two requests a connection", (unsigned long long)rate);
	prctl(PR_SET_TIMERSLACK, 1); // of the waits until a request is due

	srandom(1);
	for (int i = 0; i < PERIOD; i++)
		table[i] = table[PERIOD + i] = random() >> 8;
	epfd = epoll_create1(EPOLL_CLOEXEC);
	conns = calloc(nconns, sizeof *conns);
	if (epfd < 0 || conns == NULL)
		die("starting: %s", strerror(errno));
	input_end.serve = ended;
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = &input_end};
	has_stdin = epoll_ctl(epfd, EPOLL_CTL_ADD, 0, &e) == 0; // a file or /dev/null cannot be watched

	for (int i = 0; i < nconns; i++) {
		last = now();
		dial(&conns[i], 1);
		conns[i].start = random() % PERIOD;
		work->open(&conns[i]);
		while ((i + 1) % GROUP == 0 && answered <= i)
			turn();
	}
	while (answered < nconns)
		turn();
	say("{\"phase\":\"connected\"}");

	last = now();
	phase_end = last + warmup;
	phase = WARMING;
	work->start();
	for (;;)
		turn();
}
