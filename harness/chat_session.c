/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/chat_session.h"

#include "harness/request.h"
#include "ref/base/map.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_TOOLS = 16 << 20 };

static const char name[] = "conversation";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- opening ---- */

/* The messages (borrowed) as the template writes them. */
static g4_status write_prompt(const g4_chat_session *s, json_t *messages, g4_chat_text *text,
                              g4_chat **chat, g4_err *err)
{
    char *json = json_dumps(messages, JSON_COMPACT);
    if (!json) return g4_nomem(err, name);
    g4_status st = g4_chat_parse(chat, name, json, strlen(json), err);
    free(json);
    if (st == G4_OK && s->tools)
        st = g4_chat_set_tools(*chat, s->o->tools, s->tools, s->tools_size, err);
    return st == G4_OK ? g4_chat_write(text, *chat, &s->chat, name, err) : st;
}

/* A bad file of tools is found before the first message. */
static g4_status load_tools(g4_chat_session *s, g4_err *err)
{
    g4_chat_text text = { 0 };
    g4_chat *chat = NULL;
    if (!s->o->tools) return G4_OK;
    G4_TRY(g4_file_read(s->o->tools, MAX_TOOLS, &s->tools, &s->tools_size, err));
    json_t *none = json_pack("[{s:s, s:s}]", "role", "user", "content", "");
    g4_status st = none ? write_prompt(s, none, &text, &chat, err) : g4_nomem(err, name);
    json_decref(none);
    g4_chat_text_free(&text);
    g4_chat_free(chat);
    return st;
}

g4_status g4_chat_session_open(g4_chat_session *s, const g4_options *o,
                               const volatile sig_atomic_t *stop, g4_err *err)
{
    memset(s, 0, sizeof *s);
    s->o = o;
    s->stop = stop;
    s->chat = g4_chat_defaults();
    if (o->thinking >= 0) s->chat.thinking = o->thinking;
    G4_TRY(g4_runtime_open(&s->rt, o, G4_DRAFT_IF_GIVEN, err));
    G4_TRY(g4_chat_detect_dir(&s->chat, o->model, err));
    G4_TRY(load_tools(s, err));
    G4_TRY(g4_processor_load(&s->proc, o->model, err));
    G4_TRY(g4_tokenizer_load(&s->tokenizer, o->model, err));
    g4_sampling_choose(&s->opt, o, &s->rt, G4_CHAT_TOKENS);
    g4_pace_choose(&s->opt, &s->pace, o, &s->rt);
    s->messages = json_array();
    if (!s->messages) return g4_nomem(err, "chat");
    return g4_timeline_open(&s->line, &s->rt, o, &s->proc, &s->opt, err);
}

void g4_chat_session_close(g4_chat_session *s)
{
    g4_timeline_close(&s->line);
    g4_tokenizer_free(s->tokenizer);
    json_decref(s->messages);
    free(s->tools);
    g4_runtime_close(&s->rt);
    memset(s, 0, sizeof *s);
}

/* ---- the conversation ---- */

static int has_system(const g4_chat_session *s)
{
    json_t *role = json_object_get(json_array_get(s->messages, 0), "role");
    return role && strcmp(json_string_value(role), "system") == 0;
}

void g4_chat_session_reset(g4_chat_session *s)
{
    size_t first = (size_t)has_system(s);
    while (json_array_size(s->messages) > first) json_array_remove(s->messages, first);
    g4_timeline_reset(&s->line);
    s->turns = 0;
}

g4_status g4_chat_session_system(g4_chat_session *s, const char *text, g4_err *err)
{
    json_t *message = NULL;
    if (*text) {
        message = json_pack("{s:s, s:s}", "role", "system", "content", text);
        if (!message || json_array_insert(s->messages, 0, message) != 0) {
            json_decref(message);
            return g4_nomem(err, name);
        }
        json_decref(message);
        if (json_array_size(s->messages) == 1) return G4_OK;
        json_t *role = json_object_get(json_array_get(s->messages, 1), "role");
        if (strcmp(json_string_value(role), "system") == 0) json_array_remove(s->messages, 1);
    } else if (has_system(s)) {
        json_array_remove(s->messages, 0);
    }
    return G4_OK;
}

/* Text that can stand in a message: no NUL, which JSON text cannot hold here, and
 * no media placeholder that the model spelled letter by letter. */
