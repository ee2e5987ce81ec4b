/* SPDX-License-Identifier: Apache-2.0
 * Documents -> requests to the model -> answers.  As lm-eval does it: white space at
 * the end of the context moves to the continuation; ids of context + continuation and
 * of the context, and what is longer is the continuation; its log-likelihood is the
 * sum of float64 log-softmaxes of float32 logits.  Continuations of one token share a
 * pass. */
#include "harness/eval/batch.h"
#include "harness/eval/score.h"

#include "harness/eval/pystr.h"
#include "harness/logprob.h"
#include "ref/input/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* An image of 280 tokens is 8 MB of pixels, a minute of video 116. */
enum { MEDIA_BYTES = 64 << 20 };

/* What a continuation asks of a job. */
typedef struct asked {
    size_t doc, job;
    int choice;                  /* -1: the text */
    const int32_t *ids;          /* [n] continuation */
    int64_t n;
} asked;

typedef struct scoring {
    g4_eval *e;
    g4_leaf *leaf;
    const g4_eval_run *r;
    g4_batch_job *jobs;
    asked *asked;
    size_t job_count, asked_count;
    size_t *first;               /* [jobs + 1] a job's asked */
    g4_detok *texts;             /* [docs] of generated answers */
    char **made;                 /* [docs] malloc'ed */
    size_t *made_len;
    int64_t *written;            /* [docs] tokens */
    size_t *left;                /* [docs] jobs without an answer yet */
    double last;                 /* when the last question was finished */
    int64_t stops[32];
    int stop_count;
    int thinking;                /* what stands before an answer's last <channel|> is none */
    int32_t open, close;         /* <|channel>, <channel|> */
    unsigned char *inside;       /* [docs] a thought is open */
    size_t next;                 /* document that is to be asked next */
    g4_arena arena, media;       /* media: pixels and sounds of the jobs at hand */
} scoring;

/* ---- ids ---- */

static g4_status encode(scoring *s, const char *context, const char *more, g4_ids *ids,
                        g4_err *err)
{
    g4_bos bos;
    char *text = g4_arena_printf(&s->arena, "%s%s", context, more);
    if (!text) return g4_nomem(err, s->leaf->name);
    ids->count = 0;
    G4_TRY(g4_bos_parse(&bos, s->r->o->bos ? s->r->o->bos : "auto", err));
    return g4_tokenizer_encode_bos(s->r->tokenizer, text, strlen(text), bos, ids, err);
}

static const int32_t *keep(scoring *s, const int32_t *ids, size_t n)
{
    int32_t *copy = g4_arena_alloc(&s->arena, n + 1, sizeof *copy);
    if (copy) memcpy(copy, ids, n * sizeof *copy);
    return copy;
}

/* The context with its media's soft tokens. */
static g4_status media_prompt(scoring *s, const g4_doc *d, const char *context, g4_batch_job *j,
                              g4_err *err)
{
    const g4_options *o = s->r->o;
    const g4_config *c = &s->r->rt->model->config;
    g4_prompt *p = g4_arena_alloc(&s->media, 1, sizeof *p);
    g4_request q = { .text = context, .len = strlen(context), .media = d->media,
                     .media_count = d->media_count, .image_tokens = o->image_tokens,
                     .audio_limit = o->audio_limit };
    if (!p) return g4_nomem(err, s->leaf->name);
    G4_TRY(g4_bos_parse(&q.bos, o->bos ? o->bos : "auto", err));
    G4_TRY(g4_prompt_build(p, &q, s->r->processor, s->r->tokenizer, &s->media, NULL, err));
    j->media = p;
    return g4_prompt_check(p, s->leaf->name, c->vocab_size, c->mm_posemb_size,
                           c->patch_size ? g4_patch_values(c) : 0, c->audio_embed_dim, err);
}

/* Behind it the first n of more. */
static g4_status media_ids(scoring *s, g4_batch_job *j, const int32_t *more, int64_t n, g4_err *err)
{
    int64_t first = j->media->n;
    int32_t *ids = g4_arena_alloc(&s->arena, (size_t)(first + n) + 1, sizeof *ids);
    if (!ids) return g4_nomem(err, s->leaf->name);
    memcpy(ids, j->media->ids, (size_t)first * sizeof *ids);
    if (n) memcpy(ids + first, more, (size_t)n * sizeof *ids);
    j->ids = ids;
    j->n = first + n;
    return G4_OK;
}

