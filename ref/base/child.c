/* SPDX-License-Identifier: Apache-2.0
 * The parent's side and the pipe; the child's confinement is child_jail.c. */
#include "ref/base/child.h"

#include "ref/base/child_jail.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A child that is slower than this is stuck.  Inflating and decoding run at
 * 100 MB/s and more; a tenth of that leaves room for slow disks and sanitizers. */
enum { SECONDS = 15, BYTES_A_SECOND = 10 * 1000 * 1000 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t g4_child_deadline(const g4_child *c, uint64_t bytes)
{
    return now_ms() + c->seconds * 1000 + (int64_t)(bytes / (BYTES_A_SECOND / 1000));
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
        return g4_fail(err, G4_EINPUT, "%s: %s crashed on it (signal %d)", c->path, c->library,
                       WTERMSIG(how));
    return g4_fail(err, G4_EINPUT, "%s: the process reading it ended unexpectedly", c->path);
}

g4_status g4_child_nonsense(const g4_child *c, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: the process reading it answers nonsense", c->path);
}

void g4_child_stop(g4_child *c)
{
    if (c->pid <= 0) return;
    kill(c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {}
    close(c->fd);
    c->pid = 0;
}

g4_status g4_child_take(g4_child *c, void *out, size_t size, int64_t deadline, g4_err *err)
{
    unsigned char *p = out;
    if (c->pid <= 0)
        return g4_fail(err, G4_EINPUT, "%s: the process reading it has ended", c->path);
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

g4_status g4_child_head(g4_child *c, uint32_t most, uint32_t *bytes, int64_t deadline,
                        g4_err *err)
{
    g4_frame f;
    char msg[sizeof err->msg];
    G4_TRY(g4_child_take(c, &f, sizeof f, deadline, err));
    if (f.status == G4_OK && f.bytes <= most) {
        *bytes = f.bytes;
        return G4_OK;
    }
    if (f.status < G4_OK || f.status > G4_ENOMEM || f.bytes >= sizeof msg) {
        g4_child_stop(c);
        return g4_child_nonsense(c, err);
    }
    G4_TRY(g4_child_take(c, msg, f.bytes, deadline, err));
    msg[f.bytes] = 0;
    return g4_fail(err, (g4_status)f.status, "%s", msg);
}

g4_status g4_child_frames(g4_child *c, void *out, uint64_t size, int64_t deadline, g4_err *err)
{
    unsigned char *p = out;
    while (size > 0) {
        uint32_t n = 0, most = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
        G4_TRY(g4_child_head(c, most, &n, deadline, err));
        G4_TRY(g4_child_take(c, p, n, deadline, err));
        p += n;
        size -= n;
    }
    return G4_OK;
}

g4_status g4_child_ask(g4_child *c, const void *data, size_t size, g4_err *err)
{
    if (c->pid <= 0)
        return g4_fail(err, G4_EINPUT, "%s: the process reading it has ended", c->path);
    if (send(c->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size) return G4_OK;
    return child_died(c, err);
}

g4_status g4_child_fork(g4_child *c, const char *path, const char *library, g4_child_body *body,
                        void *ctx, g4_err *err)
{
    int fds[2];
    *c = (g4_child){ 0, -1, SECONDS, path, library };
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
        g4_child_limit(parent);
        body(fds[1], ctx);
        _exit(0);   /* no destructors: they belong to the parent */
    }
    close(fds[1]);
    c->fd = fds[0];
    return G4_OK;
}
