/* Copyright (c) 2026 The evchan Authors.
 * Use of this source code is governed by the MIT license in the LICENSE file. */

/* all_random returns a random message. Those of one run are the same as those of any other. */
struct all *all_random(void);