/* A job for these inputs, or the last one of the same document if it is the same. */
static g4_status job_for(scoring *s, size_t doc, const char *context, const int32_t *ids,
                         int64_t n, int64_t tail, g4_err *err)
{
    const g4_doc *d = &s->leaf->docs[doc];
    g4_batch_job *last = s->job_count ? &s->jobs[s->job_count - 1] : NULL;
    asked *a = &s->asked[s->asked_count - 1];
    int fresh = s->asked_count < 2 || s->asked[s->asked_count - 2].doc != doc;
    if (!fresh && d->choice_count && tail == 1 && last->rows == 1 &&
        (d->media_count || (last->n == n - 1 &&
                            memcmp(last->ids, ids, (size_t)(n - 1) * sizeof *ids) == 0))) {
        a->job = s->job_count - 1;
        return G4_OK;
    }
    g4_batch_job *j = &s->jobs[s->job_count];
    int64_t more = d->choice_count ? tail - 1 : 0;   /* the last token is only predicted */
    *j = (g4_batch_job){ .rows = more + 1, .max_tokens = d->choice_count ? 0 : d->max_tokens };
    a->job = s->job_count;
    s->first[s->job_count++] = s->asked_count - 1;
    s->left[doc]++;
    if (d->media_count) {
        if (fresh) G4_TRY(media_prompt(s, d, context, j, err));
        else j->media = last->media;   /* options follow the same context */
        G4_TRY(media_ids(s, j, ids + n - tail, more, err));
    } else {
        j->n = n - (d->choice_count ? 1 : 0);
        j->ids = keep(s, ids, (size_t)j->n);
    }
    s->leaf->docs[doc].tokens += j->n;
    return j->ids ? G4_OK : g4_nomem(err, s->leaf->name);
}

static g4_status ask(scoring *s, size_t doc, int choice, g4_ids *whole, g4_ids *part, g4_err *err)
{
    const g4_doc *d = &s->leaf->docs[doc];
    asked *a = &s->asked[s->asked_count++];
    const char *context = choice >= 0 && d->contexts ? d->contexts[choice] : d->context;
    size_t n = strlen(context);
    const char *more = choice < 0 ? "" : d->choices[choice];
    *a = (asked){ .doc = doc, .choice = choice };
    if (choice >= 0 && n && strchr(" \t\n\r\f\v", context[n - 1])) {
        while (n && strchr(" \t\n\r\f\v", context[n - 1])) n--;
        more = g4_arena_printf(&s->arena, "%s%s", context + n, more);
        context = g4_arena_strndup(&s->arena, context, n);
        if (!more || !context) return g4_nomem(err, s->leaf->name);
    }
    G4_TRY(encode(s, context, more, whole, err));
    G4_TRY(encode(s, context, "", part, err));
    int64_t tail = (int64_t)whole->count - (int64_t)part->count;
    if (whole->count < 1 || (choice >= 0 && (tail < 1 || whole->count < 2)))
        return g4_fail(err, G4_EINPUT, "%s: document %zu: nothing to predict", s->leaf->name, doc);
    G4_TRY(job_for(s, doc, context, whole->ids, (int64_t)whole->count, tail, err));
    s->e->alone += s->jobs[a->job].n;
    if (choice < 0) return G4_OK;
    a->n = tail;
    a->ids = keep(s, whole->ids + part->count, (size_t)tail);
    return a->ids ? G4_OK : g4_nomem(err, s->leaf->name);
}

