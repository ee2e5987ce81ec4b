/* SPDX-License-Identifier: Apache-2.0
 * Answers in OpenAI's layout, as one object or as events while they grow.  Text that may be
 * the beginning of a stop text is held back until it is clear whether it is. */
#include "harness/serve/serve.h"

#include "harness/logprob.h"

#include <stdlib.h>
#include <string.h>

static int is_chat(const g4_tale *t)
{
    return t->ask->kind == G4_ASK_CHAT;
}

/* What is told as the text: all of it, or what is no thought and no call. */
static g4_reply_text *words(g4_tale *t)
{
    return is_chat(t) ? &t->reply.said : &t->text;
}

/* ---- log-probabilities ---- */

/* A token by itself.  One that is no text by itself (a byte of several) is named as the
 * tokenizer names it. */
static json_t *token_text(const g4_tale *t, int32_t id)
{
    const g4_tokenizer *k = t->served->tokenizer;
    char *text = NULL;
    size_t len = 0;
    json_t *out = NULL;
    if (g4_tokenizer_decode(k, &id, 1, 0, &text, &len, NULL) != G4_OK) return NULL;
    const char *own = strstr(text, "\xef\xbf\xbd") ? g4_tokenizer_text(k, id, &len) : text;
    out = json_stringn(own ? own : "", own ? len : 0);
    free(text);
    return out;
}

static size_t characters(const json_t *text)
{
    size_t n = 0;
    for (const char *p = json_string_value(text); p && *p; p++) n += (*p & 0xc0) != 0x80;
    return n;
}

/* {token: log-probability}, best first; the token that came is one of them. */
static json_t *top_map(const g4_tale *t, size_t i, json_t *token)
{
    const g4_place *p = &t->places[i];
    json_t *map = json_object();
    for (int64_t k = 0; k < t->ask->logprobs; k++) {
        json_t *name = token_text(t, p->top_ids[k]);
        /* Two tokens may look alike: the likelier one counts. */
        if (name && !json_object_get(map, json_string_value(name)))
            json_object_set_new(map, json_string_value(name), json_real(p->top[k]));
        json_decref(name);
    }
    if (token && !json_object_get(map, json_string_value(token)))
        json_object_set_new(map, json_string_value(token), json_real(p->logprob));
    return map;
}

static json_t *completion_logprobs(g4_tale *t)
{
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array();
    json_t *offsets = json_array();
    for (size_t i = t->ids_told; i < t->ids.count; i++) {
        int unknown = i == 0 && t->first_unknown;
        json_t *token = token_text(t, t->ids.ids[i]);
        json_array_append_new(offsets, json_integer((json_int_t)t->offset_told));
        t->offset_told += characters(token);
        json_array_append_new(values, unknown ? json_null() : json_real(t->places[i].logprob));
        json_array_append_new(tops, unknown ? json_null() : top_map(t, i, token));
        json_array_append_new(tokens, token);
    }
    t->ids_told = t->ids.count;
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", values,
                     "top_logprobs", tops, "text_offset", offsets);
}

static json_t *chat_token(const g4_tale *t, int32_t id, double logprob)
{
    json_t *text = token_text(t, id), *bytes = json_array();
    for (const char *p = json_string_value(text); p && *p; p++)
        json_array_append_new(bytes, json_integer((unsigned char)*p));
    return json_pack("{s:o, s:o, s:o}", "token", text, "logprob", json_real(logprob), "bytes",
                     bytes);
}

static json_t *chat_logprobs(g4_tale *t)
{
    json_t *content = json_array();
    for (; t->ids_told < t->ids.count; t->ids_told++) {
        const g4_place *p = &t->places[t->ids_told];
        json_t *one = chat_token(t, t->ids.ids[t->ids_told], p->logprob), *tops = json_array();
        for (int64_t k = 0; k < t->ask->logprobs; k++)
            json_array_append_new(tops, chat_token(t, p->top_ids[k], p->top[k]));
        json_object_set_new(one, "top_logprobs", tops);
        json_array_append_new(content, one);
    }
    return json_pack("{s:o}", "content", content);
}

