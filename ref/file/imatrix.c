/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/file/imatrix.h"

#include "ref/base/bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 30, MAX_NAME = 63, MAX_DATASET = 4096 };
enum { OLD_BYTES = 4 + 1 + 4 + 4 + 4 };   /* the smallest entry of a .dat */

static const char sums[] = ".in_sum2", counts[] = ".counts";

/* Copies values, which must be sums of squares; data may lie at any address. */
static g4_status take(g4_imatrix *im, const char *file, g4_importance *e, const uint8_t *data,
                      g4_err *err)
{
    e->sum = g4_arena_alloc(&im->arena, (size_t)e->cols, sizeof *e->sum);
    if (!e->sum) return g4_nomem(err, file);
    memcpy(e->sum, data, (size_t)e->cols * sizeof *e->sum);
    for (int64_t i = 0; i < e->cols; i++)
        if (!(isfinite(e->sum[i]) && e->sum[i] >= 0))
            return g4_fail(err, G4_EINPUT, "%s: %s: column %lld has %g, which is no sum of squares",
                           file, e->name, (long long)i, (double)e->sum[i]);
    return G4_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const g4_importance *)a)->name, ((const g4_importance *)b)->name);
}

static g4_status finish(g4_imatrix *im, const char *file, g4_err *err)
{
    if (!im->count) return g4_fail(err, G4_EINPUT, "%s: an importance matrix of nothing", file);
    qsort(im->list, im->count, sizeof *im->list, by_name);
    for (size_t i = 1; i < im->count; i++)
        if (strcmp(im->list[i - 1].name, im->list[i].name) == 0)
            return g4_fail(err, G4_EINPUT, "%s: %s is there twice", file, im->list[i].name);
    return G4_OK;
}

/* ---- GGUF ---- */

static const char *string_of(g4_imatrix *im, const g4_gguf_key *k)
{
    size_t at = 0, len = 0;
    const char *s, *last = "";
    if (!k || k->type != G4_GGUF_STRING) return "";
    for (size_t n = 0; (s = g4_gguf_next(k, &at, &n)) != NULL;) {
        last = s;
        len = n;
    }
    const char *copy = g4_arena_strndup(&im->arena, last, len < MAX_DATASET ? len : MAX_DATASET);
    return copy ? copy : "";
}

static uint32_t number_of(const g4_gguf *g, const char *key)
{
    const g4_gguf_key *k = g4_gguf_find(g, key);
    int64_t v = k && g4_gguf_is_int(k) && !k->is_array ? g4_gguf_int(k, 0) : 0;
    return v > 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

static int ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n > e && strcmp(name + n - e, end) == 0;
}

