/* Copyright (c) 2026 The evchan Authors.
 * Use of this source code is governed by the MIT license in the LICENSE file. */

/* The structures of ../all.rpc, with the names that event_rpcgen.py would give them: the programs
 * work with what it generates as well. */

#include <event2/buffer.h>
#include <event2/util.h>

struct part {
	char *name_data;
	struct part **parts_data;
	int parts_length, parts_num_allocated;
	ev_uint64_t count_data;

	ev_uint8_t name_set, parts_set, count_set;
};

struct all {
	ev_uint32_t number_data;
	ev_uint64_t large_data;
	char *text_data;
	ev_uint8_t *data_data;
	ev_uint32_t data_length;
	ev_uint8_t key_data[24];
	struct part *part_data;

	ev_uint32_t opt_number_data;
	ev_uint64_t opt_large_data;
	char *opt_text_data;
	ev_uint8_t *opt_data_data;
	ev_uint32_t opt_data_length;
	ev_uint8_t opt_key_data[3];
	struct part *opt_part_data;

	ev_uint32_t *numbers_data;
	int numbers_length, numbers_num_allocated;
	ev_uint64_t *larges_data;
	int larges_length, larges_num_allocated;
	char **texts_data;
	int texts_length, texts_num_allocated;
	struct part **parts_data;
	int parts_length, parts_num_allocated;

	ev_uint8_t number_set, large_set, text_set, data_set, key_set, part_set;
	ev_uint8_t opt_number_set, opt_large_set, opt_text_set, opt_data_set, opt_key_set, opt_part_set;
	ev_uint8_t numbers_set, larges_set, texts_set, parts_set;
};

struct part *part_new(void);
void part_free(struct part *);

struct all *all_new(void);
struct all *all_new_with_arg(void *);
void all_free(struct all *);
void all_clear(struct all *);
void all_marshal(struct evbuffer *, const struct all *);
int all_unmarshal(struct all *, struct evbuffer *);
int all_complete(struct all *);
