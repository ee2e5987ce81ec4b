/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: what is typed into `generate --chat -`, with the smallest model of
 * the repository behind it and a context that only short messages fit into.  A
 * fault in a line must never end the talk. */
#include "harness/options.h"
#include "harness/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a fuzzer invents as a file name must not be written. */
static int writes(const uint8_t *data, size_t size)
{
    return size > 0 && memmem(data, size, "/save", 5) != NULL;
}

static int talk(void)
{
    static char *words[] = { "gemma4", "generate", "--model", "golden/tiny/mini/model", "--chat",
                             "-", "--max-tokens", "1", "--threads", "1", "--ctx", "40", "--seed",
                             "1" };
    g4_options o;
    g4_err err = { G4_OK, "" };
    FILE *null = fopen("/dev/null", "w"), *out = stdout, *diagnostics = stderr;
    int code = 2;
    if (null && g4_options_parse(&o, sizeof words / sizeof *words, words, &err) == G4_OK) {
        /* Only these two streams: a sanitizer's report goes to descriptor 2. */
        stdout = stderr = null;
        code = g4_terminal(&o, &err);
        stdout = out;
        stderr = diagnostics;
    }
    if (code != 0) fprintf(stderr, "%s\n", err.msg);
    if (null) fclose(null);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (writes(data, size)) return 0;
    int fd = memfd_create("typed", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) != 0 ||
        dup2(fd, STDIN_FILENO) < 0)
        abort();
    close(fd);
    if (talk() != 0) abort();
    return 0;
}
