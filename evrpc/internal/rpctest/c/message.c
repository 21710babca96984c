/* Copyright (c) 2026 The evchan Authors.
 * Use of this source code is governed by the MIT license in the LICENSE file. */

/* What event_rpcgen.py would generate from ../all.rpc does the same: the fields are
 * encoded in their order, and decoded in any; an unknown tag, a field that comes twice,
 * and a required field that does not come are errors. */

#include "message.h"

#include <stdlib.h>
#include <string.h>

#include <event2/tag.h>

/* room returns p with room for one more element of the given size. */
static void *room(void *p, int length, int *allocated, size_t size)
{
	if (length < *allocated)
		return p;
	*allocated = *allocated ? 2 * *allocated : 1;
	if (!(p = realloc(p, *allocated * size)))
		abort();
	return p;
}

#define ROOM(msg, field) \
	((msg)->field##_data = room((msg)->field##_data, (msg)->field##_length, &(msg)->field##_num_allocated, sizeof *(msg)->field##_data))

static int get_bytes(struct evbuffer *buf, ev_uint32_t tag, ev_uint8_t **data, ev_uint32_t *length)
{
	if (evtag_payload_length(buf, length) == -1 || *length > evbuffer_get_length(buf))
		return -1;
	free(*data);
	if (!(*data = malloc(*length + 1)))
		abort();
	return evtag_unmarshal_fixed(buf, tag, *data, *length);
}

/* ---- part ---- */

struct part *part_new(void)
{
	struct part *msg = calloc(1, sizeof *msg);
	if (!msg)
		abort();
	return msg;
}

void part_free(struct part *msg)
{
	if (!msg)
		return;
	for (int i = 0; i < msg->parts_length; i++)
		part_free(msg->parts_data[i]);
	free(msg->parts_data);
	free(msg->name_data);
	free(msg);
}

static void put_part(struct evbuffer *, ev_uint32_t, const struct part *);

static void part_marshal(struct evbuffer *buf, const struct part *msg)
{
	evtag_marshal_string(buf, 1, msg->name_data);
	for (int i = 0; i < msg->parts_length; i++)
		put_part(buf, 2, msg->parts_data[i]);
	if (msg->count_set)
		evtag_marshal_int64(buf, 3, msg->count_data);
}

static void put_part(struct evbuffer *buf, ev_uint32_t tag, const struct part *msg)
{
	struct evbuffer *inner = evbuffer_new();
	part_marshal(inner, msg);
	evtag_marshal_buffer(buf, tag, inner);
	evbuffer_free(inner);
}

static int get_part(struct evbuffer *, ev_uint32_t, struct part *);

static int part_unmarshal(struct part *msg, struct evbuffer *buf)
{
	while (evbuffer_get_length(buf) > 0) {
		ev_uint32_t tag;
		int bad = 1;
		if (evtag_peek(buf, &tag) == -1)
			return -1;
		switch (tag) {
		case 1:
			bad = msg->name_set || evtag_unmarshal_string(buf, tag, &msg->name_data) == -1;
			msg->name_set = 1;
			break;
		case 2:
			ROOM(msg, parts)[msg->parts_length] = part_new();
			bad = get_part(buf, tag, msg->parts_data[msg->parts_length++]);
			msg->parts_set = 1;
			break;
		case 3:
			bad = msg->count_set || evtag_unmarshal_int64(buf, tag, &msg->count_data) == -1;
			msg->count_set = 1;
			break;
		}
		if (bad)
			return -1;
	}
	return msg->name_set ? 0 : -1;
}

static int get_part(struct evbuffer *buf, ev_uint32_t tag, struct part *msg)
{
	struct evbuffer *inner = evbuffer_new();
	ev_uint32_t got;
	int bad = evtag_unmarshal(buf, &got, inner) == -1 || got != tag || part_unmarshal(msg, inner) == -1;
	evbuffer_free(inner);
	return bad ? -1 : 0;
}

/* ---- all ---- */

struct all *all_new(void)
{
	struct all *msg = calloc(1, sizeof *msg);
	if (!msg)
		abort();
	return msg;
}

struct all *all_new_with_arg(void *arg)
{
	(void)arg;
	return all_new();
}

void all_clear(struct all *msg)
{
	free(msg->text_data);
	free(msg->data_data);
	part_free(msg->part_data);
	free(msg->opt_text_data);
	free(msg->opt_data_data);
	part_free(msg->opt_part_data);
	free(msg->numbers_data);
	free(msg->larges_data);
	for (int i = 0; i < msg->texts_length; i++)
		free(msg->texts_data[i]);
	free(msg->texts_data);
	for (int i = 0; i < msg->parts_length; i++)
		part_free(msg->parts_data[i]);
	free(msg->parts_data);
	memset(msg, 0, sizeof *msg);
}

void all_free(struct all *msg)
{
	all_clear(msg);
	free(msg);
}

void all_marshal(struct evbuffer *buf, const struct all *msg)
{
	evtag_marshal_int(buf, 1, msg->number_data);
	evtag_marshal_int64(buf, 2, msg->large_data);
	evtag_marshal_string(buf, 3, msg->text_data);
	evtag_marshal(buf, 4, msg->data_data, msg->data_length);
	evtag_marshal(buf, 5, msg->key_data, sizeof msg->key_data);
	put_part(buf, 6, msg->part_data);
	if (msg->opt_number_set)
		evtag_marshal_int(buf, 0x81, msg->opt_number_data);
	if (msg->opt_large_set)
		evtag_marshal_int64(buf, 0x4001, msg->opt_large_data);
	if (msg->opt_text_set)
		evtag_marshal_string(buf, 0x200001, msg->opt_text_data);
	if (msg->opt_data_set)
		evtag_marshal(buf, 0x10000001, msg->opt_data_data, msg->opt_data_length);
	if (msg->opt_key_set)
		evtag_marshal(buf, 12, msg->opt_key_data, sizeof msg->opt_key_data);
	if (msg->opt_part_set)
		put_part(buf, 13, msg->opt_part_data);
	for (int i = 0; i < msg->numbers_length; i++)
		evtag_marshal_int(buf, 14, msg->numbers_data[i]);
	for (int i = 0; i < msg->larges_length; i++)
		evtag_marshal_int64(buf, 15, msg->larges_data[i]);
	for (int i = 0; i < msg->texts_length; i++)
		evtag_marshal_string(buf, 16, msg->texts_data[i]);
	for (int i = 0; i < msg->parts_length; i++)
		put_part(buf, 17, msg->parts_data[i]);
}

/* once returns the value of decode, or -1 if the field has come before. */
#define ONCE(field, decode) (msg->field##_set ? -1 : (msg->field##_set = 1, (decode)))

int all_unmarshal(struct all *msg, struct evbuffer *buf)
{
	while (evbuffer_get_length(buf) > 0) {
		ev_uint32_t tag;
		int result = -1;
		if (evtag_peek(buf, &tag) == -1)
			return -1;
		switch (tag) {
		case 1:
			result = ONCE(number, evtag_unmarshal_int(buf, tag, &msg->number_data));
			break;
		case 2:
			result = ONCE(large, evtag_unmarshal_int64(buf, tag, &msg->large_data));
			break;
		case 3:
			result = ONCE(text, evtag_unmarshal_string(buf, tag, &msg->text_data));
			break;
		case 4:
			result = ONCE(data, get_bytes(buf, tag, &msg->data_data, &msg->data_length));
			break;
		case 5:
			result = ONCE(key, evtag_unmarshal_fixed(buf, tag, msg->key_data, sizeof msg->key_data));
			break;
		case 6:
			result = ONCE(part, get_part(buf, tag, msg->part_data = part_new()));
			break;
		case 0x81:
			result = ONCE(opt_number, evtag_unmarshal_int(buf, tag, &msg->opt_number_data));
			break;
		case 0x4001:
			result = ONCE(opt_large, evtag_unmarshal_int64(buf, tag, &msg->opt_large_data));
			break;
		case 0x200001:
			result = ONCE(opt_text, evtag_unmarshal_string(buf, tag, &msg->opt_text_data));
			break;
		case 0x10000001:
			result = ONCE(opt_data, get_bytes(buf, tag, &msg->opt_data_data, &msg->opt_data_length));
			break;
		case 12:
			result = ONCE(opt_key, evtag_unmarshal_fixed(buf, tag, msg->opt_key_data, sizeof msg->opt_key_data));
			break;
		case 13:
			result = ONCE(opt_part, get_part(buf, tag, msg->opt_part_data = part_new()));
			break;
		case 14:
			result = evtag_unmarshal_int(buf, tag, ROOM(msg, numbers) + msg->numbers_length);
			msg->numbers_length++;
			break;
		case 15:
			result = evtag_unmarshal_int64(buf, tag, ROOM(msg, larges) + msg->larges_length);
			msg->larges_length++;
			break;
		case 16:
			ROOM(msg, texts)[msg->texts_length] = NULL;
			result = evtag_unmarshal_string(buf, tag, &msg->texts_data[msg->texts_length]);
			msg->texts_length++;
			break;
		case 17:
			ROOM(msg, parts)[msg->parts_length] = part_new();
			result = get_part(buf, tag, msg->parts_data[msg->parts_length]);
			msg->parts_length++;
			break;
		}
		if (result == -1)
			return -1;
	}
	return all_complete(msg);
}

int all_complete(struct all *msg)
{
	if (!msg->number_set || !msg->large_set || !msg->text_set || !msg->data_set || !msg->key_set || !msg->part_set)
		return -1;
	return 0;
}
