// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

enum {
	PERIOD = 1 << 16, // bytes after which a connection's data repeats; a power of two
	RING = 1 << 12,   // requests that a connection may be behind in the open loop; arbitrary
};

// A conn is a descriptor that epoll reports. For a connection of which the
// load generator is the client, byte i of what it sends is
// table[(start + i) % PERIOD].
struct conn {
	int fd;
	uint32_t start;
	uint32_t slot;      // index in times of the oldest message in flight
	uint32_t window;    // in the measured window: replies, or reads or writes of bulk
	uint64_t due;       // bytes that may be sent so far
	uint64_t sent;      // bytes sent; sent <= due
	uint64_t received;  // bytes received
	uint64_t boundary;  // value of received that completes the oldest message in flight
	uint64_t *times;    // when each message in flight became due, in ns; a ring
	void (*serve)(struct conn *, uint32_t events); // does what can be done when epoll has reported events
};

// A work is one kind of load.
struct work {
	const char *name;
	uint32_t interest;           // of connections, for epoll
	void (*open)(struct conn *); // c is connected and watched; its first answer adds one to answered
	void (*serve)(struct conn *, uint32_t events);
	void (*start)(void);              // all have answered: begins the load
	uint64_t (*schedule)(uint64_t t); // NULL, or does what is due at time t and returns how many ns later it wants to be called again
	void (*rest)(uint64_t t);         // NULL, or counts the requests that are open at the end, t, with their age: their latency is at least that
	int quiet;                        // that nothing happens in the window is right
};

extern const struct work echo_work, rate_work, idle_work;    // echo.c
extern const struct work sink_work, source_work, proxy_work; // bulk.c
extern const struct work churn_work;                         // churn.c

extern int nconns, size, pipeline;
extern uint64_t rate; // requests a second of the open loop
extern struct conn *conns;

extern unsigned char table[2 * PERIOD]; // PERIOD bytes, and the same again, so that PERIOD bytes from any start are contiguous
extern unsigned char buf[PERIOD];

extern enum phase { CONNECTING, WARMING, MEASURING, MEASURED } phase;
extern int answered;      // connections that have had their first answer
extern uint64_t last;     // when something last came or went, in ns
extern uint64_t requests; // answers in the window
extern uint64_t bytes;    // of bulk in the window

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

// advance moves to the next phase if it is time t for it.
void advance(uint64_t t);

// nothing does nothing.
void nothing(void);

// count counts an answer in the window that took ns.
void count(uint64_t ns);

// unblock makes fd non-blocking.
void unblock(int fd);

// watch has epoll report interest in c, whose fd is non-blocking. It sets
// c->serve.
void watch(struct conn *c, uint32_t interest, void (*serve)(struct conn *, uint32_t));

// rewatch changes the interest in c.
void rewatch(struct conn *c, uint32_t interest);

// dial makes c->fd a socket that is connecting, and watches it. With wait it
// returns when the socket is connected.
void dial(struct conn *c, int wait);

// flush sends what is due, as far as the socket takes it.
void flush(struct conn *c);

// receive reads up to sizeof buf bytes into buf. It returns 0 if there are
// none now, and ends the program at the end of input.
size_t receive(struct conn *c);

// input receives, and compares what has arrived with what was sent. It returns
// the number of bytes.
size_t input(struct conn *c);

static inline uint64_t read_clock(clockid_t clock) {
	struct timespec t;
	if (clock_gettime(clock, &t) < 0)
		die("clock_gettime failed");
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline uint64_t now(void) { return read_clock(CLOCK_MONOTONIC); }
