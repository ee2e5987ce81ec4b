/* SPDX-License-Identifier: Apache-2.0
 * Documents that are predicted whole: lm-eval's rolling windows (utils.py:
 * get_rolling_token_windows), <bos> in front of the first and each of the others as long as the
 * model reads, which predict every token once.  Windows go through harness/kl, which holds 64
 * rows of logits at a time. */
#include "harness/eval/score.h"

#include "harness/kl/windows.h"
#include "ref/input/tokenizer.h"

#include <stdlib.h>
#include <string.h>

typedef struct rolling {
    const g4_eval_run *r;
    g4_kl_text text;             /* one document's windows */
    g4_ids ids;
    g4_kl_token *tokens;         /* [text.scored] */
    int32_t *scratch;            /* [ctx + 1] */
    int64_t ctx;
    g4_mask mask;
} rolling;

static g4_status cut(rolling *w, const g4_doc *d, g4_err *err)
{
    int32_t bos = g4_tokenizer_bos(w->r->tokenizer);
    g4_kl_text_free(&w->text);
    w->ids.count = 0;
    G4_TRY(g4_tokenizer_encode_bos(w->r->tokenizer, d->context, strlen(d->context), G4_BOS_OFF,
                                   &w->ids, err));
    int64_t n = (int64_t)w->ids.count;
    const g4_kl_cut c = { .text = &w->text, .prefix = &bos, .prefix_n = 1, .tokens = w->ids.ids,
                          .n = n, .ctx = w->ctx, .stride = w->ctx, .scratch = w->scratch };
    return g4_kl_cut_rolling(&c, 1, err);
}

static g4_status predict(rolling *w, g4_doc *d, g4_err *err)
{
    G4_TRY(cut(w, d, err));
    d->loglik[0] = 0.0;
    d->tokens = 0;
    if (!w->text.count) return G4_OK;        /* an empty page */
    free(w->tokens);
    w->tokens = calloc((size_t)w->text.scored, sizeof *w->tokens);
    if (!w->tokens) return g4_nomem(err, "windows");
    const g4_kl_run run = { .text = &w->text, .rt = w->r->rt, .mask = w->mask, .silent = 1,
                            .chunk = w->r->o->chunk, .tokens = w->tokens };
    G4_TRY(g4_kl_run_all(&run, err));
    for (int64_t i = 0; i < w->text.scored; i++) d->loglik[0] -= w->tokens[i].nll;
    for (size_t i = 0; i < w->text.count; i++) d->tokens += w->text.windows[i].n - 1;
    return G4_OK;
}

g4_status g4_eval_roll(g4_eval *e, g4_leaf *leaf, const g4_eval_run *r, g4_err *err)
{
    rolling w = { .r = r, .ctx = r->o->ctx };
    double last = r->clock ? r->clock() : 0.0;
    g4_status s = r->o->mask ? g4_mask_by_name(&w.mask, r->o->mask, err) : G4_OK;
    if (!w.ctx) w.ctx = r->rt->model->config.max_position_embeddings;
    if (s == G4_OK && w.ctx > G4_MAX_POSITION)
        s = g4_fail(err, G4_EINPUT, "--ctx %lld: at most %d", (long long)w.ctx,
                    (int)G4_MAX_POSITION);
    w.scratch = s != G4_OK ? NULL : calloc((size_t)w.ctx + 1, sizeof *w.scratch);
    if (s == G4_OK && !w.scratch) s = g4_nomem(err, "windows");
    for (size_t i = 0; s == G4_OK && i < leaf->count; i++) {
        if (leaf->docs[i].done || leaf->docs[i].other) continue;
        s = predict(&w, &leaf->docs[i], err);
        e->computed += leaf->docs[i].tokens;
        e->alone += leaf->docs[i].tokens;
        if (s == G4_OK) s = g4_doc_finish(e, leaf, i, r, &last, err);
    }
    g4_kl_text_free(&w.text);
    g4_ids_free(&w.ids);
    free(w.tokens);
    free(w.scratch);
    return s;
}
