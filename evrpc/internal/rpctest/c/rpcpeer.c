/* Copyright (c) 2026 The evchan Authors.
 * Use of this source code is governed by the MIT license in the LICENSE file. */

/* A program that speaks libevent's evrpc, for the tests of package evrpc:
 *
 *	rpcpeer server           serves on a port of 127.0.0.1 that it prints, until stdin ends
 *	rpcpeer client PORT N    makes N calls of Echo with random messages over 4 connections, and
 *	                         some calls that have to fail; prints what was answered
 *
 * The RPCs: Echo answers with its request; Never does not answer; Incomplete answers with a
 * message without its required fields, which libevent does not send. */

#include "message.h"
#include "random.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_compat.h>
#include <event2/http.h>
#include <event2/rpc.h>
#include <event2/rpc_struct.h>

EVRPC_HEADER(Echo, all, all)
EVRPC_HEADER(Never, all, all)
EVRPC_HEADER(Incomplete, all, all)
EVRPC_HEADER(Unknown, all, all)
EVRPC_GENERATE(Echo, all, all)
EVRPC_GENERATE(Never, all, all)
EVRPC_GENERATE(Incomplete, all, all)
EVRPC_GENERATE(Unknown, all, all)

static void quiet(int severity, const char *text)
{
	(void)severity;
	(void)text;
}

static void fail(const char *what)
{
	fprintf(stderr, "rpcpeer: %s\n", what);
	exit(1);
}

/* ---- server ---- */

static void echo(EVRPC_STRUCT(Echo) *rpc, void *arg)
{
	(void)arg;
	struct evbuffer *buf = evbuffer_new();
	all_marshal(buf, rpc->request);
	if (all_unmarshal(rpc->reply, buf) == -1)
		fail("a message cannot be copied");
	evbuffer_free(buf);
	EVRPC_REQUEST_DONE(rpc);
}

static void never(EVRPC_STRUCT(Never) *rpc, void *arg)
{
	(void)rpc;
	(void)arg;
}

static void incomplete(EVRPC_STRUCT(Incomplete) *rpc, void *arg)
{
	(void)arg;
	EVRPC_REQUEST_DONE(rpc);
}

static void at_eof(evutil_socket_t fd, short what, void *base)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(base);
}

static void serve(struct event_base *base)
{
	struct evhttp *http = evhttp_new(base);
	struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
	if (!bound)
		fail("cannot listen");
	struct evrpc_base *rpc = evrpc_init(http);
	EVRPC_REGISTER(rpc, Echo, all, all, echo, NULL);
	EVRPC_REGISTER(rpc, Never, all, all, never, NULL);
	EVRPC_REGISTER(rpc, Incomplete, all, all, incomplete, NULL);

	struct sockaddr_in sin;
	socklen_t size = sizeof sin;
	getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&sin, &size);
	printf("%d\n", ntohs(sin.sin_port));
	fflush(stdout);

	struct event *eof = event_new(base, 0, EV_READ, at_eof, base);
	event_add(eof, NULL);
	event_base_dispatch(base);
}

/* ---- client ---- */

static struct event_base *loop;
static int pending, good, timeouts, bad_payloads, others;

static void answered(struct evrpc_status *status, struct all *request, struct all *reply, void *arg)
{
	(void)arg;
	switch (status->error) {
	case EVRPC_STATUS_ERR_NONE: {
		struct evbuffer *sent = evbuffer_new(), *got = evbuffer_new();
		all_marshal(sent, request);
		all_marshal(got, reply);
		size_t n = evbuffer_get_length(sent);
		if (n != evbuffer_get_length(got) || memcmp(evbuffer_pullup(sent, -1), evbuffer_pullup(got, -1), n) != 0)
			fail("the answer is another message");
		evbuffer_free(sent);
		evbuffer_free(got);
		good++;
		break;
	}
	case EVRPC_STATUS_ERR_TIMEOUT:
		timeouts++;
		break;
	case EVRPC_STATUS_ERR_BADPAYLOAD:
		bad_payloads++;
		break;
	default:
		others++;
		break;
	}
	all_free(request);
	all_free(reply);
	if (--pending == 0)
		event_base_loopbreak(loop);
}

static void call(struct event_base *base, int port, int n)
{
	loop = base;
	struct evrpc_pool *pool = evrpc_pool_new(NULL); /* the current base: it sets that of no connection, which would have to have none */
	for (int i = 0; i < 4; i++)
		evrpc_pool_add_connection(pool, evhttp_connection_base_new(base, NULL, "127.0.0.1", port));

	for (pending = 0; pending < n; pending++)
		EVRPC_MAKE_REQUEST(Echo, pool, all_random(), all_new(), answered, NULL);
	event_base_dispatch(base);

	pending = 3;
	EVRPC_MAKE_REQUEST(Unknown, pool, all_random(), all_new(), answered, NULL);
	EVRPC_MAKE_REQUEST(Incomplete, pool, all_random(), all_new(), answered, NULL);
	evrpc_pool_set_timeout(pool, 1);
	EVRPC_MAKE_REQUEST(Never, pool, all_random(), all_new(), answered, NULL);
	event_base_dispatch(base);

	printf("good %d, timeouts %d, bad payloads %d, others %d\n", good, timeouts, bad_payloads, others);
	evrpc_pool_free(pool);
}

int main(int argc, char **argv)
{
	event_set_log_callback(quiet);
	struct event_base *base = event_init(); /* the current base */
	if (argc == 2 && !strcmp(argv[1], "server"))
		serve(base);
	else if (argc == 4 && !strcmp(argv[1], "client"))
		call(base, atoi(argv[2]), atoi(argv[3]));
	else
		fail("usage: rpcpeer server | rpcpeer client PORT N");
	return 0;
}
