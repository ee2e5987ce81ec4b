/* SPDX-License-Identifier: Apache-2.0
 * A linear layer over many tokens: weights are widened and repacked once a block,
 * then tiles of TILE_R rows x TILE_T tokens stay in registers over TILE_COLS
 * columns; between column blocks the lanes of the outputs wait in scratch.
 * Panels are packed so that a tile reads both operands forward:
 *   [pass][chunk][row or token][VEC]; pass p holds lanes p VEC .. p VEC + VEC - 1,
 *   chunk c the elements 16 c .. 16 c + 15. */
#ifndef G4_KERNELS_C_TILED_H
#define G4_KERNELS_C_TILED_H

#include "kernels_opt/c/pack.h"

_Static_assert(G4_TILE_ROWS % TILE_R == 0 && TILE_R == 4, "row tiles fold in fours");
_Static_assert(G4_TILE_TOKENS % TILE_T == 0 && TILE_T <= (int)G4_TOKENS_MAX, "token tiles");
_Static_assert(G4_TILE_COLS % G4_LANES == 0, "column blocks hold whole chunks");

/* lane[t][r][16] += w panel * x panel; first: from 0. */
G4_INLINE void tile(float *lane, const float *w, const float *x, int64_t chunks, int first)
{
    for (int p = 0; p < PASSES; p++) {
        vec acc[TILE_T][TILE_R];
        G4_UNROLL
        for (int t = 0; t < TILE_T; t++)
            G4_UNROLL
            for (int r = 0; r < TILE_R; r++)
                acc[t][r] = first ? vec_zero()
                                  : vec_load(lane + (t * TILE_R + r) * G4_LANES + p * VEC);
        for (int64_t c = 0; c < chunks; c++) {
            vec wr[TILE_R];
            G4_UNROLL
            for (int r = 0; r < TILE_R; r++) wr[r] = vec_load(w + r * VEC);
            G4_UNROLL
            for (int t = 0; t < TILE_T; t++) {
                vec xt = vec_load(x + t * VEC);
                G4_UNROLL
                for (int r = 0; r < TILE_R; r++) acc[t][r] = vec_fma(wr[r], xt, acc[t][r]);
            }
            w += TILE_R * VEC;
            x += TILE_T * VEC;
        }
        G4_UNROLL
        for (int t = 0; t < TILE_T; t++)
            G4_UNROLL
            for (int r = 0; r < TILE_R; r++)
                vec_store(lane + (t * TILE_R + r) * G4_LANES + p * VEC, acc[t][r]);
    }
}

typedef struct tile_block {
    int64_t r0, rows, t0, tokens;   /* outputs [t0, t0 + tokens) x [r0, r0 + rows) */
    int64_t row_tiles, token_tiles;
    float *w, *x, *lane;            /* parts of the scratch; lane [token tile][row tile] */
} tile_block;

/* Columns [k0, k0 + n) of the block's weights into panels; a block format is
 * unpacked to float32 first. */
G4_INLINE void pack_weights(const g4_linear_args *a, const tile_block *b, int64_t k0, int64_t n,
                            g4_dtype type)
{
    int64_t chunks = g4_round_up(n, G4_LANES) / G4_LANES;
    for (int64_t r = 0; r < b->row_tiles * TILE_R; r++) {
        float *panel = b->w + r / TILE_R * TILE_R * chunks * G4_LANES, wide[G4_TILE_COLS];
        int at = (int)(r % TILE_R);
        if (r >= b->rows) {
            pad_row(panel, TILE_R, at, chunks, G4_PAD_W);
            continue;
        }
        const unsigned char *src = row_at(g4_mat_row(a->w, b->r0 + r), k0, type);
        if (type == G4_Q8_0) {
            g4_unpack_q8_0(wide, src, n);
            pack_row(panel, TILE_R, at, (const void *)wide, n, chunks, G4_F32, G4_PAD_W);
        } else {
            pack_row(panel, TILE_R, at, src, n, chunks, type, G4_PAD_W);
        }
    }
}

/* Packing waits for memory, multiplying does not use it: while the row tiles of one
 * token tile are multiplied, each asks for its part of the next tile's tokens. */
