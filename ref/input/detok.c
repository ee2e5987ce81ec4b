/* SPDX-License-Identifier: Apache-2.0
 * Ids back to text.  Each token's text goes through the decoder's Replace
 * steps; with ByteFallback, a run of tokens "<0xNN>" is bytes: if the run as a
 * whole is UTF-8 it is that text, else each byte is one U+FFFD.  Tokens that
 * are skipped, or that do not exist, do not end a run. */
#include "ref/input/tokenizer_parts.h"
#include "ref/input/utf8.h"

#include <stdlib.h>
#include <string.h>

void g4_detok_init(g4_detok *d, const g4_tokenizer *t, int skip_special)
{
    *d = (g4_detok){ .t = t, .skip_special = skip_special };
}

void g4_detok_free(g4_detok *d)
{
    free(d->run);
    free(d->buf);
    *d = (g4_detok){ 0 };
}

static int hex(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
           : -1;
}

/* The byte that "<0xNN>" stands for, -1: the token is no such thing. */
static int byte_of(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int high = hex((unsigned char)text[3]), low = hex((unsigned char)text[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

/* The open run becomes text at the end of out. */
static g4_status flush(g4_detok *d, g4_text *out, g4_err *err)
{
    size_t n = d->run_size;
    if (n == 0) return G4_OK;
    d->run_size = 0;
    if (g4_utf8_check(d->run, n) == n) return g4_text_add(out, d->run, n, err);
    for (size_t i = 0; i < n; i++) G4_TRY(g4_text_add(out, "\xef\xbf\xbd", 3, err));
    return G4_OK;
}

static g4_status hold(g4_detok *d, int byte, g4_err *err)
{
    if (d->run_size == d->run_capacity) {
        size_t capacity = 2 * d->run_capacity + 32;
        uint8_t *p = realloc(d->run, capacity);
        if (!p) return g4_nomem(err, "text");
        d->run = p;
        d->run_capacity = capacity;
    }
    d->run[d->run_size++] = (uint8_t)byte;
    return G4_OK;
}

/* One token onto the end of out. */
static g4_status push(g4_detok *d, int32_t id, g4_text *out, g4_err *err)
{
    const g4_tokenizer *t = d->t;
    if (id < 0 || id >= g4_tokenizer_size(t)) return G4_OK;
    size_t len, from = out->size;
    const char *text = g4_vocab_text(&t->vocab, id, &len);
    const g4_added *a = t->added_of[id] >= 0 ? &t->added[t->added_of[id]] : NULL;
    if (a && a->shown) {   /* the library looks for the normalised text among the special ones */
        text = a->shown;
        len = a->shown_len;
    } else if (a && a->special && d->skip_special) {
        return G4_OK;
    }
    if (t->decode_spaced && d->begun) G4_TRY(g4_text_add(out, " ", 1, err));
    d->begun = 1;
    /* Straight behind what is there; taken back if it turns out to be a byte, and
     * moved up if a run has to come first (rare, so not worth a second buffer). */
    G4_TRY(g4_replaces_run(&t->decoder, text, len, out, err));
    int byte = t->decode_bytes ? byte_of(out->data + from, out->size - from) : -1;
    if (byte >= 0) {
        out->size = from;
        return hold(d, byte, err);
    }
    if (d->run_size == 0) return G4_OK;
    g4_text token = { 0 };
    g4_status s = g4_text_add(&token, out->data + from, out->size - from, err);
    out->size = from;
    if (s == G4_OK) s = flush(d, out, err);
    if (s == G4_OK) s = g4_text_add(out, token.data, token.size, err);
    free(token.data);
    return s;
}

/* The buffer lives in d between calls. */
static g4_status give(g4_detok *d, g4_text *out, g4_status s, const char **text, size_t *len)
{
    d->buf = out->data;
    d->capacity = out->capacity;
    d->size = s == G4_OK ? out->size : 0;
    *text = d->buf ? d->buf : "";
    *len = d->size;
    return s;
}

g4_status g4_detok_push(g4_detok *d, int32_t id, const char **text, size_t *len, g4_err *err)
{
    g4_text out = { .data = d->buf, .capacity = d->capacity };
    return give(d, &out, push(d, id, &out, err), text, len);
}

g4_status g4_detok_end(g4_detok *d, const char **text, size_t *len, g4_err *err)
{
    g4_text out = { .data = d->buf, .capacity = d->capacity };
    return give(d, &out, flush(d, &out, err), text, len);
}

g4_status g4_tokenizer_decode(const g4_tokenizer *t, const int32_t *ids, size_t n,
                              int skip_special, char **text, size_t *len, g4_err *err)
{
    g4_detok d;
    g4_text out = { 0 };
    g4_detok_init(&d, t, skip_special);
    g4_status s = g4_text_add(&out, "", 0, err);   /* so that no ids give "", not NULL */
    for (size_t i = 0; i < n && s == G4_OK; i++) s = push(&d, ids[i], &out, err);
    if (s == G4_OK) s = flush(&d, &out, err);
    g4_detok_free(&d);
    if (s != G4_OK) {
        free(out.data);
        return s;
    }
    *text = out.data;
    *len = out.size;
    return G4_OK;
}
