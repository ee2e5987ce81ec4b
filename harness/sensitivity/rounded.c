/* SPDX-License-Identifier: Apache-2.0
 * Weights and inputs of matrices as a point rounds them. */
#include "harness/sensitivity/bench.h"
#include "harness/gguf_mix.h"
#include "harness/importance.h"
#include "ref/dtype/dtype.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_TABLE = 1 << 28 };  /* values up to which the embedding may be float32 */

/* ---- weights ---- */

typedef struct rows_job {
    g4_sens_bench *b;
    const g4_sens_slot *slot;
    const g4_sens_type *type;
    unsigned char *to;           /* rows in format `as` */
    g4_dtype as;
    size_t row_bytes;
} rows_job;

static void round_rows(void *ctx, int64_t begin, int64_t end, int worker)
{
    const rows_job *j = ctx;
    const g4_mat *m = &j->slot->mat;
    const g4_dtype_info *from = g4_dtype_get(m->dtype), *as = g4_dtype_get(j->as);
    for (int64_t r = begin; r < end; r++) {
        float *x = j->b->rows_of_thread[worker], *y = x + j->b->most_cols;
        unsigned char *to = j->to + (size_t)r * j->row_bytes;
        from->unpack(x, g4_mat_row(m, r), m->cols);
        if (j->as == G4_F32) {
            g4_sens_round(j->type, y, x, m->cols);
            memcpy(to, y, j->row_bytes);
        } else {
            as->pack(to, x, NULL, m->cols);
            as->unpack(y, to, m->cols);
        }
        double ee = 0.0, gg = 0.0;
        for (int64_t i = 0; i < m->cols; i++) {
            double d = (double)y[i] - (double)x[i];
            ee += d * d;
            gg += (double)x[i] * (double)x[i];
        }
        j->b->sums[4 * r] = ee;
        j->b->sums[4 * r + 1] = gg;
    }
}

/* The 12B's embedding would take 4 GB in float32, which kernels are faster with. */
g4_dtype g4_sens_table_dtype(const g4_mat *m, const g4_sens_type *t)
{
    int small = t->dtype < 0 || m->rows <= SMALL_TABLE / m->cols;
    return small ? G4_F32 : g4_mix_fitting((g4_dtype)t->dtype, m->cols);
}

static g4_status place_table(g4_sens_bench *b, rows_job *j, g4_err *err)
{
    const g4_mat *m = &j->slot->mat;
    size_t bytes;
    j->as = g4_sens_table_dtype(m, j->type);
    j->row_bytes = g4_dtype_row_bytes(j->as, m->cols);
    free(b->table);
    b->table = __builtin_mul_overflow((size_t)m->rows, j->row_bytes, &bytes) ? NULL : malloc(bytes);
    j->to = b->table;
    return b->table ? G4_OK : g4_nomem(err, "the embedding, rounded");
}

g4_status g4_sens_slot_round(g4_sens_bench *b, size_t i, g4_err *err)
{
    g4_sens_study *s = b->s;
    const g4_sens_slot *slot = &s->slots.list[i];
    const g4_mat *m = &slot->mat;
    rows_job j = { .b = b, .slot = slot, .type = &s->types[b->point->weight[i]], .as = G4_F32,
                   .row_bytes = (size_t)m->cols * sizeof(float) };
    if (i == s->slots.table || i == s->slots.head) {
        G4_TRY(place_table(b, &j, err));
    } else {
        j.to = (unsigned char *)(b->weights + b->weights_used);
        b->weights_used += (size_t)(m->rows * m->cols);
    }
    g4_par_for(s->rt.par, m->rows, 16, round_rows, &j);
    for (int64_t r = 0; r < m->rows; r++) {
        b->weight_ee += b->sums[4 * r];
        b->weight_gg += b->sums[4 * r + 1];
    }
    *slot->at = (g4_mat){ .dtype = j.as, .rows = m->rows, .cols = m->cols,
                          .row_bytes = j.row_bytes, .data = j.to };
    return G4_OK;
}

g4_status g4_sens_layer_round(g4_sens_bench *b, int64_t l, g4_err *err)
{
    b->layer = l;
    b->weights_used = 0;
    for (size_t i = b->slot_from[l]; i < b->slot_from[l + 1]; i++)
        if (b->point && b->point->weight[i] >= 0) G4_TRY(g4_sens_slot_round(b, i, err));
    return G4_OK;
}

void g4_sens_layer_restore(g4_sens_bench *b, int64_t l)
{
    for (size_t i = b->slot_from[l]; i < b->slot_from[l + 1]; i++)
        *b->s->slots.list[i].at = b->s->slots.list[i].mat;
}