G4_INLINE void ask_for_tokens(const g4_linear_args *a, const tile_block *b, int64_t k0, int64_t n,
                              int64_t first, int64_t rt)
{
    enum { LINE = 16 };   /* floats */
    int64_t part = g4_round_up(n, b->row_tiles * LINE) / b->row_tiles;
    int64_t end = g4_min(first + TILE_T, b->tokens), stop = g4_min((rt + 1) * part, n);
    for (int64_t token = first; token < end; token++) {
        const float *x = a->x + (b->t0 + token) * a->ldx + k0;
        for (int64_t i = rt * part; i < stop; i += LINE) __builtin_prefetch(x + i);
    }
}

/* Columns [k0, k0 + n): repacks the block's weights, then its tokens tile by tile. */
G4_INLINE void tile_columns(const g4_linear_args *a, const tile_block *b, int64_t k0, int64_t n,
                            g4_dtype type)
{
    int64_t chunks = g4_round_up(n, G4_LANES) / G4_LANES;
    int64_t w_size = TILE_R * chunks * G4_LANES, tile_size = TILE_R * TILE_T * G4_LANES;
    pack_weights(a, b, k0, n, type);
    for (int64_t tt = 0; tt < b->token_tiles; tt++) {
        for (int t = 0; t < TILE_T; t++) {
            int64_t token = tt * TILE_T + t;
            if (token < b->tokens)
                pack_row(b->x, TILE_T, t, (const void *)(a->x + (b->t0 + token) * a->ldx + k0), n,
                         chunks, G4_F32, G4_PAD_X);
            else
                pad_row(b->x, TILE_T, t, chunks, G4_PAD_X);
        }
        for (int64_t rt = 0; rt < b->row_tiles; rt++) {
            ask_for_tokens(a, b, k0, n, (tt + 1) * TILE_T, rt);
            tile(b->lane + (tt * b->row_tiles + rt) * tile_size, b->w + rt * w_size, b->x, chunks,
                 k0 == 0);
        }
    }
}

/* Folds the lanes of a block into y. */
G4_INLINE void tile_fold(const g4_linear_args *a, const tile_block *b)
{
    for (int64_t token = 0; token < b->tokens; token++) {
        const float *lane = b->lane + (token / TILE_T * b->row_tiles * TILE_T + token % TILE_T) *
                                          TILE_R * G4_LANES;
        float *y = a->y + (b->t0 + token) * a->ldy + b->r0;
        for (int64_t r = 0; r < b->rows; r += TILE_R, lane += TILE_R * TILE_T * G4_LANES) {
            float out[TILE_R];
            if (b->rows - r >= TILE_R) {
                fold4(y + r, lane);
            } else {
                fold4(out, lane);
                memcpy(y + r, out, (size_t)(b->rows - r) * sizeof *y);
            }
        }
    }
}

G4_INLINE void linear_tiled(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch,
                            g4_dtype type)
{
    int64_t k_max = g4_min(G4_TILE_COLS, g4_round_up(a->w->cols, G4_LANES));
    size_t past = (uintptr_t)scratch / sizeof(float) % G4_LANES;   /* to a cache line */
    tile_block b = { .w = scratch + (G4_LANES - past) % G4_LANES };
    b.x = b.w + G4_TILE_ROWS * k_max;
    b.lane = b.x + G4_TOKENS_MAX * k_max;
    for (b.r0 = r0; b.r0 < r1; b.r0 += G4_TILE_ROWS) {
        b.rows = g4_min(r1 - b.r0, G4_TILE_ROWS);
        b.row_tiles = g4_round_up(b.rows, TILE_R) / TILE_R;
        for (b.t0 = 0; b.t0 < a->tokens; b.t0 += G4_TILE_TOKENS) {
            b.tokens = g4_min(a->tokens - b.t0, G4_TILE_TOKENS);
            b.token_tiles = g4_round_up(b.tokens, TILE_T) / TILE_T;
            for (int64_t k = 0; k == 0 || k < a->w->cols; k += G4_TILE_COLS)
                tile_columns(a, &b, k, g4_min(a->w->cols - k, G4_TILE_COLS), type);
            tile_fold(a, &b);
        }
    }
}

#endif
