// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Libevent is a server on bufferevents: one thread, no locks.
//
//	libevent -listen ADDR:PORT -work echo|sink|source|proxy [-backend ADDR:PORT]

#include "../peer.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>

// Unsent output at which reading stops, and goes on.
enum { HIGH = 64 << 10, LOW = 32 << 10 };

static struct event_base *base;

static size_t unsent(struct bufferevent *bev) { return evbuffer_get_length(bufferevent_get_output(bev)); }

// Echo.

static void echo_read(struct bufferevent *bev, void *arg);
static void echo_event(struct bufferevent *bev, short what, void *arg);

static void echo_drained(struct bufferevent *bev, void *arg) {
	bufferevent_setcb(bev, echo_read, NULL, echo_event, arg);
	bufferevent_enable(bev, EV_READ);
}

static void echo_read(struct bufferevent *bev, void *arg) {
	bufferevent_write_buffer(bev, bufferevent_get_input(bev));
	if (unsent(bev) >= HIGH) {
		bufferevent_disable(bev, EV_READ);
		bufferevent_setcb(bev, echo_read, echo_drained, echo_event, arg);
	}
}

static void echo_finish(struct bufferevent *bev, void *arg) {
	(void)arg;
	if (unsent(bev) == 0)
		bufferevent_free(bev);
}

static void echo_event(struct bufferevent *bev, short what, void *arg) {
	if ((what & BEV_EVENT_EOF) && unsent(bev) > 0)
		bufferevent_setcb(bev, NULL, echo_finish, echo_event, arg);
	else
		bufferevent_free(bev);
}

// Sink and source.

static void sink_read(struct bufferevent *bev, void *arg) {
	(void)arg;
	struct evbuffer *input = bufferevent_get_input(bev);
	evbuffer_drain(input, evbuffer_get_length(input));
}

static void source_write(struct bufferevent *bev, void *arg) {
	(void)arg;
	evbuffer_add_reference(bufferevent_get_output(bev), pattern, PERIOD, NULL, NULL);
}

static void free_event(struct bufferevent *bev, short what, void *arg) {
	(void)what;
	(void)arg;
	bufferevent_free(bev);
}

// Proxy.

// A side is one connection of a proxy.
struct side {
	struct bufferevent *bev;
	struct side *other;
	int ended; // its end of input was read
	int shut;  // all that came from the other side, which has ended, was sent
};

static void proxy_read(struct bufferevent *bev, void *arg);
static void proxy_write(struct bufferevent *bev, void *arg);
static void proxy_event(struct bufferevent *bev, short what, void *arg);

static void proxy_free(struct side *s) {
	bufferevent_free(s->bev);
	bufferevent_free(s->other->bev);
	free(s->other);
	free(s);
}

static void proxy_read(struct bufferevent *bev, void *arg) {
	struct side *s = arg, *o = s->other;
	bufferevent_write_buffer(o->bev, bufferevent_get_input(bev));
	if (unsent(o->bev) >= HIGH) {
		bufferevent_disable(bev, EV_READ);
		bufferevent_setcb(o->bev, proxy_read, proxy_write, proxy_event, o);
	}
}

// proxy_write is called when little is unsent, if the other side waits for that
// or has ended.
static void proxy_write(struct bufferevent *bev, void *arg) {
	struct side *s = arg, *o = s->other;
	if (!o->ended) {
		bufferevent_setcb(bev, proxy_read, NULL, proxy_event, s);
		bufferevent_enable(o->bev, EV_READ);
	} else if (unsent(bev) == 0) {
		bufferevent_setcb(bev, proxy_read, NULL, proxy_event, s);
		shutdown(bufferevent_getfd(bev), SHUT_WR);
		s->shut = 1;
		if (o->shut)
			proxy_free(s);
	}
}

static void proxy_event(struct bufferevent *bev, short what, void *arg) {
	struct side *s = arg, *o = s->other;
	if (what & BEV_EVENT_CONNECTED) {
		no_delay(bufferevent_getfd(bev));
		bufferevent_enable(bev, EV_READ);
		bufferevent_enable(o->bev, EV_READ);
	} else if (what & BEV_EVENT_EOF) {
		s->ended = 1;
		bufferevent_setcb(o->bev, proxy_read, proxy_write, proxy_event, o);
		proxy_write(o->bev, o);
	} else {
		proxy_free(s);
	}
}

// All.

static struct bufferevent *new_bev(evutil_socket_t fd) {
	struct bufferevent *bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (bev == NULL)
		fail("bufferevent_socket_new");
	bufferevent_setwatermark(bev, EV_WRITE, LOW, 0);
	// As much at a time as the other servers, instead of 16 KiB; but libevent 2.1
	// reads 4 KiB at most.
	bufferevent_set_max_single_read(bev, 64 << 10);
	bufferevent_set_max_single_write(bev, 64 << 10);
	return bev;
}

static struct side *new_side(struct bufferevent *bev, struct side *other) {
	struct side *s = calloc(1, sizeof *s);
	if (s == NULL)
		fail("calloc");
	s->bev = bev;
	s->other = other;
	bufferevent_setcb(bev, proxy_read, NULL, proxy_event, s);
	return s;
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg) {
	(void)l;
	(void)addr;
	(void)len;
	(void)arg;
	no_delay(fd);
	struct bufferevent *bev = new_bev(fd);
	switch (options.work) {
	case WORK_ECHO:
		bufferevent_setcb(bev, echo_read, NULL, echo_event, NULL);
		bufferevent_enable(bev, EV_READ);
		break;
	case WORK_SINK:
		bufferevent_setcb(bev, sink_read, NULL, free_event, NULL);
		bufferevent_enable(bev, EV_READ);
		break;
	case WORK_SOURCE:
		bufferevent_setcb(bev, NULL, source_write, free_event, NULL);
		source_write(bev, NULL);
		break;
	case WORK_PROXY:;
		struct side *s = new_side(bev, NULL);
		s->other = new_side(new_bev(-1), s);
		// Reading begins when this one is connected.
		if (bufferevent_socket_connect(s->other->bev, (struct sockaddr *)&options.backend, sizeof options.backend) < 0)
			proxy_free(s);
	}
}

int main(int argc, char **argv) {
	parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	if (base == NULL)
		fail("event_base_new");
	if (evconnlistener_new_bind(base, on_accept, NULL, LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC, SOMAXCONN,
	                            (struct sockaddr *)&options.listen, sizeof options.listen) == NULL)
		fail("listen");
	event_base_dispatch(base);
	return 1;
}
