/* SPDX-License-Identifier: Apache-2.0
 * Bump allocator: many allocations, one release.  An arena owns everything
 * taken from it; nothing is freed singly.  Memory is zeroed and 64-byte
 * aligned (one cache line, one AVX-512 register).  Sizes are count x size and
 * overflow is checked.  NULL means out of memory; the arena stays usable.
 * All its memory comes from malloc, which tests wrap to make the n-th one fail. */
#ifndef G4_BASE_ARENA_H
#define G4_BASE_ARENA_H

#include <stddef.h>

typedef struct g4_arena {
    struct g4_arena_block *head;   /* newest block; older ones chained behind */
} g4_arena;                        /* {NULL} is an empty arena */

void *g4_arena_alloc(g4_arena *a, size_t count, size_t size);
char *g4_arena_strndup(g4_arena *a, const char *s, size_t len);
char *g4_arena_printf(g4_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t g4_arena_bytes(const g4_arena *a);   /* taken from malloc so far */
void g4_arena_free(g4_arena *a);

#endif
