/* SPDX-License-Identifier: Apache-2.0 */
#include "golden/foreign.h"

#include "golden/array.h"
#include "golden/h5.h"
#include "golden/schema.h"
#include "ref/base/map.h"
#include "ref/file/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 10000, SHOWN = 4 };
_Static_assert((int)G4_ARRAY_RANK == (int)G4_MAX_RANK, "shapes are copied whole");

typedef struct entry {
    char path[G4_GOLDEN_PATH];
    g4_array array;
} entry;

struct g4_foreign {
    const char *path;
    g4_arena arena;          /* names, the listing */
    g4_map *maps;            /* malloc'ed; one a file */
    g4_store *store;         /* of a .safetensors file; NULL */
    entry *entries;          /* malloc'ed, sorted by path */
    size_t files, count, room, unknown;
    char *unknown_names;     /* the first of them; NULL: none */
    g4_listing list;
    const g4_array **of;     /* [list.set_count] */
};

static int ends(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n > m && strcmp(s + n - m, tail) == 0;
}

int g4_foreign_is(const char *path)
{
    return ends(path, ".npy") || ends(path, ".safetensors") || g4_path_kind(path) == 2;
}

/* ---- names ---- */

static const char *skip(const char *s, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(s, prefix, n) == 0 ? s + n : s;
}

/* Two digits at least for a layer that has fewer or more, "output" for one that has nothing. */
static int normal(char path[G4_GOLDEN_PATH], const char *root, const char *rest)
{
    static const char word[] = "layers/";
    const char *at = strstr(rest, word), *layer = at ? at + sizeof word - 1 : NULL;
    size_t digits = layer && (at == rest || at[-1] == '/') ? strspn(layer, "0123456789") : 0;
    int n;
    if (digits == 0) {
        n = snprintf(path, G4_GOLDEN_PATH, "%s%s", root, rest);
    } else {
        const char *tail = layer[digits] ? layer + digits : "/output";
        for (; digits > 2 && *layer == '0'; digits--) layer++;
        n = snprintf(path, G4_GOLDEN_PATH, "%s%.*s%s%.*s%s", root, (int)(at - rest) + 7, rest,
                     digits == 1 ? "0" : "", (int)digits, layer, tail);
    }
    return n > 0 && n < G4_GOLDEN_PATH;
}

int g4_foreign_path(char path[G4_GOLDEN_PATH], const char *name)
{
    static const char *const roots[] = { "activations/", "inputs/" };
    char slashes[G4_GOLDEN_PATH];
    g4_schema_rule rule;
    size_t n = strlen(name);
    if (n >= sizeof slashes) return 0;
    for (size_t i = 0; i <= n; i++) slashes[i] = (char)(name[i] == '.' ? '/' : name[i]);
    for (int r = 0; r < 2; r++) {
        const char *rest = skip(slashes, roots[r]);
        rest = skip(skip(rest, "model/"), "language_model/");
        if (normal(path, roots[r], rest) && g4_schema_find(path, &rule)) return 1;
    }
    return 0;
}

/* ---- what the files hold ---- */

static g4_status note_unknown(g4_foreign *f, const char *name, g4_err *err)
{
    const char *before = f->unknown_names ? f->unknown_names : "";
    if (f->unknown++ > SHOWN) return G4_OK;
    f->unknown_names = g4_arena_printf(&f->arena, "%s%s%.80s", before, *before ? ", " : "",
                                       f->unknown > SHOWN ? "..." : name);
    return f->unknown_names ? G4_OK : g4_nomem(err, f->path);
}

