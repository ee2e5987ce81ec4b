/* SPDX-License-Identifier: Apache-2.0
 * A small pthread pool with one verb: run fn over [0, n) in pieces of `grain`.
 * Which thread takes which piece is not fixed, but the pieces are (by n and
 * grain alone), and fn must write only what belongs to its piece: so a result
 * cannot depend on the number of threads. */
#ifndef G4_BASE_PAR_H
#define G4_BASE_PAR_H

#include "ref/base/err.h"

#include <stdint.h>

typedef struct g4_par g4_par;

/* worker is 0 .. threads-1, for picking a scratch buffer. */
typedef void g4_par_fn(void *ctx, int64_t begin, int64_t end, int worker);

/* threads <= 0: the CPUs this process may use. */
g4_status g4_par_open(g4_par **par, int threads, g4_err *err);
void g4_par_close(g4_par *par);
int g4_par_threads(const g4_par *par);

/* Returns when all of [0, n) is done.  Not re-entrant: fn must not call it. */
void g4_par_for(g4_par *par, int64_t n, int64_t grain, g4_par_fn *fn, void *ctx);

#endif
