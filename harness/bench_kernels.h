/* SPDX-License-Identifier: Apache-2.0
 * Measuring the kernels of kernels.def one by one at the layer sizes of a model.
 * Machine and kernels are measured in turns, several rounds, medians reported: on
 * a shared machine both then suffer alike from what else runs. */
#ifndef G4_HARNESS_BENCH_KERNELS_H
#define G4_HARNESS_BENCH_KERNELS_H

#include "kernels_opt/kernels.h"
#include "ref/base/arena.h"
#include "ref/base/par.h"
#include "ref/model/config.h"

enum { BENCH_ROUNDS = 5, BENCH_ROUNDS_LEAST = 3, BENCH_PREFILL = 512, BENCH_LABEL = 64 };

typedef enum bench_kind {
    BENCH_LINEAR, BENCH_PANEL, BENCH_PAIR, BENCH_ATTEND, BENCH_SPAN, BENCH_ROW,
} bench_kind;

/* One line of the table: a kernel at one size. */
typedef struct bench_row {
    bench_kind kind;
    const char *op, *dtype;
    unsigned isa;
    char isa_name[G4_ISA_TEXT];
    g4_ops ops;                     /* the definitions with this kernel in */
    char size[BENCH_LABEL];         /* "gate_proj 15360x3840" */
    int64_t rows, cols, tokens;     /* attention: heads, head_dim, keys; else: -, n, repeats */
    int64_t per_layer[2];           /* uses in a sliding and in a full layer */
    double flops, bytes;            /* of one call over all tokens; flops 0: not counted */
    double seconds[BENCH_ROUNDS], peak[BENCH_ROUNDS];   /* of one call; right beside it */
} bench_row;

/* All linear layers of the whole model over BENCH_PREFILL tokens, for one kernel. */
typedef struct bench_prefill {
    const char *op, *dtype, *isa;
    double flops_per_second, share;   /* of its peak */
} bench_prefill;

typedef struct bench {
    g4_par *par;
    unsigned isas;
    double peak, read;              /* medians: float32 operations/s, bytes/s */
    bench_row *row;
    int rows;
    bench_prefill *prefill;
    int prefills, rounds;           /* rounds: fewer than BENCH_ROUNDS when they take long */
    /* operands, shared by all rows */
    unsigned char *weights;
    size_t weight_bytes, weight_at;
    float *x, *y, **scratch;        /* scratch: one a worker */
    unsigned char *xq;
} bench;

g4_status bench_kernels(bench *b, const g4_config *c, g4_par *par, unsigned isas, g4_arena *arena,
                        g4_err *err);

/* Medians over the rounds: of the seconds, and of each round's share of the peak beside it:
 * float32 fused multiply-adds; of panels, the ISA's 8-bit ones; of BF16 pairs, its dot
 * products of those. */
double bench_seconds(const bench *b, const bench_row *row);
double bench_share(const bench *b, const bench_row *row);

#endif
