/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/gguf_file.h"

#include "ref/dtype/dtype.h"
#include "ref/file/gguf_parts.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

void gguf_bytes(gguf_file *f, const void *data, size_t size)
{
    while (f->size + size > f->capacity) {
        f->capacity = 2 * f->capacity + 256;
        f->data = realloc(f->data, f->capacity);
        ck_assert_ptr_nonnull(f->data);
    }
    if (size) memcpy(f->data + f->size, data, size);
    f->size += size;
}

void gguf_uint(gguf_file *f, uint64_t v, size_t bytes)
{
    uint8_t b[8];
    for (size_t i = 0; i < 8; i++) b[i] = (uint8_t)(v >> (8 * i));
    gguf_bytes(f, b, bytes);
}

void gguf_text(gguf_file *f, const char *text)
{
    gguf_uint(f, strlen(text), 8);
    gguf_bytes(f, text, strlen(text));
}

void gguf_head(gguf_file *f, uint64_t tensors, uint64_t keys)
{
    gguf_bytes(f, "GGUF", 4);
    gguf_uint(f, 3, 4);
    gguf_uint(f, tensors, 8);
    gguf_uint(f, keys, 8);
}

void gguf_key_text(gguf_file *f, const char *key, const char *value)
{
    gguf_text(f, key);
    gguf_uint(f, 8, 4);
    gguf_text(f, value);
}

void gguf_key_uint(gguf_file *f, const char *key, uint32_t type, uint64_t value, size_t bytes)
{
    gguf_text(f, key);
    gguf_uint(f, type, 4);
    gguf_uint(f, value, bytes);
}

void gguf_key_array(gguf_file *f, const char *key, uint32_t type, uint64_t count)
{
    gguf_text(f, key);
    gguf_uint(f, 9, 4);
    gguf_uint(f, type, 4);
    gguf_uint(f, count, 8);
}

void gguf_tensor(gguf_file *f, const char *name, int rank, const uint64_t *dims, uint32_t type,
                 uint64_t offset)
{
    gguf_text(f, name);
    gguf_uint(f, (uint32_t)rank, 4);
    for (int i = 0; i < rank; i++) gguf_uint(f, dims[i], 8);
    gguf_uint(f, type, 4);
    gguf_uint(f, offset, 8);
}

void gguf_pad(gguf_file *f, size_t alignment)
{
    while (f->size % alignment != 0) gguf_uint(f, 0, 1);
}

static void copy_key(gguf_file *f, const g4_gguf_key *k)
{
    gguf_text(f, k->name);
    if (k->is_array) gguf_uint(f, G4_GGUF_ARRAY, 4);
    gguf_uint(f, k->type, 4);
    if (k->is_array) gguf_uint(f, k->count, 8);
    gguf_bytes(f, k->data, k->bytes);
}

/* Its tensors are [*first, *end). */
static void range_of(const g4_gguf *g, int no, int count, int empty_first, size_t *first,
                     size_t *end)
{
    size_t n = g4_gguf_tensors(g), parts = (size_t)(count - empty_first);
    size_t i = (size_t)(no - empty_first);
    *first = no < empty_first ? 0 : n * i / parts;
    *end = no < empty_first ? 0 : n * (i + 1) / parts;
}

gguf_file gguf_part(const g4_gguf *g, int no, int count, int empty_first)
{
    gguf_file f = { 0 };
    size_t first, end, keys = no ? 0 : g->key_count;
    uint64_t dims[4], offset = 0;
    range_of(g, no, count, empty_first, &first, &end);
    gguf_head(&f, end - first, keys + 3);
    for (size_t i = 0; i < keys; i++) copy_key(&f, &g->keys[i]);
    gguf_key_uint(&f, "split.no", G4_GGUF_U16, (uint64_t)no, 2);
    gguf_key_uint(&f, "split.count", G4_GGUF_U16, (uint64_t)count, 2);
    gguf_key_uint(&f, "split.tensors.count", G4_GGUF_I32, g4_gguf_tensors(g), 4);
    for (size_t i = first; i < end; i++) {
        const g4_tensor *t = g4_gguf_tensor_at(g, i);
        for (int d = 0; d < t->rank; d++) dims[d] = (uint64_t)t->shape[t->rank - 1 - d];
        gguf_tensor(&f, t->name, t->rank, dims, (uint32_t)g4_dtype_get(t->dtype)->gguf, offset);
        offset += (t->bytes + 31) & ~(uint64_t)31;
    }
    for (size_t i = first; i < end; i++) {
        gguf_pad(&f, 32);
        gguf_bytes(&f, g4_gguf_tensor_at(g, i)->data, g4_gguf_tensor_at(g, i)->bytes);
    }
    gguf_pad(&f, 32);
    return f;
}