static g4_status add(g4_foreign *f, const char *name, const g4_array *a, g4_err *err)
{
    char path[G4_GOLDEN_PATH];
    if (!g4_foreign_path(path, name)) return note_unknown(f, name, err);
    if (f->count == f->room) {
        size_t room = f->room ? f->room * 2 : 64;
        entry *more = realloc(f->entries, room * sizeof *more);
        if (!more) return g4_nomem(err, f->path);
        f->entries = more;
        f->room = room;
    }
    entry *e = &f->entries[f->count++];
    memcpy(e->path, path, sizeof path);
    e->array = *a;
    e->array.name = g4_arena_strndup(&f->arena, name, strlen(name));
    return e->array.name ? G4_OK : g4_nomem(err, f->path);
}

/* file must outlive f; name without ".npy". */
static g4_status add_npy(g4_foreign *f, const char *file, const char *name, g4_err *err)
{
    g4_array a = { 0 };
    g4_map *m = &f->maps[f->files];
    G4_TRY(g4_map_open(m, file, err));
    f->files++;
    G4_TRY(g4_npy_parse(&a, file, m->data, m->size, err));
    return add(f, name, &a, err);
}

/* The last part of a path, without ".npy". */
static g4_status add_npy_file(g4_foreign *f, const char *file, g4_err *err)
{
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    size_t n = strlen(base);
    char *name = g4_arena_strndup(&f->arena, base, n > 4 ? n - 4 : 0);
    return name ? add_npy(f, file, name, err) : g4_nomem(err, file);
}

static g4_status add_safetensors(g4_foreign *f, g4_err *err)
{
    G4_TRY(g4_map_open(&f->maps[0], f->path, err));
    f->files = 1;
    G4_TRY(g4_store_parse(&f->store, f->path, f->maps[0].data, f->maps[0].size, err));
    for (size_t i = 0; i < g4_store_count(f->store); i++) {
        static const struct { const char *name; char kind; int size; } types[] = {
            { "F64", 'f', 8 }, { "F32", 'f', 4 }, { "F16", 'f', 2 }, { "BF16", 'B', 2 },
            { "I64", 'i', 8 }, { "I32", 'i', 4 }, { "I16", 'i', 2 }, { "I8", 'i', 1 },
            { "U64", 'u', 8 }, { "U32", 'u', 4 }, { "U16", 'u', 2 }, { "U8", 'u', 1 },
            { "BOOL", 'b', 1 } };
        const g4_tensor *t = g4_store_at(f->store, i);
        g4_array a = { .file = f->path, .rank = t->rank, .data = t->data };
        for (size_t k = 0; k < sizeof types / sizeof *types; k++)
            if (strcmp(t->type_name, types[k].name) == 0) {
                a.kind = types[k].kind;
                a.size = types[k].size;
            }
        if (!a.kind)
            return g4_fail(err, G4_EINPUT, "%s: %s: values of type %s are not read", f->path,
                           t->name, t->type_name);
        memcpy(a.dims, t->shape, sizeof a.dims);
        G4_TRY(add(f, t->name, &a, err));
    }
    return G4_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The .npy files of the folder, by name, as paths in the arena. */
static g4_status list_folder(g4_foreign *f, const char ***names, size_t *count, g4_err *err)
{
    const struct dirent *d;
    g4_status s = G4_OK;
    DIR *dir = opendir(f->path);
    *count = 0;
    *names = g4_arena_alloc(&f->arena, MAX_FILES, sizeof **names);
    if (!dir) return g4_fail(err, G4_EIO, "%s: cannot open: %s", f->path, strerror(errno));
    while (*names && s == G4_OK && (errno = 0, d = readdir(dir))) {
        if (d->d_name[0] == '.' || !ends(d->d_name, ".npy")) continue;
        if (*count == MAX_FILES)
            s = g4_fail(err, G4_EINPUT, "%s: over %d .npy files", f->path, MAX_FILES);
        else if (!((*names)[*count] = g4_arena_printf(&f->arena, "%s/%s", f->path, d->d_name)))
            s = g4_nomem(err, f->path);
        else
            ++*count;
    }
    if (!*names) s = g4_nomem(err, f->path);
    else if (s == G4_OK && errno)
        s = g4_fail(err, G4_EIO, "%s: cannot read: %s", f->path, strerror(errno));
    closedir(dir);
    if (s == G4_OK && *count == 0) s = g4_fail(err, G4_EINPUT, "%s: a folder without .npy files",
                                               f->path);
    if (s == G4_OK) qsort(*names, *count, sizeof **names, by_text);
    return s;
}

static g4_status add_folder(g4_foreign *f, g4_err *err)
{
    const char **names;
    size_t count;
    G4_TRY(list_folder(f, &names, &count, err));
    f->maps = calloc(count, sizeof *f->maps);
    if (!f->maps) return g4_nomem(err, f->path);
    for (size_t i = 0; i < count; i++) G4_TRY(add_npy_file(f, names[i], err));
    return G4_OK;
}

static g4_status add_all(g4_foreign *f, g4_err *err)
{
    if (g4_path_kind(f->path) == 2) return add_folder(f, err);
    f->maps = calloc(1, sizeof *f->maps);
    if (!f->maps) return g4_nomem(err, f->path);
    return ends(f->path, ".npy") ? add_npy_file(f, f->path, err) : add_safetensors(f, err);
}

/* ---- as a listing ---- */

static int by_path(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->path, ((const entry *)b)->path);
}

