/* SPDX-License-Identifier: Apache-2.0
 * Cases of attend_span and span_merge: caches of each format, with keys or made of values
 * alone; rings that wrap; tokens that see all, a part or nothing of a span; widths and row
 * counts off the register tiles. */
#include "harness/check/kernel_cases.h"

#include "kernels_opt/span.h"
#include "ref/dtype/dtype.h"

#include <stdio.h>
#include <string.h>

static const struct {
    int64_t heads, kv_heads, head_dim, pairs;   /* heads of one key/value head */
} shapes[] = {
    { 1, 1, 32, 4 }, { 2, 3, 64, 16 }, { 16, 1, 512, 64 }, { 3, 2, 96, 9 }, { 2, 8, 256, 128 },
    { 5, 1, 24, 3 }, { 1, 2, 20, 10 }, { 7, 1, 64, 0 },
};
static const struct {
    int64_t lo, hi, slots;
} spans[] = {
    { 0, 1, 1 },       { 5, 41, 64 },       { 511, 512, 700 },
    { 512, 600, 100 }, { 700, 1024, 330 }, { 0, 37, 37 },
};
static const g4_dtype formats[] = { G4_F32, G4_F16, G4_Q8_0 };

enum {
    SHAPES = sizeof shapes / sizeof *shapes,
    SPANS = sizeof spans / sizeof *spans,
    CACHES = 6,            /* formats, each with keys and without */
};

int kernel_span_count(void)
{
    return SHAPES * SPANS * CACHES;
}

/* Rows of a cache, packed from numbers of the run's kind. */
static unsigned char *cache_rows(kernel_run *run, const g4_kv *kv)
{
    const g4_dtype_info *f = g4_dtype_get(kv->dtype);
    unsigned char *data = kernel_buffer(run, (size_t)kv->slots * kv->row_bytes, 4);
    float row[2048];
    for (int64_t s = 0; data && s < kv->slots; s++) {
        for (int64_t i = 0; i < kv->width; i++)
            row[i] = kernel_number(run, KERNEL_WEIGHTS + (uint64_t)run->buffers,
                                   (uint64_t)(s * kv->width + i));
        f->pack(data + (size_t)s * kv->row_bytes, row, NULL, kv->width);
    }
    return data;
}

static int make_cache(kernel_run *run, g4_kv *kv, int halved)
{
    kv->row_bytes = g4_dtype_row_bytes(kv->dtype, kv->width);
    kv->value = cache_rows(run, kv);
    if (!kv->value) return 0;
    if (!halved) {
        kv->key = cache_rows(run, kv);
        return kv->key != NULL;
    }
    float *norm = kernel_floats(run, kv->head_dim);
    float *turn = kernel_floats(run, 2 * kv->slots * kv->pairs + 1);
    kv->key_norm = norm;
    kv->turn = turn;
    return norm && turn;
}

/* Most tokens see all; the others from or to somewhere inside; one sees nothing. */
static void make_spans(g4_span *keys, int64_t tokens, int64_t lo, int64_t hi)
{
    for (int64_t t = 0; t < tokens; t++) {
        int64_t cut = lo + (hi - lo) * (t % 5) / 5;
        keys[t] = t % 4 == 1 ? (g4_span){ cut, hi + 3 } : t % 4 == 2 ? (g4_span){ lo - 2, cut + 1 }
                  : t == 7   ? (g4_span){ hi, hi + 9 } : (g4_span){ lo, hi };
        if (keys[t].begin < 0) keys[t].begin = 0;
    }
}

void kernel_span_run(kernel_run *run, int index)
{
    int cache = index % CACHES, s = index / CACHES % SPANS, shape = index / CACHES / SPANS;
    int64_t heads = shapes[shape].heads, H = shapes[shape].head_dim;
    int64_t lo = spans[s].lo, hi = spans[s].hi, ld = g4_round_up(H, G4_LANES);
    g4_kv kv = { .dtype = formats[cache / 2], .slots = spans[s].slots, .head_dim = H,
                 .width = shapes[shape].kv_heads * H, .pairs = shapes[shape].pairs };
    int64_t tokens = 1 + index % 11;
    g4_span keys[G4_SPAN_ROWS];
    if (tokens * heads > G4_SPAN_ROWS) tokens = G4_SPAN_ROWS / heads;
    if (kv.width % g4_dtype_get(kv.dtype)->block) kv.dtype = G4_F16;
    run->fill = (kernel_fill)(index % 3 ? FILL_PLAIN : index / 3 % FILL_KINDS);
    snprintf(run->what, sizeof run->what, "span heads %lld dim %lld keys %lld..%lld slots %lld "
             "tokens %lld cache %d fill %d", (long long)heads, (long long)H, (long long)lo,
             (long long)hi, (long long)kv.slots, (long long)tokens, cache, (int)run->fill);
    make_spans(keys, tokens, lo, hi);
    float *q = kernel_floats(run, tokens * heads * H);
    float *acc = kernel_floats(run, tokens * heads * ld), *top = kernel_floats(run, tokens * heads);
    float *sum = kernel_floats(run, tokens * heads);
    float *scratch = kernel_floats(run, run->ops->span_scratch(H));
    if (!q || !acc || !top || !sum || !scratch || !make_cache(run, &kv, cache % 2)) return;
    g4_span_part part = { acc, top, sum };
    g4_span_args a = { &part, q, heads * H, tokens, heads, H, keys, lo, hi, &kv,
                       (shapes[shape].kv_heads - 1) * H, scratch };
    run->ops->attend_span(&a);
    for (int64_t r = 0; r < tokens * heads; r++) kernel_take(run, acc + r * ld, (size_t)H);
    kernel_take(run, sum, (size_t)(tokens * heads));
    for (int64_t r = 0; r < tokens * heads; r++) {
        float t = top[r] + 0.0f;   /* which of two zeros is the larger is nobody's business */
        kernel_take(run, &t, 1);
    }
}

void kernel_merge_run(kernel_run *run, int index)
{
    int64_t H = shapes[index % SHAPES].head_dim, ld = g4_round_up(H, G4_LANES);
    int64_t rows = 1 + index % 6;
    run->fill = (kernel_fill)(index / SHAPES % FILL_KINDS);
    snprintf(run->what, sizeof run->what, "merge rows %lld dim %lld fill %d", (long long)rows,
             (long long)H, (int)run->fill);
    g4_span_part part[2];
    for (int i = 0; i < 2; i++) {
        part[i].acc = kernel_floats(run, rows * ld);
        part[i].top = kernel_floats(run, rows);
        part[i].sum = kernel_floats(run, rows);
        if (!part[i].acc || !part[i].top || !part[i].sum) return;
        for (int64_t r = 0; r < rows; r++) {
            if ((r + i) % 3 == 2) part[i].sum[r] = 0.0f;
            if (r % 2) part[i].top[r] *= 60.0f;
        }
    }
    run->ops->span_merge(&part[0], &part[1], rows, H);
    kernel_take(run, part[0].acc, (size_t)(rows * ld));
    kernel_take(run, part[0].sum, (size_t)rows);
    for (int64_t r = 0; r < rows; r++) {
        float t = part[0].top[r] + 0.0f;
        kernel_take(run, &t, 1);
    }
}
