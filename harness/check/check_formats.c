/* SPDX-License-Identifier: Apache-2.0
 * The block formats of ref/dtype: where each bit of a block lies, by blocks small
 * enough for the head; digests of what pseudo-random blocks unpack to, which were
 * equal to the gguf package's (golden/check_formats.py), and of what rows pack to, the
 * same on every machine; what packing may lose. */
#include "ref/base/half.h"
#include "ref/base/rng.h"
#include "ref/base/sha256.h"
#include "ref/dtype/dtype.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *check_formats(void);

enum { BLOCK_MAX = 256, BYTES_MAX = 210 };

/* A block of zeros but for some bytes, and some of its values. */
static const struct {
    g4_dtype type;
    struct {
        uint8_t at, byte;
    } set[8];
    struct {
        uint8_t i;
        float value;
    } want[6];
} by_hand[] = {
    /* d = 1 (0x3c00) or 2 (0x4000); "byte 0 at 0" fills unused places */
    { G4_Q8_0, { { 1, 0x3c }, { 2, 5 }, { 33, 0x80 } }, { { 0, 5 }, { 31, -128 }, { 1, 0 } } },
    { G4_Q4_0, { { 1, 0x40 }, { 2, 0x9f }, { 17, 0x08 } },
      { { 0, 14 }, { 16, 2 }, { 1, -16 }, { 15, 0 }, { 31, -16 } } },
    { G4_Q4_1, { { 1, 0x3c }, { 3, 0xc0 }, { 4, 0x5f } },
      { { 0, 13 }, { 16, 3 }, { 1, -2 }, { 31, -2 } } },
    { G4_Q5_0, { { 1, 0x3c }, { 2, 1 }, { 5, 0x80 }, { 6, 0x02 }, { 21, 0x30 } },
      { { 0, 2 }, { 16, -16 }, { 31, 3 }, { 15, -16 } } },
    { G4_Q5_1, { { 1, 0x3c }, { 3, 0x40 }, { 4, 1 }, { 7, 0x80 }, { 8, 0x02 }, { 23, 0x30 } },
      { { 0, 20 }, { 16, 2 }, { 31, 21 }, { 15, 2 } } },
    /* value 16 and 32 are sub-blocks 1 and 2: scales of their own */
    { G4_Q2_K, { { 81, 0x3c }, { 83, 0x40 }, { 0, 0x35 }, { 2, 0x02 }, { 15, 0x10 }, { 16, 0x06 } },
      { { 0, 4 }, { 1, -6 }, { 16, 0 }, { 32, 2 }, { 255, -2 } } },
    { G4_Q3_K, { { 109, 0x3c }, { 96, 0x03 }, { 104, 0x02 }, { 0, 0x01 }, { 32, 0x02 },
                 { 31, 0x80 }, { 103, 0x10 } },
      { { 0, 6 }, { 1, -12 }, { 16, 128 }, { 64, 128 }, { 255, 0 }, { 254, 124 } } },
    { G4_Q4_K, { { 1, 0x3c }, { 3, 0x3c }, { 4, 0x42 }, { 8, 0x83 }, { 12, 0x51 }, { 16, 0x5f },
                 { 80, 0x01 } },
      { { 0, 27 }, { 1, -3 }, { 32, 0 }, { 128, -20 }, { 129, -37 } } },
    { G4_Q5_K, { { 1, 0x3c }, { 3, 0x3c }, { 4, 0x42 }, { 8, 0x83 }, { 12, 0x51 }, { 48, 0x5f },
                 { 16, 0x11 } },
      { { 0, 59 }, { 1, -3 }, { 32, 0 }, { 128, 235 }, { 129, -37 } } },
    { G4_Q6_K, { { 209, 0x3c }, { 192, 0xff }, { 197, 2 }, { 0, 0x21 }, { 128, 0x2c },
                 { 196, 1 }, { 207, 1 } },
      { { 0, 31 }, { 1, 32 }, { 32, 0 }, { 64, 2 }, { 80, -64 }, { 255, -32 } } },
    { G4_IQ4_NL, { { 1, 0x3c }, { 2, 0x8f }, { 17, 0x07 } },
      { { 0, 113 }, { 16, 1 }, { 15, -10 }, { 31, -127 } } },
    { G4_IQ4_XS, { { 1, 0x3c }, { 2, 0x06 }, { 4, 0xf1 }, { 8, 0x8f } },
      { { 0, 113 }, { 16, 1 }, { 32, 127 }, { 64, 127 * 32 } } },
    /* the first points of the grids; a point's fields: level numbers, lowest bits first */
    { G4_IQ2_XXS, { { 1, 0x3c }, { 2, 1 }, { 6, 1 }, { 9, 0x10 } },
      { { 0, -43 * 0.375f }, { 1, 8 * 0.375f }, { 7, -8 * 0.375f }, { 8, 3 }, { 32, 1 } } },
    { G4_IQ2_XS, { { 1, 0x3c }, { 2, 1 }, { 3, 4 }, { 66, 0x21 } },
      { { 0, 43 * 0.375f }, { 1, -8 * 0.375f }, { 7, -8 * 0.375f }, { 16, 5 }, { 32, 1 } } },
    { G4_IQ2_S, { { 1, 0x3c }, { 2, 1 }, { 34, 2 }, { 74, 0x21 }, { 66, 0x00 } },
      { { 0, 43 * 0.375f }, { 1, -8 * 0.375f }, { 7, 8 * 0.375f }, { 16, 5 }, { 32, 1 } } },
    { G4_IQ3_XXS, { { 1, 0x3c }, { 2, 1 }, { 66, 2 }, { 69, 0x10 } },
      { { 0, 20 * 0.75f }, { 1, -4 * 0.75f }, { 7, -4 * 0.75f }, { 32, 1 } } },
    { G4_IQ3_S, { { 1, 0x3c }, { 2, 2 }, { 66, 2 }, { 74, 2 }, { 106, 0x21 } },
      { { 0, 15 }, { 1, -3 }, { 2, 3 }, { 32, 5 }, { 64, 1 } } },
    { G4_IQ1_S, { { 1, 0x3c }, { 2, 1 }, { 35, 0x90 } },
      { { 0, 2.625f }, { 1, -3.375f }, { 8, -3.375f }, { 32, -0.875f } } },
    { G4_IQ1_M, { { 55, 0x30 }, { 53, 0xc0 }, { 0, 1 }, { 32, 0x80 }, { 48, 0x01 } },
      { { 0, 3.375f }, { 1, -2.625f }, { 8, -3.375f }, { 16, -0.875f } } },
    { G4_TQ1_0, { { 53, 0x3c }, { 0, 0xff }, { 1, 0x80 }, { 48, 0x56 } },
      { { 0, 1 }, { 1, 0 }, { 32, 1 }, { 33, 0 }, { 2, -1 }, { 240, 0 } } },
    { G4_TQ2_0, { { 65, 0x3c }, { 0, 0xe4 }, { 32, 1 } },
      { { 0, -1 }, { 32, 0 }, { 64, 1 }, { 96, 2 }, { 128, 0 } } },
    { G4_MXFP4, { { 0, 128 }, { 1, 0x1f }, { 16, 0x75 } },
      { { 0, -12 }, { 16, 1 }, { 15, 6 }, { 31, 12 } } },
};

