/* SPDX-License-Identifier: Apache-2.0
 * The parent's side and the pipe; what runs in the child is child_serve.c. */
#include "golden/child.h"

#include "golden/child_serve.h"
#include "golden/h5.h"
#include "ref/base/bytes.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A child that is slower than this is stuck.  Inflating runs at 100 MB/s and
 * more; a tenth of that leaves room for slow disks and sanitizers. */
enum { SECONDS = 15, BYTES_A_SECOND = 10 * 1000 * 1000 };
enum { MAX_LISTING = 64 << 20 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Ends the child and says what became of it. */
static g4_status child_died(g4_child *c, g4_err *err)
{
    int how = 0;
    pid_t got;
    do got = waitpid(c->pid, &how, 0);
    while (got < 0 && errno == EINTR);
    close(c->fd);
    c->pid = 0;
    if (got > 0 && WIFSIGNALED(how))
        return g4_fail(err, G4_EINPUT, "%s: the HDF5 library crashed on it (signal %d)", c->path,
                       WTERMSIG(how));
    return g4_fail(err, G4_EINPUT, "%s: the process reading it ended unexpectedly", c->path);
}

void g4_child_stop(g4_child *c)
{
    if (c->pid <= 0) return;
    kill(c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {}
    close(c->fd);
    c->pid = 0;
}

/* Exactly size bytes before the deadline. */
static g4_status take(g4_child *c, void *out, size_t size, int64_t deadline, g4_err *err)
{
    unsigned char *p = out;
    while (size > 0) {
        struct pollfd pfd = {c->fd, POLLIN, 0};
        int64_t left = deadline - now_ms();
        int ready = left <= 0 ? 0 : poll(&pfd, 1, left > 60000 ? 60000 : (int)left);
        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0 && left > 60000) continue;
        if (ready == 0) {
            g4_child_stop(c);
            return g4_fail(err, G4_EINPUT, "%s: reading it takes too long", c->path);
        }
        ssize_t n = ready < 0 ? -1 : recv(c->fd, p, size, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return child_died(c, err);
        p += n;
        size -= (size_t)n;
    }
    return G4_OK;
}

/* A frame's head; an error frame is turned into the error it carries. */
static g4_status take_head(g4_child *c, uint32_t most, uint32_t *bytes, int64_t deadline,
                           g4_err *err)
{
    g4_frame f;
    char msg[sizeof err->msg];
    G4_TRY(take(c, &f, sizeof f, deadline, err));
    if (f.status == G4_OK && f.bytes <= most) {
        *bytes = f.bytes;
        return G4_OK;
    }
    if (f.status < G4_OK || f.status > G4_ENOMEM || f.bytes >= sizeof msg) {
        g4_child_stop(c);
        return g4_fail(err, G4_EINPUT, "%s: the process reading it answers nonsense", c->path);
    }
    G4_TRY(take(c, msg, f.bytes, deadline, err));
    msg[f.bytes] = 0;
    return g4_fail(err, (g4_status)f.status, "%s", msg);
}

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
    if (bad)
        return g4_fail(err, G4_EINPUT, "%s: the process reading it answers nonsense", c->path);
    return G4_OK;
}

static g4_status take_listing(g4_child *c, g4_listing *list, g4_arena *arena, g4_err *err)
{
    uint32_t size = 0;
    int64_t deadline = now_ms() + c->seconds * 1000;
    G4_TRY(take_head(c, MAX_LISTING, &size, deadline, err));
    uint8_t *blob = malloc(size + (size_t)1);
    if (!blob) return g4_nomem(err, c->path);
    g4_status s = take(c, blob, size, deadline, err);
    if (s == G4_OK) s = parse_listing(c, blob, size, list, arena, err);
    free(blob);
    return s;
}

g4_status g4_child_start(g4_child *c, const char *path, g4_listing *list, g4_arena *arena,
                         g4_err *err)
{
    int fds[2];
    *c = (g4_child){0, -1, SECONDS, path};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return g4_fail(err, G4_EIO, "%s: cannot make a socket pair: %s", path, strerror(errno));
    pid_t parent = getpid();
    c->pid = fork();
    if (c->pid < 0) {
        int e = errno;
        close(fds[0]);
        close(fds[1]);
        c->pid = 0;
        return g4_fail(err, G4_EIO, "%s: cannot start a process to read it: %s", path,
                       strerror(e));
    }
    if (c->pid == 0) {
        close(fds[0]);
        g4_child_serve(fds[1], path, parent);   /* does not return */
    }
    close(fds[1]);
    c->fd = fds[0];
    g4_status s = take_listing(c, list, arena, err);
    if (s != G4_OK) g4_child_stop(c);
    return s;
}

g4_status g4_child_read(g4_child *c, uint64_t index, void *out, size_t bytes, g4_err *err)
{
    unsigned char *p = out;
    int64_t deadline = now_ms() + c->seconds * 1000 + (int64_t)(bytes / (BYTES_A_SECOND / 1000));
    if (c->pid <= 0)
        return g4_fail(err, G4_EINPUT, "%s: the process reading it has ended", c->path);
    if (send(c->fd, &index, sizeof index, MSG_NOSIGNAL) != sizeof index) return child_died(c, err);
    while (bytes > 0) {
        uint32_t size = 0, most = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
        G4_TRY(take_head(c, most, &size, deadline, err));
        G4_TRY(take(c, p, size, deadline, err));
        p += size;
        bytes -= size;
    }
    return G4_OK;
}
