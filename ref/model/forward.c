/* SPDX-License-Identifier: Apache-2.0
 * The whole forward pass; forward.h lists its steps. */
#include "ref/model/forward.h"

#include "ref/model/embed.h"
#include "ref/model/layer.h"

#include <assert.h>
#include <string.h>

/* A media placeholder that no soft token stands behind (a model may write one)
 * counts as padding: Gemma4UnifiedModel.forward embeds it so [N38]. */
static int32_t text_id(const g4_config *c, int32_t id)
{
    int placeholder =
        id == c->image_token_id || id == c->video_token_id || id == c->audio_token_id;
    return placeholder ? (int32_t)c->pad_token_id : id;
}

/* Rows, angles and visible keys of all items, one behind the other. */
static void enter(g4_engine *e, const g4_batch *b)
{
    int64_t D = e->model->config.hidden_size, at = 0;
    for (int i = 0; i < b->count; i++) {
        const g4_item *it = &b->items[i];
        for (int64_t t = 0; t < it->n; t++) {
            int64_t index = it->session->n + t;
            g4_span block = it->blocks ? it->blocks[t] : (g4_span){ index, index };
            if (it->soft && it->soft[t])
                memcpy(e->x + (at + t) * D, it->soft[t], (size_t)D * sizeof(float));
            else
                g4_embed_token(e->model, e->x + (at + t) * D,
                               text_id(&e->model->config, it->ids[t]));
            for (int kind = 0; kind < 2; kind++)
                e->keys[kind][at + t] = g4_visible(e, kind, index, block);
        }
        g4_angles(e, at, it->positions, it->n);
        int64_t half = e->model->config.head_dim[G4_FULL] / 2;
        for (int64_t t = 0; t < it->n; t++)
            g4_session_turn(it->session, it->session->n + t,
                            e->cosine[G4_FULL] + (at + t) * half,
                            e->sine[G4_FULL] + (at + t) * half);
        at += it->n;
    }
    g4_observe_rows(b, G4_TAP_embeddings, 0, D, e->x);
}

/* Logits of n rows x [n][D] into out [n][V]. */
void g4_head_forward(g4_engine *e, float *out, const float *x, int64_t n)
{
    const g4_config *c = &e->model->config;
    g4_linear(e, out, x, n, &e->model->embed_tokens);
    if (c->final_logit_softcapping > 0.0)
        g4_softcap(e, out, n * c->vocab_size, c->final_logit_softcapping);
}

/* Is any of the rows [from, from + n) watched?  With data, the observers see them. */
static int observe_tile(const g4_batch *b, int64_t from, int64_t n, int64_t V, const float *data)
{
    int watched = 0;
    int64_t at = 0;
    for (int i = 0; i < b->count; at += b->items[i++].n) {
        const g4_session *s = b->items[i].session;
        int64_t lo = from > at ? from : at, hi = at + b->items[i].n;
        if (hi > from + n) hi = from + n;
        if (!s->tap || lo >= hi) continue;
        watched = 1;
        const g4_tap_at where = { .id = G4_TAP_logits, .row = s->n + (lo - at), .rows = hi - lo,
                                  .cols = V };
        if (data) g4_observe(s->tap, &where, data + (lo - from) * V);
    }
    return watched;
}

/* An observer sees the logits of every row.  Tiles go across the sequences, so that
 * the output matrix (2 GB in the 12B) is read once a tile, not once a sequence. */
static void observe_logits(g4_engine *e, const g4_batch *b)
{
    int64_t D = e->model->config.hidden_size, V = e->model->config.vocab_size;
    for (int64_t t = 0, n; t < b->rows; t += n) {
        n = b->rows - t < e->plan.logit_rows ? b->rows - t : e->plan.logit_rows;
        if (!observe_tile(b, t, n, V, NULL)) continue;
        g4_head_forward(e, e->logits, e->h + t * D, n);
        observe_tile(b, t, n, V, e->logits);
    }
}

/* Where row r of all wanted logits goes: [item][row] flattened. */
static float *logits_of(const g4_batch *b, int64_t r, int64_t V)
{
    for (int i = 0; i < b->count; i++) {
        const g4_item *it = &b->items[i];
        if (!it->logits) continue;
        if (r < it->logit_rows) return it->logits + r * V;
        r -= it->logit_rows;
    }
    return NULL;
}

/* The logits that items want: gathered first, for the same reason. */
static void wanted_logits(g4_engine *e, const g4_batch *b)
{
    const g4_config *c = &e->model->config;
    int64_t D = c->hidden_size, V = c->vocab_size, rows = 0, end = 0;
    for (int i = 0; i < b->count; i++) {
        const g4_item *it = &b->items[i];
        end += it->n;
        const float *last = e->h + (end - it->logit_rows) * D;
        size_t bytes = (size_t)(it->logit_rows * D) * sizeof(float);
        if (it->hidden) memcpy(it->hidden, last, bytes);
        if (!it->logits) continue;
        memcpy(e->o + rows * D, last, bytes);
        rows += it->logit_rows;
    }
    for (int64_t r = 0; r < rows; r += e->plan.logit_rows) {
        int64_t n = rows - r < e->plan.logit_rows ? rows - r : e->plan.logit_rows;
        g4_head_forward(e, e->logits, e->o + r * D, n);
        for (int64_t k = 0; k < n; k++)
            memcpy(logits_of(b, r + k, V), e->logits + k * V, (size_t)V * sizeof(float));
    }
}

static void leave(g4_engine *e, const g4_batch *b)
{
    const g4_config *c = &e->model->config;
    int64_t D = c->hidden_size;
    g4_rmsnorm(e, e->h, e->x, e->model->norm, b->rows, D, c->rms_norm_eps);
    g4_observe_rows(b, G4_TAP_norm, 0, D, e->h);
    observe_logits(e, b);
    wanted_logits(e, b);
}

void g4_forward_part(g4_engine *e, const g4_item *items, int count, const g4_part *part)
{
    const g4_config *c = &e->model->config;
    g4_batch b = { .items = items, .count = count };
    for (int i = 0; i < count; i++) {
        assert(items[i].logit_rows <= items[i].n);
        assert(items[i].session->n + items[i].n <= items[i].session->ctx);
        b.rows += items[i].n;
    }
    assert(b.rows <= e->plan.rows);
    size_t bytes = (size_t)(b.rows * c->hidden_size) * sizeof(float);
    enter(e, &b);
    if (part->first > 0) memcpy(e->x, part->x, bytes);
    for (int64_t l = part->first; l < part->last; l++) {
        g4_model_prefetch(e->model, l + 1);
        g4_layer_forward(e, &b, l);
    }
    if (part->last == c->num_hidden_layers) leave(e, &b);
    else memcpy(part->x, e->x, bytes);
    for (int i = 0; i < count; i++) {
        g4_session *s = items[i].session;
        s->n += items[i].n;
        s->next_position = items[i].positions[items[i].n - 1] + 1;
    }
}

void g4_forward(g4_engine *e, const g4_item *items, int count)
{
    const g4_part all = { .last = e->model->config.num_hidden_layers };
    g4_forward_part(e, items, count, &all);
}
