/* Copyright (c) 2026 The evchan Authors.
 * Use of this source code is governed by the MIT license in the LICENSE file. */

/* A program that encodes and decodes with libevent, for the tests of evtag:
 *
 *	peer echo        decodes each message of stdin, encodes it again and writes that
 *	peer items       the same item by item; what an item is, its tag modulo 5 says
 *	peer make N      writes N random messages
 *
 * A message has its length before it, four bytes, most significant first. The answer to one
 * that cannot be decoded is the length 0xffffffff and nothing else. */

#include "message.h"
#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/tag.h>

static void quiet(int severity, const char *text)
{
	(void)severity;
	(void)text;
}

static void fail(const char *what)
{
	fprintf(stderr, "peer: %s\n", what);
	exit(1);
}

/* receive returns the next message of stdin, or NULL at the end. */
static struct evbuffer *receive(void)
{
	unsigned char head[4];
	size_t n = fread(head, 1, sizeof head, stdin);
	if (n == 0)
		return NULL;
	if (n != sizeof head)
		fail("no length");
	size_t length = (size_t)head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
	char *data = malloc(length + 1);
	if (!data || fread(data, 1, length, stdin) != length)
		fail("no message");
	struct evbuffer *buf = evbuffer_new();
	evbuffer_add(buf, data, length);
	free(data);
	return buf;
}

static void put_length(unsigned long n)
{
	unsigned char head[4] = {n >> 24, n >> 16, n >> 8, n};
	if (fwrite(head, 1, sizeof head, stdout) != sizeof head)
		fail("cannot write");
}

static void answer(struct evbuffer *buf)
{
	size_t n = evbuffer_get_length(buf);
	put_length(n);
	if (n && fwrite(evbuffer_pullup(buf, -1), 1, n, stdout) != n)
		fail("cannot write");
	evbuffer_free(buf);
}

static void echo(void)
{
	struct evbuffer *in;
	while ((in = receive())) {
		struct all *msg = all_new();
		if (all_unmarshal(msg, in) == -1) {
			put_length(0xffffffff);
		} else {
			struct evbuffer *out = evbuffer_new();
			all_marshal(out, msg);
			answer(out);
		}
		all_free(msg);
		evbuffer_free(in);
	}
}

/* item decodes an item and encodes it again. */
static int item(struct evbuffer *in, struct evbuffer *out)
{
	ev_uint32_t tag, v32, whole, length;
	ev_uint64_t v64;
	struct timeval tv;
	char *string;
	size_t before = evbuffer_get_length(in);

	if (evtag_peek(in, &tag) == -1 || evtag_peek_length(in, &whole) == -1 || evtag_payload_length(in, &length) == -1)
		return -1;
	switch (tag % 5) {
	case 0:
		if (evtag_unmarshal_int(in, tag, &v32) == -1)
			return -1;
		evtag_marshal_int(out, tag, v32);
		break;
	case 1:
		if (evtag_unmarshal_int64(in, tag, &v64) == -1)
			return -1;
		evtag_marshal_int64(out, tag, v64);
		break;
	case 2:
		if (evtag_unmarshal_string(in, tag, &string) == -1)
			return -1;
		evtag_marshal_string(out, tag, string);
		free(string);
		break;
	case 3:
		if (evtag_unmarshal_timeval(in, tag, &tv) == -1)
			return -1;
		evtag_marshal_timeval(out, tag, &tv);
		break;
	case 4:
		if (evtag_consume(in) == -1)
			return -1;
		evtag_marshal(out, tag, NULL, 0);
		break;
	}
	if (before - evbuffer_get_length(in) != whole)
		fail("an item has another length than evtag_peek_length says");
	return 0;
}

static void items(void)
{
	struct evbuffer *in;
	while ((in = receive())) {
		struct evbuffer *out = evbuffer_new();
		int bad = 0;
		while (!bad && evbuffer_get_length(in) > 0)
			bad = item(in, out);
		if (bad) {
			put_length(0xffffffff);
			evbuffer_free(out);
		} else {
			answer(out);
		}
		evbuffer_free(in);
	}
}

static void make(int n)
{
	while (n-- > 0) {
		struct all *msg = all_random();
		struct evbuffer *out = evbuffer_new();
		all_marshal(out, msg);
		answer(out);
		all_free(msg);
	}
}

int main(int argc, char **argv)
{
	event_set_log_callback(quiet);
	evtag_init();
	if (argc == 2 && !strcmp(argv[1], "echo"))
		echo();
	else if (argc == 2 && !strcmp(argv[1], "items"))
		items();
	else if (argc == 3 && !strcmp(argv[1], "make"))
		make(atoi(argv[2]));
	else
		fail("usage: peer echo|items|make N");
	if (fflush(stdout) != 0)
		fail("cannot write");
	return 0;
}
