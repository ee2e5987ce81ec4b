/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/eval.h"

#include "harness/eval/pystr.h"

#include <math.h>
#include <string.h>

static const g4_metric acc[] = { { .name = "acc", .filter = "none" } };
static const g4_metric acc_norm[] = { { .name = "acc", .filter = "none" },
                                      { .name = "acc_norm", .filter = "none", .normed = 1 } };
#define MATCH(filter, extract, same) { "exact_match", filter, 0, G4_SHARE, extract, same }
static const g4_metric text[] = { MATCH("none", g4_extract_text, g4_same_text) };
static const g4_metric letter[] = { MATCH("custom-extract", g4_extract_letter, g4_same_text) };
static const g4_metric number[] = {
    MATCH("strict-match", g4_extract_marked_number, g4_same_number),
    MATCH("flexible-extract", g4_extract_last_number, g4_same_number),
};
static const g4_metric choice[] = {
    MATCH("strict-match", g4_extract_sentence, g4_same_text),
    MATCH("flexible-extract", g4_extract_choice, g4_same_text),
};
#undef MATCH
static const g4_metric perplexity[] = {
    { .name = "word_perplexity", .filter = "none", .of = G4_PER_WORD },
    { .name = "byte_perplexity", .filter = "none", .of = G4_PER_BYTE },
    { .name = "bits_per_byte", .filter = "none", .of = G4_BITS },
};

