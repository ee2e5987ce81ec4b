/* SPDX-License-Identifier: Apache-2.0 */
#include "golden/schema.h"

#include "ref/model/tap.h"

#include <stdio.h>
#include <string.h>

/* Probing stops here: a bound on work, not on models (the format writes two
 * digits for a layer; three still parse). */
enum { MAX_LAYERS = 1000, MAX_STEPS = 1000, MAX_BLOCKS = 1000 };

typedef struct named_rule {
    const char *path;
    g4_schema_rule rule;
} named_rule;

/* type, any_real, role, rank, row_dims, heads_first */
#define EQUAL(type, rank) {G4_GOLDEN_##type, 0, G4_GOLDEN_EQUAL, rank, (rank) > 0, 0}
static const named_rule inputs_before[] = {
    {"inputs/input_ids", EQUAL(I32, 1)},
    {"inputs/position_ids", EQUAL(I32, 1)},
    {"inputs/mm_token_type_ids", EQUAL(I8, 1)},
    {"inputs/pixel_values", {G4_GOLDEN_F32, 0, G4_GOLDEN_PIXELS, 3, 1, 0}},
    {"inputs/image_position_ids", EQUAL(I32, 3)},
    {"inputs/pixel_values_videos", {G4_GOLDEN_F32, 0, G4_GOLDEN_PIXELS, 3, 1, 0}},
    {"inputs/video_position_ids", EQUAL(I32, 3)},
    {"inputs/num_frames_per_video", EQUAL(I32, 1)},
    {"inputs/input_features", {G4_GOLDEN_F32, 0, G4_GOLDEN_REAL, 3, 1, 0}},
    {"inputs/input_features_mask", EQUAL(U8, 2)},
};
static const named_rule masks[] = {
    {"activations/masks/sliding_attention", EQUAL(U8, 2)},
    {"activations/masks/full_attention", EQUAL(U8, 2)},
};
/* What the drafter starts from: the last rows of norm and logits. */
static const named_rule last_rows[] = {
    {"activations/hidden_last", {G4_GOLDEN_F32, 1, G4_GOLDEN_REAL, 1, 0, 0}},
    {"activations/logits_last", {G4_GOLDEN_F32, 1, G4_GOLDEN_LOGITS, 1, 0, 0}},
    {"inputs/next_token", EQUAL(I32, 0)},
    {"inputs/position_id", EQUAL(I32, 0)},
};
static const named_rule inputs_after[] = {
    {"inputs/drafted", EQUAL(I32, 1)},
    {"inputs/generated", EQUAL(I32, 1)},
    {"inputs/assisted", EQUAL(I32, 1)},
};
/* What `gemma4 kl --save` writes (harness/kl/store.c). */
static const named_rule windows[] = {
    {"windows/ids", EQUAL(I32, 1)},
    {"windows/tokens", EQUAL(I32, 1)},
    {"windows/scored", EQUAL(I32, 1)},
    {"windows/lead", EQUAL(I32, 1)},
};
static const named_rule distributions[] = {
    {"distributions/%S/top_ids", EQUAL(I32, 2)},
    {"distributions/%S/top_logprobs", {G4_GOLDEN_F32, 0, G4_GOLDEN_REAL, 2, 1, 0}},
    {"distributions/%S/rest", {G4_GOLDEN_F32, 0, G4_GOLDEN_REAL, 1, 1, 0}},
    {"distributions/%S/token_logprobs", {G4_GOLDEN_F32, 0, G4_GOLDEN_REAL, 1, 1, 0}},
};
#undef EQUAL

static const char *const patterns[G4_TAP_COUNT] = {
#define G4_TAP(id, path) [G4_TAP_##id] = path,
#include "ref/model/taps.def"
#undef G4_TAP
};

static int starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

static int in_layer(int id) { return starts(patterns[id], "layers/%L/"); }
static int in_step(int id) { return starts(patterns[id], "mtp/step%S/"); }
static int in_tower(int id)
{
    return starts(patterns[id], "vision/") || starts(patterns[id], "audio/");
}

