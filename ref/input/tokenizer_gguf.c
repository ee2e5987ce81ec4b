/* SPDX-License-Identifier: Apache-2.0
 * A tokenizer from a GGUF's keys (tokenizer.ggml.model "gemma4").  Vocabulary and merges come
 * straight from the arrays; what such a file takes for granted - Replace, byte fallback, the
 * decoder - goes the way of every tokenizer.json, as the text that Gemma's has. */
#include "ref/file/document.h"
#include "ref/input/tokenizer_load.h"

#include <stdlib.h>
#include <string.h>

typedef struct source {
    const g4_gguf *g;
    const char *file;
    const g4_gguf_key *tokens, *types, *merges;
    uint64_t count;            /* of tokens that are none of the padding at the end */
} source;

static g4_status find(source *s, g4_err *err)
{
    size_t len;
    const char *model = g4_gguf_string(g4_gguf_find(s->g, "tokenizer.ggml.model"), &len);
    if (!model || len != 6 || memcmp(model, "gemma4", 6) != 0)
        return g4_fail(err, G4_EINPUT, "%s: key tokenizer.ggml.model is not \"gemma4\"", s->file);
    s->tokens = g4_gguf_find(s->g, "tokenizer.ggml.tokens");
    s->types = g4_gguf_find(s->g, "tokenizer.ggml.token_type");
    s->merges = g4_gguf_find(s->g, "tokenizer.ggml.merges");
    const g4_gguf_key *k[] = { s->tokens, s->merges };
    for (int i = 0; i < 2; i++)
        if (!k[i] || !k[i]->is_array || k[i]->type != G4_GGUF_STRING)
            return g4_fail(err, G4_EINPUT, "%s: key tokenizer.ggml.%s is no array of strings",
                           s->file, i ? "merges" : "tokens");
    if (s->tokens->count == 0 || s->tokens->count > INT32_MAX)
        return g4_fail(err, G4_EINPUT, "%s: key tokenizer.ggml.tokens has %llu entries", s->file,
                       (unsigned long long)s->tokens->count);
    if (!s->types || !s->types->is_array || !g4_gguf_is_int(s->types) ||
        s->types->count != s->tokens->count)
        return g4_fail(err, G4_EINPUT, "%s: key tokenizer.ggml.token_type is no array of a type "
                       "for each token", s->file);
    s->count = s->tokens->count;
    while (s->count > 0 && g4_gguf_int(s->types, s->count - 1) == G4_TOKEN_UNUSED) s->count--;
    return G4_OK;
}

static g4_status vocabulary(g4_tokenizer *t, const source *s, g4_err *err)
{
    size_t at = 0, len;
    int old = 0;
    for (uint64_t i = 0; i < s->count; i++) {
        const char *text = g4_gguf_next(s->tokens, &at, &len);
        if (len == 0)
            return g4_fail(err, G4_EINPUT, "%s: key tokenizer.ggml.tokens: token %llu is empty",
                           s->file, (unsigned long long)i);
        G4_TRY(g4_vocab_add(&t->vocab, text, len, (int32_t)i, &old, err));
        if (old)
            return g4_fail(err, G4_EINPUT, "%s: key tokenizer.ggml.tokens: token %llu \"%.*s\" is "
                           "there twice", s->file, (unsigned long long)i, g4_shown(text, len),
                           text);
    }
    t->model_size = (int32_t)t->vocab.count;
    return g4_vocab_seal(&t->vocab, s->file, err);
}

static g4_status bad_merge(const source *s, uint64_t i, const char *what, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: key tokenizer.ggml.merges: merge %llu %s", s->file,
                   (unsigned long long)i, what);
}

/* "left right": both tokens, and so is what they become. */
static g4_status add_merge(g4_tokenizer *t, const source *s, uint64_t i, const char *text,
                           size_t len, g4_text *joined, g4_err *err)
{
    const char *space = memchr(text, ' ', len);
    size_t left = space ? (size_t)(space - text) : 0, right = space ? len - left - 1 : 0;
    if (left == 0 || right == 0 || memchr(space + 1, ' ', right))
        return bad_merge(s, i, "is not two tokens with one space between them", err);
    joined->size = 0;
    G4_TRY(g4_text_add(joined, text, left, err));
    G4_TRY(g4_text_add(joined, space + 1, right, err));
    int32_t a = g4_vocab_find(&t->vocab, text, left);
    int32_t b = g4_vocab_find(&t->vocab, space + 1, right);
    int32_t ab = g4_vocab_find(&t->vocab, joined->data, joined->size);
    if (a < 0 || b < 0 || ab < 0) return bad_merge(s, i, "names what is no token", err);
    return g4_merges_add(&t->merges, a, b, ab, err);
}

static g4_status merges(g4_tokenizer *t, const source *s, g4_err *err)
{
    g4_text joined = { 0 };
    size_t at = 0, len;
    g4_status st = G4_OK;
    for (uint64_t i = 0; st == G4_OK && i < s->merges->count; i++) {
        const char *text = g4_gguf_next(s->merges, &at, &len);
        st = add_merge(t, s, i, text, len, &joined, err);
    }
    free(joined.data);
    return st;
}

