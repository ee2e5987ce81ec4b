/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/journal.h"

#include "ref/base/map.h"
#include "ref/base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { MAX_JOURNAL = 1 << 30, DIGITS = 16 };

static const char opening[] = "{\"sum\":\"";   /* then DIGITS digits, then: */
static const char behind[] = "\",";

enum { LEAD = sizeof opening - 1 + DIGITS + sizeof behind - 1 };

static void line_sum(const char *rest, size_t n, char hex[G4_SHA256_HEX])
{
    g4_sha256 sha;
    g4_sha256_begin(&sha);
    g4_sha256_add(&sha, rest, n);
    g4_sha256_end(&sha, hex);
}

/* ---- writing ---- */

g4_status g4_journal_add(const g4_journal *j, json_t *line, g4_err *err)
{
    char hex[G4_SHA256_HEX];
    char *rest = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    size_t n = rest ? strlen(rest) - 1 : 0, at = 0, all = LEAD + n + 1;   /* less its { */
    char *text = rest ? malloc(all + 1) : NULL;
    g4_status s = text ? G4_OK : g4_nomem(err, j->path);
    json_decref(line);
    if (s == G4_OK) {
        line_sum(rest + 1, n, hex);
        snprintf(text, all + 1, "%s%.*s%s%s\n", opening, (int)DIGITS, hex, behind, rest + 1);
    }
    while (s == G4_OK && at < all) {
        ssize_t w = write(j->fd, text + at, all - at);
        if (w > 0) at += (size_t)w;
        else if (w < 0 && errno != EINTR)
            s = g4_fail(err, G4_EIO, "%s: cannot write: %s", j->path, strerror(errno));
    }
    if (s == G4_OK && fsync(j->fd) != 0)
        s = g4_fail(err, G4_EIO, "%s: cannot write: %s", j->path, strerror(errno));
    free(rest);
    free(text);
    return s;
}

void g4_journal_close(g4_journal *j)
{
    if (j->fd >= 0) close(j->fd);
    free(j->path);
    json_decref(j->header);
    *j = (g4_journal)G4_JOURNAL_NONE;
}

/* ---- reading ---- */

static g4_status bad(const char *path, size_t line, const char *what, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: line %zu: %s", path, line, what);
}

/* One line, without its end. */
static g4_status parse(json_t **v, const char *path, size_t number, const char *line, size_t n,
                       g4_err *err)
{
    char hex[G4_SHA256_HEX];
    *v = NULL;
    if (n <= LEAD || memcmp(line, opening, sizeof opening - 1) != 0)
        return bad(path, number, "does not begin as a journal's lines do", err);
    line_sum(line + LEAD, n - LEAD, hex);
    if (memcmp(line + sizeof opening - 1, hex, DIGITS) != 0 ||
        memcmp(line + LEAD - (sizeof behind - 1), behind, sizeof behind - 1) != 0)
        return bad(path, number, "does not agree with its checksum", err);
    *v = json_loadb(line, n, 0, NULL);
    return *v ? G4_OK : bad(path, number, "not JSON", err);
}

/* The setting in which two headers differ; NULL: in none that counts. */
static const char *differs(const json_t *a, const json_t *b, const char *const *own_keys)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)a, key, v) {
        const json_t *w = json_object_get(b, key);
        int counts = strcmp(key, "sum") != 0;
        for (int i = 0; own_keys[i]; i++) counts &= strcmp(key, own_keys[i]) != 0;
        if (!counts) continue;
        const char *inner = json_is_object(v) && json_is_object(w) ? differs(v, w, own_keys)
                            : json_equal(v, w) ? NULL : key;
        if (inner) return inner;
    }
    return NULL;
}

typedef struct reading {
    const char *path;
    const json_t *own;           /* settings that it must have */
    const g4_journal_kind *kind;
    void *ctx;
    json_t *header;              /* the file's */
    size_t whole;                /* bytes of whole lines */
} reading;

static g4_status take_header(reading *r, json_t *v, g4_err *err)
{
    r->header = v;
    if (!r->kind->is_header(v)) return bad(r->path, 1, r->kind->no_header, err);
    const char *key = differs(r->own, v, r->kind->own_keys);
    if (key) return g4_fail(err, G4_EINPUT, "%s: was made with another %s", r->path, key);
    return G4_OK;
}

