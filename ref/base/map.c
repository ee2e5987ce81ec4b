/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OUT_BUFFER = 1 << 20 };

static g4_status regular_size(int fd, const char *path, size_t *size, g4_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return g4_fail(err, G4_EIO, "%s: cannot stat: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return g4_fail(err, G4_EINPUT, "%s: not a regular file", path);
    *size = (size_t)st.st_size;
    return G4_OK;
}

/* Opens a regular file and says its size; *fd is closed again on failure. */
static g4_status open_regular(const char *path, int *fd, size_t *size, g4_err *err)
{
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0) return g4_fail(err, G4_EIO, "%s: cannot open: %s", path, strerror(errno));
    g4_status s = regular_size(*fd, path, size, err);
    if (s != G4_OK) {
        close(*fd);
        *fd = -1;
    }
    return s;
}

static g4_status map_size(g4_map *m, int fd, const char *path, size_t size, g4_err *err)
{
    *m = (g4_map){ NULL, 0 };
    if (size == 0) return G4_OK;
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return g4_fail(err, G4_EIO, "%s: cannot map: %s", path, strerror(errno));
    *m = (g4_map){ p, size };
    return G4_OK;
}

g4_status g4_map_open(g4_map *m, const char *path, g4_err *err)
{
    int fd;
    size_t size = 0;
    *m = (g4_map){ NULL, 0 };
    G4_TRY(open_regular(path, &fd, &size, err));
    g4_status s = map_size(m, fd, path, size, err);
    close(fd);
    return s;
}

g4_status g4_map_fd(g4_map *m, int fd, const char *path, g4_err *err)
{
    size_t size = 0;
    *m = (g4_map){ NULL, 0 };
    G4_TRY(regular_size(fd, path, &size, err));
    return map_size(m, fd, path, size, err);
}

void g4_map_close(g4_map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    m->data = NULL;
    m->size = 0;
}

void g4_map_prefetch(const void *data, size_t bytes)
{
    /* The kernel reads 128 KiB ahead by itself; asking is a system call for each sample,
     * which a small model's matrices do not repay. */
    enum { SAMPLES = 8, OWN = 1 << 17, PER_SAMPLE = 1 << 20 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)data & ~(uintptr_t)(page - 1);
    size_t span = bytes + ((uintptr_t)data - first);
    size_t samples = span / PER_SAMPLE < SAMPLES ? span / PER_SAMPLE + 1 : SAMPLES;
    if (span <= OWN) return;
    for (size_t i = 0; i < samples; i++) {
        unsigned char resident = 1;
        uintptr_t at = first + span / samples * i;
        at &= ~(uintptr_t)(page - 1);
        if (mincore((void *)at, 1, &resident) != 0) return;
        if (resident & 1) continue;
        (void)madvise((void *)first, span, MADV_WILLNEED);
        return;
    }
}

void g4_map_release(const void *data, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)data + page - 1) & ~(uintptr_t)(page - 1);
    uintptr_t end = ((uintptr_t)data + bytes) & ~(uintptr_t)(page - 1);
    if (end > first) (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

g4_status g4_file_read(const char *path, size_t max_bytes, uint8_t **data, size_t *size,
                       g4_err *err)
{
    int fd;
    size_t want = 0, got = 0;
    *data = NULL;
    *size = 0;
    G4_TRY(open_regular(path, &fd, &want, err));
    if (want > max_bytes) {
        close(fd);
        return g4_fail(err, G4_EINPUT, "%s: %zu bytes, more than the %zu allowed", path, want,
                       max_bytes);
    }
    uint8_t *buf = malloc(want + 1);
    if (!buf) {
        close(fd);
        return g4_nomem(err, path);
    }
    while (got < want) {
        ssize_t n = pread(fd, buf + got, want - got, (off_t)got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            int e = errno;
            close(fd);
            free(buf);
            if (n == 0) return g4_fail(err, G4_EIO, "%s: shrank while being read", path);
            return g4_fail(err, G4_EIO, "%s: cannot read: %s", path, strerror(e));
        }
        got += (size_t)n;
    }
    close(fd);
    buf[want] = 0;
    *data = buf;
    *size = want;
    return G4_OK;
}

int g4_path_kind(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) return errno == ENOENT || errno == ENOTDIR ? 0 : 4;
    return S_ISREG(st.st_mode) ? 1 : S_ISDIR(st.st_mode) ? 2 : 3;
}

