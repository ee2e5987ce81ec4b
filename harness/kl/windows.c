/* SPDX-License-Identifier: Apache-2.0
 * Windows of tokens and what is counted of their text.  A document's P (prefix: <bos>, or a
 * chat's turns up to the model's own) and its tokens t0 t1 ... [N90]:
 *   rolling   every window is P and what came last before the tokens that it predicts;
 *             `stride` of them are new, and every token is predicted once
 *   lm-eval   the same, but P stands in the first window only: lm-eval's rolling windows
 *   halves    llama.cpp's: pieces of ctx tokens of <bos> t0 t1 ..., whose first token <bos>
 *             stands in for; of each the second half is predicted
 *   answers   one window: P, and an answer, all of which is predicted */
#include "harness/kl/windows.h"

#include "harness/eval/pystr.h"
#include "ref/model/config.h"

#include <stdlib.h>
#include <string.h>

/* Tokens of all windows together: what one process can sensibly read, and 32-bit sums. */
enum { MAX_IDS = 1 << 28 };

g4_status g4_kl_text_add(g4_kl_text *t, const int32_t *ids, int64_t n, int64_t scored,
                         int32_t lead, g4_err *err)
{
    if (n < 2 || n > (int64_t)MAX_IDS - (int64_t)t->ids.count)
        return g4_fail(err, G4_EINPUT, "more than %d tokens in all windows", (int)MAX_IDS);
    if (t->count == t->room) {
        size_t room = t->room ? 2 * t->room : 64;
        g4_kl_window *more = realloc(t->windows, room * sizeof *more);
        if (!more) return g4_nomem(err, "windows");
        t->windows = more;
        t->room = room;
    }
    t->windows[t->count++] = (g4_kl_window){ .first = t->ids.count, .n = (int32_t)n,
                                             .scored = (int32_t)scored, .lead = lead };
    for (int64_t i = 0; i < n; i++) G4_TRY(g4_ids_push(&t->ids, ids[i], err));
    t->scored += scored;
    if (n > t->longest) t->longest = n;
    return G4_OK;
}

void g4_kl_text_free(g4_kl_text *t)
{
    g4_ids_free(&t->ids);
    free(t->windows);
    *t = (g4_kl_text){ 0 };
}

/* ---- cutting ---- */

static int full(const g4_kl_cut *c)
{
    return c->limit > 0 && (int64_t)c->text->count >= c->limit;
}

/* Tokens [from, to) behind the prefix; the last `scored` are predicted. */
static g4_status add(const g4_kl_cut *c, int with_prefix, int64_t from, int64_t to,
                     int64_t scored, g4_err *err)
{
    int64_t p = with_prefix ? c->prefix_n : 0, n = p + to - from;
    memcpy(c->scratch, c->prefix, (size_t)p * sizeof *c->scratch);
    memcpy(c->scratch + p, c->tokens + from, (size_t)(to - from) * sizeof *c->scratch);
    return g4_kl_text_add(c->text, c->scratch, n, scored, c->scratch[0], err);
}

g4_status g4_kl_cut_rolling(const g4_kl_cut *c, int prefix_once, g4_err *err)
{
    int64_t p = c->prefix_n, done = 0;
    while (done < c->n && !full(c)) {
        int with = !prefix_once || done == 0;
        int64_t room = c->ctx + 1 - (with ? p : 0);          /* its last token is not read */
        int64_t to = done == 0 ? room : done + c->stride;
        if (to > c->n) to = c->n;
        int64_t from = to > room ? to - room : 0;
        /* nothing stands before a text's first token where there is no prefix */
        int64_t scored = to - done - (done == 0 && p == 0);
        if (scored > 0) G4_TRY(add(c, with, from, to, scored, err));
        done = to;
    }
    return G4_OK;
}

g4_status g4_kl_cut_halves(const g4_kl_cut *c, g4_err *err)
{
    int64_t p = c->prefix_n > 0, n = c->n + p, ctx = c->ctx;
    for (int64_t at = 0; at + ctx <= n && !full(c); at += ctx) {
        int32_t lead = 0;
        for (int64_t i = 0; i < ctx; i++)
            c->scratch[i] = at + i < p ? c->prefix[0] : c->tokens[at + i - p];
        lead = c->scratch[0];
        if (p) c->scratch[0] = c->prefix[0];
        G4_TRY(g4_kl_text_add(c->text, c->scratch, ctx, ctx - 1 - ctx / 2, lead, err));
    }
    return G4_OK;
}

/* ---- measuring ---- */

size_t g4_kl_gaps(const char *text, size_t len)
{
    size_t gaps = 0, inside = 0, step;
    for (size_t i = 0; i < len; i += step) {
        int space = g4_py_space(text + i, len - i, &step);
        gaps += space && !inside;
        inside = (size_t)space;
    }
    return gaps;
}

/* Pieces of one text: a gap between words is a word, whichever piece it fell into. */
g4_status g4_kl_text_measure(g4_kl_text *t, const g4_tokenizer *tokenizer, g4_err *err)
{
    t->bytes = t->words = 0.0;
    for (size_t i = 0; i < t->count; i++) {
        const g4_kl_window *w = &t->windows[i];
        const int32_t *ids = t->ids.ids + w->first + w->n - w->scored;
        char *text;
        size_t len;
        G4_TRY(g4_tokenizer_decode(tokenizer, ids, (size_t)w->scored, 1, &text, &len, err));
        t->bytes += (double)len;
        t->words += (double)g4_kl_gaps(text, len);
        free(text);
    }
    return G4_OK;
}
