/* SPDX-License-Identifier: Apache-2.0
 * What --types, --by, --of and --leave mean. */
#include "harness/gguf_mix.h"
#include "harness/sensitivity/sensitivity.h"
#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"
#include "ref/file/gguf_names.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_MIXES = 20, MOST_POINTS = 1 << 20 };

enum { BY_MODEL = 1, BY_KIND = 2, BY_LAYER = 4, BY_TENSOR = 8, BY_RANDOM = 16 };
enum { OF_WEIGHTS = 1, OF_ACTIVATIONS = 2, OF_KV = 4, OF_BOTH = 8 };
enum { LEAVE_IN = 1, LEAVE_OUT = 2 };

static const char *const by_names[] = { "model", "kind", "layer", "tensor", "random", NULL };
static const char *const of_names[] = { "weights", "activations", "kv", "both", NULL };
static const char *const leave_names[] = { "in", "out", NULL };

/* A comma list of names as bits. */
static g4_status parse_set(unsigned *set, const char *option, const char *list,
                           const char *const *names, g4_err *err)
{
    *set = 0;
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ",");
        int k = 0;
        while (names[k] && (strlen(names[k]) != len || strncmp(names[k], at, len) != 0)) k++;
        if (!names[k])
            return g4_fail(err, G4_EINPUT, "--%s %.*s: not known", option,
                           (int)(len < 40 ? len : 40), at);
        *set |= 1u << k;
        at += len + (at[len] == ',');
    }
    return G4_OK;
}

/* ---- adding ---- */

static g4_status add(g4_sens_study *s, g4_sens_point **out, g4_err *err)
{
    g4_sens_points *p = &s->points;
    if (p->count == p->room) {
        size_t room = p->room ? 2 * p->room : 256;
        g4_sens_point *list = room > MOST_POINTS ? NULL : realloc(p->list, room * sizeof *list);
        if (!list) return g4_nomem(err, "points");
        p->list = list;
        p->room = room;
    }
    size_t slots = s->slots.count, L = (size_t)s->candidate.config.num_hidden_layers;
    signed char *set = g4_arena_alloc(&s->arena, 2 * slots + L, 1);
    if (!set) return g4_nomem(err, "points");
    memset(set, -1, 2 * slots + L);
    *out = &p->list[p->count++];
    **out = (g4_sens_point){ .leave = "in", .weight = set, .input = set + slots,
                             .cache = set + 2 * slots };
    return G4_OK;
}

static g4_status finish(g4_sens_study *s, g4_sens_point *p, g4_err *err)
{
    char within[40] = "";
    if (s->o->depth) snprintf(within, sizeof within, " within %lld layers", (long long)s->o->depth);
    p->name = g4_arena_printf(&s->arena, "%s of %s%s %s as %s%s", p->of,
                              *p->leave == 'o' ? "all but " : "", p->by, p->what, p->type, within);
    return p->name ? G4_OK : g4_nomem(err, "points");
}

/* One point of a sweep. */
typedef struct choice {
    int by, of, leave, type;
    const char *what;
} choice;

/* Does a slot belong to what the choice names? */
static int named(const g4_sens_slot *slot, const choice *c)
{
    char layer[24];
    snprintf(layer, sizeof layer, "%lld", (long long)slot->layer);
    switch (c->by) {
    case BY_KIND:   return strcmp(slot->kind, c->what) == 0;
    case BY_LAYER:  return strncmp(slot->name, "blk.", 4) == 0 && strcmp(layer, c->what) == 0;
    case BY_TENSOR: return strcmp(slot->name, c->what) == 0;
    default:        return slot->text;
    }
}

/* Does it change?  Left out is what is named, of the text model. */
static int changes(const g4_sens_slot *slot, const choice *c)
{
    return c->leave == LEAVE_OUT ? slot->text && !named(slot, c) : named(slot, c);
}

static g4_status check_cache(const g4_sens_study *s, int type, g4_err *err)
{
    const g4_config *c = &s->candidate.config;
    const g4_sens_type *t = &s->types[type];
    for (int kind = 0; kind < 2; kind++) {
        int64_t width = c->kv_heads[kind] * c->head_dim[kind];
        if (t->dtype < 0 || width % g4_dtype_get((g4_dtype)t->dtype)->block != 0)
            return g4_fail(err, G4_EINPUT, "--of kv: %s: a number format whose blocks divide rows "
                           "of %lld values", t->name, (long long)width);
    }
    return G4_OK;
}

