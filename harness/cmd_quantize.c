/* SPDX-License-Identifier: Apache-2.0
 * gemma4 quantize: a checkpoint folder to a GGUF (harness/gguf_out.h), tensor by tensor. */
#include "harness/gguf_mix.h"
#include "harness/gguf_out.h"
#include "harness/interrupt.h"
#include "harness/options.h"
#include "harness/text.h"
#include "ref/base/map.h"
#include "ref/dtype/dtype.h"
#include "ref/file/document.h"
#include "ref/file/imatrix.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A tensor's rows out of the store, widened and packed again. */
typedef struct source {
    const g4_model *model;
    int threads;
    const g4_tensor *t;
    g4_gguf_change change;
    const g4_dtype_info *from, *to;
    int64_t cols, side, swapped;   /* side of a patch; rows of what is swapped */
    const g4_imatrix *imatrix;
    float *weight;             /* [cols] of this tensor, or NULL */
    size_t weighed, plain;     /* matrices packed with and without weights */
    float **row;               /* [threads], 2 x cols values each */
} source;

static void free_rows(source *s)
{
    free(s->weight);
    s->weight = NULL;
    for (int i = 0; s->row && i < s->threads; i++) free(s->row[i]);
    free(s->row);
    s->row = NULL;
}

/* Means of squares; none where the tensor has no entry, or one of no tokens. */
static g4_status find_weight(source *s, const g4_shape_tensor *t, const char *name, g4_err *err)
{
    const g4_importance *e = s->imatrix ? g4_imatrix_find(s->imatrix, name) : NULL;
    if (t->role == G4_ROLE_LINEAR) *(e && e->count > 0 ? &s->weighed : &s->plain) += 1;
    if (!e || !(e->count > 0)) return G4_OK;
    s->weight = malloc((size_t)s->cols * sizeof *s->weight);
    if (!s->weight) return g4_nomem(err, name);
    for (int64_t i = 0; i < s->cols; i++) s->weight[i] = (float)((double)e->sum[i] / e->count);
    return G4_OK;
}

static g4_status begin(void *ctx, const g4_shape_tensor *t, const g4_gguf_row_kind *kind,
                       g4_err *err)
{
    source *s = ctx;
    if (s->t)   /* the last one will not be read again */
        g4_map_release(s->t->data, s->t->bytes);
    s->t = g4_weight_find(s->model->store, t->name, t->alt);
    if (!s->t) return g4_fail(err, G4_EINPUT, "%s: tensor %s is missing", s->model->dir, t->name);
    g4_map_prefetch(s->t->data, s->t->bytes);
    s->change = kind->change;
    s->from = g4_dtype_get(s->t->dtype);
    s->to = g4_dtype_get(kind->dtype);
    s->cols = t->shape[t->rank - 1];
    s->side = s->model->config.patch_size * s->model->config.pooling_kernel_size;
    s->swapped = t->shape[0];
    free_rows(s);
    G4_TRY(find_weight(s, t, kind->name, err));
    s->row = calloc((size_t)s->threads, sizeof *s->row);
    for (int i = 0; s->row && i < s->threads; i++) {
        s->row[i] = malloc(2 * (size_t)s->cols * sizeof **s->row);
        if (!s->row[i]) return g4_nomem(err, t->name);
    }
    return s->row ? G4_OK : g4_nomem(err, t->name);
}

/* Values of a patch in a GGUF's order. */
static const float *reorder(const source *s, float *row)
{
    float *to = row + s->cols;
    for (int64_t i = 0; i < s->cols; i++) to[i] = row[g4_gguf_patch_place(i, s->side)];
    return to;
}

static void rows(void *ctx, int64_t row, int64_t count, uint8_t *dst, int worker)
{
    const source *s = ctx;
    size_t in = g4_dtype_row_bytes(s->t->dtype, s->cols);
    size_t out = (size_t)(s->cols / s->to->block) * s->to->bytes;
    for (int64_t r = row; r < row + count; r++, dst += out) {
        int64_t at = s->change == G4_GGUF_SWAP ? r % s->swapped * 2 + r / s->swapped : r;
        const uint8_t *from = s->t->data + (size_t)at * in;
        if (s->from == s->to && s->change != G4_GGUF_PATCH) {
            memcpy(dst, from, out);
            continue;
        }
        const float *x = s->row[worker];
        s->from->unpack(s->row[worker], from, s->cols);
        if (s->change == G4_GGUF_PATCH) x = reorder(s, s->row[worker]);
        s->to->pack(dst, x, s->weight, s->cols);
    }
}

/* The folder's own name, "." and "/" aside. */
static const char *name_of(const char *dir)
{
    const char *slash = strrchr(dir, '/');
    const char *name = slash ? slash + 1 : dir;
    return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 ? name : "gemma4";
}

/* Everything that a run holds. */
typedef struct job {
    g4_model *model;
    g4_par *par;
    g4_recipe *recipe;
    g4_imatrix *imatrix;
    g4_gguf_result result[2];  /* of --out and --mmproj */
} job;