static g4_status read_lines(reading *r, const char *data, size_t size, g4_err *err)
{
    const char *end;
    size_t line = 0, at = 0;
    for (; (end = memchr(data + at, '\n', size - at)) != NULL; at = (size_t)(end - data) + 1) {
        json_t *v;
        G4_TRY(parse(&v, r->path, ++line, data + at, (size_t)(end - data) - at, err));
        if (line == 1) {
            G4_TRY(take_header(r, v, err));
            continue;
        }
        int ok = r->kind->take(r->ctx, v);
        json_decref(v);
        if (!ok) return bad(r->path, line, r->kind->no_line, err);
    }
    r->whole = at;
    return G4_OK;
}

static g4_status go_on(g4_journal *j, const json_t *header, const g4_journal_kind *kind, void *ctx,
                       g4_err *err)
{
    uint8_t *data;
    size_t size;
    reading r = { .path = j->path, .own = header, .kind = kind, .ctx = ctx };
    G4_TRY(g4_file_read(j->path, MAX_JOURNAL, &data, &size, err));
    g4_status s = read_lines(&r, (char *)data, size, err);
    free(data);
    j->header = r.header;
    if (s == G4_OK && r.whole < size && ftruncate(j->fd, (off_t)r.whole) != 0)
        s = g4_fail(err, G4_EIO, "%s: cannot write: %s", j->path, strerror(errno));
    return s;
}

/* The folder of a new file: else a power failure could take its name again. */
static g4_status sync_folder(const char *path, g4_err *err)
{
    size_t n = strlen(path) + 2;
    char *dir = malloc(n);
    if (!dir) return g4_nomem(err, path);
    strcpy(dir, path);
    char *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = 0;
    else strcpy(dir, ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0;
    if (fd >= 0) close(fd);
    g4_status s = failed ? g4_fail(err, G4_EIO, "%s: cannot write: %s", dir, strerror(errno))
                         : G4_OK;
    free(dir);
    return s;
}

g4_status g4_journal_open(g4_journal *j, const char *path, const json_t *header, int resume,
                          const g4_journal_kind *kind, void *ctx, g4_err *err)
{
    int there = g4_path_kind(path) != 0;
    *j = (g4_journal)G4_JOURNAL_NONE;
    if (there && !resume)
        return g4_fail(err, G4_EINPUT, "%s: is there already; --resume goes on with it", path);
    if (!(j->path = malloc(strlen(path) + 1))) return g4_nomem(err, path);
    strcpy(j->path, path);
    j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->fd < 0) return g4_fail(err, G4_EIO, "%s: cannot open: %s", path, strerror(errno));
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return g4_fail(err, G4_EINPUT, "%s: another run is writing it", path);
    if (there) G4_TRY(go_on(j, header, kind, ctx, err));
    if (j->header) return G4_OK;
    j->header = json_deep_copy(header);
    G4_TRY(g4_journal_add(j, json_deep_copy(header), err));
    return sync_folder(path, err);
}

g4_status g4_journal_header(json_t **header, const char *path, const g4_journal_kind *kind,
                            g4_err *err)
{
    uint8_t *data;
    size_t size;
    *header = NULL;
    G4_TRY(g4_file_read(path, MAX_JOURNAL, &data, &size, err));
    const char *end = size ? memchr(data, '\n', size) : NULL;
    g4_status s = end ? parse(header, path, 1, (char *)data, (size_t)(end - (char *)data), err)
                      : bad(path, 1, "is not whole", err);
    free(data);
    if (s == G4_OK && !kind->is_header(*header)) s = bad(path, 1, kind->no_header, err);
    return s;
}

g4_status g4_journal_take(const char *path, const json_t *header, const g4_journal_kind *kind,
                          void *ctx, g4_err *err)
{
    uint8_t *data;
    size_t size;
    reading r = { .path = path, .own = header, .kind = kind, .ctx = ctx };
    G4_TRY(g4_file_read(path, MAX_JOURNAL, &data, &size, err));
    g4_status s = read_lines(&r, (char *)data, size, err);
    free(data);
    json_decref(r.header);
    return s;
}