g4_status g4_out_open(g4_out *o, const char *path, g4_err *err)
{
    static const char suffix[] = ".XXXXXX.tmp";
    size_t len = strlen(path);
    *o = (g4_out)G4_OUT_NONE;
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return g4_fail(err, G4_EINPUT, "%s: exists and is not a regular file", path);
    o->path = malloc(len + 1);
    o->temp = malloc(len + sizeof suffix);
    o->buf = malloc(OUT_BUFFER);
    if (!o->path || !o->temp || !o->buf) {
        free(o->path);
        free(o->temp);
        free(o->buf);
        *o = (g4_out)G4_OUT_NONE;
        return g4_nomem(err, path);
    }
    memcpy(o->path, path, len + 1);
    memcpy(o->temp, path, len);
    memcpy(o->temp + len, suffix, sizeof suffix);
    o->fd = mkstemps(o->temp, 4);
    if (o->fd < 0) {
        g4_fail(err, G4_EIO, "%s: cannot create: %s", path, strerror(errno));
        free(o->path);
        free(o->temp);
        free(o->buf);
        *o = (g4_out)G4_OUT_NONE;
        return G4_EIO;
    }
    mode_t mask = umask(0);
    umask(mask);
    (void)!fchmod(o->fd, 0666 & ~mask);   /* mkstemp makes 0600; a user expects the umask */
    return G4_OK;
}

static g4_status write_all(g4_out *o, const unsigned char *p, size_t size, g4_err *err)
{
    while (size > 0) {
        ssize_t n = write(o->fd, p, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return g4_fail(err, G4_EIO, "%s: cannot write: %s", o->path, strerror(errno));
        p += n;
        size -= (size_t)n;
    }
    return G4_OK;
}

static g4_status flush(g4_out *o, g4_err *err)
{
    size_t fill = o->fill;
    o->fill = 0;
    return write_all(o, o->buf, fill, err);
}

g4_status g4_out_write(g4_out *o, const void *data, size_t size, g4_err *err)
{
    o->written += size;
    if (size > OUT_BUFFER - o->fill) G4_TRY(flush(o, err));
    if (size > OUT_BUFFER) return write_all(o, data, size, err);
    memcpy(o->buf + o->fill, data, size);
    o->fill += size;
    return G4_OK;
}

g4_status g4_out_printf(g4_out *o, g4_err *err, const char *fmt, ...)
{
    char line[4096];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (len < 0 || (size_t)len >= sizeof line)
        return g4_fail(err, G4_EINPUT, "%s: a line of over %zu bytes", o->path, sizeof line);
    return g4_out_write(o, line, (size_t)len, err);
}

/* fsync of the folder makes the new name survive a power cut, too. */
static g4_status sync_folder(const char *path, g4_err *err)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 2;
    char *dir = malloc(len + 1);
    if (!dir) return g4_nomem(err, path);
    memcpy(dir, slash ? path : "./", len);
    dir[len] = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(dir);
    if (fd < 0 || fsync(fd) != 0) {
        int e = errno;
        if (fd >= 0) close(fd);
        if (e == EINVAL) return G4_OK;   /* a file system without folder sync */
        return g4_fail(err, G4_EIO, "%s: cannot sync its folder: %s", path, strerror(e));
    }
    close(fd);
    return G4_OK;
}

g4_status g4_out_finish(g4_out *o, g4_err *err)
{
    int fd = o->fd, bad;
    if (fd < 0) return G4_OK;
    G4_TRY(flush(o, err));
    do bad = fsync(fd) != 0;
    while (bad && errno == EINTR);
    if (bad) return g4_fail(err, G4_EIO, "%s: cannot sync: %s", o->path, strerror(errno));
    o->fd = -1;
    if (close(fd) != 0 && errno != EINTR)   /* Linux has closed it then, too */
        return g4_fail(err, G4_EIO, "%s: cannot close: %s", o->path, strerror(errno));
    return G4_OK;
}

g4_status g4_out_commit(g4_out *o, g4_err *err)
{
    G4_TRY(g4_out_finish(o, err));
    if (rename(o->temp, o->path) != 0)
        return g4_fail(err, G4_EIO, "%s: cannot rename into place: %s", o->path, strerror(errno));
    free(o->temp);
    o->temp = NULL;
    g4_status s = sync_folder(o->path, err);
    g4_out_abort(o);
    return s;
}

void g4_out_abort(g4_out *o)
{
    if (o->fd >= 0) close(o->fd);
    if (o->temp) unlink(o->temp);
    free(o->temp);
    free(o->path);
    free(o->buf);
    *o = (g4_out)G4_OUT_NONE;
}
