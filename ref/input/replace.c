/* SPDX-License-Identifier: Apache-2.0
 * Steps of a normaliser or decoder: every occurrence of a string becomes
 * another (found left to right, not again in what was put in), or a string is
 * put in front of a text that is not empty. */
#include "ref/input/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

/* Steps that feed each other can grow a text exponentially; Gemma's own grows
 * it threefold (" " to "\u2581"). */
enum { MAX_GROWTH = 16, SLACK = 4096 };

/* limit: what the text may have become when all steps are done. */
static g4_status run_step(const g4_replace *r, const char *text, size_t len, size_t limit,
                          g4_text *out, g4_err *err)
{
    size_t find = r->pattern ? strlen(r->pattern) : 0, put = strlen(r->content), start = out->size;
    if (r->prepend && len > 0) G4_TRY(g4_text_add(out, r->content, put, err));
    while (find > 0 && len > 0) {
        const char *hit = memmem(text, len, r->pattern, find);
        if (!hit) break;
        size_t gap = (size_t)(hit - text);
        G4_TRY(g4_text_add(out, text, gap, err));
        G4_TRY(g4_text_add(out, r->content, put, err));
        text = hit + find;
        len -= gap + find;
        if (out->size - start > limit) break;
    }
    if (len > limit || out->size - start > limit - len)
        return g4_fail(err, G4_EINPUT, "tokenizer: a text grows more than %d times when normalised",
                       (int)MAX_GROWTH);
    return g4_text_add(out, text, len, err);
}

/* Two scratch texts, in turn what a step reads and writes; the last step writes
 * to out. */
g4_status g4_replaces_run(const g4_replaces *r, const char *text, size_t len, g4_text *out,
                          g4_err *err)
{
    if (len > SIZE_MAX / (2 * MAX_GROWTH)) return g4_nomem(err, "text");
    size_t limit = MAX_GROWTH * len + SLACK;
    g4_text temp[2] = { { 0 }, { 0 } };
    g4_status s = G4_OK;
    for (int i = 0; i < r->count && s == G4_OK; i++) {
        g4_text *to = i == r->count - 1 ? out : &temp[i & 1];
        if (to != out) to->size = 0;
        s = run_step(&r->step[i], text, len, limit, to, err);
        text = to->data;
        len = to->size;
    }
    if (s == G4_OK && r->count == 0) s = g4_text_add(out, text, len, err);
    free(temp[0].data);
    free(temp[1].data);
    return s;
}