static g4_status open_recipe(job *j, const g4_options *o, g4_err *err)
{
    if (!o->recipe && !o->tensor_type_count) return G4_OK;
    G4_TRY(g4_recipe_open(&j->recipe, err));
    for (int i = 0; i < o->tensor_type_count; i++)   /* before the file: its first match wins */
        G4_TRY(g4_recipe_add(j->recipe, "--tensor-type", o->tensor_types[i], err));
    return o->recipe ? g4_recipe_read(j->recipe, o->recipe, err) : G4_OK;
}

/* Is it of this model? */
static g4_status check_imatrix(const job *j, const g4_options *o, g4_err *err)
{
    const g4_imatrix *im = j->imatrix;
    char name[G4_TENSOR_NAME];
    g4_gguf_change change;
    size_t found = 0;
    for (size_t i = 0; im && i < im->count; i++) {
        const g4_importance *e = &im->list[i];
        const g4_tensor *t = NULL;
        if (g4_gguf_to_hf(name, e->name, j->model->config.is_drafter, &change))
            t = g4_store_find(j->model->store, name);
        if (!t) continue;
        if (t->rank != 2 || t->shape[1] != e->cols)
            return g4_fail(err, G4_EINPUT, "%s: %s has %lld columns, which the model's has not",
                           o->imatrix, e->name, (long long)e->cols);
        found++;
    }
    if (!im || found) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: has none of this model's matrices", o->imatrix);
}

/* What can be said before anything is read. */
static g4_status check(const g4_options *o, g4_err *err)
{
    const g4_mix *mix;
    if (g4_gguf_named(o->model))
        return g4_fail(err, G4_EINPUT, "%s: is a GGUF already; quantize takes a folder", o->model);
    G4_TRY(g4_mix_find(&mix, o->type, err));
    if (!o->out && !o->mmproj && !o->dry_run)
        return g4_fail(err, G4_EINPUT, "quantize: one of --out, --mmproj, --dry-run is needed");
    g4_dtype base = g4_mix_base(mix);
    if (o->mmproj && g4_dtype_get(base)->block > 1 && base != G4_Q8_0)
        return g4_fail(err, G4_EINPUT, "--mmproj: is written with --type f32, f16, bf16 or q8_0");
    return G4_OK;
}

static g4_status make(job *j, const g4_options *o, int media, g4_err *err)
{
    source s = { .model = j->model, .threads = g4_par_threads(j->par), .imatrix = j->imatrix };
    g4_gguf_job g = { .dir = o->model, .name = name_of(o->model), .type = o->type,
                      .out = media ? o->mmproj : o->out, .recipe = j->recipe, .media = media,
                      .imatrix = j->imatrix, .imatrix_file = o->imatrix,
                      .par = j->par, .source = { begin, rows, &s }, .progress = stderr,
                      .list = o->dry_run ? stdout : NULL };
    g4_status st = g4_gguf_make(&g, &j->result[media], err);
    free_rows(&s);
    if (st == G4_OK && s.weighed && s.plain)
        fprintf(stderr, "note: %zu of %zu matrices are not in the importance matrix\n", s.plain,
                s.plain + s.weighed);
    return st;
}

static g4_status run(job *j, const g4_options *o, g4_err *err)
{
    G4_TRY(check(o, err));
    G4_TRY(open_recipe(j, o, err));
    if (o->imatrix) G4_TRY(g4_imatrix_open(&j->imatrix, o->imatrix, err));
    G4_TRY(g4_model_open(&j->model, o->model, err));
    G4_TRY(check_imatrix(j, o, err));
    G4_TRY(g4_par_open(&j->par, (int)o->threads, err));
    if (o->out || (o->dry_run && !o->mmproj)) {
        G4_TRY(make(j, o, 0, err));
        g4_recipe_note_unused(j->recipe);
    }
    return o->mmproj ? make(j, o, 1, err) : G4_OK;
}

static void report(const g4_gguf_result *r, const char *out, double seconds)
{
    char path[512], bytes[32];
    if (r->tensors)
        printf("%s: %zu tensors, %.3f million parameters, %s in %.1f s\n",
               g4_text_safe(path, sizeof path, out), r->tensors, (double)r->parameters * 1e-6,
               g4_text_bytes(bytes, sizeof bytes, r->bytes), seconds);
}

int cmd_quantize(const g4_options *o, g4_err *err)
{
    job j = { 0 };
    struct timespec a, b;
    sigset_t before;
    clock_gettime(CLOCK_MONOTONIC, &a);
    g4_interrupt_hold(&before);
    g4_status s = run(&j, o, err);
    g4_par_close(j.par);
    g4_model_close(j.model);
    g4_recipe_close(j.recipe);
    g4_imatrix_close(j.imatrix);
    g4_interrupt_release(&before);
    if (s != G4_OK) return 2;
    clock_gettime(CLOCK_MONOTONIC, &b);
    double t = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    report(&j.result[0], o->dry_run ? "would be" : o->out, t);
    report(&j.result[1], o->dry_run ? "would be" : o->mmproj, t);
    return 0;
}