/* Gemma's own: the converter marks these seven USER_DEFINED so that llama.cpp shows them,
 * though tokenizer.json has them as special as all the others. */
int g4_token_shown(const char *text, size_t len)
{
    static const char *const texts[] = { "<|channel>", "<channel|>", "<|tool_call>",
                                         "<tool_call|>", "<|tool_response>", "<tool_response|>",
                                         "<|\"|>" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (len == strlen(texts[i]) && memcmp(text, texts[i], len) == 0) return 1;
    return 0;
}

static g4_status added(const source *s, json_t *list, g4_err *err)
{
    size_t at = 0, len;
    for (uint64_t i = 0; i < s->count; i++) {
        const char *text = g4_gguf_next(s->tokens, &at, &len);
        int64_t type = g4_gguf_int(s->types, i);
        if (type < G4_TOKEN_NORMAL || type > G4_TOKEN_BYTE)
            return g4_fail(err, G4_EINPUT, "%s: key tokenizer.ggml.token_type: token %llu has "
                           "type %lld", s->file, (unsigned long long)i, (long long)type);
        if (type == G4_TOKEN_NORMAL || type == G4_TOKEN_UNUSED || type == G4_TOKEN_BYTE) continue;
        int special = type != G4_TOKEN_USER_DEFINED || g4_token_shown(text, len);
        json_t *content = json_stringn(text, len);
        if (!content)
            return g4_fail(err, G4_EINPUT, "%s: key tokenizer.ggml.tokens: token %llu is no UTF-8",
                           s->file, (unsigned long long)i);
        json_t *one = json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i,
                                "content", content, "single_word", 0, "lstrip", 0, "rstrip", 0,
                                "normalized", 0, "special", special);
        if (json_array_append_new(list, one) != 0) return g4_nomem(err, s->file);
    }
    return G4_OK;
}

/* A token id key: -1 where there is none. */
static g4_status token_id(const g4_tokenizer *t, const source *s, const char *key, int32_t *id,
                          g4_err *err)
{
    const g4_gguf_key *k = g4_gguf_find(s->g, key);
    *id = -1;
    if (!k) return G4_OK;
    int64_t v = g4_gguf_is_int(k) && !k->is_array ? g4_gguf_int(k, 0) : -1;
    if (v < 0 || v >= g4_tokenizer_size(t))
        return g4_fail(err, G4_EINPUT, "%s: key %s is no token id below %d", s->file, key,
                       (int)g4_tokenizer_size(t));
    *id = (int32_t)v;
    return G4_OK;
}

static const char rest[] =
    "{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":"
    "{\"String\":\"\u2581\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},"
    "\"model\":{\"type\":\"BPE\",\"fuse_unk\":true,\"byte_fallback\":true}}";

static g4_status components(g4_tokenizer *t, const source *s, g4_err *err)
{
    g4_json j;
    int32_t unk;
    G4_TRY(g4_json_parse(&j, s->file, rest, sizeof rest - 1, err));
    json_t *list = json_array();
    g4_status st = json_object_set_new(j.root, "added_tokens", list) == 0 ? G4_OK
                                                                          : g4_nomem(err, s->file);
    if (st == G4_OK) st = added(s, list, err);
    if (st == G4_OK) st = g4_tokenizer_components(t, &j, err);
    if (st == G4_OK) st = token_id(t, s, "tokenizer.ggml.unknown_token_id", &unk, err);
    if (st == G4_OK) t->unk = unk;
    g4_json_free(&j);
    return st;
}

/* add_bos_token is the post-processor of such a file; absent it is set, as llama.cpp has it
 * for this model whatever the file says. */
static g4_status begin(g4_tokenizer *t, const source *s, g4_err *err)
{
    const g4_gguf_key *k = g4_gguf_find(s->g, "tokenizer.ggml.add_bos_token");
    int add = !k || (g4_gguf_is_int(k) && g4_gguf_int(k, 0) != 0);
    G4_TRY(token_id(t, s, "tokenizer.ggml.bos_token_id", &t->bos, err));
    return add && t->bos >= 0 ? g4_ids_push(&t->before, t->bos, err) : G4_OK;
}

g4_status g4_tokenizer_from_gguf(g4_tokenizer *t, const char *model, g4_err *err)
{
    g4_gguf_pair p;
    G4_TRY(g4_gguf_open_model(&p, model, err));
    source s = { .g = p.main, .file = g4_gguf_file(p.main) };
    g4_status st = find(&s, err);
    if (st == G4_OK) st = vocabulary(t, &s, err);
    if (st == G4_OK) st = merges(t, &s, err);
    if (st == G4_OK) st = components(t, &s, err);
    if (st == G4_OK) st = begin(t, &s, err);
    g4_gguf_close_model(&p);
    return st;
}
