/* SPDX-License-Identifier: Apache-2.0
 * The name index over one or more containers.  Shards come from
 * model.safetensors.index.json: its weight_map must name exactly the tensors
 * that the shards hold, each in the shard where it lies. */
#include "ref/file/store.h"

#include "ref/base/json.h"
#include "ref/base/map.h"
#include "ref/file/store_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INDEX_BYTES = 64 << 20, MAX_SHARDS = 10000 };

g4_status g4_store_push(g4_store *s, const g4_tensor *t, g4_err *err)
{
    if (s->count == s->capacity) {
        size_t want = s->capacity ? s->capacity * 2 : 256, bytes;
        if (__builtin_mul_overflow(want, sizeof *s->list, &bytes)) return g4_nomem(err, t->file);
        g4_tensor *list = realloc(s->list, bytes);
        if (!list) return g4_nomem(err, t->file);
        s->list = list;
        s->capacity = want;
    }
    s->list[s->count++] = *t;
    return G4_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const g4_tensor *)a)->name, ((const g4_tensor *)b)->name);
}

static g4_status sort_unique(g4_store *s, g4_err *err)
{
    if (s->count > 1) qsort(s->list, s->count, sizeof *s->list, by_name);
    for (size_t i = 1; i < s->count; i++)
        if (strcmp(s->list[i - 1].name, s->list[i].name) == 0)
            return g4_fail(err, G4_EINPUT, "%s: tensor %s is also in %s", s->list[i].file,
                           s->list[i].name, s->list[i - 1].file);
    return G4_OK;
}

/* path must live in the store's arena: tensors keep it for their messages. */
static g4_status add_shard(g4_store *s, const char *path, g4_err *err)
{
    struct g4_store_map *link = g4_arena_alloc(&s->arena, 1, sizeof *link);
    if (!link) return g4_nomem(err, path);
    G4_TRY(g4_map_open(&link->map, path, err));
    link->next = s->maps;
    s->maps = link;
    return g4_safetensors_parse(s, path, link->map.data, link->map.size, err);
}

/* A shard's name comes from a file: a plain name in the folder, nothing else. */
static int plain_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Distinct shard names of the map, sorted; count in *n. */
static g4_status shard_names(g4_store *s, const g4_json *map, const char ***names, size_t *n,
                             g4_err *err)
{
    size_t total = json_object_size(map->root), k = 0;
    const char *key;
    json_t *value;
    const char **all = g4_arena_alloc(&s->arena, total, sizeof *all);
    if (!all) return g4_nomem(err, map->file);
    json_object_foreach(map->root, key, value) {
        const char *name = json_string_value(value);
        if (!name || !plain_name(name))
            return g4_fail(err, G4_EINPUT, "%s: weight_map of %s is no plain file name", map->file,
                           key);
        all[k++] = name;
    }
    if (k > 1) qsort(all, k, sizeof *all, by_text);
    *n = 0;
    for (size_t i = 0; i < k; i++)
        if (*n == 0 || strcmp(all[*n - 1], all[i]) != 0) all[(*n)++] = all[i];
    if (*n == 0 || *n > MAX_SHARDS)
        return g4_fail(err, G4_EINPUT, "%s: weight_map names %zu shards", map->file, *n);
    *names = all;
    return G4_OK;
}

static g4_status check_map(const g4_store *s, const char *dir, const g4_json *map, g4_err *err)
{
    const char *key;
    json_t *value;
    size_t skip = strlen(dir) + 1;
    json_object_foreach(map->root, key, value) {
        const g4_tensor *t = g4_store_find(s, key);
        if (!t || strcmp(t->file + skip, json_string_value(value)) != 0)
            return g4_fail(err, G4_EINPUT, "%s: tensor %s is not in %s", map->file, key,
                           json_string_value(value));
    }
    for (size_t i = 0; i < s->count; i++)
        if (!json_object_get(map->root, s->list[i].name))
            return g4_fail(err, G4_EINPUT, "%s: tensor %s of %s is not in weight_map", map->file,
                           s->list[i].name, s->list[i].file);
    return G4_OK;
}

