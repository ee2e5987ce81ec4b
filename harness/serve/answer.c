/* SPDX-License-Identifier: Apache-2.0
 * The one thread that computes: a job's prompts one after the other, each answered n times,
 * on one timeline, which keeps what the next prompt begins with. */
#include "harness/serve/serve.h"

#include "harness/request.h"
#include "ref/model/generate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    COMPLETION_TOKENS = 16,        /* OpenAI's, where max_tokens is not given */
    MOST_NUMBERS = 2 << 20,        /* log-probabilities of one request: some 300 MB as JSON */
};

typedef struct work {
    g4_answerer *a;
    g4_job *j;
    g4_tale tale;
    int64_t numbers;               /* log-probabilities that are asked for */
    int hidden;                    /* the prompt's first token is a <bos> that echo does not show */
    const float *row;              /* where g4_generate shows a token's logits */
    g4_status status;              /* first error inside the token callback */
    int told_off;                  /* the client or the program has ended it */
    g4_err *err;
} work;

static int unwanted(void *ctx)
{
    work *w = ctx;
    w->told_off = w->told_off || w->a->ending() || !g4_desk_wanted(&w->a->served->desk, w->j);
    return w->told_off;
}

/* ---- prompts ---- */

static g4_status make_prompt(g4_prompt *p, const int32_t *ids, int64_t n, g4_arena *arena,
                             g4_err *err)
{
    *p = (g4_prompt){ .n = n };
    p->ids = g4_arena_alloc(arena, (size_t)n + 1, sizeof *p->ids);
    p->positions = g4_arena_alloc(arena, (size_t)n + 1, sizeof *p->positions);
    p->types = g4_arena_alloc(arena, (size_t)n + 1, sizeof *p->types);
    if (!p->ids || !p->positions || !p->types) return g4_nomem(err, "prompt");
    for (int64_t i = 0; i < n; i++) {
        p->ids[i] = ids[i];
        p->positions[i] = (int32_t)i;
    }
    return G4_OK;
}

/* A placeholder that a text spells is a token like any other here: no medium is behind it. */
static g4_status text_prompt(work *w, const g4_ask_prompt *from, g4_prompt *p, g4_arena *arena)
{
    const g4_served *s = w->a->served;
    g4_ids ids = { 0 };
    g4_status st = G4_OK;
    int32_t bos = g4_tokenizer_bos(s->tokenizer);
    w->hidden = !from->text && s->o->bos_ids && bos >= 0 && from->ids[0] != bos;
    if (!from->text && !w->hidden) return make_prompt(p, from->ids, from->n, arena, w->err);
    if (w->hidden) st = g4_ids_push(&ids, bos, w->err);
    for (int64_t i = 0; w->hidden && st == G4_OK && i < from->n; i++)
        st = g4_ids_push(&ids, from->ids[i], w->err);
    if (from->text)
        st = g4_tokenizer_encode_bos(s->tokenizer, from->text, strlen(from->text), s->bos, &ids,
                                     w->err);
    if (st == G4_OK) st = make_prompt(p, ids.ids, (int64_t)ids.count, arena, w->err);
    g4_ids_free(&ids);
    return st;
}

/* A file without a name, for readers that want a path. */
static g4_status put_file(const g4_ask_media *m, int *fd, char path[32], g4_err *err)
{
    *fd = memfd_create("media", MFD_CLOEXEC);
    if (*fd < 0) return g4_fail(err, G4_EIO, "request: no room for its media");
    snprintf(path, 32, "/proc/self/fd/%d", *fd);
    for (size_t at = 0; at < m->size;) {
        ssize_t n = write(*fd, m->data + at, m->size - at);
        if (n <= 0) return g4_fail(err, G4_EIO, "request: no room for its media");
        at += (size_t)n;
    }
    return G4_OK;
}

static g4_status build_chat(work *w, const g4_media *media, g4_prompt *p, g4_arena *arena)
{
    const g4_served *s = w->a->served;
    const g4_ask *ask = &w->j->ask;
    const g4_options *o = s->o;
    g4_request r = { .text = ask->text.text, .len = ask->text.len, .media = media,
                     .media_count = ask->text.media_count, .image_tokens = o->image_tokens,
                     .audio_limit = o->audio_limit, .bos = s->bos };
    return g4_prompt_build(p, &r, &s->processor, s->tokenizer, arena, NULL, w->err);
}

/* What a client is told of its files has no path of ours in it. */
static void hide_paths(g4_err *err)
{
    static const char head[] = "/proc/self/fd/";
    char *at;
    while ((at = strstr(err->msg, head)) != NULL) {
        char *end = at + sizeof head - 1;
        while (*end >= '0' && *end <= '9') end++;
        memcpy(at, "media", 5);
        memmove(at + 5, end, strlen(end) + 1);
    }
}