/* The first entry whose path is not before this one. */
static const entry *lower(const g4_foreign *f, const char *path)
{
    size_t a = 0, b = f->count;
    while (a < b) {
        size_t m = a + (b - a) / 2;
        if (strcmp(f->entries[m].path, path) < 0) a = m + 1;
        else b = m;
    }
    return a < f->count ? &f->entries[a] : NULL;
}

static g4_status group_there(void *ctx, const char *path, int *yes, g4_err *err)
{
    char in[G4_GOLDEN_PATH + 1];
    (void)err;
    snprintf(in, sizeof in, "%s/", path);
    const entry *e = lower(ctx, in);
    *yes = e && strncmp(e->path, in, strlen(in)) == 0;
    return G4_OK;
}

/* The array's dimensions as the rule's rank has them; 0: it cannot be. */
static int fit(g4_golden_set *s, const g4_array *a, const g4_schema_rule *rule)
{
    int64_t dims[G4_ARRAY_RANK + 1];
    int rank = a->rank, heads = rule->any_real && rule->row_dims == 1 && !rule->heads_first;
    memcpy(dims, a->dims, sizeof a->dims);
    while (rank > rule->rank && dims[0] == 1)
        memmove(dims, dims + 1, (size_t)--rank * sizeof *dims);
    if (heads && rank == 3 && rule->rank == 2) {
        if (__builtin_mul_overflow(dims[1], dims[2], &dims[1])) return 0;
        rank = 2;
    } else if (heads && rank == 2 && rule->rank == 3) {
        dims[2] = dims[1];
        dims[1] = 1;
        rank = 3;
    }
    s->rank = rank;
    if (rank != rule->rank) return 0;
    memcpy(s->dims, dims, (size_t)rank * sizeof *dims);
    return g4_golden_set_sane(s);
}

static g4_status set_there(void *ctx, const char *path, const g4_schema_rule *rule, g4_err *err)
{
    g4_foreign *f = ctx;
    const entry *e = lower(f, path);
    if (!e || strcmp(e->path, path) != 0) return G4_OK;
    const g4_array *a = &e->array;
    g4_golden_set *s = &f->list.sets[f->list.set_count];
    int want = rule->any_real || rule->type == G4_GOLDEN_F32;
    memcpy(s->path, e->path, sizeof s->path);
    s->type = rule->any_real && a->size == 8 ? G4_GOLDEN_F64 : rule->type;
    g4_schema_apply(rule, s);
    if (g4_array_is_real(a) != want)
        return g4_fail(err, G4_EINPUT, "%s: %s: its values are %s, not %s", a->file, a->name,
                       want ? "integers" : "real", want ? "real" : "integers");
    if (!fit(s, a, rule))
        return g4_fail(err, G4_EINPUT, "%s: %s: has %d dimensions or one of 0, where %s has %d",
                       a->file, a->name, a->rank, path, rule->rank);
    f->of[f->list.set_count++] = a;
    return G4_OK;
}

