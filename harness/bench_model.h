/* SPDX-License-Identifier: Apache-2.0
 * gemma4 bench --model: tokens a second of whole passes, in llama-bench's terms: ppN is a
 * prefill of N tokens in one session, tgN the decoding of N, one at a time, both behind a
 * context of d tokens; beside what this machine can do at best, measured in turns. */
#ifndef G4_HARNESS_BENCH_MODEL_H
#define G4_HARNESS_BENCH_MODEL_H

#include "harness/options.h"
#include "harness/runtime.h"

enum { BENCH_TESTS = 64, BENCH_RUNS = 3, BENCH_RUNS_MOST = 99, BENCH_NAME = 64 };

/* The numbers that a model's weights are multiplied in, at best: quantized ones in 8 bits, BF16
 * in pairs, others in float32. */
typedef enum bench_numbers { BENCH_INT8, BENCH_BF16, BENCH_F32 } bench_numbers;

/* What the machine can do, measured beside a run: bytes a second of memory read forward, and
 * operations a second in such numbers, a multiply-add counting two. */
typedef struct bench_limit {
    double read, peak;
} bench_limit;

typedef struct bench_test {
    int decode;                    /* tg, else pp */
    int64_t n, depth;
    double bytes, ops;             /* of one pass: weights and cache read; of one token: linear */
    double seconds[BENCH_RUNS_MOST];
    bench_limit limit;             /* median of what was measured beside the runs */
    double share;                  /* median of each run's own */
} bench_test;

typedef struct bench_model {
    bench_test test[BENCH_TESTS];
    int tests, runs;
    bench_numbers numbers;
    const char *p, *n, *d;         /* the lists they come from */
    uint64_t weight_bytes, parameters;
} bench_model;

/* The tests that -p, -n and -d ask for (default 512, 128, 0), and what each costs at least. */
g4_status bench_model_tests(bench_model *b, const g4_options *o, g4_err *err);
void bench_model_costs(bench_model *b, const g4_model *m, const g4_engine_plan *plan);
/* "pp512", "tg128 @ d4096" */
char *bench_test_name(char name[BENCH_NAME], const bench_test *t);
/* Tokens a second of a test that does nothing but what it must. */
double bench_test_bound(const bench_test *t, const bench_limit *limit);
g4_status bench_limit_measure(bench_limit *limit, bench_numbers numbers, g4_par *par,
                              g4_err *err);

/* Measures each test --repeat times (default BENCH_RUNS). */
g4_status bench_model_run(bench_model *b, const g4_runtime *rt, const g4_options *o, g4_err *err);

#endif
