/* SPDX-License-Identifier: Apache-2.0
 * Prefill of all x86 kernels of linear_panel: whole tiles of tokens.  Columns are cut into
 * runs, whose part of x is read by all rows of the call from the level-2 cache; of a run the
 * weights of SETS vectors of rows are unpacked once for all tokens and stay in the level-1
 * cache; between runs the outputs wait in y.  A tile is SETS vectors by TOKENS tokens, so that
 * each value of x that is broadcast meets SETS [N50].
 *
 * A file that includes this includes a vec_*.h first and says `ints`, a vector as int32, RUN,
 * and what is declared below. */
#ifndef G4_KERNELS_X86_PANEL_RUNS_H
#define G4_KERNELS_X86_PANEL_RUNS_H

#include "kernels_opt/c/panel_tiles.h"

#include <immintrin.h>

enum {
    SETS = 2,       /* vectors of rows: of half a panel or of a whole one */
    TOKENS = 4,
    TILES = 32,     /* of 16 tokens, whose part of x stays in the level-2 cache */
    ROWS = SETS * VEC, PANELS = ROWS / G4_PANEL_ROWS,
    GROUPS = G4_PANEL_BLOCK / 4,   /* of 4 weights, in a block */
    PARTS = 2,      /* of a block of q6_k: each has a scale */
};

/* Some columns of ROWS rows, unpacked. */
typedef struct panel_run {
    ints w[RUN][GROUPS][SETS];
    vec scale[RUN][PARTS][SETS], minus_minimum[RUN][SETS];
    int64_t rows[SETS];     /* that there are; may be 0 or less */
    int blocks, first;      /* first: sums begin here, not in y */
    const unsigned char *next[PANELS];   /* the columns that come then */
    int64_t bytes;          /* of a run in a panel */
} panel_run;

/* Block j of a record of panel p to block i of the run. */
G4_INLINE void unpack_block(panel_run *run, int p, int i, const unsigned char *record, int j,
                            g4_dtype type);

/* Where a token's sum starts: `part` is a half of the block in q6_k. */
G4_INLINE ints sum_start(const unsigned char *correction, int part, g4_dtype type);

/* Adds the products of groups [g0, g1) with TOKENS tokens, whose values begin at q. */
G4_INLINE void add_groups(ints sum[TOKENS][SETS], ints w[GROUPS][SETS], int g0, int g1,
                          const unsigned char *q, g4_dtype type);

G4_INLINE vec floats_of_ints(ints v);
G4_INLINE vec floats_of(const unsigned char *p);         /* the float there, in all lanes */
G4_INLINE vec load_rows(const float *y, int64_t rows);   /* 0 where there are none */
G4_INLINE void store_rows(float *y, int64_t rows, vec v);

/* A block times a block of TOKENS tokens: their values, scales, corrections. */
TILE void run_block(vec acc[TOKENS][SETS], panel_run *run, int i, const unsigned char *q,
                    const unsigned char *d, const unsigned char *c, g4_dtype type)
{
    const int parts = type == G4_Q6_K ? 2 : 1, minima = type == G4_Q4_K || type == G4_Q5_K;
TILE_UNROLL
    for (int part = 0; part < parts; part++) {
        ints sum[TOKENS][SETS];
TILE_UNROLL
        for (int t = 0; t < TOKENS; t++) {
            ints start = sum_start(c + 4 * t, part, type);
TILE_UNROLL
            for (int s = 0; s < SETS; s++) sum[t][s] = start;
        }
        add_groups(sum, run->w[i], GROUPS / parts * part, GROUPS / parts * (part + 1), q, type);
TILE_UNROLL
        for (int t = 0; t < TOKENS; t++) {
            vec dt = floats_of(d + 4 * t);
TILE_UNROLL
            for (int s = 0; s < SETS; s++)
                acc[t][s] = vec_fma(floats_of_ints(sum[t][s]),
                                    vec_mul(run->scale[i][part][s], dt), acc[t][s]);
        }
    }
TILE_UNROLL
    for (int t = 0; minima && t < TOKENS; t++)
TILE_UNROLL
        for (int s = 0; s < SETS; s++)
            acc[t][s] = vec_fma(run->minus_minimum[i][s], floats_of(c + 4 * t), acc[t][s]);
}

/* TOKENS tokens from t of the tile whose block is x.  The hardware does not look ahead over
 * strides of a tile's block: `next` has the tokens that come then. */
