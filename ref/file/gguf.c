/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/file/gguf_parts.h"

#include "ref/base/bytes.h"
#include "ref/dtype/dtype.h"

#include <stdlib.h>
#include <string.h>

/* Bounds of names are ggml's; the count leaves room for 100 times the keys of real files. */
enum { MAX_KEYS = 1 << 16, MAX_KEY_NAME = 65535, MAX_TENSOR_NAME = 63, MAX_DIMS = 4,
       ALIGNMENT = 32, MAX_ALIGNMENT = 1 << 20 };
/* What the smallest record takes: a key of one byte, a tensor of one dimension. */
enum { KEY_BYTES = 8 + 1 + 4 + 1, TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 };

static size_t left(const g4_bytes *b)
{
    return b->size - b->at;
}

static g4_status cut_short(const g4_gguf *g, const g4_bytes *b, const char *where, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: the file ends inside of %s (%zu bytes)", g->file, where,
                   b->size);
}

/* A name: copied, so that it ends in NUL.  what: "key", "tensor". */
static g4_status read_name(g4_gguf *g, g4_bytes *b, const char *what, size_t i, size_t longest,
                           const char **name, g4_err *err)
{
    uint64_t len = g4_bytes_uint(b, 8);
    if (b->bad) return cut_short(g, b, "a name", err);
    if (len == 0 || len > longest || len > left(b))
        return g4_fail(err, G4_EINPUT, "%s: the name of %s %zu has %llu bytes", g->file, what, i,
                       (unsigned long long)len);
    const char *text = (const char *)g4_bytes_take(b, (size_t)len);
    if (memchr(text, 0, (size_t)len))
        return g4_fail(err, G4_EINPUT, "%s: the name of %s %zu has a NUL in it", g->file, what, i);
    *name = g4_arena_strndup(&g->arena, text, (size_t)len);
    return *name ? G4_OK : g4_nomem(err, g->file);
}

/* ---- keys ---- */

static g4_status read_strings(const g4_gguf *g, g4_bytes *b, const g4_gguf_key *k, g4_err *err)
{
    if (k->count > left(b) / 8)
        return g4_fail(err, G4_EINPUT, "%s: key %s: %llu strings in %zu bytes", g->file, k->name,
                       (unsigned long long)k->count, left(b));
    for (uint64_t i = 0; i < k->count; i++) {
        uint64_t len = g4_bytes_uint(b, 8);
        if (b->bad || len > left(b))
            return g4_fail(err, G4_EINPUT, "%s: key %s: string %llu of %llu bytes, %zu are left",
                           g->file, k->name, (unsigned long long)i, (unsigned long long)len,
                           left(b));
        b->at += (size_t)len;
    }
    return G4_OK;
}

static g4_status read_numbers(const g4_gguf *g, g4_bytes *b, const g4_gguf_key *k, g4_err *err)
{
    if (k->count > left(b) / g4_gguf_width(k->type))
        return g4_fail(err, G4_EINPUT, "%s: key %s: %llu values of %d bytes, %zu bytes are left",
                       g->file, k->name, (unsigned long long)k->count, (int)g4_gguf_width(k->type),
                       left(b));
    const uint8_t *v = g4_bytes_take(b, (size_t)k->count * g4_gguf_width(k->type));
    for (uint64_t i = 0; k->type == G4_GGUF_BOOL && i < k->count; i++)
        if (v[i] > 1)
            return g4_fail(err, G4_EINPUT, "%s: key %s: %d is no bool", g->file, k->name, v[i]);
    return G4_OK;
}

static g4_status read_key(g4_gguf *g, g4_bytes *b, size_t i, g4_err *err)
{
    g4_gguf_key *k = &g->keys[i];
    G4_TRY(read_name(g, b, "key", i, MAX_KEY_NAME, &k->name, err));
    uint64_t type = g4_bytes_uint(b, 4);
    k->count = 1;
    k->is_array = type == G4_GGUF_ARRAY;
    if (k->is_array) {
        type = g4_bytes_uint(b, 4);
        k->count = g4_bytes_uint(b, 8);
    }
    if (b->bad) return cut_short(g, b, k->name, err);
    if (type >= G4_GGUF_TYPES || type == G4_GGUF_ARRAY)
        return g4_fail(err, G4_EINPUT, "%s: key %s has type %s%llu, which is not known", g->file,
                       k->name, k->is_array ? "array of " : "", (unsigned long long)type);
    k->type = (g4_gguf_type)type;
    k->data = b->data + b->at;
    G4_TRY(k->type == G4_GGUF_STRING ? read_strings(g, b, k, err) : read_numbers(g, b, k, err));
    k->bytes = (size_t)(b->data + b->at - k->data);
    return G4_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const g4_gguf_key *)a)->name, ((const g4_gguf_key *)b)->name);
}

