/* SPDX-License-Identifier: Apache-2.0
 * One decoder layer (Gemma4UnifiedTextDecoderLayer.forward). */
#include "ref/model/layer.h"

void g4_observe_rows(const g4_batch *b, g4_tap_id id, int64_t l, int64_t cols, const float *data)
{
    for (int i = 0; i < b->count; i++) {
        const g4_item *it = &b->items[i];
        const g4_tap_at at = { .id = id, .layer = l, .row = it->session->n, .rows = it->n,
                               .cols = cols };
        g4_observe(it->session->tap, &at, data);
        data += it->n * cols;
    }
}

void g4_layer_forward(g4_engine *e, const g4_batch *b, int64_t l)
{
    const g4_config *c = &e->model->config;
    const g4_layer *w = &e->model->layers[l];
    int64_t T = b->rows, D = c->hidden_size;
    double eps = c->rms_norm_eps;

    /* 1. attention branch: x += norm(attention(norm(x))) */
    g4_rmsnorm(e, e->h, e->x, w->input_layernorm, T, D, eps);
    g4_observe_rows(b, G4_TAP_input_layernorm, l, D, e->h);
    g4_attention_forward(e, b, l);
    g4_rmsnorm(e, e->o, e->o, w->post_attention_layernorm, T, D, eps);
    g4_observe_rows(b, G4_TAP_post_attention_layernorm, l, D, e->o);
    g4_add_scale(e, e->x, e->x, e->o, T * D, 1.0);

    /* 2. feed-forward branch: x += norm(mlp(norm(x))), then the whole sum is
     *    scaled by one number a layer */
    g4_rmsnorm(e, e->h, e->x, w->pre_feedforward_layernorm, T, D, eps);
    g4_observe_rows(b, G4_TAP_pre_feedforward_layernorm, l, D, e->h);
    g4_mlp_forward(e, b, l);
    g4_rmsnorm(e, e->o, e->o, w->post_feedforward_layernorm, T, D, eps);
    g4_observe_rows(b, G4_TAP_post_feedforward_layernorm, l, D, e->o);
    g4_add_scale(e, e->x, e->x, e->o, T * D, (double)*w->layer_scalar);
    g4_observe_rows(b, G4_TAP_output, l, D, e->x);
}