/* Rows of it are taken, nothing is multiplied. */
static int is_looked_up(const g4_sens_study *s, size_t i)
{
    return i == s->slots.table || strcmp(s->slots.list[i].name, "v.position_embd") == 0;
}

/* Nothing in --data meets it. */
static int is_unused(const g4_sens_study *s, const g4_sens_slot *slot)
{
    return (strcmp(slot->kind, "vision") == 0 && !s->data.pictures) ||
           (strcmp(slot->kind, "audio") == 0 && !s->data.sounds) ||
           (strcmp(slot->kind, "drafter") == 0 && !s->data.drafted);
}

static g4_status add_choice(g4_sens_study *s, const choice *c, g4_err *err)
{
    g4_sens_point *p = NULL;
    int at = 0;
    if (c->of == OF_KV) G4_TRY(check_cache(s, c->type, err));
    G4_TRY(add(s, &p, err));
    for (int k = 0; by_names[k]; k++) if (c->by == 1 << k) p->by = by_names[k];
    while (c->of != 1 << at) at++;
    p->of = of_names[at];
    p->what = c->what;
    p->type = s->types[c->type].name;
    if (c->leave == LEAVE_OUT) p->leave = "out";
    for (size_t i = 0; i < s->slots.count; i++) {
        const g4_sens_slot *slot = &s->slots.list[i];
        if (!changes(slot, c)) continue;
        if (c->of & (OF_WEIGHTS | OF_BOTH)) p->weight[i] = (signed char)c->type;
        if ((c->of & (OF_ACTIVATIONS | OF_BOTH)) && !is_looked_up(s, i))
            p->input[i] = (signed char)c->type;
    }
    for (int64_t l = 0; c->of == OF_KV && l < s->candidate.config.num_hidden_layers; l++) {
        int this_one = c->by == BY_MODEL || strtoll(c->what, NULL, 10) == l;
        if (this_one == (c->leave == LEAVE_IN)) p->cache[l] = (signed char)c->type;
    }
    return finish(s, p, err);
}

/* ---- sweeps ---- */

/* What a sweep goes through, each name once. */
static g4_status list_names(g4_sens_study *s, int by, int of, int leave, const char ***names,
                            size_t *count, g4_err *err)
{
    size_t most = s->slots.count + (size_t)s->candidate.config.num_hidden_layers;
    const char **list = *names = g4_arena_alloc(&s->arena, most, sizeof *list);
    if (!list) return g4_nomem(err, "points");
    *count = 0;
    if (by == BY_MODEL) list[(*count)++] = "all";
    for (int64_t l = 0; by == BY_LAYER && l < s->candidate.config.num_hidden_layers; l++)
        if (!(list[(*count)++] = g4_arena_printf(&s->arena, "%lld", (long long)l)))
            return g4_nomem(err, "points");
    for (size_t i = 0; (by == BY_KIND || by == BY_TENSOR) && i < s->slots.count; i++) {
        const g4_sens_slot *slot = &s->slots.list[i];
        const char *name = by == BY_KIND ? slot->kind : slot->name;
        int there = of == OF_ACTIVATIONS && is_looked_up(s, i) && by == BY_TENSOR;
        there |= of == OF_ACTIVATIONS && i == s->slots.table;
        there |= is_unused(s, slot) || (leave == LEAVE_OUT && !slot->text);
        if (by == BY_TENSOR && i == s->slots.head && of != OF_ACTIVATIONS) there = 1;
        /* k and v have q's input, up has gate's */
        if (of == OF_ACTIVATIONS)
            there |= strstr(slot->name, "attn_k") || strstr(slot->name, "attn_v") ||
                     strstr(slot->name, "ffn_up");
        for (size_t k = 0; k < *count; k++) there |= strcmp(list[k], name) == 0;
        if (!there) list[(*count)++] = name;
    }
    return G4_OK;
}

