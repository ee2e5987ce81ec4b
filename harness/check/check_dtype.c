/* SPDX-License-Identifier: Apache-2.0
 * ref/dtype: every format of the table packs and unpacks at any address, keeps
 * what its width can keep, and says what it does with what it cannot. */
#include "ref/base/half.h"
#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *check_dtype(void);

enum { BLOCK = 32, Q8_BYTES = 34, COUNT = 768 };   /* COUNT: a multiple of every block */

START_TEST(the_table)
{
    static const struct {
        const char *name;
        int64_t block;
        size_t bytes;
        int gguf;
    } want[] = {
        { "f32", 1, 4, 0 }, { "f16", 1, 2, 1 }, { "bf16", 1, 2, 30 }, { "q8_0", 32, 34, 8 },
        { "q4_0", 32, 18, 2 }, { "q4_1", 32, 20, 3 }, { "q5_0", 32, 22, 6 },
        { "q5_1", 32, 24, 7 }, { "q2_k", 256, 84, 10 }, { "q3_k", 256, 110, 11 },
        { "q4_k", 256, 144, 12 }, { "q5_k", 256, 176, 13 }, { "q6_k", 256, 210, 14 },
        { "iq4_nl", 32, 18, 20 }, { "iq4_xs", 256, 136, 23 }, { "iq2_xxs", 256, 66, 16 },
        { "iq2_xs", 256, 74, 17 }, { "iq2_s", 256, 82, 22 }, { "iq3_xxs", 256, 98, 18 },
        { "iq3_s", 256, 110, 21 }, { "iq1_s", 256, 50, 19 }, { "iq1_m", 256, 56, 29 },
        { "tq1_0", 256, 54, 34 }, { "tq2_0", 256, 66, 35 }, { "mxfp4", 32, 17, 39 },
    };
    ck_assert_int_eq(G4_DTYPE_COUNT, sizeof want / sizeof *want);
    for (int t = 0; t < G4_DTYPE_COUNT; t++) {
        const g4_dtype_info *i = g4_dtype_get((g4_dtype)t);
        ck_assert_str_eq(i->name, want[t].name);
        ck_assert_int_eq(i->block, want[t].block);
        ck_assert_uint_eq(i->bytes, want[t].bytes);
        ck_assert_int_eq(i->gguf, want[t].gguf);
        ck_assert_int_eq(g4_dtype_by_name(i->name), t);
        ck_assert_uint_eq(g4_dtype_row_bytes((g4_dtype)t, COUNT),
                          COUNT / (size_t)i->block * i->bytes);
        ck_assert_uint_eq(g4_dtype_row_bytes((g4_dtype)t, 0), 0);
        ck_assert_uint_eq(g4_dtype_row_bytes((g4_dtype)t, -COUNT), 0);
    }
    ck_assert_int_eq(g4_dtype_by_name("F32"), -1);
    ck_assert_int_eq(g4_dtype_by_name(""), -1);
    ck_assert_uint_eq(g4_dtype_row_bytes(G4_F32, INT64_MAX), 0);   /* 2^65 bytes */
}
END_TEST

/* The same bytes and values at every address; nothing behind or before touched. */
START_TEST(any_address)
{
    const g4_dtype_info *t = g4_dtype_get((g4_dtype)_i);
    size_t bytes = g4_dtype_row_bytes((g4_dtype)_i, COUNT);
    float x[COUNT], first[COUNT], y[COUNT];
    unsigned char want[4 * COUNT], buf[4 * COUNT + 32];
    for (int i = 0; i < COUNT; i++) x[i] = (float)(g4_rng_unit(5, 0, (uint64_t)i) * 8 - 4);
    if (t->pack) t->pack(want, x, NULL, COUNT);
    else memset(want, 0x2b, bytes);   /* finite scales */
    t->unpack(first, want, COUNT);
    for (size_t at = 1; at < 17; at++) {
        memset(buf, 0xa5, sizeof buf);
        if (t->pack) t->pack(buf + at, x, NULL, COUNT);
        else memcpy(buf + at, want, bytes);
        ck_assert_mem_eq(buf + at, want, bytes);
        for (size_t i = 0; i < sizeof buf; i++)
            if (i < at || i >= at + bytes) ck_assert_uint_eq(buf[i], 0xa5);
        t->unpack(y, buf + at, COUNT);
        ck_assert_mem_eq(y, first, sizeof y);
    }
    if (t->pack) t->pack(buf, x, NULL, 0);
    t->unpack(y, buf, 0);
}
END_TEST

/* Relative error of one value, in units of what the format's mantissa gives:
 * half a step of 2^-11 (f16) or 2^-8 (bf16); f32 none; q8_0 see below. */