static g4_status read_keys(g4_gguf *g, g4_bytes *b, uint64_t n, g4_err *err)
{
    if (n > left(b) / KEY_BYTES || n > MAX_KEYS)
        return g4_fail(err, G4_EINPUT, "%s: %llu keys in %zu bytes", g->file,
                       (unsigned long long)n, left(b));
    g->keys = g4_arena_alloc(&g->arena, (size_t)n + 1, sizeof *g->keys);
    if (!g->keys) return g4_nomem(err, g->file);
    for (; g->key_count < n; g->key_count++) G4_TRY(read_key(g, b, g->key_count, err));
    if (n > 1) qsort(g->keys, (size_t)n, sizeof *g->keys, by_key);
    for (size_t i = 1; i < n; i++)
        if (strcmp(g->keys[i - 1].name, g->keys[i].name) == 0)
            return g4_fail(err, G4_EINPUT, "%s: key %s is there twice", g->file, g->keys[i].name);
    return G4_OK;
}

/* ---- tensors ---- */

static int dtype_of(uint64_t gguf)
{
    for (int t = 0; t < G4_DTYPE_COUNT; t++)
        if ((uint64_t)g4_dtype_get((g4_dtype)t)->gguf == gguf) return t;
    return -1;
}

/* Dimensions, fastest first in the file; t->shape has them slowest first. */
static g4_status read_shape(const g4_gguf *g, g4_bytes *b, g4_tensor *t, g4_err *err)
{
    uint64_t rank = g4_bytes_uint(b, 4), values = 1;
    if (rank < 1 || rank > MAX_DIMS)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s has %llu dimensions", g->file, t->name,
                       (unsigned long long)rank);
    t->rank = (int)rank;
    for (int i = t->rank - 1; i >= 0; i--) {
        uint64_t n = g4_bytes_uint(b, 8);
        if (n < 1 || n > INT64_MAX || __builtin_mul_overflow(values, n, &values) ||
            values > INT64_MAX)
            return g4_fail(err, G4_EINPUT, "%s: tensor %s: bad size %llu of dimension %d", g->file,
                           t->name, (unsigned long long)n, t->rank - 1 - i);
        t->shape[i] = (int64_t)n;
    }
    return G4_OK;
}

/* Sets bytes, too: rows x bytes of a row. */
static g4_status read_type(const g4_gguf *g, g4_bytes *b, g4_tensor *t, g4_err *err)
{
    uint64_t id = g4_bytes_uint(b, 4);
    int dtype = dtype_of(id);
    if (b->bad) return cut_short(g, b, t->name, err);
    if (dtype < 0)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s has ggml type %llu, which is not read",
                       g->file, t->name, (unsigned long long)id);
    const g4_dtype_info *info = g4_dtype_get((g4_dtype)dtype);
    int64_t cols = t->shape[t->rank - 1];
    t->type = G4_ST_DTYPE;
    t->dtype = (g4_dtype)dtype;
    t->type_name = info->name;
    if (cols % info->block != 0)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s: rows of %lld values are no blocks of %lld "
                       "(%s)", g->file, t->name, (long long)cols, (long long)info->block,
                       info->name);
    t->bytes = g4_dtype_row_bytes(t->dtype, cols);
    int bad = t->bytes == 0;
    for (int i = 0; i + 1 < t->rank; i++)
        bad |= __builtin_mul_overflow(t->bytes, (size_t)t->shape[i], &t->bytes);
    if (!bad) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: tensor %s is too large for any file", g->file, t->name);
}

static g4_status read_tensor(g4_gguf *g, g4_bytes *b, size_t i, uint64_t *offset, g4_err *err)
{
    g4_tensor *t = &g->tensors[i];
    t->file = g->file;
    G4_TRY(read_name(g, b, "tensor", i, MAX_TENSOR_NAME, &t->name, err));
    G4_TRY(read_shape(g, b, t, err));
    G4_TRY(read_type(g, b, t, err));
    *offset = g4_bytes_uint(b, 8);
    return b->bad ? cut_short(g, b, t->name, err) : G4_OK;
}