static int64_t values_of(const g4_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

/* One matrix; a tensor of experts, which this model has not, has several counts. */
static g4_status take_tensor(g4_imatrix *im, const g4_gguf *g, const g4_tensor *t, g4_err *err)
{
    const char *file = g4_gguf_file(g);
    char name[MAX_NAME + 1];
    size_t len = strlen(t->name) - strlen(sums);
    float count;
    snprintf(name, sizeof name, "%.*s%s", (int)len, t->name, counts);
    const g4_tensor *c = g4_gguf_tensor(g, name);
    if (!c || c->dtype != G4_F32 || t->dtype != G4_F32 || values_of(c) != 1)
        return g4_fail(err, G4_EINPUT, "%s: %s and %s are not F32 sums and one count", file,
                       t->name, name);
    g4_importance *e = &im->list[im->count];
    e->name = g4_arena_strndup(&im->arena, t->name, len);
    if (!e->name) return g4_nomem(err, file);
    memcpy(&count, c->data, sizeof count);
    if (!(isfinite(count) && count >= 0))
        return g4_fail(err, G4_EINPUT, "%s: %s is %g", file, name, (double)count);
    e->count = (double)count;
    e->cols = values_of(t);
    im->count++;
    return take(im, file, e, t->data, err);
}

static g4_status read_gguf(g4_imatrix *im, const g4_gguf *g, g4_err *err)
{
    size_t n = g4_gguf_tensors(g);
    im->list = g4_arena_alloc(&im->arena, n + 1, sizeof *im->list);
    if (!im->list) return g4_nomem(err, g4_gguf_file(g));
    for (size_t i = 0; i < n; i++) {
        const g4_tensor *t = g4_gguf_tensor_at(g, i);
        if (ends_in(t->name, sums)) G4_TRY(take_tensor(im, g, t, err));
        else if (!ends_in(t->name, counts))
            return g4_fail(err, G4_EINPUT, "%s: tensor %s is not of an importance matrix",
                           g4_gguf_file(g), t->name);
    }
    im->chunks = number_of(g, "imatrix.chunk_count");
    im->chunk_size = number_of(g, "imatrix.chunk_size");
    im->dataset = string_of(im, g4_gguf_find(g, "imatrix.datasets"));
    im->source = string_of(im, g4_gguf_find(g, "gemma4.imatrix.source"));
    return finish(im, g4_gguf_file(g), err);
}

/* ---- .dat ---- */

static int32_t read_i32(g4_bytes *b)
{
    return (int32_t)(uint32_t)g4_bytes_uint(b, 4);
}

static g4_status take_old(g4_imatrix *im, const char *file, g4_bytes *b, g4_err *err)
{
    g4_importance *e = &im->list[im->count];
    int32_t len = read_i32(b);
    const uint8_t *name = len >= 1 && len <= MAX_NAME ? g4_bytes_take(b, (size_t)len) : NULL;
    int32_t calls = read_i32(b), cols = read_i32(b);
    const uint8_t *data = name && cols >= 1 ? g4_bytes_take(b, 4 * (size_t)cols) : NULL;
    if (b->bad || !data || memchr(name, 0, (size_t)len))
        return g4_fail(err, G4_EINPUT, "%s: is no GGUF, nor an importance matrix of the older "
                       "format: entry %zu is broken", file, im->count);
    e->name = g4_arena_strndup(&im->arena, (const char *)name, (size_t)len);
    if (!e->name) return g4_nomem(err, file);
    e->cols = cols;
    e->count = calls > 0 ? (double)calls : 1;   /* values of a file without calls are means */
    im->count++;
    return take(im, file, e, data, err);
}

static g4_status read_old(g4_imatrix *im, const char *file, g4_bytes *b, g4_err *err)
{
    int32_t n = read_i32(b);
    if (b->bad || n < 1 || (size_t)n > (b->size - b->at) / OLD_BYTES)
        return g4_fail(err, G4_EINPUT, "%s: is no GGUF, nor an importance matrix of the older "
                       "format: %d entries in %zu bytes", file, n, b->size);
    im->old = 1;
    im->list = g4_arena_alloc(&im->arena, (size_t)n, sizeof *im->list);
    if (!im->list) return g4_nomem(err, file);
    while (im->count < (size_t)n) G4_TRY(take_old(im, file, b, err));
    if (b->at < b->size) {
        int32_t chunks = read_i32(b), len = read_i32(b);
        const uint8_t *text = len >= 0 && len <= MAX_DATASET ? g4_bytes_take(b, (size_t)len) : NULL;
        if (b->bad || !text || b->at != b->size)
            return g4_fail(err, G4_EINPUT, "%s: %zu bytes behind the last entry are no dataset",
                           file, b->size - b->at);
        im->chunks = chunks > 0 ? (uint32_t)chunks : 0;
        im->dataset = g4_arena_strndup(&im->arena, (const char *)text, (size_t)len);
        if (!im->dataset) return g4_nomem(err, file);
    }
    return finish(im, file, err);
}

/* ---- ---- */

g4_status g4_imatrix_parse(g4_imatrix **out, const char *file, const uint8_t *data, size_t size,
                           g4_err *err)
{
    g4_imatrix *im = *out = calloc(1, sizeof *im);
    if (!im) return g4_nomem(err, file);
    im->dataset = im->source = "";
    g4_status s;
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        g4_gguf *g = NULL;
        s = g4_gguf_parse(&g, file, data, size, err);
        if (s == G4_OK) s = read_gguf(im, g, err);
        g4_gguf_close(g);
    } else {
        g4_bytes b = { .data = data, .size = size };
        s = read_old(im, file, &b, err);
    }
    if (s == G4_OK) return G4_OK;
    g4_imatrix_close(im);
    *out = NULL;
    return s;
}

