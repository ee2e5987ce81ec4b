/* SPDX-License-Identifier: Apache-2.0
 * Linear over panels with AVX-512 VNNI.  A zmm register holds 4 weights of each of the
 * panel's 16 rows; one vpdpbusd multiplies them with 4 values of one token, broadcast.
 * A tile is one panel by 16 tokens, or by 1 to 8: the block's weights are unpacked into eight
 * registers once and used for all of them; 16 accumulators stay in registers.
 *
 * Unsigned weights (offset added) times signed x: the offset's part of the sum is where
 * the sum starts (round_x put it beside the values), so it costs nothing. */
#include "kernels_opt/c/panel_tiles.h"

#include <immintrin.h>
#include <string.h>

/* Bytes ahead of use that weights are called for: a tile of 8 tokens computes too long
 * on a line for the hardware to look ahead by itself [N50]. */
enum { AHEAD = 9216 };

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

typedef struct block_regs {
    __m512i w[8];           /* w[i]: weights 4i .. 4i + 3 of 16 rows, unsigned */
    __m512 scale[2], minimum;
} block_regs;

G4_INLINE __m512i bytes_at(const unsigned char *p) { return _mm512_loadu_si512(p); }
G4_INLINE __m512 halves_at(const unsigned char *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* 16 bytes as int32. */
G4_INLINE __m512i widen(const unsigned char *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

G4_INLINE void nibbles(__m512i w[8], const unsigned char *p)
{
    const __m512i low = _mm512_set1_epi8(15);
    for (int v = 0; v < 4; v++) {
        __m512i n = bytes_at(p + 64 * v);
        w[v] = _mm512_and_si512(n, low);
        w[v + 4] = _mm512_and_si512(_mm512_srli_epi16(n, 4), low);
    }
}

/* Levels + 128 by nibble. */
G4_INLINE void levels(__m512i w[8])
{
    const __m512i table = _mm512_broadcast_i32x4(
        _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, (char)129, (char)141, (char)153, (char)166,
                      (char)181, (char)197, (char)217, (char)241));
    for (int i = 0; i < 8; i++) w[i] = _mm512_shuffle_epi8(table, w[i]);
}

G4_INLINE void scales6(block_regs *b, const unsigned char *record, int j)
{
    const __m512i four = _mm512_set1_epi32(15), two = _mm512_set1_epi32(0x30);
    __m512i low = widen(record + 64 + 16 * j), high = widen(record + 192 + 16 * (j / 2));
    if (j % 2) high = _mm512_srli_epi32(high, 4);
    __m512i s = _mm512_or_si512(_mm512_and_si512(low, four),
                                _mm512_and_si512(_mm512_slli_epi32(high, 4), two));
    __m512i m = _mm512_or_si512(_mm512_srli_epi32(low, 4),
                                _mm512_and_si512(_mm512_slli_epi32(high, 2), two));
    b->scale[0] = _mm512_mul_ps(halves_at(record), _mm512_cvtepi32_ps(s));
    b->minimum = _mm512_mul_ps(halves_at(record + 32), _mm512_cvtepi32_ps(m));
}

/* 0xf8 is a | (b & c). */
#define OR_AND(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0xf8)

G4_INLINE void fifth_bits(__m512i w[8], const unsigned char *p)
{
    const __m512i bit = _mm512_set1_epi8(16);
    __m512i h = bytes_at(p);
    for (int i = 0; i < 8; i++)
        w[i] = OR_AND(w[i], i < 4 ? _mm512_slli_epi16(h, 4 - i) : _mm512_srli_epi16(h, i - 4), bit);
}

G4_INLINE void top_bits(__m512i w[8], const unsigned char *p)
{
    const __m512i bits = _mm512_set1_epi8(0x30);
    for (int i = 0; i < 8; i++) {
        __m512i h = bytes_at(p + 64 * (i / 4));
        int up = 4 - 2 * (i % 4);
        w[i] = OR_AND(w[i], up > 0 ? _mm512_slli_epi16(h, up) : _mm512_srli_epi16(h, -up), bits);
    }
}

G4_INLINE void scale_iq4_xs(block_regs *b, const unsigned char *record, int j)
{
    __m512i low = widen(record + 64 + 16 * (j / 2));
    __m512i high = _mm512_cvtepu16_epi32(
        _mm256_loadu_si256((const __m256i *)(const void *)(record + 32)));
    if (j % 2) low = _mm512_srli_epi32(low, 4);
    low = _mm512_and_si512(low, _mm512_set1_epi32(15));
    high = _mm512_and_si512(_mm512_srli_epi32(high, 2 * j), _mm512_set1_epi32(3));
    __m512i s = _mm512_or_si512(low, _mm512_slli_epi32(high, 4));
    s = _mm512_sub_epi32(s, _mm512_set1_epi32(32));
    b->scale[0] = _mm512_mul_ps(halves_at(record), _mm512_cvtepi32_ps(s));
}

/* Block j of a record. */
TILE void unpack(block_regs *b, const unsigned char *record, int j, g4_dtype type)
{
    switch (type) {
    case G4_Q8_0:
        b->scale[0] = halves_at(record + 32 * j);
        for (int i = 0; i < 8; i++) b->w[i] = bytes_at(record + 64 + 512 * j + 64 * i);
        break;
    case G4_Q4_0:
    case G4_IQ4_NL:
        b->scale[0] = halves_at(record + 32 * j);
        nibbles(b->w, record + 64 + 256 * j);
        if (type == G4_IQ4_NL) levels(b->w);
        break;
    case G4_IQ4_XS:
        scale_iq4_xs(b, record, j);
        nibbles(b->w, record + 128 + 256 * j);
        levels(b->w);
        break;
    case G4_Q6_K:
        for (int h = 0; h < 2; h++) {
            const unsigned char *s = record + 64 + 32 * j + 16 * h;
            __m128i scale = _mm_loadu_si128((const __m128i *)(const void *)s);
            b->scale[h] = _mm512_mul_ps(halves_at(record),
                                        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(scale)));
        }
        nibbles(b->w, record + 320 + 384 * j);
        top_bits(b->w, record + 320 + 384 * j + 256);
        break;
    default:   /* Q4_K, Q5_K */
        scales6(b, record, j);
        nibbles(b->w, record + 256 + (type == G4_Q5_K ? 320 : 256) * j);
        if (type == G4_Q5_K) fifth_bits(b->w, record + 256 + 320 * j + 256);
    }
}

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
