/* SPDX-License-Identifier: Apache-2.0
 * A process that reads one HDF5 file for us (ref/base/child.h): a crash inside
 * libhdf5 is an error message here.
 *
 *   parent -> child   uint64 index of a dataset
 *   child -> parent   frames with the dataset; the first answer is the listing */
#ifndef G4_GOLDEN_CHILD_H
#define G4_GOLDEN_CHILD_H

#include "golden/golden.h"
#include "ref/base/child.h"

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

#endif
