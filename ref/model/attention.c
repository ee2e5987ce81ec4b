/* SPDX-License-Identifier: Apache-2.0
 * Attention of one layer (Gemma4TextAttention.forward).  The scale of q.k is
 * 1.0, not 1/sqrt(H): q_norm has taken its place [N3].  Values are normed
 * without a weight and never rotated.  In full layers of a K = V model there is
 * no v_proj: the values are k_proj's output, normed [N4]. */
#include "ref/model/layer.h"

#include <string.h>

/* The last layer of each kind is what the drafter attends to. */
static int is_last_of_kind(const g4_config *c, int64_t l)
{
    for (int64_t k = l + 1; k < c->num_hidden_layers; k++)
        if (c->layer_kind[k] == c->layer_kind[l]) return 0;
    return 1;
}

/* q, k, v of all rows, normed and rotated, in e->q, e->k, e->v. */
static void project(g4_engine *e, const g4_batch *b, int64_t l)
{
    const g4_config *c = &e->model->config;
    const g4_layer *w = &e->model->layers[l];
    int64_t T = b->rows, H = c->head_dim[w->kind];
    int64_t N = c->num_attention_heads, K = c->kv_heads[w->kind];

    g4_linear(e, e->q, e->h, T, &w->q_proj);
    g4_observe_rows(e, b, G4_TAP_q_proj, l, N * H, e->q);
    g4_rmsnorm(e, e->q, e->q, w->q_norm, T * N, H, c->rms_norm_eps);
    g4_observe_rows(e, b, G4_TAP_q_norm, l, N * H, e->q);
    g4_rope(e, e->q, T, N, w->kind);

    g4_linear(e, e->k, e->h, T, &w->k_proj);
    g4_observe_rows(e, b, G4_TAP_k_proj, l, K * H, e->k);
    if (w->v_proj.data) {
        g4_linear(e, e->v, e->h, T, &w->v_proj);
        g4_observe_rows(e, b, G4_TAP_v_proj, l, K * H, e->v);
    } else {
        memcpy(e->v, e->k, (size_t)(T * K * H) * sizeof(float));
    }
    g4_rmsnorm(e, e->k, e->k, w->k_norm, T * K, H, c->rms_norm_eps);
    g4_observe_rows(e, b, G4_TAP_k_norm, l, K * H, e->k);
    g4_rope(e, e->k, T, K, w->kind);
    g4_rmsnorm(e, e->v, e->v, NULL, T * K, H, c->rms_norm_eps);
    g4_observe_rows(e, b, G4_TAP_v_norm, l, K * H, e->v);
    if (is_last_of_kind(c, l)) {
        int full = w->kind == G4_FULL;
        g4_observe_rows(e, b, full ? G4_TAP_full_key : G4_TAP_sliding_key, l, K * H, e->k);
        g4_observe_rows(e, b, full ? G4_TAP_full_value : G4_TAP_sliding_value, l, K * H, e->v);
    }
}

/* Stores one item's new rows, then lets each of its queries see its keys: a soft
 * token sees later tokens of its block, so all rows are stored first. */
static void attend_item(g4_engine *e, const g4_item *it, int64_t at, int64_t l)
{
    const g4_config *c = &e->model->config;
    int kind = e->model->layers[l].kind;
    g4_kv *kv = &it->session->kv[l];
    int64_t first = it->session->n, lo = first, hi = first;
    const g4_span *keys = e->keys[kind] + at;
    for (int64_t t = 0; t < it->n; t++) {
        g4_kv_put(kv, first + t, e->k + (at + t) * kv->width, e->v + (at + t) * kv->width);
        if (keys[t].begin < lo) lo = keys[t].begin;
        if (keys[t].end > hi) hi = keys[t].end;
    }
    g4_kv_view view = g4_kv_read(kv, lo, hi, e->kv_scratch);
    int64_t width = c->num_attention_heads * c->head_dim[kind];
    g4_attention_job job = {
        .out = e->context + at * width,
        .q = e->q + at * width,
        .kv = &view,
        .keys = keys,
        .rows = it->n,
        .heads = c->num_attention_heads,
        .kv_heads = c->kv_heads[kind],
        .head_dim = c->head_dim[kind],
    };
    g4_attention(e, &job);
}

void g4_attention_forward(g4_engine *e, const g4_batch *b, int64_t l)
{
    const g4_layer *w = &e->model->layers[l];
    project(e, b, l);
    for (int64_t i = 0, at = 0; i < b->count; at += b->items[i].n, i++)
        attend_item(e, &b->items[i], at, l);
    g4_observe_rows(e, b, G4_TAP_context, l, w->o_proj.cols, e->context);
    g4_linear(e, e->o, e->context, b->rows, &w->o_proj);
    g4_observe_rows(e, b, G4_TAP_o_proj, l, w->o_proj.rows, e->o);
}