static json_t *logprobs(g4_tale *t)
{
    if (t->ask->logprobs < 0) return json_null();
    return is_chat(t) ? chat_logprobs(t) : completion_logprobs(t);
}

/* ---- objects and events ---- */

static json_t *usage(const g4_tale *t)
{
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)t->prompt_tokens,
                     "completion_tokens", (json_int_t)t->made, "total_tokens",
                     (json_int_t)(t->prompt_tokens + t->made), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)t->cached);
}

/* Takes over the choices. */
static json_t *envelope(const g4_tale *t, json_t *choices)
{
    char id[64];
    const g4_served *s = t->served;
    snprintf(id, sizeof id, "%s-%lld-%lld", is_chat(t) ? "chatcmpl" : "cmpl",
             (long long)s->created, (long long)t->number);
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", id, "object",
                     !is_chat(t) ? "text_completion" :
                     t->ask->stream ? "chat.completion.chunk" : "chat.completion",
                     "created", (json_int_t)s->created, "model", s->name, "choices", choices);
}

/* JSON to the client; takes j over.  before and behind: what frames an event. */
static g4_status send(g4_tale *t, json_t *j, const char *before, const char *behind, g4_err *err)
{
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    g4_desk *d = &t->served->desk;
    g4_status s = text ? g4_desk_write(d, t->job, 200, before, strlen(before), err)
                       : g4_nomem(err, "answer");
    if (s == G4_OK) s = g4_desk_write(d, t->job, 200, text, strlen(text), err);
    if (s == G4_OK) s = g4_desk_write(d, t->job, 200, behind, strlen(behind), err);
    json_decref(j);
    free(text);
    return s;
}

/* Takes delta over: of a chat an object, else the text. */
static g4_status event(g4_tale *t, json_t *delta, const char *finish, g4_err *err)
{
    json_t *choice = json_pack("{s:I, s:o, s:o, s:o}", "index", (json_int_t)t->index,
                               is_chat(t) ? "delta" : "text", delta, "logprobs", logprobs(t),
                               "finish_reason", finish ? json_string(finish) : json_null());
    return send(t, choice ? envelope(t, json_pack("[o]", choice)) : NULL, "data: ", "\n\n", err);
}

/* ---- growing ---- */

void g4_tale_begin(g4_tale *t)
{
    const g4_ask *a = t->ask;
    t->index++;
    t->finish = NULL;
    t->from = t->told = t->thought_told = t->ids_told = t->offset_told = 0;
    t->stopped = t->begun = 0;
    t->first_unknown = t->ask->echo;
    t->text.len = 0;
    t->ids.count = 0;
    if (is_chat(t)) {
        g4_reply_free(&t->reply);
        g4_reply_init(&t->reply, t->served->tokenizer, NULL, a->in_thought);
    } else {
        if (t->detok.t) g4_detok_free(&t->detok);
        g4_detok_init(&t->detok, t->served->tokenizer, 1);
    }
}

/* NULL: no memory. */
static g4_place *add_place(g4_tale *t, int32_t id, g4_err *err)
{
    if (t->ids.count >= t->capacity) {
        size_t want = 2 * t->capacity + 64;
        g4_place *p = realloc(t->places, want * sizeof *p);
        if (!p) g4_nomem(err, "log-probabilities");
        if (!p) return NULL;
        t->places = p;
        t->capacity = want;
    }
    return g4_ids_push(&t->ids, id, err) == G4_OK ? &t->places[t->ids.count - 1] : NULL;
}

