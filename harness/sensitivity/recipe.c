/* SPDX-License-Identifier: Apache-2.0
 * --budget: a type for every tensor so that the sum of the single tensors' KLs is the smallest
 * that the bytes allow.  A knapsack with one choice a tensor, solved by dynamic programming over
 * 2^17 units of the budget at most (exact but for tensors' sizes rounded up to units). */
#include "harness/sensitivity/sensitivity.h"
#include "harness/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { UNITS = 1 << 17 };

typedef struct option {
    int type;
    double kl;
    uint64_t units;
} option;

typedef struct tensor {
    size_t slot;
    option *options;             /* [chosen types] */
    int count, chosen;
} tensor;

typedef struct knapsack {
    tensor *tensors;
    size_t count;
    uint64_t unit, room;         /* bytes of a unit; units of the budget, at most UNITS */
    double *best;                /* [UNITS + 1] KL with at most that many units; INFINITY: none */
    unsigned char *choice;       /* [tensors][UNITS + 1] */
} knapsack;

uint64_t g4_sens_recipe_bytes(const g4_sens_study *s)
{
    uint64_t tensors = 0;
    for (size_t i = 0; s->o->budget && i < s->slots.count; i++) tensors += s->slots.list[i].text;
    return tensors ? (tensors + 2 * sizeof(double)) * (UNITS + 1) : 0;
}

static double single_kl(const g4_sens_study *s, size_t slot, int type)
{
    char name[320];
    snprintf(name, sizeof name, "weights of tensor %s as %s", s->slots.list[slot].name,
             s->types[type].name);
    const json_t *r = g4_sens_result(s, name);
    return r ? g4_sens_number(r, "kl") : NAN;
}

double g4_sens_predicted(const g4_sens_study *s, const g4_sens_point *p)
{
    double sum = 0.0;
    for (size_t i = 0; i < s->slots.count; i++)
        if (i != s->slots.head && p->weight[i] >= 0) sum += single_kl(s, i, p->weight[i]);
    return sum;
}

static g4_status fill(g4_sens_study *s, knapsack *k, g4_err *err)
{
    k->tensors = g4_arena_alloc(&s->arena, s->slots.count, sizeof *k->tensors);
    if (!k->tensors) return g4_nomem(err, "recipe");
    k->count = 0;
    for (size_t i = 0; i < s->slots.count; i++) {
        const g4_sens_slot *slot = &s->slots.list[i];
        if (!slot->text || i == s->slots.head) continue;
        tensor *t = &k->tensors[k->count++];
        *t = (tensor){ .slot = i };
        t->options = g4_arena_alloc(&s->arena, (size_t)s->chosen_count, sizeof *t->options);
        if (!t->options) return g4_nomem(err, "recipe");
        for (int c = 0; c < s->chosen_count; c++) {
            const g4_sens_type *type = &s->types[s->chosen[c]];
            double kl = type->dtype >= 0 ? single_kl(s, i, s->chosen[c]) : NAN;
            uint64_t bytes = (uint64_t)slot->mat.rows * g4_sens_row_bytes(type, slot->mat.cols);
            if (isfinite(kl))
                t->options[t->count++] = (option){ s->chosen[c], kl, bytes / k->unit +
                                                   (bytes % k->unit != 0) };
        }
        if (!t->count)
            return g4_fail(err, G4_EINPUT, "--budget: %s has not been measured by itself: --by "
                           "tensor", slot->name);
    }
    return G4_OK;
}

static g4_status solve(knapsack *k, const char *budget, g4_err *err)
{
    double *next = malloc((UNITS + 1) * sizeof *next);
    if (!next) return g4_nomem(err, "recipe");
    for (size_t u = 0; u <= UNITS; u++) k->best[u] = 0.0;
    for (size_t i = 0; i < k->count; i++) {
        unsigned char *choice = k->choice + i * (UNITS + 1);
        const tensor *t = &k->tensors[i];
        for (uint64_t u = 0; u <= UNITS; u++) {
            next[u] = INFINITY;
            for (int c = 0; c < t->count; c++) {
                const option *o = &t->options[c];
                if (o->units > u || !(k->best[u - o->units] + o->kl < next[u])) continue;
                next[u] = k->best[u - o->units] + o->kl;
                choice[u] = (unsigned char)c;
            }
        }
        memcpy(k->best, next, (UNITS + 1) * sizeof *next);
    }
    free(next);
    if (!isfinite(k->best[k->room]))
        return g4_fail(err, G4_EINPUT, "--budget %s: too little for these types", budget);
    for (uint64_t i = k->count, u = k->room; i-- > 0;) {
        tensor *t = &k->tensors[i];
        t->chosen = k->choice[i * (UNITS + 1) + u];
        u -= t->options[t->chosen].units;
    }
    return G4_OK;
}

/* ---- files ---- */

/* "blk.3.attn_q" with its dots as a pattern. */
static void pattern(char *dst, const char *name)
{
    for (; *name; name++) {
        if (*name == '.') *dst++ = '\\';
        *dst++ = *name;
    }
    *dst = 0;
}

static g4_status write_words(const g4_sens_study *s, const knapsack *k, const char *path,
                             const char *before, const char *after, g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    char name[2 * 160 + 1];
    g4_status st = g4_out_open(&out, path, err);
    for (size_t i = 0; st == G4_OK && i < k->count; i++) {
        const tensor *t = &k->tensors[i];
        pattern(name, s->slots.list[t->slot].name);
        st = g4_out_printf(&out, err, "%s%s\\.weight=%s%s", before, name,
                           s->types[t->options[t->chosen].type].name, after);
    }
    if (st == G4_OK) st = g4_out_commit(&out, err);
    g4_out_abort(&out);
    return st;
}