/* ---- inputs ---- */

typedef struct input_job {
    const g4_sens_bench *b;
    const g4_sens_type *type;
    const float *x;
    int64_t cols;
} input_job;

static void round_inputs(void *ctx, int64_t begin, int64_t end, int worker)
{
    const input_job *j = ctx;
    (void)worker;
    for (int64_t t = begin; t < end; t++)
        g4_sens_round(j->type, j->b->rounded + t * j->cols, j->x + t * j->cols, j->cols);
}

static const float *stand_in(void *ctx, const float *x, int64_t rows, const g4_mat *w)
{
    g4_sens_bench *b = ctx;
    int64_t L = b->s->candidate.config.num_hidden_layers;
    size_t i = b->slot_from[b->layer], to = b->slot_from[b->layer + 1];
    while (i < to && b->s->slots.list[i].at != w) i++;
    if (i == to) return x;
    input_job j = { .b = b, .x = x, .cols = w->cols };
    if (b->recording && b->layer >= 0 && b->layer < L) {
        double *sums = b->squares + (int64_t)(i - b->slot_from[b->layer]) * b->most_cols;
        g4_squares_add(sums, x, rows, w->cols, b->s->rt.par);
    }
    if (!b->point || b->point->input[i] < 0) return x;
    j.type = &b->s->types[b->point->input[i]];
    g4_par_for(b->s->rt.par, rows, 4, round_inputs, &j);
    return b->rounded;
}

/* ---- channels ---- */

static int falling(const void *a, const void *b)
{
    double x = ((const g4_sens_channel *)a)->rms, y = ((const g4_sens_channel *)b)->rms;
    return x != y ? (x < y) - (x > y)
                  : ((const g4_sens_channel *)a)->column - ((const g4_sens_channel *)b)->column;
}

g4_status g4_sens_channels_of(g4_sens_bench *b, int64_t l, g4_err *err)
{
    g4_sens_channel *all = malloc((size_t)b->most_cols * sizeof *all);
    if (!all) return g4_nomem(err, "channels");
    for (size_t i = b->slot_from[l]; i < b->slot_from[l + 1]; i++) {
        double *sums = b->squares + (int64_t)(i - b->slot_from[l]) * b->most_cols, total = 0.0;
        int64_t n = b->s->slots.list[i].mat.cols;
        for (int64_t c = 0; c < n; c++) {
            total += sums[c];
            all[c] = (g4_sens_channel){ (int32_t)c, sqrt(sums[c] / (double)b->s->data.rows), 0.0 };
        }
        memset(sums, 0, (size_t)n * sizeof *sums);
        if (total == 0.0) continue;   /* it shares another matrix's input */
        qsort(all, (size_t)n, sizeof *all, falling);
        for (int64_t k = 0; k < G4_SENS_CHANNELS && k < n; k++) {
            g4_sens_channel *to = &b->s->channels[i * G4_SENS_CHANNELS + (size_t)k];
            *to = all[k];
            to->over = all[k].rms / all[n / 2].rms;
        }
    }
    free(all);
    return G4_OK;
}

/* ---- memory ---- */

g4_status g4_sens_rounded_open(g4_sens_bench *b, g4_err *err)
{
    int threads = g4_par_threads(b->s->rt.par);
    size_t cols = (size_t)b->most_cols;
    size_t rows = (size_t)g4_sens_input_rows(b, &b->engine->plan);
    b->weights = g4_arena_alloc(&b->arena, (size_t)b->layer_values + 1, sizeof *b->weights);
    b->sums = g4_arena_alloc(&b->arena, (size_t)b->most_rows, 4 * sizeof *b->sums);
    if (rows) b->rounded = g4_arena_alloc(&b->arena, rows, cols * sizeof *b->rounded);
    b->squares = g4_arena_alloc(&b->arena, G4_SENS_PLACES, cols * sizeof *b->squares);
    b->rows_of_thread = g4_arena_alloc(&b->arena, (size_t)threads, sizeof *b->rows_of_thread);
    if (!b->weights || !b->sums || (rows && !b->rounded) || !b->squares || !b->rows_of_thread)
        return g4_nomem(err, "a layer's weights, rounded");
    for (int t = 0; t < threads; t++) {
        b->rows_of_thread[t] = g4_arena_alloc(&b->arena, cols, 2 * sizeof(float));
        if (!b->rows_of_thread[t]) return g4_nomem(err, "rows");
    }
    b->inputs = (g4_inputs){ stand_in, b };
    b->engine->inputs = &b->inputs;
    return G4_OK;
}