g4_status g4_tale_echo(g4_tale *t, const char *text, size_t len, const g4_place *places,
                       const int32_t *ids, int64_t n, g4_err *err)
{
    G4_TRY(g4_reply_append(&t->text, text, len, err));
    t->from = t->text.len;
    for (int64_t i = 0; places && i < n; i++) {
        g4_place *place = add_place(t, ids[i], err);
        if (!place) return G4_ENOMEM;
        *place = places[i];
    }
    return G4_OK;
}

/* The first stop text in what came since `had`: the text ends before it. */
static void find_stop(g4_tale *t, size_t had)
{
    g4_reply_text *w = words(t);
    size_t cut = w->len;
    for (int i = 0; i < t->ask->stop_count; i++) {
        size_t n = strlen(t->ask->stop[i]);
        size_t at = had > t->from + n - 1 ? had - (n - 1) : t->from;
        const char *p = w->len > at ? memmem(w->data + at, w->len - at, t->ask->stop[i], n) : NULL;
        if (p && (size_t)(p - w->data) < cut) cut = (size_t)(p - w->data);
    }
    if (cut == w->len) return;
    w->len = cut;
    w->data[cut] = 0;
    t->stopped = 1;
}

/* How much of the text cannot belong to a stop text that is still to come. */
static size_t certain(g4_tale *t)
{
    const g4_reply_text *w = words(t);
    size_t held = 0;
    for (int i = 0; i < t->ask->stop_count && !t->stopped; i++) {
        const char *stop = t->ask->stop[i];
        size_t k = strlen(stop) - 1, most = w->len - t->from;
        for (k = k < most ? k : most; k > held; k--)
            if (memcmp(w->data + w->len - k, stop, k) == 0) held = k;
    }
    return w->len - held;
}

static g4_status tell(g4_tale *t, size_t upto, const char *finish, g4_err *err)
{
    const g4_reply_text *w = words(t), *thought = &t->reply.thought;
    size_t text = upto - t->told, thinking = is_chat(t) ? thought->len - t->thought_told : 0;
    if (!text && !thinking && !finish) return G4_OK;
    const char *from = w->len ? w->data + t->told : "";
    json_t *delta = is_chat(t) ? json_object() : json_stringn(from, text);
    if (is_chat(t) && !t->begun) json_object_set_new(delta, "role", json_string("assistant"));
    if (thinking)
        json_object_set_new(delta, "reasoning_content",
                            json_stringn(thought->data + t->thought_told, thinking));
    if (is_chat(t) && (text || !t->begun))
        json_object_set_new(delta, "content", json_stringn(from, text));
    t->begun = 1;
    t->told = upto;
    t->thought_told += thinking;
    return event(t, delta, finish, err);
}

g4_status g4_tale_token(g4_tale *t, int32_t id, const float *row, int *end, g4_err *err)
{
    size_t had = words(t)->len, len;
    const char *piece;
    if (t->ask->logprobs >= 0) {
        g4_place *place = add_place(t, id, err);
        if (!place) return G4_ENOMEM;
        g4_place_of(place, row, t->served->model.vocab, id, t->ask->logprobs);
    }
    if (is_chat(t)) {
        G4_TRY(g4_reply_push(&t->reply, id, err));
    } else {
        G4_TRY(g4_detok_push(&t->detok, id, &piece, &len, err));
        G4_TRY(g4_reply_append(&t->text, piece, len, err));
    }
    find_stop(t, had);
    *end = t->stopped;
    return t->ask->stream ? tell(t, certain(t), NULL, err) : G4_OK;
}

/* ---- the end ---- */

/* Calls of tools as OpenAI writes them: arguments are a text. */
static json_t *calls_of(const g4_tale *t, int streamed)
{
    json_t *list = json_array(), *call;
    size_t i;
    json_array_foreach(t->reply.answer.tool_calls, i, call) {
        char id[64];
        char *text = json_dumps(json_object_get(call, "arguments"), JSON_COMPACT);
        snprintf(id, sizeof id, "call_%lld_%lld_%zu", (long long)t->number, (long long)t->index,
                 i);
        json_t *one = json_pack("{s:s, s:s, s:{s:O, s:s}}", "id", id, "type", "function",
                                "function", "name", json_object_get(call, "name"), "arguments",
                                text ? text : "{}");
        if (streamed) json_object_set_new(one, "index", json_integer((json_int_t)i));
        json_array_append_new(list, one);
        free(text);
    }
    return list;
}

