/* SPDX-License-Identifier: Apache-2.0
 * Which questions, which options: what makes two journals one evaluation's. */
#include "harness/eval/frame.h"
#include "harness/eval/journal.h"
#include "harness/eval/pystr.h"
#include "harness/model_sum.h"

#include <stdlib.h>
#include <string.h>

static void add_text(g4_sha256 *sha, const char *text)
{
    if (text) g4_sha256_add(sha, text, strlen(text));
    g4_sha256_add(sha, "", 1);
}

static g4_status add_media(g4_sha256 *sha, const g4_doc *d, g4_err *err)
{
    for (size_t i = 0; i < d->media_count; i++) G4_TRY(g4_sum_path(sha, d->media[i].path, err));
    return G4_OK;
}

g4_status g4_eval_sum(const g4_eval *e, char hex[G4_SHA256_HEX], g4_err *err)
{
    g4_sha256 sha;
    g4_sha256_begin(&sha);
    for (size_t i = 0; i < e->count; i++) {
        const g4_leaf *l = &e->leaves[i];
        add_text(&sha, l->name);
        for (size_t k = 0; k < l->count; k++) {
            const g4_doc *d = &l->docs[k];
            g4_buffer b = { 0 };
            g4_py_json(&b, d->doc, 0);
            int failed = b.failed || !b.data;
            add_text(&sha, b.data);
            free(b.data);
            if (failed) return g4_nomem(err, l->name);
            add_text(&sha, d->context);
            add_text(&sha, d->target);
            for (int c = 0; c < d->choice_count; c++) {
                add_text(&sha, d->choices[c]);
                if (d->contexts) add_text(&sha, d->contexts[c]);
            }
            for (const char *const *u = d->until; u && *u; u++) add_text(&sha, *u);
            G4_TRY(add_media(&sha, d, err));
        }
    }
    g4_sha256_end(&sha, hex);
    return G4_OK;
}

g4_status g4_eval_header(json_t **header, const g4_eval *e, const g4_eval_source *src,
                         const g4_eval_how *how, g4_err *err)
{
    char sum[G4_SHA256_HEX];
    G4_TRY(g4_eval_sum(e, sum, err));
    *header = json_pack("{s:s, s:i, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:s, s:s, s:O, s:[I, I]}",
                        "format", "gemma4-eval", "format_version", 2, "started", how->date, "task",
                        src->name, "data", src->dir, "frame", g4_frame_json(&src->frame), "shots",
                        (json_int_t)src->shots, "limit", (json_int_t)src->limit, "max_tokens",
                        (json_int_t)src->max_tokens, "documents", sum, "model", how->model_sum,
                        "config", how->config, "shard", (json_int_t)how->shard,
                        (json_int_t)how->shards);
    return *header ? G4_OK : g4_nomem(err, src->name);
}
