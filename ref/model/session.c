/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/session.h"

#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"
#include "ref/model/forward.h"
#include "ref/model/rope.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Room for the angles of every token, for full layers that keep values alone. */
static g4_status make_turn(g4_session *s, const g4_engine *e, g4_err *err)
{
    s->pairs = g4_rope_pairs(&e->model->config, G4_FULL);
    size_t slots = (size_t)g4_cache_slots(&e->model->config, &e->plan, G4_FULL);
    s->turn = g4_arena_alloc(&s->arena, slots, 2 * (size_t)s->pairs * sizeof(float));
    return s->turn ? G4_OK : g4_nomem(err, "session");
}

void g4_session_turn(g4_session *s, int64_t token, const double *cosine, const double *sine)
{
    if (!s->turn) return;
    float *turn = s->turn + token * 2 * s->pairs;
    for (int64_t i = 0; i < s->pairs; i++) {
        turn[i] = (float)cosine[i];
        turn[s->pairs + i] = (float)sine[i];
    }
}

/* A few random rows serve for all slots. */
static void fill_layer(g4_kv *kv, int64_t n, uint64_t seed, uint64_t layer)
{
    enum { PIECE = 256 };   /* values packed at once: whole blocks of any cache format */
    const g4_dtype_info *f = g4_dtype_get(kv->dtype);
    float x[PIECE];
    for (int64_t i = 0; i < kv->width; i += PIECE) {
        int64_t some = kv->width - i < PIECE ? kv->width - i : PIECE;
        size_t at = g4_dtype_row_bytes(kv->dtype, i), bytes = g4_dtype_row_bytes(kv->dtype, some);
        for (int64_t t = 0; t < n && t < kv->slots; t++) {
            unsigned char *value = kv->value + (size_t)t * kv->row_bytes + at;
            if (t < 64) {
                for (int64_t k = 0; k < some; k++)   /* variance 1 */
                    x[k] = (float)(g4_rng_unit(seed, layer, (uint64_t)(t * kv->width + i + k)) -
                                   0.5) * 3.4641f;
                f->pack(value, x, NULL, some);
            } else {
                memcpy(value, kv->value + (size_t)(t % 64) * kv->row_bytes + at, bytes);
            }
            if (kv->key) memcpy(kv->key + (size_t)t * kv->row_bytes + at, value, bytes);
        }
    }
}

