/* SPDX-License-Identifier: Apache-2.0
 * gemma4 quantize: a checkpoint folder to a GGUF (harness/gguf_out.h), tensor by tensor. */
#include "harness/gguf_out.h"
#include "harness/interrupt.h"
#include "harness/options.h"
#include "harness/text.h"
#include "ref/base/map.h"
#include "ref/dtype/dtype.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A tensor's rows out of the store, widened and packed again. */
typedef struct source {
    const g4_model *model;
    int threads;
    const g4_tensor *t;
    const g4_dtype_info *from, *to;
    int64_t cols;
    float **row;               /* [threads], cols values each */
} source;

static void free_rows(source *s)
{
    for (int i = 0; s->row && i < s->threads; i++) free(s->row[i]);
    free(s->row);
    s->row = NULL;
}

static g4_status begin(void *ctx, const g4_shape_tensor *t, g4_dtype dtype, g4_err *err)
{
    source *s = ctx;
    if (s->t)   /* the last one will not be read again */
        g4_map_release(s->t->data, s->t->bytes);
    s->t = g4_store_find(s->model->store, t->name);
    if (!s->t) return g4_fail(err, G4_EINPUT, "%s: tensor %s is missing", s->model->dir, t->name);
    g4_map_prefetch(s->t->data, s->t->bytes);
    s->from = g4_dtype_get(s->t->dtype);
    s->to = g4_dtype_get(dtype);
    s->cols = t->shape[t->rank - 1];
    free_rows(s);
    s->row = calloc((size_t)s->threads, sizeof *s->row);
    for (int i = 0; s->row && i < s->threads; i++) {
        s->row[i] = malloc((size_t)s->cols * sizeof **s->row);
        if (!s->row[i]) return g4_nomem(err, t->name);
    }
    return s->row ? G4_OK : g4_nomem(err, t->name);
}

static void rows(void *ctx, int64_t row, int64_t count, uint8_t *dst, int worker)
{
    const source *s = ctx;
    size_t in = g4_dtype_row_bytes(s->t->dtype, s->cols);
    size_t out = (size_t)(s->cols / s->to->block) * s->to->bytes;
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *from = s->t->data + (size_t)(row + i) * in;
        if (s->from == s->to) {
            memcpy(dst + (size_t)i * out, from, out);
            continue;
        }
        s->from->unpack(s->row[worker], from, s->cols);
        s->to->pack(dst + (size_t)i * out, s->row[worker], NULL, s->cols);
    }
}

/* The folder's own name, "." and "/" aside. */
static const char *name_of(const char *dir)
{
    const char *slash = strrchr(dir, '/');
    const char *name = slash ? slash + 1 : dir;
    return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 ? name : "gemma4";
}

static g4_status run(const g4_options *o, g4_model **model, g4_par **par, g4_gguf_result *result,
                     g4_err *err)
{
    if (g4_path_kind(o->model) == 1)
        return g4_fail(err, G4_EINPUT, "%s: is a GGUF already; quantize takes a folder", o->model);
    if (!g4_gguf_type_known(o->type))   /* before anything is read */
        return g4_fail(err, G4_EINPUT, "--type %.40s: not available; available: %s", o->type,
                       g4_gguf_types_text);
    G4_TRY(g4_model_open(model, o->model, err));
    G4_TRY(g4_par_open(par, (int)o->threads, err));
    source s = { .model = *model, .threads = g4_par_threads(*par) };
    g4_gguf_job job = { .dir = o->model, .name = name_of(o->model), .out = o->out,
                        .type = o->type, .par = *par, .source = { begin, rows, &s },
                        .progress = stderr };
    g4_status st = g4_gguf_make(&job, result, err);
    free_rows(&s);
    return st;
}

int cmd_quantize(const g4_options *o, g4_err *err)
{
    g4_gguf_result r = { 0 };
    g4_model *model = NULL;
    g4_par *par = NULL;
    struct timespec a, b;
    sigset_t before;
    char path[512], bytes[32];
    clock_gettime(CLOCK_MONOTONIC, &a);
    g4_interrupt_hold(&before);
    g4_status s = run(o, &model, &par, &r, err);
    g4_par_close(par);
    g4_model_close(model);
    g4_interrupt_release(&before);
    if (s != G4_OK) return 2;
    clock_gettime(CLOCK_MONOTONIC, &b);
    double t = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    printf("%s: %zu tensors, %.3f million parameters, %s in %.1f s\n",
           g4_text_safe(path, sizeof path, o->out), r.tensors, (double)r.parameters * 1e-6,
           g4_text_bytes(bytes, sizeof bytes, r.bytes), t);
    return 0;
}