START_TEST(blocks_by_hand)
{
    uint8_t block[BYTES_MAX] = { 0 };
    float y[BLOCK_MAX];
    const g4_dtype_info *t = g4_dtype_get(by_hand[_i].type);
    for (int k = 0; k < 8; k++)
        if (by_hand[_i].set[k].byte) block[by_hand[_i].set[k].at] = by_hand[_i].set[k].byte;
    t->unpack(y, block, t->block);
    for (int k = 0; k < 6; k++) {
        int i = by_hand[_i].want[k].i;
        float want = by_hand[_i].want[k].value;
        if (k && i == 0) continue;   /* an unused place */
        ck_assert_msg(y[i] == want, "%s: value %d is %g, want %g", t->name, i, (double)y[i],
                      (double)want);
    }
}
END_TEST

/* ---- digests ---- */

static const char digest_file[] = "harness/check/data/formats.sha256";

/* "<64 digits>  <what>_<format>" a line */
static void expect_digest(g4_sha256 *s, const char *what, const char *name)
{
    char have[G4_SHA256_HEX], line[256], hex[65], other[128], key[64];
    int found = 0;
    g4_sha256_end(s, have);
    snprintf(key, sizeof key, "%s_%s", what, name);
    FILE *f = fopen(digest_file, "r");
    ck_assert_msg(f != NULL, "%s: cannot open", digest_file);
    while (!found && fgets(line, sizeof line, f))
        found = sscanf(line, "%64[0-9a-f]  %127s", hex, other) == 2 && strcmp(other, key) == 0;
    fclose(f);
    ck_assert_msg(found && strcmp(hex, have) == 0, "%s: here %s  %s", digest_file, have, key);
}

