/* SPDX-License-Identifier: Apache-2.0
 * Linear over panels in 256-bit registers, for AVX2 and, with G4_PANEL_DPBUSD, AVX-VNNI.
 *
 * A register holds 4 weights of each of 8 rows: half a panel, and each value of x that is
 * broadcast meets two of them.  Few tokens: a block takes two passes, over weights 0..15 and
 * 16..31 of all 16 rows, which are 8 registers, half of the file; sums and accumulators lie
 * in the level-1 cache between passes, so the number of tokens need not be a constant.
 * Prefill: panel_runs.h.
 *
 * AVX2 multiplies bytes unsigned * signed and adds pairs in 16 bits, saturating at 32767.
 * |q| <= 127, so nothing saturates:
 *
 *   w <= 15      a pair is at most 2 * 15 * 127 = 3810, eight of them 30480
 *   w <= 31      a pair 7874, four of them 31496
 *   w <= 63      a pair 16002, two of them 32004
 *   8 bits       |w| <= 128 times q with w's sign: a pair 32512, widened by itself
 *
 * AVX-VNNI adds in 32 bits; its 8-bit weights carry an offset, as in linear_panel_vnni.c. */
#ifndef G4_KERNELS_X86_LINEAR_PANEL_256_H
#define G4_KERNELS_X86_LINEAR_PANEL_256_H

#include "kernels_opt/x86/vec_avx2.h"

typedef __m256i ints;

enum { RUN = 16 };   /* blocks: half a panel's unpacked ones stay in the level-1 cache [N50] */

#include "kernels_opt/x86/panel_runs.h"

#ifdef G4_PANEL_DPBUSD
enum { DPBUSD = 1 };
#else
enum { DPBUSD = 0 };
#define _mm256_dpbusd_avx_epi32(sum, w, q) (sum)   /* never reached */
#endif

enum { PASSES = 2, PASS_GROUPS = GROUPS / PASSES };

/* A pass: w[g][s] has weights 4g .. 4g + 3 of side s; size: |w| where w is signed. */
typedef struct pass_regs {
    __m256i w[PASS_GROUPS][SETS], size[PASS_GROUPS][SETS];
} pass_regs;

/* What waits in memory while other tokens are computed. */
typedef struct tile_sums {
    __m256 acc[G4_XQ_FEW][SETS];
    __m256i sum[G4_XQ_FEW][SETS];
} tile_sums;

