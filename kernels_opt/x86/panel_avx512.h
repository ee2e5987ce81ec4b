/* SPDX-License-Identifier: Apache-2.0
 * A panel's blocks (kernels_opt/panel.h) unpacked into zmm registers. */
#ifndef G4_KERNELS_PANEL_AVX512_H
#define G4_KERNELS_PANEL_AVX512_H

#include "kernels_opt/panel.h"

#include <immintrin.h>
#include <string.h>

typedef struct block_regs {
    __m512i w[8];           /* w[i]: weights 4i .. 4i + 3 of 16 rows, unsigned */
    __m512 scale[2], minimum;
} block_regs;

G4_INLINE __m512i bytes_at(const unsigned char *p) { return _mm512_loadu_si512(p); }
G4_INLINE __m512 halves_at(const unsigned char *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

G4_INLINE __m512 floats_of(const unsigned char *p)
{
    float f;
    memcpy(&f, p, 4);
    return _mm512_set1_ps(f);
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
    const unsigned char *weights = record + g4_panel_weights_at(type, j);
    switch (type) {
    case G4_Q8_0:
        b->scale[0] = halves_at(record + 32 * j);
        for (int i = 0; i < 8; i++) b->w[i] = bytes_at(weights + 64 * i);
        break;
    case G4_Q4_0:
    case G4_IQ4_NL:
        b->scale[0] = halves_at(record + 32 * j);
        nibbles(b->w, weights);
        if (type == G4_IQ4_NL) levels(b->w);
        break;
    case G4_IQ4_XS:
        scale_iq4_xs(b, record, j);
        nibbles(b->w, weights);
        levels(b->w);
        break;
    case G4_Q6_K:
        for (int h = 0; h < 2; h++) {
            const unsigned char *s = record + 64 + 32 * j + 16 * h;
            __m128i scale = _mm_loadu_si128((const __m128i *)(const void *)s);
            b->scale[h] = _mm512_mul_ps(halves_at(record),
                                        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(scale)));
        }
        nibbles(b->w, weights);
        top_bits(b->w, weights + 256);
        break;
    default:   /* Q4_K, Q5_K */
        scales6(b, record, j);
        nibbles(b->w, weights);
        if (type == G4_Q5_K) fifth_bits(b->w, weights + 256);
    }
}

#endif