static g4_status chat_prompt(work *w, g4_prompt *p, g4_arena *arena)
{
    const g4_ask *ask = &w->j->ask;
    size_t n = ask->text.media_count, made = 0;
    if (n > G4_MAX_MEDIA)
        return g4_fail(w->err, G4_EINPUT, "request: messages hold %zu media, at most %d", n,
                       (int)G4_MAX_MEDIA);
    g4_media media[G4_MAX_MEDIA];
    char paths[G4_MAX_MEDIA][32];
    int fds[G4_MAX_MEDIA];
    g4_status st = G4_OK;
    while (st == G4_OK && made < n) {
        media[made] = (g4_media){ ask->text.media[made].kind, paths[made] };
        st = put_file(&ask->media[ask->media_order[made]], &fds[made], paths[made], w->err);
        made += fds[made] >= 0;
    }
    if (st == G4_OK) st = build_chat(w, media, p, arena);
    if (st != G4_OK) hide_paths(w->err);
    while (made > 0) close(fds[--made]);
    return st;
}

static g4_status check_prompt(work *w, const g4_prompt *p, int64_t *max_tokens)
{
    const g4_served *s = w->a->served;
    const g4_config *c = &s->rt.model->config;
    const g4_ask *ask = &w->j->ask;
    int64_t most = s->ctx - p->n;
    *max_tokens = ask->max_tokens >= 0 ? ask->max_tokens
                  : ask->kind == G4_ASK_CHAT || most < COMPLETION_TOKENS ? most : COMPLETION_TOKENS;
    if (p->n < 1) return g4_fail(w->err, G4_EINPUT, "request: prompt has no tokens");
    if (most < 0 || *max_tokens > most || (most == 0 && ask->max_tokens != 0))
        return g4_fail(w->err, G4_EINPUT, "request: a prompt of %lld tokens and max_tokens %lld: "
                       "the context has %lld (--ctx)", (long long)p->n, (long long)*max_tokens,
                       (long long)s->ctx);
    if (ask->logprobs >= 0)
        w->numbers += ((ask->echo ? p->n : 0) + *max_tokens) * (ask->logprobs + 1) * ask->n;
    if (w->numbers > MOST_NUMBERS)
        return g4_fail(w->err, G4_EINPUT, "request: asks for more than %d log-probabilities",
                       (int)MOST_NUMBERS);
    return g4_prompt_check(p, "request", c->vocab_size, c->mm_posemb_size,
                           c->patch_size ? g4_patch_values(c) : 0, c->audio_embed_dim, w->err);
}

/* ---- one answer ---- */

static g4_generate_options choose(work *w, int64_t stops[G4_MAX_STOPS], int64_t max_tokens)
{
    const g4_ask *ask = &w->j->ask;
    g4_generate_options opt = w->a->served->sampling;
    g4_options o = *w->a->served->o;
    o.ignore_eos = ask->ignore_eos;
    if (ask->temperature >= 0.0) opt.sampler.temperature = ask->temperature;
    if (ask->top_p >= 0.0) opt.sampler.top_p = ask->top_p;
    if (ask->top_k >= 0) opt.sampler.top_k = ask->top_k;
    opt.sampler.seed = ask->seeded ? ask->seed + (uint64_t)w->tale.index
                                   : opt.sampler.seed + w->a->count;
    if (ask->ignore_eos) opt.stop_count = 0;
    if (ask->kind == G4_ASK_CHAT)
        g4_stops_choose(&opt, stops, &o, w->a->served->tokenizer, &w->a->line.prompt);
    opt.max_tokens = max_tokens;
    opt.pace = w->a->line.drafter && w->a->served->o->max_draft < 0 ? &w->a->pace : NULL;
    opt.row = &w->row;
    return opt;
}

static int on_token(void *ctx, int32_t id)
{
    work *w = ctx;
    int end = 0;
    w->status = g4_ids_push(&w->a->line.made, id, w->err);
    if (w->status == G4_OK) w->status = g4_tale_token(&w->tale, id, w->row, &end, w->err);
    return w->status != G4_OK || end || unwanted(w);
}

static const char *why(const work *w, const g4_generate_options *opt)
{
    const g4_ids *made = &w->a->line.made;
    if (w->tale.stopped) return "stop";
    for (int i = 0; made->count && i < opt->stop_count; i++)
        if (opt->stop[i] == made->ids[made->count - 1]) return "stop";
    return "length";
}

static g4_status generate(work *w, int64_t max_tokens)
{
    g4_timeline *t = &w->a->line;
    g4_generate_stats stats = { 0 };
    int64_t stops[G4_MAX_STOPS];
    g4_generate_options opt = choose(w, stops, max_tokens);
    w->a->count++;
    G4_TRY(g4_generate(t->engine, t->session, t->drafter, t->logits, t->hidden, &opt, on_token, w,
                       &stats, w->err));
    G4_TRY(w->status);
    w->tale.made += stats.tokens;
    return w->told_off ? G4_OK : g4_tale_finish(&w->tale, why(w, &opt), w->err);
}

