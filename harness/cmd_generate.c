/* SPDX-License-Identifier: Apache-2.0
 * gemma4 generate: streams text to standard output as it becomes certain.
 * Sampling defaults are the checkpoint's generation_config.json; --temperature 0
 * is greedy.  With --json one object at the end instead.  The answer to a
 * conversation (--chat) is taken apart (harness/reply.h); --chat - in a terminal
 * is a talk with the model (harness/terminal.h). */
#include "harness/pass.h"
#include "harness/reply.h"
#include "harness/request.h"
#include "harness/room.h"
#include "harness/terminal.h"
#include "ref/base/clock.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct job {
    const g4_options *o;
    g4_runtime rt;
    g4_asked asked;
    g4_tokenizer *tokenizer;      /* asked's, or own where ids were given */
    g4_engine *engine;
    g4_session *session;
    g4_drafter *drafter;
    g4_detok detok;
    g4_reply reply;               /* --chat */
    int64_t stops[G4_MAX_STOPS];
    g4_ids ids;                   /* generated */
    char *text;                   /* malloc'ed; decoded so far */
    size_t text_len, text_capacity;
    g4_arena arena;
    double prefill_s, decode_s;
    g4_generate_options opt;
    g4_pace pace;
    g4_generate_stats stats;
    g4_status status;             /* first error inside the token callback */
    g4_err *err;
} job;

/* A piece of decoded text: kept for --json, else shown at once. */
static g4_status take_text(job *j, const char *text, size_t len)
{
    if (!j->o->json) {
        fwrite(text, 1, len, stdout);
        fflush(stdout);
        return ferror(stdout) ? g4_fail(j->err, G4_EIO, "standard output: cannot write") : G4_OK;
    }
    if (j->text_len + len >= j->text_capacity) {
        size_t want = 2 * (j->text_len + len) + 256;
        char *p = realloc(j->text, want);
        if (!p) return g4_nomem(j->err, "text");
        j->text = p;
        j->text_capacity = want;
    }
    memcpy(j->text + j->text_len, text, len);
    j->text_len += len;
    return G4_OK;
}

static g4_status take_token(job *j, int32_t id)
{
    const char *text;
    size_t len;
    G4_TRY(g4_ids_push(&j->ids, id, j->err));
    if (j->o->chat) G4_TRY(g4_reply_push(&j->reply, id, j->err));
    if (j->o->chat && !j->o->json) return G4_OK;
    G4_TRY(g4_detok_push(&j->detok, id, &text, &len, j->err));
    return take_text(j, text, len);
}

static int on_token(void *ctx, int32_t id)
{
    job *j = ctx;
    j->status = take_token(j, id);
    return j->status != G4_OK;
}

static g4_status open_engine(job *j)
{
    const g4_prompt *p = &j->asked.prompt;
    int64_t draft_rows = j->rt.draft ? j->opt.max_draft + 1 : 1, most = G4_MAX_POSITION;
    g4_engine_plan plan = j->rt.plan;
    G4_TRY(g4_asked_mask(&plan.mask, j->o, NULL, j->err));
    g4_stream_plan(&plan, p, j->o, j->opt.max_tokens, draft_rows);
    if (p->n > plan.ctx)
        return g4_fail(j->err, G4_EINPUT, "--ctx %lld: the prompt alone has %lld tokens",
                       (long long)plan.ctx, (long long)p->n);
    if (plan.ctx > most)
        return g4_fail(j->err, G4_EINPUT, "a context of %lld tokens: at most %lld",
                       (long long)plan.ctx, (long long)most);
    G4_TRY(g4_room_for_plan(&j->rt, &plan, 1, j->err));
    G4_TRY(g4_engine_open(&j->engine, j->rt.model, &j->rt.ops, j->rt.par, &plan, j->err));
    G4_TRY(g4_session_open(&j->session, j->engine, j->err));
    if (!j->rt.draft) return G4_OK;
    return g4_drafter_open(&j->drafter, j->rt.draft, j->engine, j->err);
}

static g4_status run(job *j)
{
    const g4_config *c = &j->rt.model->config;
    float *logits = g4_arena_alloc(&j->arena, (size_t)c->vocab_size, sizeof *logits);
    float *hidden = g4_arena_alloc(&j->arena, (size_t)c->hidden_size, sizeof *hidden);
    g4_soft soft;
    if (!logits || !hidden) return g4_nomem(j->err, "generate");
    double start = g4_seconds();
    const g4_prefill_item item = { j->session, &j->asked.prompt, &soft, logits, hidden };
    G4_TRY(g4_soft_embed(&soft, j->engine, &j->asked.prompt, NULL, j->err));
    g4_status s = g4_prefill(j->engine, &item, 1, j->o->chunk > 0 ? j->o->chunk : G4_STREAM_CHUNK,
                             j->err);
    g4_soft_free(&soft);
    G4_TRY(s);
    double mid = g4_seconds();
    G4_TRY(g4_generate(j->engine, j->session, j->drafter, logits, hidden, &j->opt, on_token, j,
                       &j->stats, j->err));
    G4_TRY(j->status);
    j->prefill_s = mid - start;
    j->decode_s = g4_seconds() - mid;
    const char *text;
    size_t len;
    if (j->o->chat) G4_TRY(g4_reply_end(&j->reply, j->err));
    if (j->o->chat && !j->o->json) return G4_OK;
    G4_TRY(g4_detok_end(&j->detok, &text, &len, j->err));
    return take_text(j, text, len);
}

