/* SPDX-License-Identifier: Apache-2.0
 * What this machine can do at best: float32 or 8-bit multiply-adds that work in
 * registers only, and reading memory forward.  Kernels are measured against it. */
#ifndef G4_HARNESS_PEAK_H
#define G4_HARNESS_PEAK_H

#include "ref/base/par.h"

#include <stddef.h>

double g4_now(void);   /* seconds; a monotonic clock */

/* Operations/s, one multiply-add counting two, of all threads of the pool
 * together, by the widest ISA of this CPU, whichever the kernels may use. */
double g4_peak_fma(g4_par *par);

<<<<<<< HEAD
/* The same of 8-bit products summed in 32 bits (VNNI); 0: this CPU has no such instruction. */
double g4_peak_int8(g4_par *par);
=======
/* The same of 8-bit integers multiplied and added up in wider ones, by the best instruction
 * of one ISA of g4_cpu_isas; AVX2's only adds up pairs, in 16 bits.  Of an ISA without such
 * kernels: g4_peak_fma. */
double g4_peak_int8(g4_par *par, unsigned isa);
>>>>>>> 69e5359 (Bench the panels' kernels beside each ISA's own int8 peak; a peak that gcc neither spills nor folds into one sum)

/* Bytes/s over a buffer, which should be far larger than the caches. */
double g4_peak_read(g4_par *par, const void *data, size_t size);

#endif