/* n up to the next multiple of a power of two; G4_EINPUT where it wraps. */
static g4_status pad(const g4_gguf *g, size_t n, size_t alignment, size_t *out, g4_err *err)
{
    if (__builtin_add_overflow(n, alignment - 1, out))
        return g4_fail(err, G4_EINPUT, "%s: offsets beyond any file", g->file);
    *out &= ~(alignment - 1);
    return G4_OK;
}

/* ggml lays tensors out in the order of their infos, each padded to the alignment, and takes
 * nothing else: no overlap, no hole. */
static g4_status place(g4_gguf *g, const g4_bytes *b, const uint64_t *offset, size_t alignment,
                       g4_err *err)
{
    size_t first, at = 0, next = 0;
    G4_TRY(pad(g, b->at, alignment, &first, err));
    size_t size = first < b->size ? b->size - first : 0;
    for (size_t i = 0; i < g->tensor_count; i++) {
        g4_tensor *t = &g->tensors[i];
        if (offset[i] != next)
            return g4_fail(err, G4_EINPUT, "%s: tensor %s begins at byte %llu, not at %zu",
                           g->file, t->name, (unsigned long long)offset[i], next);
        if (next > size || t->bytes > size - next)
            return g4_fail(err, G4_EINPUT, "%s: tensor %s: %zu bytes at %zu lie outside %zu",
                           g->file, t->name, t->bytes, next, size);
        t->data = b->data + first + next;
        at = next + t->bytes;
        G4_TRY(pad(g, at, alignment, &next, err));
    }
    if (size > next)
        return g4_fail(err, G4_EINPUT, "%s: %zu bytes behind the last tensor", g->file, size - at);
    return G4_OK;
}

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const g4_tensor *)a)->name, ((const g4_tensor *)b)->name);
}

g4_status g4_gguf_sort_tensors(const g4_gguf *g, g4_err *err)
{
    g4_tensor *t = g->tensors;
    if (g->tensor_count > 1) qsort(t, g->tensor_count, sizeof *t, by_tensor);
    for (size_t i = 1; i < g->tensor_count; i++)
        if (strcmp(t[i - 1].name, t[i].name) == 0)
            return g4_fail(err, G4_EINPUT, "%s: tensor %s is there twice%s%s", t[i].file,
                           t[i].name, t[i].file == t[i - 1].file ? "" : ", also in ",
                           t[i].file == t[i - 1].file ? "" : t[i - 1].file);
    return G4_OK;
}

static g4_status read_alignment(const g4_gguf *g, size_t *alignment, g4_err *err)
{
    const g4_gguf_key *k = g4_gguf_find(g, "general.alignment");
    *alignment = ALIGNMENT;
    if (!k) return G4_OK;
    int64_t v = k->type == G4_GGUF_U32 && !k->is_array ? g4_gguf_int(k, 0) : -1;
    if (v < 1 || v > MAX_ALIGNMENT || (v & (v - 1)) != 0)
        return g4_fail(err, G4_EINPUT, "%s: key general.alignment is no power of two from 1 to %d "
                       "as uint32", g->file, (int)MAX_ALIGNMENT);
    *alignment = (size_t)v;
    return G4_OK;
}

static g4_status read_tensors(g4_gguf *g, g4_bytes *b, uint64_t n, g4_err *err)
{
    size_t alignment;
    if (n > left(b) / TENSOR_BYTES || n > G4_GGUF_MAX_TENSORS)
        return g4_fail(err, G4_EINPUT, "%s: %llu tensors in %zu bytes", g->file,
                       (unsigned long long)n, left(b));
    g->tensors = g4_arena_alloc(&g->arena, (size_t)n + 1, sizeof *g->tensors);
    uint64_t *offset = g4_arena_alloc(&g->arena, (size_t)n + 1, sizeof *offset);
    if (!g->tensors || !offset) return g4_nomem(err, g->file);
    G4_TRY(read_alignment(g, &alignment, err));
    for (; g->tensor_count < n; g->tensor_count++)
        G4_TRY(read_tensor(g, b, g->tensor_count, &offset[g->tensor_count], err));
    G4_TRY(place(g, b, offset, alignment, err));
    return g4_gguf_sort_tensors(g, err);
}

/* ---- the file ---- */