static json_t *text_json(const g4_reply_text *text)
{
    return json_stringn(text->len ? text->data : "", text->len);
}

/* Of the answer taken apart only calls and errors: texts are what a stream says, too. */
static json_t *message_of(const g4_tale *t)
{
    const g4_reply *r = &t->reply;
    json_t *m = g4_reply_message(r), *calls = json_object_get(m, "tool_calls");
    if (json_array_size(json_object_get(m, "errors")) == 0) json_object_del(m, "errors");
    json_object_del(m, "reasoning_content");
    if (r->thought.len) json_object_set_new(m, "reasoning_content", text_json(&r->thought));
    json_object_set_new(m, "content", json_array_size(calls) && !r->said.len
                                          ? json_null() : text_json(&r->said));
    if (json_array_size(calls)) json_object_set_new(m, "tool_calls", calls_of(t, 0));
    else json_object_del(m, "tool_calls");
    return m;
}

/* What the decoder still held back. */
static g4_status close_text(g4_tale *t, g4_err *err)
{
    g4_reply_text *w = words(t);
    size_t had = w->len, len;
    const char *piece;
    if (is_chat(t)) {
        G4_TRY(g4_reply_end(&t->reply, err));
    } else {
        G4_TRY(g4_detok_end(&t->detok, &piece, &len, err));
        G4_TRY(g4_reply_append(w, piece, len, err));
    }
    if (t->stopped) w->len = had;
    else find_stop(t, had);
    return G4_OK;
}

g4_status g4_tale_finish(g4_tale *t, const char *why, g4_err *err)
{
    G4_TRY(close_text(t, err));
    const g4_reply_text *w = words(t);
    int calls = is_chat(t) && json_array_size(t->reply.answer.tool_calls) > 0;
    if (t->stopped) why = "stop";
    if (calls && strcmp(why, "stop") == 0) why = "tool_calls";
    if (t->ask->stream) {
        if (calls) {
            G4_TRY(tell(t, w->len, NULL, err));
            G4_TRY(event(t, json_pack("{s:o}", "tool_calls", calls_of(t, 1)), NULL, err));
        }
        return tell(t, w->len, why, err);
    }
    json_t *choice = json_pack("{s:I, s:o, s:o, s:s}", "index", (json_int_t)t->index,
                               is_chat(t) ? "message" : "text",
                               is_chat(t) ? message_of(t)
                                          : text_json(w),
                               "logprobs", logprobs(t), "finish_reason", why);
    if (!t->choices) t->choices = json_array();
    return json_array_append_new(t->choices, choice) == 0 ? G4_OK : g4_nomem(err, "answer");
}

g4_status g4_tale_end(g4_tale *t, g4_err *err)
{
    static const char last[] = "data: [DONE]\n\n";
    json_t *j = envelope(t, t->ask->stream ? json_array() : json_incref(t->choices));
    if (!t->ask->stream || t->ask->usage) json_object_set_new(j, "usage", usage(t));
    if (!t->ask->stream) return send(t, j, "", "", err);
    if (t->ask->usage) G4_TRY(send(t, json_incref(j), "data: ", "\n\n", err));
    json_decref(j);
    return g4_desk_write(&t->served->desk, t->job, 200, last, sizeof last - 1, err);
}

void g4_tale_free(g4_tale *t)
{
    g4_reply_free(&t->reply);
    if (t->detok.t) g4_detok_free(&t->detok);
    free(t->text.data);
    g4_ids_free(&t->ids);
    free(t->places);
    json_decref(t->choices);
}
