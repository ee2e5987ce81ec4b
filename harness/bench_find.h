/* SPDX-License-Identifier: Apache-2.0
 * The peers in a folder, what each takes, and the words that start it. */
#ifndef G4_HARNESS_BENCH_FIND_H
#define G4_HARNESS_BENCH_FIND_H

#include "harness/bench_peers.h"

#include <signal.h>

/* DIR/llama-bench, and in each folder of DIR the first of llama-bench, bin/llama-bench and
 * build/bin/llama-bench; then this program.  A folder without gets a line on standard error;
 * none at all is an error. */
g4_status bench_find(bench_race *r, g4_err *err);

/* Fills argv, and for a peer flags and takes_depth, from what its help says. */
g4_status bench_find_words(bench_race *r, bench_engine *e, const sigset_t *before, g4_err *err);

#endif