START_TEST(unpack_digest)
{
    enum { BLOCKS = 100 };
    g4_sha256 s;
    uint8_t block[BYTES_MAX];
    float y[BLOCK_MAX];
    const g4_dtype_info *t = g4_dtype_get((g4_dtype)_i);
    g4_sha256_begin(&s);
    for (uint64_t b = 0; b < BLOCKS; b++) {
        for (size_t i = 0; i < t->bytes; i++) block[i] = (uint8_t)g4_rng_u64(11, b, i);
        t->unpack(y, block, t->block);
        for (int i = 0; i < t->block; i++)
            if (y[i] != y[i]) y[i] = g4_f32_from_bits(0x7fc00000);   /* CPUs differ in NaNs */
        g4_sha256_add(&s, y, (size_t)t->block * sizeof *y);
    }
    expect_digest(&s, "unpack", t->name);
}
END_TEST

/* ---- packing ---- */

enum { COUNT = 3 * 256, ROWS = 40 };

/* Row r of some kind: bell-shaped, with outliers, sparse, far from 0, tiny. */
static void make_row(float x[COUNT], float weight[COUNT], int r)
{
    for (int i = 0; i < COUNT; i++) {
        uint64_t at = (uint64_t)(r * COUNT + i);
        double sum = 0;
        for (uint64_t k = 0; k < 4; k++) sum += g4_rng_unit(12, k, at) - 0.5;
        double chance = g4_rng_unit(13, 0, at);
        switch (r % 5) {
        case 1: sum *= chance < 0.02 ? 40 : 1; break;
        case 2: sum = chance < 0.1 ? sum : 0; break;
        case 3: sum += r & 1 ? 3 : -3; break;
        case 4: sum *= 1e-6; break;
        }
        x[i] = (float)(sum * 0.04);
        weight[i] = (float)(g4_rng_unit(14, 0, at) < 0.2 ? 0 : g4_rng_unit(14, 1, at));
    }
}

static double error(const float *x, const float *y, const float *weight, int from, int n)
{
    double sum = 0;
    for (int i = from; i < from + n; i++) {
        double e = (double)x[i] - (double)y[i];
        sum += e * e * (weight ? (double)weight[i] : 1);
    }
    return sum;
}

/* The bytes are the same on every machine: no libm, no fused or reordered sums. */
START_TEST(pack_digest)
{
    g4_sha256 s;
    static float x[COUNT], weight[COUNT];
    static uint8_t packed[4 * COUNT];
    const g4_dtype_info *t = g4_dtype_get((g4_dtype)_i);
    if (!t->pack) return;   /* only read: unpack_digest has it */
    g4_sha256_begin(&s);
    for (int r = 0; r < 2 * ROWS; r++) {
        make_row(x, weight, r / 2);
        t->pack(packed, x, r % 2 ? weight : NULL, COUNT);
        g4_sha256_add(&s, packed, g4_dtype_row_bytes((g4_dtype)_i, COUNT));
    }
    expect_digest(&s, "pack", t->name);
}
END_TEST

/* Plain rounding to `steps` even steps between a block's ends (0 among them where there is
 * no offset) is off by half a step at most: no search may do worse than the sum of
 * that, but for the f16 scale (2^-11 of a value) and, in a super-block, scales of
 * 1 / most of the largest (half of one on every value's level). */
static const struct {
    g4_dtype type;
    int len, offset;
    double steps, most;   /* most 0: the scale is the block's own */
} bound[] = {
    { G4_Q4_0, 32, 0, 14, 0 },  { G4_Q4_1, 32, 1, 15, 0 }, { G4_Q5_0, 32, 0, 30, 0 },
    { G4_Q5_1, 32, 1, 31, 0 },  { G4_Q3_K, 16, 0, 6, 31 }, { G4_Q6_K, 16, 0, 62, 127 },
    { G4_Q2_K, 16, 1, 3, 15 },  { G4_Q4_K, 32, 1, 15, 63 }, { G4_Q5_K, 32, 1, 31, 63 },
    { G4_IQ4_NL, 32, 0, 10, 0 }, { G4_IQ4_XS, 32, 0, 10, 31 },   /* the widest gap is 24 of 240 */
};

static void ends(const float *x, int from, int n, int offset, double *low, double *high)
{
    *low = *high = offset ? (double)x[from] : 0;
    for (int i = from; i < from + n; i++) {
        *low = fmin(*low, (double)x[i]);
        *high = fmax(*high, (double)x[i]);
    }
    if (!offset) *low = -(*high = fmax(-*low, *high));
}

