/* SPDX-License-Identifier: Apache-2.0
 * Log-probabilities of a prompt's own tokens (echo).  The prompt is read in chunks whose final
 * hidden rows are kept, and the head makes logits of TILE rows at a time: 64 MB with the
 * 12B's vocabulary, where those of a whole chunk would be 512.
 * lm-eval sends each option of a question with all that stands before it; places depend only
 * on the tokens up to them, so those that two texts begin with alike are scored once. */
#include "harness/serve/serve.h"

#include "harness/kl/kl.h"
#include "harness/logprob.h"
#include "ref/model/forward.h"

#include <stdlib.h>
#include <string.h>

enum { TILE = 64 };

void g4_place_of(g4_place *p, const float *row, int64_t vocab, int32_t id, int64_t top)
{
    float best[G4_ASK_TOP];
    g4_log_norm n = g4_log_norm_of(row, vocab);
    int64_t k = top < vocab ? top : vocab;
    p->logprob = g4_log_prob_at(&n, row[id]);
    if (k > 0) g4_kl_best(row, vocab, k, p->top_ids, best);
    for (int64_t i = 0; i < k; i++) p->top[i] = g4_log_prob_at(&n, best[i]);
    for (int64_t i = k; i < top; i++) {   /* a vocabulary of fewer tokens */
        p->top_ids[i] = p->top_ids[0];
        p->top[i] = p->top[0];
    }
}

/* ---- rows of logits to places, on all threads ---- */

typedef struct tile {
    g4_scores *s;
    const float *logits;         /* [rows][V] */
    int64_t vocab, first;        /* place of the first row */
} tile;

static void score_rows(void *ctx, int64_t begin, int64_t end, int worker)
{
    const tile *t = ctx;
    (void)worker;
    for (int64_t r = begin; r < end; r++)
        g4_place_of(&t->s->places[t->first + r], t->logits + r * t->vocab, t->vocab,
                    t->s->ids[t->first + r], t->s->top);
}

/* Row r of `rows` behind the final norm says what token begin + r + 1 is. */
static void score_chunk(g4_scores *s, g4_timeline *t, const float *rows, int64_t begin, int64_t n,
                        int64_t known, float *logits)
{
    const g4_config *c = &t->rt->model->config;
    int64_t D = c->hidden_size, V = c->vocab_size, all = t->prompt.n;
    int64_t at = known > begin + 1 ? known - 1 - begin : 0;
    int64_t end = begin + n < all ? n : n - 1;
    while (at < end) {
        int64_t count = end - at < TILE ? end - at : TILE;
        g4_head_forward(t->engine, logits, rows + at * D, count);
        tile now = { s, logits, V, begin + at + 1 };
        g4_par_for(t->rt->par, count, 1, score_rows, &now);
        at += count;
    }
    if (begin + n < all) return;
    memcpy(t->hidden, rows + (n - 1) * D, (size_t)D * sizeof *rows);
    g4_head_forward(t->engine, t->logits, t->hidden, 1);
}

/* ---- a prompt ---- */

static g4_status make_room(g4_scores *s, int64_t n, g4_err *err)
{
    if (n <= s->capacity) return G4_OK;
    size_t want = (size_t)n + (size_t)n / 2;
    int32_t *ids = realloc(s->ids, want * sizeof *ids);
    if (ids) s->ids = ids;
    g4_place *places = ids ? realloc(s->places, want * sizeof *places) : NULL;
    if (!places) return g4_nomem(err, "log-probabilities");
    s->places = places;
    s->capacity = (int64_t)want;
    return G4_OK;
}

/* How many places are known of what p begins with. */
static int64_t known_places(const g4_scores *s, const g4_prompt *p, int64_t top)
{
    int64_t n = 0;
    if (s->top < top) return 0;
    while (n < s->n && n < p->n && s->ids[n] == p->ids[n]) n++;
    return n;
}

static g4_status read_rows(g4_scores *s, g4_timeline *t, int64_t known, g4_stop_fn *stop,
                           void *ctx, g4_err *err)
{
    const g4_config *c = &t->rt->model->config;
    const g4_prompt *p = &t->prompt;
    g4_arena arena = { NULL };
    float *rows = g4_arena_alloc(&arena, (size_t)t->chunk, (size_t)c->hidden_size * sizeof *rows);
    float *logits = g4_arena_alloc(&arena, TILE, (size_t)c->vocab_size * sizeof *logits);
    g4_status st = rows && logits ? G4_OK : g4_nomem(err, "log-probabilities");
    for (int64_t begin = t->session->n; st == G4_OK && begin < p->n && !stop(ctx);) {
        int64_t n = p->n - begin < t->chunk ? p->n - begin : t->chunk;
        g4_item item = { .session = t->session, .n = n, .ids = p->ids + begin,
                         .positions = p->positions + begin, .logit_rows = n, .hidden = rows };
        g4_forward(t->engine, &item, 1);
        score_chunk(s, t, rows, begin, n, known, logits);
        begin += n;
        s->n = begin;
    }
    g4_arena_free(&arena);
    return st;
}

g4_status g4_scores_read(g4_scores *s, g4_timeline *t, const g4_prompt *p, g4_arena *arena,
                         int64_t top, int64_t *kept, g4_stop_fn *stop, void *ctx, g4_err *err)
{
    int64_t known = known_places(s, p, top), most = known > 0 ? known - 1 : 0;
    if (known == 0) s->top = top;
    G4_TRY(make_room(s, p->n, err));
    G4_TRY(g4_timeline_begin(t, p, arena, most, kept, err));
    s->n = known;
    memcpy(s->ids, t->prompt.ids, (size_t)p->n * sizeof *s->ids);
    return read_rows(s, t, known, stop, ctx, err);
}

void g4_scores_free(g4_scores *s)
{
    free(s->ids);
    free(s->places);
    *s = (g4_scores){ 0 };
}