void g4_session_fill(g4_session *s, int64_t n, uint64_t seed)
{
    const g4_config *c = &s->model->config;
    const float *freq = s->model->inv_freq[G4_FULL];
    assert(n <= s->ctx);
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        fill_layer(&s->kv[l], n, seed, (uint64_t)l);
    for (int64_t t = 0; s->turn && t < n; t++)
        for (int64_t i = 0; i < s->pairs; i++) {
            double cosine, sine;
            g4_rope_angles(&cosine, &sine, (int32_t)t, freq + i, 1);
            s->turn[t * 2 * s->pairs + i] = (float)cosine;
            s->turn[(t * 2 + 1) * s->pairs + i] = (float)sine;
        }
    s->n = s->written = n;
    s->next_position = (int32_t)n;
}

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
    if (st == G4_OK && g4_cache_is_halved(c, &e->plan, G4_FULL)) st = make_turn(s, e, err);
    for (int64_t l = 0; st == G4_OK && l < c->num_hidden_layers; l++) {
        int kind = c->layer_kind[l], halved = g4_cache_is_halved(c, &e->plan, kind);
        st = g4_kv_init(&s->kv[l], e->plan.kv, g4_cache_slots(c, &e->plan, kind),
                        c->kv_heads[kind] * c->head_dim[kind], halved, &s->arena, err);
        s->kv[l].head_dim = c->head_dim[kind];
        if (!halved) continue;
        s->kv[l].key_norm = e->model->layers[l].k_norm;
        s->kv[l].turn = s->turn;
        s->kv[l].pairs = s->pairs;
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

void g4_session_copy(g4_session *to, const g4_session *from, int64_t n)
{
    int64_t stored = rows_stored(from);
    assert(n >= 0 && n <= from->n && g4_session_keeps(from, n) && to->ctx == from->ctx);
    for (int64_t l = 0; l < from->model->config.num_hidden_layers; l++) {
        const g4_kv *kv = &from->kv[l];
        int wrapped = stored > kv->slots;
        size_t bytes = (size_t)(wrapped ? kv->slots : n) * kv->row_bytes;
        memcpy(to->kv[l].value, kv->value, bytes);
        if (kv->key) memcpy(to->kv[l].key, kv->key, bytes);
    }
    if (from->turn)
        memcpy(to->turn, from->turn, (size_t)(n * 2 * from->pairs) * sizeof *to->turn);
    to->n = n;
    to->written = n ? stored : 0;
    to->next_position = from->next_position - (int32_t)(from->n - n);
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

/* Refuses what g4_forward takes for granted. */
static g4_status check_prompt(const g4_session *s, const g4_prompt *p, g4_err *err)
{
    if (p->n > s->ctx - s->n)
        return g4_fail(err, G4_EINPUT, "the prompt has %lld tokens, the context has room for %lld",
                       (long long)p->n, (long long)(s->ctx - s->n));
    for (int64_t i = 0; i < p->n; i++)
        if (p->positions[i] < 0 || p->positions[i] > G4_MAX_POSITION)
            return g4_fail(err, G4_EINPUT, "position %d of token %lld is past %d", p->positions[i],
                           (long long)i, (int)G4_MAX_POSITION);
    return G4_OK;
}

/* A prompt on its way: its image blocks, as the prompt counts and as the session
 * does, and how far it got. */
typedef struct progress {
    g4_span *blocks, *shifted;   /* [n] */
    int64_t done;
} progress;

/* The next chunk; 0: there is none. */
static int next_chunk(g4_item *item, progress *g, const g4_prefill_item *it, int64_t chunk)
{
    const g4_prompt *p = it->prompt;
    int64_t begin = g->done;
    if (begin == p->n) return 0;
    g->done = chunk_end(g->blocks, p->n, begin, chunk);
    int last = g->done == p->n;
    *item = (g4_item){
        .session = it->session,
        .n = g->done - begin,
        .ids = p->ids + begin,
        .positions = p->positions + begin,
        .soft = it->soft && it->soft->rows ? it->soft->rows + begin : NULL,
        .blocks = g->shifted + begin,
        .logit_rows = last && (it->logits || it->hidden) ? 1 : 0,
        .logits = last ? it->logits : NULL,
        .hidden = last ? it->hidden : NULL,
    };
    return 1;
}

static g4_status prefill(g4_engine *e, const g4_prefill_item *items, int count, int64_t chunk,
                         g4_arena *arena, g4_err *err)
{
    progress *at = g4_arena_alloc(arena, (size_t)count, sizeof *at);
    g4_item *now = g4_arena_alloc(arena, (size_t)count, sizeof *now);
    if (!at || !now) return g4_nomem(err, "prefill");
    for (int i = 0; i < count; i++) {
        const g4_prompt *p = items[i].prompt;
        int64_t n = items[i].session->n;
        at[i].blocks = g4_arena_alloc(arena, (size_t)p->n, sizeof(g4_span));
        at[i].shifted = g4_arena_alloc(arena, (size_t)p->n, sizeof(g4_span));
        if (!at[i].blocks || !at[i].shifted) return g4_nomem(err, "prefill");
        g4_blocks(at[i].blocks, p->types, p->n);
        for (int64_t t = 0; t < p->n; t++)
            at[i].shifted[t] = (g4_span){ at[i].blocks[t].begin + n, at[i].blocks[t].end + n };
    }
    for (;;) {
        int used = 0;
        for (int i = 0; i < count; i++) used += next_chunk(&now[used], &at[i], &items[i], chunk);
        if (!used) return G4_OK;
        g4_forward(e, now, used);
    }
}

g4_status g4_prefill(g4_engine *e, const g4_prefill_item *items, int count, int64_t chunk,
                     g4_err *err)
{
    int64_t rows = 0;
    for (int i = 0; i < count; i++) {
        const g4_prompt *p = items[i].prompt;
        G4_TRY(check_prompt(items[i].session, p, err));
        rows += g4_chunk_rows(p->types, p->n, chunk);
    }
    if (rows > e->plan.rows)
        return g4_fail(err, G4_EINPUT, "a chunk of %lld tokens is more than the %lld planned for",
                       (long long)rows, (long long)e->plan.rows);
    g4_arena arena = { NULL };
    g4_status s = prefill(e, items, count, chunk, &arena, err);
    g4_arena_free(&arena);
    return s;
}
