/* SPDX-License-Identifier: Apache-2.0
 * The parent's side; what runs in the child is child_serve.c. */
#include "golden/child.h"

#include "golden/child_serve.h"
#include "golden/h5.h"
#include "ref/base/bytes.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LISTING = 64 << 20 };

/* One attribute: {uint32 name, uint32 text, uint8 is_number} and both strings. */
static int parse_attr(g4_bytes *b, g4_golden_attr *a, g4_arena *arena)
{
    size_t name = (size_t)g4_bytes_uint(b, 4), text = (size_t)g4_bytes_uint(b, 4);
    a->is_number = g4_bytes_uint(b, 1) != 0;
    const uint8_t *n = g4_bytes_take(b, name), *t = g4_bytes_take(b, text);
    if (!n || !t) return 0;
    a->name = g4_arena_strndup(arena, (const char *)n, name);
    a->text = g4_arena_strndup(arena, (const char *)t, text);
    return a->name && a->text;
}

/* The child may have been overrun by its file: believe nothing in the blob. */
static g4_status parse_listing(const g4_child *c, const uint8_t *blob, size_t size,
                               g4_listing *list, g4_arena *arena, g4_err *err)
{
    g4_bytes b = {blob, size, 0, 0};
    uint64_t attrs = g4_bytes_uint(&b, 4), sets = g4_bytes_uint(&b, 4);
    int bad = b.bad || attrs > size / 9 || sets > size / sizeof *list->sets;
    *list = (g4_listing){0};
    if (!bad) {
        list->attrs = g4_arena_alloc(arena, attrs, sizeof *list->attrs);
        list->sets = g4_arena_alloc(arena, sets, sizeof *list->sets);
        if (!list->attrs || !list->sets) return g4_nomem(err, c->path);
        const uint8_t *p = g4_bytes_take(&b, sets * sizeof *list->sets);
        if (p) memcpy(list->sets, p, sets * sizeof *list->sets);
        bad = !p;
    }
    for (; !bad && list->set_count < sets; list->set_count++)
        bad = !g4_golden_set_sane(&list->sets[list->set_count]);
    for (; !bad && list->attr_count < attrs; list->attr_count++)
        if (!parse_attr(&b, &list->attrs[list->attr_count], arena)) {
            if (!b.bad) return g4_nomem(err, c->path);
            bad = 1;
        }
    return bad ? g4_child_nonsense(c, err) : G4_OK;
}

static g4_status take_listing(g4_child *c, g4_listing *list, g4_arena *arena, g4_err *err)
{
    uint32_t size = 0;
    int64_t deadline = g4_child_deadline(c, 0);
    G4_TRY(g4_child_head(c, MAX_LISTING, &size, deadline, err));
    uint8_t *blob = malloc(size + (size_t)1);
    if (!blob) return g4_nomem(err, c->path);
    g4_status s = g4_child_take(c, blob, size, deadline, err);
    if (s == G4_OK) s = parse_listing(c, blob, size, list, arena, err);
    free(blob);
    return s;
}

g4_status g4_child_start(g4_child *c, const char *path, g4_listing *list, g4_arena *arena,
                         g4_err *err)
{
    void *name = (void *)(uintptr_t)path;   /* the body only reads it */
    G4_TRY(g4_child_fork(c, path, "the HDF5 library", g4_child_serve, name, err));
    g4_status s = take_listing(c, list, arena, err);
    if (s != G4_OK) g4_child_stop(c);
    return s;
}

g4_status g4_child_read(g4_child *c, uint64_t index, void *out, size_t bytes, g4_err *err)
{
    G4_TRY(g4_child_ask(c, &index, sizeof index, err));
    return g4_child_frames(c, out, bytes, g4_child_deadline(c, bytes), err);
}
