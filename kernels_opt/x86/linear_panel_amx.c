/* SPDX-License-Identifier: Apache-2.0
 * Linear over panels with AMX: a panel's weights lie as a tile wants its second operand,
 * 4 columns of 16 rows a line, so one tdpbssd gives a block's exact sums of 16 rows x 16
 * tokens.  Scales are per block of 32 columns (the law, kernels_opt/panel.h), so half a tile
 * is all that may be summed at once, and the vector units' share, four operations for 16
 * outputs of a block, takes longer than the tiles'.
 * A panel's weights are unpacked, offsets subtracted, RUN blocks at a time, and stay in the
 * level-1 cache while all tokens pass by; between runs the outputs wait in y.  Tokens that
 * do not fill a tile go to the VNNI kernel.  Only its emulation has been run [N54]. */
#include "kernels_opt/kernels.h"
#include "kernels_opt/x86/panel_avx512.h"
#include "kernels_opt/x86/tiles_amx.h"

#ifndef G4_AMX_NAME
#define G4_AMX_NAME amx
#endif

enum { RUN = 32, HALVES = 2 };

/* RUN blocks of one panel. */
typedef struct panel_run {
    _Alignas(64) signed char w[RUN][8][TILE_ROW];
    __m512 scale[RUN][HALVES], minimum[RUN];
} panel_run;

/* Blocks [at, at + n) of a panel; `at` begins a record. */
G4_INLINE void unpack_run(panel_run *run, const unsigned char *panel, int64_t at, int64_t n,
                          g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    const __m512i offset = _mm512_set1_epi8((char)f.offset);
    for (int64_t i = 0; i < n; i++) {
        block_regs b;
        unpack(&b, panel + (at + i) / f.blocks * f.record, (int)((at + i) % f.blocks), type);
        for (int v = 0; v < 8; v++)
            _mm512_store_si512(run->w[i][v], _mm512_sub_epi8(b.w[v], offset));
        run->scale[i][0] = b.scale[0];
        if (type == G4_Q6_K) run->scale[i][1] = b.scale[1];
        if (f.correction == G4_CORRECT_MINIMUM) run->minimum[i] = b.minimum;
    }
}

/* Sums [16 tokens][16 rows] of a block, or of half of one, into the accumulators. */
G4_INLINE void take(__m512 acc[G4_XQ_TOKENS], const int32_t sums[G4_XQ_TOKENS][G4_PANEL_ROWS],
                    __m512 scale, const unsigned char *d)
{
    G4_UNROLL
    for (int t = 0; t < G4_XQ_TOKENS; t++) {
        __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums[t]));
        acc[t] = _mm512_fmadd_ps(sum, _mm512_mul_ps(scale, floats_of(d + 4 * t)), acc[t]);
    }
}

