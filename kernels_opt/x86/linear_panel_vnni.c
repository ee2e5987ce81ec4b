/* SPDX-License-Identifier: Apache-2.0
 * Linear over panels with AVX-512 VNNI.  A zmm register holds 4 weights of each of the
 * panel's 16 rows; one vpdpbusd multiplies them with 4 values of one token, broadcast.
 * A tile is one panel by 16 tokens, or by 1 to 8: the block's weights are unpacked into eight
 * registers once and used for all of them; 16 accumulators stay in registers.
 *
 * Unsigned weights (offset added) times signed x: the offset's part of the sum is where
 * the sum starts (round_x put it beside the values), so it costs nothing. */
#include "kernels_opt/c/panel_tiles.h"
#include "kernels_opt/x86/panel_avx512.h"

/* Bytes ahead of use that weights are called for: a tile of 8 tokens computes too long
 * on a line for the hardware to look ahead by itself [N50]. */
enum { AHEAD = 9216 };

/* -sum q of one half, as round_x left it, times 32. */
G4_INLINE __m512i half_start(const unsigned char *correction, int h)
{
    int32_t both;
    memcpy(&both, correction, 4);
    __m512i v = _mm512_set1_epi32(both);
    return h ? _mm512_slli_epi32(_mm512_srai_epi32(v, 16), 5)
             : _mm512_srai_epi32(_mm512_slli_epi32(v, 16), 11);
}

G4_INLINE __m512i dot(__m512i sum, __m512i w, const unsigned char *q)
{
    int32_t four;
    memcpy(&four, q, 4);
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
}

G4_INLINE float float_at(const unsigned char *p)
{
    float f;
    memcpy(&f, p, 4);
    return f;
}

/* One block of the panel times the same block of T tokens. */
TILE void block_tile(__m512 *acc, const block_regs *b, const unsigned char *x, int T,
                          g4_dtype type)
{
    const unsigned char *d = x + G4_PANEL_BLOCK * T, *correction = d + 4 * T;
TILE_UNROLL
    for (int t = 0; t < T; t++) {
        const unsigned char *q = x + G4_PANEL_BLOCK * t;
        __m512 dt = _mm512_set1_ps(float_at(d + 4 * t));
        int32_t start;
        memcpy(&start, correction + 4 * t, 4);
        if (type == G4_Q6_K) {
            for (int h = 0; h < 2; h++) {
                __m512i sum = half_start(correction + 4 * t, h);
                for (int i = 4 * h; i < 4 * h + 4; i++) sum = dot(sum, b->w[i], q + 4 * i);
                acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(b->scale[h], dt),
                                         acc[t]);
            }
            continue;
        }
        int minima = type == G4_Q4_K || type == G4_Q5_K;
        __m512i sum = minima ? _mm512_setzero_si512() : _mm512_set1_epi32(start);
        for (int i = 0; i < 8; i++) sum = dot(sum, b->w[i], q + 4 * i);
        acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(b->scale[0], dt), acc[t]);
        if (minima)
            acc[t] = _mm512_fnmadd_ps(b->minimum, _mm512_set1_ps(float_at(correction + 4 * t)),
                                      acc[t]);
    }
}

/* T and type are constants wherever this is used. */
TILE void tile_of(const panel_tile *a, int T, g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    const unsigned char *record = a->panel, *x = a->x;
    __m512 acc[G4_XQ_TOKENS];
    block_regs b;
TILE_UNROLL
    for (int t = 0; t < T; t++) acc[t] = _mm512_setzero_ps();
    int64_t at = 0;
    for (; at + f.blocks <= a->blocks; at += f.blocks, record += f.record) {
        for (int k = 0; k < f.record; k += 64)
            _mm_prefetch((const char *)record + AHEAD + k, _MM_HINT_T0);
        for (int j = 0; j < f.blocks; j++, x += T * G4_XQ_BYTES) {
            unpack(&b, record, j, type);
            block_tile(acc, &b, x, T, type);
        }
    }
    if (at < a->blocks) {
        unpack(&b, record, 0, type);
        block_tile(acc, &b, x, T, type);
    }
    const __mmask16 rows = (__mmask16)((1u << a->rows) - 1);
TILE_UNROLL
    for (int t = 0; t < T; t++) _mm512_mask_storeu_ps(a->y + t * a->ldy, rows, acc[t]);
}

G4_INLINE void tile_run(const panel_tile *a, int64_t T, g4_dtype type)
{
    switch (T) {
    case 1: tile_of(a, 1, type); break;
    case 2: tile_of(a, 2, type); break;
    case 3: tile_of(a, 3, type); break;
    case 4: tile_of(a, 4, type); break;
    case 5: tile_of(a, 5, type); break;
    case 6: tile_of(a, 6, type); break;
    case 7: tile_of(a, 7, type); break;
    case 8: tile_of(a, 8, type); break;
    default: tile_of(a, 16, type);
    }
}

G4_PANEL_KERNELS(vnni)

void g4_round_x_f32_vnni(const g4_round_args *a, int64_t p0, int64_t p1)
{
    round_tiles(a, p0, p1);
}