/* --only: shell patterns, one of which the name must match. */
static int is_wanted(const char *patterns, const char *name)
{
    char one[80];
    for (const char *at = patterns; at && *at;) {
        size_t len = strcspn(at, ",");
        snprintf(one, sizeof one, "%.*s", (int)len, at);
        if (len < sizeof one && fnmatch(one, name, 0) == 0) return 1;
        at += len + (at[len] == ',');
    }
    return !patterns;
}

static g4_status sweep(g4_sens_study *s, int by, int of, int leave, g4_err *err)
{
    const char **names;
    size_t count = 0;
    if (by == BY_MODEL && leave == LEAVE_OUT) return G4_OK;
    if (of == OF_KV && (by == BY_KIND || by == BY_TENSOR)) return G4_OK;
    G4_TRY(list_names(s, by, of, leave, &names, &count, err));
    for (size_t i = 0; i < count; i++)
        for (int t = 0; t < s->chosen_count; t++) {
            if (by != BY_MODEL && !is_wanted(s->o->only, names[i])) continue;
            const choice c = { by, of, leave, s->chosen[t], names[i] };
            G4_TRY(add_choice(s, &c, err));
        }
    return G4_OK;
}

/* Each tensor gets one of the types: how well do single tensors foretell a mix? */
static g4_status add_random(g4_sens_study *s, int number, g4_err *err)
{
    g4_sens_point *p = NULL;
    G4_TRY(add(s, &p, err));
    *p = (g4_sens_point){ .by = "random", .of = "weights", .leave = "in", .type = "mix",
                          .weight = p->weight, .input = p->input, .cache = p->cache };
    p->what = g4_arena_printf(&s->arena, "%d of seed %llu", number,
                              (unsigned long long)s->o->seed);
    if (!p->what) return g4_nomem(err, "points");
    for (size_t i = 0; i < s->slots.count; i++) {
        double u = g4_rng_unit(s->o->seed, (uint64_t)number, i);
        if (s->slots.list[i].text)
            p->weight[i] = (signed char)s->chosen[(int)(u * s->chosen_count)];
    }
    p->weight[s->slots.head] = p->weight[s->slots.table];
    return finish(s, p, err);
}

/* ---- mixes and recipes ---- */

static g4_status add_mix(g4_sens_study *s, const g4_mix *mix, g4_recipe *recipe,
                         g4_sens_point *p, g4_err *err)
{
    char name[G4_TENSOR_NAME + 8];
    g4_mix_rules rules = { .mix = mix, .recipe = recipe, .config = &s->candidate.config };
    for (size_t i = 0; i < s->slots.count; i++) {
        const g4_sens_slot *slot = &s->slots.list[i];
        if (!slot->text || i == s->slots.head) continue;
        const g4_shape_tensor t = {
            .name = slot->name, .rank = 2, .shape = { slot->mat.rows, slot->mat.cols },
            .role = i == s->slots.table ? G4_ROLE_TABLE : G4_ROLE_LINEAR,
        };
        snprintf(name, sizeof name, "%s.weight", slot->name);
        p->weight[i] = (signed char)g4_mix_choose(&rules, name, &t);
    }
    p->weight[s->slots.head] = p->weight[s->slots.table];
    return finish(s, p, err);
}

g4_status g4_sens_point_recipe(g4_sens_study *s, const char *path, const char *what, g4_err *err)
{
    const g4_mix *mix;
    g4_recipe *recipe = NULL;
    g4_sens_point *p = NULL;
    G4_TRY(g4_mix_find(&mix, "f16", err));
    G4_TRY(add(s, &p, err));
    p->by = "recipe";
    p->what = what;
    p->of = "weights";
    p->type = "mix";
    g4_status st = g4_recipe_open(&recipe, err);
    if (st == G4_OK) st = g4_recipe_read(recipe, path, err);
    if (st == G4_OK) st = add_mix(s, mix, recipe, p, err);
    if (st == G4_OK) g4_recipe_note_unused(recipe);
    g4_recipe_close(recipe);
    return st;
}