START_TEST(error_within_steps)
{
    static float x[COUNT], y[COUNT], weight[COUNT];
    static uint8_t packed[4 * COUNT];
    const g4_dtype_info *t = g4_dtype_get(bound[_i].type);
    int len = bound[_i].len, super = (int)t->block;
    for (int r = 0; r < 2 * ROWS; r++) {
        make_row(x, weight, r / 2);
        const float *w = r % 2 ? weight : NULL;
        t->pack(packed, x, w, COUNT);
        t->unpack(y, packed, COUNT);
        for (int from = 0; from < COUNT; from += super) {
            double sum = 0, low, high, wide = 0;
            for (int at = from; at < from + super; at += len) {
                /* K formats: offsets are not above 0 */
                ends(x, at, len, bound[_i].offset, &low, &high);
                if (bound[_i].most > 0 && low > 0) low = 0;
                wide = fmax(wide, fmax(high - low, fmax(fabs(low), fabs(high))));
            }
            for (int at = from; at < from + super; at += len) {
                ends(x, at, len, bound[_i].offset, &low, &high);
                if (bound[_i].most > 0 && low > 0) low = 0;
                double far = fmax(fabs(low), fabs(high));
                double each = (high - low) / bound[_i].steps / 2 + far * 0x1p-10 + 31 * 0x1p-24;
                if (bound[_i].most > 0) each += 2 * wide / bound[_i].most / 2;
                for (int i = at; i < at + len; i++) sum += each * each * (w ? (double)w[i] : 1);
            }
            double have = error(x, y, w, from, super);
            ck_assert_msg(have <= sum, "%s row %d at %d: %g over %g", t->name, r, from, have, sum);
        }
    }
}
END_TEST

/* What was packed packs to the same values again: they are held without error. */
START_TEST(packs_again_to_itself)
{
    static const g4_dtype own_scale[] = { G4_Q4_0, G4_Q4_1, G4_Q5_0, G4_Q5_1, G4_IQ4_NL };
    static float x[COUNT], y[COUNT], z[COUNT], weight[COUNT];
    static uint8_t packed[4 * COUNT];
    const g4_dtype_info *t = g4_dtype_get(own_scale[_i]);
    for (int r = 0; r < 2 * ROWS; r++) {
        make_row(x, weight, r / 2);
        t->pack(packed, x, r % 2 ? weight : NULL, COUNT);
        t->unpack(y, packed, COUNT);
        t->pack(packed, y, r % 2 ? weight : NULL, COUNT);
        t->unpack(z, packed, COUNT);
        for (int i = 0; i < COUNT; i++)
            ck_assert_msg(y[i] == z[i], "%s row %d: value %d was %a, is %a", t->name, r, i,
                          (double)y[i], (double)z[i]);
    }
}
END_TEST

/* A NaN, an infinity, or a value too large makes its block not finite, and no other. */
START_TEST(what_cannot_be_packed)
{
    static const float wild[] = { INFINITY, -INFINITY, NAN, 3e38f, -3e38f };
    static float x[COUNT], y[COUNT], weight[COUNT];
    static uint8_t packed[4 * COUNT];
    const g4_dtype_info *t = g4_dtype_get(bound[_i].type);
    for (int k = 0; k < 5; k++)
        for (int at = 0; at < COUNT; at += 37) {
            make_row(x, weight, k);
            x[at] = wild[k];
            t->pack(packed, x, at % 2 ? weight : NULL, COUNT);
            t->unpack(y, packed, COUNT);
            for (int i = 0; i < COUNT; i++)
                ck_assert_int_eq(isfinite(y[i]) != 0, i / t->block != at / t->block);
        }
    memset(x, 0, sizeof x);
    x[1] = -0.0f;
    x[2] = 0x1p-149f;
    t->pack(packed, x, NULL, COUNT);
    t->unpack(y, packed, COUNT);
    for (int i = 0; i < COUNT; i++) ck_assert(y[i] == 0.0f);
    memset(weight, 0, sizeof weight);   /* weights that say nothing: as without */
    make_row(x, y, 0);
    static uint8_t plain[4 * COUNT];
    t->pack(plain, x, NULL, COUNT);
    t->pack(packed, x, weight, COUNT);
    ck_assert_mem_eq(plain, packed, g4_dtype_row_bytes(bound[_i].type, COUNT));
}
END_TEST

Suite *check_formats(void)
{
    Suite *s = suite_create("formats");
    TCase *t = tcase_create("layout");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, blocks_by_hand, 0, (int)(sizeof by_hand / sizeof *by_hand));
    tcase_add_loop_test(t, unpack_digest, 0, G4_DTYPE_COUNT);
    tcase_add_loop_test(t, pack_digest, 0, G4_DTYPE_COUNT);
    tcase_add_loop_test(t, error_within_steps, 0, (int)(sizeof bound / sizeof *bound));
    tcase_add_loop_test(t, packs_again_to_itself, 0, 5);
    tcase_add_loop_test(t, what_cannot_be_packed, 0, (int)(sizeof bound / sizeof *bound));
    suite_add_tcase(s, t);
    return s;
}
