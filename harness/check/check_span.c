/* SPDX-License-Identifier: Apache-2.0
 * Attention as a stream of spans: the definition against softmax in float64, over several
 * spans, and a cache of values alone against one that keeps the keys. */
#include "harness/check/suite.h"
#include "kernels_opt/kernels.h"
#include "kernels_opt/span.h"
#include "ref/base/rng.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *check_span(void);

enum { H = 64, KEYS = 1500, HEADS = 3, PAIRS = 8 };

static float key[KEYS][H], value[KEYS][H], q[HEADS][H], norm[H], turn[KEYS][2][PAIRS];

static float number(uint64_t stream, uint64_t i)
{
    return (float)(g4_rng_unit(3, stream, i) * 4.0 - 2.0);
}

/* Keys as those of a K = V layer: norm * value, rotated. */
static void fill(void)
{
    for (int i = 0; i < H; i++) norm[i] = number(0, (uint64_t)i);
    for (uint64_t i = 0; i < HEADS * H; i++) q[i / H][i % H] = number(1, i);
    for (uint64_t k = 0; k < KEYS; k++) {
        for (uint64_t i = 0; i < H; i++) {
            value[k][i] = number(2, k * H + i);
            key[k][i] = norm[i] * value[k][i];
        }
        for (uint64_t i = 0; i < PAIRS; i++) {
            double angle = (double)k * pow(0.5, (double)i);
            turn[k][0][i] = (float)cos(angle);
            turn[k][1][i] = (float)sin(angle);
            float x = key[k][i], y = key[k][i + H / 2], c = turn[k][0][i], s = turn[k][1][i];
            key[k][i] = fmaf(x, c, -(y * s));
            key[k][i + H / 2] = fmaf(y, c, x * s);
        }
    }
}

static void stream(const g4_ops *ops, const g4_kv *kv, g4_span sees, float out[HEADS][H])
{
    float data[2][HEADS * (H + 2)];
    float *scratch = malloc((size_t)ops->span_scratch(H) * sizeof *scratch);
    g4_span_part all, part;
    ck_assert_ptr_nonnull(scratch);
    all = (g4_span_part){ data[0], data[0] + HEADS * H, data[0] + HEADS * (H + 1) };
    part = (g4_span_part){ data[1], data[1] + HEADS * H, data[1] + HEADS * (H + 1) };
    memset(all.sum, 0, HEADS * sizeof(float));
    for (int64_t lo = 0; lo < KEYS; lo += G4_SPAN) {
        g4_span_args a = { &part, q[0], HEADS * H, 1, HEADS, H, &sees, lo, lo + G4_SPAN, kv, 0,
                           scratch };
        ops->attend_span(&a);
        ops->span_merge(&all, &part, HEADS, H);
    }
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < H; i++) out[h][i] = all.acc[h * H + i] * (1.0f / all.sum[h]);
    free(scratch);
}

/* u = 2^-24.  A score has H/16 + 4 roundings and one of key_norm, its difference to the
 * largest one more of at most 87 u, exp 8 (its polynomial's remainder is below 2 u):
 * together an exponent off by at most E, for the key and for the sum each.  A weighted sum
 * adds 512 products a span, and two roundings a merge; the division two. */
static void check_row(const float *out, int h, g4_span sees)
{
    const double u = 0x1p-24;
    static double p[KEYS];
    double top = -INFINITY, sum = 0, size = 0;
    for (int64_t k = sees.begin; k < sees.end; k++) {
        double s = 0, abs = 0;
        for (int i = 0; i < H; i++) {
            s += (double)q[h][i] * (double)key[k][i];
            abs += fabs((double)q[h][i] * (double)key[k][i]);
        }
        p[k] = s;
        top = s > top ? s : top;
        size = abs > size ? abs : size;
    }
    for (int64_t k = sees.begin; k < sees.end; k++) sum += p[k] = exp(p[k] - top);
    double E = 2 * (H / 16.0 + 6) * u * size + (87 + 8) * u;
    double spans = (double)(KEYS / G4_SPAN + 1);
    double rel = 2 * (expm1(2 * E) + (G4_SPAN + 4 * spans + 4) * u);
    for (int i = 0; i < H; i++) {
        double want = 0, weight = 0;
        for (int64_t k = sees.begin; k < sees.end; k++) {
            want += p[k] / sum * (double)value[k][i];
            weight += p[k] / sum * fabs((double)value[k][i]);
        }
        ck_assert_msg(fabs((double)out[i] - want) <= rel * weight, "head %d dim %d: %g for %g, "
                      "bound %g", h, i, (double)out[i], want, rel * weight);
    }
}

static const g4_span seen[] = {
    { 0, 1 }, { 0, KEYS }, { 300, 1400 }, { 511, 513 }, { 1024, 1100 },
};

START_TEST(within_bound_of_softmax)
{
    float kept[HEADS][H], made[HEADS][H];
    g4_ops ops = g4_ops_definitions();
    fill();
    g4_kv kv = { .dtype = G4_F32, .slots = KEYS, .width = H, .row_bytes = sizeof key[0],
                 .key = (unsigned char *)key, .value = (unsigned char *)value, .head_dim = H };
    g4_kv halved = kv;
    halved.key = NULL;
    halved.key_norm = norm;
    halved.turn = turn[0][0];
    halved.pairs = PAIRS;
    stream(&ops, &kv, seen[_i], kept);
    stream(&ops, &halved, seen[_i], made);
    for (int h = 0; h < HEADS; h++) {
        check_row(kept[h], h, seen[_i]);
        check_row(made[h], h, seen[_i]);
    }
}
END_TEST

Suite *check_span(void)
{
    Suite *s = suite_create("span");
    TCase *t = tcase_create("span");
    tcase_add_loop_test(t, within_bound_of_softmax, 0, (int)(sizeof seen / sizeof *seen));
    suite_add_tcase(s, t);
    return s;
}
