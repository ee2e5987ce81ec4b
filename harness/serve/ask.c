/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/serve/ask.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { C = G4_ASK_COMPLETION, H = G4_ASK_CHAT, T = G4_ASK_TOKENIZE, D = G4_ASK_DETOKENIZE,
       LONG_TEXT = 64 << 10 };

#define MOST_INT 2147483647

/* All names there are.  neutral: the only values taken, as JSON; NULL: read below, or of no
 * consequence. */
static const struct field {
    const char *name;
    int kinds;
    const char *neutral;
} fields[] = {
    { "model", C | H | T | D, NULL }, { "user", C | H, NULL }, { "metadata", C | H, NULL },
    { "store", H, NULL }, { "service_tier", C | H, NULL }, { "prompt_cache_key", C | H, NULL },
    { "safety_identifier", C | H, NULL },
    { "prompt", C | T, NULL }, { "tokens", D, NULL }, { "add_special_tokens", T, NULL },
    { "return_token_strs", T, "[false]" },
    { "messages", H, NULL }, { "tools", H, NULL }, { "tool_choice", H, NULL },
    { "chat_template_kwargs", H, NULL }, { "max_completion_tokens", H, NULL },
    { "top_logprobs", H, NULL },
    { "max_tokens", C | H, NULL }, { "temperature", C | H, NULL }, { "top_p", C | H, NULL },
    { "top_k", C | H, NULL }, { "seed", C | H, NULL }, { "stop", C | H, NULL },
    { "n", C | H, NULL }, { "logprobs", C | H, NULL }, { "echo", C, NULL },
    { "stream", C | H, NULL }, { "stream_options", C | H, NULL }, { "ignore_eos", C | H, NULL },
    { "best_of", C, NULL }, { "suffix", C, "[\"\"]" }, { "logit_bias", C | H, "[{}]" },
    { "presence_penalty", C | H, "[0, 0.0]" }, { "frequency_penalty", C | H, "[0, 0.0]" },
    { "repetition_penalty", C | H, "[1, 1.0]" }, { "min_p", C | H, "[0, 0.0]" },
    { "response_format", H, "[{\"type\": \"text\"}]" }, { "parallel_tool_calls", H, "[true]" },
};

static const struct field *find(const char *name)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(fields[i].name, name) == 0) return &fields[i];
    return NULL;
}

static g4_status check_neutral(const struct field *f, const json_t *v, g4_err *err)
{
    size_t i;
    json_t *one, *list = json_loads(f->neutral, 0, NULL);
    int good = json_is_null(v);
    if (!list) return g4_nomem(err, "request");
    json_array_foreach(list, i, one) good |= json_equal(one, v);
    json_decref(list);
    if (good) return G4_OK;
    return g4_fail(err, G4_EINPUT, "request: %s is not supported but as %s", f->name, f->neutral);
}

static g4_status check_names(const g4_ask *a, g4_err *err)
{
    const char *name;
    json_t *v;
    json_object_foreach(a->root, name, v) {
        const struct field *f = find(name);
        if (!f || !(f->kinds & (int)a->kind))
            return g4_fail(err, G4_EINPUT, "request: %.60s is no field of this request", name);
        if (f->neutral) G4_TRY(check_neutral(f, v, err));
    }
    return G4_OK;
}

/* ---- prompts ---- */

static g4_status bad_prompt(const char *key, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "request: %s holds neither a string, nor ids of the "
                   "vocabulary, nor a list (of 1 to %d) of either", key, (int)G4_ASK_PROMPTS);
}

static g4_status take_ids(g4_ask *a, const json_t *list, const char *key, const g4_ask_model *m,
                          g4_err *err)
{
    size_t i;
    json_t *v;
    g4_ask_prompt *p = &a->prompts[a->prompt_count++];
    p->n = (int64_t)json_array_size(list);
    p->ids = g4_arena_alloc(&a->arena, (size_t)p->n + 1, sizeof *p->ids);
    if (!p->ids) return g4_nomem(err, "request");
    json_array_foreach(list, i, v) {
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= m->vocab) return bad_prompt(key, err);
        p->ids[i] = (int32_t)id;
    }
    return G4_OK;
}

