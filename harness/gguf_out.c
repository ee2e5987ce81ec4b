/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/gguf_out.h"

#include "harness/gguf_mix.h"
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

/* A tensor of the file; t NULL: rope_freqs, which no folder has. */
typedef struct entry {
    const g4_shape_tensor *t;
    const char *name;           /* ggml's */
    g4_gguf_change change;
    g4_dtype dtype;
    int rank;
    int64_t shape[3];
    uint64_t bytes;
} entry;

typedef struct plan {
    const g4_gguf_job *job;
    g4_mix_rules rules;
    g4_config config;
    g4_shape shape;
    g4_arena arena;
    entry *list;
    size_t tensors;
    g4_gguf_writer writer;
    g4_out out;
    uint8_t *tile;
    uint64_t total, done;
    uint64_t parameters;
    struct timespec start;
    double reported;
} plan;

/* rope_freqs: see ref/file/gguf_config.c. */
static int64_t freq_count(const plan *p)
{
    return p->config.head_dim[G4_FULL] / 2;
}

/* The converter's rule for a projector file. */
static g4_dtype media_type(const plan *p, const entry *e)
{
    g4_dtype want = g4_mix_base(p->rules.mix);
    if (e->rank == 1 || e->change == G4_GGUF_SWAP) return G4_F32;
    if (e->change == G4_GGUF_PATCH) return want == G4_F16 ? G4_F16 : G4_F32;
    return e->shape[e->rank - 1] % g4_dtype_get(want)->block == 0 ? want : G4_F16;
}

static g4_status add(plan *p, const entry *from, g4_err *err)
{
    entry *e = &p->list[p->tensors++];
    *e = *from;
    e->name = g4_arena_strndup(&p->arena, from->name, strlen(from->name));
    if (!e->name) return g4_nomem(err, p->job->out);
    e->bytes = g4_gguf_add_tensor(&p->writer, e->name, e->rank, e->shape, e->dtype);
    p->total += e->bytes;
    return G4_OK;
}

static g4_status plan_tensors(plan *p, g4_err *err)
{
    char name[G4_TENSOR_NAME];
    p->list = g4_arena_alloc(&p->arena, p->shape.count + 1, sizeof *p->list);
    if (!p->list) return g4_nomem(err, p->job->out);
    if (!p->job->media) {
        entry freqs = { .name = "rope_freqs.weight", .dtype = G4_F32, .rank = 1 };
        freqs.shape[0] = freq_count(p);
        G4_TRY(add(p, &freqs, err));
    }
    for (size_t i = 0; i < p->shape.count; i++) {
        entry e = { .t = &p->shape.list[i], .name = name, .rank = p->shape.list[i].rank };
        /* no name: a drafter's centroids, which the converter leaves out, too */
        if (!g4_gguf_from_hf(name, e.t->name, p->config.is_drafter, &e.change)) continue;
        int media = strncmp(name, "v.", 2) == 0 || strncmp(name, "mm.", 3) == 0;
        if (media != p->job->media) continue;
        memcpy(e.shape, e.t->shape, sizeof e.shape);
        if (e.change == G4_GGUF_SWAP) {
            e.shape[0] = e.t->shape[1];
            e.shape[1] = e.t->shape[0];
        }
        e.dtype = media ? media_type(p, &e) : g4_mix_choose(&p->rules, name, e.t);
        p->parameters += e.t->values;
        G4_TRY(add(p, &e, err));
    }
    if (p->tensors) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: has no media tensors", p->job->dir);
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

static g4_status write_tensor(plan *p, const entry *e, g4_err *err)
{
    int64_t cols = e->shape[e->rank - 1], rows = (int64_t)e->t->values / cols;
    tile_ctx x = { &p->job->source, p->tile, 0, g4_dtype_row_bytes(e->dtype, cols) };
    int64_t most = (int64_t)(TILE_BYTES / x.row_bytes);
    if (most < 1)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s has rows of %zu bytes", p->job->dir,
                       e->t->name, x.row_bytes);
    const g4_gguf_row_kind kind = { e->name, e->change, e->dtype };
    G4_TRY(x.source->begin(x.source->ctx, e->t, &kind, err));
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

static void list_tensors(const plan *p, FILE *out)
{
    char bytes[32];
    for (size_t i = 0; i < p->tensors; i++) {
        const entry *e = &p->list[i];
        fprintf(out, "%-36s %-8s", e->name, g4_dtype_get(e->dtype)->name);
        for (int k = 0; k < e->rank; k++)
            fprintf(out, "%s%lld", k ? " x " : " ", (long long)e->shape[k]);
        fprintf(out, ", %s\n", g4_text_bytes(bytes, sizeof bytes, e->bytes));
    }
}

static g4_status write_file(plan *p, g4_err *err)
{
    p->tile = malloc(TILE_BYTES);
    if (!p->tile) return g4_nomem(err, p->job->out);
    G4_TRY(g4_out_open(&p->out, p->job->out, err));
    G4_TRY(g4_gguf_write_header(&p->writer, &p->out, err));
    for (size_t i = 0; i < p->tensors; i++)
        G4_TRY(p->list[i].t ? write_tensor(p, &p->list[i], err) : write_freqs(p, err));
    return g4_out_commit(&p->out, err);
}

static g4_status make(plan *p, g4_err *err)
{
    const g4_gguf_job *job = p->job;
    uint32_t file_type = g4_mix_file_type(p->rules.mix);
    G4_TRY(g4_config_load(&p->config, job->dir, &p->arena, err));
    G4_TRY(g4_shape_list(&p->shape, &p->config, 4, &p->arena, job->dir, err));
    if (job->media) G4_TRY(g4_gguf_media_keys(&p->writer, job, &p->config, file_type, err));
    else G4_TRY(g4_gguf_keys(&p->writer, job, &p->config, file_type, err));
    G4_TRY(plan_tensors(p, err));
    if (job->list) {
        if (p->writer.bad) return g4_nomem(err, job->dir);   /* no header is written that tells */
        list_tensors(p, job->list);
        return G4_OK;
    }
    G4_TRY(check_room(p, err));
    return write_file(p, err);
}

g4_status g4_gguf_make(const g4_gguf_job *job, g4_gguf_result *result, g4_err *err)
{
    plan p = { .job = job, .out = G4_OUT_NONE };
    p.rules = (g4_mix_rules){ .recipe = job->recipe, .config = &p.config,
                              .weighed = job->imatrix != NULL };
    G4_TRY(g4_mix_find(&p.rules.mix, job->type, err));
    clock_gettime(CLOCK_MONOTONIC, &p.start);
    g4_status s = make(&p, err);
    g4_out_abort(&p.out);
    *result = (g4_gguf_result){ p.tensors, p.parameters, p.total };
    g4_gguf_writer_free(&p.writer);
    free(p.tile);
    g4_arena_free(&p.arena);
    return s;
}