/* The shape of a tap follows from its place in the tree (golden-format.md §1). */
static g4_schema_rule tap_rule(int id)
{
    g4_schema_rule r = {G4_GOLDEN_F32, 1, G4_GOLDEN_REAL, 2, 1, 0};
    const char *p = patterns[id];
    if (ends(p, "logits")) r.role = G4_GOLDEN_LOGITS;
    if (in_step(id)) {                                   /* [D]: one row */
        r.rank = 1;
        r.row_dims = 0;
    } else if (in_layer(id) && starts(p, "layers/%L/self_attn/") && ends(p, "_norm")) {
        r.rank = 3;                                      /* [T][heads][H] */
    } else if (starts(p, "audio/")) {
        r.rank = 3;                                      /* [clips][frames][D] */
        r.row_dims = 2;
    } else if (starts(p, "shared_kv/")) {
        r.rank = 3;                                      /* [K][T][H] */
        r.heads_first = 1;
    }
    return r;
}

static g4_status visit_rules(const g4_schema_visitor *v, const named_rule *r, size_t n,
                             g4_err *err)
{
    for (size_t i = 0; i < n; i++) G4_TRY(v->set(v->ctx, r[i].path, &r[i].rule, err));
    return G4_OK;
}

static g4_status visit_tap(const g4_schema_visitor *v, int id, int64_t layer, int64_t step,
                           g4_err *err)
{
    char tap[G4_GOLDEN_PATH - 16], path[G4_GOLDEN_PATH];
    g4_schema_rule r = tap_rule(id);
    snprintf(path, sizeof path, "activations/%s",
             g4_tap_path(tap, sizeof tap, (g4_tap_id)id, layer, step));
    return v->set(v->ctx, path, &r, err);
}

/* Taps [from, to) for each layer whose group is there. */
static g4_status visit_layers(const g4_schema_visitor *v, int from, int to, int64_t step,
                              g4_err *err)
{
    for (int64_t l = 0; l < MAX_LAYERS; l++) {
        char group[G4_GOLDEN_PATH];
        int yes;
        if (step < 0)
            snprintf(group, sizeof group, "activations/layers/%02lld", (long long)l);
        else
            snprintf(group, sizeof group, "activations/mtp/step%lld/layers/%02lld",
                     (long long)step, (long long)l);
        G4_TRY(v->group(v->ctx, group, &yes, err));
        if (!yes) continue;
        for (int id = from; id < to; id++) G4_TRY(visit_tap(v, id, l, step, err));
    }
    return G4_OK;
}

static g4_status visit_steps(const g4_schema_visitor *v, int from, int to, g4_err *err)
{
    for (int64_t s = 0; s < MAX_STEPS; s++) {
        char group[G4_GOLDEN_PATH];
        int yes;
        snprintf(group, sizeof group, "activations/mtp/step%lld", (long long)s);
        G4_TRY(v->group(v->ctx, group, &yes, err));
        if (!yes) continue;
        for (int id = from; id < to; id++) {
            if (strstr(patterns[id], "%L"))
                G4_TRY(visit_layers(v, id, id + 1, s, err));
            else
                G4_TRY(visit_tap(v, id, 0, s, err));
        }
    }
    return G4_OK;
}

#define RULES(table) table, sizeof table / sizeof table[0]

/* The rest of the taps in the order of taps.def, where a run of layer rows is
 * walked layer by layer and a run of draft rows step by step. */
static g4_status visit_trunk(const g4_schema_visitor *v, g4_err *err)
{
    int end;
    for (int id = 0; id < G4_TAP_COUNT; id = end) {
        end = id + 1;
        if (in_tower(id)) continue;
        if (in_layer(id)) {
            while (end < G4_TAP_COUNT && in_layer(end)) end++;
            G4_TRY(visit_layers(v, id, end, -1, err));
        } else if (in_step(id)) {
            while (end < G4_TAP_COUNT && in_step(end)) end++;
            G4_TRY(visit_steps(v, id, end, err));
        } else {
            G4_TRY(visit_tap(v, id, 0, 0, err));
        }
        if (id == G4_TAP_embeddings) G4_TRY(visit_rules(v, RULES(masks), err));
        if (id == G4_TAP_logits) G4_TRY(visit_rules(v, RULES(last_rows), err));
    }
    return G4_OK;
}

