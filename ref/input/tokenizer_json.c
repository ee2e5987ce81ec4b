/* SPDX-License-Identifier: Apache-2.0
 * The two members of tokenizer.json that are 99 % of it, model.vocab and
 * model.merges, read with a cursor straight into our tables: as jansson values
 * they would take 200 MB and half a second.  The rest of the file, which the
 * spans found here are cut out of, goes through jansson. */
#include "ref/input/tokenizer_parts.h"
#include "ref/input/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

static g4_status bad(const g4_cursor *c, const char *what, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: byte %zu: %s", c->file, c->at, what);
}

/* The next byte that is not white space, 0 at the end (a NUL is no JSON either). */
static int peek(g4_cursor *c)
{
    while (c->at < c->end && (c->data[c->at] == ' ' || c->data[c->at] == '\n' ||
                              c->data[c->at] == '\t' || c->data[c->at] == '\r'))
        c->at++;
    return c->at < c->end ? c->data[c->at] : 0;
}

static int take(g4_cursor *c, char want)
{
    if (peek(c) != want) return 0;
    c->at++;
    return 1;
}

/* Four hex digits at the cursor; -1: not that. */
static int32_t hex4(g4_cursor *c)
{
    int32_t v = 0;
    if (c->end - c->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t d = c->data[c->at++];
        int digit = d >= '0' && d <= '9' ? d - '0' : (d | 32) >= 'a' && (d | 32) <= 'f'
                    ? (d | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* Behind "\u": one character, of two escapes where the first is a surrogate. */
static g4_status unicode_escape(g4_cursor *c, g4_err *err)
{
    int32_t u = hex4(c);
    if (u >= 0xd800 && u < 0xdc00) {
        int32_t low = -1;
        if (c->end - c->at >= 6 && c->data[c->at] == '\\' && c->data[c->at + 1] == 'u') {
            c->at += 2;
            low = hex4(c);
        }
        u = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00) : -1;
    } else if (u >= 0xdc00 && u < 0xe000) {
        u = -1;
    }
    if (u < 0) return bad(c, "bad \\u escape", err);
    uint8_t b[4];
    size_t n = 0;
    if (u < 0x80) {
        b[n++] = (uint8_t)u;
    } else if (u < 0x800) {
        b[n++] = (uint8_t)(0xc0 | u >> 6);
    } else if (u < 0x10000) {
        b[n++] = (uint8_t)(0xe0 | u >> 12);
        b[n++] = (uint8_t)(0x80 | (u >> 6 & 63));
    } else {
        b[n++] = (uint8_t)(0xf0 | u >> 18);
        b[n++] = (uint8_t)(0x80 | (u >> 12 & 63));
        b[n++] = (uint8_t)(0x80 | (u >> 6 & 63));
    }
    if (u >= 0x80) b[n++] = (uint8_t)(0x80 | (u & 63));
    return g4_text_add(&c->buf, b, n, err);
}

static g4_status escape(g4_cursor *c, g4_err *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    c->at++;   /* the backslash */
    int e = c->at < c->end ? c->data[c->at] : 0;
    if (e == 'u') {
        c->at++;
        return unicode_escape(c, err);
    }
    const char *f = e ? strchr(from, e) : NULL;
    if (!f) return bad(c, "bad escape in a string", err);
    c->at++;
    return g4_text_add(&c->buf, &to[f - from], 1, err);
}

/* A JSON string into c->str, c->len, which last until the next call. */
static g4_status string(g4_cursor *c, g4_err *err)
{
    if (!take(c, '"')) return bad(c, "expected a string", err);
    size_t from = c->at;
    int escaped = 0;
    c->buf.size = 0;
    for (;;) {
        int b = c->at < c->end ? c->data[c->at] : 0;
        if (b < 0x20) return bad(c, "string without end, or a control byte in it", err);
        if (b == '"') break;
        if (b == '\\') {
            G4_TRY(g4_text_add(&c->buf, c->data + from, c->at - from, err));
            G4_TRY(escape(c, err));
            from = c->at;
            escaped = 1;
        } else if (b < 0x80) {
            c->at++;
        } else {
            size_t n = g4_utf8_len(c->data + c->at, c->end - c->at);
            if (n == 0) return bad(c, "not UTF-8", err);
            c->at += n;
        }
    }
    c->str = (const char *)c->data + from;
    c->len = c->at - from;
    if (escaped) {
        G4_TRY(g4_text_add(&c->buf, c->str, c->len, err));
        c->str = c->buf.data;
        c->len = c->buf.size;
    }
    c->at++;
    return G4_OK;
}

/* Over one value.  What is wrong in it is found later, by its real reader; here
 * only the strings and the nesting count. */
static g4_status skip(g4_cursor *c, g4_err *err)
{
    int depth = 0;
    do {
        int b = peek(c);
        if (b == 0) return bad(c, "the file ends inside a value", err);
        if (b == '"') {
            for (c->at++; c->at < c->end && c->data[c->at] != '"'; c->at++)
                if (c->data[c->at] == '\\') c->at++;
        } else if (b == '{' || b == '[') {
            if (++depth > MAX_DEPTH) return bad(c, "JSON nested deeper than 64 levels", err);
        } else if (b == '}' || b == ']') {
            if (--depth < 0) return bad(c, "expected a value", err);
        } else if (depth == 0) {   /* a number, true, false or null */
            while (c->at < c->end && !strchr(",]} \t\r\n", c->data[c->at])) c->at++;
            continue;
        }
        c->at++;
    } while (depth > 0);
    return G4_OK;
}

static int is(const g4_cursor *c, const char *key)
{
    return c->len == strlen(key) && memcmp(c->str, key, c->len) == 0;
}

/* The members of the object at the cursor; in "model" it looks for the two. */
static g4_status members(g4_cursor *c, int depth, g4_span *vocab, g4_span *merges, g4_err *err)
{
    if (!take(c, '{')) return bad(c, "expected an object", err);
    if (take(c, '}')) return G4_OK;
    do {
        G4_TRY(string(c, err));
        g4_span *found = depth == 0 ? NULL : is(c, "vocab") ? vocab : is(c, "merges") ? merges
                         : NULL;
        int model = depth == 0 && is(c, "model");
        if (!take(c, ':')) return bad(c, "expected a colon", err);
        int first = peek(c);
        if (model && first == '{') {
            G4_TRY(members(c, 1, vocab, merges, err));
            continue;
        }
        size_t at = c->at;
        G4_TRY(skip(c, err));
        if (found && found->at != found->end) return bad(c, "vocab or merges twice", err);
        if (found) *found = (g4_span){ at, c->at };
    } while (take(c, ','));
    return take(c, '}') ? G4_OK : bad(c, "expected a comma or the end of the object", err);
}

g4_status g4_tokenizer_spans(const char *file, const uint8_t *data, size_t size, g4_span *vocab,
                             g4_span *merges, g4_err *err)
{
    g4_cursor c = { .file = file, .data = data, .end = size };
    *vocab = *merges = (g4_span){ 0, 0 };
    g4_status s = members(&c, 0, vocab, merges, err);
    free(c.buf.data);
    return s;
}

/* An id: digits only, below 2^31. */
static g4_status token_id(g4_cursor *c, int32_t *id, g4_err *err)
{
    int64_t v = 0;
    int first = peek(c);
    size_t from = c->at;
    while (c->at < c->end && c->data[c->at] >= '0' && c->data[c->at] <= '9' && v <= INT32_MAX)
        v = v * 10 + (c->data[c->at++] - '0');
    size_t digits = c->at - from;
    int next = peek(c);
    if (digits == 0 || v > INT32_MAX || (first == '0' && digits > 1) ||
        (next != ',' && next != '}'))
        return g4_fail(err, G4_EINPUT,
                       "%s: byte %zu: the id of token \"%.*s\" is not an integer from 0 to %d",
                       c->file, from, g4_shown(c->str, c->len), c->str,
                       (int)INT32_MAX);
    *id = (int32_t)v;
    return G4_OK;
}

/* { "token": id, ... } */
g4_status g4_tokenizer_vocab(g4_tokenizer *t, g4_cursor *c, g4_err *err)
{
    int32_t id = 0;
    int old = 0;
    if (!take(c, '{')) return bad(c, "model.vocab is not an object", err);
    if (take(c, '}')) return bad(c, "model.vocab is empty", err);
    do {
        G4_TRY(string(c, err));
        if (!take(c, ':')) return bad(c, "expected a colon", err);
        G4_TRY(token_id(c, &id, err));
        if (c->len == 0) return bad(c, "model.vocab has an empty token", err);
        G4_TRY(g4_vocab_add(&t->vocab, c->str, c->len, id, &old, err));
        if (old)
            return g4_fail(err, G4_EINPUT, "%s: byte %zu: token \"%.*s\" is in model.vocab twice",
                           c->file, c->at, g4_shown(c->str, c->len), c->str);
    } while (take(c, ','));
    return take(c, '}') ? G4_OK : bad(c, "expected a comma or the end of model.vocab", err);
}

/* One half of a merge to its id. */
static g4_status piece(const g4_tokenizer *t, const g4_cursor *c, const char *text, size_t len,
                       int32_t *id, g4_err *err)
{
    if (len == 0)
        return g4_fail(err, G4_EINPUT, "%s: byte %zu: merge %zu has an empty half", c->file,
                       c->at, t->merges.ranks);
    *id = g4_vocab_find(&t->vocab, text, len);
    if (*id >= 0) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: byte %zu: merge %zu names \"%.*s\", which is no token",
                   c->file, c->at, t->merges.ranks, g4_shown(text, len), text);
}

/* "a b" at the cursor; halves are joined in pair. */
static g4_status merge_string(const g4_tokenizer *t, g4_cursor *c, g4_text *pair, int32_t half[2],
                              int *comment, g4_err *err)
{
    G4_TRY(string(c, err));
    *comment = c->len >= 8 && memcmp(c->str, "#version", 8) == 0;   /* the library skips these */
    if (*comment) return G4_OK;
    const char *space = memchr(c->str, ' ', c->len), *end = c->str + c->len;
    if (!space || memchr(space + 1, ' ', (size_t)(end - space - 1)))
        return bad(c, "a merge is not two tokens with one space between them", err);
    size_t left = (size_t)(space - c->str), right = (size_t)(end - space - 1);
    G4_TRY(piece(t, c, c->str, left, &half[0], err));
    G4_TRY(piece(t, c, space + 1, right, &half[1], err));
    G4_TRY(g4_text_add(pair, c->str, left, err));
    return g4_text_add(pair, space + 1, right, err);
}

/* ["a", "b"] at the cursor. */
static g4_status merge_pair(const g4_tokenizer *t, g4_cursor *c, g4_text *pair, int32_t half[2],
                            g4_err *err)
{
    if (!take(c, '[')) return bad(c, "a merge is neither like the first nor a pair", err);
    for (int i = 0; i < 2; i++) {
        if (i == 1 && !take(c, ',')) return bad(c, "a merge is not a pair of strings", err);
        G4_TRY(string(c, err));
        G4_TRY(piece(t, c, c->str, c->len, &half[i], err));
        G4_TRY(g4_text_add(pair, c->str, c->len, err));
    }
    return take(c, ']') ? G4_OK : bad(c, "a merge is not a pair of strings", err);
}

/* All strings or all pairs, as the first is; in order of rank. */
static g4_status merge_list(g4_tokenizer *t, g4_cursor *c, g4_text *pair, g4_err *err)
{
    int32_t half[2], result;
    int strings = peek(c) == '"', comment = 0;
    do {
        pair->size = 0;
        G4_TRY(strings ? merge_string(t, c, pair, half, &comment, err)
                       : merge_pair(t, c, pair, half, err));
        if (comment) continue;
        G4_TRY(piece(t, c, pair->data, pair->size, &result, err));
        G4_TRY(g4_merges_add(&t->merges, half[0], half[1], result, err));
    } while (take(c, ','));
    return take(c, ']') ? G4_OK : bad(c, "expected a comma or the end of model.merges", err);
}

g4_status g4_tokenizer_merges(g4_tokenizer *t, g4_cursor *c, g4_err *err)
{
    g4_text pair = { 0 };
    if (!take(c, '[')) return bad(c, "model.merges is not an array", err);
    if (take(c, ']')) return G4_OK;
    g4_status s = merge_list(t, c, &pair, err);
    free(pair.data);
    return s;
}
