/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/input/video.h"

#include "ref/base/child.h"
#include "ref/base/map.h"
#include "ref/input/video_libav.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
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

/* Which of all frames is the i-th kept. */
static int64_t number_of(const g4_video *v, int64_t i)
{
    return v->evenly ? i * v->total / v->count : i;
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

/* seconds: of the frames that are kept, see number_of. */
static g4_status parse_times(const char *path, const char *text, size_t size, const g4_video *v,
                             g4_err *err)
{
    size_t lines = 0, frames = (size_t)v->total;
    int64_t kept = 0;
    double last = 0;
    for (const char *p = text; p < text + size; lines++) {
        double at;
        if (!parse_seconds(&p, &at))
            return g4_fail(err, G4_EINPUT, "%s: line %zu is no number of seconds up to %d", path,
                           lines + 1, (int)MAX_SECONDS);
        if (at < last)
            return g4_fail(err, G4_EINPUT, "%s: line %zu is earlier than the line before it", path,
                           lines + 1);
        last = at;
        if (*p == '\r') p++;
        if (p < text + size && *p++ != '\n')
            return g4_fail(err, G4_EINPUT, "%s: line %zu has more than a number of seconds", path,
                           lines + 1);
        if (kept < v->count && (size_t)number_of(v, kept) == lines) v->seconds[kept++] = at;
    }
    if (lines == frames) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: %zu times for %zu frames", path, lines, frames);
}

static g4_status read_times(const g4_video *v, const char *dir, double fps, g4_arena *arena,
                            g4_err *err)
{
    const char *path = g4_arena_printf(arena, "%s/times.txt", dir);
    uint8_t *text;
    size_t size;
    if (!path) return g4_nomem(err, dir);
    if (g4_path_kind(path) == 0) {
        for (int64_t i = 0; i < v->count; i++) v->seconds[i] = (double)number_of(v, i) / fps;
        if (v->seconds[v->count - 1] <= MAX_SECONDS) return G4_OK;
        return g4_fail(err, G4_EINPUT, "%s: %lld frames at %g a second are longer than %d s", dir,
                       (long long)v->total, fps, (int)MAX_SECONDS);
    }
    G4_TRY(g4_file_read(path, MAX_TIMES, &text, &size, err));
    g4_status s = parse_times(path, (const char *)text, size, v, err);
    free(text);
    return s;
}

g4_status g4_video_list(g4_video *v, const char *dir, const g4_video_sampling *how,
                        g4_arena *arena, g4_err *err)
{
    names n = { NULL, 0, 0 };
    int64_t most = how->frames ? how->frames : G4_VIDEO_MAX_FRAMES;
    memset(v, 0, sizeof *v);
    g4_status s = list_frames(&n, dir, err);
    if (s == G4_OK) {
        v->total = (int64_t)n.count;
        v->count = v->total < most ? v->total : most;
        v->evenly = how->frames != 0;
        v->paths = g4_arena_alloc(arena, (size_t)v->count, sizeof *v->paths);
        v->seconds = g4_arena_alloc(arena, (size_t)v->count, sizeof *v->seconds);
        if (!v->paths || !v->seconds) s = g4_nomem(err, dir);
    }
    for (int64_t i = 0; s == G4_OK && i < v->count; i++) {
        v->paths[i] = g4_arena_printf(arena, "%s/%s", dir, n.at[number_of(v, i)]);
        if (!v->paths[i]) s = g4_nomem(err, dir);
    }
    names_free(&n);
    return s == G4_OK ? read_times(v, dir, how->fps > 0 ? how->fps : 1, arena, err) : s;
}

/* ------------------------------------------------------------------- a folder */

typedef struct frames {          /* what comes out, of either kind */
    const char *path;
    const g4_video_sampling *how;
    g4_video_sink *sink;
    void *ctx;
    int64_t width, height;       /* of the first frame; 0: none yet */
} frames;

/* Transformers stacks a video's frames, so they must agree in size. */
static g4_status pass_on(frames *f, const char *name, const g4_image *im, double seconds,
                         g4_err *err)
{
    if (f->width && (im->width != f->width || im->height != f->height))
        return g4_fail(err, G4_EINPUT, "%s: a frame of %lld x %lld pixels in a video of %lld x"
                       " %lld", name, (long long)im->width, (long long)im->height,
                       (long long)f->width, (long long)f->height);
    f->width = im->width;
    f->height = im->height;
    return f->sink(f->ctx, im, seconds, err);
}

static g4_status read_folder(frames *f, g4_video_info *info, g4_err *err)
{
    g4_arena arena = { NULL };
    g4_video v;
    g4_status s = g4_video_list(&v, f->path, f->how, &arena, err);
    for (int64_t i = 0; s == G4_OK && i < v.count; i++) {
        g4_image im;
        s = g4_image_read(&im, v.paths[i], err);
        if (s != G4_OK) break;
        s = pass_on(f, v.paths[i], &im, v.seconds[i], err);
        g4_image_free(&im);
    }
    if (s == G4_OK) {
        if (v.evenly)
            snprintf(info->note, sizeof info->note, "%lld frames of the %lld of a folder, evenly",
                     (long long)v.count, (long long)v.total);
        else
            snprintf(info->note, sizeof info->note, "%lld frames of a folder, %g to %g s",
                     (long long)v.count, v.seconds[0], v.seconds[v.count - 1]);
        if (v.count < v.total && !v.evenly)
            snprintf(info->warning, sizeof info->warning, "%lld frames, cut to the first %lld",
                     (long long)v.total, (long long)v.count);
    }
    g4_arena_free(&arena);
    return s;
}

/* --------------------------------------------------------------------- a file */

/* Before each picture, and before the summary: then width is 0. */
typedef struct head {
    int64_t width, height;
    double seconds;
} head;

typedef struct job {
    const g4_libav *av;
    const char *path;
    const g4_video_sampling *how;
    const g4_map *map;
    int fd;                      /* the child's end */
} job;

static g4_status send_picture(void *ctx, const g4_image *im, double seconds, g4_err *err)
{
    const job *j = ctx;
    head h = { im->width, im->height, seconds };
    (void)err;
    g4_child_send(j->fd, &h, sizeof h);
    g4_child_send(j->fd, im->rgb, (size_t)im->width * (size_t)im->height * 3);
    return G4_OK;
}

static void child_body(int fd, void *ctx)
{
    job *j = ctx;
    g4_libav_summary sum;
    g4_err err;
    head end = { 0, 0, 0 };
    j->fd = fd;
    g4_child_seal();
    if (g4_libav_decode(j->av, j->path, j->map->data, j->map->size, j->how, send_picture, j,
                        &sum, &err) != G4_OK) {
        g4_child_send_error(fd, &err);
        return;
    }
    g4_child_send(fd, &end, sizeof end);
    g4_child_send(fd, &sum, sizeof sum);
}

/* Patience is per picture: a second of video decodes in less, a stuck one never. */
static g4_status take_picture(g4_child *c, const head *h, frames *f, g4_err *err)
{
    int64_t pixels;
    if (h->width < 1 || h->height < 1 || h->width > G4_IMAGE_MAX_SIDE ||
        h->height > G4_IMAGE_MAX_SIDE || !isfinite(h->seconds) || h->seconds < 0 ||
        h->seconds > MAX_SECONDS)
        return g4_child_nonsense(c, err);
    pixels = h->width * h->height;
    if (pixels > G4_VIDEO_MAX_PIXELS) return g4_child_nonsense(c, err);
    g4_image im = { h->width, h->height, malloc((size_t)pixels * 3) };
    if (!im.rgb) return g4_nomem(err, f->path);
    uint64_t bytes = (uint64_t)pixels * 3;
    g4_status s = g4_child_frames(c, im.rgb, bytes, g4_child_deadline(c, bytes), err);
    if (s == G4_OK) s = pass_on(f, f->path, &im, h->seconds, err);
    g4_image_free(&im);
    return s;
}

static void sum_up(const g4_libav_summary *sum, int64_t got, const g4_video_sampling *how,
                   g4_video_info *info)
{
    size_t n = sizeof info->warning, at = 0;
    char *w = info->warning, rate[40] = "one";
    if (how->fps > 0) snprintf(rate, sizeof rate, "%g", how->fps);
    if (how->frames)
        snprintf(info->note, sizeof info->note, "%.300s; %lld frames of %lld, evenly", sum->note,
                 (long long)got, (long long)sum->total);
    else
        snprintf(info->note, sizeof info->note, "%.300s; %lld frames, %s a second from 0",
                 sum->note, (long long)got, rate);
    if (sum->more)
        at += (size_t)snprintf(w, n, "longer than %g s, cut to its first %lld frames",
                               (double)got / (how->fps > 0 ? how->fps : 1), (long long)got);
    else if (sum->announced > sum->end + 1)
        at += (size_t)snprintf(w, n, "ends after %.2f s of the %.2f s that it announces", sum->end,
                               sum->announced);
    if (sum->damaged > 0)
        snprintf(w + at, n - at, "%s%lld damaged packets or frames", at ? ", " : "",
                 (long long)sum->damaged);
}

static g4_status take_all(g4_child *c, frames *f, g4_video_info *info, g4_err *err)
{
    g4_libav_summary sum;
    int64_t most = f->how->frames ? f->how->frames : G4_VIDEO_MAX_FRAMES;
    for (int64_t got = 0;; got++) {
        head h;
        G4_TRY(g4_child_frames(c, &h, sizeof h, g4_child_deadline(c, 0), err));
        if (h.width == 0) {
            G4_TRY(g4_child_frames(c, &sum, sizeof sum, g4_child_deadline(c, 0), err));
            if (got == 0 || !memchr(sum.note, 0, sizeof sum.note))
                return g4_child_nonsense(c, err);
            sum_up(&sum, got, f->how, info);
            return G4_OK;
        }
        if (got == most) return g4_child_nonsense(c, err);
        G4_TRY(take_picture(c, &h, f, err));
    }
}

static g4_status read_file(frames *f, g4_video_info *info, g4_err *err)
{
    g4_libav *av;
    g4_map map;
    g4_child child;
    G4_TRY(g4_libav_open(&av, f->path, err));   /* here: the child may open nothing */
    g4_status s = g4_map_open(&map, f->path, err);
    if (s != G4_OK) {
        g4_libav_close(av);
        return s;
    }
    job j = { av, f->path, f->how, &map, -1 };
    s = map.size > 0 ? g4_child_fork(&child, f->path, "libav", child_body, &j, err)
                               : g4_fail(err, G4_EINPUT, "%s: empty file", f->path);
    if (s == G4_OK) {
        s = take_all(&child, f, info, err);
        g4_child_stop(&child);
    }
    g4_map_close(&map);
    g4_libav_close(av);
    return s;
}

g4_status g4_video_read(const char *path, const g4_video_sampling *how, g4_video_sink *sink,
                        void *ctx, g4_video_info *info, g4_err *err)
{
    frames f = { path, how, sink, ctx, 0, 0 };
    memset(info, 0, sizeof *info);
    if (how->fps < 0 || !isfinite(how->fps) || how->frames < 0 || how->frames > G4_VIDEO_MOST)
        return g4_fail(err, G4_EINPUT, "%s: %g frames a second or %lld in all, at most %d", path,
                       how->fps, (long long)how->frames, (int)G4_VIDEO_MOST);
    if (g4_path_kind(path) == 2) return read_folder(&f, info, err);
    return read_file(&f, info, err);
}
