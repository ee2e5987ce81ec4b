/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/bench_child.h"

#include "harness/interrupt.h"
#include "harness/peak.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 1 << 20, NOT_STARTED = 127, PATIENCE_MS = 50 };

/* One pipe: everything of standard output, the end of standard error. */
typedef struct stream {
    char *text;
    size_t fill, size;
    int fd, keep_end;
} stream;

/* 0: no more for now.  A full stream that keeps its end loses the older half. */
static int take(stream *s)
{
    if (s->keep_end && s->fill + 1 == s->size) {
        size_t half = s->size / 2;
        memmove(s->text, s->text + half, s->fill - half);
        s->fill -= half;
    }
    ssize_t n = read(s->fd, s->text + s->fill, s->size - 1 - s->fill);
    if (n < 0 && errno == EINTR) return 1;
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) {
        close(s->fd);
        s->fd = -1;
        return 0;
    }
    s->fill += (size_t)n;
    return s->keep_end || s->fill + 1 < s->size;
}

static void run_in_child(char *const argv[], int out, int err, const sigset_t *before)
{
    int null = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
#if defined(__linux__)
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    if (null >= 0) dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    signal(SIGPIPE, SIG_DFL);
    g4_interrupt_release(before);
    execv(argv[0], argv);
    _exit(NOT_STARTED);
}

/* Has it ended?  Not reaped yet: its group keeps its number. */
static int ended(pid_t pid)
{
    siginfo_t info = { 0 };
    int got = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return (got == 0 && info.si_pid == pid) || (got != 0 && errno != EINTR);
}

/* Until it has ended, or must be. */
static g4_status watch(stream s[2], pid_t pid, const char *path, int64_t seconds, g4_err *err)
{
    double deadline = g4_now() + (double)seconds;
    while (!ended(pid)) {
        struct pollfd p[2] = { { s[0].fd, POLLIN, 0 }, { s[1].fd, POLLIN, 0 } };
        if (poll(p, 2, PATIENCE_MS) > 0)
            for (int i = 0; i < 2; i++)
                if (p[i].revents) take(&s[i]);
        if (s[0].fill + 1 == s[0].size)
            return g4_fail(err, G4_EINPUT, "%s: writes more than %d bytes", path, (int)MOST);
        if (g4_interrupt_pending()) return g4_fail(err, G4_EINPUT, "%s: interrupted", path);
        if (g4_now() > deadline)
            return g4_fail(err, G4_EINPUT, "%s: not done after %lld s", path, (long long)seconds);
    }
    for (int i = 0; i < 2; i++)
        while (s[i].fd >= 0 && take(&s[i])) { }
    return G4_OK;
}

static void last_line(char said[BENCH_SAID], stream *s)
{
    while (s->fill && strchr("\r\n ", s->text[s->fill - 1])) s->fill--;
    size_t from = s->fill;
    while (from && !strchr("\r\n", s->text[from - 1])) from--;
    size_t n = s->fill - from < BENCH_SAID ? s->fill - from : BENCH_SAID - 1;
    memcpy(said, s->text + from, n);
    said[n] = 0;
}

static g4_status reap(bench_child *c, pid_t pid, const char *path, g4_err *err)
{
    struct rusage used;
    int how;
    pid_t got;
    do got = wait4(pid, &how, 0, &used);
    while (got < 0 && errno == EINTR);
    if (got != pid)
        return g4_fail(err, G4_EIO, "%s: cannot wait for it: %s", path, strerror(errno));
    c->cpu_seconds = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                     1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    c->resident = (int64_t)used.ru_maxrss * 1024;
    if (WIFSIGNALED(how))
        return g4_fail(err, G4_EINPUT, "%s: was ended by signal %d", path, WTERMSIG(how));
    c->code = WEXITSTATUS(how);
    if (c->code == NOT_STARTED && !c->out[0] && !c->said[0])
        return g4_fail(err, G4_EINPUT, "%s: cannot be started", path);
    return G4_OK;
}

static g4_status start(bench_child *c, char *const argv[], int out[2], int said[2],
                       int64_t seconds, const sigset_t *before, g4_err *err)
{
    char tail[4096];
    stream s[2] = { { c->out, 0, MOST, out[0], 0 }, { tail, 0, sizeof tail, said[0], 1 } };
    g4_err mine;
    pid_t pid = fork();
    if (pid == 0) run_in_child(argv, out[1], said[1], before);
    close(out[1]);
    close(said[1]);
    out[1] = said[1] = -1;
    if (pid < 0) return g4_fail(err, G4_EIO, "%s: cannot start: %s", argv[0], strerror(errno));
    setpgid(pid, pid);   /* both do: neither may go on before it is done */
    for (int i = 0; i < 2; i++) fcntl(s[i].fd, F_SETFL, O_NONBLOCK);
    g4_status status = watch(s, pid, argv[0], seconds, err);
    kill(-pid, SIGKILL);   /* what it started, and itself if it has not ended */
    out[0] = s[0].fd;
    said[0] = s[1].fd;
    c->out[s[0].fill] = 0;
    last_line(c->said, &s[1]);
    g4_status reaped = reap(c, pid, argv[0], status == G4_OK ? err : &mine);
    return status == G4_OK ? reaped : status;
}

g4_status bench_child_run(bench_child *c, char *const argv[], int64_t seconds,
                          const sigset_t *before, g4_err *err)
{
    int out[2] = { -1, -1 }, said[2] = { -1, -1 };
    *c = (bench_child){ .out = malloc(MOST) };
    if (!c->out) return g4_nomem(err, argv[0]);
    c->out[0] = 0;
    g4_status s = G4_OK;
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(said, O_CLOEXEC) != 0)
        s = g4_fail(err, G4_EIO, "%s: cannot start: %s", argv[0], strerror(errno));
    else s = start(c, argv, out, said, seconds, before, err);
    for (int i = 0; i < 2; i++) {
        if (out[i] >= 0) close(out[i]);
        if (said[i] >= 0) close(said[i]);
    }
    return s;
}