static void clean(char *text)
{
    static const char *const marks[] = { "<|image|>", "<|audio|>", "<|video|>" };
    for (int again = 1; again;) {   /* what closes up behind a cut may be another */
        again = 0;
        for (int i = 0; i < 3; i++)
            for (char *p; (p = strstr(text, marks[i])) != NULL; again = 1)
                memmove(p, p + 9, strlen(p + 9) + 1);
    }
}

static char *said_text(const g4_reply *r)
{
    char *text = malloc(r->said.len + 1), *to = text;
    if (!text) return NULL;
    for (size_t i = 0; i < r->said.len; i++)
        if (r->said.data[i]) *to++ = r->said.data[i];
    *to = 0;
    clean(text);
    return text;
}

/* Calls in OpenAI's layout. */
static json_t *calls_of(const json_t *calls)
{
    json_t *list = json_array(), *call;
    size_t i;
    char id[32];
    json_array_foreach(calls, i, call) {
        snprintf(id, sizeof id, "call_%zu", i + 1);
        json_t *one = json_pack("{s:s, s:s, s:O}", "id", id, "type", "function", "function", call);
        if (json_array_append_new(list, one) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static g4_status remember(g4_chat_session *s, const g4_reply *r, g4_err *err)
{
    char *text = said_text(r);
    json_t *m = text ? json_pack("{s:s, s:s}", "role", "assistant", "content", text) : NULL;
    free(text);
    int bad = !m;
    if (!bad && r->answer.thinking_len && !memchr(r->answer.thinking, 0, r->answer.thinking_len))
        bad = json_object_set_new(m, "reasoning_content", json_string(r->answer.thinking)) != 0;
    if (!bad && json_array_size(r->answer.tool_calls))
        bad = json_object_set_new(m, "tool_calls", calls_of(r->answer.tool_calls)) != 0;
    if (!bad && json_array_append(s->messages, m) != 0) bad = 1;
    json_decref(m);
    return bad ? g4_nomem(err, name) : G4_OK;
}

g4_status g4_chat_session_save(const g4_chat_session *s, const char *path, g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    char *json = json_dumps(s->messages, JSON_INDENT(1));
    if (!json) return g4_nomem(err, name);
    g4_status st = g4_out_open(&out, path, err);
    if (st == G4_OK) st = g4_out_write(&out, json, strlen(json), err);
    if (st == G4_OK) st = g4_out_write(&out, "\n", 1, err);
    if (st == G4_OK) st = g4_out_commit(&out, err);
    g4_out_abort(&out);
    free(json);
    return st;
}

/* ---- from messages to a prompt ---- */

static g4_request request(const g4_chat_session *s, const char *text, const g4_media *media,
                          size_t count)
{
    return (g4_request){ .text = text, .len = strlen(text), .media = media, .media_count = count,
                         .image_tokens = s->o->image_tokens, .audio_limit = s->o->audio_limit,
                         .sampling = { s->o->video_fps, s->o->video_frames },
                         .bos = G4_BOS_OFF };
}

g4_status g4_chat_session_try(const g4_chat_session *s, const g4_media *media, int64_t *tokens,
                              g4_arena *arena, const char **warning, g4_err *err)
{
    g4_request r = request(s, "", media, 1);
    g4_prompt p;
    G4_TRY(g4_prompt_build(&p, &r, &s->proc, s->tokenizer, arena, warning, err));
    *tokens = p.n;
    return G4_OK;
}

static g4_status build_prompt(const g4_chat_session *s, g4_prompt *p, g4_arena *arena,
                              int *in_thought, g4_err *err)
{
    g4_chat_text text = { 0 };
    g4_chat *chat = NULL;
    g4_media media[G4_MAX_MEDIA];
    g4_status st = write_prompt(s, s->messages, &text, &chat, err);
    if (st == G4_OK && text.media_count > G4_MAX_MEDIA)
        st = g4_fail(err, G4_EINPUT, "%s: %zu media files, at most %d", name, text.media_count,
                     (int)G4_MAX_MEDIA);
    if (st == G4_OK) {
        for (size_t i = 0; i < text.media_count; i++)
            media[i] = (g4_media){ text.media[i].kind, text.media[i].path };
        g4_request r = request(s, text.text, media, text.media_count);
        st = g4_bos_parse(&r.bos, s->o->bos ? s->o->bos : "auto", err);
        if (st == G4_OK)
            st = g4_prompt_build(p, &r, &s->proc, s->tokenizer, arena, NULL, err);
        *in_thought = g4_reply_in_thought(text.text);
    }
    g4_chat_text_free(&text);
    g4_chat_free(chat);
    return st;
}

/* Makes the cache a prefix of the conversation as it is now. */
static g4_status begin_turn(g4_chat_session *s, g4_turn *turn, int *in_thought, g4_err *err)
{
    g4_prompt p;
    g4_arena arena = { NULL };
    int64_t ctx = s->line.session->ctx;
    g4_status st = build_prompt(s, &p, &arena, in_thought, err);
    if (st == G4_OK && p.n < 1) st = g4_fail(err, G4_EINPUT, "%s: no tokens", name);
    if (st == G4_OK && p.n >= ctx)
        st = g4_fail(err, G4_EINPUT, "the context is full: %lld tokens with this message, room for "
                     "%lld; not sent; /reset starts anew, --ctx N makes room", (long long)p.n,
                     (long long)ctx);
    if (st == G4_OK) st = g4_timeline_begin(&s->line, &p, &arena, p.n, &turn->kept, err);
    if (st == G4_OK) turn->prompt = p.n;
    g4_arena_free(&arena);
    return st;
}

/* ---- a turn ---- */

static int stopped(void *ctx)
{
    const g4_chat_session *s = ctx;
    return *s->stop != 0;
}

typedef struct answering {
    g4_chat_session *s;
    g4_reply *reply;
    g4_status status;
    g4_err *err;
} answering;

static int on_token(void *ctx, int32_t id)
{
    answering *a = ctx;
    a->status = g4_ids_push(&a->s->line.made, id, a->err);
    if (a->status == G4_OK) a->status = g4_reply_push(a->reply, id, a->err);
    return a->status != G4_OK || *a->s->stop;
}

static g4_turn_end why(const g4_chat_session *s, const g4_generate_options *opt)
{
    const g4_ids *made = &s->line.made;
    int32_t last = made->count ? made->ids[made->count - 1] : -1;
    for (int i = 0; i < opt->stop_count; i++)
        if (opt->stop[i] == last) return G4_TURN_STOP;
    if (*s->stop) return G4_TURN_INTERRUPTED;
    return (int64_t)made->count >= opt->max_tokens ? G4_TURN_LENGTH : G4_TURN_FULL;
}

static g4_status answer(g4_chat_session *s, g4_reply *reply, g4_turn *turn, g4_err *err)
{
    answering a = { s, reply, G4_OK, err };
    g4_generate_options opt = s->opt;
    g4_generate_stats stats;
    int64_t stops[G4_MAX_STOPS];
    g4_stops_choose(&opt, stops, s->o, s->tokenizer, &s->line.prompt);
    opt.sampler.seed += s->turns;   /* else every answer would have the same luck */
    double start = now();
    G4_TRY(g4_generate(s->line.engine, s->line.session, s->line.drafter, s->line.logits,
                       s->line.hidden, &opt, on_token, &a, &stats, err));
    G4_TRY(a.status);
    turn->made = stats.tokens;
    turn->seconds = now() - start;
    turn->end = why(s, &opt);
    return G4_OK;
}

static g4_status run_turn(g4_chat_session *s, g4_reply *reply, FILE *out, g4_turn *turn,
                          g4_err *err)
{
    int in_thought = 0;
    G4_TRY(begin_turn(s, turn, &in_thought, err));
    g4_reply_init(reply, s->tokenizer, out, in_thought);
    G4_TRY(g4_timeline_read(&s->line, stopped, s, err));
    turn->end = G4_TURN_INTERRUPTED;
    if (s->line.session->n < s->line.prompt.n) return G4_OK;
    G4_TRY(answer(s, reply, turn, err));
    G4_TRY(g4_reply_end(reply, err));
    turn->remembered = turn->end != G4_TURN_INTERRUPTED || reply->said.len > 0 ||
                       json_array_size(reply->answer.tool_calls) > 0;
    if (!turn->remembered) return G4_OK;
    if (turn->end != G4_TURN_INTERRUPTED) g4_reply_report(reply);
    return remember(s, reply, err);
}

g4_status g4_chat_session_say(g4_chat_session *s, json_t *message, FILE *out, g4_turn *turn,
                              g4_err *err)
{
    g4_reply reply = { 0 };
    *turn = (g4_turn){ 0 };
    if (!message || json_array_append_new(s->messages, message) != 0) return g4_nomem(err, name);
    g4_status st = run_turn(s, &reply, out, turn, err);
    if (st != G4_OK || !turn->remembered)
        json_array_remove(s->messages, json_array_size(s->messages) - 1);
    if (st == G4_OK && turn->remembered) s->turns++;
    if (st != G4_OK && reply.dimmed) fputs("\033[0m\n", out);
    g4_reply_free(&reply);
    return st;
}
