/* SPDX-License-Identifier: Apache-2.0
 * Encoding: cut the text at added tokens, normalise what lies between, cut
 * again at added tokens that are matched normalised, BPE the rest, put the
 * template's ids around.  The rule for BOS is at the end. */
#include "ref/input/tokenizer_parts.h"
#include "ref/input/utf8.h"

#include <stdlib.h>
#include <string.h>

g4_status g4_ids_push(g4_ids *l, int32_t id, g4_err *err)
{
    if (l->count == l->capacity) {
        if (l->capacity > SIZE_MAX / 4 / sizeof *l->ids) return g4_nomem(err, "ids");
        size_t capacity = 2 * l->capacity + 64;
        int32_t *p = realloc(l->ids, capacity * sizeof *p);
        if (!p) return g4_nomem(err, "ids");
        l->ids = p;
        l->capacity = capacity;
    }
    l->ids[l->count++] = id;
    return G4_OK;
}

void g4_ids_free(g4_ids *l)
{
    free(l->ids);
    *l = (g4_ids){ 0 };
}

/* except: an id that is left out, -1 for none. */
static g4_status push_all(g4_ids *out, const g4_ids *from, int32_t except, g4_err *err)
{
    for (size_t i = 0; i < from->count; i++)
        if (from->ids[i] != except) G4_TRY(g4_ids_push(out, from->ids[i], err));
    return G4_OK;
}

/* A piece that has been normalised. */
static g4_status encode_normal(const g4_tokenizer *t, const char *text, size_t len, g4_bpe *b,
                               g4_ids *out, g4_err *err)
{
    g4_cut c = { .t = t, .trie = &t->normal, .text = text, .size = len };
    for (;;) {
        size_t from, to;
        int32_t i = g4_cut_next(&c, &from, &to);
        G4_TRY(g4_bpe_encode(t, b, text + from, to - from, out, err));
        if (i < 0) return G4_OK;
        G4_TRY(g4_ids_push(out, t->added[i].id, err));
    }
}

/* norm is scratch for the normalised piece. */
static g4_status encode_raw(const g4_tokenizer *t, const char *text, size_t len, g4_bpe *b,
                            g4_text *norm, g4_ids *out, g4_err *err)
{
    g4_cut c = { .t = t, .trie = &t->raw, .text = text, .size = len };
    for (;;) {
        size_t from, to;
        int32_t i = g4_cut_next(&c, &from, &to);
        norm->size = 0;
        G4_TRY(g4_replaces_run(&t->normalizer, text + from, to - from, norm, err));
        if (norm->size > 0)
            G4_TRY(encode_normal(t, norm->data, norm->size, b, out, err));
        if (i < 0) return G4_OK;
        G4_TRY(g4_ids_push(out, t->added[i].id, err));
    }
}

/* The text alone, without the template. */
static g4_status encode_text(const g4_tokenizer *t, const char *text, size_t len, g4_ids *out,
                             g4_err *err)
{
    g4_bpe b = { 0 };
    g4_text norm = { 0 };
    size_t at = g4_utf8_check(text, len);
    if (at < len) return g4_fail(err, G4_EINPUT, "text: not UTF-8 at byte %zu", at);
    g4_status s = encode_raw(t, text, len, &b, &norm, out, err);
    g4_bpe_free(&b);
    free(norm.data);
    return s;
}

g4_status g4_tokenizer_encode(const g4_tokenizer *t, const char *text, size_t len,
                              int add_special, g4_ids *out, g4_err *err)
{
    if (add_special) G4_TRY(push_all(out, &t->before, -1, err));
    G4_TRY(encode_text(t, text, len, out, err));
    return add_special ? push_all(out, &t->after, -1, err) : G4_OK;
}

g4_status g4_bos_parse(g4_bos *bos, const char *name, g4_err *err)
{
    static const char *const names[] = { [G4_BOS_AUTO] = "auto", [G4_BOS_ON] = "on",
                                         [G4_BOS_OFF] = "off" };
    *bos = G4_BOS_FILE;
    if (!name) return G4_OK;
    for (int i = G4_BOS_AUTO; i <= G4_BOS_OFF; i++)
        if (strcmp(name, names[i]) == 0) {
            *bos = (g4_bos)i;
            return G4_OK;
        }
    return g4_fail(err, G4_EINPUT, "--bos %s: expected auto, on or off", name);
}

/* BOS, then what else the template has, then the text: a BOS that the template
 * itself writes is left out on the way, so that it cannot come twice. */
g4_status g4_tokenizer_encode_bos(const g4_tokenizer *t, const char *text, size_t len,
                                  g4_bos bos, g4_ids *out, g4_err *err)
{
    if (bos == G4_BOS_FILE) return g4_tokenizer_encode(t, text, len, 1, out, err);
    if (bos != G4_BOS_OFF) {
        if (t->bos < 0)
            return g4_fail(err, G4_EINPUT, "--bos: the model's files name no BOS token");
        G4_TRY(g4_ids_push(out, t->bos, err));
    }
    G4_TRY(push_all(out, &t->before, t->bos, err));
    size_t start = out->count, own = 0;
    G4_TRY(encode_text(t, text, len, out, err));
    if (bos == G4_BOS_AUTO) {   /* those that the text brings are the one already there */
        while (start + own < out->count && out->ids[start + own] == t->bos) own++;
        out->count -= own;
        if (own > 0)
            memmove(out->ids + start, out->ids + start + own,
                    (out->count - start) * sizeof *out->ids);
    }
    return push_all(out, &t->after, t->bos, err);
}

int32_t g4_tokenizer_id(const g4_tokenizer *t, const char *token)
{
    return g4_vocab_find(&t->vocab, token, strlen(token));
}

int32_t g4_tokenizer_bos(const g4_tokenizer *t)
{
    return t->bos;
}

int32_t g4_tokenizer_size(const g4_tokenizer *t)
{
    return (int32_t)t->vocab.count;
}

int g4_tokenizer_is_special(const g4_tokenizer *t, int32_t id)
{
    return id >= 0 && id < g4_tokenizer_size(t) && t->added_of[id] >= 0 &&
           t->added[t->added_of[id]].special;
}

const char *g4_tokenizer_text(const g4_tokenizer *t, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 || id >= g4_tokenizer_size(t)) return NULL;
    return g4_vocab_text(&t->vocab, id, len);
}
