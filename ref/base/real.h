/* SPDX-License-Identifier: Apache-2.0
 * exp, log, tanh, sin and cos in float64, our own: plain multiplies, adds and
 * divisions only, so that the bits depend on neither libm, compiler nor ISA
 * [N20].  Errors stay below 1e-14 relative where the model uses them (see
 * check_real.c), 10^6 times finer than the float32 the result is rounded to.
 * Written without branches on the data where a row of them is computed, so
 * that a compiler can vectorise the loops around them. */
#ifndef G4_BASE_REAL_H
#define G4_BASE_REAL_H

#include <stdint.h>
#include <string.h>

static inline double g4_f64_from_bits(uint64_t u)
{
    double d;
    memcpy(&d, &u, 8);
    return d;
}

static inline uint64_t g4_f64_bits(double d)
{
    uint64_t u;
    memcpy(&u, &d, 8);
    return u;
}

/* Adding and subtracting 1.5 * 2^52 rounds to an integer, to nearest even; the
 * sum's low bits then hold that integer. */
#define G4_ROUND_MAGIC 0x1.8p52

/* e^x; x is clamped to +-700 (results in 1e-304 .. 1e304), NaN stays NaN.
 * x = k ln 2 + r, |r| <= 0.347; Taylor to r^13 leaves 4e-18. */
static inline double g4_exp(double x)
{
    x = x < -700.0 ? -700.0 : x;
    x = x > 700.0 ? 700.0 : x;
    double t = x * 0x1.71547652b82fep+0 + G4_ROUND_MAGIC;
    double k = t - G4_ROUND_MAGIC;
    double r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return p * g4_f64_from_bits((g4_f64_bits(t) + 1023) << 52);   /* times 2^k */
}

/* tanh: 1 - 2 / (e^2|x| + 1) with x's sign; near 0, where that cancels, its
 * Taylor polynomial to x^11 (|x| < 1/16: rest below 2e-17). */
static inline double g4_tanh(double x)
{
    double a = x < 0 ? -x : x;
    double far = 1.0 - 2.0 / (g4_exp(2.0 * a) + 1.0);
    double s = x * x;
    double p = -1382.0 / 155925.0;
    p = p * s + 62.0 / 2835.0;
    p = p * s - 17.0 / 315.0;
    p = p * s + 2.0 / 15.0;
    p = p * s - 1.0 / 3.0;
    double near = x + x * (s * p);
    far = x < 0 ? -far : far;
    return a < 0.0625 ? near : far;
}

/* gelu_pytorch_tanh: 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3),
 * which is x / (1 + e^-2u): the same without cancellation. */
static inline double g4_gelu_tanh(double x)
{
    double u = 0x1.9884533d43651p-1 * (x + 0.044715 * (x * x * x));
    return x / (1.0 + g4_exp(-2.0 * u));
}

/* ln x for normal x > 0: x = 2^e m, m in [0.70, 1.42); 2 atanh((m-1)/(m+1)). */
static inline double g4_log(double x)
{
    uint64_t u = g4_f64_bits(x);
    int64_t e = (int64_t)(u >> 52) - 1023;
    double m = g4_f64_from_bits((u & 0xfffffffffffffu) | 0x3ff0000000000000u);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double s = (m - 1.0) / (m + 1.0), q = s * s, p = 0.0;
    for (int k = 25; k >= 1; k -= 2) p = p * q + 1.0 / k;   /* q < 0.0295: rest 1e-20 */
    return (double)e * 0x1.62e42fefa39efp-1 + 2.0 * s * p;
}

/* cos and sin of x, |x| < 2^19 pi/2 (positions up to 800,000).  pi/2 is
 * subtracted in three parts, the first two of 33 bits, so that k times each is
 * exact [N20]. */
static inline void g4_cos_sin(double x, double *cosine, double *sine)
{
    double t = x * 0x1.45f306dc9c883p-1 + G4_ROUND_MAGIC;
    double k = t - G4_ROUND_MAGIC;
    double r = ((x - k * 0x1.921fb54400000p+0) - k * 0x1.0b4611a600000p-34)
               - k * 0x1.3198a2e037073p-69;
    double s = r * r;
    double ps = 1.0 / 355687428096000.0;            /* r^17 / 17!; next 1e-19 */
    ps = ps * s - 1.0 / 1307674368000.0;
    ps = ps * s + 1.0 / 6227020800.0;
    ps = ps * s - 1.0 / 39916800.0;
    ps = ps * s + 1.0 / 362880.0;
    ps = ps * s - 1.0 / 5040.0;
    ps = ps * s + 1.0 / 120.0;
    ps = ps * s - 1.0 / 6.0;
    double sr = r + r * (s * ps);
    double pc = 1.0 / 20922789888000.0;             /* r^16 / 16!; next 2e-18 */
    pc = pc * s - 1.0 / 87178291200.0;
    pc = pc * s + 1.0 / 479001600.0;
    pc = pc * s - 1.0 / 3628800.0;
    pc = pc * s + 1.0 / 40320.0;
    pc = pc * s - 1.0 / 720.0;
    pc = pc * s + 1.0 / 24.0;
    double cr = (1.0 - 0.5 * s) + (s * s) * pc;
    uint64_t quadrant = g4_f64_bits(t) & 3;
    double c = quadrant & 1 ? sr : cr, n = quadrant & 1 ? cr : sr;
    *cosine = quadrant == 1 || quadrant == 2 ? -c : c;
    *sine = quadrant >= 2 ? -n : n;
}

#endif