static g4_status take_prompts(g4_ask *a, const char *key, const g4_ask_model *m, g4_err *err)
{
    size_t i, count = 1;
    json_t *v = json_object_get(a->root, key), *entry = json_array_get(v, 0);
    int ids = json_is_integer(entry);
    if (json_is_array(v) && !ids) count = json_array_size(v);
    if (count < 1 || count > G4_ASK_PROMPTS || (!json_is_string(v) && !json_is_array(v)))
        return bad_prompt(key, err);
    a->prompts = g4_arena_alloc(&a->arena, count, sizeof *a->prompts);
    if (!a->prompts) return g4_nomem(err, "request");
    if (ids) return take_ids(a, v, key, m, err);
    if (json_is_string(v)) {
        a->prompts[a->prompt_count++].text = json_string_value(v);
        return G4_OK;
    }
    json_array_foreach(v, i, entry) {
        if (json_is_string(entry)) a->prompts[a->prompt_count++].text = json_string_value(entry);
        else if (json_array_size(entry) > 0) G4_TRY(take_ids(a, entry, key, m, err));
        else return bad_prompt(key, err);
    }
    return G4_OK;
}

/* ---- how to answer ---- */

static g4_status take_stop(g4_ask *a, g4_err *err)
{
    json_t *v = json_object_get(a->root, "stop");
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (!v || json_is_null(v)) return G4_OK;
    for (size_t i = 0; i < n && n <= G4_ASK_STOPS; i++) {
        const char *text = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        if (text && *text) a->stop[a->stop_count++] = text;
    }
    if ((size_t)a->stop_count == n) return G4_OK;
    return g4_fail(err, G4_EINPUT, "request: stop is neither a string nor a list of at most %d, "
                   "none of them empty", (int)G4_ASK_STOPS);
}

static g4_status take_seed(g4_ask *a, g4_err *err)
{
    json_t *v = json_object_get(a->root, "seed");
    if (!v || json_is_null(v)) return G4_OK;
    if (!json_is_integer(v)) return g4_fail(err, G4_EINPUT, "request: seed is no integer");
    a->seeded = 1;
    a->seed = (uint64_t)json_integer_value(v);
    return G4_OK;
}

/* Completions: how many; chats: whether, and top_logprobs how many. */
static g4_status take_logprobs(g4_ask *a, const g4_json *j, g4_err *err)
{
    int on = 0;
    if (a->kind == G4_ASK_COMPLETION)
        return g4_json_opt_int(j, "logprobs", 0, G4_ASK_TOP, &a->logprobs, err);
    G4_TRY(g4_json_opt_bool(j, "logprobs", &on, err));
    if (on) a->logprobs = 0;
    if (!on && g4_json_has(j, "top_logprobs"))
        return g4_fail(err, G4_EINPUT, "request: top_logprobs wants logprobs to be true");
    return g4_json_opt_int(j, "top_logprobs", 0, G4_ASK_TOP, &a->logprobs, err);
}

static g4_status take_sampling(g4_ask *a, const g4_json *j, g4_err *err)
{
    g4_json more;
    int64_t best = 1;
    G4_TRY(g4_json_opt_int(j, "max_tokens", 0, MOST_INT, &a->max_tokens, err));
    G4_TRY(g4_json_opt_int(j, "max_completion_tokens", 0, MOST_INT, &a->max_tokens, err));
    G4_TRY(g4_json_opt_num(j, "temperature", 0.0, 1000.0, &a->temperature, err));
    G4_TRY(g4_json_opt_num(j, "top_p", 0.0, 1.0, &a->top_p, err));
    G4_TRY(g4_json_opt_int(j, "top_k", -1, MOST_INT, &a->top_k, err));
    if (g4_json_has(j, "top_k") && a->top_k < 0) a->top_k = 0;   /* vLLM's: all */
    G4_TRY(g4_json_opt_int(j, "n", 1, G4_ASK_CHOICES, &a->n, err));
    best = a->n;
    G4_TRY(g4_json_opt_int(j, "best_of", a->n, a->n, &best, err));
    G4_TRY(g4_json_opt_bool(j, "echo", &a->echo, err));
    G4_TRY(g4_json_opt_bool(j, "stream", &a->stream, err));
    G4_TRY(g4_json_opt_bool(j, "ignore_eos", &a->ignore_eos, err));
    G4_TRY(g4_json_object(j, "stream_options", 0, &more, err));
    if (more.root) G4_TRY(g4_json_opt_bool(&more, "include_usage", &a->usage, err));
    if (!a->stream) a->usage = 0;
    G4_TRY(take_stop(a, err));
    G4_TRY(take_seed(a, err));
    G4_TRY(take_logprobs(a, j, err));
    if (a->kind == G4_ASK_COMPLETION && a->max_tokens == 0 && !a->echo)
        return g4_fail(err, G4_EINPUT, "request: max_tokens is 0: only with echo");
    return G4_OK;
}