/* --types: types, and mixes, which are points by themselves. */
static g4_status parse_types(g4_sens_study *s, g4_err *err)
{
    s->type_count = G4_DTYPE_COUNT;
    for (int t = 0; t < G4_DTYPE_COUNT; t++) {
        s->types[t].dtype = t;
        snprintf(s->types[t].name, sizeof s->types[t].name, "%s", g4_dtype_get((g4_dtype)t)->name);
    }
    for (const char *at = s->o->types; *at;) {
        size_t len = strcspn(at, ",");
        g4_sens_type type;
        g4_status st = g4_sens_type_parse(&type, at, len, err);
        char *name = g4_arena_strndup(&s->arena, at, len);
        const g4_mix *mix;
        if (!name) return g4_nomem(err, "--types");
        at += len + (at[len] == ',');
        if (st == G4_OK) {
            int k = type.dtype >= 0 ? type.dtype : s->type_count;
            if (k == G4_SENS_TYPES || s->chosen_count == G4_SENS_TYPES)
                return g4_fail(err, G4_EINPUT, "--types: too many");
            s->types[k] = type;
            s->type_count += type.dtype < 0;
            s->chosen[s->chosen_count++] = k;
        } else {
            if (g4_mix_find(&mix, name, NULL) != G4_OK) return st;
            g4_sens_point *p;
            G4_TRY(add(s, &p, err));
            p->by = "mix";
            p->what = p->type = name;
            p->of = "weights";
            G4_TRY(add_mix(s, mix, NULL, p, err));
        }
    }
    return G4_OK;
}

g4_status g4_sens_points_open(g4_sens_study *s, g4_err *err)
{
    const g4_options *o = s->o;
    unsigned by, of, leave;
    G4_TRY(parse_set(&by, "by", o->by ? o->by : "model", by_names, err));
    G4_TRY(parse_set(&of, "of", o->of ? o->of : "weights", of_names, err));
    G4_TRY(parse_set(&leave, "leave", o->leave ? o->leave : "in", leave_names, err));
    G4_TRY(parse_types(s, err));
    const char *slash = o->recipe ? strrchr(o->recipe, '/') : NULL;
    if (o->recipe) G4_TRY(g4_sens_point_recipe(s, o->recipe, slash ? slash + 1 : o->recipe, err));
    for (unsigned b = 1; b <= BY_TENSOR; b *= 2)
        for (unsigned f = 1; f <= OF_BOTH; f *= 2)
            for (unsigned l = 1; l <= LEAVE_OUT; l *= 2)
                if ((by & b) && (of & f) && (leave & l))
                    G4_TRY(sweep(s, (int)b, (int)f, (int)l, err));
    for (int i = 0; (by & BY_RANDOM) && s->chosen_count && i < RANDOM_MIXES; i++)
        G4_TRY(add_random(s, i, err));
    return s->points.count ? G4_OK : g4_fail(err, G4_EINPUT, "--types: nothing to measure");
}

/* ---- bytes ---- */

/* A matrix as it is counts as float16: what quantize falls back to. */
static uint64_t slot_bytes(const g4_sens_study *s, size_t i, int type)
{
    static const g4_sens_type half = { .dtype = G4_F16 };
    const g4_mat *m = &s->slots.list[i].mat;
    return (uint64_t)m->rows * g4_sens_row_bytes(type < 0 ? &half : &s->types[type], m->cols);
}

uint64_t g4_sens_point_bytes(const g4_sens_study *s, const g4_sens_point *p)
{
    uint64_t bytes = s->slots.other;
    for (size_t i = 0; i < s->slots.count; i++)
        if (s->slots.list[i].text && i != s->slots.table)   /* the head is the table, too */
            bytes += slot_bytes(s, i, p->weight[i]);
    return bytes;
}

double g4_sens_point_bits(const g4_sens_study *s, const g4_sens_point *p)
{
    double bits = 0.0, values = 0.0;
    for (size_t i = 0; i < s->slots.count; i++) {
        const g4_mat *m = &s->slots.list[i].mat;
        if (p->weight[i] < 0) continue;
        bits += 8.0 * (double)slot_bytes(s, i, p->weight[i]);
        values += (double)(m->rows * m->cols);
    }
    return values > 0.0 ? bits / values : NAN;
}
