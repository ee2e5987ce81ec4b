/* SPDX-License-Identifier: Apache-2.0
 * ref/base/real.h against libm in long double (64 or 113 bits), and the RoPE
 * tables made of it against torch's.  U is half a unit in the last place of 1,
 * the largest relative error of one rounding; each bound counts roundings. */
#include "ref/base/half.h"
#include "ref/base/real.h"
#include "ref/base/rng.h"
#include "ref/model/rope.h"

#include <check.h>
#include <float.h>
#include <math.h>

Suite *check_real(void);

#define U 0x1p-53L

enum { POINTS = 100000 };

/* Point i of a stream: uniform in [lo, hi). */
static double point(int stream, int i, double lo, double hi)
{
    return lo + (hi - lo) * g4_rng_unit(99, (uint64_t)stream, (uint64_t)i);
}

static void within(const char *what, double x, double got, long double want, long double bound)
{
    long double d = fabsl((long double)got - want);
    if (!(d <= bound))
        ck_abort_msg("%s(%a) is %a, off by %.3Lg U, allowed %.3Lg U", what, x, got, d / U,
                     bound / U);
}

/* r = x - k ln 2 is rounded twice (the second product is 2^-33 of it): 0.35 * 2 U
 * absolute.  Horner: the last addition 1 U, the last product |e^r - 1| <= 0.42 U
 * of the result; the step before errs by 1.65 U, times |r| / e^r <= 0.5.  All in
 * all 0.7 + 1 + 0.42 + 0.8 < 4; the scaling by 2^k is exact. */
static long double exp_bound(long double want)
{
    return 4 * U * want;
}

START_TEST(exp_is_libms)
{
    static const double widths[] = { 1e-6, 0.35, 1, 20, 88, 699.9 };
    for (int w = 0; w < 6; w++)
        for (int i = 0; i < POINTS / 6; i++) {
            double x = point(w, i, -widths[w], widths[w]);
            long double want = expl((long double)x);
            within("exp", x, g4_exp(x), want, exp_bound(want));
        }
}
END_TEST

START_TEST(exp_special)
{
    ck_assert(g4_exp(0.0) == 1.0 && g4_exp(-0.0) == 1.0);
    ck_assert(isnan(g4_exp((double)NAN)));
    /* clamped, so that neither zero, infinity nor a subnormal comes out */
    ck_assert(g4_exp((double)INFINITY) == g4_exp(700.0) && g4_exp(1e300) == g4_exp(700.0));
    ck_assert(g4_exp(-(double)INFINITY) == g4_exp(-700.0) && g4_exp(-1e300) == g4_exp(-700.0));
    ck_assert(g4_exp(700.0) < DBL_MAX && g4_exp(-700.0) > DBL_MIN);
    /* A softmax must not prefer a smaller score: rising over neighbours, too. */
    for (int i = 0; i < POINTS; i++) {
        double x = point(7, i, -50, 50);
        ck_assert(g4_exp(x) <= g4_exp(x + 1e-15 * fabs(x) + 1e-15));
    }
}
END_TEST

/* From 1/16 on: e^2a errs by 4 U, of which e^2a / (e^2a + 1) = (1 + y) / 2 count;
 * adding 1 and dividing err by 1 U each, all of 2 / (e^2a + 1) = 1 - y; the
 * subtraction errs by U y.  Below: x (1 + s p) with
 * |s p| < 0.0014, whose few roundings count 0.01; one for the sum; the series'
 * rest is x^12 * 0.0036 < 1.3e-17 = 0.12 U. */
START_TEST(tanh_is_libms)
{
    static const double widths[] = { 0.0625, 0.07, 1, 5, 20 };
    for (int w = 0; w < 5; w++)
        for (int i = 0; i < POINTS / 5; i++) {
            double x = point(10 + w, i, -widths[w], widths[w]);
            long double want = tanhl((long double)x), y = fabsl(want);
            long double bound = fabs(x) < 0.0625 ? 1.2L * U * y : U * ((4 + 2 * y) * (1 - y) + y);
            ck_assert(bound <= 1e-14L * y);   /* what the header promises */
            within("tanh", x, g4_tanh(x), want, bound);
            ck_assert(g4_tanh(-x) == -g4_tanh(x));
        }
}
END_TEST

START_TEST(tanh_special)
{
    ck_assert(g4_tanh(0.0) == 0.0 && !signbit(g4_tanh(0.0)));
    ck_assert(g4_tanh((double)INFINITY) == 1.0 && g4_tanh(-(double)INFINITY) == -1.0);
    ck_assert(g4_tanh(20.0) == 1.0 && g4_tanh(-1e300) == -1.0);
    ck_assert(isnan(g4_tanh((double)NAN)));
    ck_assert(g4_tanh(0x1p-1000) == 0x1p-1000);
}
END_TEST