static g4_status open_sharded(g4_store *s, const char *dir, const char *index, g4_err *err)
{
    g4_json j, map;
    const char **names = NULL;
    size_t n = 0;
    G4_TRY(g4_json_load(&j, index, MAX_INDEX_BYTES, err));
    g4_status st = g4_json_object(&j, "weight_map", 1, &map, err);
    if (st == G4_OK) st = shard_names(s, &map, &names, &n, err);
    for (size_t i = 0; st == G4_OK && i < n; i++) {
        char *path = g4_arena_printf(&s->arena, "%s/%s", dir, names[i]);
        st = path ? add_shard(s, path, err) : g4_nomem(err, index);
    }
    if (st == G4_OK) st = sort_unique(s, err);
    if (st == G4_OK) st = check_map(s, dir, &map, err);
    g4_json_free(&j);
    return st;
}

static g4_status store_new(g4_store **store, const char *what, g4_err *err)
{
    *store = calloc(1, sizeof **store);
    return *store ? G4_OK : g4_nomem(err, what);
}

static g4_status open_gguf(g4_store *s, const char *path, g4_err *err)
{
    G4_TRY(g4_gguf_open_model(&s->gguf, path, err));
    G4_TRY(g4_gguf_push_tensors(s, s->gguf.main, err));
    if (s->gguf.media && s->gguf.media != s->gguf.main)
        G4_TRY(g4_gguf_push_tensors(s, s->gguf.media, err));
    return sort_unique(s, err);
}

static g4_status open_folder(g4_store *s, const char *dir, g4_err *err)
{
    char *single = g4_arena_printf(&s->arena, "%s/model.safetensors", dir);
    char *index = g4_arena_printf(&s->arena, "%s/model.safetensors.index.json", dir);
    if (!single || !index) return g4_nomem(err, dir);
    if (g4_path_kind(single) == 0 && g4_path_kind(index) != 0)
        return open_sharded(s, dir, index, err);   /* of both, Transformers takes the single one */
    G4_TRY(add_shard(s, single, err));
    return sort_unique(s, err);
}

g4_status g4_store_open(g4_store **store, const char *path, g4_err *err)
{
    g4_store *s;
    int gguf = g4_gguf_named(path);
    *store = NULL;
    if (!gguf && g4_path_kind(path) != 2)
        return g4_fail(err, G4_EINPUT, "%s: no such model folder", path);
    G4_TRY(store_new(&s, path, err));
    g4_status st = gguf ? open_gguf(s, path, err) : open_folder(s, path, err);
    if (st != G4_OK) {
        g4_store_close(s);
        return st;
    }
    *store = s;
    return G4_OK;
}

g4_status g4_store_parse(g4_store **store, const char *file, const uint8_t *data, size_t size,
                         g4_err *err)
{
    g4_store *s;
    *store = NULL;
    G4_TRY(store_new(&s, file, err));
    g4_status st;
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {   /* no length of a safetensors header */
        st = g4_gguf_parse(&s->gguf.main, file, data, size, err);
        if (st == G4_OK) st = g4_gguf_push_tensors(s, s->gguf.main, err);
    } else {
        st = g4_safetensors_parse(s, file, data, size, err);
    }
    if (st == G4_OK) st = sort_unique(s, err);
    if (st != G4_OK) {
        g4_store_close(s);
        return st;
    }
    *store = s;
    return G4_OK;
}

void g4_store_close(g4_store *s)
{
    if (!s) return;
    for (struct g4_store_map *m = s->maps; m; m = m->next) g4_map_close(&m->map);
    g4_gguf_close_model(&s->gguf);
    free(s->list);
    g4_arena_free(&s->arena);
    free(s);
}

const g4_tensor *g4_store_find(const g4_store *s, const char *name)
{
    const g4_tensor key = { .name = name };
    if (s->count == 0) return NULL;
    return bsearch(&key, s->list, s->count, sizeof *s->list, by_name);
}

size_t g4_store_count(const g4_store *s)
{
    return s->count;
}

const g4_tensor *g4_store_at(const g4_store *s, size_t i)
{
    return i < s->count ? &s->list[i] : NULL;
}

uint64_t g4_store_bytes(const g4_store *s)
{
    uint64_t total = 0;
    for (size_t i = 0; i < s->count; i++) total += s->list[i].bytes;
    return total;
}
