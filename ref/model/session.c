/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/session.h"

#include "ref/model/forward.h"

#include <assert.h>
#include <stdlib.h>

g4_status g4_session_open(g4_session **session, const g4_engine *e, g4_err *err)
{
    const g4_config *c = &e->model->config;
    *session = NULL;
    g4_session *s = calloc(1, sizeof *s);
    if (!s) return g4_nomem(err, "session");
    s->model = e->model;
    s->ctx = e->plan.ctx;
    int wraps = g4_cache_slots(c, &e->plan, G4_SLIDING) < s->ctx;
    s->back = wraps ? g4_plan_back(&e->plan) : s->ctx;
    s->kv = g4_arena_alloc(&s->arena, (size_t)c->num_hidden_layers, sizeof *s->kv);
    g4_status st = s->kv ? G4_OK : g4_nomem(err, "session");
    for (int64_t l = 0; st == G4_OK && l < c->num_hidden_layers; l++) {
        int kind = c->layer_kind[l];
        st = g4_kv_init(&s->kv[l], e->plan.kv, g4_cache_slots(c, &e->plan, kind),
                        c->kv_heads[kind] * c->head_dim[kind], &s->arena, err);
    }
    if (st != G4_OK) {
        g4_session_close(s);
        return st;
    }
    *session = s;
    return G4_OK;
}

void g4_session_close(g4_session *s)
{
    if (!s) return;
    g4_arena_free(&s->arena);
    free(s);
}

void g4_session_reset(g4_session *s)
{
    s->n = 0;
    s->next_position = 0;
    s->written = 0;
}

static int64_t rows_stored(const g4_session *s)
{
    return s->n > s->written ? s->n : s->written;
}

int g4_session_keeps(const g4_session *s, int64_t n)
{
    return n == 0 || rows_stored(s) - n <= s->back;
}

void g4_session_rewind(g4_session *s, int64_t n)
{
    assert(n >= 0 && n <= s->n && g4_session_keeps(s, n));
    s->written = n ? rows_stored(s) : 0;
    s->next_position -= (int32_t)(s->n - n);
    s->n = n;
}

/* End of the chunk that begins at `begin`: not inside an image block. */
static int64_t chunk_end(const g4_span *blocks, int64_t n, int64_t begin, int64_t chunk)
{
    int64_t end = chunk <= 0 || n - begin < chunk ? n : begin + chunk;
    g4_span last = blocks[end - 1];
    return last.end > end ? last.end : end;
}

int64_t g4_chunk_rows(const int8_t *types, int64_t n, int64_t chunk)
{
    int64_t most = 0, begin = 0, end = 0;
    while (begin < n) {
        end = chunk <= 0 || n - begin < chunk ? n : begin + chunk;
        while (end < n && (types[end - 1] == G4_IMAGE || types[end - 1] == G4_VIDEO) &&
               (types[end] == G4_IMAGE || types[end] == G4_VIDEO))
            end++;
        if (end - begin > most) most = end - begin;
        begin = end;
    }
    return most;
}

g4_status g4_prefill(g4_engine *e, g4_session *s, const g4_prompt *p, const g4_soft *soft,
                     int64_t chunk, int64_t logit_rows, float *logits, float *hidden,
                     g4_err *err)
{
    if (p->n > s->ctx - s->n)
        return g4_fail(err, G4_EINPUT, "the prompt has %lld tokens, the context has room for %lld",
                       (long long)p->n, (long long)(s->ctx - s->n));
    int64_t rows = g4_chunk_rows(p->types, p->n, chunk);
    if (rows > e->plan.rows)
        return g4_fail(err, G4_EINPUT, "a chunk of %lld tokens is more than the %lld planned for",
                       (long long)rows, (long long)e->plan.rows);
    for (int64_t i = 0; i < p->n; i++)
        if (p->positions[i] < 0 || p->positions[i] > G4_MAX_POSITION)
            return g4_fail(err, G4_EINPUT, "position %d of token %lld is past %d", p->positions[i],
                           (long long)i, (int)G4_MAX_POSITION);
    g4_span *blocks = calloc((size_t)p->n, sizeof *blocks);
    g4_span *shifted = calloc((size_t)p->n, sizeof *shifted);
    if (!blocks || !shifted) {
        free(blocks);
        free(shifted);
        return g4_nomem(err, "prefill");
    }
    g4_blocks(blocks, p->types, p->n);
    for (int64_t i = 0; i < p->n; i++)
        shifted[i] = (g4_span){ blocks[i].begin + s->n, blocks[i].end + s->n };
    for (int64_t begin = 0; begin < p->n;) {
        int64_t end = chunk_end(blocks, p->n, begin, chunk);
        int last = end == p->n;
        g4_item item = {
            .session = s,
            .n = end - begin,
            .ids = p->ids + begin,
            .positions = p->positions + begin,
            .soft = soft && soft->rows ? soft->rows + begin : NULL,
            .blocks = shifted + begin,
            .logit_rows = last && (logits || hidden) ? logit_rows : 0,
            .logits = last ? logits : NULL,
            .hidden = last ? hidden : NULL,
        };
        assert(item.logit_rows <= item.n);
        g4_forward(e, &item, 1);
        begin = end;
    }
    free(blocks);
    free(shifted);
    return G4_OK;
}
