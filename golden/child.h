/* SPDX-License-Identifier: Apache-2.0
 * A process that reads one HDF5 file for us.  It opens the file, gives up the
 * right to open anything else, and answers requests over a socket until the
 * parent stops it.  Whatever happens to it - a crash inside libhdf5, an endless
 * loop, too much memory - becomes an error message in the parent.
 *
 *   parent -> child   uint64 index of a dataset
 *   child -> parent   frames: {int32 status, uint32 bytes} and the bytes; the
 *                     first answer is the listing; a status other than G4_OK
 *                     carries the message and ends the answer. */
#ifndef G4_GOLDEN_CHILD_H
#define G4_GOLDEN_CHILD_H

#include "golden/golden.h"

#include <sys/types.h>

typedef struct g4_child {
    pid_t pid;           /* 0: none (any more) */
    int fd;
    int seconds;         /* patience for one answer, before its bytes count */
    const char *path;    /* for messages; must outlive the child */
} g4_child;

/* What the child found in the file, in one block of memory from the arena. */
typedef struct g4_listing {
    g4_golden_attr *attrs;
    g4_golden_set *sets;
    size_t attr_count, set_count;
} g4_listing;

g4_status g4_child_start(g4_child *c, const char *path, g4_listing *list, g4_arena *arena,
                         g4_err *err);
/* Dataset number index of the listing; bytes is its whole size. */
g4_status g4_child_read(g4_child *c, uint64_t index, void *out, size_t bytes, g4_err *err);
void g4_child_stop(g4_child *c);

#endif
