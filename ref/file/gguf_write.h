/* SPDX-License-Identifier: Apache-2.0
 * Writing a GGUF (version 3; layout in gguf.h): keys and tensor infos are collected, then the
 * header is written at once and the tensors' data follow in their order, each padded.
 * A put that runs out of memory is remembered; g4_gguf_write_header reports it. */
#ifndef G4_FILE_GGUF_WRITE_H
#define G4_FILE_GGUF_WRITE_H

#include "ref/base/map.h"
#include "ref/file/gguf.h"

typedef struct g4_gguf_text {
    uint8_t *data;                /* malloc'ed */
    size_t size, capacity;
} g4_gguf_text;

typedef struct g4_gguf_writer {   /* {0} is an empty one */
    g4_gguf_text keys, infos;
    uint64_t key_count, tensor_count, at;   /* at: offset of the next tensor */
    int bad;
} g4_gguf_writer;

void g4_gguf_put_u32(g4_gguf_writer *w, const char *key, uint32_t v);
void g4_gguf_put_i32(g4_gguf_writer *w, const char *key, int32_t v);
void g4_gguf_put_f32(g4_gguf_writer *w, const char *key, double v);
void g4_gguf_put_bool(g4_gguf_writer *w, const char *key, int v);
void g4_gguf_put_string(g4_gguf_writer *w, const char *key, const char *s, size_t len);
/* An array's head; exactly count items of that type must follow. */
void g4_gguf_put_array(g4_gguf_writer *w, const char *key, g4_gguf_type type, uint64_t count);
void g4_gguf_item_int(g4_gguf_writer *w, g4_gguf_type type, int64_t v);
void g4_gguf_item_f32(g4_gguf_writer *w, double v);
void g4_gguf_item_string(g4_gguf_writer *w, const char *s, size_t len);

/* shape: slowest first, as everywhere here.  Its bytes are returned. */
uint64_t g4_gguf_add_tensor(g4_gguf_writer *w, const char *name, int rank, const int64_t *shape,
                            g4_dtype dtype);

g4_status g4_gguf_write_header(g4_gguf_writer *w, g4_out *out, g4_err *err);
/* Behind each tensor's data. */
g4_status g4_gguf_write_pad(g4_out *out, g4_err *err);
void g4_gguf_writer_free(g4_gguf_writer *w);

#endif
