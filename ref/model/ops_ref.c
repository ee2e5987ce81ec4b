/* SPDX-License-Identifier: Apache-2.0
 * The definitions: every entry of g4_ops in plain C, obeying the law of ops.h.
 * kernels_opt compiles this very file again with wider instruction sets (the
 * compiler may vectorise it, its bits stay) under another name. */
#include "ref/model/ops.h"

#include "ref/base/real.h"
#include "ref/dtype/dtype.h"

#ifndef G4_OPS_REF_NAME
#define G4_OPS_REF_NAME g4_ops_ref
#endif

enum { LANES = 16, KEY_BLOCK = 64 };

static float fold_f32(float *lane)
{
    for (int w = LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) lane[l] += lane[l + w];
    return lane[0];
}

static double fold_f64(double *lane)
{
    for (int w = LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) lane[l] += lane[l + w];
    return lane[0];
}

static float dot(const float *a, const float *b, int64_t n)
{
    float lane[LANES] = { 0 };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] = __builtin_fmaf(a[i + l], b[i + l], lane[l]);
    for (int l = 0; i + l < n; l++) lane[l] = __builtin_fmaf(a[i + l], b[i + l], lane[l]);
    return fold_f32(lane);
}

/* One definition for all formats: a row is unpacked exactly, then multiplied. */
static void linear(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch)
{
    const g4_dtype_info *info = g4_dtype_get(a->w->dtype);
    for (int64_t r = r0; r < r1; r++) {
        info->unpack(scratch, g4_mat_row(a->w, r), a->w->cols);
        for (int64_t t = 0; t < a->tokens; t++)
            a->y[t * a->ldy + r] = dot(scratch, a->x + t * a->ldx, a->w->cols);
    }
}

static double dot64(const float *a, const float *b, int64_t n)
{
    double lane[LANES] = { 0 };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)a[i + l] * (double)b[i + l];
    for (int l = 0; i + l < n; l++) lane[l] += (double)a[i + l] * (double)b[i + l];
    return fold_f64(lane);
}

static void linear64(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch)
{
    const g4_dtype_info *info = g4_dtype_get(a->w->dtype);
    for (int64_t r = r0; r < r1; r++) {
        info->unpack(scratch, g4_mat_row(a->w, r), a->w->cols);
        for (int64_t t = 0; t < a->tokens; t++)
            a->y[t * a->ldy + r] = (float)dot64(scratch, a->x + t * a->ldx, a->w->cols);
    }
}

static int64_t linear_scratch(int64_t cols, int64_t tokens)
{
    (void)tokens;
    return cols;
}

static void rmsnorm(float *y, const float *x, const float *w, int64_t n, double eps)
{
    double inv = 1.0 / __builtin_sqrt(dot64(x, x, n) / (double)n + eps);
    if (w)
        for (int64_t i = 0; i < n; i++) y[i] = (float)((double)x[i] * inv * (double)w[i]);
    else
        for (int64_t i = 0; i < n; i++) y[i] = (float)((double)x[i] * inv);
}

/* sum of (x - shift)^power, power 1 or 2 */
static double lane_sum(const float *x, int64_t n, double shift, int power)
{
    double lane[LANES] = { 0 };
    for (int64_t i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES && i + l < n; l++) {
            double d = (double)x[i + l] - shift;
            lane[l] += power == 2 ? d * d : d;
        }
    return fold_f64(lane);
}

static void layernorm(float *y, const float *x, const float *w, const float *b, int64_t n,
                      double eps)
{
    double mean = lane_sum(x, n, 0.0, 1) / (double)n;
    double var = lane_sum(x, n, mean, 2) / (double)n;
    double inv = 1.0 / __builtin_sqrt(var + eps);
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(((double)x[i] - mean) * inv * (double)w[i] + (double)b[i]);
}

static void rope(float *x, const double *cosine, const double *sine, int64_t half)
{
    for (int64_t i = 0; i < half; i++) {
        double a = x[i], b = x[i + half];
        x[i] = (float)(a * cosine[i] - b * sine[i]);
        x[i + half] = (float)(b * cosine[i] + a * sine[i]);
    }
}

/* out += sum of p[k] * value[k] over keys [lo, hi), which lie in one key block. */
static void add_block(float *out, const g4_attend_args *a, const float *p, int64_t lo, int64_t hi)
{
    enum { TILE = 64 };
    for (int64_t h = 0; h < a->head_dim; h += TILE) {
        int64_t width = a->head_dim - h < TILE ? a->head_dim - h : TILE;
        float acc[TILE] = { 0 };
        for (int64_t k = lo; k < hi; k++) {
            const float *v = a->value + (k % a->slots) * a->stride + h;
            for (int64_t i = 0; i < width; i++) acc[i] = __builtin_fmaf(p[k], v[i], acc[i]);
        }
        for (int64_t i = 0; i < width; i++) out[h + i] += acc[i];
    }
}

static void attend(const g4_attend_args *a)
{
    int64_t n = a->hi - a->lo;
    for (int64_t g = 0; g < a->heads; g++) {
        const float *q = a->q + g * a->head_dim;
        float *out = a->out + g * a->head_dim, *p = a->scratch + g * n;
        float top = -__builtin_inff();
        for (int64_t k = 0; k < n; k++) {
            p[k] = dot(q, a->key + ((a->lo + k) % a->slots) * a->stride, a->head_dim);
            top = p[k] > top ? p[k] : top;
        }
        double sum = 0.0;
        for (int64_t k = 0; k < n; k++) p[k] = (float)g4_exp((double)p[k] - (double)top);
        for (int64_t k = 0; k < n; k++) sum += (double)p[k];
        for (int64_t i = 0; i < a->head_dim; i++) out[i] = 0.0f;
        for (int64_t lo = a->lo; lo < a->hi;) {
            int64_t hi = (lo / KEY_BLOCK + 1) * KEY_BLOCK;
            if (hi > a->hi) hi = a->hi;
            add_block(out, a, p - a->lo, lo, hi);
            lo = hi;
        }
        for (int64_t i = 0; i < a->head_dim; i++) out[i] = (float)((double)out[i] / sum);
    }
}

static void gelu_mul(float *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(g4_gelu_tanh((double)gate[i]) * (double)up[i]);
}

static void add_scale(float *y, const float *x, const float *r, int64_t n, double scale)
{
    for (int64_t i = 0; i < n; i++) y[i] = (float)(((double)x[i] + (double)r[i]) * scale);
}

static void softcap(float *x, int64_t n, double cap)
{
    for (int64_t i = 0; i < n; i++) x[i] = (float)(cap * g4_tanh((double)x[i] / cap));
}

g4_ops G4_OPS_REF_NAME(void);   /* under its other names this file is not behind ops.h */

g4_ops G4_OPS_REF_NAME(void)
{
    g4_ops ops = {
        .linear_scratch = linear_scratch,
        .linear64 = linear64,
        .rmsnorm = rmsnorm,
        .layernorm = layernorm,
        .rope = rope,
        .attend = attend,
        .gelu_mul = gelu_mul,
        .add_scale = add_scale,
        .softcap = softcap,
    };
    for (int t = 0; t < G4_DTYPE_COUNT; t++) ops.linear[t] = linear;
    return ops;
}