/* The next questions: all that are left, or as many as have media for some memory. */
static g4_status ask_some(scoring *s, g4_err *err)
{
    g4_ids whole = { 0 }, part = { 0 };
    g4_status st = G4_OK;
    s->job_count = s->asked_count = 0;
    for (; st == G4_OK && s->next < s->leaf->count && g4_arena_bytes(&s->media) < MEDIA_BYTES;
         s->next++) {
        const g4_doc *d = &s->leaf->docs[s->next];
        int n = d->choice_count;
        if (d->done || d->other) continue;
        for (int k = n ? 0 : -1; st == G4_OK && k < n; k++)
            st = ask(s, s->next, k, &whole, &part, err);
    }
    s->first[s->job_count] = s->asked_count;
    g4_ids_free(&whole);
    g4_ids_free(&part);
    return st;
}

/* ---- answers ---- */

g4_status g4_doc_finish(g4_eval *e, g4_leaf *leaf, size_t doc, const g4_eval_run *r,
                        double *last, g4_err *err)
{
    g4_doc *d = &leaf->docs[doc];
    double now = r->clock ? r->clock() : 0.0;
    d->seconds = now - *last;
    *last = now;
    d->done = 1;
    G4_TRY(g4_doc_score(e, d, err));
    return r->finished ? r->finished(r->ctx, leaf, doc, err) : G4_OK;
}

static g4_status finish(scoring *s, size_t doc, g4_err *err)
{
    return g4_doc_finish(s->e, s->leaf, doc, s->r, &s->last, err);
}

static g4_status scored(void *ctx, size_t job, const float *logits, g4_err *err)
{
    scoring *s = ctx;
    int64_t V = s->r->rt->model->config.vocab_size;
    size_t doc = s->asked[s->first[job]].doc;
    for (size_t i = s->first[job]; i < s->first[job + 1]; i++) {
        const asked *a = &s->asked[i];
        g4_doc *d = &s->leaf->docs[a->doc];
        double sum = 0.0;
        int all = 1, best;
        for (int64_t t = 0; t < a->n; t++) {
            sum += g4_log_prob(logits + t * V, V, a->ids[t], &best);
            all &= best;
        }
        d->loglik[a->choice] = sum;
        d->greedy[a->choice] = (unsigned char)all;
    }
    return --s->left[doc] ? G4_OK : finish(s, doc, err);
}

/* Appends a piece; *end: one of `until` is in the text, which is cut there. */
static g4_status grow(scoring *s, size_t doc, const char *piece, size_t len, int *end, g4_err *err)
{
    const char *const *until = s->leaf->docs[doc].until;
    size_t have = s->made_len[doc];
    char *p = realloc(s->made[doc], have + len + 1);
    if (!p) return g4_nomem(err, s->leaf->name);
    s->made[doc] = p;
    memcpy(p + have, piece, len);
    p[s->made_len[doc] = have + len] = 0;
    for (; until && *until && !s->inside[doc]; until++) {
        char *at = **until ? strstr(p, *until) : NULL;
        if (!at) continue;
        *at = 0;
        s->made_len[doc] = (size_t)(at - p);
        *end = 1;
    }
    return G4_OK;
}

/* As lm-eval's think_end_token: the answer begins behind the last thought.  Unlike there, a
 * text that ends answers ends no thought [N49]. */
static void think(scoring *s, size_t doc, int32_t id)
{
    if (id == s->open) s->inside[doc] = 1;
    if (id != s->close) return;
    s->inside[doc] = 0;
    s->made_len[doc] = 0;
    s->leaf->docs[doc].thought = s->written[doc] + 1;
    g4_detok_free(&s->texts[doc]);
    g4_detok_init(&s->texts[doc], s->r->tokenizer, !s->leaf->docs[doc].special);
}

static g4_status keep_answer(scoring *s, size_t doc, g4_err *err)
{
    const char *text = s->made[doc];
    size_t n = s->made_len[doc], step;
    while (s->thinking && n && g4_py_space(text, n, &step)) text += step, n -= step;
    s->leaf->docs[doc].response = g4_arena_strndup(&s->e->arena, text, n);
    return s->leaf->docs[doc].response ? finish(s, doc, err) : g4_nomem(err, s->leaf->name);
}

