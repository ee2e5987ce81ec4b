/* SPDX-License-Identifier: Apache-2.0
 * The parts of one decoder layer, for layer.c and mtp.c.
 * Mirrors Gemma4UnifiedTextDecoderLayer, Gemma4TextAttention, Gemma4TextMLP of
 * transformers 5.20.2. */
#ifndef G4_MODEL_LAYER_H
#define G4_MODEL_LAYER_H

#include "ref/model/forward.h"

/* The rows of one call: all items' rows stand one behind the other in e->x. */
typedef struct g4_batch {
    const g4_item *items;
    int count;
    int64_t rows;
    const g4_kv *shared[2];   /* drafter: the backbone's caches, by layer kind; else NULL */
} g4_batch;

/* e->x -> e->x, one whole layer. */
void g4_layer_forward(g4_engine *e, const g4_batch *b, int64_t l);

/* e->h (normed input) -> e->o (output of o_proj). */
void g4_attention_forward(g4_engine *e, const g4_batch *b, int64_t l);

/* e->h (normed input) -> e->o (output of down_proj). */
void g4_mlp_forward(g4_engine *e, const g4_batch *b, int64_t l);

/* Shows each item's observer its rows of `data` [rows][cols], of layer l. */
void g4_observe_rows(const g4_batch *b, g4_tap_id id, int64_t l, int64_t cols, const float *data);

#endif