static g4_status put_attrs(g4_foreign *f, g4_err *err)
{
    size_t wide = 0, real = 0, n = 0;
    for (size_t i = 0; i < f->list.set_count; i++) {
        wide += f->list.sets[i].type == G4_GOLDEN_F64;
        real += f->list.sets[i].type >= G4_GOLDEN_F32;
    }
    g4_golden_attr *a = g4_arena_alloc(&f->arena, 2, sizeof *a);
    if (!a) return g4_nomem(err, f->path);
    a[n++] = (g4_golden_attr){ "dtype", wide && wide == real ? "float64" : "float32", 0 };
    if (f->unknown) a[n++] = (g4_golden_attr){ G4_FOREIGN_UNKNOWN, f->unknown_names, 0 };
    f->list.attrs = a;
    f->list.attr_count = n;
    return G4_OK;
}

/* The name of an entry that the walk did not come by. */
static const char *unlisted(const g4_foreign *f)
{
    for (size_t i = 0; i < f->count; i++) {
        size_t k = 0;
        while (k < f->list.set_count && f->of[k] != &f->entries[i].array) k++;
        if (k == f->list.set_count) return f->entries[i].array.name;
    }
    return "";
}

static g4_status make_list(g4_foreign *f, g4_err *err)
{
    const g4_schema_visitor v = { f, group_there, set_there };
    if (f->count == 0)
        return g4_fail(err, G4_EINPUT, "%s: none of its names is one of the golden format, such as "
                       "layers.00.output: %s", f->path,
                       f->unknown ? f->unknown_names : "it is empty");
    qsort(f->entries, f->count, sizeof *f->entries, by_path);
    for (size_t i = 1; i < f->count; i++)
        if (by_path(&f->entries[i - 1], &f->entries[i]) == 0)
            return g4_fail(err, G4_EINPUT, "%s: %s and %s are the same dataset", f->path,
                           f->entries[i - 1].array.name, f->entries[i].array.name);
    f->list.sets = g4_arena_alloc(&f->arena, f->count, sizeof *f->list.sets);
    f->of = g4_arena_alloc(&f->arena, f->count, sizeof *f->of);
    if (!f->list.sets || !f->of) return g4_nomem(err, f->path);
    G4_TRY(g4_schema_walk(&v, err));
    if (f->list.set_count < f->count)
        return g4_fail(err, G4_EINPUT, "%s: %s: no model has so many layers or steps", f->path,
                       unlisted(f));
    return put_attrs(f, err);
}

g4_status g4_foreign_open(g4_foreign **out, const char *path, g4_listing *list, g4_err *err)
{
    g4_foreign *f = calloc(1, sizeof *f);
    *out = NULL;
    if (!f) return g4_nomem(err, path);
    f->path = path;
    g4_status s = add_all(f, err);
    if (s == G4_OK) s = make_list(f, err);
    if (s != G4_OK) {
        g4_foreign_close(f);
        return s;
    }
    *list = f->list;
    *out = f;
    return G4_OK;
}

void g4_foreign_close(g4_foreign *f)
{
    if (!f) return;
    g4_store_close(f->store);
    for (size_t i = 0; i < f->files; i++) g4_map_close(&f->maps[i]);
    free(f->maps);
    free(f->entries);
    g4_arena_free(&f->arena);
    free(f);
}

g4_status g4_foreign_read(const g4_foreign *f, size_t index, void *out, g4_err *err)
{
    const g4_golden_set *s = &f->list.sets[index];
    return g4_array_read(f->of[index], s->type, (size_t)g4_golden_values(s), out, err);
}