G4_INLINE __m256i bytes_at(const unsigned char *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

G4_INLINE __m128i half_bytes_at(const unsigned char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

G4_INLINE __m256 halves_at(const unsigned char *p) { return _mm256_cvtph_ps(half_bytes_at(p)); }

/* 8 bytes as int32. */
G4_INLINE __m256i widen(const unsigned char *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

/* Weights are signed 8-bit numbers: sums need no offset's part. */
G4_INLINE int is_signed(g4_dtype type)
{
    return !DPBUSD && (type == G4_Q8_0 || type == G4_IQ4_NL || type == G4_IQ4_XS);
}

/* ---- unpacking ---- */

/* Levels by nibble; + 128 where they must be unsigned. */
G4_INLINE __m256i levels(__m256i nibble)
{
    const __m256i table = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113));
    __m256i level = _mm256_shuffle_epi8(table, nibble);
    return DPBUSD ? _mm256_xor_si256(level, _mm256_set1_epi8(-128)) : level;
}

/* Bits i and up of each byte to bit `to` and up; what else moves is masked away. */
G4_INLINE __m256i bits_to(__m256i v, int i, int to, int mask)
{
    v = to > i ? _mm256_slli_epi16(v, to - i) : _mm256_srli_epi16(v, i - to);
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* Pass p of the weights at `at`, the block's first byte of weights. */
G4_INLINE void unpack(pass_regs *r, const unsigned char *at, int p, g4_dtype type)
{
G4_UNROLL
    for (int g = 0; g < PASS_GROUPS; g++)
        for (int s = 0; s < SETS; s++) {
            int byte = 64 * g + 32 * s;
            __m256i w = type == G4_Q8_0 ? bytes_at(at + 256 * p + byte)
                                        : bits_to(bytes_at(at + byte), 4 * p, 0, 15);
            if (type == G4_Q8_0 && !DPBUSD) w = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
            if (type == G4_IQ4_NL || type == G4_IQ4_XS) w = levels(w);
            if (type == G4_Q5_K)
                w = _mm256_or_si256(w, bits_to(bytes_at(at + 256 + 32 * s), 4 * p + g, 4, 0x10));
            if (type == G4_Q6_K)
                w = _mm256_or_si256(w, bits_to(bytes_at(at + 256 + 64 * p + 32 * s), 2 * g, 4,
                                               0x30));
            r->w[g][s] = w;
            if (is_signed(type)) r->size[g][s] = _mm256_abs_epi8(w);
        }
}

/* Scale and minimum of q4_k and q5_k as 6-bit integers. */
G4_INLINE void scales6(__m256i *scale, __m256i *minimum, const unsigned char *record, int j, int s)
{
    const __m256i four = _mm256_set1_epi32(15), two = _mm256_set1_epi32(0x30);
    __m256i low = widen(record + 64 + 16 * j + 8 * s);
    __m256i high = widen(record + 192 + 16 * (j / 2) + 8 * s);
    if (j % 2) high = _mm256_srli_epi32(high, 4);
    *scale = _mm256_or_si256(_mm256_and_si256(low, four),
                             _mm256_and_si256(_mm256_slli_epi32(high, 4), two));
    *minimum = _mm256_or_si256(_mm256_srli_epi32(low, 4),
                               _mm256_and_si256(_mm256_slli_epi32(high, 2), two));
}

G4_INLINE __m256i scale_iq4_xs(const unsigned char *record, int j, int s)
{
    __m256i low = widen(record + 64 + 16 * (j / 2) + 8 * s);
    __m256i high = _mm256_cvtepu16_epi32(half_bytes_at(record + 32 + 16 * s));
    low = _mm256_and_si256(j % 2 ? _mm256_srli_epi32(low, 4) : low, _mm256_set1_epi32(15));
    high = _mm256_and_si256(_mm256_srl_epi32(high, _mm_cvtsi32_si128(2 * j)), _mm256_set1_epi32(3));
    return _mm256_sub_epi32(_mm256_or_si256(low, _mm256_slli_epi32(high, 4)),
                            _mm256_set1_epi32(32));
}

/* Scale of block j, of its pass p in q6_k; the minimum of formats that have it. */
G4_INLINE __m256 scale_get(__m256 *minimum, const unsigned char *record, int j, int p, int s,
                           g4_dtype type)
{
    __m256i scale, least;
    if (type == G4_Q4_0 || type == G4_Q8_0 || type == G4_IQ4_NL)
        return halves_at(record + 32 * j + 16 * s);
    if (type == G4_IQ4_XS) {
        scale = scale_iq4_xs(record, j, s);
    } else if (type == G4_Q6_K) {
        const unsigned char *at = record + 64 + 32 * j + 16 * p + 8 * s;
        scale = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)at));
    } else {
        scales6(&scale, &least, record, j, s);
        *minimum = _mm256_mul_ps(halves_at(record + 32 + 16 * s), _mm256_cvtepi32_ps(least));
    }
    return _mm256_mul_ps(halves_at(record + 16 * s), _mm256_cvtepi32_ps(scale));
}

/* ---- multiplying ---- */

