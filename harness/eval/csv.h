/* SPDX-License-Identifier: Apache-2.0
 * Comma-separated values as RFC 4180 writes them: fields in quotes may hold commas,
 * line ends and doubled quotes; lines end in LF or CR LF.  Stricter than most: a
 * quote inside a bare field, bytes behind a closing quote, a NUL, bytes that are not
 * UTF-8 and lines with another number of fields are errors that name the line. */
#ifndef G4_HARNESS_EVAL_CSV_H
#define G4_HARNESS_EVAL_CSV_H

#include "ref/base/arena.h"
#include "ref/base/err.h"

typedef struct g4_csv {
    size_t rows, columns;
    const char **cells;      /* [rows][columns], in the arena */
} g4_csv;

/* A file of `columns` fields a line (0: as many as its first line has); an empty file has 0
 * rows. */
g4_status g4_csv_load(g4_csv *csv, const char *path, size_t columns, g4_arena *arena,
                      g4_err *err);

#endif