TILE void run_tokens(float *y, int64_t ldy, panel_run *run, const unsigned char *x, int t,
                     const unsigned char *next, g4_dtype type)
{
    enum { BLOCK = G4_XQ_TOKENS * G4_XQ_BYTES, SCALES = G4_PANEL_BLOCK * G4_XQ_TOKENS };
    vec acc[TOKENS][SETS];
TILE_UNROLL
    for (int k = 0; k < TOKENS; k++)
TILE_UNROLL
        for (int s = 0; s < SETS; s++)
            acc[k][s] = run->first ? vec_zero() : load_rows(y + k * ldy + VEC * s, run->rows[s]);
    for (int i = 0; i < run->blocks; i++, x += BLOCK, next += BLOCK) {
        _mm_prefetch((const char *)next, _MM_HINT_T0);
        _mm_prefetch((const char *)next + 64, _MM_HINT_T0);
        _mm_prefetch((const char *)next + SCALES, _MM_HINT_T0);
        const unsigned char *d = x + SCALES + 4 * t;
        run_block(acc, run, i, x + G4_PANEL_BLOCK * t, d, d + 4 * G4_XQ_TOKENS, type);
    }
TILE_UNROLL
    for (int k = 0; k < TOKENS; k++)
TILE_UNROLL
        for (int s = 0; s < SETS; s++)
            store_rows(y + k * ldy + VEC * s, run->rows[s], acc[k][s]);
}

/* `tiles` whole tiles of tokens; x and y at the first. */
G4_INLINE void run_tiles(float *y, int64_t ldy, panel_run *run, const unsigned char *x,
                         int64_t stride, int64_t tiles, g4_dtype type)
{
    int64_t asked = 0;
    for (int64_t i = 0; i < tiles; i++, x += stride, y += G4_XQ_TOKENS * ldy)
        for (int t = 0; t < G4_XQ_TOKENS; t += TOKENS) {
            for (int k = 0; k < 4 && asked < run->bytes; k++, asked += 64)
                for (int p = 0; p < PANELS; p++)
                    _mm_prefetch((const char *)run->next[p] + asked, _MM_HINT_T1);
            int then = t + TOKENS < G4_XQ_TOKENS;
            run_tokens(y + t * ldy, ldy, run, x, t,
                       then ? x + G4_PANEL_BLOCK * (t + TOKENS) : x + stride, type);
        }
}

G4_INLINE void whole_tiles(const g4_linear_args *a, int64_t r0, int64_t r1, int64_t tiles,
                           g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    int64_t size = g4_panel_size(&f, a->w->cols), blocks = a->w->cols / G4_PANEL_BLOCK;
    int64_t stride = blocks * G4_XQ_TOKENS * G4_XQ_BYTES;
    panel_run run = { .bytes = RUN / f.blocks * f.record };
    for (int64_t at = 0; at < blocks; at += RUN)
        for (int64_t r = r0; r < r1; r += ROWS) {
            const unsigned char *panel = a->w->panels + r / G4_PANEL_ROWS * size;
            const unsigned char *then = panel + at / f.blocks * f.record +
                (r + ROWS < r1 ? PANELS * size : run.bytes - (r - r0) / G4_PANEL_ROWS * size);
            run.blocks = (int)g4_min(RUN, blocks - at);
            run.first = at == 0;
            for (int s = 0; s < SETS; s++) run.rows[s] = r1 - r - VEC * s;
            for (int p = 0; p < PANELS; p++) {
                /* The panel behind the last is not there: the same again, never stored. */
                int64_t there = r + G4_PANEL_ROWS * p < r1 ? p * size : 0;
                run.next[p] = then + p * size;
                for (int i = 0; i < run.blocks; i++)
                    unpack_block(&run, p, i, panel + there + (at + i) / f.blocks * f.record,
                                 (int)((at + i) % f.blocks), type);
            }
            run_tiles(a->y + r, a->ldy, &run,
                      a->xq + at * G4_XQ_TOKENS * G4_XQ_BYTES, stride, tiles, type);
        }
}

G4_INLINE void linear(const g4_linear_args *a, int64_t r0, int64_t r1, g4_dtype type)
{
    int64_t whole = a->tokens / G4_XQ_TOKENS, past = a->w->cols / G4_PANEL_BLOCK * G4_XQ_BYTES;
    for (int64_t i = 0; i < whole; i += TILES) {
        g4_linear_args part = *a;
        part.y += i * G4_XQ_TOKENS * a->ldy;
        part.xq += i * G4_XQ_TOKENS * past;
        whole_tiles(&part, r0, r1, g4_min(whole - i, TILES), type);
    }
    tiles_from(a, whole, r0, r1, type);
}

#endif