START_TEST(error_of_a_value)
{
    static const float half_step[] = { 0.0f, 0x1p-11f, 0x1p-8f };
    const g4_dtype_info *t = g4_dtype_get((g4_dtype)_i);
    for (int i = 0; i < 20000; i++) {
        float x = (float)(g4_rng_unit(6, 0, (uint64_t)i) * 200 - 100), y;
        unsigned char p[4];
        if (fabsf(x) < 0x1p-14f) continue;   /* below f16's normal numbers */
        t->pack(p, &x, NULL, 1);
        t->unpack(&y, p, 1);
        ck_assert(fabsf(y - x) <= half_step[_i] * fabsf(x));
    }
}
END_TEST

/* All 65536 bit patterns survive unpack and pack; a NaN stays one and turns quiet. */
START_TEST(all_halves)
{
    const g4_dtype_info *t = g4_dtype_get((g4_dtype)_i);
    uint16_t quiet = _i == G4_F16 ? 0x200 : 0x40;
    unsigned char packed[2 * 256 + 1], again[2 * 256 + 1];
    float y[256];
    for (unsigned hi = 0; hi < 256; hi++) {
        for (unsigned lo = 0; lo < 256; lo++) {
            packed[1 + 2 * lo] = (unsigned char)lo;   /* little-endian, at an odd address */
            packed[2 + 2 * lo] = (unsigned char)hi;
        }
        t->unpack(y, packed + 1, 256);
        t->pack(again + 1, y, NULL, 256);
        for (unsigned lo = 0; lo < 256; lo++) {
            uint16_t was = (uint16_t)(hi << 8 | lo), is = g4_load_u16(again + 1 + 2 * lo);
            if (isnan(y[lo])) ck_assert((is & quiet) && (is & 0x8000) == (was & 0x8000));
            else ck_assert_uint_eq(is, was);
        }
    }
}
END_TEST

