/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/weights.h"

#include "ref/base/map.h"
#include "ref/dtype/dtype.h"
#include "ref/model/rope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 160 };

/* "%Players.%L.x" -> "model.language_model.layers.7.x" */
static void expand(char *dst, const char *pattern, const char *prefix, int64_t layer)
{
    size_t at = 0;
    for (const char *p = pattern; *p && at + 1 < NAME_MAX_BYTES; p++) {
        if (p[0] == '%' && (p[1] == 'P' || p[1] == 'L')) {
            size_t room = NAME_MAX_BYTES - at;
            int n = p[1] == 'P' ? snprintf(dst + at, room, "%s", prefix)
                                : snprintf(dst + at, room, "%lld", (long long)layer);
            at += (size_t)n;
            p++;
        } else {
            dst[at++] = *p;
        }
    }
    dst[at] = 0;
}

typedef struct visit_ctx {
    g4_weight_visitor *visit;
    void *ctx;
    const char *prefix;
} visit_ctx;

static g4_status visit_one(const visit_ctx *v, g4_weight_role role, const char *name,
                           const char *alt, int64_t layer, const int64_t *shape, int rank,
                           void *slot, g4_err *err)
{
    char full[NAME_MAX_BYTES], other[NAME_MAX_BYTES];
    g4_weight_spec spec = { .role = role, .name = full, .alt = alt ? other : NULL, .rank = rank };
    expand(full, name, v->prefix, layer);
    if (alt) expand(other, alt, v->prefix, layer);
    memcpy(spec.shape, shape, (size_t)rank * sizeof *shape);
    return v->visit(v->ctx, &spec, slot, err);
}

#define SHAPE(...) (const int64_t[]){ __VA_ARGS__ }, \
    (int)(sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))

static g4_status visit_layer(g4_model *m, int64_t l, const visit_ctx *v, g4_err *err)
{
    const g4_config *c = &m->config;
    int kind = c->layer_kind[l];
    g4_layer none = { 0 }, *w = m->layers ? &m->layers[l] : &none;
#define G4_WEIGHT(field, role, when, name, alt, ...)
#define G4_LAYER_WEIGHT(field, role, when, name, alt, ...)                                   \
    if (when)                                                                                \
        G4_TRY(visit_one(v, G4_ROLE_##role, name, alt, l, SHAPE(__VA_ARGS__),                \
                         m->layers ? (void *)&field : NULL, err));
#include "ref/model/weights.def"
#undef G4_WEIGHT
#undef G4_LAYER_WEIGHT
    return G4_OK;
}

g4_status g4_weights_visit(g4_model *m, g4_weight_visitor *visit, void *ctx, g4_err *err)
{
    const g4_config *c = &m->config;
    visit_ctx v = { visit, ctx, c->is_drafter ? "model." : "model.language_model." };
#define G4_WEIGHT(field, role, when, name, alt, ...)                                         \
    if (when)                                                                                \
        G4_TRY(visit_one(&v, G4_ROLE_##role, name, alt, 0, SHAPE(__VA_ARGS__),               \
                         m->layers ? (void *)&field : NULL, err));
#define G4_LAYER_WEIGHT(field, role, when, name, alt, ...)
#include "ref/model/weights.def"
#undef G4_WEIGHT
#undef G4_LAYER_WEIGHT
    for (int64_t l = 0; l < c->num_hidden_layers; l++) G4_TRY(visit_layer(m, l, &v, err));
    return G4_OK;
}

typedef struct bind_ctx {
    g4_model *model;
    unsigned char *used;   /* [tensors in the store] */
} bind_ctx;

static void shape_text(char *dst, size_t size, const int64_t *shape, int rank)
{
    size_t at = 0;
    dst[0] = 0;
    for (int i = 0; i < rank && at + 24 < size; i++)
        at += (size_t)snprintf(dst + at, size - at, "%s%lld", i ? "," : "", (long long)shape[i]);
}

static g4_status check_shape(const g4_tensor *t, const g4_weight_spec *spec, g4_err *err)
{
    int same = t->rank == spec->rank;
    for (int i = 0; same && i < t->rank; i++) same = t->shape[i] == spec->shape[i];
    if (same) return G4_OK;
    char got[200], want[80];
    shape_text(got, sizeof got, t->shape, t->rank);
    shape_text(want, sizeof want, spec->shape, spec->rank);
    return g4_fail(err, G4_EINPUT, "%s: tensor %s has shape [%s], config.json asks for [%s]",
                   t->file, t->name, got, want);
}

