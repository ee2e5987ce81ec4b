/* SPDX-License-Identifier: Apache-2.0
 * What the bench's files share: bench.c runs layers, rounded.c rounds what they use. */
#ifndef G4_HARNESS_SENSITIVITY_BENCH_H
#define G4_HARNESS_SENSITIVITY_BENCH_H

#include "harness/sensitivity/sensitivity.h"
#include "ref/model/mtp.h"

enum {
    G4_SENS_LANES = 16,
    G4_SENS_STEP = 32,           /* rows of a drafter's step */
    G4_SENS_PLACES = 7,          /* matrices of a layer */
};

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
    int64_t lane_rows[G4_SENS_LANES];   /* most of a document in that place of a batch */
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
    int64_t cut;                 /* only so many rows of a document; 0: all */
    /* drafted.c */
    int drafting;                /* does a point change the drafter? */
    g4_drafter *drafter;         /* NULL: none does */
    g4_map drafts;               /* the float32 drafter's [drafted][V] */
    double *accepted;            /* [scored] */
    /* rounded.c */
    g4_inputs inputs;
    int64_t layer;               /* that runs now; -1: media, L: the head, L + 1: the drafter */
    size_t *slot_from;           /* [-1 to L + 2] slots of a layer: [from[l], from[l + 1]) */
    float *weights;              /* of one layer */
    size_t weights_used;
    unsigned char *table;        /* malloc'ed: the embedding, packed where it can be */
    float **rows_of_thread;      /* [threads][most cols] */
    float *rounded;              /* [most rows][most cols] inputs of a matrix; or NULL: none is */
    double *squares;             /* [7][most cols] of a layer's inputs; recording */
    int64_t most_cols;
    int recording;
    g4_out *out;                 /* what the reference does, while it is recorded */
    double weight_ee, weight_gg;
    int64_t layer_values;        /* of a layer's matrices that one point rounds, at most */
    int64_t most_rows;           /* of a matrix that is rounded, or all documents' */
    int rounds_inputs;           /* does a point? */
    g4_arena arena;
};

/* bench.c: the reference's inputs of layer l ([rows][D]); what follows the last of them;
 * layers [l, last) of some documents' b->x; a row of logits against the reference's. */
const float *g4_sens_recorded(const g4_sens_bench *b, int64_t l);
void g4_sens_forward(g4_sens_bench *b, const g4_sens_batch *batch, int64_t l, int64_t last);
g4_status g4_sens_put(g4_sens_bench *b, const float *x, int64_t rows, int64_t cols, g4_err *err);

/* drafted.c */
g4_status g4_sens_drafted_open(g4_sens_bench *b, g4_err *err);
/* The float32 drafter's logits behind what is recorded; and a point's, held against them. */
g4_status g4_sens_drafted_record(g4_sens_bench *b, g4_err *err);
g4_status g4_sens_drafted_run(g4_sens_bench *b, g4_err *err);

/* room.c: slot_from, most_cols, layer_values, most_rows, rounds_inputs, drafting; says what a run
 * takes. */
g4_status g4_sens_layout(g4_sens_bench *b, g4_err *err);
g4_status g4_sens_room_check(const g4_sens_bench *b, const g4_engine_plan *plan, g4_err *err);

/* Rows of `rounded`: pictures are not cut to the engine's. */
static inline int64_t g4_sens_input_rows(const g4_sens_bench *b, const g4_engine_plan *plan)
{
    if (!b->rounds_inputs) return 0;
    return plan->rows > b->s->data.media_rows ? plan->rows : b->s->data.media_rows;
}

/* What the table is kept as when it is rounded to that. */
g4_dtype g4_sens_table_dtype(const g4_mat *m, const g4_sens_type *t);

/* rounded.c: memory; slot i's weights, or its layer's, as the point wants them; back again. */
g4_status g4_sens_rounded_open(g4_sens_bench *b, g4_err *err);
g4_status g4_sens_slot_round(g4_sens_bench *b, size_t slot, g4_err *err);
g4_status g4_sens_layer_round(g4_sens_bench *b, int64_t l, g4_err *err);
void g4_sens_layer_restore(g4_sens_bench *b, int64_t l);
/* The outstanding columns of the layer's inputs, from the squares recorded. */
g4_status g4_sens_channels_of(g4_sens_bench *b, int64_t l, g4_err *err);

#endif
