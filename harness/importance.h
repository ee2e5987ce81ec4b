/* SPDX-License-Identifier: Apache-2.0
 * Sums of squared activations per column of every matrix of the layers, over chunks of a
 * text: what gemma4 imatrix makes, as llama-imatrix does [N61]. */
#ifndef G4_HARNESS_IMPORTANCE_H
#define G4_HARNESS_IMPORTANCE_H

#include "harness/runtime.h"
#include "ref/file/imatrix.h"
#include "ref/model/session.h"

typedef struct g4_collector g4_collector;

/* chunk: tokens of each.  rt must outlive it. */
g4_status g4_collector_open(g4_collector **c, g4_runtime *rt, int64_t chunk, g4_err *err);
void g4_collector_close(g4_collector *c);

/* Adds a chunk's ids. */
g4_status g4_collector_add(g4_collector *c, int32_t *ids, g4_err *err);

/* The sums so far: an entry for each matrix, valid while c is.  Its chunks, dataset and
 * source may be set; its sums may be read into before the first chunk (resuming). */
g4_imatrix *g4_collector_sums(g4_collector *c);

/* sum [cols] += the squares of x [rows][cols], row after row: the same bits with any threads. */
void g4_squares_add(double *sum, const float *x, int64_t rows, int64_t cols, g4_par *par);

#endif