/* A view: all dimensions but the last are rows. */
static void view(g4_mat *mat, const g4_tensor *t)
{
    mat->dtype = t->dtype;
    mat->cols = t->shape[t->rank - 1];
    mat->rows = 1;
    for (int i = 0; i + 1 < t->rank; i++) mat->rows *= t->shape[i];
    mat->row_bytes = g4_dtype_row_bytes(t->dtype, mat->cols);
    mat->data = t->data;
}

static g4_status bind_order(g4_model *m, const g4_tensor *t, const int32_t **slot, g4_err *err)
{
    int64_t n = t->shape[0];
    if (t->type != G4_ST_I64)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s has dtype %s, expected I64", t->file, t->name,
                       t->type_name);
    int32_t *order = g4_arena_alloc(&m->arena, (size_t)n, sizeof *order);
    unsigned char *seen = calloc((size_t)n, 1);
    if (!order || !seen) {
        free(seen);
        return g4_nomem(err, t->name);
    }
    g4_status s = G4_OK;
    for (int64_t i = 0; i < n; i++) {
        int64_t id;
        memcpy(&id, t->data + 8 * i, 8);
        if (id < 0 || id >= n || seen[id]) {
            s = g4_fail(err, G4_EINPUT, "%s: tensor %s is no permutation at entry %lld (%lld)",
                        t->file, t->name, (long long)i, (long long)id);
            break;
        }
        seen[id] = 1;
        order[i] = (int32_t)id;
    }
    free(seen);
    *slot = order;
    return s;
}

const g4_tensor *g4_weight_find(const g4_store *s, const char *name, const char *alt)
{
    const g4_tensor *t = g4_store_find(s, name);
    return !t && alt ? g4_store_find(s, alt) : t;
}

static g4_status bind(void *ctx, const g4_weight_spec *spec, void *slot, g4_err *err)
{
    bind_ctx *b = ctx;
    g4_model *m = b->model;
    const g4_tensor *t = g4_weight_find(m->store, spec->name, spec->alt);
    if (!t) return g4_fail(err, G4_EINPUT, "%s: tensor %s is missing", m->dir, spec->name);
    b->used[t - g4_store_at(m->store, 0)] = 1;
    G4_TRY(check_shape(t, spec, err));
    if (spec->role == G4_ROLE_ORDER) return bind_order(m, t, slot, err);
    if (t->type != G4_ST_DTYPE)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s has dtype %s; F32, F16 and BF16 are read",
                       t->file, t->name, t->type_name);
    g4_mat mat;
    view(&mat, t);
    if (spec->role == G4_ROLE_LINEAR || spec->role == G4_ROLE_TABLE) {
        *(g4_mat *)slot = mat;
        return G4_OK;
    }
    float *values = g4_arena_alloc(&m->arena, (size_t)mat.cols, sizeof *values);
    if (!values) return g4_nomem(err, t->name);
    g4_dtype_get(t->dtype)->unpack(values, mat.data, mat.cols);
    *(const float **)slot = values;
    return G4_OK;
}

/* A tensor that nobody asked for means that the config and the weights disagree. */
static g4_status check_extra(const bind_ctx *b, g4_err *err)
{
    const g4_store *s = b->model->store;
    for (size_t i = 0; i < g4_store_count(s); i++)
        if (!b->used[i])
            return g4_fail(err, G4_EINPUT, "%s: tensor %s is not part of this model",
                           g4_store_at(s, i)->file, g4_store_at(s, i)->name);
    return G4_OK;
}

