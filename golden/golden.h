/* SPDX-License-Identifier: Apache-2.0
 * Golden files: HDF5 with a request's inputs and the activations it gave, in
 * the format `gemma4-golden` version 1 (golden/README.md).  A file may come
 * from anywhere and libhdf5 is not safe on hostile files, so reading happens
 * in a forked child that is confined and timed; a crash there is an error
 * message here.  Only the known tree is looked at (golden/schema.c); links out
 * of the file, external storage, virtual datasets, foreign filters and sizes
 * that the file cannot back are refused before anything is read.
 * Writing is by blocks of rows, under a temporary name until committed. */
#ifndef G4_GOLDEN_GOLDEN_H
#define G4_GOLDEN_GOLDEN_H

#include "ref/base/arena.h"
#include "ref/base/err.h"
#include "ref/input/prompt.h"

#include <stddef.h>
#include <stdint.h>

enum { G4_GOLDEN_RANK = 4, G4_GOLDEN_PATH = 96 };

typedef enum g4_golden_type {
    G4_GOLDEN_I8,
    G4_GOLDEN_U8,
    G4_GOLDEN_I32,
    G4_GOLDEN_F32,
    G4_GOLDEN_F64,
} g4_golden_type;

/* How two datasets of this name are held against each other. */
typedef enum g4_golden_role {
    G4_GOLDEN_REAL,     /* relative L2 */
    G4_GOLDEN_LOGITS,   /* relative L2; also KL and top-k */
    G4_GOLDEN_EQUAL,    /* cell by cell: ids, masks, positions */
    G4_GOLDEN_PIXELS,   /* at worst 1/255, in under 0.1 % of the values */
} g4_golden_role;

/* One dataset.  As a matrix it has the product of the first row_dims dims as
 * rows and of the others as columns; heads_first means stored [K][T][H] and
 * seen as T rows of K*H, which is how the model makes it. */
typedef struct g4_golden_set {
    char path[G4_GOLDEN_PATH];   /* "activations/layers/00/output" */
    g4_golden_type type;
    g4_golden_role role;
    int rank, row_dims, heads_first;
    int64_t dims[G4_GOLDEN_RANK];
} g4_golden_set;

size_t g4_golden_size(g4_golden_type type);               /* bytes a value */
const char *g4_golden_type_name(g4_golden_type type);     /* "float32" */
int64_t g4_golden_values(const g4_golden_set *s);         /* rows x columns */
int64_t g4_golden_rows(const g4_golden_set *s);
int64_t g4_golden_cols(const g4_golden_set *s);

typedef struct g4_golden_attr {
    const char *name, *text;   /* numbers in decimal */
    int is_number;
} g4_golden_attr;

typedef struct g4_golden g4_golden;

/* G4_GOLDEN_DIRECT: no child; for allocation-failure tests and debuggers.
 * Otherwise the caller's thread must outlive the g4_golden (the child dies
 * with it).  Open goldens before large private memory exists: fork is cheap then. */
enum { G4_GOLDEN_DIRECT = 1 };
g4_status g4_golden_open(g4_golden **g, const char *path, int flags, g4_err *err);
void g4_golden_close(g4_golden *g);   /* NULL is fine */

const char *g4_golden_path(const g4_golden *g);
/* Root attributes; text NULL where there is none.  format, format_version and
 * dtype (float32|float64) are checked on opening, mask where it is given. */
const char *g4_golden_text(const g4_golden *g, const char *name);
size_t g4_golden_attrs(const g4_golden *g);
const g4_golden_attr *g4_golden_attr_at(const g4_golden *g, size_t i);

/* Datasets of the known tree in the order of computation. */
size_t g4_golden_count(const g4_golden *g);
const g4_golden_set *g4_golden_at(const g4_golden *g, size_t i);
const g4_golden_set *g4_golden_find(const g4_golden *g, const char *path);   /* or NULL */

/* All values, [rows][cols] as above: out holds g4_golden_values(s) of s->type. */
g4_status g4_golden_read(g4_golden *g, const g4_golden_set *s, void *out, g4_err *err);

/* inputs/... as a request.  position_ids default to 0..T-1, types to text. */
g4_status g4_golden_prompt(g4_golden *g, g4_prompt *p, g4_arena *arena, g4_err *err);
/* An integer dataset that must be there: "inputs/drafted"; a scalar has n = 1. */
g4_status g4_golden_ids(g4_golden *g, const char *path, g4_arena *arena, int32_t **ids,
                        int64_t *n, g4_err *err);

/* ---- writing ---- */

typedef struct g4_golden_writer g4_golden_writer;

/* Sets format and format_version; the caller adds producer, case, dtype, detail, mask, .... */
g4_status g4_golden_create(g4_golden_writer **w, const char *path, g4_err *err);
g4_status g4_golden_put_text(g4_golden_writer *w, const char *name, const char *text,
                             g4_err *err);
g4_status g4_golden_put_int(g4_golden_writer *w, const char *name, int64_t value, g4_err *err);

/* Announces a dataset with its dims as stored; *id names it below.  Announcing
 * it again with the same type and dims gives the same id. */
g4_status g4_golden_declare(g4_golden_writer *w, const char *path, g4_golden_type type, int rank,
                            const int64_t *dims, int *id, g4_err *err);
int g4_golden_declared(const g4_golden_writer *w, const char *path);   /* id or -1 */
/* Rows [row, row + rows) of dataset id, [rows][cols] as g4_golden_rows/cols see
 * it.  Each row is to be given once, in any order; the last one closes it. */
g4_status g4_golden_put(g4_golden_writer *w, int id, int64_t row, int64_t rows,
                        const void *data, g4_err *err);
/* Declare and put in one. */
g4_status g4_golden_write(g4_golden_writer *w, const char *path, g4_golden_type type, int rank,
                          const int64_t *dims, const void *data, g4_err *err);
/* All of /inputs that the prompt has. */
g4_status g4_golden_write_prompt(g4_golden_writer *w, const g4_prompt *p, g4_err *err);

/* Refuses a file with rows missing.  Frees w in either case; NULL is fine for abort. */
g4_status g4_golden_commit(g4_golden_writer *w, g4_err *err);
void g4_golden_abort(g4_golden_writer *w);

#endif
