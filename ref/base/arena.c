/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, BLOCK = 64 * 1024 };

struct g4_arena_block {
    struct g4_arena_block *next;
    size_t size, used;             /* payload bytes, counted from base */
    unsigned char *base;           /* aligned start of the payload */
};

static struct g4_arena_block *block_new(size_t payload)
{
    size_t head = sizeof(struct g4_arena_block) + ALIGN, total;
    if (__builtin_add_overflow(payload, head, &total)) return NULL;
    struct g4_arena_block *b = malloc(total);
    if (!b) return NULL;
    uintptr_t p = (uintptr_t)(b + 1);
    b->next = NULL;
    b->size = payload;
    b->used = 0;
    b->base = (unsigned char *)((p + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1));
    return b;
}

void *g4_arena_alloc(g4_arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    if (__builtin_add_overflow(bytes, (size_t)(ALIGN - 1), &bytes)) return NULL;
    bytes &= ~(size_t)(ALIGN - 1);
    if (bytes == 0) bytes = ALIGN;
    struct g4_arena_block *b = a->head;
    if (!b || b->size - b->used < bytes) {
        b = block_new(bytes > BLOCK / 4 ? bytes : BLOCK);
        if (!b) return NULL;
        if (a->head && b->size == bytes) {   /* a large one: keep filling the old head */
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
    }
    void *p = b->base + b->used;
    b->used += bytes;
    memset(p, 0, bytes);
    return p;
}

char *g4_arena_strndup(g4_arena *a, const char *s, size_t len)
{
    if (len == SIZE_MAX) return NULL;
    char *p = g4_arena_alloc(a, len + 1, 1);
    if (p) memcpy(p, s, len);
    return p;
}

char *g4_arena_printf(g4_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = len < 0 ? NULL : g4_arena_alloc(a, (size_t)len + 1, 1);
    if (p) vsnprintf(p, (size_t)len + 1, fmt, again);
    va_end(again);
    return p;
}

size_t g4_arena_bytes(const g4_arena *a)
{
    size_t total = 0;
    for (const struct g4_arena_block *b = a->head; b; b = b->next) total += b->size;
    return total;
}

void g4_arena_free(g4_arena *a)
{
    struct g4_arena_block *b = a->head;
    while (b) {
        struct g4_arena_block *next = b->next;
        free(b);
        b = next;
    }
    a->head = NULL;
}
