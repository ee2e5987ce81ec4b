/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/gguf_out.h"

#include "harness/interrupt.h"
#include "harness/text.h"
#include "ref/dtype/dtype.h"
#include "ref/file/gguf_names.h"
#include "ref/file/gguf_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

enum { TILE_BYTES = 4 << 20 };

/* What --type says: the format of most matrices, of those in "more bits" layers (attn_v and
 * ffn_down of the mixes), of the embedding that is also the output, and llama.cpp's number for
 * it.  The same rules as llama-quant.cpp, which come from ggml's tests of what hurts most. */
typedef struct mix {
    const char *name;
    g4_dtype base, more, embed;
    uint32_t file_type;
} mix;

const char g4_gguf_types_text[] =
    "f32, f16, bf16, q8_0, q6_k, q5_k_m, q5_k, q4_k_m, q4_k, iq4_xs, iq4_nl, q5_1, q5_0, q4_1, "
    "q4_0, q3_k, q2_k";

static const mix mixes[] = {
    { "f32", G4_F32, G4_F32, G4_F32, 0 },           { "f16", G4_F16, G4_F16, G4_F16, 1 },
    { "bf16", G4_BF16, G4_BF16, G4_BF16, 32 },      { "q8_0", G4_Q8_0, G4_Q8_0, G4_Q8_0, 7 },
    { "q6_k", G4_Q6_K, G4_Q6_K, G4_Q6_K, 18 },      { "q5_k", G4_Q5_K, G4_Q5_K, G4_Q6_K, 16 },
    { "q5_k_m", G4_Q5_K, G4_Q6_K, G4_Q6_K, 17 },    { "q4_k", G4_Q4_K, G4_Q4_K, G4_Q6_K, 14 },
    { "q4_k_m", G4_Q4_K, G4_Q6_K, G4_Q6_K, 15 },    { "iq4_xs", G4_IQ4_XS, G4_IQ4_XS, G4_Q6_K, 30 },
    { "iq4_nl", G4_IQ4_NL, G4_IQ4_NL, G4_Q6_K, 25 }, { "q5_1", G4_Q5_1, G4_Q5_1, G4_Q6_K, 9 },
    { "q5_0", G4_Q5_0, G4_Q5_0, G4_Q6_K, 8 },       { "q4_1", G4_Q4_1, G4_Q4_1, G4_Q6_K, 3 },
    { "q4_0", G4_Q4_0, G4_Q4_0, G4_Q6_K, 2 },       { "q3_k", G4_Q3_K, G4_Q3_K, G4_Q6_K, 11 },
    { "q2_k", G4_Q2_K, G4_Q2_K, G4_Q6_K, 10 },
};

static const mix *find_mix(const char *type)
{
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        if (strcmp(mixes[i].name, type) == 0) return &mixes[i];
    return NULL;
}

int g4_gguf_type_known(const char *type)
{
    return find_mix(type) != NULL;
}

/* Rows that blocks of 256 do not divide get the next format of blocks of 32, others F16. */
static g4_dtype fitting(g4_dtype want, int64_t cols)
{
    static const struct { g4_dtype from, to; } smaller[] = {
        { G4_IQ4_XS, G4_IQ4_NL }, { G4_Q2_K, G4_Q4_0 }, { G4_Q3_K, G4_Q4_0 },
        { G4_Q4_K, G4_Q5_0 },     { G4_Q5_K, G4_Q5_1 }, { G4_Q6_K, G4_Q8_0 },
    };
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++)
        if (smaller[i].from == want && cols % g4_dtype_get(want)->block != 0)
            want = smaller[i].to;
    return cols % g4_dtype_get(want)->block == 0 ? want : G4_F16;
}

/* The first and last eighth of the layers, and every third between them. */
static int more_bits(int64_t layer, int64_t layers)
{
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

typedef struct plan {
    const g4_gguf_job *job;
    const mix *mix;
    g4_config config;
    g4_shape shape;
    g4_arena arena;
    g4_dtype *dtype;            /* [shape.count]; G4_DTYPE_COUNT: not written */
    g4_gguf_writer writer;
    g4_out out;
    uint8_t *tile;
    uint64_t total, done;
    size_t tensors;
    uint64_t parameters;
    struct timespec start;
    double reported;
} plan;

static g4_dtype choose(const plan *p, const g4_shape_tensor *t, const char *name)
{
    int64_t cols = t->shape[t->rank - 1];
    long long layer;
    if (t->role == G4_ROLE_TABLE) return fitting(p->mix->embed, cols);
    if (t->role != G4_ROLE_LINEAR) return G4_F32;
    int special = (strstr(name, "attn_v.") || strstr(name, "ffn_down.")) &&
                  sscanf(name, "blk.%lld.", &layer) == 1 &&
                  more_bits(layer, p->config.num_hidden_layers);
    return fitting(special ? p->mix->more : p->mix->base, cols);
}

/* rope_freqs: see ref/file/gguf_config.c. */
static int64_t freq_count(const plan *p)
{
    return p->config.head_dim[G4_FULL] / 2;
}

static g4_status plan_tensors(plan *p, g4_err *err)
{
    char name[G4_TENSOR_NAME];
    g4_gguf_change change;
    p->dtype = g4_arena_alloc(&p->arena, p->shape.count, sizeof *p->dtype);
    if (!p->dtype) return g4_nomem(err, p->job->out);
    p->total = g4_gguf_add_tensor(&p->writer, "rope_freqs.weight", 1,
                                  (const int64_t[]){ freq_count(p) }, G4_F32);
    p->tensors = 1;
    for (size_t i = 0; i < p->shape.count; i++) {
        const g4_shape_tensor *t = &p->shape.list[i];
        p->dtype[i] = G4_DTYPE_COUNT;
        /* no name: a drafter's centroids, which the converter leaves out, too */
        if (!g4_gguf_from_hf(name, t->name, p->config.is_drafter, &change) ||
            strncmp(name, "v.", 2) == 0 || strncmp(name, "mm.", 3) == 0)
            continue;
        p->dtype[i] = choose(p, t, name);
        p->total += g4_gguf_add_tensor(&p->writer, name, t->rank, t->shape, p->dtype[i]);
        p->tensors++;
        p->parameters += t->values;
    }
    return G4_OK;
}

static g4_status check_room(const plan *p, g4_err *err)
{
    struct statvfs fs;
    char need[32], have[32], *slash = strrchr(p->job->out, '/');
    char *folder = slash ? strndup(p->job->out, (size_t)(slash - p->job->out) + 1) : strdup(".");
    if (!folder) return g4_nomem(err, p->job->out);
    int failed = statvfs(folder, &fs);
    free(folder);
    if (failed)
        return g4_fail(err, G4_EIO, "%s: cannot create: %s", p->job->out, strerror(errno));
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room >= p->total) return G4_OK;
    return g4_fail(err, G4_EIO, "%s: needs %s, the disk has %s", p->job->out,
                   g4_text_bytes(need, sizeof need, p->total),
                   g4_text_bytes(have, sizeof have, room));
}

