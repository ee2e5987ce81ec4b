/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/mtp.h"

#include "ref/model/embed.h"
#include "ref/model/layer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static g4_status allocate(g4_drafter *d, const g4_engine *backbone, g4_err *err)
{
    const g4_config *b = &backbone->model->config, *c = &d->engine->model->config;
    size_t rows = (size_t)d->rows, D = (size_t)b->hidden_size * sizeof(float);
    d->inputs_embeds = g4_arena_alloc(&d->arena, 2 * rows, D);
    d->hidden = g4_arena_alloc(&d->arena, rows, D);
    d->logits = g4_arena_alloc(&d->arena, rows, (size_t)c->vocab_size * sizeof(float));
    if (!d->inputs_embeds || !d->hidden || !d->logits) return g4_nomem(err, "drafter");
    if (!c->use_ordered_embeddings) return G4_OK;
    d->centroid_logits = g4_arena_alloc(&d->arena, (size_t)c->num_centroids, sizeof(float));
    d->picked = g4_arena_alloc(&d->arena, (size_t)c->num_centroids, 1);
    return d->centroid_logits && d->picked ? G4_OK : g4_nomem(err, "drafter");
}

g4_status g4_drafter_open(g4_drafter **drafter, const g4_model *model, const g4_engine *backbone,
                          g4_err *err)
{
    return g4_drafter_open_rows(drafter, model, backbone, 1, err);
}

g4_status g4_drafter_open_rows(g4_drafter **drafter, const g4_model *model,
                               const g4_engine *backbone, int64_t rows, g4_err *err)
{
    *drafter = NULL;
    G4_TRY(g4_model_check_pair(backbone->model, model, err));
    g4_drafter *d = calloc(1, sizeof *d);
    if (!d) return g4_nomem(err, "drafter");
    d->backbone = backbone->model;
    d->rows = rows;
    const g4_config *b = &d->backbone->config;
    for (int64_t l = 0; l < b->num_hidden_layers; l++) d->shared_layer[b->layer_kind[l]] = l;
    g4_engine_plan plan = backbone->plan;
    plan.rows = plan.logit_rows = rows;
    g4_status s = g4_engine_open(&d->engine, model, &backbone->ops, backbone->par, &plan, err);
    if (s == G4_OK) s = allocate(d, backbone, err);
    if (s != G4_OK) {
        g4_drafter_close(d);
        return s;
    }
    *drafter = d;
    return G4_OK;
}

void g4_drafter_close(g4_drafter *d)
{
    if (!d) return;
    g4_engine_close(d->engine);
    g4_arena_free(&d->arena);
    free(d);
}

void g4_draft_begin(g4_drafter *d, const g4_session *s, const float *hidden)
{
    int64_t seen = d->backbone->config.sliding_window + 1;   /* [N15] */
    d->seen[G4_FULL] = (g4_span){ 0, s->n };
    d->seen[G4_SLIDING] = (g4_span){ s->n > seen ? s->n - seen : 0, s->n };
    memcpy(d->hidden, hidden, (size_t)d->backbone->config.hidden_size * sizeof(float));
}

static void observe(const g4_drafter *d, g4_tap_id id, int64_t layer, int64_t step, int64_t cols,
                    const float *data)
{
    const g4_tap_at at = { .id = id, .layer = layer, .step = step, .rows = 1, .cols = cols };
    g4_observe(d->tap, &at, data);
}

/* Marks the centroids with the top_k largest logits; the lower index among equals. */
static void pick_centroids(g4_drafter *d, int64_t count, int64_t top_k)
{
    memset(d->picked, 0, (size_t)count);
    for (int64_t k = 0; k < top_k; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < count; i++)
            if (!d->picked[i] && (best < 0 || d->centroid_logits[i] > d->centroid_logits[best]))
                best = i;
        d->picked[best] = 1;
    }
}

/* Centroid head (Gemma4AssistantMaskedEmbedder): only the tokens of the chosen
 * centroids get a logit, all others the smallest of those minus 1. */
