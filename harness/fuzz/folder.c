/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/fuzz/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILES = 16, MAX_NAME = 64 };

/* libFuzzer calls a target with bytes alone: what lasts longer is kept here. */
static char folder[PATH_MAX];
static char written[MAX_FILES][MAX_NAME];

/* A target that cannot work must not look like one that found nothing. */
static void broken(const char *what)
{
    perror(what);
    abort();
}

fuzz_bytes fuzz_cut(fuzz_bytes *rest)
{
    fuzz_bytes part = *rest;
    const uint8_t *nul = part.size ? memchr(part.data, 0, part.size) : NULL;
    *rest = (fuzz_bytes){ NULL, 0 };
    if (!nul) return part;
    size_t at = (size_t)(nul - part.data);
    *rest = (fuzz_bytes){ nul + 1, part.size - at - 1 };
    part.size = at;
    return part;
}

static void path_of(char path[PATH_MAX], const char *name)
{
    int n = snprintf(path, PATH_MAX, "%s/%s", fuzz_folder(), name);
    if (n < 0 || n >= PATH_MAX) broken(name);
}

static void remove_folder(void)
{
    char path[PATH_MAX];
    for (int i = 0; i < MAX_FILES && written[i][0]; i++) {
        path_of(path, written[i]);
        unlink(path);
    }
    rmdir(folder);
}

const char *fuzz_folder(void)
{
    if (folder[0]) return folder;
    snprintf(folder, sizeof folder, "%s/g4-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder)) broken(folder);
    atexit(remove_folder);
    return folder;
}

static void remember(const char *name)
{
    for (int i = 0; i < MAX_FILES; i++) {
        if (!written[i][0]) snprintf(written[i], MAX_NAME, "%s", name);
        if (strcmp(written[i], name) == 0) return;
    }
    broken(name);   /* more files than MAX_FILES, or a longer name */
}

void fuzz_file(const char *name, const void *data, size_t size)
{
    char path[PATH_MAX];
    path_of(path, name);
    remember(name);
    if (!data) {
        if (unlink(path) != 0 && errno != ENOENT) broken(path);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) broken(path);
    close(fd);
}
