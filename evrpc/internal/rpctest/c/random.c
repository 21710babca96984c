/* Copyright (c) 2026 The evchan Authors.
 * Use of this source code is governed by the MIT license in the LICENSE file. */

#include "message.h"
#include "random.h"

#include <stdlib.h>

static ev_uint64_t state = 88172645463325252;

static ev_uint64_t number(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	ev_uint64_t shift = state >> 32 & 63;
	ev_uint64_t n = state * 2685821657736338717;
	return n >> shift; /* all lengths are as frequent */
}

static int below(int n) { return number() % n; }

/* size returns the size of something: mostly small. */
static int size(void)
{
	switch (below(16)) {
	case 0:
		return 0;
	case 1:
		return below(500);
	default:
		return below(40);
	}
}

static char *string(void)
{
	int n = size();
	char *s = malloc(n + 1);
	for (int i = 0; i < n; i++)
		s[i] = 1 + number() % 255;
	s[n] = 0;
	return s;
}

static void fill(ev_uint8_t *p, ev_uint32_t n)
{
	while (n > 0)
		p[--n] = number();
}

static ev_uint8_t *bytes(ev_uint32_t *n)
{
	*n = size();
	ev_uint8_t *p = malloc(*n + 1);
	fill(p, *n);
	return p;
}

/* Each array gets a length; each optional field is there or not. */
#define ARRAY(msg, field, max)                                                         \
	do {                                                                           \
		(msg)->field##_length = (msg)->field##_num_allocated = below(max);    \
		(msg)->field##_data = calloc(max, sizeof *(msg)->field##_data);       \
		(msg)->field##_set = 1;                                               \
	} while (0)
#define MAYBE(msg, field) if (((msg)->field##_set = below(2)))

static struct part *part(int depth)
{
	struct part *msg = part_new();
	msg->name_data = string();
	msg->name_set = 1;
	ARRAY(msg, parts, 4);
	if (depth == 0)
		msg->parts_length = 0;
	for (int i = 0; i < msg->parts_length; i++)
		msg->parts_data[i] = part(depth - 1);
	MAYBE(msg, count) msg->count_data = number();
	return msg;
}

struct all *all_random(void)
{
	struct all *msg = all_new();
	msg->number_data = number();
	msg->large_data = number();
	msg->text_data = string();
	msg->data_data = bytes(&msg->data_length);
	fill(msg->key_data, sizeof msg->key_data);
	msg->part_data = part(3);
	msg->number_set = msg->large_set = msg->text_set = msg->data_set = msg->key_set = msg->part_set = 1;
	MAYBE(msg, opt_number) msg->opt_number_data = number();
	MAYBE(msg, opt_large) msg->opt_large_data = number();
	MAYBE(msg, opt_text) msg->opt_text_data = string();
	MAYBE(msg, opt_data) msg->opt_data_data = bytes(&msg->opt_data_length);
	MAYBE(msg, opt_key) fill(msg->opt_key_data, sizeof msg->opt_key_data);
	MAYBE(msg, opt_part) msg->opt_part_data = part(1);
	ARRAY(msg, numbers, 20);
	for (int i = 0; i < msg->numbers_length; i++)
		msg->numbers_data[i] = number();
	ARRAY(msg, larges, 20);
	for (int i = 0; i < msg->larges_length; i++)
		msg->larges_data[i] = number();
	ARRAY(msg, texts, 20);
	for (int i = 0; i < msg->texts_length; i++)
		msg->texts_data[i] = string();
	ARRAY(msg, parts, 5);
	for (int i = 0; i < msg->parts_length; i++)
		msg->parts_data[i] = part(2);
	return msg;
}
