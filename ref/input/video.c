/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/input/video.h"

#include "ref/base/map.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_TIMES = 1 << 20, MAX_SECONDS = 359999 };   /* mm:ss with four digits of minutes */

/* A list of names, malloc'ed: a folder may hold any number of them. */
typedef struct names {
    char **at;
    size_t count, capacity;
} names;

static void names_free(names *n)
{
    for (size_t i = 0; i < n->count; i++) free(n->at[i]);
    free(n->at);
}

static g4_status names_add(names *n, const char *name, g4_err *err)
{
    if (n->count == n->capacity) {
        size_t more = n->capacity ? 2 * n->capacity : 64, bytes;
        if (__builtin_mul_overflow(more, sizeof *n->at, &bytes)) return g4_nomem(err, name);
        char **p = realloc(n->at, bytes);
        if (!p) return g4_nomem(err, name);
        n->at = p;
        n->capacity = more;
    }
    n->at[n->count] = strdup(name);
    if (!n->at[n->count]) return g4_nomem(err, name);
    n->count++;
    return G4_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static g4_status list_frames(names *n, const char *dir, g4_err *err)
{
    DIR *d = opendir(dir);
    if (!d) return g4_fail(err, G4_EIO, "%s: cannot open: %s", dir, strerror(errno));
    g4_status s = G4_OK;
    while (s == G4_OK) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            if (errno) s = g4_fail(err, G4_EIO, "%s: cannot list: %s", dir, strerror(errno));
            break;
        }
        size_t len = strlen(e->d_name);
        if (e->d_name[0] != '.' && len > 4 && strcasecmp(e->d_name + len - 4, ".png") == 0)
            s = names_add(n, e->d_name, err);
    }
    closedir(d);
    if (s == G4_OK && n->count == 0)
        s = g4_fail(err, G4_EINPUT, "%s: no .png frames in this folder", dir);
    if (s == G4_OK) qsort(n->at, n->count, sizeof *n->at, by_name);
    return s;
}

/* "123" or "123.25", no sign, no exponent: strtod would ask the locale. */
static int parse_seconds(const char **at, double *out)
{
    const char *p = *at;
    double v = 0, unit = 1;
    int digits = 0;
    for (; *p >= '0' && *p <= '9'; p++, digits++) v = v * 10 + (*p - '0');
    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9'; p++, digits++) v += (*p - '0') * (unit /= 10);
    *at = p;
    *out = v;
    return digits > 0 && v <= MAX_SECONDS;
}

static g4_status parse_times(const char *path, const char *text, size_t size, size_t frames,
                             double *seconds, size_t keep, g4_err *err)
{
    size_t lines = 0;
    for (const char *p = text; p < text + size; lines++) {
        double v;
        if (!parse_seconds(&p, &v))
            return g4_fail(err, G4_EINPUT, "%s: line %zu is no number of seconds up to %d", path,
                           lines + 1, (int)MAX_SECONDS);
        if (*p == '\r') p++;
        if (p < text + size && *p++ != '\n')
            return g4_fail(err, G4_EINPUT, "%s: line %zu has more than a number of seconds", path,
                           lines + 1);
        if (lines < keep) seconds[lines] = v;
    }
    if (lines == frames) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: %zu times for %zu frames", path, lines, frames);
}

static g4_status read_times(const g4_video *v, const char *dir, g4_arena *arena, g4_err *err)
{
    const char *path = g4_arena_printf(arena, "%s/times.txt", dir);
    uint8_t *text;
    size_t size;
    if (!path) return g4_nomem(err, dir);
    if (g4_path_kind(path) == 0) {
        for (int64_t i = 0; i < v->count; i++) v->seconds[i] = (double)i;
        return G4_OK;
    }
    G4_TRY(g4_file_read(path, MAX_TIMES, &text, &size, err));
    g4_status s = parse_times(path, (const char *)text, size, (size_t)v->total, v->seconds,
                              (size_t)v->count, err);
    free(text);
    return s;
}

g4_status g4_video_list(g4_video *v, const char *dir, g4_arena *arena, g4_err *err)
{
    names n = { NULL, 0, 0 };
    memset(v, 0, sizeof *v);
    if (g4_path_kind(dir) == 1)
        return g4_fail(err, G4_EINPUT,
                       "%s: video files need libav, which is not built in; give a folder of"
                       " PNG frames", dir);
    g4_status s = list_frames(&n, dir, err);
    if (s == G4_OK) {
        v->total = (int64_t)n.count;
        v->count = v->total < G4_VIDEO_MAX_FRAMES ? v->total : G4_VIDEO_MAX_FRAMES;
        v->paths = g4_arena_alloc(arena, (size_t)v->count, sizeof *v->paths);
        v->seconds = g4_arena_alloc(arena, (size_t)v->count, sizeof *v->seconds);
        if (!v->paths || !v->seconds) s = g4_nomem(err, dir);
    }
    for (int64_t i = 0; s == G4_OK && i < v->count; i++) {
        v->paths[i] = g4_arena_printf(arena, "%s/%s", dir, n.at[i]);
        if (!v->paths[i]) s = g4_nomem(err, dir);
    }
    names_free(&n);
    return s == G4_OK ? read_times(v, dir, arena, err) : s;
}