/* ---- the object that --json prints ---- */

static double rate(double n, double seconds)
{
    return seconds > 0.0 ? n / seconds : 0.0;
}

static json_t *counts(const int64_t *n, int64_t used)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < used; i++) json_array_append_new(a, json_integer(n[i]));
    return a;
}

static json_t *draft_object(const job *j)
{
    const g4_generate_stats *s = &j->stats;
    if (!j->drafter) return json_null();
    return json_pack("{s:I, s:I, s:I, s:f, s:o, s:o, s:f, s:f}", "rounds", (json_int_t)s->rounds,
                     "drafted", (json_int_t)s->drafted, "accepted", (json_int_t)s->accepted,
                     "acceptance", rate((double)s->accepted, (double)s->drafted),
                     "drafted_by_position", counts(s->drafted_at, j->opt.max_draft),
                     "accepted_by_position", counts(s->accepted_at, j->opt.max_draft),
                     "draft_ms", 1e3 * s->draft_s, "verify_ms", 1e3 * s->verify_s);
}

static json_t *timings_object(const job *j)
{
    double n = (double)j->asked.prompt.n, made = (double)j->stats.tokens;
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "prompt_n", n, "prompt_ms",
                     1e3 * j->prefill_s, "prompt_per_second", rate(n, j->prefill_s), "predicted_n",
                     made, "predicted_ms", 1e3 * j->decode_s, "predicted_per_second",
                     rate(made, j->decode_s));
}

static g4_status print_json(job *j)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < j->ids.count; i++)
        json_array_append_new(ids, json_integer(j->ids.ids[i]));
    json_t *root = json_pack("{s:o, s:o, s:o, s:o}", "ids", ids, "text",
                             json_stringn(j->text ? j->text : "", j->text_len), "timings",
                             timings_object(j), "draft", draft_object(j));
    json_t *message = j->o->chat ? g4_reply_message(&j->reply) : NULL;
    if (!root || (j->o->chat && json_object_set_new(root, "message", message) != 0)) {
        json_decref(root);
        return g4_nomem(j->err, "JSON");
    }
    int bad = json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0;
    json_decref(root);
    if (bad || putchar('\n') == EOF)
        return g4_fail(j->err, G4_EIO, "standard output: cannot write");
    return G4_OK;
}

static void print_summary(const job *j)
{
    const g4_generate_stats *s = &j->stats;
    if (!j->o->chat) putchar('\n');
    fflush(stdout);
    if (j->o->chat) g4_reply_report(&j->reply);
    fprintf(stderr, "%lld prompt tokens in %.2f s, %lld tokens in %.2f s (%.2f/s)",
            (long long)j->asked.prompt.n, j->prefill_s, (long long)s->tokens, j->decode_s,
            rate((double)s->tokens, j->decode_s));
    if (j->drafter)
        fprintf(stderr, "; %lld of %lld drafted tokens accepted in %lld rounds",
                (long long)s->accepted, (long long)s->drafted, (long long)s->rounds);
    fputc('\n', stderr);
}

static g4_status work(job *j)
{
    G4_TRY(g4_runtime_open(&j->rt, j->o, G4_DRAFT_IF_GIVEN, j->err));
    G4_TRY(g4_asked_open(&j->asked, j->o, j->rt.model, j->err));
    j->tokenizer = j->asked.tokenizer;
    if (!j->tokenizer) G4_TRY(g4_tokenizer_load(&j->tokenizer, j->o->model, j->err));
    g4_detok_init(&j->detok, j->tokenizer, 1);
    g4_sampling_choose(&j->opt, j->o, &j->rt, G4_STREAM_TOKENS);
    g4_pace_choose(&j->opt, &j->pace, j->o, &j->rt);
    if (j->o->chat) {
        g4_stops_choose(&j->opt, j->stops, j->o, j->tokenizer, &j->asked.prompt);
        g4_reply_init(&j->reply, j->tokenizer, j->o->json ? NULL : stdout,
                      g4_reply_in_thought(j->asked.text));
    }
    G4_TRY(open_engine(j));
    G4_TRY(run(j));
    if (j->o->json) return print_json(j);
    print_summary(j);
    return G4_OK;
}

int cmd_generate(const g4_options *o, g4_err *err)
{
    if (o->chat && strcmp(o->chat, "-") == 0 && isatty(STDIN_FILENO)) return g4_terminal(o, err);
    job j = { .o = o, .err = err };
    g4_status s = work(&j);
    if (j.detok.t) g4_detok_free(&j.detok);
    g4_reply_free(&j.reply);
    if (j.tokenizer != j.asked.tokenizer) g4_tokenizer_free(j.tokenizer);
    g4_drafter_close(j.drafter);
    g4_session_close(j.session);
    g4_engine_close(j.engine);
    g4_arena_free(&j.arena);
    g4_ids_free(&j.ids);
    free(j.text);
    g4_asked_close(&j.asked);
    g4_runtime_close(&j.rt);
    return s == G4_OK ? 0 : 2;
}
