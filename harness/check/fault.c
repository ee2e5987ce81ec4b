/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOTS = 1 << 17 };   /* live allocations that can be told apart */

typedef struct live {
    void *p;
    size_t size;
    long index;
    void *caller;
} live;

/* One window at a time, in one process; worker threads allocate, too: a lock. */
static struct {
    pthread_mutex_t lock;
    int open, persistent, io_persistent, io_error, fired;
    long fail_at, count, io_fail_at, io_count, lost;
    char what[24];
    live table[SLOTS];   /* open addressing by address; p NULL: free */
    size_t used;
} w = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* What the linker makes of --wrap=<name>. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
int __real_posix_memalign(void **p, size_t align, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void __real_free(void *p);
int __real_open(const char *path, int flags, ...);
int __real_openat(int dir, const char *path, int flags, ...);
int __real_fstat(int fd, struct stat *st);
int __real_mkstemps(char *name, int suffix);
ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __real_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __real_write(int fd, const void *buf, size_t n);
int __real_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __real_close(int fd);
void *__real_mmap(void *addr, size_t n, int prot, int flags, int fd, off_t at);
FILE *__real_fopen(const char *path, const char *mode);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void __wrap_free(void *p);
int __wrap_open(const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_mkstemps(char *name, int suffix);
ssize_t __wrap_read(int fd, void *buf, size_t n);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_close(int fd);
void *__wrap_mmap(void *addr, size_t n, int prot, int flags, int fd, off_t at);
FILE *__wrap_fopen(const char *path, const char *mode);

static size_t slot_of(const void *p)
{
    return (size_t)(((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u >> 47) & (SLOTS - 1);
}

/* The slot of p, or the free one where it would go. */
static size_t probe(const void *p)
{
    size_t i = slot_of(p);
    while (w.table[i].p && w.table[i].p != p) i = (i + 1) & (SLOTS - 1);
    return i;
}

static void track(void *p, size_t size, long index, void *caller)
{
    if (w.used >= SLOTS / 2) {   /* said by fault_live: a leak may hide here */
        w.lost++;
        return;
    }
    live *e = &w.table[probe(p)];
    if (!e->p) w.used++;
    *e = (live){ p, size, index, caller };
}

/* Takes p out of the table (moving later ones of its run up); 1 if it was there. */
static int untrack(const void *p)
{
    size_t hole = probe(p);
    if (!w.table[hole].p) return 0;
    for (size_t i = (hole + 1) & (SLOTS - 1); w.table[i].p; i = (i + 1) & (SLOTS - 1)) {
        size_t home = slot_of(w.table[i].p);
        if (((i - home) & (SLOTS - 1)) >= ((i - hole) & (SLOTS - 1))) {
            w.table[hole] = w.table[i];
            hole = i;
        }
    }
    w.table[hole].p = NULL;
    w.used--;
    return 1;
}

static void note(const char *name)
{
    if (w.fired++ == 0) snprintf(w.what, sizeof w.what, "%s", name);
}

/* Counts one call of the window; 1: this one must fail. */
static int alloc_hit(const char *name)
{
    w.count++;
    int hit = w.fail_at && (w.count == w.fail_at || (w.persistent && w.count > w.fail_at));
    if (hit) note(name);
    return hit;
}

static void *alloc_any(const char *name, int zero, size_t n, size_t size, size_t align,
                       void *caller)
{
    void *p = NULL;
    pthread_mutex_lock(&w.lock);
    if (w.open && alloc_hit(name)) {
        errno = ENOMEM;
    } else {
        p = align ? __real_aligned_alloc(align, size)
            : zero ? __real_calloc(n, size) : __real_malloc(size);
        if (p && w.open) track(p, zero ? n * size : size, w.count, caller);
    }
    pthread_mutex_unlock(&w.lock);
    return p;
}

void *__wrap_malloc(size_t size)
{
    return alloc_any("malloc", 0, 1, size, 0, __builtin_return_address(0));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return alloc_any("calloc", 1, n, size, 0, __builtin_return_address(0));
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return alloc_any("aligned_alloc", 0, 1, size, align, __builtin_return_address(0));
}

int __wrap_posix_memalign(void **out, size_t align, size_t size)
{
    pthread_mutex_lock(&w.lock);
    int e = w.open && alloc_hit("posix_memalign") ? ENOMEM
                                                  : __real_posix_memalign(out, align, size);
    if (e == 0 && w.open) track(*out, size, w.count, __builtin_return_address(0));
    pthread_mutex_unlock(&w.lock);
    return e;
}

/* A block from before the window (or from a library) stays untracked. */
void *__wrap_realloc(void *old, size_t size)
{
    void *p = NULL;
    pthread_mutex_lock(&w.lock);
    if (w.open && alloc_hit("realloc")) {
        errno = ENOMEM;
    } else {
        int known = old == NULL || untrack(old);
        p = __real_realloc(old, size);
        if (p && known && w.open) track(p, size, w.count, __builtin_return_address(0));
        if (!p && known && old && size)   /* really out of memory: old lives on */
            track(old, 0, w.count, __builtin_return_address(0));
    }
    pthread_mutex_unlock(&w.lock);
    return p;
}

char *__wrap_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = alloc_any("strndup", 0, 1, len + 1, 0, __builtin_return_address(0));
    if (!p) return NULL;
    memcpy(p, s, len);
    p[len] = 0;
    return p;
}

char *__wrap_strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *p = alloc_any("strdup", 0, 1, size, 0, __builtin_return_address(0));
    return p ? memcpy(p, s, size) : NULL;
}

void __wrap_free(void *p)
{
    if (!p) return;
    pthread_mutex_lock(&w.lock);
    if (w.used) untrack(p);   /* also after the window: what it left is being freed */
    pthread_mutex_unlock(&w.lock);
    __real_free(p);
}

/* 1: this file operation must fail with errno (or be short: *half set). */
static int io_hit(const char *name, int *half)
{
    *half = 0;
    if (!w.open) return 0;
    pthread_mutex_lock(&w.lock);
    w.io_count++;
    int hit = w.io_fail_at &&
              (w.io_count == w.io_fail_at || (w.io_persistent && w.io_count > w.io_fail_at));
    if (hit) note(name);
    if (hit && w.io_error == FAULT_SHORT) {
        *half = 1;
        hit = 0;
    }
    int error = w.io_error;
    pthread_mutex_unlock(&w.lock);
    if (hit) errno = error;
    return hit;
}

static size_t shorter(size_t n, int half)
{
    return half && n > 1 ? n / 2 : n;
}

static mode_t mode_of(int flags, va_list ap)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

int __wrap_open(const char *path, int flags, ...)
{
    int half;
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    return io_hit("open", &half) ? -1 : __real_open(path, flags, mode);
}

int __wrap_openat(int dir, const char *path, int flags, ...)
{
    int half;
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    return io_hit("openat", &half) ? -1 : __real_openat(dir, path, flags, mode);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    int half;
    return io_hit("fopen", &half) ? NULL : __real_fopen(path, mode);
}

int __wrap_fstat(int fd, struct stat *st)
{
    int half;
    return io_hit("fstat", &half) ? -1 : __real_fstat(fd, st);
}

int __wrap_mkstemps(char *name, int suffix)
{
    int half;
    return io_hit("mkstemps", &half) ? -1 : __real_mkstemps(name, suffix);
}

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
    int half;
    return io_hit("read", &half) ? -1 : __real_read(fd, buf, shorter(n, half));
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at)
{
    int half;
    return io_hit("pread", &half) ? -1 : __real_pread(fd, buf, shorter(n, half), at);
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
    int half;
    return io_hit("write", &half) ? -1 : __real_write(fd, buf, shorter(n, half));
}

int __wrap_fsync(int fd)
{
    int half;
    return io_hit("fsync", &half) ? -1 : __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    int half;
    return io_hit("rename", &half) ? -1 : __real_rename(from, to);
}

/* Linux closes the descriptor even when it reports an error. */
int __wrap_close(int fd)
{
    int half, fail = io_hit("close", &half), e = errno;
    int r = __real_close(fd);
    if (!fail) return r;
    errno = e;
    return -1;
}

void *__wrap_mmap(void *addr, size_t n, int prot, int flags, int fd, off_t at)
{
    int half;
    if (fd >= 0 && io_hit("mmap", &half)) return MAP_FAILED;
    return __real_mmap(addr, n, prot, flags, fd, at);
}

static void arm(long n, int persistent, long io_n, int io_persistent, int io_error)
{
    pthread_mutex_lock(&w.lock);
    if (w.used) memset(w.table, 0, sizeof w.table);   /* 4 MB: only when not clean */
    w.used = 0;
    w.lost = w.count = w.io_count = 0;
    w.fired = 0;
    w.what[0] = 0;
    w.fail_at = n;
    w.persistent = persistent;
    w.io_fail_at = io_n;
    w.io_persistent = io_persistent;
    w.io_error = io_error;
    w.open = 1;
    pthread_mutex_unlock(&w.lock);
}

void fault_begin(void)
{
    arm(0, 0, 0, 0, 0);
}

void fault_alloc_arm(long n, int persistent)
{
    arm(n, persistent, 0, 0, 0);
}

void fault_io_arm(long n, int persistent, int error)
{
    arm(0, 0, n, persistent, error);
}

void fault_end(void)
{
    pthread_mutex_lock(&w.lock);
    w.open = 0;
    pthread_mutex_unlock(&w.lock);
}

long fault_count(void)
{
    return w.count;
}

long fault_io_count(void)
{
    return w.io_count;
}

int fault_fired(void)
{
    return w.fired;
}

const char *fault_what(void)
{
    return w.what;
}

long fault_live(void)
{
    if (w.lost) fprintf(stderr, "fault: %ld allocations were not tracked\n", w.lost);
    for (size_t i = 0; w.used && i < SLOTS; i++)
        if (w.table[i].p)
            fprintf(stderr, "fault: allocation %ld of the window, %zu bytes, from %p lives\n",
                    w.table[i].index, w.table[i].size, w.table[i].caller);
    return (long)w.used + w.lost;
}