/* u: three roundings for the cube and one for its constant and product each, the
 * sum, sqrt(2/pi) and its product: 8 U relative at most (both terms have one
 * sign), so 16 |u| U absolute in e^-2u's exponent, 4 U of its own; that counts as
 * far as e^-2u does in 1 + e^-2u; adding and dividing 1 U each. */
START_TEST(gelu_is_libms)
{
    static const double widths[] = { 0.01, 1, 4, 12 };
    long double c = sqrtl(2 / acosl(-1.0L));
    for (int w = 0; w < 4; w++)
        for (int i = 0; i < POINTS / 4; i++) {
            double x = point(20 + w, i, -widths[w], widths[w]);
            long double t = x, u = c * (t + 0.044715L * t * t * t), e = expl(-2 * u);
            long double want = t / (1 + e);
            long double bound = U * ((16 * fabsl(u) + 4) * e / (1 + e) + 2) * fabsl(want);
            within("gelu_tanh", x, g4_gelu_tanh(x), want, bound);
        }
}
END_TEST

START_TEST(gelu_special)
{
    ck_assert(g4_gelu_tanh(0.0) == 0.0);
    ck_assert(g4_gelu_tanh(100.0) == 100.0);
    ck_assert(g4_gelu_tanh((double)FLT_MAX) == (double)FLT_MAX);
    /* far below, 1 + e^700 takes all of it: 0 in float32, never NaN */
    ck_assert((float)g4_gelu_tanh(-100.0) == 0.0f);
    ck_assert((float)g4_gelu_tanh(-(double)FLT_MAX) == 0.0f);
    ck_assert(isnan(g4_gelu_tanh((double)NAN)));
}
END_TEST

/* e ln 2: constant and product 2 U of it.  2 s p: m + 1, the quotient, p's last
 * step, two products: 5 U of ln m.  The sum 1 U. */
START_TEST(log_is_libms)
{
    static const double tops[] = { 1.5, 2, 1e4, 1e12, 1e300 };
    for (int w = 0; w < 5; w++)
        for (int i = 0; i < POINTS / 5; i++) {
            double x = w == 0 ? point(30, i, 0.5, 1.5) : point(30 + w, i, 1, tops[w]);
            int e = (int)(g4_f64_bits(x) >> 52) - 1023;
            if (ldexp(x, -e) > 1.4142135623730951) e++;
            long double want = logl((long double)x), whole = (long double)e * logl(2.0L);
            long double bound = U * (2 * fabsl(whole) + 5 * fabsl(want - whole) + fabsl(want));
            within("log", x, g4_log(x), want, bound);
        }
    ck_assert(g4_log(1.0) == 0.0);
    ck_assert(g4_log(2.0) == 0x1.62e42fefa39efp-1);
    ck_assert(g4_log(0.5) == -0x1.62e42fefa39efp-1);
}
END_TEST

/* The reduced r errs by two roundings, 2 * 0.79 U absolute.  sin: 0.8 r U + U; cos: 1 -
 * s/2 and the sum 1 U each, s^2 p less than 0.1 U; the series' rests are below
 * 1e-18.  So 4 U absolute for both. */
static void check_angle(double x)
{
    double c, s, c2, s2;
    g4_cos_sin(x, &c, &s);
    within("cos", x, c, cosl((long double)x), 4 * U);
    within("sin", x, s, sinl((long double)x), 4 * U);
    g4_cos_sin(-x, &c2, &s2);
    ck_assert(c2 == c && s2 == -s);
}

START_TEST(cos_sin_are_libms)
{
    static const double tops[] = { 1e-3, 0.8, 7, 1000, 262144, 700000 };
    for (int w = 0; w < 6; w++)
        for (int i = 0; i < POINTS / 6; i++) check_angle(point(40 + w, i, 0, tops[w]));
    /* Where cancellation is worst: the doubles next to multiples of pi/2. */
    for (int k = 1; k < 445000; k += 37) {
        double x = (double)(k * (acosl(-1.0L) / 2));
        check_angle(x);
        check_angle(nextafter(x, 0));
        check_angle(nextafter(x, 1e9));
    }
    double c, s;
    g4_cos_sin(0.0, &c, &s);
    ck_assert(c == 1.0 && s == 0.0);
}
END_TEST

/* Whole float32 angles, as RoPE has them, up to the largest position allowed. */
START_TEST(cos_sin_of_positions)
{
    for (int p = G4_MAX_POSITION; p > G4_MAX_POSITION - 20000; p--) check_angle((double)p);
    for (int p = 262143; p > 262143 - 20000; p--) check_angle((double)p);
}
END_TEST

/* ---- RoPE tables: what torch 2.13.0 gives on a CPU for the 12B's two kinds ---- */