static void report(plan *p)
{
    struct timespec now;
    char done[32], total[32];
    clock_gettime(CLOCK_MONOTONIC, &now);
    double t = (double)(now.tv_sec - p->start.tv_sec) +
               1e-9 * (double)(now.tv_nsec - p->start.tv_nsec);
    if (!p->job->progress || t - p->reported < 10) return;
    p->reported = t;
    fprintf(p->job->progress, "%s: %s of %s after %.0f s\n", p->job->type,
            g4_text_bytes(done, sizeof done, p->done),
            g4_text_bytes(total, sizeof total, p->total), t);
}

typedef struct tile_ctx {
    const g4_gguf_source *source;
    uint8_t *tile;
    int64_t first;
    size_t row_bytes;
} tile_ctx;

static void tile_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const tile_ctx *x = ctx;
    x->source->rows(x->source->ctx, x->first + begin, end - begin,
                    x->tile + (size_t)begin * x->row_bytes, worker);
}

static g4_status write_tensor(plan *p, const g4_shape_tensor *t, g4_dtype dtype, g4_err *err)
{
    int64_t cols = t->shape[t->rank - 1], rows = (int64_t)t->values / cols;
    tile_ctx x = { &p->job->source, p->tile, 0, g4_dtype_row_bytes(dtype, cols) };
    int64_t most = (int64_t)(TILE_BYTES / x.row_bytes);
    if (most < 1)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s has rows of %zu bytes", p->job->dir,
                       t->name, x.row_bytes);
    G4_TRY(x.source->begin(x.source->ctx, t, dtype, err));
    for (; x.first < rows; x.first += most) {
        int64_t n = rows - x.first < most ? rows - x.first : most;
        if (g4_interrupt_pending())
            return g4_fail(err, G4_EIO, "%s: interrupted", p->job->out);
        g4_par_for(p->job->par, n, 1, tile_piece, &x);
        G4_TRY(g4_out_write(&p->out, p->tile, (size_t)n * x.row_bytes, err));
        p->done += (uint64_t)n * x.row_bytes;
        report(p);
    }
    return g4_gguf_write_pad(&p->out, err);
}

static g4_status write_freqs(plan *p, g4_err *err)
{
    const g4_rope_config *r = &p->config.rope[G4_FULL];
    int64_t turning = (int64_t)(r->partial_rotary_factor * (double)p->config.head_dim[G4_FULL]) / 2;
    for (int64_t i = 0; i < freq_count(p); i++) {
        float v = i < turning ? (float)r->factor : 1e30f;
        G4_TRY(g4_out_write(&p->out, &v, sizeof v, err));
    }
    return g4_gguf_write_pad(&p->out, err);
}

static g4_status write_file(plan *p, g4_err *err)
{
    G4_TRY(g4_config_load(&p->config, p->job->dir, &p->arena, err));
    G4_TRY(g4_shape_list(&p->shape, &p->config, 4, &p->arena, p->job->dir, err));
    G4_TRY(g4_gguf_keys(&p->writer, p->job, &p->config, p->mix->file_type, err));
    G4_TRY(plan_tensors(p, err));
    G4_TRY(check_room(p, err));
    p->tile = malloc(TILE_BYTES);
    if (!p->tile) return g4_nomem(err, p->job->out);
    G4_TRY(g4_out_open(&p->out, p->job->out, err));
    G4_TRY(g4_gguf_write_header(&p->writer, &p->out, err));
    G4_TRY(write_freqs(p, err));
    for (size_t i = 0; i < p->shape.count; i++)
        if (p->dtype[i] != G4_DTYPE_COUNT)
            G4_TRY(write_tensor(p, &p->shape.list[i], p->dtype[i], err));
    return g4_out_commit(&p->out, err);
}

g4_status g4_gguf_make(const g4_gguf_job *job, g4_gguf_result *result, g4_err *err)
{
    plan p = { .job = job, .mix = find_mix(job->type), .out = G4_OUT_NONE };
    if (!p.mix)
        return g4_fail(err, G4_EINPUT, "--type %.40s: not available; available: %s", job->type,
                       g4_gguf_types_text);
    clock_gettime(CLOCK_MONOTONIC, &p.start);
    g4_status s = write_file(&p, err);
    g4_out_abort(&p.out);
    *result = (g4_gguf_result){ p.tensors, p.parameters, p.total };
    g4_gguf_writer_free(&p.writer);
    free(p.tile);
    g4_arena_free(&p.arena);
    return s;
}