/* ---- the whole ---- */

/* Before jansson makes values of it: media are long strings, the rest of a body is as
 * small as any other's. */
static g4_status check_size(const char *p, size_t size, g4_err *err)
{
    size_t plain = size, at = 0;
    while (size > G4_ASK_BODY && at < size) {
        const char *q = memchr(p + at, '"', size - at);
        if (!q) break;
        size_t from = at = (size_t)(q - p) + 1;
        while (at < size && p[at] != '"') at += p[at] == '\\' ? 2 : 1;
        if (at > size) at = size;
        if (at - from > LONG_TEXT) plain -= at - from;
        at++;
    }
    if (plain <= G4_ASK_BODY) return G4_OK;
    return g4_fail(err, G4_EINPUT, "request: more than %d bytes", (int)G4_ASK_BODY);
}

static g4_status parse(g4_ask *a, const g4_ask_model *m, const void *json, size_t size,
                       g4_err *err)
{
    g4_json j;
    G4_TRY(check_size(json, size, err));
    G4_TRY(g4_json_parse(&j, "request", json, size, err));
    a->root = j.root;
    if (!json_is_object(a->root)) return g4_fail(err, G4_EINPUT, "request: not a JSON object");
    G4_TRY(check_names(a, err));
    if (a->kind == G4_ASK_TOKENIZE) G4_TRY(g4_json_opt_bool(&j, "add_special_tokens",
                                                            &a->special, err));
    if (a->kind & (G4_ASK_COMPLETION | G4_ASK_CHAT)) G4_TRY(take_sampling(a, &j, err));
    if (a->kind == G4_ASK_CHAT) return g4_ask_messages(a, m, err);
    const char *key = a->kind == G4_ASK_DETOKENIZE ? "tokens" : "prompt";
    const json_t *v = json_object_get(a->root, key);
    if (a->kind == G4_ASK_TOKENIZE && !json_is_string(v))
        return g4_fail(err, G4_EINPUT, "request: prompt is no string");
    if (a->kind == G4_ASK_DETOKENIZE && json_is_array(v) && json_array_size(v) == 0) {
        a->prompts = g4_arena_alloc(&a->arena, 1, sizeof *a->prompts);
        return a->prompts ? take_ids(a, v, key, m, err) : g4_nomem(err, "request");
    }
    G4_TRY(take_prompts(a, key, m, err));
    if ((int64_t)a->prompt_count * a->n > G4_ASK_PROMPTS)
        return g4_fail(err, G4_EINPUT, "request: n is %lld for %zu prompts: at most %d answers",
                       (long long)a->n, a->prompt_count, (int)G4_ASK_PROMPTS);
    if (a->kind == G4_ASK_DETOKENIZE && (a->prompt_count != 1 || a->prompts[0].text))
        return g4_fail(err, G4_EINPUT, "request: tokens is no list of ids");
    return G4_OK;
}

/* "request: max_tokens is -1, ...": which field is that? */
static void blame(char field[64], const g4_err *err)
{
    static const char head[] = "request: ";
    const char *p = err->msg + sizeof head - 1;
    size_t n;
    if (strncmp(err->msg, head, sizeof head - 1) != 0) return;
    for (n = 0; n < 63 && (isalpha((unsigned char)p[n]) || p[n] == '_'); n++) field[n] = p[n];
    field[n] = 0;
    if (!find(field)) field[0] = 0;
}

g4_status g4_ask_parse(g4_ask *a, g4_ask_kind kind, const g4_ask_model *m, const void *json,
                       size_t size, char field[64], g4_err *err)
{
    *a = (g4_ask){ .kind = kind, .max_tokens = -1, .n = 1, .top_k = -1, .temperature = -1.0,
                   .top_p = -1.0, .logprobs = -1, .special = 1 };
    g4_status s = parse(a, m, json, size, err);
    field[0] = 0;
    if (s == G4_EINPUT) blame(field, err);
    return s;
}

void g4_ask_free(g4_ask *a)
{
    for (size_t i = 0; i < a->media_count; i++) free(a->media[i].data);
    g4_chat_text_free(&a->text);
    json_decref(a->root);
    g4_arena_free(&a->arena);
    *a = (g4_ask){ .kind = a->kind };
}
