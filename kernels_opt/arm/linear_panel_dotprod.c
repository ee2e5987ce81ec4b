/* SPDX-License-Identifier: Apache-2.0
 * Linear over panels with NEON's dot products.  A register holds 4 weights of each of 4
 * rows; sdot multiplies them with 4 values of x that lie together in another register.
 * Both sides are signed: weights lose their offset when they are unpacked, and what
 * round_x left beside the values matters to minima alone.
 *
 * A block takes two passes, over weights 0..15 and 16..31 of all 16 rows: those are 16
 * registers.  Sums and accumulators lie in the level-1 cache between passes, so the number
 * of tokens need not be a constant. */
#include "kernels_opt/c/panel_tiles.h"

#include <arm_neon.h>
#include <string.h>

enum {
    QUADS = 4,      /* of rows */
    GROUPS = 4,     /* of 4 weights, in a pass */
};

/* A pass: w[g][s] has weights 4g .. 4g + 3 of rows 4s .. 4s + 3. */
typedef struct pass_regs {
    int8x16_t w[GROUPS][QUADS];
} pass_regs;

typedef struct scales {
    float32x4_t scale[QUADS], minimum[QUADS];
} scales;

/* What waits in memory while other tokens are computed. */
typedef struct tile_sums {
    float32x4_t acc[G4_XQ_TOKENS][QUADS];
    int32x4_t sum[G4_XQ_TOKENS][QUADS];
} tile_sums;

/* ---- unpacking ---- */

G4_INLINE uint8x16_t nibbles(const unsigned char *p, int high)
{
    uint8x16_t v = vld1q_u8(p);
    return high ? vshrq_n_u8(v, 4) : vandq_u8(v, vdupq_n_u8(15));
}

/* Bits i and up of each byte to bit 4 and up, and no others than mask. */
G4_INLINE uint8x16_t bits_to_4(uint8x16_t v, int i, int mask)
{
    return vandq_u8(vshlq_u8(v, vdupq_n_s8((int8_t)(4 - i))), vdupq_n_u8((uint8_t)mask));
}

G4_INLINE int8x16_t less(uint8x16_t v, int offset)
{
    return vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8((int8_t)offset));
}

/* Pass p of the weights at `at`, the block's first byte of weights. */
G4_INLINE void unpack(pass_regs *r, const unsigned char *at, int p, g4_dtype type)
{
    static const int8_t level[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                      1, 13, 25, 38, 53, 69, 89, 113 };
G4_UNROLL
    for (int g = 0; g < GROUPS; g++)
        for (int s = 0; s < QUADS; s++) {
            int byte = 64 * g + 16 * s;
            if (type == G4_Q8_0) {
                uint8x16_t w = vld1q_u8(at + 256 * p + byte);
                r->w[g][s] = vreinterpretq_s8_u8(veorq_u8(w, vdupq_n_u8(0x80)));
                continue;
            }
            uint8x16_t w = nibbles(at + byte, p);
            if (type == G4_IQ4_NL || type == G4_IQ4_XS) {
                r->w[g][s] = vqtbl1q_s8(vld1q_s8(level), w);
                continue;
            }
            if (type == G4_Q5_K)
                w = vorrq_u8(w, bits_to_4(vld1q_u8(at + 256 + 16 * s), 4 * p + g, 0x10));
            if (type == G4_Q6_K)
                w = vorrq_u8(w, bits_to_4(vld1q_u8(at + 256 + 64 * p + 16 * s), 2 * g, 0x30));
            r->w[g][s] = less(w, type == G4_Q4_0 ? 8 : type == G4_Q6_K ? 32 : 0);
        }
}

G4_INLINE float32x4_t halves_at(const unsigned char *p)
{
    uint16x4_t v = vreinterpret_u16_u8(vld1_u8(p));
    return vcvt_f32_f16(vreinterpret_f16_u16(v));
}

/* 16 numbers of 8 bits, as float, times the f16 numbers at `by`. */
G4_INLINE void scale_by(float32x4_t out[QUADS], int8x16_t v, const unsigned char *by)
{
    int16x8_t low = vmovl_s8(vget_low_s8(v)), high = vmovl_high_s8(v);
    int32x4_t wide[QUADS] = { vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low),
                              vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high) };
    for (int s = 0; s < QUADS; s++)
        out[s] = vmulq_f32(halves_at(by + 8 * s), vcvtq_f32_s32(wide[s]));
}

G4_INLINE int8x16_t join(uint8x16_t low, uint8x16_t high, int up)
{
    uint8x16_t two = vandq_u8(vshlq_u8(high, vdupq_n_s8((int8_t)up)), vdupq_n_u8(0x30));
    return vreinterpretq_s8_u8(vorrq_u8(low, two));
}

G4_INLINE void scales_minima(scales *v, const unsigned char *record, int j)
{
    uint8x16_t low = vld1q_u8(record + 64 + 16 * j), high = vld1q_u8(record + 192 + 16 * (j / 2));
    if (j % 2) high = vshrq_n_u8(high, 4);
    scale_by(v->scale, join(vandq_u8(low, vdupq_n_u8(15)), high, 4), record);
    scale_by(v->minimum, join(vshrq_n_u8(low, 4), high, 2), record + 32);
}

