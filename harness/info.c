/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/info.h"

#include "ref/file/document.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 1 << 20 };

static g4_status read_architecture(g4_info *info, g4_arena *arena, g4_err *err)
{
    g4_json j, list;
    const char *name = "";
    G4_TRY(g4_document_load(&j, arena, info->model->dir, "config.json", 1, MAX_CONFIG_BYTES, err));
    g4_status s = g4_json_opt_str(&j, "model_type", &name, err);
    if (s == G4_OK) s = g4_json_array(&j, "architectures", 0, &list, err);
    if (s == G4_OK && json_is_string(json_array_get(list.root, 0)))
        name = json_string_value(json_array_get(list.root, 0));
    if (s == G4_OK) {
        info->architecture = g4_arena_strndup(arena, name, strlen(name));
        if (!info->architecture) s = g4_nomem(err, info->model->dir);
    }
    g4_json_free(&j);
    return s;
}

static uint64_t count_values(const g4_tensor *t)
{
    uint64_t n = 1;   /* cannot wrap: the store checked shape x dtype against the file */
    for (int i = 0; i < t->rank; i++) n *= (uint64_t)t->shape[i];
    return n;
}

static g4_status add_format(g4_info *info, const g4_tensor *t, g4_err *err)
{
    char name[sizeof info->format[0].name];
    size_t n = 0;
    for (; t->type_name[n] && n + 1 < sizeof name; n++)
        name[n] = (char)tolower((unsigned char)t->type_name[n]);
    name[n] = 0;
    int i = 0;
    while (i < info->formats && strcmp(info->format[i].name, name) != 0) i++;
    if (i == G4_MAX_FORMATS)
        return g4_fail(err, G4_EINPUT, "%s: more than %d number formats", t->file,
                       (int)G4_MAX_FORMATS);
    g4_info_format *f = &info->format[i];
    if (i == info->formats) {
        info->formats++;
        memcpy(f->name, name, sizeof name);
    }
    f->tensors++;
    f->values += count_values(t);
    f->bytes += t->bytes;
    return G4_OK;
}

static int same_kind(const g4_tensor *a, const g4_tensor *b)
{
    int same = a->rank == b->rank && strcmp(a->type_name, b->type_name) == 0;
    for (int i = 0; same && i < a->rank; i++) same = a->shape[i] == b->shape[i];
    return same;
}

/* "model.layers.17.mlp.x" -> "model.layers.*.mlp.x" */
static char *group_name(const char *name, g4_arena *arena)
{
    const char *at = strstr(name, "layers.");
    size_t head = at ? (size_t)(at - name) + 7 : 0;
    size_t digits = at ? strspn(name + head, "0123456789") : 0;
    if (digits == 0) return g4_arena_strndup(arena, name, strlen(name));
    return g4_arena_printf(arena, "%.*s*%s", (int)head, name, name + head + digits);
}

static g4_status add_group(g4_info *info, const g4_tensor *t, g4_arena *arena, g4_err *err)
{
    char *name = group_name(t->name, arena);
    if (!name) return g4_nomem(err, t->name);
    size_t i = 0;
    while (i < info->groups &&
           (strcmp(info->group[i].name, name) != 0 || !same_kind(info->group[i].first, t)))
        i++;
    g4_info_group *g = &info->group[i];
    if (i == info->groups) {
        info->groups++;
        g->name = name;
        g->first = t;
    }
    g->tensors++;
    g->bytes += t->bytes;
    return G4_OK;
}

g4_status g4_info_gather(g4_info *info, const g4_model *m, g4_arena *arena, g4_err *err)
{
    *info = (g4_info){ .model = m };
    G4_TRY(read_architecture(info, arena, err));
    info->tensors = g4_store_count(m->store);
    info->bytes = g4_store_bytes(m->store);
    info->group = g4_arena_alloc(arena, info->tensors, sizeof *info->group);
    if (!info->group) return g4_nomem(err, m->dir);
    for (size_t i = 0; i < info->tensors; i++) {
        const g4_tensor *t = g4_store_at(m->store, i);
        if (t->type != G4_ST_I64) info->parameters += count_values(t);   /* orderings are none */
        G4_TRY(add_format(info, t, err));
        G4_TRY(add_group(info, t, arena, err));
    }
    return G4_OK;
}

/* Layers [from, to) as "5 sliding + 1 full". */
static char *runs(const g4_config *c, int64_t from, int64_t to, g4_arena *arena)
{
    char *text = NULL;
    while (from < to) {
        int64_t end = from;
        while (end < to && c->layer_kind[end] == c->layer_kind[from]) end++;
        text = g4_arena_printf(arena, "%s%s%lld %s", text ? text : "", text ? " + " : "",
                               (long long)(end - from),
                               c->layer_kind[from] == G4_FULL ? "full" : "sliding");
        if (!text) return NULL;
        from = end;
    }
    return text;
}

const char *g4_info_pattern(const g4_config *c, g4_arena *arena)
{
    int64_t n = c->num_hidden_layers, period = 1;
    for (; period < n; period++) {
        int repeats = n % period == 0;
        for (int64_t l = period; repeats && l < n; l++)
            repeats = c->layer_kind[l] == c->layer_kind[l - period];
        if (repeats) break;
    }
    char *text = runs(c, 0, period, arena);
    if (!text || period == n) return text;
    return g4_arena_printf(arena, "(%s) x %lld", text, (long long)(n / period));
}
