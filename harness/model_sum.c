/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/model_sum.h"

#include "ref/base/arena.h"
#include "ref/base/map.h"
#include "ref/file/document.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 64 << 10, PAGE = 4 << 10, PAGES = 256 };

/* A file, in the way that model_sum.h tells. */
static g4_status add_file(g4_sha256 *sha, const char *path, const char *name, g4_err *err)
{
    g4_map m;
    G4_TRY(g4_map_open(&m, path, err));
    uint64_t size = m.size;
    size_t n = m.size <= (size_t)2 * PAGES * PAGE ? m.size : HEAD;
    g4_sha256_add(sha, name, strlen(name) + 1);
    g4_sha256_add(sha, &size, sizeof size);
    if (n) g4_sha256_add(sha, m.data, n);
    for (size_t i = 1; n < m.size && i <= PAGES; i++)
        g4_sha256_add(sha, m.data + (m.size - PAGE) / PAGES * i, PAGE);
    g4_map_close(&m);
    return G4_OK;
}

static int counts(const struct dirent *d)
{
    static const char *const ends[] = { ".json", ".safetensors", ".jinja", ".gguf" };
    size_t n = strlen(d->d_name);
    for (int i = 0; i < 4; i++) {
        size_t k = strlen(ends[i]);
        if (n > k && strcmp(d->d_name + n - k, ends[i]) == 0) return 1;
    }
    return 0;
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

/* Those regular files of a folder that `wanted` takes, in the order of their names. */
static g4_status add_folder(g4_sha256 *sha, const char *dir,
                            int wanted(const struct dirent *), g4_err *err)
{
    struct dirent **entry;
    g4_arena a = { NULL };
    g4_status s = G4_OK;
    int n = scandir(dir, &entry, wanted, alphasort);
    if (n < 0) return g4_fail(err, G4_EIO, "%s: cannot open: %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *path = g4_arena_printf(&a, "%s/%s", dir, entry[i]->d_name);
        if (s == G4_OK && !path) s = g4_nomem(err, dir);
        int kind = s == G4_OK ? g4_path_kind(path) : 0;
        if (kind == 1 || kind == 4)   /* 4: opening it says why */
            s = add_file(sha, path, entry[i]->d_name, err);
        free(entry[i]);
    }
    free(entry);
    g4_arena_free(&a);
    return s;
}

g4_status g4_sum_path(g4_sha256 *sha, const char *path, g4_err *err)
{
    return g4_path_kind(path) == 2 ? add_folder(sha, path, visible, err)
                                   : add_file(sha, path, "", err);
}

/* All parts of one that is split. */
static g4_status add_gguf(g4_sha256 *sha, const g4_gguf *g, g4_err *err)
{
    for (size_t i = 0; i < g4_gguf_parts(g); i++)
        G4_TRY(add_file(sha, g4_gguf_part(g, i), "", err));
    return G4_OK;
}

static g4_status add_model(g4_sha256 *sha, const char *path, g4_err *err)
{
    g4_gguf_pair p;
    G4_TRY(g4_gguf_open_model(&p, path, err));
    g4_status s = add_gguf(sha, p.main, err);
    if (s == G4_OK && p.media && p.media != p.main) s = add_gguf(sha, p.media, err);
    g4_gguf_close_model(&p);
    return s;
}

g4_status g4_model_sum(const char *path, char hex[G4_SHA256_HEX], g4_err *err)
{
    g4_sha256 sha;
    g4_sha256_begin(&sha);
    g4_status s = g4_path_kind(path) == 2 ? add_folder(&sha, path, counts, err)
                                          : add_model(&sha, path, err);
    g4_sha256_end(&sha, hex);
    return s;
}
