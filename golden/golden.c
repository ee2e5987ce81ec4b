/* SPDX-License-Identifier: Apache-2.0
 * An open golden file: what it lists, and where its values come from (the
 * child, libhdf5 in this very process, or another program's dump). */
#include "golden/golden.h"

#include "golden/child.h"
#include "golden/foreign.h"
#include "golden/h5.h"
#include "ref/base/map.h"

#include <stdlib.h>
#include <string.h>

struct g4_golden {
    g4_arena arena;       /* path, and the listing unless direct */
    const char *path;
    g4_listing list;
    g4_child child;
    int direct;
    g4_h5_file file;      /* direct */
    g4_foreign *foreign;  /* NULL: HDF5 */
};

/* A message of the operating system's for a file that cannot be opened at all;
 * libhdf5's own is about its drivers. */
static g4_status file_check(const char *path, g4_err *err)
{
    g4_map m;
    G4_TRY(g4_map_open(&m, path, err));
    size_t size = m.size;
    g4_map_close(&m);
    if (size == 0) return g4_fail(err, G4_EINPUT, "%s: is empty", path);
    return G4_OK;
}

static g4_status open_direct(g4_golden *g, g4_err *err)
{
    G4_TRY(g4_h5_open(&g->file, g->path, err));
    G4_TRY(g4_h5_list(&g->file, err));
    g->list = (g4_listing){g->file.attrs, g->file.sets, g->file.attr_count, g->file.set_count};
    return G4_OK;
}

g4_status g4_golden_open(g4_golden **out, const char *path, int flags, g4_err *err)
{
    int foreign = g4_foreign_is(path);
    *out = NULL;
    if (!foreign) G4_TRY(file_check(path, err));
    g4_golden *g = calloc(1, sizeof *g);
    if (!g) return g4_nomem(err, path);
    g->file.file = g->file.links = -1;
    g->direct = !foreign && (flags & G4_GOLDEN_DIRECT);
    g->path = g4_arena_strndup(&g->arena, path, strlen(path));
    g4_status s = !g->path ? g4_nomem(err, path) :
                  foreign ? g4_foreign_open(&g->foreign, g->path, &g->list, err) :
                  g->direct ? open_direct(g, err) :
                  g4_child_start(&g->child, g->path, &g->list, &g->arena, err);
    if (s != G4_OK) {
        g4_golden_close(g);
        return s;
    }
    *out = g;
    return G4_OK;
}

void g4_golden_close(g4_golden *g)
{
    if (!g) return;
    g4_child_stop(&g->child);
    g4_foreign_close(g->foreign);
    if (g->direct) g4_h5_close(&g->file);
    g4_arena_free(&g->arena);
    free(g);
}

const char *g4_golden_path(const g4_golden *g) { return g->path; }
size_t g4_golden_attrs(const g4_golden *g) { return g->list.attr_count; }
size_t g4_golden_count(const g4_golden *g) { return g->list.set_count; }

const g4_golden_attr *g4_golden_attr_at(const g4_golden *g, size_t i)
{
    return &g->list.attrs[i];
}

const g4_golden_set *g4_golden_at(const g4_golden *g, size_t i)
{
    return &g->list.sets[i];
}

const char *g4_golden_text(const g4_golden *g, const char *name)
{
    for (size_t i = 0; i < g->list.attr_count; i++)
        if (strcmp(g->list.attrs[i].name, name) == 0) return g->list.attrs[i].text;
    return NULL;
}

const g4_golden_set *g4_golden_find(const g4_golden *g, const char *path)
{
    for (size_t i = 0; i < g->list.set_count; i++)
        if (strcmp(g->list.sets[i].path, path) == 0) return &g->list.sets[i];
    return NULL;
}

/* Collects what g4_h5_read gives piece by piece. */
typedef struct collector {
    unsigned char *at;
    size_t left;
} collector;

static g4_status collect(void *ctx, const void *data, size_t bytes, g4_err *err)
{
    collector *c = ctx;
    if (bytes > c->left) return g4_fail(err, G4_EINPUT, "more values than announced");
    memcpy(c->at, data, bytes);
    c->at += bytes;
    c->left -= bytes;
    return G4_OK;
}

/* [K][T][H], as stored, -> [T][K][H]. */
static g4_status turn(const g4_golden *g, const g4_golden_set *s, unsigned char *data, g4_err *err)
{
    size_t heads = (size_t)s->dims[0], rows = (size_t)s->dims[1];
    size_t width = (size_t)s->dims[2] * g4_golden_size(s->type);
    unsigned char *stored = malloc(heads * rows * width);
    if (!stored) return g4_nomem(err, g->path);
    memcpy(stored, data, heads * rows * width);
    for (size_t k = 0; k < heads; k++)
        for (size_t t = 0; t < rows; t++)
            memcpy(data + (t * heads + k) * width, stored + (k * rows + t) * width, width);
    free(stored);
    return G4_OK;
}

g4_status g4_golden_read(g4_golden *g, const g4_golden_set *s, void *out, g4_err *err)
{
    size_t bytes = (size_t)g4_golden_values(s) * g4_golden_size(s->type);
    collector c = {out, bytes};
    if (g->foreign) {
        G4_TRY(g4_foreign_read(g->foreign, (size_t)(s - g->list.sets), out, err));
    } else if (g->direct) {
        G4_TRY(g4_h5_read(&g->file, s, collect, &c, err));
        if (c.left) return g4_fail(err, G4_EINPUT, "%s: %s: is cut short", g->path, s->path);
    } else {
        G4_TRY(g4_child_read(&g->child, (uint64_t)(s - g->list.sets), out, bytes, err));
    }
    return s->heads_first ? turn(g, s, out, err) : G4_OK;
}

g4_status g4_golden_ids(g4_golden *g, const char *path, g4_arena *arena, int32_t **ids,
                        int64_t *n, g4_err *err)
{
    const g4_golden_set *s = g4_golden_find(g, path);
    if (!s) return g4_fail(err, G4_EINPUT, "%s: %s: is not in the file", g->path, path);
    if (s->type != G4_GOLDEN_I32)
        return g4_fail(err, G4_EINPUT, "%s: %s: is not int32", g->path, path);
    *n = g4_golden_values(s);
    *ids = g4_arena_alloc(arena, (size_t)*n, sizeof **ids);
    if (!*ids) return g4_nomem(err, path);
    return g4_golden_read(g, s, *ids, err);
}
