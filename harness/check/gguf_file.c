/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/gguf_file.h"

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