static const g4_task tasks[] = {
#define G4_TASK(name, metrics, shots, version, reader) \
    { #name, metrics, sizeof metrics / sizeof metrics[0], shots, version, g4_task_##reader },
#include "harness/eval/tasks.def"
#undef G4_TASK
};

enum { TASKS = sizeof tasks / sizeof tasks[0] };

/* The task called so, or the longest one whose leaf name may be. */
static const g4_task *find(const char *name)
{
    const g4_task *best = NULL;
    for (int i = 0; i < TASKS; i++) {
        size_t n = strlen(tasks[i].name);
        if (strncmp(name, tasks[i].name, n) == 0 && (name[n] == 0 || name[n] == '_') &&
            (!best || n > strlen(best->name)))
            best = &tasks[i];
    }
    return best;
}

static g4_status unknown(const char *name, g4_err *err)
{
    char list[300] = "";
    for (int i = 0; i < TASKS; i++) {
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", tasks[i].name);
    }
    return g4_fail(err, G4_EINPUT, "--task %.60s: known are %s, and their parts", name, list);
}

static g4_status answers_alloc(g4_eval *e, g4_err *err)
{
    for (size_t i = 0; i < e->count; i++)
        for (size_t k = 0; k < e->leaves[i].count; k++) {
            g4_doc *d = &e->leaves[i].docs[k];
            size_t n = (size_t)g4_doc_numbers(d) + 1;
            d->loglik = g4_arena_alloc(&e->arena, n, sizeof *d->loglik);
            d->greedy = g4_arena_alloc(&e->arena, n, 1);
            if (!d->loglik || !d->greedy) return g4_nomem(err, e->leaves[i].name);
        }
    return G4_OK;
}

g4_status g4_eval_open(g4_eval *e, const g4_eval_source *src, g4_err *err)
{
    g4_eval_source s = *src;
    *e = (g4_eval){ .task = find(src->name), .frame = src->frame };
    if (!e->task) return unknown(src->name, err);
    if (s.shots < 0) s.shots = e->task->shots;
    G4_TRY(e->task->load(e, &s, err));
    for (size_t i = 0; s.max_tokens > 0 && i < e->count; i++)
        for (size_t k = 0; k < e->leaves[i].count; k++)
            if (!g4_doc_numbers(&e->leaves[i].docs[k]))
                e->leaves[i].docs[k].max_tokens = s.max_tokens;
    if (!e->count)
        return g4_fail(err, G4_EINPUT, "%s: nothing in it is called %.60s", src->dir, src->name);
    return answers_alloc(e, err);
}

void g4_eval_shard(g4_eval *e, int64_t shard, int64_t shards)
{
    int64_t n = 0;
    for (size_t i = 0; i < e->count; i++)
        for (size_t k = 0; k < e->leaves[i].count; k++)
            e->leaves[i].docs[k].other = n++ % shards != shard;
}

void g4_eval_close(g4_eval *e)
{
    for (size_t i = 0; i < e->count; i++)
        for (size_t k = 0; e->leaves[i].docs && k < e->leaves[i].count; k++)
            json_decref(e->leaves[i].docs[k].doc);
    g4_arena_free(&e->arena);
    *e = (g4_eval){ 0 };
}

int g4_eval_wants(const g4_eval_source *src, const char *leaf)
{
    const g4_task *t = find(src->name);
    return strcmp(src->name, t->name) == 0 || strcmp(src->name, leaf) == 0;
}

g4_status g4_leaf_init(g4_leaf *leaf, g4_eval *e, size_t docs, const g4_eval_source *src,
                       g4_err *err)
{
    leaf->count = src->limit > 0 && (size_t)src->limit < docs ? (size_t)src->limit : docs;
    leaf->all = docs;
    leaf->shots = src->shots;
    leaf->docs = g4_arena_alloc(&e->arena, docs + 1, sizeof *leaf->docs);
    return leaf->docs ? G4_OK : g4_nomem(err, leaf->name);
}

/* What a perplexity or bits are of: a log-likelihood and what it is counted by. */
static double rate(const g4_metric *how, double loglik, double count)
{
    return how->of == G4_BITS ? -loglik / count / log(2.0) : exp(-loglik / count);
}

static double count_of(const g4_metric *how, const g4_doc *d)
{
    return how->of == G4_PER_WORD ? d->words : d->bytes;
}

/* Over all documents at once; lm-eval says no error of it. */
static void leaf_rate(g4_leaf *leaf, const g4_metric *how, int m)
{
    double loglik = 0.0, count = 0.0;
    for (size_t i = 0; i < leaf->count; i++) {
        if (!leaf->docs[i].done) continue;
        loglik += leaf->docs[i].loglik[0];
        count += count_of(how, &leaf->docs[i]);
    }
    leaf->mean[m] = rate(how, loglik, count);
    leaf->stderr_[m] = NAN;
}

/* Standard error of the mean of 0/1 scores: sample deviation (n - 1) / sqrt(n). */
static void leaf_mean(g4_leaf *leaf, int m)
{
    double sum = 0.0, square = 0.0, n = 0.0;
    for (size_t i = 0; i < leaf->count; i++) {
        if (!leaf->docs[i].done) continue;
        sum += leaf->docs[i].score[m];
        n += 1.0;
    }
    leaf->mean[m] = sum / n;
    for (size_t i = 0; i < leaf->count; i++) {
        double d = leaf->docs[i].score[m] - leaf->mean[m];
        if (leaf->docs[i].done) square += d * d;
    }
    leaf->stderr_[m] = n > 1.0 ? sqrt(square / (n - 1.0)) / sqrt(n) : NAN;
}

/* What a choice's log-likelihood is divided by: lm-eval counts code points. */
static double length(const g4_doc *d, int k)
{
    double n = 0.0;
    for (const char *p = (d->options ? d->options : d->choices)[k]; *p; p++)
        n += (*p & 0xc0) != 0x80;
    return n;
}

/* The first of equals, as numpy's argmax. */
static int best_choice(const g4_doc *d, int normed)
{
    int best = 0;
    double most = -INFINITY;
    for (int k = 0; k < d->choice_count; k++) {
        double v = normed ? d->loglik[k] / length(d, k) : d->loglik[k];
        if (v > most) most = v, best = k;
    }
    return best;
}

g4_status g4_doc_score(g4_eval *e, g4_doc *d, g4_err *err)
{
    for (int m = 0; m < e->task->metric_count; m++) {
        const g4_metric *how = &e->task->metrics[m];
        if (d->rolling) {
            d->score[m] = rate(how, d->loglik[0], count_of(how, d));
            continue;
        }
        if (d->choice_count) {
            d->score[m] = best_choice(d, how->normed) == d->gold;
            continue;
        }
        d->filtered[m] = how->extract(&e->arena, d);
        if (!d->filtered[m]) return g4_nomem(err, "an answer");
        d->score[m] = how->same(d->filtered[m], d->target);
    }
    return G4_OK;
}

g4_status g4_leaf_score(g4_eval *e, g4_leaf *leaf, g4_err *err)
{
    for (size_t i = 0; i < leaf->count; i++)
        if (leaf->docs[i].done) G4_TRY(g4_doc_score(e, &leaf->docs[i], err));
    for (int m = 0; m < e->task->metric_count; m++) {
        const g4_metric *how = &e->task->metrics[m];
        if (how->of != G4_SHARE) leaf_rate(leaf, how, m);
        else leaf_mean(leaf, m);
    }
    return G4_OK;
}

int g4_opens_filter(const g4_task *t, int m)
{
    return m == 0 || strcmp(t->metrics[m - 1].filter, t->metrics[m].filter) != 0;
}

g4_pooled g4_eval_pool(const g4_eval *e, const char *group, int metric)
{
    g4_pooled p = { 0 };
    double sum = 0.0, square = 0.0;
    for (size_t i = 0; i < e->count; i++) {
        const g4_leaf *l = &e->leaves[i];
        double n = (double)l->count;
        if (!l->count || (group && (!l->group || strcmp(group, l->group) != 0))) continue;
        p.leaves++;
        p.docs += l->count;
        sum += l->mean[metric] * n;
        square += (n - 1.0) * n * l->stderr_[metric] * l->stderr_[metric];
    }
    double n = (double)p.docs, k = (double)p.leaves;
    p.mean = sum / n;
    p.stderr_ = sqrt(square / (n - k) / n);
    return p;
}