static g4_status token(void *ctx, size_t job, int32_t id, int *end, g4_err *err)
{
    scoring *s = ctx;
    size_t doc = s->asked[s->first[job]].doc, len;
    const char *piece;
    g4_doc *d = &s->leaf->docs[doc];
    for (int i = 0; i < s->stop_count; i++)
        if (s->stops[i] == id) *end = 1;
    d->tokens++;
    if (!*end) {
        G4_TRY(g4_detok_push(&s->texts[doc], id, &piece, &len, err));
        G4_TRY(grow(s, doc, piece, len, end, err));
        if (s->thinking) think(s, doc, id);
    }
    *end |= ++s->written[doc] == d->max_tokens;
    s->e->alone += !*end;   /* it is read, too */
    if (!*end) return G4_OK;
    G4_TRY(g4_detok_end(&s->texts[doc], &piece, &len, err));
    G4_TRY(grow(s, doc, piece, len, end, err));
    return keep_answer(s, doc, err);
}

/* ---- one leaf ---- */

static g4_status prepare(scoring *s, g4_err *err)
{
    const g4_generation *g = &s->r->rt->model->generation;
    g4_arena *a = &s->arena;
    size_t docs = s->leaf->count, n = 0;
    for (size_t i = 0; i < docs; i++) {
        size_t choices = (size_t)s->leaf->docs[i].choice_count;
        n += choices ? choices : 1;
    }
    s->jobs = g4_arena_alloc(a, n + 1, sizeof *s->jobs);
    s->asked = g4_arena_alloc(a, n + 1, sizeof *s->asked);
    s->first = g4_arena_alloc(a, n + 1, sizeof *s->first);
    s->texts = g4_arena_alloc(a, docs + 1, sizeof *s->texts);
    s->made = g4_arena_alloc(a, docs + 1, sizeof *s->made);
    s->made_len = g4_arena_alloc(a, docs + 1, sizeof *s->made_len);
    s->written = g4_arena_alloc(a, docs + 1, sizeof *s->written);
    s->left = g4_arena_alloc(a, docs + 1, sizeof *s->left);
    s->inside = g4_arena_alloc(a, docs + 1, 1);
    s->thinking = s->e->frame.turns && s->e->frame.chat.thinking == 1;
    s->open = (int32_t)g4_tokenizer_id(s->r->tokenizer, "<|channel>");
    s->close = (int32_t)g4_tokenizer_id(s->r->tokenizer, "<channel|>");
    if (!s->jobs || !s->asked || !s->first || !s->texts || !s->made || !s->made_len ||
        !s->written || !s->left || !s->inside)
        return g4_nomem(err, s->leaf->name);
    if (s->r->clock) s->last = s->r->clock();
    for (size_t i = 0; i < docs; i++)
        g4_detok_init(&s->texts[i], s->r->tokenizer, !s->leaf->docs[i].special);
    for (int i = 0; i < g->eos_count && i < 32; i++) s->stops[s->stop_count++] = g->eos[i];
    return G4_OK;
}

static g4_status answer(g4_eval *e, g4_leaf *leaf, const g4_eval_run *r, g4_err *err)
{
    scoring s = { .e = e, .leaf = leaf, .r = r };
    g4_batch b = { .rt = r->rt, .chunk = r->o->chunk, .scored = scored, .token = token,
                   .ctx = &s, .computed = &e->computed };
    g4_status st = prepare(&s, err);
    if (st == G4_OK && r->o->mask) st = g4_mask_by_name(&b.mask, r->o->mask, err);
    while (st == G4_OK && s.next < leaf->count) {
        st = ask_some(&s, err);
        b.jobs = s.jobs;
        b.count = s.job_count;
        if (st == G4_OK) st = g4_batch_run(&b, err);
        g4_arena_free(&s.media);
    }
    for (size_t i = 0; s.made_len && i < leaf->count; i++) {
        g4_detok_free(&s.texts[i]);
        free(s.made[i]);
    }
    g4_arena_free(&s.arena);
    return st;
}

g4_status g4_eval_score(g4_eval *e, g4_leaf *leaf, const g4_eval_run *r, g4_err *err)
{
    int rolling = leaf->count && leaf->docs[0].rolling;
    G4_TRY(rolling ? g4_eval_roll(e, leaf, r, err) : answer(e, leaf, r, err));
    return g4_leaf_score(e, leaf, err);
}