/* n blocks of the panel x 16 tokens, whose blocks begin at x; first: from 0. */
G4_INLINE void amx_tile(tile_file *file, float *y, int64_t ldy, __mmask16 rows,
                        const panel_run *run, int64_t n, const unsigned char *x, int first,
                        g4_dtype type)
{
    const int minima = type == G4_Q4_K || type == G4_Q5_K, parts = type == G4_Q6_K ? 2 : 1;
    _Alignas(64) int32_t sums[HALVES][G4_XQ_TOKENS][G4_PANEL_ROWS];
    __m512 acc[G4_XQ_TOKENS];
    (void)file;
    G4_UNROLL
    for (int t = 0; t < G4_XQ_TOKENS; t++)
        acc[t] = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(rows, y + t * ldy);
    for (int64_t i = 0; i < n; i++, x += G4_XQ_TOKENS * G4_XQ_BYTES) {
        const unsigned char *d = x + G4_PANEL_BLOCK * G4_XQ_TOKENS, *c = d + 4 * G4_XQ_TOKENS;
        tile_clear(file, 0);
        tile_load(file, 2, x, G4_PANEL_BLOCK);
        tile_load(file, 4, run->w[i][0], TILE_ROW);
        tile_dot(file, 0, 2, 4);
        tile_store(file, 0, sums[0], TILE_ROW);
        if (parts == 2) {
            tile_clear(file, 1);
            tile_load(file, 3, x + G4_PANEL_BLOCK / 2, G4_PANEL_BLOCK);
            tile_load(file, 5, run->w[i][4], TILE_ROW);
            tile_dot(file, 1, 3, 5);
            tile_store(file, 1, sums[1], TILE_ROW);
        }
        take(acc, sums[0], run->scale[i][0], d);
        if (parts == 2) take(acc, sums[1], run->scale[i][1], d);
        for (int t = 0; minima && t < G4_XQ_TOKENS; t++)
            acc[t] = _mm512_fnmadd_ps(run->minimum[i], floats_of(c + 4 * t), acc[t]);
    }
    G4_UNROLL
    for (int t = 0; t < G4_XQ_TOKENS; t++)
        _mm512_mask_storeu_ps(y + t * ldy, rows, acc[t]);
}

/* Whole tiles of 16 tokens: `tiles` of them. */
G4_INLINE void amx_tiles(const g4_linear_args *a, int64_t r0, int64_t r1, int64_t tiles,
                         g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    int64_t size = g4_panel_size(&f, a->w->cols), blocks = a->w->cols / G4_PANEL_BLOCK;
    const int width = type == G4_Q6_K ? G4_PANEL_BLOCK / 2 : G4_PANEL_BLOCK;
    tile_config config = { .palette = 1 };
    tile_file file;
    panel_run run;
    for (int i = 0; i < 6; i++) {   /* 0, 1: sums; 2, 3: tokens; 4, 5: weights */
        config.bytes[i] = (uint16_t)(i / 2 == 1 ? width : TILE_ROW);
        config.rows[i] = (uint8_t)(i / 2 == 2 ? width / 4 : TILE_ROWS);
    }
    tile_configure(&file, &config);
    for (int64_t r = r0; r < r1; r += G4_PANEL_ROWS)
        for (int64_t at = 0; at < blocks; at += RUN) {
            int64_t n = g4_min(RUN, blocks - at);
            unpack_run(&run, a->w->panels + r / G4_PANEL_ROWS * size, at, n, type);
            __mmask16 rows = (__mmask16)((1u << g4_min(r1 - r, G4_PANEL_ROWS)) - 1);
            for (int64_t i = 0; i < tiles; i++)
                amx_tile(&file, a->y + i * G4_XQ_TOKENS * a->ldy + r, a->ldy, rows, &run, n,
                         a->xq + (i * blocks + at) * G4_XQ_TOKENS * G4_XQ_BYTES, at == 0, type);
        }
    tile_end(&file);
}

/* The tokens past whole tiles, as a call of their own. */
static g4_linear_args rest_of(const g4_linear_args *a, int64_t done)
{
    g4_linear_args rest = *a;
    rest.y += done * a->ldy;
    rest.xq += done * (a->w->cols / G4_PANEL_BLOCK) * G4_XQ_BYTES;
    rest.tokens -= done;
    return rest;
}

#define AMX_KERNEL(name, type, isa)                                                         \
    void g4_linear_panel_##name##_##isa(const g4_linear_args *a, int64_t r0, int64_t r1)    \
    {                                                                                       \
        int64_t tiles = a->tokens / G4_XQ_TOKENS;                                           \
        g4_linear_args rest = rest_of(a, tiles * G4_XQ_TOKENS);                             \
        if (tiles) amx_tiles(a, r0, r1, tiles, type);                                       \
        if (rest.tokens) g4_linear_panel_##name##_vnni(&rest, r0, r1);                      \
    }

G4_PANEL_TYPES(AMX_KERNEL, G4_AMX_NAME)