G4_INLINE int32_t int_at(const unsigned char *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

G4_INLINE __m256 floats_of(const unsigned char *p)
{
    float f;
    memcpy(&f, p, 4);
    return _mm256_set1_ps(f);
}

/* 16-bit sums in pairs to 32 bits. */
G4_INLINE __m256i add_wide(__m256i sum, __m256i pairs)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* A pass of one side and one token: q has its 16 values, four to a register. */
G4_INLINE __m256i dot(__m256i sum, const pass_regs *r, int s, const __m256i q[PASS_GROUPS],
                      g4_dtype type)
{
    __m256i pair[PASS_GROUPS];
    for (int g = 0; g < PASS_GROUPS; g++) {
        if (DPBUSD)
            sum = _mm256_dpbusd_avx_epi32(sum, r->w[g][s], q[g]);
        else if (is_signed(type))
            sum = add_wide(sum, _mm256_maddubs_epi16(r->size[g][s],
                                                     _mm256_sign_epi8(q[g], r->w[g][s])));
        else
            pair[g] = _mm256_maddubs_epi16(r->w[g][s], q[g]);
    }
    if (DPBUSD || is_signed(type)) return sum;
    __m256i low = _mm256_add_epi16(pair[0], pair[1]), high = _mm256_add_epi16(pair[2], pair[3]);
    if (type == G4_Q6_K) return add_wide(add_wide(sum, low), high);
    return add_wide(sum, _mm256_add_epi16(low, high));
}

/* Where a token's sum starts: what the weights' offset adds, taken away. */
G4_INLINE __m256i sum_start(const unsigned char *correction, int p, g4_dtype type)
{
    if (type == G4_Q6_K) {
        int16_t half;
        memcpy(&half, correction + 2 * p, 2);
        return _mm256_set1_epi32(32 * half);
    }
    if (type == G4_Q4_K || type == G4_Q5_K || is_signed(type)) return _mm256_setzero_si256();
    return _mm256_set1_epi32(int_at(correction));
}

/* Pass p of a block times the same values of T tokens. */
G4_INLINE void pass_tile(tile_sums *sums, const pass_regs *r, const __m256 scale[SETS],
                         const __m256 minimum[SETS], const unsigned char *x, int64_t T, int p,
                         g4_dtype type)
{
    const unsigned char *d = x + G4_PANEL_BLOCK * T, *correction = d + 4 * T;
    const int minima = type == G4_Q4_K || type == G4_Q5_K, last = p == 1 || type == G4_Q6_K;
    const int first = p == 0 || type == G4_Q6_K;
    for (int64_t t = 0; t < T; t++) {
        __m256i q[PASS_GROUPS];
        for (int g = 0; g < PASS_GROUPS; g++)
            q[g] = _mm256_set1_epi32(int_at(x + G4_PANEL_BLOCK * t + 16 * p + 4 * g));
        for (int s = 0; s < SETS; s++) {
            __m256i sum = first ? sum_start(correction + 4 * t, p, type) : sums->sum[t][s];
            sum = dot(sum, r, s, q, type);
            if (!last) {
                sums->sum[t][s] = sum;
                continue;
            }
            __m256 acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum),
                                         _mm256_mul_ps(scale[s], floats_of(d + 4 * t)),
                                         sums->acc[t][s]);
            if (minima) acc = _mm256_fnmadd_ps(minimum[s], floats_of(correction + 4 * t), acc);
            sums->acc[t][s] = acc;
        }
    }
}

G4_INLINE void block_tile(tile_sums *sums, const unsigned char *record, int j,
                          const unsigned char *x, int64_t T, g4_dtype type)
{
    __m256 scale[SETS], minimum[SETS] = { _mm256_setzero_ps(), _mm256_setzero_ps() };
G4_UNROLL
    for (int p = 0; p < 2; p++) {
        pass_regs r;
        unpack(&r, record + g4_panel_weights_at(type, j), p, type);
        for (int s = 0; s < SETS && (p == 1 || type == G4_Q6_K); s++)
            scale[s] = scale_get(&minimum[s], record, j, p, s, type);
        pass_tile(sums, &r, scale, minimum, x, T, p, type);
    }
}

G4_INLINE void tile_of(const panel_tile *a, int64_t T, g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    const unsigned char *record = a->panel, *x = a->x;
    tile_sums sums;
    for (int64_t t = 0; t < T; t++)
        sums.acc[t][0] = sums.acc[t][1] = _mm256_setzero_ps();
    for (int64_t at = 0; at < a->blocks; at += f.blocks, record += f.record) {
        int n = (int)g4_min(f.blocks, a->blocks - at);
        for (int k = 0; k < f.record; k += 64)
            _mm_prefetch((const char *)record + G4_PANEL_AHEAD + k, _MM_HINT_T0);
        for (int j = 0; j < n; j++, x += T * G4_XQ_BYTES)
            block_tile(&sums, record, j, x, T, type);
    }
    for (int64_t t = 0; t < T; t++)
        for (int s = 0; s < SETS; s++)
            store_rows(a->y + t * a->ldy + 8 * s, a->rows - 8 * s, sums.acc[t][s]);
}

