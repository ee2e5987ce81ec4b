/* SPDX-License-Identifier: Apache-2.0
 * Failing file operations for a whole program, its libraries included (LD_PRELOAD):
 * stands in front of libc's functions, counts the calls on files of the test, and makes
 * the one fail that the page names (io_fault.h).  What libc calls inside itself (stdio's
 * own read and write) is not seen. */
#include "harness/check/preload/io_fault.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static io_page *page;

/* The next function of that name; one macro, as the type must follow the name. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void attach(void)
{
    const char *name = getenv(IO_FAULT_ENV);
    int fd = name ? REAL(open)(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *p = REAL(mmap)(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REAL(close)(fd);
    if (p == MAP_FAILED) return;
    page = p;
    if (!page->main) page->main = getpid();
}

static int below(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return n > 0 && strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* Relative names are the test's: programs know system files by absolute ones. */
static int counts(const char *path)
{
    return page && path &&
           (path[0] != '/' || below(path, page->folder) || below(path, page->root));
}

/* Name of an open file; 0 if it is none that counts. */
static int fd_path(int fd, char path[IO_PATH])
{
    char link[64];
    int e = errno;
    if (!page || fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, IO_PATH - 1);
    errno = e;
    if (n <= 0 || path[0] != '/') return 0;
    path[n] = 0;
    return counts(path);
}

static void die(void)
{
    kill(page->main, SIGKILL);
    kill(getpid(), SIGKILL);
}

/* The call's fate: 0 go on, 1 fail with errno, IO_SHORT, IO_KILL (for writes only). */
static int fate(io_kind kind, const char *path)
{
    long n = __atomic_add_fetch(&page->count, 1, __ATOMIC_RELAXED);
    if (n <= IO_TRACE) page->kind[n - 1] = kind;
    if (!page->at || (page->persistent ? n < page->at : n != page->at)) return 0;
    if (page->error == IO_SHORT && kind != IO_READ && kind != IO_WRITE) return 0;
    if (__atomic_fetch_add(&page->fired, 1, __ATOMIC_RELAXED) == 0)
        snprintf(page->path, sizeof page->path, "%s", path);
    if (page->error == IO_KILL && kind != IO_WRITE) die();
    if (page->error < 0) return page->error;
    errno = page->error;
    return 1;
}

static int path_fate(io_kind kind, const char *path)
{
    return counts(path) ? fate(kind, path) : 0;
}

static int fd_fate(io_kind kind, int fd)
{
    char path[IO_PATH];
    return fd_path(fd, path) ? fate(kind, path) : 0;
}

static size_t moved(size_t n, int f)
{
    return f < 0 && n > 1 ? n / 2 : n;
}

static mode_t mode_of(int flags, va_list ap)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

/* Each function has a twin for large files, which is the same one on 64-bit systems. */
#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list ap; \
        va_start(ap, flags); \
        mode_t mode = mode_of(flags, ap); \
        va_end(ap); \
        if (path_fate(flags & O_CREAT ? IO_CREATE : IO_OPEN, path) > 0) return -1; \
        return REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int dir, const char *path, int flags, ...) \
    { \
        va_list ap; \
        va_start(ap, flags); \
        mode_t mode = mode_of(flags, ap); \
        va_end(ap); \
        if (path_fate(flags & O_CREAT ? IO_CREATE : IO_OPEN, path) > 0) return -1; \
        return REAL(name)(dir, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) \
    { \
        if (path_fate(mode[0] == 'r' ? IO_OPEN : IO_CREATE, path) > 0) return NULL; \
        return REAL(name)(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

DIR *opendir(const char *path)
{
    return path_fate(IO_OPEN, path) > 0 ? NULL : REAL(opendir)(path);
}

int mkdir(const char *path, mode_t mode)
{
    return path_fate(IO_CREATE, path) > 0 ? -1 : REAL(mkdir)(path, mode);
}

char *mkdtemp(char *name)
{
    return path_fate(IO_CREATE, name) > 0 ? NULL : REAL(mkdtemp)(name);
}

int mkstemps(char *name, int suffix)
{
    return path_fate(IO_CREATE, name) > 0 ? -1 : REAL(mkstemps)(name, suffix);
}

#define STAT(name, type, st) \
    int name(const char *path, struct st *out) \
    { \
        return path_fate(type, path) > 0 ? -1 : REAL(name)(path, out); \
    }
STAT(stat, IO_STAT, stat)
STAT(stat64, IO_STAT, stat64)
STAT(lstat, IO_STAT, stat)
STAT(lstat64, IO_STAT, stat64)

#define FSTAT(name, st) \
    int name(int fd, struct st *out) \
    { \
        return fd_fate(IO_STAT, fd) > 0 ? -1 : REAL(name)(fd, out); \
    }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

#define MMAP(name, offset) \
    void *name(void *addr, size_t n, int prot, int flags, int fd, offset at) \
    { \
        if (fd_fate(IO_MAP, fd) > 0) return MAP_FAILED; \
        return REAL(name)(addr, n, prot, flags, fd, at); \
    }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

ssize_t read(int fd, void *buf, size_t n)
{
    int f = fd_fate(IO_READ, fd);
    return f > 0 ? -1 : REAL(read)(fd, buf, moved(n, f));
}

#define PREAD(name, offset) \
    ssize_t name(int fd, void *buf, size_t n, offset at) \
    { \
        int f = fd_fate(IO_READ, fd); \
        return f > 0 ? -1 : REAL(name)(fd, buf, moved(n, f), at); \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

ssize_t write(int fd, const void *buf, size_t n)
{
    int f = fd_fate(IO_WRITE, fd);
    ssize_t done = f > 0 ? -1 : REAL(write)(fd, buf, moved(n, f));
    if (f == IO_KILL) die();
    return done;
}

#define PWRITE(name, offset) \
    ssize_t name(int fd, const void *buf, size_t n, offset at) \
    { \
        int f = fd_fate(IO_WRITE, fd); \
        ssize_t done = f > 0 ? -1 : REAL(name)(fd, buf, moved(n, f), at); \
        if (f == IO_KILL) die(); \
        return done; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define FTRUNCATE(name, offset) \
    int name(int fd, offset size) \
    { \
        return fd_fate(IO_SYNC, fd) > 0 ? -1 : REAL(name)(fd, size); \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

int fsync(int fd)
{
    return fd_fate(IO_SYNC, fd) > 0 ? -1 : REAL(fsync)(fd);
}

int rename(const char *from, const char *to)
{
    return path_fate(IO_RENAME, to) > 0 ? -1 : REAL(rename)(from, to);
}

/* Linux closes the descriptor even when it reports an error. */
int close(int fd)
{
    int f = fd_fate(IO_CLOSE, fd), e = errno, r = REAL(close)(fd);
    if (f <= 0) return r;
    errno = e;
    return -1;
}