static g4_status parse(g4_gguf *g, const uint8_t *data, size_t size, g4_err *err)
{
    g4_bytes b = { .data = data, .size = size };
    const uint8_t *magic = g4_bytes_take(&b, 4);
    uint64_t version = g4_bytes_uint(&b, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return g4_fail(err, G4_EINPUT, "%s: neither a model folder nor a GGUF file", g->file);
    uint64_t tensors = g4_bytes_uint(&b, 8), keys = g4_bytes_uint(&b, 8);
    if (b.bad) return cut_short(g, &b, "the header", err);
    if (version != 2 && version != 3)
        return g4_fail(err, G4_EINPUT, "%s: GGUF version %llu%s; 2 and 3 are read", g->file,
                       (unsigned long long)version,
                       (version & 0xffffff) == 0 ? " (big-endian?)" : "");
    G4_TRY(read_keys(g, &b, keys, err));
    return read_tensors(g, &b, tensors, err);
}

static g4_status make(g4_gguf **out, const char *file, const uint8_t *data, size_t size,
                      g4_err *err)
{
    *out = NULL;
    g4_gguf *g = calloc(1, sizeof *g);
    if (!g) return g4_nomem(err, file);
    g->file = file;
    g4_status s = G4_OK;
    if (!data) {
        g->file = g4_arena_strndup(&g->arena, file, strlen(file));
        s = g->file ? g4_map_open(&g->map, file, err) : g4_nomem(err, file);
        data = g->map.data;
        size = g->map.size;
    }
    if (s == G4_OK) s = parse(g, data, size, err);
    if (s != G4_OK) {
        g4_gguf_close(g);
        return s;
    }
    *out = g;
    return G4_OK;
}

g4_status g4_gguf_open_part(g4_gguf **g, const char *path, g4_err *err)
{
    return make(g, path, NULL, 0, err);
}

/* What make() gave, with the parts that it says it has. */
static g4_status joined(g4_gguf **g, int siblings, g4_err *err)
{
    g4_status s = g4_gguf_join(*g, siblings, err);
    if (s == G4_OK) return G4_OK;
    g4_gguf_close(*g);
    *g = NULL;
    return s;
}

g4_status g4_gguf_open(g4_gguf **g, const char *path, g4_err *err)
{
    G4_TRY(g4_gguf_open_part(g, path, err));
    return joined(g, 1, err);
}

g4_status g4_gguf_parse(g4_gguf **g, const char *file, const uint8_t *data, size_t size,
                        g4_err *err)
{
    G4_TRY(make(g, file, data ? data : (const uint8_t *)"", size, err));
    return joined(g, 0, err);
}

void g4_gguf_close(g4_gguf *g)
{
    for (g4_gguf *next; g; g = next) {
        next = g->next;
        g4_map_close(&g->map);
        g4_arena_free(&g->arena);
        free(g);
    }
}

g4_status g4_gguf_kind_of(const g4_gguf *g, g4_gguf_kind *kind, g4_err *err)
{
    static const char *const names[] = { [G4_GGUF_MODEL] = "gemma4",
                                         [G4_GGUF_DRAFTER] = "gemma4-assistant",
                                         [G4_GGUF_MEDIA] = "clip" };
    size_t len = 0;
    const char *arch = g4_gguf_string(g4_gguf_find(g, "general.architecture"), &len);
    for (int i = 0; arch && i < (int)(sizeof names / sizeof *names); i++)
        if (len == strlen(names[i]) && memcmp(arch, names[i], len) == 0) {
            *kind = (g4_gguf_kind)i;
            return G4_OK;
        }
    if (len > 60) len = 60;
    return g4_fail(err, G4_EINPUT, "%s: general.architecture is \"%.*s\"; known: gemma4, "
                   "gemma4-assistant, clip (--mmproj)", g->file, arch ? (int)len : 0,
                   arch ? arch : "");
}

const char *g4_gguf_file(const g4_gguf *g)
{
    return g->file;
}

const g4_gguf_key *g4_gguf_find(const g4_gguf *g, const char *key)
{
    const g4_gguf_key want = { .name = key };
    return bsearch(&want, g->keys, g->key_count, sizeof *g->keys, by_key);
}

const g4_tensor *g4_gguf_tensor(const g4_gguf *g, const char *name)
{
    const g4_tensor want = { .name = name };
    return bsearch(&want, g->tensors, g->tensor_count, sizeof *g->tensors, by_tensor);
}

size_t g4_gguf_tensors(const g4_gguf *g)
{
    return g->tensor_count;
}

const g4_tensor *g4_gguf_tensor_at(const g4_gguf *g, size_t i)
{
    return i < g->tensor_count ? &g->tensors[i] : NULL;
}
