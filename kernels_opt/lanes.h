/* SPDX-License-Identifier: Apache-2.0
 * The 16-lane law, as the kernels here use it.
 *
 *   lane l of an output takes the elements l, l + 16, l + 32, ... of its row in
 *   that order, one fused multiply-add each; then the 16 lanes are folded:
 *
 *     0 1 2 3 4 5 6 7 | 8 9 10 11 12 13 14 15      l += l + 8
 *     0 1 2 3 | 4 5 6 7                            l += l + 4
 *     0 1 | 2 3                                    l += l + 2
 *     0 | 1                                        l += l + 1
 *
 * What is free: which outputs are computed together, in which order the lanes of
 * one output are advanced, whether a lane waits in a register or in memory.  So a
 * lane can be 1/16 of a zmm, 1/8 of one of two ymm or 1/4 of one of four NEON
 * registers, and a row may be cut anywhere while its 16 sums lie in scratch.
 *
 * A tail must leave the lanes past the end alone.  Adding 0 * 0 does not: it turns
 * -0 (an underflow can leave one) into +0.  Adding (-0) * (+0) = -0 does, for every
 * value of the lane: rows are padded with -0 on the weights' side, +0 on the other. */
#ifndef G4_KERNELS_LANES_H
#define G4_KERNELS_LANES_H

#include <stdint.h>

#define G4_PAD_W (-0.0f)
#define G4_PAD_X 0.0f

#define G4_INLINE static inline __attribute__((always_inline, unused))

/* Before a loop over registers: without it they would be an array in memory. */
#if defined(__clang__)
#define G4_UNROLL _Pragma("clang loop unroll(full)")
#else
#define G4_UNROLL _Pragma("GCC unroll 16")
#endif

/* A tile's copies, one for each number of tokens and type, are fast because all in them is
 * constant.  With the checks of a sanitizer clang works on them for over ten minutes: there
 * they are one function. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define TILE static
#define TILE_UNROLL
#else
#define TILE G4_INLINE
#define TILE_UNROLL G4_UNROLL
#endif

/* The blocks of a linear layer over many tokens (c/linear.h), the same for all
 * ISAs: 64 rows (the grain of the model's row ranges) x 96 tokens x 768 columns.
 * Per worker: 64 x 96 outputs of 16 lanes 384 KiB and 64 rows of weights 192 KiB,
 * meant for a level-2 cache of 1 MiB; a tile's tokens 18 KiB and its rows of
 * weights 12 KiB, meant for a level-1 cache of 32 or 48 KiB. */
enum {
    G4_LANES = 16,
    G4_TILE_ROWS = 64,
    G4_TILE_TOKENS = 96,
    G4_TILE_COLS = 768,
    G4_TOKENS_MAX = 8,      /* most tokens of a register tile */
    G4_DIRECT_TOKENS = 8,   /* up to here weights are used where they lie */
};

static inline int64_t g4_round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static inline int64_t g4_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Floats: weights, tokens, lanes, and what rounding up to a cache line takes. */
static inline int64_t g4_tile_scratch(int64_t cols, int64_t tokens)
{
    int64_t k = g4_min(G4_TILE_COLS, g4_round_up(cols, G4_LANES));
    int64_t t = g4_min(G4_TILE_TOKENS, g4_round_up(tokens, G4_TOKENS_MAX) + G4_TOKENS_MAX);
    return G4_TILE_ROWS * k + G4_TOKENS_MAX * k + G4_TILE_ROWS * t * G4_LANES + G4_LANES;
}

#endif
