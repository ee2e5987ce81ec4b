/* SPDX-License-Identifier: Apache-2.0
 * Named tensors of a checkpoint, zero-copy: a folder with model.safetensors or,
 * if there is none, with model.safetensors.index.json and its shards; or a GGUF
 * file, whose tensors are given the names and the order of values that they have
 * in the folder it was made from (gguf_names.def).
 * Everything about the container is checked on opening (safetensors README:
 * header size, ranges in order without overlap or hole, shape x dtype = bytes,
 * no duplicate name; for GGUF see gguf.h). */
#ifndef G4_FILE_STORE_H
#define G4_FILE_STORE_H

#include "ref/base/err.h"
#include "ref/dtype/mat.h"

#include <stddef.h>
#include <stdint.h>

enum { G4_MAX_RANK = 8 };

typedef enum g4_store_type {
    G4_ST_DTYPE,     /* one of ours: dtype says which */
    G4_ST_I64, G4_ST_OTHER
} g4_store_type;

typedef struct g4_tensor {
    const char *name, *file;      /* file: the shard's path, for messages */
    const char *type_name;        /* as in the file: "BF16" */
    g4_store_type type;
    g4_dtype dtype;
    int rank;
    int64_t shape[G4_MAX_RANK];
    const uint8_t *data;          /* in the mapping; any alignment */
    size_t bytes;
} g4_tensor;

typedef struct g4_store g4_store;

/* path: a model's name (document.h).  Errors name the file and the tensor. */
g4_status g4_store_open(g4_store **store, const char *path, g4_err *err);
void g4_store_close(g4_store *s);
const g4_tensor *g4_store_find(const g4_store *s, const char *name);   /* NULL: none */
size_t g4_store_count(const g4_store *s);
const g4_tensor *g4_store_at(const g4_store *s, size_t i);             /* sorted by name */
uint64_t g4_store_bytes(const g4_store *s);                            /* of all tensors */

/* One safetensors or GGUF file from memory (fuzzing, tests); data must outlive the store. */
g4_status g4_store_parse(g4_store **store, const char *file, const uint8_t *data, size_t size,
                         g4_err *err);

#endif
