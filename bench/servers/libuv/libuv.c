// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Libuv is a server on uv_tcp_t: one thread.
//
//	libuv -listen ADDR:PORT -work echo|sink|source|proxy [-backend ADDR:PORT]

#include "../peer.h"
#include <signal.h>
#include <uv.h>

// A conn is one connection. A proxy has two that belong together.
struct conn {
	uv_tcp_t tcp;
	struct conn *other; // where its input goes: the proxy's other side, or the conn itself
	char *rest;         // what is being written, while other is not read; or NULL
	int shut;           // proxy: other has ended, and its end was passed on
	uv_write_t write;
	uv_connect_t connect;
	uv_shutdown_t shutdown;
};

static uv_loop_t *loop;
static char buf[1 << 16];

static uv_stream_t *stream(struct conn *c) { return (uv_stream_t *)&c->tcp; }

static int closing(struct conn *c) { return uv_is_closing((uv_handle_t *)&c->tcp); }

static void check(int status, const char *what) {
	if (status < 0) {
		fprintf(stderr, "%s: %s\n", what, uv_strerror(status));
		exit(1);
	}
}

static struct conn *new_conn(void) {
	struct conn *c = calloc(1, sizeof *c);
	if (c == NULL)
		fail("calloc");
	check(uv_tcp_init(loop, &c->tcp), "uv_tcp_init");
	uv_tcp_nodelay(&c->tcp, 1);
	c->tcp.data = c;
	c->other = c;
	return c;
}

static void on_closed(uv_handle_t *h) {
	struct conn *c = h->data;
	free(c->rest);
	free(c);
}

// end closes c and its other side. Callbacks that come after that have to look
// at their own conn only.
static void end(struct conn *c) {
	struct conn *o = c->other;
	if (!closing(c))
		uv_close((uv_handle_t *)&c->tcp, on_closed);
	if (!closing(o))
		uv_close((uv_handle_t *)&o->tcp, on_closed);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b) {
	(void)h;
	(void)size;
	*b = uv_buf_init(buf, sizeof buf); // on_read is called before anything else is read
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b);

static void on_written(uv_write_t *req, int status) {
	struct conn *c = req->handle->data;
	if (closing(c))
		return;
	free(c->rest);
	c->rest = NULL;
	if (status < 0)
		end(c);
	else
		uv_read_start(stream(c->other), on_alloc, on_read);
}

static void on_shutdown(uv_shutdown_t *req, int status) {
	struct conn *c = req->handle->data;
	if (closing(c))
		return;
	c->shut = 1;
	if (status < 0 || c->other->shut)
		end(c);
}

// on_read writes what was read to the other side. While that does not take it
// all, nothing more is read.
static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
	struct conn *c = s->data, *o = c->other;
	if (n == UV_EOF && o != c)
		n = uv_shutdown(&o->shutdown, stream(o), on_shutdown);
	if (n == 0)
		return;
	if (n < 0) {
		end(c);
		return;
	}
	uv_buf_t p = uv_buf_init(b->base, n);
	int k = uv_try_write(stream(o), &p, 1);
	if (k == n)
		return;
	if (k == UV_EAGAIN)
		k = 0;
	if (k < 0) {
		end(c);
		return;
	}
	o->rest = malloc(n - k);
	if (o->rest == NULL)
		fail("malloc");
	memcpy(o->rest, b->base + k, n - k);
	p = uv_buf_init(o->rest, n - k);
	uv_read_stop(s);
	if (uv_write(&o->write, stream(o), &p, 1, on_written) < 0)
		end(c);
}

static void on_sink(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
	(void)b;
	if (n < 0)
		end(s->data);
}

// on_source writes the pattern once, and then again.
static void on_source(uv_write_t *req, int status) {
	struct conn *c = req->handle->data;
	if (closing(c))
		return;
	uv_buf_t p = uv_buf_init(pattern, PERIOD);
	if (status < 0 || uv_write(&c->write, stream(c), &p, 1, on_source) < 0)
		end(c);
}

static void on_connected(uv_connect_t *req, int status) {
	struct conn *c = req->handle->data;
	if (closing(c))
		return;
	if (status < 0) {
		end(c);
		return;
	}
	uv_read_start(stream(c), on_alloc, on_read);
	uv_read_start(stream(c->other), on_alloc, on_read);
}

static void on_connection(uv_stream_t *listener, int status) {
	check(status, "listen");
	struct conn *c = new_conn();
	check(uv_accept(listener, stream(c)), "accept");
	switch (options.work) {
	case WORK_ECHO:
		uv_read_start(stream(c), on_alloc, on_read);
		break;
	case WORK_SINK:
		uv_read_start(stream(c), on_alloc, on_sink);
		break;
	case WORK_SOURCE:
		c->write.handle = stream(c);
		on_source(&c->write, 0);
		break;
	case WORK_PROXY:
		c->other = new_conn();
		c->other->other = c;
		if (uv_tcp_connect(&c->other->connect, &c->other->tcp, (struct sockaddr *)&options.backend, on_connected) < 0)
			end(c);
	}
}

int main(int argc, char **argv) {
	parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	loop = uv_default_loop();
	uv_tcp_t listener;
	check(uv_tcp_init(loop, &listener), "uv_tcp_init");
	check(uv_tcp_bind(&listener, (struct sockaddr *)&options.listen, 0), "bind");
	check(uv_listen((uv_stream_t *)&listener, SOMAXCONN, on_connection), "listen");
	return uv_run(loop, UV_RUN_DEFAULT);
}
