/* SPDX-License-Identifier: Apache-2.0
 * What this machine can do at best: float32 or 8-bit multiply-adds that work in
 * registers only, and reading memory forward.  Kernels are measured against it. */
#ifndef G4_HARNESS_PEAK_H
#define G4_HARNESS_PEAK_H

#include "ref/base/par.h"

#include <stddef.h>

double g4_now(void);   /* seconds; a monotonic clock */

double g4_median(double *v, int n);   /* sorts v, ascending */

/* All take about so many seconds.  Neighbours on the same machine move these figures by half
 * within minutes: measure right beside what is compared, and not in a blink.
 *
 * Operations/s, one multiply-add counting two, of all threads of the pool
 * together, by the widest ISA of this CPU, whichever the kernels may use. */
double g4_peak_fma(g4_par *par, double seconds);

/* The same of 8-bit integers multiplied and added up in wider ones, by the best ISA of the
 * mask (this CPU has them all); AVX2 only adds up pairs, in 16 bits.  0: none has that. */
double g4_peak_int8(g4_par *par, unsigned isas, double seconds);

/* The same of BF16 pairs added up in float32; where the mask's ISAs have no such operation, or
 * this CPU none at all, g4_peak_fma. */
double g4_peak_bf16(g4_par *par, unsigned isas, double seconds);

/* Before it is written: huge pages for a large buffer where the system has them, as packed
 * weights do.  One CPU reads them a fifth faster [N58]. */
void g4_peak_huge(void *data, size_t size);

/* Bytes/s over a buffer, which should be far larger than the caches. */
double g4_peak_read(g4_par *par, const void *data, size_t size, double seconds);

#endif