/* Echoed text is the prompt's as it was given, or what its ids say. */
static g4_status echo(work *w, const g4_ask_prompt *from)
{
    const g4_prompt *p = &w->a->line.prompt;
    const g4_place *places = w->j->ask.logprobs >= 0 ? w->a->scores.places : NULL;
    char *text = NULL;
    size_t len = 0;
    if (from->text)
        return g4_tale_echo(&w->tale, from->text, strlen(from->text), places, p->ids, p->n, w->err);
    G4_TRY(g4_tokenizer_decode(w->a->served->tokenizer, from->ids, (size_t)from->n, 0, &text, &len,
                               w->err));
    w->tale.first_unknown = !w->hidden;
    g4_status s = g4_tale_echo(&w->tale, text, len, places ? places + w->hidden : NULL, from->ids,
                               from->n, w->err);
    free(text);
    return s;
}

/* ---- one prompt ---- */

static g4_status read_prompt(work *w, const g4_prompt *p, g4_arena *arena)
{
    const g4_ask *ask = &w->j->ask;
    g4_timeline *t = &w->a->line;
    int64_t kept = 0;
    if (ask->echo && ask->logprobs >= 0) {
        G4_TRY(g4_scores_read(&w->a->scores, t, p, arena, ask->logprobs, &kept, unwanted, w,
                              w->err));
    } else {
        G4_TRY(g4_timeline_begin(t, p, arena, p->n, &kept, w->err));
        G4_TRY(g4_timeline_read(t, unwanted, w, w->err));
    }
    w->tale.prompt_tokens += t->prompt.n;
    w->tale.cached += kept;
    return G4_OK;
}

static g4_status answer_prompt(work *w, size_t number)
{
    const g4_ask *ask = &w->j->ask;
    g4_timeline *t = &w->a->line;
    g4_arena arena = { NULL };
    g4_prompt p;
    int64_t max_tokens = 0;
    g4_status s = ask->kind == G4_ASK_CHAT ? chat_prompt(w, &p, &arena)
                                           : text_prompt(w, &ask->prompts[number], &p, &arena);
    if (s == G4_OK) s = check_prompt(w, &p, &max_tokens);
    if (s == G4_OK) s = read_prompt(w, &p, &arena);
    g4_arena_free(&arena);
    for (int64_t i = 0; s == G4_OK && i < ask->n && !w->told_off; i++) {
        if (i > 0) {
            g4_timeline_again(t);
            s = g4_timeline_read(t, unwanted, w, w->err);
            if (s != G4_OK || w->told_off) break;
        }
        g4_tale_begin(&w->tale);
        if (ask->echo) s = echo(w, &ask->prompts[number]);
        if (s == G4_OK) s = generate(w, max_tokens);
    }
    return s;
}

/* ---- a job ---- */

static void count(g4_desk *d, const g4_tale *t)
{
    pthread_mutex_lock(&d->mutex);
    d->prompt_tokens += (uint64_t)t->prompt_tokens;
    d->cached_tokens += (uint64_t)t->cached;
    d->made_tokens += (uint64_t)t->made;
    pthread_mutex_unlock(&d->mutex);
}

/* Before anything was written the status says it; in the middle of events, one of them. */
static void fail(work *w, g4_status s)
{
    g4_desk *d = &w->a->served->desk;
    int status = w->told_off ? 503 : g4_error_status(s), events = w->j->status != 0;
    const char *code = strstr(w->err->msg, "the context has") ? "context_length_exceeded" : NULL;
    char *text = g4_error_text(status, w->told_off ? "the server is ending" : w->err->msg, NULL,
                               code);
    if (text) {
        if (events) g4_desk_write(d, w->j, 200, "data: ", 6, NULL);
        g4_desk_write(d, w->j, status, text, strlen(text), NULL);
        if (events) g4_desk_write(d, w->j, 200, "\n\n", 2, NULL);
    }
    free(text);
    g4_desk_done(d, w->j, status);
}

void g4_answer_job(g4_answerer *a, g4_job *j)
{
    g4_err err = { G4_OK, "" };
    work w = { .a = a, .j = j, .err = &err,
               .tale = { .served = a->served, .job = j, .ask = &j->ask,
                         .number = (int64_t)a->count, .index = -1 } };
    size_t prompts = j->ask.kind == G4_ASK_CHAT ? 1 : j->ask.prompt_count;
    g4_status s = unwanted(&w) ? G4_EINPUT : G4_OK;
    for (size_t i = 0; s == G4_OK && i < prompts && !w.told_off; i++) s = answer_prompt(&w, i);
    if (s == G4_OK && !w.told_off) s = g4_tale_end(&w.tale, &err);
    count(&a->served->desk, &w.tale);
    if (s == G4_OK && !w.told_off) g4_desk_done(&a->served->desk, j, 200);
    else fail(&w, s);
    g4_tale_free(&w.tale);
}

g4_status g4_answerer_open(g4_answerer *a, g4_served *s, g4_err *err)
{
    *a = (g4_answerer){ .served = s };
    G4_TRY(g4_timeline_open(&a->line, &s->rt, s->o, &s->processor, &s->sampling, err));
    s->ctx = a->line.session->ctx;
    g4_pace_choose(&s->sampling, &a->pace, s->o, &s->rt);
    return G4_OK;
}

void g4_answerer_close(g4_answerer *a)
{
    g4_scores_free(&a->scores);
    g4_timeline_close(&a->line);
}
