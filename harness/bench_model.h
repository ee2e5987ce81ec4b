/* SPDX-License-Identifier: Apache-2.0
 * gemma4 bench --model: tokens a second of whole passes, in llama-bench's terms: ppN is a
 * prefill of N tokens in one session, tgN the decoding of N, one at a time, both behind a
 * context of d tokens; beside what this machine can do at best, measured in turns. */
#ifndef G4_HARNESS_BENCH_MODEL_H
#define G4_HARNESS_BENCH_MODEL_H

#include "harness/options.h"
#include "harness/runtime.h"

enum { BENCH_TESTS = 64, BENCH_RUNS = 3 };

typedef struct bench_test {
    int decode;                    /* tg, else pp */
    int64_t n, depth;
    double seconds[BENCH_RUNS];    /* ascending, once measured */
    double read[BENCH_RUNS];       /* bytes a second, read before each run; ascending */
    double bound;                  /* tokens a second at the median of read, or of int8 peak */
} bench_test;

typedef struct bench_model {
    bench_test test[BENCH_TESTS];
    int tests;
    uint64_t weight_bytes, parameters;
    double int8_peak;              /* operations a second, a multiply-add counting two */
} bench_model;

/* Measures what -p, -n and -d ask for (default 512, 128, 0). */
g4_status bench_model_run(bench_model *b, const g4_runtime *rt, const g4_options *o, g4_err *err);

#endif