static const uint32_t torch_256[] = {
    0x3f800000, 0x3f6e39f8, 0x3f5dafd7, 0x3f4e4bad, 0x3f3ff911, 0x3f32a506, 0x3f263de0,
    0x3f1ab32b, 0x3f0ff59a, 0x3f05f6ef, 0x3ef953cf, 0x3ee8045f, 0x3ed7e89b, 0x3ec8eb24,
    0x3ebaf81b, 0x3eadfcff, 0x3ea1e89b, 0x3e96aaea, 0x3e8c3504, 0x3e827909, 0x3e72d423,
    0x3e61f835, 0x3e5247ed, 0x3e43ae7c, 0x3e361887, 0x3e297409, 0x3e1db040, 0x3e12bd91,
    0x3e088d77, 0x3dfe24e0, 0x3dec7fd6, 0x3ddc1466, 0x3dcccccd, 0x3dbe94c6, 0x3db15978,
    0x3da50956, 0x3d99940d, 0x3d8eea6b, 0x3d84fe4d, 0x3d778513, 0x3d6655c2, 0x3d5657e4,
    0x3d47763f, 0x3d399d19, 0x3d2cba15, 0x3d20bc1d, 0x3d159348, 0x3d0b30cc, 0x3d0186e3,
    0x3cf11177, 0x3ce054d2, 0x3cd0c1a8, 0x3cc2434f, 0x3cb4c691, 0x3ca8398b, 0x3c9c8b97,
    0x3c91ad39, 0x3c879008, 0x3c7c4d33, 0x3c6ac8e7, 0x3c5a7bf2, 0x3c4b50b3, 0x3c3d3311,
    0x3c301052, 0x3c23d70a, 0x3c187705, 0x3c0de12d, 0x3c040779, 0x3bf5b9b0, 0x3be4aa46,
    0x3bd4ca15, 0x3bc6040f, 0x3bb8449c, 0x3bab7983, 0x3b9f91cc, 0x3b947dae, 0x3b8a2e77,
    0x3b80967d, 0x3b6f520e, 0x3b5eb47a, 0x3b4f3e38, 0x3b40dac5, 0x3b33770f, 0x3b270153,
    0x3b1b690d, 0x3b109edb, 0x3b06946f, 0x3afa78f0, 0x3ae91528, 0x3ad8e673, 0x3ac9d75c,
    0x3abbd3ed, 0x3aaec98e, 0x3aa2a6f7, 0x3a975c0e, 0x3a8cd9db, 0x3a83126f, 0x3a73f1a3,
    0x3a6301e2, 0x3a533f28, 0x3a44948c, 0x3a36ee9e, 0x3a2a3b44, 0x3a1e69a5, 0x3a136a16,
    0x3a092e02, 0x39ff4fac, 0x39ed95e2, 0x39dd1725, 0x39cdbd96, 0x39bf74d7, 0x39b229fb,
    0x39a5cb60, 0x399a489e, 0x398f9272, 0x39859aa9, 0x3978a815, 0x39676492, 0x395753e4,
    0x394860c1, 0x393a7753, 0x392d8529, 0x39217916, 0x39164324, 0x390bd472, 0x39021f2b,
    0x38f22ce2, 0x38e15c91,
};
static const uint32_t torch_512[] = {
    0x3f800000, 0x3f728cf8, 0x3f65ced3, 0x3f59bc10, 0x3f4e4bad, 0x3f437523, 0x3f39305c,
    0x3f2f75b1, 0x3f263de0, 0x3f1d8209, 0x3f153ba8, 0x3f0d6492, 0x3f05f6ef, 0x3efdda64,
    0x3ef0843c, 0x3ee3e172, 0x3ed7e89b, 0x3ecc90c7, 0x3ec1d182, 0x3eb7a2c7, 0x3eadfcff,
    0x3ea4d8f8, 0x3e9c2fe1, 0x3e93fb45, 0x3e8c3504, 0x3e84d752, 0x3e7bb964, 0x3e6e7fde,
    0x3e61f835, 0x3e561912, 0x3e4ad998, 0x3e403165, 0x3e361887, 0x3e2c8776, 0x3e23770f,
    0x3e1ae090, 0x3e12bd91, 0x3e0b0801, 0x3e03ba20, 0x3df99cf8, 0x3dec7fd6, 0x3de01313,
    0x3dd44d6c, 0x3dc92617, 0x3dbe94c6, 0x3db49196, 0x3dab150f, 0x3da2181d, 0x3d99940d,
    0x3d918287, 0x3d89dd84, 0x3d829f52, 0x3d778513, 0x3d6a8417, 0x3d5e3201, 0x3d5285a1,
    0x3d47763f, 0x3d3cfb9e, 0x3d330dec, 0x3d29a5c2, 0x3d20bc1d, 0x3d184a56, 0x3d104a21,
    0x3d08b588,
};

