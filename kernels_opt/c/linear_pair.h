/* SPDX-License-Identifier: Apache-2.0
 * linear_pair on vectors of VEC lanes (law in kernels_opt/pair.h): a file <isa dir>/pair_<isa>.c
 * includes its vector header, says what `pairs` is, how they are loaded and taken in
 * (pair_load, pair_fma), and G4_FN(name), then includes this.  Weights are read where they
 * lie: 64 rows x 1536 columns stay in the level-2 cache while 96 tokens pass by, a tile's
 * tokens in the level-1 cache while all rows do; meanwhile lanes wait in scratch. */
#include "kernels_opt/c/round_pair.h"
#include "kernels_opt/c/tiled.h"

enum { PAIR_BLOCK = 2 * G4_TILE_COLS };   /* columns: as many bytes as c/tiled.h's floats */

/* lane[T][TILE_R][16] += TILE_R rows x T tokens, `chunks` times 32 columns; T constant. */
G4_INLINE void pair_tile(float *lane, const unsigned char *const w[TILE_R],
                         const unsigned char *x, size_t step, int64_t chunks, int first,
                         const int T)
{
    for (int p = 0; p < PASSES; p++) {
        vec acc[G4_TOKENS_MAX][TILE_R];
        float *at = lane + p * VEC;
        G4_UNROLL
        for (int t = 0; t < T; t++)
            G4_UNROLL
            for (int r = 0; r < TILE_R; r++)
                acc[t][r] = first ? vec_zero() : vec_load(at + (t * TILE_R + r) * G4_LANES);
        size_t begin = (size_t)p * VEC * 4, end = begin + (size_t)chunks * 2 * G4_PAIR_COLS;
        for (size_t k = begin; k < end; k += 2 * G4_PAIR_COLS) {
            pairs wr[TILE_R];
            G4_UNROLL
            for (int r = 0; r < TILE_R; r++) wr[r] = pair_load(w[r] + k);
            G4_UNROLL
            for (int t = 0; t < T; t++) {
                pairs xt = pair_load(x + (size_t)t * step + k);
                G4_UNROLL
                for (int r = 0; r < TILE_R; r++) acc[t][r] = pair_fma(acc[t][r], wr[r], xt);
            }
        }
        G4_UNROLL
        for (int t = 0; t < T; t++)
            G4_UNROLL
            for (int r = 0; r < TILE_R; r++)
                vec_store(at + (t * TILE_R + r) * G4_LANES, acc[t][r]);
    }
}

G4_INLINE void pair_tile_any(float *lane, const unsigned char *const w[TILE_R],
                             const unsigned char *x, size_t step, int64_t chunks, int first,
                             int64_t T)
{
    switch (T) {
    case 1: pair_tile(lane, w, x, step, chunks, first, 1); break;
    case 2: pair_tile(lane, w, x, step, chunks, first, 2); break;
    case 3: pair_tile(lane, w, x, step, chunks, first, 3); break;
    case 4: pair_tile(lane, w, x, step, chunks, first, 4); break;
    case 5: pair_tile(lane, w, x, step, chunks, first, 5); break;
    case 6: pair_tile(lane, w, x, step, chunks, first, 6); break;
    default: break;   /* TILE_T tokens are the most: 3 or 6 */
    }
}

/* The rows of a tile from column k on; past the last row the last one again. */
typedef struct pair_rows {
    const unsigned char *w[TILE_R];
    unsigned char tail[TILE_R][2 * G4_PAIR_COLS];   /* what is left of them past whole chunks */
} pair_rows;

G4_INLINE void pair_rows_at(pair_rows *rows, const g4_linear_args *a, const tile_block *b,
                            int64_t rt, int64_t k, int64_t left)
{
    for (int r = 0; r < TILE_R; r++) {
        int64_t row = b->r0 + g4_min(rt * TILE_R + r, b->rows - 1);
        rows->w[r] = g4_mat_row(a->w, row) + 2 * k;
        if (!left) continue;
        memset(rows->tail[r], 0, sizeof rows->tail[r]);
        memcpy(rows->tail[r], g4_mat_row(a->w, row) + 2 * (a->w->cols - left), (size_t)(2 * left));
    }
}

/* Columns [k, k + n) of all tiles. */
G4_INLINE void pair_columns(const g4_linear_args *a, const tile_block *b, int64_t k, int64_t n)
{
    int64_t ld = g4_pair_ld(a->w->cols), chunks = n / G4_PAIR_COLS, left = n % G4_PAIR_COLS;
    for (int64_t tt = 0; tt < b->token_tiles; tt++) {
        int64_t T = g4_min(b->tokens - tt * TILE_T, TILE_T);
        const unsigned char *x = a->xq + 2 * ((b->t0 + tt * TILE_T) * ld + k);
        for (int64_t rt = 0; rt < b->row_tiles; rt++) {
            pair_rows rows;
            float *lane = b->lane + (tt * b->row_tiles + rt) * TILE_R * TILE_T * G4_LANES;
            pair_rows_at(&rows, a, b, rt, k, left);
            pair_tile_any(lane, rows.w, x, (size_t)(2 * ld), chunks, k == 0, T);
            if (!left) continue;
            const unsigned char *const tail[] = { rows.tail[0], rows.tail[1], rows.tail[2],
                                                  rows.tail[3] };
            pair_tile_any(lane, tail, x + 2 * (n - left), (size_t)(2 * ld), 1, 0, T);
        }
    }
}

void G4_FN(linear_pair_bf16)(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch)
{
    size_t past = (uintptr_t)scratch / sizeof(float) % G4_LANES;   /* to a cache line */
    tile_block b = { .lane = scratch + (G4_LANES - past) % G4_LANES };
    for (b.r0 = r0; b.r0 < r1; b.r0 += G4_TILE_ROWS) {
        b.rows = g4_min(r1 - b.r0, G4_TILE_ROWS);
        b.row_tiles = g4_round_up(b.rows, TILE_R) / TILE_R;
        for (b.t0 = 0; b.t0 < a->tokens; b.t0 += G4_TILE_TOKENS) {
            b.tokens = g4_min(a->tokens - b.t0, G4_TILE_TOKENS);
            b.token_tiles = g4_round_up(b.tokens, TILE_T) / TILE_T;
            for (int64_t k = 0; k < a->w->cols; k += PAIR_BLOCK)
                pair_columns(a, &b, k, g4_min(a->w->cols - k, PAIR_BLOCK));
            tile_fold(a, &b);
        }
    }
}

void G4_FN(round_pair_f32)(const g4_round_args *a, int64_t t0, int64_t t1)
{
    round_pairs(a, t0, t1);
}
