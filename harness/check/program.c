/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/program.h"

#include "harness/check/suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const char *program_path(void)
{
    static char path[4096];
    const char *given = getenv("G4_BIN");
    if (given && *given) {
        if (access(given, X_OK) != 0) ck_abort_msg("G4_BIN: %s is no program", given);
        return given;
    }
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    ck_assert_int_gt(n, 0);
    path[n] = 0;
    strcpy(strrchr(path, '/') + 1, "gemma4");
    if (access(path, X_OK) != 0) ck_abort_msg("%s is not built (make, or set G4_BIN)", path);
    return path;
}

pid_t program_start(char **argv, int out, int err, rlim_t file_limit)
{
    const char *path = program_path();
    argv[0] = (char *)(uintptr_t)path;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0) return pid;
    int null = open("/dev/null", O_RDONLY);
    struct rlimit limit = { file_limit, file_limit };
    if (file_limit != RLIM_INFINITY) setrlimit(RLIMIT_FSIZE, &limit);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err, 2);
    for (int fd = 3; fd < 64; fd++) close(fd);
    execv(path, argv);
    _exit(PROGRAM_CANNOT_EXEC);
}

int program_finish(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0) ck_assert_int_eq(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

void program_capture(program_result *r, int out, int err)
{
    struct pollfd p[2] = { { out, POLLIN, 0 }, { err, POLLIN, 0 } };
    char *to[2] = { r->out, r->err };
    size_t fill[2] = { 0, 0 };
    while (p[0].fd >= 0 || p[1].fd >= 0) {
        ck_assert_int_gt(poll(p, 2, 100000), 0);
        for (int i = 0; i < 2; i++) {
            if (p[i].fd < 0 || !p[i].revents) continue;
            ssize_t n = read(p[i].fd, to[i] + fill[i], PROGRAM_CAPTURE - 1 - fill[i]);
            if (n <= 0) p[i].fd = -1;
            else fill[i] += (size_t)n;
        }
    }
    r->out[fill[0]] = r->err[fill[1]] = 0;
}

int program_split(char *line, const program_place *places, char *argv[PROGRAM_WORDS],
                  char space[PROGRAM_WORDS][TEMPDIR_MAX])
{
    int argc = 1;
    for (char *w = strtok(line, " "); w; w = strtok(NULL, " ")) {
        ck_assert_int_lt(argc, PROGRAM_WORDS - 1);
        argv[argc] = strcmp(w, "~") == 0 ? w + 1 : w;
        for (const program_place *p = places; p->mark; p++) {
            size_t n = strlen(p->mark);
            if (strncmp(w, p->mark, n) != 0) continue;
            ck_assert_int_lt(snprintf(space[argc], TEMPDIR_MAX, "%s%s", p->path, w + n),
                             TEMPDIR_MAX);
            argv[argc] = space[argc];
            break;
        }
        argc++;
    }
    argv[argc] = NULL;
    return argc;
}

void program_run(program_result *r, const char *command, const program_place *places,
                 const char *to, rlim_t file_limit)
{
    char line[2048], space[PROGRAM_WORDS][TEMPDIR_MAX], *argv[PROGRAM_WORDS];
    int out[2], err[2];
    ck_assert_uint_lt(strlen(command), sizeof line);
    strcpy(line, command);
    program_split(line, places, argv, space);
    ck_assert_int_eq(pipe(out), 0);
    ck_assert_int_eq(pipe(err), 0);
    int file = to ? open(to, O_WRONLY | O_CREAT, 0666) : -1;
    ck_assert(!to || file >= 0);
    pid_t pid = program_start(argv, to ? file : out[1], err[1], file_limit);
    close(out[1]);
    close(err[1]);
    if (to) close(file);
    program_capture(r, out[0], err[0]);
    close(out[0]);
    close(err[0]);
    r->code = program_finish(pid);
}

void program_expect_error(const program_result *r, const char *says)
{
    size_t len = strlen(r->err);
    if (r->code != 2) ck_abort_msg("exit %d, expected 2; stderr: %s", r->code, r->err);
    ck_assert_msg(len > 8 && strncmp(r->err, "gemma4: ", 8) == 0, "stderr: %s", r->err);
    ck_assert_ptr_eq(strchr(r->err, '\n'), r->err + len - 1);
    for (size_t i = 0; i + 1 < len; i++) {
        unsigned char c = (unsigned char)r->err[i];
        ck_assert_msg(c >= 0x20 && c != 0x7f, "raw byte 0x%02x on stderr", c);
        if (c == 0xc2) ck_assert_uint_ge((unsigned char)r->err[i + 1], 0xa0);
    }
    if (!strstr(r->err, says)) ck_abort_msg("said '%s', expected '%s'", r->err, says);
}

int program_runnable(const program_result *r, const char *suite)
{
    if (r->code != PROGRAM_CANNOT_EXEC) return 1;
    check_skip(suite, "this machine cannot execute gemma4 (foreign architecture?)");
    return 0;
}
