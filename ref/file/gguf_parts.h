/* SPDX-License-Identifier: Apache-2.0
 * Inside of a g4_gguf, shared by gguf.c, gguf_split.c and the tests' maker of such files only. */
#ifndef G4_FILE_GGUF_PARTS_H
#define G4_FILE_GGUF_PARTS_H

#include "ref/base/arena.h"
#include "ref/base/map.h"
#include "ref/file/gguf.h"

enum { G4_GGUF_MAX_TENSORS = 1 << 20 };   /* 100 times those of real files and more */

struct g4_gguf {
    const char *file;
    g4_map map;                /* of g4_gguf_open */
    g4_arena arena;
    g4_gguf_key *keys;         /* [key_count], sorted by name */
    g4_tensor *tensors;        /* [tensor_count], sorted by name; of the first part: of all */
    size_t key_count, tensor_count;
    g4_gguf *next;             /* of a split file: the part behind this one */
};

/* One file by itself, whatever it says of others. */
g4_status g4_gguf_open_part(g4_gguf **g, const char *path, g4_err *err);
g4_status g4_gguf_sort_tensors(const g4_gguf *g, g4_err *err);

/* Opens the other parts of a file that is the first of several, and takes their tensors.
 * siblings 0: g came from memory, where none can be. */
g4_status g4_gguf_join(g4_gguf *g, int siblings, g4_err *err);

#endif
