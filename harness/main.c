/* SPDX-License-Identifier: Apache-2.0
 * gemma4: the one program.  Parses the command line, runs the command, and is
 * the only place that turns an error into a line on stderr and an exit code:
 *   0 done and held    1 ran but fell short    2 bad input, usage or I/O
 * Standard output is part of the result: if it cannot be written, that is 2. */
#include "harness/sigbus.h"
#include "harness/options.h"
#include "harness/text.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A closed standard descriptor would be taken by the first file opened, which
 * would then receive our messages: occupy it so that using it fails instead. */
static void occupy_std_fds(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

/* A large block goes back to the system when it is freed.  glibc would raise its limit
 * for what is large to the largest block freed so far and keep those for later, so that
 * a run held more than it uses, and than `info --memory` can foresee. */
static void give_back_freed(void)
{
#ifdef __GLIBC__
    enum { LARGE = 256 << 10 };
    mallopt(M_MMAP_THRESHOLD, LARGE);
    mallopt(M_TRIM_THRESHOLD, LARGE);
#endif
}

static int report(const g4_err *err)
{
    char safe[2 * sizeof err->msg];
    fprintf(stderr, "gemma4: %s\n", g4_text_safe(safe, sizeof safe, err->msg));
    return 2;
}

static int run(int argc, char **argv, g4_err *err)
{
    const g4_command_row *row;
    g4_options *o = malloc(sizeof *o);
    if (!o) {
        g4_nomem(err, "options");
        return 2;
    }
    int code = 2;
    if (g4_options_parse(o, argc, argv, err) == G4_OK &&
        g4_command_find(&row, o->command, err) == G4_OK)
        code = row->run(o, err);
    free(o);
    return code;
}

int main(int argc, char **argv)
{
    g4_err err = { G4_OK, "" };
    occupy_std_fds();
    give_back_freed();
    setlocale(LC_ALL, "C");
    g4_sigbus_install();
    int code = run(argc, argv, &err);
    if (code == 2) {
        (void)fflush(stdout);   /* what there is, before the reason why there is no more */
        return report(&err);
    }
    errno = 0;
    if (ferror(stdout) | (fflush(stdout) != 0) | (fclose(stdout) != 0)) {
        g4_fail(&err, G4_EIO, "standard output: cannot write: %s",
                errno ? strerror(errno) : "an earlier write failed");
        return report(&err);
    }
    return code;
}
