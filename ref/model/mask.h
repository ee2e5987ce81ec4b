/* SPDX-License-Identifier: Apache-2.0
 * Which keys a query sees.  Each of the four named masks lets a row see one
 * contiguous range of keys, so a mask is two numbers a row.  Engines differ
 * (PAPER_NOTES [N8]); the name is stored with every dump.
 *
 *   name        full layers        sliding layers
 *   official    causal             (causal or block) and query - W < key < query + W
 *   hf-helper   causal             (causal or block) and key > query - W
 *   hf-forward  causal or block    (causal and key > query - W) or block
 *   causal      causal             causal and key > query - W
 *
 * A block is a maximal run of adjacent image or video soft tokens (types 1, 2). */
#ifndef G4_MODEL_MASK_H
#define G4_MODEL_MASK_H

#include "ref/base/err.h"

#include <stdint.h>

typedef enum g4_mask {
    G4_MASK_OFFICIAL,
    G4_MASK_HF_HELPER,
    G4_MASK_HF_FORWARD,
    G4_MASK_CAUSAL,
} g4_mask;

const char *g4_mask_name(g4_mask m);
g4_status g4_mask_by_name(g4_mask *m, const char *name, g4_err *err);

typedef struct g4_span {
    int64_t begin, end;   /* [begin, end) */
} g4_span;

/* The block each token lies in, as token indices; {i, i} for none.  blocks [n]. */
void g4_blocks(g4_span *blocks, const int8_t *types, int64_t n);

/* Keys that query i sees in a layer of this kind; block as g4_blocks gave it. */
g4_span g4_mask_keys(g4_mask m, int kind, int64_t window, int64_t i, g4_span block);

#endif
