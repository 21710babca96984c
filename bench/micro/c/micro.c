// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// The part of the micro benchmarks that is in C: libevent, and epoll without
// any library. It measures what the files in Go beside it measure, in the same
// way, and prints the same lines.
//
// usage: micro -groups GROUP -child PROGRAM -sizes N,N,... [-quick]

#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *group, *program;
static bool quick;
static int sizes[8], nsizes;

static int64_t now(void) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void *must(void *p) {
	if (!p)
		err(1, "out of memory");
	return p;
}

static void report(const char *name, double value, const char *unit) {
	printf("{\"group\":\"%s\",\"name\":\"%s\",\"program\":\"%s\",\"value\":%g,\"unit\":\"%s\"}\n", group, name, program, value, unit);
}

// ---- pairs of sockets

struct pair {
	int in, out;
	struct pair *next;
};

static struct pair *open_pairs(int n) {
	struct pair *ps = must(calloc(n, sizeof *ps));
	for (int i = 0; i < n; i++) {
		int fds[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
			err(1, "socketpair");
		ps[i] = (struct pair){fds[0], fds[1], &ps[(i + 1) % n]};
	}
	return ps;
}

static void close_pairs(struct pair *ps, int n) {
	for (int i = 0; i < n; i++) {
		close(ps[i].in);
		close(ps[i].out);
	}
	free(ps);
}

static void send_byte(struct pair *p) {
	if (write(p->out, "e", 1) != 1)
		err(1, "write");
}

// The run: bytes that may still be written, that were written, that were read.
static int writes, fired, count;

static void start(struct pair *ps, int n, int active, int w) {
	writes = w;
	fired = active;
	count = 0;
	for (int i = 0; i < active; i++)
		send_byte(&ps[i * (n / active)]);
}

// pass reads a byte from p and passes it on.
static void pass(struct pair *p) {
	char c;
	if (read(p->in, &c, 1) != 1)
		return;
	count++;
	if (writes > 0) {
		writes--;
		fired++;
		send_byte(p->next);
	}
}

// A looper is a way of waiting for pairs.
struct looper {
	void (*open)(struct pair *, int n);
	void (*close)(int n);
	void (*add)(int n);    // watch all, which are not watched
	void (*remove)(int n); // undo add
	void (*poll)(void);    // handle what is ready; do not wait
	void (*arm)(int n);    // cascade: watch all, once
};

static int repeats(void) { return quick ? 2 : 25; }

static int compare(const void *x, const void *y) {
	int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
	return (a > b) - (a < b);
}

static void report_median(const char *name, int64_t *runs, int n) {
	qsort(runs, n, sizeof *runs, compare);
	report(name, runs[n / 2] / 1e3, "µs");
}

static void pairs_of(const struct looper *l, int n, int active, int w) {
	struct pair *ps = open_pairs(n);
	l->open(ps, n);
	l->add(n);
	int64_t runs[25], both[25];
	for (int i = 0; i < repeats(); i++) {
		int64_t t0 = now();
		l->remove(n);
		l->add(n);
		l->poll();
		int64_t t1 = now();
		start(ps, n, active, w);
		do {
			l->poll();
		} while (count != fired);
		int64_t t2 = now();
		if (count != active + w)
			errx(1, "%d bytes were read, not %d", count, active + w);
		runs[i] = t2 - t1;
		both[i] = t2 - t0;
	}
	char name[100];
	snprintf(name, sizeof name, "n=%d,a=%d,w=%d/run", n, active, w);
	report_median(name, runs, repeats());
	snprintf(name, sizeof name, "n=%d,a=%d,w=%d/readd+run", n, active, w);
	report_median(name, both, repeats());
	l->close(n);
	close_pairs(ps, n);
}

static void pairs(const struct looper *l) {
	for (int i = 0; i < nsizes; i++) {
		pairs_of(l, sizes[i], 1, 1000);
		if (sizes[i] >= 100)
			pairs_of(l, sizes[i], 100, 1000);
	}
}

static void cascade(const struct looper *l) {
	for (int s = 0; s < nsizes; s++) {
		int n = sizes[s];
		struct pair *ps = open_pairs(n);
		l->open(ps, n);
		int64_t runs[25], both[25];
		for (int i = 0; i < repeats(); i++) {
			int64_t t0 = now();
			l->arm(n);
			int64_t t1 = now();
			start(ps, n, 1, n - 1);
			do {
				l->poll();
			} while (count != fired);
			int64_t t2 = now();
			if (count != n)
				errx(1, "cascade: %d bytes were read, not %d", count, n);
			runs[i] = t2 - t1;
			both[i] = t2 - t0;
		}
		char name[100];
		snprintf(name, sizeof name, "n=%d/run", n);
		report_median(name, runs, repeats());
		snprintf(name, sizeof name, "n=%d/add+run", n);
		report_median(name, both, repeats());
		l->close(n);
		close_pairs(ps, n);
	}
}

// ---- epoll

static int epfd;
static struct pair *raw_pairs;
static bool raw_known; // cascade: the descriptors are in the set

static void raw_open(struct pair *ps, int n) {
	(void)n;
	raw_pairs = ps;
	raw_known = false;
	if ((epfd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		err(1, "epoll_create1");
}

static void raw_close(int n) {
	(void)n;
	close(epfd);
}

static void raw_ctl(int n, int op, uint32_t events) {
	for (int i = 0; i < n; i++) {
		struct epoll_event ev = {.events = events, .data.ptr = &raw_pairs[i]};
		if (epoll_ctl(epfd, op, raw_pairs[i].in, &ev))
			err(1, "epoll_ctl");
	}
}

static void raw_add(int n) { raw_ctl(n, EPOLL_CTL_ADD, EPOLLIN); }
static void raw_remove(int n) { raw_ctl(n, EPOLL_CTL_DEL, 0); }

static void raw_arm(int n) {
	raw_ctl(n, raw_known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, EPOLLIN | EPOLLONESHOT);
	raw_known = true;
}

static void raw_poll(void) {
	static struct epoll_event events[4096];
	int n = epoll_wait(epfd, events, 4096, 0);
	if (n < 0 && errno != EINTR)
		err(1, "epoll_wait");
	for (int i = 0; i < n; i++)
		pass(events[i].data.ptr);
}

static const struct looper raw = {raw_open, raw_close, raw_add, raw_remove, raw_poll, raw_arm};

#ifndef NO_LIBEVENT

#include <event2/buffer.h>
#include <event2/event.h>

static struct event_base *base;

static void open_base(void) { base = must(event_base_new()); }

static void le_check(int result, const char *what) {
	if (result)
		errx(1, "%s failed", what);
}

// ---- libevent: pairs and cascade

static struct event **le_events;
static struct pair *le_pairs;

static void le_ready(evutil_socket_t fd, short what, void *arg) {
	(void)fd;
	(void)what;
	pass(arg);
}

// The events of pairs are persistent, those of cascade are not.
static void le_make(struct pair *ps, int n, short what) {
	open_base();
	le_pairs = ps;
	le_events = must(calloc(n, sizeof *le_events));
	for (int i = 0; i < n; i++)
		le_events[i] = must(event_new(base, ps[i].in, what, le_ready, &ps[i]));
}

static void le_open(struct pair *ps, int n) {
	le_make(ps, n, strcmp(group, "pairs") ? EV_READ : EV_READ | EV_PERSIST);
}

static void le_close(int n) {
	for (int i = 0; i < n; i++)
		event_free(le_events[i]);
	free(le_events);
	event_base_free(base);
}

static void le_add(int n) {
	for (int i = 0; i < n; i++)
		le_check(event_add(le_events[i], NULL), "event_add");
}

static void le_arm(int n) {
	struct timeval minute = {60, 0};
	for (int i = 0; i < n; i++)
		le_check(event_add(le_events[i], &minute), "event_add");
}

static void le_remove(int n) {
	for (int i = 0; i < n; i++)
		le_check(event_del(le_events[i]), "event_del");
}

static void le_poll(void) {
	if (event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK) < 0)
		errx(1, "event_base_loop failed");
}

static const struct looper le = {le_open, le_close, le_add, le_remove, le_poll, le_arm};

// ---- libevent: timers

static uint64_t random_state;

static void random_start(void) { random_state = 88172645463325252; }

static uint64_t random_below(uint64_t n) {
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static struct timeval timeval_of(int64_t ns) { return (struct timeval){ns / 1000000000, ns % 1000000000 / 1000}; }

static void nothing(evutil_socket_t fd, short what, void *arg) {
	(void)fd;
	(void)what;
	(void)arg;
}

static void report_timers(const char *kind, const char *what, int64_t ns, int n) {
	char name[100];
	snprintf(name, sizeof name, "%s/%s", kind, what);
	report(name, (double)ns / n, "ns/op");
}

static void timers_of(const char *kind, bool equal, int n) {
	const int64_t hour = 3600 * 1000000000LL;
	struct event **es = must(calloc(n, sizeof *es));
	struct timeval *tvs = must(calloc(2 * n, sizeof *tvs));
	random_start();
	for (int i = 0; i < 2 * n; i++)
		tvs[i] = timeval_of(hour + (equal ? 0 : (int64_t)random_below(hour)));
	if (equal) {
		const struct timeval *common = must((void *)event_base_init_common_timeout(base, &tvs[0]));
		for (int i = 0; i < 2 * n; i++)
			tvs[i] = *common;
	}

	int64_t t0 = now();
	for (int i = 0; i < n; i++) {
		es[i] = evtimer_new(base, nothing, NULL);
		evtimer_add(es[i], &tvs[i]);
	}
	int64_t t1 = now();
	for (int i = 0; i < n; i++) {
		evtimer_del(es[i]);
		event_free(es[i]);
	}
	int64_t t2 = now();
	report_timers(kind, "add", t1 - t0, n);
	report_timers(kind, "stop", t2 - t1, n);
	report_timers(kind, "add+stop", t2 - t0, n);

	for (int i = 0; i < n; i++) {
		es[i] = must(evtimer_new(base, nothing, NULL));
		le_check(evtimer_add(es[i], &tvs[i]), "evtimer_add");
	}
	t0 = now();
	for (int i = 0; i < n; i++)
		evtimer_add(es[i], &tvs[n + i]);
	t1 = now();
	report_timers(kind, "reset", t1 - t0, n);
	for (int i = 0; i < n; i++)
		event_free(es[i]);
	free(es);
	free(tvs);
}

static int expiries;

static void expire(evutil_socket_t fd, short what, void *arg) {
	(void)fd;
	(void)what;
	(void)arg;
	expiries++;
}

static void sleep_until(int64_t t) {
	struct timespec ts = {t / 1000000000, t % 1000000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static void fire(int n) {
	const int64_t due_spread = 1000000;
	struct event **es = must(calloc(n, sizeof *es));
	random_start();
	int64_t first = now() + 50000000 + n * 2000LL;
	for (int i = 0; i < n; i++) {
		es[i] = must(evtimer_new(base, expire, NULL));
		int64_t d = first - now() + (int64_t)random_below(due_spread);
		struct timeval tv = timeval_of(d > 0 ? d : 0);
		le_check(evtimer_add(es[i], &tv), "evtimer_add");
	}
	sleep_until(first);
	if (now() - first > 50000000)
		first = now();
	event_base_dispatch(base);
	report_timers("random", "fire", now() - first, n);
	if (expiries != n)
		errx(1, "%d timers have expired, not %d", expiries, n);
	for (int i = 0; i < n; i++)
		event_free(es[i]);
	free(es);
}

static void timers(void) {
	int n = quick ? 1000 : 1000000;
	open_base();
	timers_of("random", false, n);
	timers_of("equal", true, n);
	fire(n);
	event_base_free(base);
}

// ---- libevent: buffer

enum { line_size = 100, bulk = 1 << 20, piece = 4 << 10 };

static struct evbuffer *buf, *other;
static char out[64 << 10];
static size_t size; // of what is written at once

static char *text(size_t n) {
	char *p = must(malloc(n));
	memset(p, 'x', n);
	for (size_t i = line_size; i <= n; i += line_size)
		memcpy(p + i - 2, "\r\n", 2);
	return p;
}

static void in_pieces(const char *p, size_t n) {
	while (n > 0) {
		size_t k = n < piece ? n : piece;
		evbuffer_add(buf, p, k);
		p += k;
		n -= k;
	}
}

// loop measures f, which does n operations and returns how long they took.
static void loop(const char *name, int64_t (*f)(int n)) {
	int64_t enough = quick ? 100000 : 200000000;
	f(1);
	for (int n = 1;; n *= 2) {
		int64_t t = f(n);
		if (t >= enough) {
			report(name, (double)t / n, "ns/op");
			return;
		}
	}
}

static int64_t write_drain(int n) {
	int64_t t = now();
	while (n-- > 0) {
		evbuffer_add(buf, out, size);
		evbuffer_drain(buf, size);
	}
	return now() - t;
}

static int64_t write_read(int n) {
	int64_t t = now();
	while (n-- > 0) {
		evbuffer_add(buf, out, size);
		evbuffer_remove(buf, out, size);
	}
	return now() - t;
}

static int64_t many_writes(int n) {
	static char small[64];
	int64_t t = now();
	while (n-- > 0) {
		for (int i = 0; i < 1000; i++)
			evbuffer_add(buf, small, sizeof small);
		while (evbuffer_get_length(buf) > 0)
			evbuffer_remove(buf, out, piece);
	}
	return now() - t;
}

static int64_t move(int n) {
	int64_t t = now();
	while (n-- > 0) {
		evbuffer_add_buffer(other, buf);
		struct evbuffer *b = buf;
		buf = other;
		other = b;
	}
	return now() - t;
}

static int64_t prepend(int n) {
	static char header[16];
	int64_t t = now();
	while (n-- > 0) {
		evbuffer_add(buf, out, piece);
		evbuffer_prepend(buf, header, sizeof header);
		evbuffer_drain(buf, evbuffer_get_length(buf));
	}
	return now() - t;
}

static int64_t search(int n) {
	int64_t t = now();
	while (n-- > 0) {
		struct evbuffer_ptr at;
		size_t eol;
		evbuffer_ptr_set(buf, &at, 0, EVBUFFER_PTR_SET);
		for (;;) {
			at = evbuffer_search_eol(buf, &at, &eol, EVBUFFER_EOL_CRLF_STRICT);
			if (at.pos < 0)
				break;
			evbuffer_ptr_set(buf, &at, eol, EVBUFFER_PTR_ADD);
		}
	}
	return now() - t;
}

static const char *lines;

static int64_t read_lines(int n) {
	const int most = bulk / line_size;
	int64_t total = 0;
	while (n > 0) {
		in_pieces(lines, (size_t)(n < most ? n : most) * line_size);
		int64_t t = now();
		char *line;
		while ((line = evbuffer_readln(buf, NULL, EVBUFFER_EOL_CRLF_STRICT))) {
			free(line);
			n--;
		}
		total += now() - t;
	}
	return total;
}

static void buffer(void) {
	buf = must(evbuffer_new());
	other = must(evbuffer_new());
	lines = text(bulk);

	size = 64;
	loop("write+drain/64B", write_drain);
	loop("write+read/64B", write_read);
	size = 4 << 10;
	loop("write+drain/4KiB", write_drain);
	loop("write+read/4KiB", write_read);
	size = 64 << 10;
	loop("write+drain/64KiB", write_drain);
	loop("write+read/64KiB", write_read);

	loop("write-64Bx1000+read-4KiB", many_writes);

	in_pieces(lines, bulk);
	loop("move/1MiB", move);
	evbuffer_drain(buf, bulk);
	evbuffer_drain(other, bulk);

	loop("prepend/16B+4KiB", prepend);

	in_pieces(lines, bulk);
	loop("search-crlf/1MiB", search);
	evbuffer_drain(buf, bulk);

	loop("readline/100B", read_lines);
}

#endif

static void measure(void) {
	if (!strcmp(program, "raw-epoll")) {
		if (!strcmp(group, "pairs"))
			return pairs(&raw);
		if (!strcmp(group, "cascade"))
			return cascade(&raw);
	}
#ifndef NO_LIBEVENT
	if (!strcmp(program, "libevent")) {
		if (!strcmp(group, "timers"))
			return timers();
		if (!strcmp(group, "buffer"))
			return buffer();
		if (!strcmp(group, "pairs"))
			return pairs(&le);
		if (!strcmp(group, "cascade"))
			return cascade(&le);
	}
#endif
	errx(1, "no program %s for %s", program, group);
}

int main(int argc, char **argv) {
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-quick"))
			quick = true;
		else if (i + 1 == argc)
			errx(1, "bad argument %s", argv[i]);
		else if (!strcmp(argv[i], "-groups"))
			group = argv[++i];
		else if (!strcmp(argv[i], "-child"))
			program = argv[++i];
		else if (!strcmp(argv[i], "-sizes"))
			for (char *s = strtok(argv[++i], ","); s && nsizes < 8; s = strtok(NULL, ","))
				sizes[nsizes++] = atoi(s);
		else
			errx(1, "bad argument %s", argv[i]);
	}
	if (!group || !program)
		errx(1, "no group or program");
	struct rlimit lim;
	if (!getrlimit(RLIMIT_NOFILE, &lim)) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	measure();
	return 0;
}