/* Numbered from 0 without a gap. */
static g4_status visit_blocks(const g4_schema_visitor *v, g4_err *err)
{
    for (int n = 0; n < MAX_BLOCKS; n++) {
        char path[G4_GOLDEN_PATH];
        int yes;
        snprintf(path, sizeof path, "distributions/%03d", n);
        G4_TRY(v->group(v->ctx, path, &yes, err));
        if (!yes) break;
        for (size_t i = 0; i < sizeof distributions / sizeof *distributions; i++) {
            const char *name = strrchr(distributions[i].path, '/');
            snprintf(path, sizeof path, "distributions/%03d%s", n, name);
            G4_TRY(v->set(v->ctx, path, &distributions[i].rule, err));
        }
    }
    return G4_OK;
}

g4_status g4_schema_walk(const g4_schema_visitor *v, g4_err *err)
{
    G4_TRY(visit_rules(v, RULES(inputs_before), err));
    for (int id = 0; id < G4_TAP_COUNT; id++)
        if (in_tower(id)) G4_TRY(visit_tap(v, id, 0, 0, err));
    G4_TRY(visit_trunk(v, err));
    G4_TRY(visit_rules(v, RULES(inputs_after), err));
    G4_TRY(visit_rules(v, RULES(windows), err));
    return visit_blocks(v, err);
}

/* Does path fit a pattern, where %L and %S stand for digits? */
static int fits(const char *path, const char *pattern)
{
    while (*pattern) {
        if (*pattern == '%') {
            size_t digits = strspn(path, "0123456789");
            if (digits == 0) return 0;
            path += digits;
            pattern += 2;
        } else if (*path++ != *pattern++) {
            return 0;
        }
    }
    return *path == 0;
}

static int find_rule(const char *path, const named_rule *r, size_t n, g4_schema_rule *out)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(path, r[i].path) != 0) continue;
        *out = r[i].rule;
        return 1;
    }
    return 0;
}

int g4_schema_find(const char *path, g4_schema_rule *rule)
{
    static const char root[] = "activations/";
    if (find_rule(path, RULES(inputs_before), rule) || find_rule(path, RULES(masks), rule) ||
        find_rule(path, RULES(last_rows), rule) || find_rule(path, RULES(inputs_after), rule) ||
        find_rule(path, RULES(windows), rule))
        return 1;
    for (size_t i = 0; i < sizeof distributions / sizeof *distributions; i++) {
        if (!fits(path, distributions[i].path)) continue;
        *rule = distributions[i].rule;
        return 1;
    }
    if (!starts(path, root)) return 0;
    for (int id = 0; id < G4_TAP_COUNT; id++) {
        if (!fits(path + sizeof root - 1, patterns[id])) continue;
        *rule = tap_rule(id);
        return 1;
    }
    return 0;
}

void g4_schema_apply(const g4_schema_rule *rule, g4_golden_set *s)
{
    s->role = rule->role;
    s->row_dims = rule->row_dims;
    s->heads_first = rule->heads_first;
}

/* ---- a set as a matrix ---- */

size_t g4_golden_size(g4_golden_type type)
{
    return type == G4_GOLDEN_F64 ? 8 : type >= G4_GOLDEN_I32 ? 4 : 1;
}

const char *g4_golden_type_name(g4_golden_type type)
{
    static const char *const names[] = {"int8", "uint8", "int32", "float32", "float64"};
    return names[type];
}

int64_t g4_golden_values(const g4_golden_set *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= s->dims[i];
    return n;
}

int64_t g4_golden_rows(const g4_golden_set *s)
{
    int64_t n = 1;
    if (s->heads_first) return s->dims[1];
    for (int i = 0; i < s->row_dims; i++) n *= s->dims[i];
    return n;
}

int64_t g4_golden_cols(const g4_golden_set *s)
{
    return g4_golden_values(s) / g4_golden_rows(s);
}
