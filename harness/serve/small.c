/* SPDX-License-Identifier: Apache-2.0
 * Answers that need no model: token ids and back, what is served, errors. */
#include "harness/serve/serve.h"

#include <stdlib.h>
#include <string.h>

static char *dump(json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return text;
}

int g4_error_status(g4_status s)
{
    return s == G4_EINPUT ? 400 : s == G4_ENOMEM ? 503 : 500;
}

char *g4_error_text(int status, const char *message, const char *field, const char *code)
{
    const char *type = status == 404 ? "not_found_error" : status < 500 ? "invalid_request_error"
                                                                        : "server_error";
    return dump(json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", message, "type", type,
                          "param", field && *field ? field : NULL, "code", code));
}

static char *tokenized(const g4_served *s, const g4_ask *a, g4_err *err)
{
    const char *text = a->prompts[0].text;
    g4_ids ids = { 0 };
    g4_status st = g4_tokenizer_encode_bos(s->tokenizer, text, strlen(text),
                                           a->special ? s->bos : G4_BOS_OFF, &ids, err);
    json_t *list = json_array();
    for (size_t i = 0; st == G4_OK && i < ids.count; i++)
        json_array_append_new(list, json_integer(ids.ids[i]));
    char *out = NULL;
    if (st == G4_OK)
        out = dump(json_pack("{s:I, s:I, s:O}", "count", (json_int_t)ids.count, "max_model_len",
                             (json_int_t)s->ctx, "tokens", list));
    json_decref(list);
    g4_ids_free(&ids);
    if (st == G4_OK && !out) g4_nomem(err, "answer");
    return out;
}

static char *detokenized(const g4_served *s, const g4_ask *a, g4_err *err)
{
    char *text = NULL, *out;
    size_t len = 0;
    if (g4_tokenizer_decode(s->tokenizer, a->prompts[0].ids, (size_t)a->prompts[0].n, 0, &text,
                            &len, err) != G4_OK)
        return NULL;
    out = dump(json_pack("{s:o}", "prompt", json_stringn(text, len)));
    free(text);
    if (!out) g4_nomem(err, "answer");
    return out;
}

char *g4_small_answer(g4_served *s, const g4_ask *a, g4_err *err)
{
    return a->kind == G4_ASK_TOKENIZE ? tokenized(s, a, err) : detokenized(s, a, err);
}

static json_t *token_name(const g4_served *s, int64_t id)
{
    size_t len = 0;
    const char *text = id >= 0 && id <= INT32_MAX
                           ? g4_tokenizer_text(s->tokenizer, (int32_t)id, &len) : NULL;
    return text ? json_stringn(text, len) : json_null();
}

/* eos_token is <eos>, as in Transformers; other ends (<turn|>) are the server's to know. */
char *g4_tokenizer_info(const g4_served *s)
{
    const g4_config *c = &s->rt.model->config;
    int64_t eos = g4_tokenizer_id(s->tokenizer, "<eos>");
    if (eos < 0 && s->rt.model->generation.eos_count) eos = s->rt.model->generation.eos[0];
    return dump(json_pack("{s:o, s:o, s:o, s:s?}", "bos_token",
                          token_name(s, g4_tokenizer_bos(s->tokenizer)), "eos_token",
                          token_name(s, eos), "pad_token", token_name(s, c->pad_token_id),
                          "chat_template", s->chat_template));
}

char *g4_model_list(const g4_served *s)
{
    return dump(json_pack("{s:s, s:[{s:s, s:s, s:I, s:s, s:I}]}", "object", "list", "data", "id",
                          s->name, "object", "model", "created", (json_int_t)s->created,
                          "owned_by", "gemma4", "max_model_len", (json_int_t)s->ctx));
}

/* In Prometheus' text format. */
char *g4_metrics_text(g4_served *s)
{
    g4_desk *d = &s->desk;
    char *text = malloc(1024);
    if (!text) return NULL;
    pthread_mutex_lock(&d->mutex);
    const struct { const char *name, *type; uint64_t value; } rows[] = {
        { "requests_total", "counter", d->requests }, { "failed_total", "counter", d->failed },
        { "prompt_tokens_total", "counter", d->prompt_tokens },
        { "cached_tokens_total", "counter", d->cached_tokens },
        { "generated_tokens_total", "counter", d->made_tokens },
        { "requests_waiting", "gauge", d->waiting },
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        at += (size_t)snprintf(text + at, 1024 - at, "# TYPE gemma4_%s %s\ngemma4_%s %llu\n",
                               rows[i].name, rows[i].type, rows[i].name,
                               (unsigned long long)rows[i].value);
    pthread_mutex_unlock(&d->mutex);
    return text;
}
