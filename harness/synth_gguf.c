/* SPDX-License-Identifier: Apache-2.0
 * synth into a GGUF.  Packing 12 billion random values with care would take many minutes and
 * change nothing: of each matrix 2^20 values are packed (of the embedding 2^24), and every row
 * is a run of that ring of blocks that begins somewhere at random, so that no two neighbours
 * are alike.  Still a pure function of (seed, tensor name, index). */
#include "harness/gguf_out.h"
#include "harness/synth.h"

#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"

#include <stdlib.h>
#include <string.h>

enum { RING = 1 << 20, RING_TABLE = 1 << 24, CHUNK = 1 << 13 };

static const g4_synth_type plain = { "f32", "F32", "float32", 4 };

typedef struct ring {
    uint64_t seed, stream;
    g4_par *par;
    const g4_shape_tensor *t;
    const g4_dtype_info *info;
    uint8_t *data;             /* blocks; malloc'ed */
    size_t blocks, row_blocks;
} ring;

static void pack_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const ring *r = ctx;
    float values[CHUNK];
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        int64_t first = i * CHUNK, last = (int64_t)r->blocks * r->info->block;
        if (last > first + CHUNK) last = first + CHUNK;
        g4_synth_fill(values, r->t, &plain, r->seed, first, last);
        r->info->pack(r->data + (size_t)(first / r->info->block) * r->info->bytes, values, NULL,
                      last - first);
    }
}

static g4_status begin(void *ctx, const g4_shape_tensor *t, const g4_gguf_row_kind *kind,
                       g4_err *err)
{
    ring *r = ctx;
    uint64_t most = t->role == G4_ROLE_TABLE ? RING_TABLE : RING;
    uint64_t values = t->values < most ? t->values : most;
    int64_t cols = t->shape[t->rank - 1];
    r->t = t;
    r->info = g4_dtype_get(kind->dtype);
    r->row_blocks = (size_t)(cols / r->info->block);
    r->blocks = (size_t)(values / (uint64_t)r->info->block);
    free(r->data);
    r->data = malloc(r->blocks * r->info->bytes);
    if (!r->data) return g4_nomem(err, t->name);
    r->stream = g4_synth_stream(t->name);
    g4_par_for(r->par, (int64_t)((values + CHUNK - 1) / CHUNK), 1, pack_piece, r);
    return G4_OK;
}

/* A tensor that is packed whole lies in order. */
static void rows(void *ctx, int64_t row, int64_t count, uint8_t *dst, int worker)
{
    const ring *r = ctx;
    size_t each = r->info->bytes;
    int whole = r->blocks * (size_t)r->info->block == r->t->values;
    (void)worker;
    for (int64_t i = row; i < row + count; i++) {
        size_t at = whole ? (size_t)i * r->row_blocks
                          : (size_t)(g4_rng_u64(r->seed, r->stream, (uint64_t)i) % r->blocks);
        for (size_t left = r->row_blocks; left > 0;) {
            size_t n = r->blocks - at < left ? r->blocks - at : left;
            memcpy(dst, r->data + at * each, n * each);
            dst += n * each;
            left -= n;
            at = 0;
        }
    }
}

g4_status g4_synth_gguf(const g4_synth *s, const char *dir, const char *out, g4_par *par,
                        g4_gguf_result *result, g4_err *err)
{
    ring r = { .seed = s->seed, .par = par };
    g4_gguf_job job = { .dir = dir, .name = "random", .out = out, .type = s->type, .par = par,
                        .source = { begin, rows, &r }, .progress = s->progress };
    g4_status st = g4_gguf_make(&job, result, err);
    free(r.data);
    return st;
}