static void centroid_head(g4_drafter *d, float *logits, const float *x)
{
    g4_engine *e = d->engine;
    const g4_model *m = e->model;
    const g4_config *c = &m->config;
    int64_t per = c->vocab_size / c->num_centroids;
    g4_linear(e, d->centroid_logits, x, 1, &m->centroids);
    pick_centroids(d, c->num_centroids, c->centroid_intermediate_top_k);
    g4_linear_args args = { .y = logits, .ldy = c->vocab_size, .x = x, .ldx = c->hidden_size,
                            .tokens = 1, .w = &m->embed_tokens };
    float least = __builtin_inff();
    for (int64_t i = 0; i < c->vocab_size; i++) {
        int32_t id = m->token_ordering[i];
        if (!d->picked[i / per]) continue;
        e->ops.linear[m->embed_tokens.dtype](&args, id, id + 1, e->scratch[0]);
        if (logits[id] < least) least = logits[id];
    }
    for (int64_t i = 0; i < c->vocab_size; i++)
        if (!d->picked[i / per]) logits[m->token_ordering[i]] = least - 1.0f;
}

/* The step of n rows, whose angles and visible keys are in the engine. */
static void step_rows(g4_drafter *d, const g4_session *s, const int32_t *last, int64_t n,
                      int64_t step)
{
    g4_engine *e = d->engine;
    const g4_model *m = e->model;
    const g4_config *c = &m->config;
    int64_t D = d->backbone->config.hidden_size, V = c->vocab_size;

    /* 1. the last token and what is known behind it */
    for (int64_t i = 0; i < n; i++) {
        float *row = d->inputs_embeds + i * 2 * D;
        g4_embed_token(d->backbone, row, last[i]);
        memcpy(row + D, d->hidden + i * D, (size_t)D * sizeof(float));
    }
    observe(d, G4_TAP_mtp_inputs_embeds, 0, step, 2 * D, d->inputs_embeds);
    g4_linear(e, e->x, d->inputs_embeds, n, &m->pre_projection);

    /* 2. the layers, over the backbone's keys */
    g4_batch b = { .rows = n };
    for (int kind = 0; kind < 2; kind++) b.shared[kind] = &s->kv[d->shared_layer[kind]];
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        g4_layer_forward(e, &b, l);
        observe(d, G4_TAP_mtp_output, l, step, c->hidden_size, e->x);
    }

    /* 3. logits, and the hidden state of the next step */
    g4_rmsnorm(e, e->h, e->x, m->norm, n, c->hidden_size, c->rms_norm_eps);
    g4_linear(e, d->hidden, e->h, n, &m->post_projection);
    if (!c->use_ordered_embeddings) g4_linear(e, d->logits, e->h, n, &m->embed_tokens);
    for (int64_t i = 0; c->use_ordered_embeddings && i < n; i++)
        centroid_head(d, d->logits + i * V, e->h + i * c->hidden_size);
    observe(d, G4_TAP_mtp_hidden, 0, step, D, d->hidden);
    observe(d, G4_TAP_mtp_logits, 0, step, V, d->logits);
}

void g4_draft_step(g4_drafter *d, const g4_session *s, int32_t last, int64_t step)
{
    for (int kind = 0; kind < 2; kind++) d->engine->keys[kind][0] = d->seen[kind];
    g4_angles(d->engine, 0, &s->next_position, 1);
    step_rows(d, s, &last, 1, step);
}

void g4_draft_rows(g4_drafter *d, const g4_session *s, const int64_t *known, const int32_t *last,
                   int64_t n)
{
    assert(n <= d->rows);
    int64_t seen = d->backbone->config.sliding_window + 1;   /* [N15] */
    for (int64_t i = 0; i < n; i++) {
        int32_t position = (int32_t)known[i];
        assert(known[i] <= s->n);
        d->engine->keys[G4_FULL][i] = (g4_span){ 0, known[i] };
        d->engine->keys[G4_SLIDING][i] =
            (g4_span){ known[i] > seen ? known[i] - seen : 0, known[i] };
        g4_angles(d->engine, i, &position, 1);
    }
    step_rows(d, s, last, n, 0);
}
