/* SPDX-License-Identifier: Apache-2.0
 * Quantized weights as the fast kernels read them, and the law they obey.
 *
 * A panel holds 16 rows of a matrix, so that one vector holds four weights of each
 * row and no sum ever crosses lanes.  It is cut into records of 64 columns (formats
 * with blocks of 32: two blocks; an odd last block has a record of its own) or 256
 * (the K formats).  The bytes are the file's, in another order; nothing is added but
 * padding.  In a block of 32 columns, row r's weight i lies
 *
 *   4 bits:  byte 64 (i/4 mod 4) + 4 r + i mod 4, low nibble for i < 16, else high
 *   8 bits:  byte 64 (i/4) + 4 r + i mod 4
 *   5 bits:  4 bits as above; the fifth is bit i/4 of byte 4 r + i mod 4 of 64 more
 *   6 bits:  4 bits as above; bits 2 (i/4 mod 4) and the next of byte
 *            64 (i / 16) + 4 r + i mod 4 of 128 more
 *
 * The law.  x is rounded to 8 bits in blocks of 32 (round_x): with m the largest
 * magnitude of a block, d = m / 127, q = x * (1 / d) rounded to even, both in float32.
 * A block with m < 2^-100 is all zero; one with an infinity or a NaN has d = NaN.
 * With w the integer weight (offset subtracted), s and c the block's scale and minimum
 * as float32 (both exact), an output is one float32 accumulator that takes the blocks in
 * order, each as
 *
 *   acc = fma(float(sum_i w_i q_i), s * d, acc)             the integer sum is exact
 *   acc = fma(-c, d * float(sum_i q_i), acc)                formats with minima, too
 *
 * Q6_K has two scales a block: two such steps, over weights 0..15 and 16..31.
 * Tiles, threads and ISAs choose only which outputs are computed together. */
#ifndef G4_KERNELS_PANEL_H
#define G4_KERNELS_PANEL_H

#include "kernels_opt/lanes.h"
#include "ref/model/ops.h"

enum {
    G4_PANEL_ROWS = 16,
    G4_PANEL_BLOCK = 32,     /* columns that share a scale of x */
    G4_XQ_TOKENS = 16,       /* tokens of a whole tile */
    G4_XQ_FEW = 8,           /* most tokens of any other */
    G4_XQ_BYTES = 40,        /* a token's block: 32 values, scale, correction */
    G4_PANEL_AHEAD = 9216,   /* bytes ahead of use that weights are called for [N50] */
};

/* K(name in kernels.def, dtype, isa) for every format that has panels. */
#define G4_PANEL_TYPES(K, isa) \
    K(q4_0, G4_Q4_0, isa)      \
    K(q8_0, G4_Q8_0, isa)      \
    K(q4_k, G4_Q4_K, isa)      \
    K(q5_k, G4_Q5_K, isa)      \
    K(q6_k, G4_Q6_K, isa)      \
    K(iq4_nl, G4_IQ4_NL, isa)  \
    K(iq4_xs, G4_IQ4_XS, isa)

/* What a block of x carries beside its values and scale, in 4 bytes. */
typedef enum g4_correction {
    G4_CORRECT_OFFSET,   /* int32: -offset * sum q, where a sum of w + offset starts */
    G4_CORRECT_HALVES,   /* two int16: -sum q of values 0..15 and of 16..31 */
    G4_CORRECT_MINIMUM,  /* float32: d * float(sum q) */
} g4_correction;

typedef struct g4_panel_format {
    int blocks;                  /* blocks of 32 columns a record; 0: no panels of this format */
    int record, single;          /* bytes of a record; of one with a single block */
    g4_correction correction;
    int offset;
} g4_panel_format;

/* Inline: in a kernel it is a constant. */
static inline g4_panel_format g4_panel_format_get(g4_dtype dtype)
{
    switch (dtype) {
    case G4_Q4_0: return (g4_panel_format){ 2, 576, 320, G4_CORRECT_OFFSET, 8 };
    case G4_IQ4_NL: return (g4_panel_format){ 2, 576, 320, G4_CORRECT_OFFSET, 128 };
    case G4_Q8_0: return (g4_panel_format){ 2, 1088, 576, G4_CORRECT_OFFSET, 128 };
    case G4_Q4_K: return (g4_panel_format){ 8, 2304, 0, G4_CORRECT_MINIMUM, 0 };
    case G4_Q5_K: return (g4_panel_format){ 8, 2816, 0, G4_CORRECT_MINIMUM, 0 };
    case G4_Q6_K: return (g4_panel_format){ 8, 3392, 0, G4_CORRECT_HALVES, 32 };
    case G4_IQ4_XS: return (g4_panel_format){ 8, 2176, 0, G4_CORRECT_OFFSET, 128 };
    default: return (g4_panel_format){ 0, 0, 0, G4_CORRECT_OFFSET, 0 };
    }
}

/* Where block j's weights begin in its record. */
static inline int g4_panel_weights_at(g4_dtype dtype, int j)
{
    switch (dtype) {
    case G4_Q8_0: return 64 + 512 * j;
    case G4_Q4_K: return 256 + 256 * j;
    case G4_Q5_K: return 256 + 320 * j;
    case G4_Q6_K: return 320 + 384 * j;
    case G4_IQ4_XS: return 128 + 256 * j;
    default: return 64 + 256 * j;
    }
}

/* Bytes of one panel of `cols` columns. */
static inline int64_t g4_panel_size(const g4_panel_format *f, int64_t cols)
{
    int64_t blocks = cols / G4_PANEL_BLOCK;
    return blocks / f->blocks * f->record + (blocks % f->blocks ? f->single : 0);
}

/* The tokens of a call in tiles of 16; what is left over in one tile of up to 8, or in
 * one of 8 and another.  In a tile of T tokens each block is  q [T][32], d float32 [T],
 * correction [T]. */
static inline int64_t g4_xq_tiles(int64_t tokens)
{
    int64_t rest = tokens % G4_XQ_TOKENS;
    return tokens / G4_XQ_TOKENS + (rest + G4_XQ_FEW - 1) / G4_XQ_FEW;
}

static inline int64_t g4_xq_begin(int64_t tokens, int64_t tile)
{
    int64_t whole = tokens / G4_XQ_TOKENS;
    int64_t few = tile > whole ? tile - whole : 0;
    return g4_min((tile - few) * G4_XQ_TOKENS + few * G4_XQ_FEW, tokens);
}

/* Plain C, for all formats that have panels; also where the ISA has no kernel. */
void g4_linear_panel_c(const g4_linear_args *a, int64_t r0, int64_t r1);
void g4_round_x_c(const g4_round_args *a, int64_t p0, int64_t p1);
int64_t g4_panel_bytes(const g4_mat *w);
void g4_panel_pack(unsigned char *panels, const g4_mat *w, int64_t r0, int64_t r1);
int64_t g4_xq_bytes(int64_t tokens, int64_t cols);
int64_t g4_xq_pieces(int64_t tokens);

#endif
