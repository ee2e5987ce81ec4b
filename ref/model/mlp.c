/* SPDX-License-Identifier: Apache-2.0
 * Gated GELU (Gemma4TextMLP): down( gelu_tanh(gate h) * up h ). */
#include "ref/model/layer.h"

void g4_mlp_forward(g4_engine *e, const g4_batch *b, int64_t l)
{
    const g4_layer *w = &e->model->layers[l];
    int64_t T = b->rows, F = w->gate_proj.rows;
    const g4_linear_out out[] = { { e->gate, &w->gate_proj }, { e->up, &w->up_proj } };
    g4_linear_many(e, out, 2, e->h, T);
    g4_observe_rows(b, G4_TAP_gate_proj, l, F, e->gate);
    g4_observe_rows(b, G4_TAP_up_proj, l, F, e->up);
    g4_gelu_mul(e, e->gate, e->gate, e->up, T * F);
    g4_linear(e, e->o, e->gate, T, &w->down_proj);
    g4_observe_rows(b, G4_TAP_down_proj, l, w->down_proj.rows, e->o);
}
