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

/* The queries of all rows, in e->q, are normed and rotated. */
static void finish_queries(g4_engine *e, const g4_batch *b, int64_t l)
{
    const g4_config *c = &e->model->config;
    const g4_layer *w = &e->model->layers[l];
    int64_t T = b->rows, H = c->head_dim[w->kind], N = c->num_attention_heads;
    g4_observe_rows(b, G4_TAP_q_proj, l, N * H, e->q);
    g4_rmsnorm(e, e->q, e->q, w->q_norm, T * N, H, c->rms_norm_eps);
    g4_observe_rows(b, G4_TAP_q_norm, l, N * H, e->q);
    g4_rope(e, e->q, T, N, w->kind);
}

/* Keys, in e->k, are normed and rotated; values, in e->v or the keys themselves, normed. */
static void finish_keys_values(g4_engine *e, const g4_batch *b, int64_t l)
{
    const g4_config *c = &e->model->config;
    const g4_layer *w = &e->model->layers[l];
    int64_t T = b->rows, H = c->head_dim[w->kind], K = c->kv_heads[w->kind];
    g4_observe_rows(b, G4_TAP_k_proj, l, K * H, e->k);
    if (w->v_proj.data) {
        g4_observe_rows(b, G4_TAP_v_proj, l, K * H, e->v);
    } else {
        memcpy(e->v, e->k, (size_t)(T * K * H) * sizeof(float));
    }
    g4_rmsnorm(e, e->k, e->k, w->k_norm, T * K, H, c->rms_norm_eps);
    g4_observe_rows(b, G4_TAP_k_norm, l, K * H, e->k);
    g4_rope(e, e->k, T, K, w->kind);
    g4_rmsnorm(e, e->v, e->v, NULL, T * K, H, c->rms_norm_eps);
    g4_observe_rows(b, G4_TAP_v_norm, l, K * H, e->v);
    if (is_last_of_kind(c, l)) {
        int full = w->kind == G4_FULL;
        g4_observe_rows(b, full ? G4_TAP_full_key : G4_TAP_sliding_key, l, K * H, e->k);
        g4_observe_rows(b, full ? G4_TAP_full_value : G4_TAP_sliding_value, l, K * H, e->v);
    }
}

/* Rows [at, at + n) see what e->keys says of this cache. */
static void attend(g4_engine *e, const g4_kv *kv, int64_t at, int64_t n, int kind)
{
    const g4_config *c = &e->model->config;
    int64_t width = c->num_attention_heads * c->head_dim[kind];
    g4_attention_job job = {
        .out = e->context + at * width,
        .q = e->q + at * width,
        .cache = kv,
        .keys = e->keys[kind] + at,
        .rows = n,
        .heads = c->num_attention_heads,
        .kv_heads = c->kv_heads[kind],
        .head_dim = c->head_dim[kind],
    };
    g4_attention(e, &job);
}

/* One item: a soft token sees later tokens of its block, so all rows are stored
 * before any of them attends. */
static void store_and_attend(g4_engine *e, const g4_item *it, int64_t at, int64_t l)
{
    g4_kv *kv = &it->session->kv[l];
    for (int64_t t = 0; t < it->n; t++)
        g4_kv_put(kv, it->session->n + t, e->k + (at + t) * kv->width, e->v + (at + t) * kv->width);
    attend(e, kv, at, it->n, e->model->layers[l].kind);
}

void g4_attention_forward(g4_engine *e, const g4_batch *b, int64_t l)
{
    const g4_layer *w = &e->model->layers[l];
    const g4_linear_out out[] = { { e->q, &w->q_proj }, { e->k, &w->k_proj },
                                  { e->v, &w->v_proj } };
    int count = b->shared[w->kind] ? 1 : w->v_proj.data ? 3 : 2;
    g4_linear_many(e, out, count, e->h, b->rows);
    finish_queries(e, b, l);
    if (b->shared[w->kind]) {   /* a drafter has no keys of its own */
        attend(e, b->shared[w->kind], 0, b->rows, w->kind);
    } else {
        finish_keys_values(e, b, l);
        for (int64_t i = 0, at = 0; i < b->count; at += b->items[i].n, i++)
            store_and_attend(e, &b->items[i], at, l);
    }
    g4_observe_rows(b, G4_TAP_context, l, w->o_proj.cols, e->context);
    g4_linear(e, e->o, e->context, b->rows, &w->o_proj);
    g4_observe_rows(b, G4_TAP_o_proj, l, w->o_proj.rows, e->o);
}
