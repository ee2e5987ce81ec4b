/* SPDX-License-Identifier: Apache-2.0
 * The only face of libhdf5 inside golden/: starting it quietly, its error
 * texts, its types, and the in-process reader that child.c runs in a confined
 * process.  Nothing here is safe against a hostile file without that. */
#ifndef G4_GOLDEN_H5_H
#define G4_GOLDEN_H5_H

#include "golden/golden.h"

#include <hdf5.h>

/* No error stack on stderr, no plugins, no atexit handler.  Repeatable. */
void g4_h5_start(void);

/* "path: what: innermost message of libhdf5's error stack", and clears it. */
g4_status g4_h5_fail(g4_err *err, g4_status code, const char *path, const char *what);

hid_t g4_h5_memory_type(g4_golden_type type);   /* native; not to be closed */
hid_t g4_h5_file_type(g4_golden_type type);     /* little-endian; not to be closed */

/* File access: default driver, no file locks (they fail on some shared disks
 * and add nothing for a file that is renamed into place), close everything. */
hid_t g4_h5_access(void);                       /* < 0: failed; H5Pclose it */

typedef struct g4_h5_file {
    hid_t file, links;          /* links: an access list that refuses external links */
    const char *path;
    uint64_t bytes;             /* size of the file */
    uint64_t promised;          /* bytes of all datasets listed so far */
    g4_golden_type real;        /* by the attribute dtype */
    g4_arena arena;             /* attributes; a zeroed arena */
    g4_golden_attr *attrs;
    size_t attr_count;
    g4_golden_set *sets;        /* malloc'ed */
    size_t set_count, set_room;
} g4_h5_file;

/* Fills h (always to be closed): the file is open, nothing in it looked at. */
g4_status g4_h5_open(g4_h5_file *h, const char *path, g4_err *err);
/* Attributes and datasets; every one listed has been checked. */
g4_status g4_h5_list(g4_h5_file *h, g4_err *err);
g4_status g4_h5_attrs(g4_h5_file *h, g4_err *err);
void g4_h5_close(g4_h5_file *h);

/* Gives the values of s to put, in order, in pieces of whole leading rows. */
typedef g4_status g4_h5_put(void *ctx, const void *data, size_t bytes, g4_err *err);
g4_status g4_h5_read(g4_h5_file *h, const g4_golden_set *s, g4_h5_put *put, void *ctx,
                     g4_err *err);

/* 1 if type, rank and dims of s are in bounds and its bytes fit 63 bits. */
int g4_golden_set_sane(const g4_golden_set *s);

#endif