/* High two bits of rows 0..15, of one block: from 16 bits a row. */
G4_INLINE uint8x16_t high_iq4_xs(const unsigned char *p, int j)
{
    int16x8_t down = vdupq_n_s16((int16_t)(-2 * j));
    uint16x8_t a = vreinterpretq_u16_u8(vld1q_u8(p)), b = vreinterpretq_u16_u8(vld1q_u8(p + 16));
    return vmovn_high_u16(vmovn_u16(vshlq_u16(a, down)), vshlq_u16(b, down));
}

/* Of block j, in q6_k of its pass p. */
G4_INLINE void scales_get(scales *v, const unsigned char *record, int j, int p, g4_dtype type)
{
    if (type == G4_Q4_K || type == G4_Q5_K) {
        scales_minima(v, record, j);
    } else if (type == G4_Q6_K) {
        const unsigned char *at = record + 64 + 32 * j + 16 * p;
        scale_by(v->scale, vreinterpretq_s8_u8(vld1q_u8(at)), record);
    } else if (type == G4_IQ4_XS) {
        uint8x16_t low = nibbles(record + 64 + 16 * (j / 2), j % 2);
        int8x16_t six = join(low, high_iq4_xs(record + 32, j), 4);
        scale_by(v->scale, vsubq_s8(six, vdupq_n_s8(32)), record);
    } else {
        for (int s = 0; s < QUADS; s++) v->scale[s] = halves_at(record + 32 * j + 8 * s);
    }
}

/* ---- multiplying ---- */

G4_INLINE float32x4_t floats_of(const unsigned char *p)
{
    float f;
    memcpy(&f, p, 4);
    return vdupq_n_f32(f);
}

/* Pass p of a block times the same values of T tokens. */
G4_INLINE void pass_tile(tile_sums *sums, const pass_regs *r, const scales *v,
                         const unsigned char *x, int64_t T, int p, g4_dtype type)
{
    const unsigned char *d = x + G4_PANEL_BLOCK * T, *minimum = d + 4 * T;
    const int minima = type == G4_Q4_K || type == G4_Q5_K;
    const int first = p == 0 || type == G4_Q6_K, last = p == 1 || type == G4_Q6_K;
    for (int64_t t = 0; t < T; t++) {
        int8x16_t q = vreinterpretq_s8_u8(vld1q_u8(x + G4_PANEL_BLOCK * t + 16 * p));
        for (int s = 0; s < QUADS; s++) {
            int32x4_t sum = first ? vdupq_n_s32(0) : sums->sum[t][s];
            sum = vdotq_laneq_s32(sum, r->w[0][s], q, 0);
            sum = vdotq_laneq_s32(sum, r->w[1][s], q, 1);
            sum = vdotq_laneq_s32(sum, r->w[2][s], q, 2);
            sum = vdotq_laneq_s32(sum, r->w[3][s], q, 3);
            if (!last) {
                sums->sum[t][s] = sum;
                continue;
            }
            float32x4_t scale = vmulq_f32(v->scale[s], floats_of(d + 4 * t));
            float32x4_t acc = vfmaq_f32(sums->acc[t][s], vcvtq_f32_s32(sum), scale);
            if (minima) acc = vfmsq_f32(acc, v->minimum[s], floats_of(minimum + 4 * t));
            sums->acc[t][s] = acc;
        }
    }
}

/* The last panel of a matrix may have fewer than 16 rows. */
G4_INLINE void store(const panel_tile *a, const tile_sums *sums, int64_t T)
{
    for (int64_t t = 0; t < T; t++) {
        float row[G4_PANEL_ROWS];
        for (int s = 0; s < QUADS; s++) vst1q_f32(row + 4 * s, sums->acc[t][s]);
        memcpy(a->y + t * a->ldy, row, (size_t)a->rows * sizeof *row);
    }
}

G4_INLINE void tile_of(const panel_tile *a, int64_t T, g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    const unsigned char *record = a->panel, *x = a->x;
    tile_sums sums;
    for (int64_t t = 0; t < T; t++)
        for (int s = 0; s < QUADS; s++) sums.acc[t][s] = vdupq_n_f32(0.0f);
    for (int64_t at = 0; at < a->blocks; at += f.blocks, record += f.record) {
        int n = (int)g4_min(f.blocks, a->blocks - at);
        for (int k = 0; k < f.record; k += 64) __builtin_prefetch(record + G4_PANEL_AHEAD + k);
        for (int j = 0; j < n; j++, x += T * G4_XQ_BYTES) {
            scales v;
G4_UNROLL
            for (int p = 0; p < 2; p++) {
                pass_regs r;
                unpack(&r, record + g4_panel_weights_at(type, j), p, type);
                if (p == 1 || type == G4_Q6_K) scales_get(&v, record, j, p, type);
                pass_tile(&sums, &r, &v, x, T, p, type);
            }
        }
    }
    store(a, &sums, T);
}

G4_INLINE void tile_run(const panel_tile *a, int64_t T, g4_dtype type)
{
    if (T == 1) tile_of(a, 1, type);
    else tile_of(a, T, type);
}

G4_INLINE void linear(const g4_linear_args *a, int64_t r0, int64_t r1, g4_dtype type)
{
    tiles_from(a, 0, r0, r1, type);
}

G4_PANEL_KERNELS(dotprod)
