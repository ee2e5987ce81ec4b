/* SPDX-License-Identifier: Apache-2.0
 * Python's random.Random(seed): MT19937 (Matsumoto and Nishimura 1998) and what CPython
 * makes of its words.  lm-eval chooses few-shot examples and orders answers with it. */
#ifndef G4_HARNESS_EVAL_PYRANDOM_H
#define G4_HARNESS_EVAL_PYRANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct g4_py_random {
    uint32_t state[624];
    int at;
} g4_py_random;

void g4_py_seed(g4_py_random *r, uint32_t seed);
uint32_t g4_py_below(g4_py_random *r, uint32_t n);     /* n >= 1 */

/* shuffle(list(range(n))) */
void g4_py_shuffle(g4_py_random *r, uint32_t *order, uint32_t n);
/* sample(range(n), k), k <= n; scratch [n] */
void g4_py_sample(g4_py_random *r, uint32_t n, uint32_t k, uint32_t *out, uint32_t *scratch);

#endif
