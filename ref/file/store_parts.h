/* SPDX-License-Identifier: Apache-2.0
 * Inside of a store, shared by store.c and the container readers only. */
#ifndef G4_FILE_STORE_PARTS_H
#define G4_FILE_STORE_PARTS_H

#include "ref/base/arena.h"
#include "ref/base/map.h"
#include "ref/file/document.h"
#include "ref/file/store.h"

struct g4_store_map {
    struct g4_store_map *next;
    g4_map map;
};

struct g4_store {
    g4_arena arena;               /* names, paths, map list */
    struct g4_store_map *maps;
    g4_gguf_pair gguf;            /* of a folder: NULL, NULL */
    g4_tensor *list;              /* [count], sorted by name once all are in */
    size_t count, capacity;
};

g4_status g4_store_push(g4_store *s, const g4_tensor *t, g4_err *err);

/* Appends the tensors of one safetensors file; file must outlive the store. */
g4_status g4_safetensors_parse(g4_store *s, const char *file, const uint8_t *data, size_t size,
                               g4_err *err);

/* Appends the tensors of a GGUF, which must outlive the store's use. */
g4_status g4_gguf_push_tensors(g4_store *s, const g4_gguf *g, g4_err *err);

#endif