G4_INLINE void tile_run(const panel_tile *a, int64_t T, g4_dtype type)
{
    if (T == 1) tile_of(a, 1, type);
    else tile_of(a, T, type);
}

/* ---- whole tiles ---- */

G4_INLINE void unpack_block(panel_run *run, int p, int i, const unsigned char *record, int j,
                            g4_dtype type)
{
    (void)p;   /* the only panel */
    for (int pass = 0; pass < PASSES; pass++) {
        pass_regs r;
        unpack(&r, record + g4_panel_weights_at(type, j), pass, type);
        for (int s = 0; s < SETS; s++) {
            __m256 minimum = _mm256_setzero_ps();
            for (int g = 0; g < PASS_GROUPS; g++) run->w[i][PASS_GROUPS * pass + g][s] = r.w[g][s];
            if (pass > 0 && type != G4_Q6_K) continue;
            run->scale[i][pass][s] = scale_get(&minimum, record, j, pass, s, type);
            run->minus_minimum[i][s] = -minimum;
        }
    }
}

/* Where a compiler must add at once: gcc would keep all products for a tree of sums. */
#define ADDED(v) __asm__("" : "+x"(v))

/* All groups of a block whose sums of products fit in 16 bits. */
TILE void add_pairs(ints sum[TOKENS][SETS], ints w[PASS_GROUPS][SETS], int groups,
                    const unsigned char *q)
{
    ints pair[TOKENS][SETS];
TILE_UNROLL
    for (int g = 0; g < groups; g++)
TILE_UNROLL
        for (int t = 0; t < TOKENS; t++) {
            ints x = _mm256_set1_epi32(int_at(q + G4_PANEL_BLOCK * t + 4 * g));
TILE_UNROLL
            for (int s = 0; s < SETS; s++) {
                ints m = _mm256_maddubs_epi16(w[g][s], x);
                pair[t][s] = g == 0 ? m : _mm256_add_epi16(pair[t][s], m);
                ADDED(pair[t][s]);
            }
        }
TILE_UNROLL
    for (int t = 0; t < TOKENS; t++)
TILE_UNROLL
        for (int s = 0; s < SETS; s++) sum[t][s] = add_wide(sum[t][s], pair[t][s]);
}

/* One group: 32 bits at once. */
TILE void add_group(ints sum[TOKENS][SETS], ints w[SETS], const unsigned char *q)
{
TILE_UNROLL
    for (int t = 0; t < TOKENS; t++) {
        ints x = _mm256_set1_epi32(int_at(q + G4_PANEL_BLOCK * t));
TILE_UNROLL
        for (int s = 0; s < SETS; s++) {
            sum[t][s] = DPBUSD ? _mm256_dpbusd_avx_epi32(sum[t][s], w[s], x)
                               : add_wide(sum[t][s],
                                          _mm256_maddubs_epi16(_mm256_abs_epi8(w[s]),
                                                               _mm256_sign_epi8(x, w[s])));
            if (!DPBUSD) ADDED(sum[t][s]);
        }
    }
}

G4_INLINE void add_groups(ints sum[TOKENS][SETS], ints w[GROUPS][SETS], int g0, int g1,
                          const unsigned char *q, g4_dtype type)
{
    const int n = DPBUSD || is_signed(type) ? 1 : type == G4_Q6_K ? 2 : type == G4_Q5_K ? 4 : 8;
TILE_UNROLL
    for (int g = g0; g < g1; g += n) {
        if (n == 1) add_group(sum, w[g], q + 4 * g);
        else add_pairs(sum, w + g, n, q + 4 * g);
    }
}

G4_INLINE vec floats_of_ints(ints v) { return _mm256_cvtepi32_ps(v); }

/* The first `rows` of 8. */
G4_INLINE __m256i rows_mask(int64_t rows)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)rows),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

G4_INLINE vec load_rows(const float *y, int64_t rows)
{
    return _mm256_maskload_ps(y, rows_mask(rows));
}

G4_INLINE void store_rows(float *y, int64_t rows, vec v)
{
    _mm256_maskstore_ps(y, rows_mask(rows), v);
}

#endif
