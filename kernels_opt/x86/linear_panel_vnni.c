/* SPDX-License-Identifier: Apache-2.0
 * Linear over panels with AVX-512 VNNI.  A zmm register holds 4 weights of each of the
 * panel's 16 rows; one vpdpbusd multiplies them with 4 values of one token, broadcast.
 * Few tokens, decoding and drafts: a tile is one panel by 1 to 8 of them; the block's
 * weights are unpacked into eight registers once and used for all of them.  Prefill
 * (panel_runs.h) is bound by the two ports that multiply: 8 of 10 of their operations are
 * vpdpbusd [N50].
 *
 * Unsigned weights (offset added) times signed x: the offset's part of the sum is where
 * the sum starts (round_x put it beside the values), so it costs nothing. */
#include "kernels_opt/x86/panel_avx512.h"
#include "kernels_opt/x86/vec_avx512.h"

typedef __m512i ints;

enum { RUN = 24 };   /* blocks: two panels' unpacked ones stay in the level-1 cache [N50] */

#include "kernels_opt/x86/panel_runs.h"

/* -sum q of one half, as round_x left it, times 32. */
G4_INLINE __m512i half_start(const unsigned char *correction, int h)
{
    int32_t both;
    memcpy(&both, correction, 4);
    __m512i v = _mm512_set1_epi32(both);
    return h ? _mm512_slli_epi32(_mm512_srai_epi32(v, 16), 5)
             : _mm512_srai_epi32(_mm512_slli_epi32(v, 16), 11);
}

G4_INLINE __m512i sum_start(const unsigned char *correction, int part, g4_dtype type)
{
    int32_t start;
    memcpy(&start, correction, 4);
    return type == G4_Q6_K                      ? half_start(correction, part)
           : type == G4_Q4_K || type == G4_Q5_K ? _mm512_setzero_si512()
                                                : _mm512_set1_epi32(start);
}

G4_INLINE __m512i dot(__m512i sum, __m512i w, const unsigned char *q)
{
    int32_t four;
    memcpy(&four, q, 4);
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
}

/* One block of the panel times the same block of T tokens. */
TILE void block_tile(__m512 *acc, const block_regs *b, const unsigned char *x, int T,
                     g4_dtype type)
{
    const unsigned char *d = x + G4_PANEL_BLOCK * T, *correction = d + 4 * T;
    const int parts = type == G4_Q6_K ? 2 : 1, minima = type == G4_Q4_K || type == G4_Q5_K;
TILE_UNROLL
    for (int t = 0; t < T; t++) {
        const unsigned char *q = x + G4_PANEL_BLOCK * t;
        __m512 dt = floats_of(d + 4 * t);
        for (int part = 0; part < parts; part++) {
            __m512i sum = sum_start(correction + 4 * t, part, type);
            for (int i = 8 / parts * part; i < 8 / parts * (part + 1); i++)
                sum = dot(sum, b->w[i], q + 4 * i);
            acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(b->scale[part], dt),
                                     acc[t]);
        }
        if (minima) acc[t] = _mm512_fnmadd_ps(b->minimum, floats_of(correction + 4 * t), acc[t]);
    }
}

/* T and type are constants wherever this is used. */
TILE void few_of(const panel_tile *a, int T, g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    const unsigned char *record = a->panel, *x = a->x;
    __m512 acc[G4_XQ_FEW];
    block_regs b;
TILE_UNROLL
    for (int t = 0; t < T; t++) acc[t] = _mm512_setzero_ps();
    int64_t at = 0;
    for (; at + f.blocks <= a->blocks; at += f.blocks, record += f.record) {
        for (int k = 0; k < f.record; k += 64)   /* 8 tokens compute too long on a line for the
                                                  * hardware to look ahead by itself [N50] */
            _mm_prefetch((const char *)record + G4_PANEL_AHEAD + k, _MM_HINT_T0);
        for (int j = 0; j < f.blocks; j++, x += T * G4_XQ_BYTES) {
            unpack(&b, record, j, type);
            block_tile(acc, &b, x, T, type);
        }
    }
    if (at < a->blocks) {
        unpack(&b, record, 0, type);
        block_tile(acc, &b, x, T, type);
    }
TILE_UNROLL
    for (int t = 0; t < T; t++) store_rows(a->y + t * a->ldy, a->rows, acc[t]);
}

G4_INLINE void tile_run(const panel_tile *a, int64_t T, g4_dtype type)
{
    switch (T) {
    case 1: few_of(a, 1, type); break;
    case 2: few_of(a, 2, type); break;
    case 3: few_of(a, 3, type); break;
    case 4: few_of(a, 4, type); break;
    case 5: few_of(a, 5, type); break;
    case 6: few_of(a, 6, type); break;
    case 7: few_of(a, 7, type); break;
    default: few_of(a, 8, type);
    }
}

/* ---- whole tiles ---- */

G4_INLINE void unpack_block(panel_run *run, int p, int i, const unsigned char *record, int j,
                            g4_dtype type)
{
    block_regs b;
    unpack(&b, record, j, type);
    for (int g = 0; g < GROUPS; g++) run->w[i][g][p] = b.w[g];
    run->scale[i][0][p] = b.scale[0];
    if (type == G4_Q6_K) run->scale[i][1][p] = b.scale[1];
    if (g4_panel_format_get(type).correction == G4_CORRECT_MINIMUM)
        run->minus_minimum[i][p] = -b.minimum;
}

G4_INLINE void add_groups(ints sum[TOKENS][SETS], ints w[GROUPS][SETS], int g0, int g1,
                          const unsigned char *q, g4_dtype type)
{
    (void)type;
TILE_UNROLL
    for (int g = g0; g < g1; g++)
TILE_UNROLL
        for (int t = 0; t < TOKENS; t++)
TILE_UNROLL
            for (int s = 0; s < SETS; s++)
                sum[t][s] = dot(sum[t][s], w[g][s], q + G4_PANEL_BLOCK * t + 4 * g);
}

G4_INLINE __mmask16 rows_mask(int64_t rows)
{
    return (__mmask16)((1u << (rows < 0 ? 0 : g4_min(rows, VEC))) - 1);
}

G4_INLINE vec floats_of_ints(ints v) { return _mm512_cvtepi32_ps(v); }

G4_INLINE vec load_rows(const float *y, int64_t rows)
{
    return _mm512_maskz_loadu_ps(rows_mask(rows), y);
}

G4_INLINE void store_rows(float *y, int64_t rows, vec v)
{
    _mm512_mask_storeu_ps(y, rows_mask(rows), v);
}

G4_PANEL_KERNELS(vnni)

void g4_round_x_f32_vnni(const g4_round_args *a, int64_t p0, int64_t p1)
{
    round_tiles(a, p0, p1);
}
