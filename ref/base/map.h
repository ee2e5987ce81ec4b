/* SPDX-License-Identifier: Apache-2.0
 * Files: read-only mappings for weights, whole small files into memory, and
 * output that replaces the old file only when it is whole.
 * Opening refuses everything but a regular file (a pipe or a device would
 * block or lie about its size).  Errors name the path. */
#ifndef G4_BASE_MAP_H
#define G4_BASE_MAP_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct g4_map {
    const uint8_t *data;   /* NULL for an empty file */
    size_t size;           /* bytes */
} g4_map;

/* A file that shrinks under a mapping raises SIGBUS at the next touch:
 * harness/main.c turns that into a message. */
g4_status g4_map_open(g4_map *m, const char *path, g4_err *err);
/* What fd has open, perhaps no longer under the name `path`; fd stays open. */
g4_status g4_map_fd(g4_map *m, int fd, const char *path, g4_err *err);
void g4_map_close(g4_map *m);

/* Asks the kernel to read these bytes of a mapping ahead, where a look at a few of
 * their pages finds one that is not in memory (asking costs a walk over all). */
void g4_map_prefetch(const void *data, size_t bytes);

/* These bytes of a mapping will not be read soon: they need not count as this process's. */
void g4_map_release(const void *data, size_t bytes);

/* Reads a whole regular file of at most max_bytes; *data is malloc'ed, with a
 * NUL behind the last byte that *size does not count. */
g4_status g4_file_read(const char *path, size_t max_bytes, uint8_t **data, size_t *size,
                       g4_err *err);

/* 0 nothing, 1 regular file, 2 folder, 3 something else, 4 it cannot be told (an error of
 * the disk must not look like an optional file's absence: opening it will say). */
int g4_path_kind(const char *path);

/* Output under a temporary name beside the target.  Every write is checked;
 * g4_out_finish flushes, fsyncs and closes; g4_out_commit does that, renames and
 * fsyncs the folder.  A library may write to temp by its own means before.
 * g4_out_abort (also after a failed commit) removes the temporary file and is
 * harmless when repeated, so: error paths call it always. */
typedef struct g4_out {
    int fd;                    /* -1 when closed */
    char *path, *temp;         /* malloc'ed */
    unsigned char *buf;        /* malloc'ed write buffer */
    size_t fill;
    uint64_t written;          /* bytes so far, buffered ones included */
} g4_out;                      /* initialise with G4_OUT_NONE */

#define G4_OUT_NONE { .fd = -1 }

g4_status g4_out_open(g4_out *o, const char *path, g4_err *err);
g4_status g4_out_write(g4_out *o, const void *data, size_t size, g4_err *err);
g4_status g4_out_printf(g4_out *o, g4_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
g4_status g4_out_finish(g4_out *o, g4_err *err);
g4_status g4_out_commit(g4_out *o, g4_err *err);
void g4_out_abort(g4_out *o);

#endif