START_TEST(extremes_of_halves)
{
    static const struct {
        float x;
        uint16_t f16, bf16;
    } rows[] = {
        { 0.0f, 0, 0 },
        { -0.0f, 0x8000, 0x8000 },
        { INFINITY, 0x7c00, 0x7f80 },
        { -INFINITY, 0xfc00, 0xff80 },
        { 65504.0f, 0x7bff, 0x4780 },
        { 65519.99f, 0x7bff, 0x4780 },
        { 65520.0f, 0x7c00, 0x4780 },      /* f16: halfway to 65536, to even: infinity */
        { 0x1p-14f, 0x0400, 0x3880 },      /* f16's smallest normal number */
        { 0x1p-24f, 0x0001, 0x3380 },      /* and subnormal one */
        { 0x1p-25f, 0x0000, 0x3300 },      /* halfway to 0: to even */
        { 0x1.8p-25f, 0x0001, 0x3340 },
        { 0x1p-126f, 0, 0x0080 },
        { 0x1p-133f, 0, 0x0001 },          /* bf16's smallest subnormal */
        { 0x1p-149f, 0, 0 },
        { FLT_MAX, 0x7c00, 0x7f80 },
        { 1.00390625f, 0x3c04, 0x3f80 },   /* bf16: halfway between 1 and 1 + 2^-7: to even */
        { 1.01171875f, 0x3c0c, 0x3f82 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint16_t h;
        g4_pack_f16(&h, &rows[i].x, NULL, 1);
        ck_assert_msg(h == rows[i].f16, "f16 of %a is %04x", (double)rows[i].x, h);
        g4_pack_bf16(&h, &rows[i].x, NULL, 1);
        ck_assert_msg(h == rows[i].bf16, "bf16 of %a is %04x", (double)rows[i].x, h);
    }
}
END_TEST

START_TEST(f32_keeps_every_bit)
{
    uint32_t bits[64], back[64];
    float x[64];
    for (int i = 0; i < 64; i++) bits[i] = (uint32_t)g4_rng_u64(8, 0, (uint64_t)i);
    bits[0] = 0x7f800001;   /* a signalling NaN */
    bits[1] = 0xffffffff;
    memcpy(x, bits, sizeof x);
    g4_pack_f32(back, x, NULL, 64);
    ck_assert_mem_eq(back, bits, sizeof bits);
    g4_unpack_f32(x, back, 64);
    ck_assert_mem_eq(x, bits, sizeof bits);
}
END_TEST

/* ---- q8_0 ---- */

/* One block, written from the format's words: d = max|x| / 127 in float32, stored
 * as f16; q = x / d to nearest, ties away from zero, by the float32 1 / d. */
static void plain_q8(unsigned char *p, const float *x)
{
    float top = 0;
    for (int i = 0; i < BLOCK; i++) top = fmaxf(top, fabsf(x[i]));
    float d = top / 127;
    uint16_t h = g4_f32_to_f16(d);
    memcpy(p, &h, 2);
    for (int i = 0; i < BLOCK; i++)
        p[2 + i] = (unsigned char)(int)roundf(d > 0 ? x[i] * (1 / d) : 0);
}

START_TEST(q8_by_the_words)
{
    float x[BLOCK], y[BLOCK];
    unsigned char got[Q8_BYTES], want[Q8_BYTES], again[Q8_BYTES];
    for (int n = 0; n < 4000; n++) {
        float size = ldexpf(1.0f, n % 36 - 16);   /* f16 scales from 2^-24 on, subnormal ones too */
        for (int i = 0; i < BLOCK; i++)
            x[i] = size * (float)(2 * g4_rng_unit(9, (uint64_t)n, (uint64_t)i) - 1);
        g4_pack_q8_0(got, x, NULL, BLOCK);
        plain_q8(want, x);
        ck_assert_mem_eq(got, want, Q8_BYTES);
        g4_unpack_q8_0(y, got, BLOCK);
        float d = 0, top = 0, scale = g4_f16_to_f32(g4_load_u16(got));
        for (int i = 0; i < BLOCK; i++) {
            top = fmaxf(top, fabsf(x[i]));
            d = fmaxf(d, fabsf(y[i] - x[i]));
        }
        /* Half a step of q, plus what rounding d to f16 (half a step of 2^-10 of d's
         * power of two, or of 2^-24) does to 127 steps; float32 roundings: one step of top. */
        float step = fmaxf(0x1p-10f * scale, 0x1p-24f);
        ck_assert(d <= 0.5f * (top / 127) + 127 * 0.5f * step + top * 0x1p-22f);
        g4_pack_q8_0(again, y, NULL, BLOCK);   /* idempotent: what was rounded stays */
        ck_assert_mem_eq(again, got, Q8_BYTES);
    }
}
END_TEST

START_TEST(q8_ties_and_signs)
{
    float x[BLOCK] = { 127.0f, -127.0f, 0.5f, -0.5f, 1.5f, -1.5f, 126.5f, -126.5f,
                       nextafterf(0.5f, 0), -nextafterf(0.5f, 0), 0.0f, -0.0f };
    static const int8_t want[12] = { 127, -127, 1, -1, 2, -2, 127, -127, 0, 0, 0, 0 };
    unsigned char p[Q8_BYTES];
    g4_pack_q8_0(p, x, NULL, BLOCK);   /* d = 1 */
    ck_assert_uint_eq(g4_load_u16(p), 0x3c00);
    ck_assert_mem_eq(p + 2, want, sizeof want);
}
END_TEST

START_TEST(q8_extremes)
{
    static const float tiny[] = { 0.0f, 0x1p-149f, 1e-42f, 1e-38f, 3e-37f, 1e-10f };
    float x[BLOCK] = { 0 }, y[BLOCK];
    unsigned char p[Q8_BYTES];
    for (size_t k = 0; k < sizeof tiny / sizeof *tiny; k++) {   /* d is 0 in f16 */
        x[3] = -tiny[k];
        g4_pack_q8_0(p, x, NULL, BLOCK);
        g4_unpack_q8_0(y, p, BLOCK);
        for (int i = 0; i < BLOCK; i++) ck_assert(y[i] == 0.0f);
    }
    x[3] = -65504.0f * 127;   /* the largest that f16 scales hold */
    g4_pack_q8_0(p, x, NULL, BLOCK);
    g4_unpack_q8_0(y, p, BLOCK);
    ck_assert(y[3] == x[3] && y[0] == 0.0f);
    x[3] = FLT_MAX;           /* past them: infinite, never a wrong finite number */
    g4_pack_q8_0(p, x, NULL, BLOCK);
    g4_unpack_q8_0(y, p, BLOCK);
    ck_assert(isinf(y[3]) && !isfinite(y[0]));
    static const float wild[] = { INFINITY, -INFINITY, NAN };
    for (int k = 0; k < 3; k++)
        for (int at = 0; at < BLOCK; at++) {
            for (int i = 0; i < BLOCK; i++) x[i] = (float)i;
            x[at] = wild[k];
            g4_pack_q8_0(p, x, NULL, BLOCK);
            g4_unpack_q8_0(y, p, BLOCK);
            ck_assert_uint_eq(g4_load_u16(p), 0x7e00);
            for (int i = 0; i < BLOCK; i++) ck_assert(isnan(y[i]));
        }
}
END_TEST

Suite *check_dtype(void)
{
    Suite *s = suite_create("dtype");
    TCase *t = tcase_create("formats");
    tcase_set_tags(t, "unit");
    tcase_add_test(t, the_table);
    tcase_add_loop_test(t, any_address, 0, G4_DTYPE_COUNT);
    tcase_add_loop_test(t, error_of_a_value, G4_F32, G4_BF16 + 1);
    tcase_add_loop_test(t, all_halves, G4_F16, G4_BF16 + 1);
    tcase_add_test(t, extremes_of_halves);
    tcase_add_test(t, f32_keeps_every_bit);
    tcase_add_test(t, q8_by_the_words);
    tcase_add_test(t, q8_ties_and_signs);
    tcase_add_test(t, q8_extremes);
    suite_add_tcase(s, t);
    return s;
}