static const struct {
    int64_t head_dim;
    g4_rope_config rope;
    const uint32_t *torch;
    int64_t rotated, differs;   /* the one entry where torch's power is 1 ulp off [N6] */
    uint32_t ours;
} tables[] = {
    { 256, { 1e4, 1.0, 1.0 }, torch_256, 128, 111, 0x39b229fa },
    { 512, { 1e6, 1.0, 0.25 }, torch_512, 64, 29, 0x3e561911 },
};

START_TEST(inv_freq_is_torchs)
{
    float freq[256];
    int64_t half = tables[_i].head_dim / 2, n = tables[_i].rotated;
    g4_rope_inv_freq(freq, tables[_i].head_dim, &tables[_i].rope);
    for (int64_t i = 0; i < half; i++) {
        uint32_t want = i < n ? tables[_i].torch[i] : 0;
        if (i == tables[_i].differs) {
            ck_assert_uint_ne(want, tables[_i].ours);
            want = tables[_i].ours;
        }
        if (g4_f32_bits(freq[i]) != want)
            ck_abort_msg("entry %lld is %08x, not %08x", (long long)i, g4_f32_bits(freq[i]), want);
    }
}
END_TEST

/* The definition [N5] with libm's long double power: f32(1 / f32(theta^f32(2i/H))) / factor. */
START_TEST(inv_freq_by_definition)
{
    static const struct {
        int64_t head_dim, rotated;
        g4_rope_config rope;
    } kinds[] = {
        { 256, 128, { 1e4, 1.0, 1.0 } }, { 512, 64, { 1e6, 1.0, 0.25 } },
        { 12, 6, { 1e4, 1.0, 1.0 } },    { 24, 3, { 1e6, 1.0, 0.25 } },
        { 32, 8, { 1e6, 2.0, 0.5 } },    { 64, 32, { 20000.0, 1.0, 1.0 } },
        { 128, 16, { 5e5, 8.0, 0.25 } }, { 10, 0, { 1e6, 1.0, 0.0 } },
        { 22, 3, { 1e4, 1.0, 0.3 } },    { 2, 1, { 1e4, 3.0, 1.0 } },
    };
    float freq[256];
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        int64_t H = kinds[k].head_dim;
        g4_rope_inv_freq(freq, H, &kinds[k].rope);
        for (int64_t i = 0; i < H / 2; i++) {
            float exponent = (float)(2 * i) / (float)H;
            float power = (float)powl((long double)kinds[k].rope.theta, (long double)exponent);
            float want = i < kinds[k].rotated ? 1.0f / power / (float)kinds[k].rope.factor : 0.0f;
            ck_assert_msg(freq[i] == want, "H %lld, entry %lld", (long long)H, (long long)i);
        }
    }
}
END_TEST

START_TEST(angles_are_float32_products)
{
    static const int32_t positions[] = { 0, 1, 1023, 65537, 262143, G4_MAX_POSITION };
    float freq[256];
    double c[256], s[256];
    int64_t half = tables[_i].head_dim / 2;
    int rounded = 0;
    g4_rope_inv_freq(freq, tables[_i].head_dim, &tables[_i].rope);
    for (size_t p = 0; p < sizeof positions / sizeof *positions; p++) {
        g4_rope_angles(c, s, positions[p], freq, half);
        for (int64_t i = 0; i < half; i++) {
            volatile float angle = (float)positions[p] * freq[i];   /* rounded once [N7] */
            rounded += (double)angle != (double)positions[p] * (double)freq[i];
            within("cos", (double)angle, c[i], cosl((long double)angle), 4 * U);
            within("sin", (double)angle, s[i], sinl((long double)angle), 4 * U);
        }
    }
    ck_assert_int_gt(rounded, 0);   /* a float64 product would differ */
}
END_TEST

Suite *check_real(void)
{
    Suite *s = suite_create("real");
    TCase *t = tcase_create("functions");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, exp_is_libms);
    tcase_add_test(t, exp_special);
    tcase_add_test(t, tanh_is_libms);
    tcase_add_test(t, tanh_special);
    tcase_add_test(t, gelu_is_libms);
    tcase_add_test(t, gelu_special);
    tcase_add_test(t, log_is_libms);
    tcase_add_test(t, cos_sin_are_libms);
    tcase_add_test(t, cos_sin_of_positions);
    suite_add_tcase(s, t);
    t = tcase_create("rope");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, inv_freq_is_torchs, 0, 2);
    tcase_add_test(t, inv_freq_by_definition);
    tcase_add_loop_test(t, angles_are_float32_products, 0, 2);
    suite_add_tcase(s, t);
    return s;
}
