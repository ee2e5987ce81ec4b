/* SPDX-License-Identifier: Apache-2.0
 * Points of the drafter.  The model stays as it is: its final hidden rows and the inputs of the
 * two layers whose keys a drafter sees are recorded, so a point costs those two layers and one
 * step of the drafter behind every token of a text (g4_draft_rows).  What is measured is KL to
 * the float32 drafter's own logits, and the chance sum min(p, q) that the model, sampling at
 * temperature 1, takes the draft. */
#include "harness/sensitivity/bench.h"
#include "ref/base/real.h"
#include "ref/model/forward.h"

#include <math.h>
#include <string.h>

/* Rows of a step, and where they are counted. */
typedef struct step {
    g4_sens_bench *b;
    int64_t row, at, n;          /* of all scored rows, of all drafted ones; how many */
} step;

typedef g4_status step_fn(const step *s, g4_err *err);

g4_status g4_sens_drafted_open(g4_sens_bench *b, g4_err *err)
{
    g4_sens_study *s = b->s;
    if (!b->drafting) return G4_OK;
    G4_TRY(g4_drafter_open_rows(&b->drafter, &s->draft, b->engine, G4_SENS_STEP, err));
    b->drafter->engine->inputs = &b->inputs;
    b->accepted = g4_arena_alloc(&b->arena, (size_t)s->data.scored, sizeof *b->accepted);
    s->reference_accepted = g4_arena_alloc(&s->arena, (size_t)s->data.scored,
                                           sizeof *s->reference_accepted);
    return b->accepted && s->reference_accepted ? G4_OK : g4_nomem(err, "drafter");
}

/* The keys of a batch's documents in the two layers, in the lanes' caches. */
static void fill_caches(g4_sens_bench *b, const g4_sens_batch *batch)
{
    const g4_sens_doc *first = &b->s->data.docs[batch->first], *last = first + batch->count - 1;
    int64_t D = b->s->candidate.config.hidden_size, rows = last->first + last->prompt.n -
                                                           first->first;
    for (int kind = 0; kind < 2; kind++) {
        int64_t l = b->drafter->shared_layer[kind];
        memcpy(b->x + first->first * D, g4_sens_recorded(b, l) + first->first * D,
               (size_t)(rows * D) * sizeof *b->x);
        b->layer = l;
        g4_sens_forward(b, batch, l, l + 1);
    }
}

/* One step behind each of the document's rows from `from` on that a drafter predicts. */
static void draft(g4_sens_bench *b, const g4_sens_doc *doc, size_t lane, int64_t from, int64_t n)
{
    const g4_model *m = &b->s->candidate;
    int64_t D = m->config.hidden_size, L = m->config.num_hidden_layers, known[G4_SENS_STEP];
    int64_t row = doc->prompt.n - doc->drafted + from;
    int32_t last[G4_SENS_STEP];
    const float *x = g4_sens_recorded(b, L) + (doc->first + row - 1) * D;
    g4_rmsnorm(b->engine, b->drafter->hidden, x, m->norm, n, D, m->config.rms_norm_eps);
    for (int64_t i = 0; i < n; i++) {
        known[i] = row + i;
        last[i] = doc->prompt.ids[row + i];
    }
    g4_draft_rows(b->drafter, &b->lanes[lane], known, last, n);
}

static g4_status all_drafts(g4_sens_bench *b, step_fn *each, g4_err *err)
{
    const g4_sens_data *d = &b->s->data;
    step s = { .b = b };
    for (size_t k = 0; k < b->batch_count; k++) {
        const g4_sens_batch *batch = &b->batches[k];
        fill_caches(b, batch);
        b->layer = b->s->candidate.config.num_hidden_layers + 1;
        for (size_t i = 0; i < batch->count; i++) {
            const g4_sens_doc *doc = &d->docs[batch->first + i];
            for (int64_t from = 0; from < doc->drafted; from += s.n, s.at += s.n) {
                s.n = doc->drafted - from < G4_SENS_STEP ? doc->drafted - from : G4_SENS_STEP;
                s.row = doc->score_first + doc->scored - doc->drafted + from;
                draft(b, doc, i, from, s.n);
                G4_TRY(each(&s, err));
            }
        }
    }
    return G4_OK;
}

/* ---- held against ---- */

static double chance(const float *target, const float *drafted, int64_t V)
{
    double p = g4_kl_log_sum(target, V), q = g4_kl_log_sum(drafted, V), sum = 0.0;
    for (int64_t i = 0; i < V; i++)
        sum += g4_exp(fmin((double)target[i] - p, (double)drafted[i] - q));
    return sum;
}

static void judge_rows(void *ctx, int64_t begin, int64_t end, int worker)
{
    const step *s = ctx;
    g4_sens_bench *b = s->b;
    const g4_config *c = &b->s->candidate.config;
    int64_t V = c->vocab_size;
    const float *target = g4_sens_recorded(b, c->num_hidden_layers + 1) + s->row * V;
    for (int64_t i = begin; i < end; i++) {
        const float *logits = b->drafter->logits + i * V;
        b->accepted[s->row + i] = chance(target + i * V, logits, V);
        if (!b->point) continue;
        const g4_kl_ref ref = { .kind = G4_KL_LOGITS,
                                .logits = (const float *)(const void *)b->drafts.data +
                                          (s->at + i) * V };
        g4_kl_token *t = &b->tokens[s->row + i];
        g4_kl_row(t, logits, V, t->id, &ref, b->marks + (int64_t)worker * V);
    }
}

static g4_status judge(const step *s, g4_err *err)
{
    step mine = *s;
    (void)err;
    g4_par_for(s->b->s->rt.par, s->n, 1, judge_rows, &mine);
    return G4_OK;
}

static g4_status keep(const step *s, g4_err *err)
{
    G4_TRY(judge(s, err));
    return g4_sens_put(s->b, s->b->drafter->logits, s->n, s->b->s->candidate.config.vocab_size,
                       err);
}

g4_status g4_sens_drafted_record(g4_sens_bench *b, g4_err *err)
{
    G4_TRY(all_drafts(b, keep, err));
    memcpy(b->s->reference_accepted, b->accepted,
           (size_t)b->s->data.scored * sizeof *b->accepted);
    return G4_OK;
}

g4_status g4_sens_drafted_run(g4_sens_bench *b, g4_err *err)
{
    int64_t own = b->s->candidate.config.num_hidden_layers + 1;
    g4_status s = g4_sens_layer_round(b, own, err);
    if (s == G4_OK) s = all_drafts(b, judge, err);
    g4_sens_layer_restore(b, own);
    return s;
}
