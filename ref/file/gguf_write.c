/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/file/gguf_write.h"

#include "ref/dtype/dtype.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32 };   /* GGUF's default: no key needs to say so */

static void add(g4_gguf_writer *w, g4_gguf_text *t, const void *data, size_t size)
{
    if (w->bad) return;
    if (size > t->capacity - t->size) {
        size_t capacity = 2 * t->capacity + size + 4096;
        uint8_t *p = realloc(t->data, capacity);
        if (!p) {
            w->bad = 1;
            return;
        }
        t->data = p;
        t->capacity = capacity;
    }
    memcpy(t->data + t->size, data, size);
    t->size += size;
}

static void add_uint(g4_gguf_writer *w, g4_gguf_text *t, uint64_t v, size_t bytes)
{
    uint8_t b[8];
    for (size_t i = 0; i < sizeof b; i++) b[i] = (uint8_t)(v >> (8 * i));
    add(w, t, b, bytes);
}

static void add_string(g4_gguf_writer *w, g4_gguf_text *t, const char *s, size_t len)
{
    add_uint(w, t, len, 8);
    add(w, t, s, len);
}

static void begin(g4_gguf_writer *w, const char *key, g4_gguf_type type)
{
    add_string(w, &w->keys, key, strlen(key));
    add_uint(w, &w->keys, type, 4);
    w->key_count++;
}

static uint32_t bits_of(double v)
{
    float f = (float)v;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

void g4_gguf_put_u32(g4_gguf_writer *w, const char *key, uint32_t v)
{
    begin(w, key, G4_GGUF_U32);
    add_uint(w, &w->keys, v, 4);
}

void g4_gguf_put_i32(g4_gguf_writer *w, const char *key, int32_t v)
{
    begin(w, key, G4_GGUF_I32);
    add_uint(w, &w->keys, (uint32_t)v, 4);
}

void g4_gguf_put_f32(g4_gguf_writer *w, const char *key, double v)
{
    begin(w, key, G4_GGUF_F32);
    add_uint(w, &w->keys, bits_of(v), 4);
}

void g4_gguf_put_bool(g4_gguf_writer *w, const char *key, int v)
{
    begin(w, key, G4_GGUF_BOOL);
    add_uint(w, &w->keys, v != 0, 1);
}

void g4_gguf_put_string(g4_gguf_writer *w, const char *key, const char *s, size_t len)
{
    begin(w, key, G4_GGUF_STRING);
    add_string(w, &w->keys, s, len);
}

void g4_gguf_put_array(g4_gguf_writer *w, const char *key, g4_gguf_type type, uint64_t count)
{
    begin(w, key, G4_GGUF_ARRAY);
    add_uint(w, &w->keys, type, 4);
    add_uint(w, &w->keys, count, 8);
}

void g4_gguf_item_int(g4_gguf_writer *w, g4_gguf_type type, int64_t v)
{
    add_uint(w, &w->keys, (uint64_t)v, g4_gguf_width(type));
}

void g4_gguf_item_f32(g4_gguf_writer *w, double v)
{
    add_uint(w, &w->keys, bits_of(v), 4);
}

void g4_gguf_item_string(g4_gguf_writer *w, const char *s, size_t len)
{
    add_string(w, &w->keys, s, len);
}

uint64_t g4_gguf_add_tensor(g4_gguf_writer *w, const char *name, int rank, const int64_t *shape,
                            g4_dtype dtype)
{
    uint64_t bytes = g4_dtype_row_bytes(dtype, shape[rank - 1]);
    add_string(w, &w->infos, name, strlen(name));
    add_uint(w, &w->infos, (uint64_t)rank, 4);
    for (int i = rank - 1; i >= 0; i--) add_uint(w, &w->infos, (uint64_t)shape[i], 8);
    for (int i = 0; i + 1 < rank; i++) bytes *= (uint64_t)shape[i];
    add_uint(w, &w->infos, (uint64_t)g4_dtype_get(dtype)->gguf, 4);
    add_uint(w, &w->infos, w->at, 8);
    w->tensor_count++;
    w->at += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return bytes;
}

g4_status g4_gguf_write_pad(g4_out *out, g4_err *err)
{
    static const uint8_t zeros[ALIGNMENT];
    size_t over = (size_t)(out->written % ALIGNMENT);
    return over ? g4_out_write(out, zeros, ALIGNMENT - over, err) : G4_OK;
}

g4_status g4_gguf_write_header(g4_gguf_writer *w, g4_out *out, g4_err *err)
{
    g4_gguf_text head = { 0 };
    add(w, &head, "GGUF", 4);
    add_uint(w, &head, 3, 4);
    add_uint(w, &head, w->tensor_count, 8);
    add_uint(w, &head, w->key_count, 8);
    g4_status s = w->bad ? g4_nomem(err, out->path) : G4_OK;
    if (s == G4_OK) s = g4_out_write(out, head.data, head.size, err);
    if (s == G4_OK) s = g4_out_write(out, w->keys.data, w->keys.size, err);
    if (s == G4_OK) s = g4_out_write(out, w->infos.data, w->infos.size, err);
    if (s == G4_OK) s = g4_gguf_write_pad(out, err);
    free(head.data);
    return s;
}

void g4_gguf_writer_free(g4_gguf_writer *w)
{
    free(w->keys.data);
    free(w->infos.data);
    *w = (g4_gguf_writer){ 0 };
}