static g4_status load(g4_model *m, const char *dir, g4_err *err)
{
    m->dir = g4_arena_strndup(&m->arena, dir, strlen(dir));
    if (!m->dir) return g4_nomem(err, dir);
    G4_TRY(g4_config_load(&m->config, m->dir, &m->arena, err));
    const g4_config *c = &m->config;
    G4_TRY(g4_generation_load(&m->generation, m->dir, c, err));
    G4_TRY(g4_store_open(&m->store, m->dir, err));
    m->layers = g4_arena_alloc(&m->arena, (size_t)c->num_hidden_layers, sizeof *m->layers);
    bind_ctx b = { m, g4_arena_alloc(&m->arena, g4_store_count(m->store), 1) };
    if (!m->layers || !b.used) return g4_nomem(err, dir);
    for (int64_t l = 0; l < c->num_hidden_layers; l++) m->layers[l].kind = c->layer_kind[l];
    G4_TRY(g4_weights_visit(m, bind, &b, err));
    G4_TRY(check_extra(&b, err));
    for (int kind = 0; kind < 2; kind++) {
        int64_t half = c->head_dim[kind] / 2;
        float *freq = g4_arena_alloc(&m->arena, (size_t)half, sizeof *freq);
        if (!freq) return g4_nomem(err, dir);
        g4_rope_inv_freq(freq, c->head_dim[kind], &c->rope[kind]);
        m->inv_freq[kind] = freq;
    }
    return G4_OK;
}

g4_status g4_model_open(g4_model **model, const char *dir, g4_err *err)
{
    *model = NULL;
    g4_model *m = calloc(1, sizeof *m);
    if (!m) return g4_nomem(err, dir);
    g4_status s = load(m, dir, err);
    if (s != G4_OK) {
        g4_model_close(m);
        return s;
    }
    *model = m;
    return G4_OK;
}

void g4_model_close(g4_model *m)
{
    if (!m) return;
    free(m->panels);
    g4_store_close(m->store);
    g4_arena_free(&m->arena);
    free(m);
}

static void prefetch(const g4_mat *mat)
{
    if (mat->data) g4_map_prefetch(mat->data, (size_t)mat->rows * mat->row_bytes);
}

void g4_model_prefetch(const g4_model *m, int64_t l)
{
    if (l >= m->config.num_hidden_layers) {
        prefetch(&m->embed_tokens);
        return;
    }
    const g4_layer *w = &m->layers[l];
    const g4_mat *const in_order[] = { &w->q_proj, &w->k_proj, &w->v_proj, &w->o_proj,
                                       &w->gate_proj, &w->up_proj, &w->down_proj };
    for (size_t i = 0; i < sizeof in_order / sizeof *in_order; i++) prefetch(in_order[i]);
}

/* Of a kind that it has not, a GGUF says nothing that could be held against another's. */
static int has_kind(const g4_config *c, int kind)
{
    for (int64_t l = 0; kind >= 0 && l < c->num_hidden_layers; l++)
        if (c->layer_kind[l] == kind) return 1;
    return kind < 0;
}

g4_status g4_model_check_pair(const g4_model *backbone, const g4_model *drafter, g4_err *err)
{
    const g4_config *b = &backbone->config, *d = &drafter->config;
    const struct {
        const char *what;
        int kind;                  /* of the layers that it is said of; -1: of all */
        int64_t backbone, drafter;
    } pairs[] = {
        { "vocab_size", -1, b->vocab_size, d->vocab_size },
        { "hidden_size against backbone_hidden_size", -1, b->hidden_size,
          d->backbone_hidden_size },
        { "sliding window", G4_SLIDING, b->sliding_window, d->sliding_window },
        { "sliding head_dim", G4_SLIDING, b->head_dim[0], d->head_dim[0] },
        { "full head_dim", G4_FULL, b->head_dim[1], d->head_dim[1] },
        { "sliding key/value heads", G4_SLIDING, b->kv_heads[0], d->kv_heads[0] },
        { "full key/value heads", G4_FULL, b->kv_heads[1], d->kv_heads[1] },
    };
    if (b->is_drafter)
        return g4_fail(err, G4_EINPUT, "%s: is a drafter, not a model", backbone->dir);
    if (!d->is_drafter)
        return g4_fail(err, G4_EINPUT, "%s: is no drafter (model_type)", drafter->dir);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].backbone != pairs[i].drafter && has_kind(d, pairs[i].kind))
            return g4_fail(err, G4_EINPUT, "%s: does not fit %s: %s %lld against %lld",
                           drafter->dir, backbone->dir, pairs[i].what, (long long)pairs[i].backbone,
                           (long long)pairs[i].drafter);
    for (int64_t l = 0; l < d->num_hidden_layers; l++)
        if (!has_kind(b, d->layer_kind[l]))
            return g4_fail(err, G4_EINPUT, "%s: layer %lld finds no layer of its kind in %s",
                           drafter->dir, (long long)l, backbone->dir);
    return G4_OK;
}