/* "6.5GB", "900MB", "4.5bpw"; *len: its characters. */
static g4_status parse_budget(const g4_sens_study *s, const char *text, size_t *len,
                              uint64_t *bytes, g4_err *err)
{
    static const struct { const char *name; double factor; } units[] = {
        { "GB", 1e9 }, { "MB", 1e6 }, { "kB", 1e3 }, { "GiB", 1073741824.0 },
        { "MiB", 1048576.0 }, { "B", 1.0 },
    };
    char *end;
    double v = strtod(text, &end), weights = 0.0, factor = 0.0;
    *len = strcspn(text, ",");
    size_t rest = *len - (size_t)(end - text);
    for (size_t i = 0; i < s->slots.count; i++)
        if (s->slots.list[i].text && i != s->slots.table)
            weights += (double)(s->slots.list[i].mat.rows * s->slots.list[i].mat.cols);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strlen(units[i].name) == rest && strncmp(end, units[i].name, rest) == 0)
            factor = units[i].factor;
    if (rest == 3 && strncmp(end, "bpw", 3) == 0) factor = weights / 8.0;
    if (end == text || factor == 0.0 || !(v > 0.0) || v * factor > 1e15)
        return g4_fail(err, G4_EINPUT, "--budget %.*s: expected 6.5GB, 900MB or 4.5bpw (bits a "
                       "weight)", (int)(*len < 40 ? *len : 40), text);
    *bytes = (uint64_t)(v * factor);
    if (factor == weights / 8.0) *bytes += s->slots.other;
    if (*bytes > s->slots.other) return G4_OK;
    return g4_fail(err, G4_EINPUT, "--budget %.*s: norms alone take %llu bytes", (int)*len, text,
                   (unsigned long long)s->slots.other);
}

/* Before hours of sweeping. */
static g4_status check_budget(const g4_sens_study *s, const char *text, size_t len, uint64_t bytes,
                              g4_err *err)
{
    uint64_t least = s->slots.other;
    for (size_t i = 0; i < s->slots.count; i++) {
        const g4_sens_slot *slot = &s->slots.list[i];
        uint64_t row = UINT64_MAX;
        if (!slot->text || i == s->slots.head) continue;
        for (int c = 0; c < s->chosen_count; c++) {
            const g4_sens_type *type = &s->types[s->chosen[c]];
            uint64_t one = g4_sens_row_bytes(type, slot->mat.cols);
            if (type->dtype >= 0 && one < row) row = one;
        }
        if (row == UINT64_MAX)
            return g4_fail(err, G4_EINPUT, "--budget: --types has no format that a file can have");
        least += row * (uint64_t)slot->mat.rows;
    }
    if (least <= bytes) return G4_OK;
    return g4_fail(err, G4_EINPUT, "--budget %.*s: the smallest of these types take %llu bytes",
                   (int)len, text, (unsigned long long)least);
}

g4_status g4_sens_budget_check(const g4_sens_study *s, g4_err *err)
{
    const g4_options *o = s->o;
    for (const char *at = o->budget; at && *at;) {
        size_t len;
        uint64_t bytes = 0;
        G4_TRY(parse_budget(s, at, &len, &bytes, err));
        G4_TRY(check_budget(s, at, len, bytes, err));
        at += len + (at[len] == ',');
    }
    if (!o->budget || o->resume || (o->by && strstr(o->by, "tensor"))) return G4_OK;
    return g4_fail(err, G4_EINPUT, "--budget: needs --by tensor");
}

static g4_status one(g4_sens_study *s, knapsack *k, const char *budget, uint64_t bytes,
                     g4_err *err)
{
    k->unit = (bytes - s->slots.other) / UNITS + 1;
    k->room = (bytes - s->slots.other) / k->unit;
    char *path = g4_arena_printf(&s->arena, "%s/recipe_%s.txt", s->o->out, budget);
    char *args = g4_arena_printf(&s->arena, "%s/recipe_%s.args", s->o->out, budget);
    if (!path || !args) return g4_nomem(err, "recipe");
    G4_TRY(fill(s, k, err));
    k->best = malloc((UNITS + 1) * sizeof *k->best);
    k->choice = k->count > SIZE_MAX / (UNITS + 1) ? NULL : malloc(k->count * (UNITS + 1));
    g4_status st = k->best && k->choice ? solve(k, budget, err) : g4_nomem(err, "recipe");
    free(k->best);
    free(k->choice);
    if (st == G4_OK) st = write_words(s, k, path, "", "\n", err);
    if (st == G4_OK) st = write_words(s, k, args, "--tensor-type '", "'\n", err);
    return st == G4_OK ? g4_sens_point_recipe(s, path, budget, err) : st;
}

g4_status g4_sens_recipes(g4_sens_study *s, g4_err *err)
{
    for (const char *at = s->o->budget; at && *at;) {
        knapsack k = { 0 };
        size_t len;
        uint64_t bytes = 0;
        G4_TRY(parse_budget(s, at, &len, &bytes, err));
        char *budget = g4_arena_strndup(&s->arena, at, len);
        if (!budget) return g4_nomem(err, "recipe");
        G4_TRY(one(s, &k, budget, bytes, err));
        at += len + (at[len] == ',');
    }
    return G4_OK;
}
