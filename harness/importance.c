/* SPDX-License-Identifier: Apache-2.0
 * An observer of the forward pass sees what goes into each matrix: the norm before q, k and v,
 * the context before o_proj, the norm before gate and up; what goes into down_proj it computes
 * once more from gate and up, by the same op.  A chunk's squares are summed in float64, in the
 * order of its tokens, and added to the float32 sums of the file: so sums do not depend on
 * threads, nor on where a run was interrupted and resumed. */
#include "harness/importance.h"

#include "harness/room.h"

#include <stdlib.h>
#include <string.h>

typedef enum place { ATTENTION, CONTEXT, FEED, DOWN, PLACES } place;

typedef struct sums {
    int64_t cols;
    double *chunk;            /* [cols], of the chunk that is running */
    size_t first, count;      /* its matrices' entries before they are sorted */
} sums;

struct g4_collector {
    g4_runtime *rt;
    int64_t chunk;
    g4_engine *engine;
    g4_session *session;
    g4_tap tap;
    sums *at;                 /* [L][PLACES] */
    size_t *entry;            /* [matrices] where a matrix went when the list was sorted */
    float *gate;              /* [chunk][F] */
    g4_prompt prompt;
    g4_imatrix im;
};

typedef struct square_job {
    double *sum;
    const float *x;
    int64_t rows, cols;
} square_job;

static void square_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const square_job *j = ctx;
    (void)worker;
    for (int64_t t = 0; t < j->rows; t++)
        for (int64_t i = begin; i < end; i++) {
            double v = (double)j->x[t * j->cols + i];
            j->sum[i] += v * v;
        }
}

void g4_squares_add(double *sum, const float *x, int64_t rows, int64_t cols, g4_par *par)
{
    square_job j = { sum, x, rows, cols };
    g4_par_for(par, cols, 64, square_piece, &j);
}

static void add_squares(g4_collector *c, int64_t l, place p, const float *x, int64_t rows)
{
    sums *s = &c->at[l * PLACES + p];
    g4_squares_add(s->chunk, x, rows, s->cols, c->rt->par);
}

static void observe(void *ctx, const g4_tap_at *at, const float *data)
{
    g4_collector *c = ctx;
    switch ((int)at->id) {
    case G4_TAP_input_layernorm:
        add_squares(c, at->layer, ATTENTION, data, at->rows);
        break;
    case G4_TAP_context:
        add_squares(c, at->layer, CONTEXT, data, at->rows);
        break;
    case G4_TAP_pre_feedforward_layernorm:
        add_squares(c, at->layer, FEED, data, at->rows);
        break;
    case G4_TAP_gate_proj:
        memcpy(c->gate, data, (size_t)(at->rows * at->cols) * sizeof *data);
        break;
    case G4_TAP_up_proj:
        g4_gelu_mul(c->engine, c->gate, c->gate, data, at->rows * at->cols);
        add_squares(c, at->layer, DOWN, c->gate, at->rows);
        break;
    case G4_TAP_norm:
        c->session->tap = NULL;   /* or the logits of all tokens would be computed */
        break;
    }
}

/* ---- entries ---- */

static g4_status add_matrix(g4_collector *c, int64_t l, place p, const char *name,
                            const g4_mat *w, g4_err *err)
{
    sums *s = &c->at[l * PLACES + p];
    if (!w->data) return G4_OK;
    if (!s->count) {
        s->cols = w->cols;
        s->first = c->im.count;
        s->chunk = g4_arena_alloc(&c->im.arena, (size_t)w->cols, sizeof *s->chunk);
        if (!s->chunk) return g4_nomem(err, "imatrix");
    }
    g4_importance *e = &c->im.list[c->im.count++];
    e->name = g4_arena_printf(&c->im.arena, "blk.%lld.%s.weight", (long long)l, name);
    e->sum = g4_arena_alloc(&c->im.arena, (size_t)w->cols, sizeof *e->sum);
    e->cols = w->cols;
    s->count++;
    return e->name && e->sum ? G4_OK : g4_nomem(err, "imatrix");
}

static g4_status add_layer(g4_collector *c, int64_t l, g4_err *err)
{
    const g4_layer *w = &c->rt->model->layers[l];
    G4_TRY(add_matrix(c, l, ATTENTION, "attn_q", &w->q_proj, err));
    G4_TRY(add_matrix(c, l, ATTENTION, "attn_k", &w->k_proj, err));
    G4_TRY(add_matrix(c, l, ATTENTION, "attn_v", &w->v_proj, err));
    G4_TRY(add_matrix(c, l, CONTEXT, "attn_output", &w->o_proj, err));
    G4_TRY(add_matrix(c, l, FEED, "ffn_gate", &w->gate_proj, err));
    G4_TRY(add_matrix(c, l, FEED, "ffn_up", &w->up_proj, err));
    return add_matrix(c, l, DOWN, "ffn_down", &w->down_proj, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const g4_importance *)a)->name, ((const g4_importance *)b)->name);
}