g4_status g4_imatrix_open(g4_imatrix **im, const char *path, g4_err *err)
{
    uint8_t *data;
    size_t size;
    *im = NULL;
    G4_TRY(g4_file_read(path, MAX_FILE, &data, &size, err));
    g4_status s = g4_imatrix_parse(im, path, data, size, err);
    free(data);
    return s;
}

void g4_imatrix_close(g4_imatrix *im)
{
    if (!im) return;
    g4_arena_free(&im->arena);
    free(im);
}

const g4_importance *g4_imatrix_find(const g4_imatrix *im, const char *matrix)
{
    const g4_importance key = { .name = matrix };
    return bsearch(&key, im->list, im->count, sizeof *im->list, by_name);
}

/* ---- writing ---- */

static g4_status write_gguf(const g4_imatrix *im, g4_out *out, g4_gguf_writer *w, g4_err *err)
{
    char name[MAX_NAME + 16];
    g4_gguf_put_string(w, "general.type", "imatrix", 7);
    g4_gguf_put_array(w, "imatrix.datasets", G4_GGUF_STRING, 1);
    g4_gguf_item_string(w, im->dataset, strlen(im->dataset));
    g4_gguf_put_u32(w, "imatrix.chunk_count", im->chunks);
    g4_gguf_put_u32(w, "imatrix.chunk_size", im->chunk_size);
    if (*im->source)
        g4_gguf_put_string(w, "gemma4.imatrix.source", im->source, strlen(im->source));
    for (size_t i = 0; i < im->count; i++) {
        const g4_importance *e = &im->list[i];
        snprintf(name, sizeof name, "%s%s", e->name, sums);
        g4_gguf_add_tensor(w, name, 1, &e->cols, G4_F32);
        snprintf(name, sizeof name, "%s%s", e->name, counts);
        g4_gguf_add_tensor(w, name, 1, (const int64_t[]){ 1 }, G4_F32);
    }
    G4_TRY(g4_gguf_write_header(w, out, err));
    for (size_t i = 0; i < im->count; i++) {
        const g4_importance *e = &im->list[i];
        float count = (float)e->count;
        G4_TRY(g4_out_write(out, e->sum, (size_t)e->cols * sizeof *e->sum, err));
        G4_TRY(g4_gguf_write_pad(out, err));
        G4_TRY(g4_out_write(out, &count, sizeof count, err));
        G4_TRY(g4_gguf_write_pad(out, err));
    }
    return G4_OK;
}

static g4_status write_i32(g4_out *out, int64_t v, g4_err *err)
{
    uint8_t b[4];
    for (int i = 0; i < 4; i++) b[i] = (uint8_t)((uint64_t)v >> (8 * i));
    return g4_out_write(out, b, sizeof b, err);
}

static g4_status write_old(const g4_imatrix *im, g4_out *out, g4_err *err)
{
    int64_t calls = im->chunks ? im->chunks : 1;
    G4_TRY(write_i32(out, (int64_t)im->count, err));
    for (size_t i = 0; i < im->count; i++) {
        const g4_importance *e = &im->list[i];
        G4_TRY(write_i32(out, (int64_t)strlen(e->name), err));
        G4_TRY(g4_out_write(out, e->name, strlen(e->name), err));
        G4_TRY(write_i32(out, calls, err));
        G4_TRY(write_i32(out, e->cols, err));
        for (int64_t k = 0; k < e->cols; k++) {
            /* in float32, in this order, as llama-imatrix does */
            float v = e->sum[k] / (float)e->count * (float)calls;
            G4_TRY(g4_out_write(out, &v, sizeof v, err));
        }
    }
    G4_TRY(write_i32(out, im->chunks, err));
    G4_TRY(write_i32(out, (int64_t)strlen(im->dataset), err));
    return g4_out_write(out, im->dataset, strlen(im->dataset), err);
}

g4_status g4_imatrix_write(const g4_imatrix *im, const char *path, g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    g4_gguf_writer w = { 0 };
    g4_status s = g4_out_open(&out, path, err);
    if (s == G4_OK)
        s = ends_in(path, ".dat") ? write_old(im, &out, err) : write_gguf(im, &out, &w, err);
    if (s == G4_OK) s = g4_out_commit(&out, err);
    g4_gguf_writer_free(&w);
    g4_out_abort(&out);
    return s;
}
