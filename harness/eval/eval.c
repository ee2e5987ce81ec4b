/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/eval.h"

#include "harness/eval/pystr.h"

#include <math.h>
#include <string.h>

static const g4_task tasks[] = {
#define G4_TASK(name, metric, filter, shots, version, extract) \
    { #name, metric, filter, shots, version, g4_task_##name, extract },
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
    char list[200] = "";
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
    *e = (g4_eval){ .task = find(src->name) };
    if (!e->task) return unknown(src->name, err);
    if (s.shots < 0) s.shots = e->task->shots;
    G4_TRY(e->task->load(e, &s, err));
    for (size_t i = 0; s.max_tokens > 0 && i < e->count; i++)
        for (size_t k = 0; k < e->leaves[i].count; k++)
            if (e->leaves[i].docs[k].max_tokens > s.max_tokens)
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

/* Standard error of the mean of 0/1 scores: sample deviation (n - 1) / sqrt(n). */
static void leaf_mean(g4_leaf *leaf)
{
    double sum = 0.0, square = 0.0, n = 0.0;
    for (size_t i = 0; i < leaf->count; i++) {
        if (!leaf->docs[i].done) continue;
        sum += leaf->docs[i].score;
        n += 1.0;
    }
    leaf->mean = sum / n;
    for (size_t i = 0; i < leaf->count; i++) {
        double d = leaf->docs[i].score - leaf->mean;
        if (leaf->docs[i].done) square += d * d;
    }
    leaf->stderr_ = n > 1.0 ? sqrt(square / (n - 1.0)) / sqrt(n) : NAN;
}

/* Python's == of the two after lower() and without ASCII punctuation. */
static int same_answer(const char *a, const char *b)
{
    static const char punctuation[] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    for (;; a++, b++) {
        while (*a && strchr(punctuation, *a)) a++;
        while (*b && strchr(punctuation, *b)) b++;
        int ca = *a >= 'A' && *a <= 'Z' ? *a + 32 : *a, cb = *b >= 'A' && *b <= 'Z' ? *b + 32 : *b;
        if (ca != cb) return 0;
        if (!ca) return 1;
    }
}

g4_status g4_doc_score(g4_eval *e, g4_doc *d, g4_err *err)
{
    int best = 0;
    if (!d->choice_count) {
        d->filtered = e->task->extract(&e->arena, d->response);
        if (!d->filtered) return g4_nomem(err, "an answer");
        d->score = same_answer(d->filtered, d->target);
        return G4_OK;
    }
    for (int k = 1; k < d->choice_count; k++)   /* the first of equals, as numpy's argmax */
        if (d->loglik[k] > d->loglik[best]) best = k;
    d->score = best == d->gold;
    return G4_OK;
}

g4_status g4_leaf_score(g4_eval *e, g4_leaf *leaf, g4_err *err)
{
    for (size_t i = 0; i < leaf->count; i++)
        if (leaf->docs[i].done) G4_TRY(g4_doc_score(e, &leaf->docs[i], err));
    leaf_mean(leaf);
    return G4_OK;
}

g4_pooled g4_eval_pool(const g4_eval *e, const char *group)
{
    g4_pooled p = { 0 };
    double sum = 0.0, square = 0.0;
    for (size_t i = 0; i < e->count; i++) {
        const g4_leaf *l = &e->leaves[i];
        double n = (double)l->count;
        if (!l->count || (group && (!l->group || strcmp(group, l->group) != 0))) continue;
        p.leaves++;
        p.docs += l->count;
        sum += l->mean * n;
        square += (n - 1.0) * n * l->stderr_ * l->stderr_;
    }
    double n = (double)p.docs, k = (double)p.leaves;
    p.mean = sum / n;
    p.stderr_ = sqrt(square / (n - k) / n);
    return p;
}

const char *g4_extract_text(g4_arena *arena, const char *response)
{
    return g4_py_strip(arena, response);
}