/* The list is sorted by name, and each place finds its entries again. */
static g4_status sort_entries(g4_collector *c, g4_err *err)
{
    size_t n = c->im.count;
    float **sum = g4_arena_alloc(&c->im.arena, n, sizeof *sum);
    c->entry = g4_arena_alloc(&c->im.arena, n, sizeof *c->entry);
    if (!sum || !c->entry) return g4_nomem(err, "imatrix");
    for (size_t i = 0; i < n; i++) sum[i] = c->im.list[i].sum;
    qsort(c->im.list, n, sizeof *c->im.list, by_name);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            if (c->im.list[k].sum == sum[i]) c->entry[i] = k;
    return G4_OK;
}

static g4_status open_all(g4_collector *c, g4_err *err)
{
    const g4_config *m = &c->rt->model->config;
    g4_arena *a = &c->im.arena;
    size_t layers = (size_t)m->num_hidden_layers, n = (size_t)c->chunk;
    c->at = g4_arena_alloc(a, layers * PLACES, sizeof *c->at);
    c->im.list = g4_arena_alloc(a, layers * 7, sizeof *c->im.list);
    c->gate = g4_arena_alloc(a, n, (size_t)m->intermediate_size * sizeof *c->gate);
    c->prompt = (g4_prompt){ .n = c->chunk };
    c->prompt.positions = g4_arena_alloc(a, n, sizeof *c->prompt.positions);
    c->prompt.types = g4_arena_alloc(a, n, sizeof *c->prompt.types);
    if (!c->at || !c->im.list || !c->gate || !c->prompt.positions || !c->prompt.types)
        return g4_nomem(err, "imatrix");
    for (int64_t i = 0; i < c->chunk; i++) c->prompt.positions[i] = (int32_t)i;
    for (int64_t l = 0; l < m->num_hidden_layers; l++) G4_TRY(add_layer(c, l, err));
    G4_TRY(sort_entries(c, err));
    g4_engine_plan plan = c->rt->plan;
    plan.rows = plan.ctx = c->chunk;
    plan.logit_rows = 1;
    G4_TRY(g4_room_for_plan(c->rt, &plan, 1, err));
    G4_TRY(g4_engine_open(&c->engine, c->rt->model, &c->rt->ops, c->rt->par, &plan, err));
    return g4_session_open(&c->session, c->engine, err);
}

g4_status g4_collector_open(g4_collector **out, g4_runtime *rt, int64_t chunk, g4_err *err)
{
    g4_collector *c = *out = calloc(1, sizeof *c);
    if (!c) return g4_nomem(err, "imatrix");
    c->rt = rt;
    c->chunk = chunk;
    c->im.chunk_size = (uint32_t)chunk;
    c->im.dataset = c->im.source = "";
    c->tap = (g4_tap){ c, observe };
    return open_all(c, err);
}

void g4_collector_close(g4_collector *c)
{
    if (!c) return;
    g4_session_close(c->session);
    g4_engine_close(c->engine);
    g4_arena_free(&c->im.arena);
    free(c);
}

g4_imatrix *g4_collector_sums(g4_collector *c)
{
    return &c->im;
}

g4_status g4_collector_add(g4_collector *c, int32_t *ids, g4_err *err)
{
    size_t places = (size_t)c->rt->model->config.num_hidden_layers * PLACES;
    for (size_t p = 0; p < places; p++)
        memset(c->at[p].chunk, 0, (size_t)c->at[p].cols * sizeof *c->at[p].chunk);
    c->prompt.ids = ids;
    g4_session_reset(c->session);
    c->session->tap = &c->tap;
    const g4_prefill_item item = { .session = c->session, .prompt = &c->prompt };
    G4_TRY(g4_prefill(c->engine, &item, 1, 0, err));
    for (size_t p = 0; p < places; p++)
        for (size_t k = 0; k < c->at[p].count; k++) {
            g4_importance *e = &c->im.list[c->entry[c->at[p].first + k]];
            for (int64_t i = 0; i < e->cols; i++)
                e->sum[i] = (float)((double)e->sum[i] + c->at[p].chunk[i]);
            e->count += (double)c->chunk;
        }
    c->im.chunks++;
    return G4_OK;
}
