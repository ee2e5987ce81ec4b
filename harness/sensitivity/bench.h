/* SPDX-License-Identifier: Apache-2.0
 * What the bench's files share: bench.c runs layers, rounded.c rounds what they use. */
#ifndef G4_HARNESS_SENSITIVITY_BENCH_H
#define G4_HARNESS_SENSITIVITY_BENCH_H

#include "harness/sensitivity/sensitivity.h"

enum { G4_SENS_LANES = 16 };

typedef struct g4_sens_batch {
    size_t first, count;         /* documents of a call */
} g4_sens_batch;

struct g4_sens_bench {
    g4_sens_study *s;
    g4_engine *engine;
    g4_session lanes[G4_SENS_LANES];
    g4_kv cache[G4_SENS_LANES][2];   /* float32, by layer kind; other formats use their memory */
    g4_sens_batch *batches;
    size_t batch_count;
    const g4_sens_point *point;  /* NULL: the reference */
    float *x;                    /* [rows][D] */
    double *sums;                /* [rows or matrix rows][4] */
    g4_map map;                  /* [L + 1][rows][D] inputs, then [scored][V] logits */
    int64_t *scored_row;         /* [scored] */
    float *tile;                 /* [tile][D] */
    g4_sens_error *errors;       /* [L] */
    g4_kl_token *tokens;
    int32_t *chosen;
    uint8_t *marks;              /* [threads][V] */
    /* rounded.c */
    g4_inputs inputs;
    int64_t layer;               /* that runs now; L: the head */
    size_t *slot_from;           /* [L + 2] slots of a layer: [from[l], from[l + 1]) */
    float *weights;              /* of one layer */
    size_t weights_used;
    unsigned char *table;        /* malloc'ed: the embedding, packed where it can be */
    float **rows_of_thread;      /* [threads][most cols] */
    float *rounded;              /* [engine rows][most cols] inputs of a matrix */
    double *squares;             /* [7][most cols] of a layer's inputs; recording */
    int64_t most_cols;
    int recording;
    g4_out *out;                 /* what the reference does, while it is recorded */
    double weight_ee, weight_gg;
    g4_arena arena;
};

/* rounded.c: memory; slot i's weights, or its layer's, as the point wants them; back again. */
g4_status g4_sens_rounded_open(g4_sens_bench *b, g4_err *err);
g4_status g4_sens_slot_round(g4_sens_bench *b, size_t slot, g4_err *err);
g4_status g4_sens_layer_round(g4_sens_bench *b, int64_t l, g4_err *err);
void g4_sens_layer_restore(g4_sens_bench *b, int64_t l);
/* The outstanding columns of the layer's inputs, from the squares recorded. */
g4_status g4_sens_channels_of(g4_sens_bench *b, int64_t l, g4_err *err);

#endif
