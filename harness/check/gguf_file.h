/* SPDX-License-Identifier: Apache-2.0
 * GGUF files made in a test, byte by byte: good ones, and ones with one thing wrong. */
#ifndef G4_HARNESS_CHECK_GGUF_FILE_H
#define G4_HARNESS_CHECK_GGUF_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "ref/file/gguf.h"

typedef struct gguf_file {
    uint8_t *data;      /* malloc'ed */
    size_t size, capacity;
} gguf_file;

void gguf_bytes(gguf_file *f, const void *data, size_t size);
void gguf_uint(gguf_file *f, uint64_t v, size_t bytes);
void gguf_text(gguf_file *f, const char *text);                /* length and bytes */
void gguf_head(gguf_file *f, uint64_t tensors, uint64_t keys);
void gguf_key_text(gguf_file *f, const char *key, const char *value);
void gguf_key_uint(gguf_file *f, const char *key, uint32_t type, uint64_t value, size_t bytes);
void gguf_key_array(gguf_file *f, const char *key, uint32_t type, uint64_t count);
void gguf_tensor(gguf_file *f, const char *name, int rank, const uint64_t *dims, uint32_t type,
                 uint64_t offset);
void gguf_pad(gguf_file *f, size_t alignment);

/* Part no of count of a model, as llama-gguf-split writes it: the first has the keys; tensors
 * are dealt in the order of their names, none to the first where it is to stay empty. */
gguf_file gguf_part(const g4_gguf *g, int no, int count, int empty_first);

#endif
