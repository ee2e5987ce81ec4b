/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/input/resize.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the size */

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* get_aspect_ratio_preserving_size, in the same doubles: another order of
 * operations would move an exact multiple to the row of patches below it. */
void g4_image_fit(const g4_visual *v, int64_t budget, int64_t width, int64_t height,
                  int64_t *out_width, int64_t *out_height)
{
    assert(width > 0 && height > 0 && budget > 0);
    int64_t side = g4_visual_side(v);
    double f = sqrt((double)(budget * side * side) / (double)(height * width));
    int64_t h = (int64_t)floor(f * (double)height / (double)side) * side;
    int64_t w = (int64_t)floor(f * (double)width / (double)side) * side;
    /* Both cannot be 0: the wanted area is at least one patch. */
    if (h == 0) {
        h = side;
        w = min64(width / height, budget) * side;
    } else if (w == 0) {
        w = side;
        h = min64(height / width, budget) * side;
    }
    *out_width = w;
    *out_height = h;
}

/* -------------------------------------------------------------- the filter */

typedef struct axis {
    int64_t out, widest;        /* output length; most taps of one output */
    int bits;                   /* P */
    int64_t *first, *taps;      /* [out] */
    int32_t *weight;            /* [out][widest] integers below 2^15 */
} axis;

static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static void axis_free(axis *ax)
{
    free(ax->first);
    free(ax->taps);
    free(ax->weight);
}

/* Weights in float64, normalised; returns the largest one. */
static double fill_weights(axis *ax, int64_t in, double *w)
{
    double s = (double)in / (double)ax->out, wide = s > 1 ? s : 1, largest = 0;
    double inverse = 1 / wide, reach = 2 * wide;
    for (int64_t i = 0; i < ax->out; i++, w += ax->widest) {
        double c = s * ((double)i + 0.5), sum = 0;
        int64_t from = (int64_t)(c - reach + 0.5), to = (int64_t)(c + reach + 0.5);
        if (from < 0) from = 0;
        if (to > in) to = in;
        ax->first[i] = from;
        ax->taps[i] = to - from;
        assert(to > from && to - from <= ax->widest);
        for (int64_t k = 0; k < to - from; k++) {
            w[k] = cubic(((double)(k + from) - c + 0.5) * inverse);
            sum += w[k];
        }
        for (int64_t k = 0; k < to - from; k++) {
            w[k] /= sum;
            if (w[k] > largest) largest = w[k];
        }
    }
    return largest;
}

static g4_status axis_init(axis *ax, int64_t in, int64_t out, g4_err *err)
{
    double s = (double)in / (double)out;
    memset(ax, 0, sizeof *ax);
    ax->out = out;
    ax->widest = 2 * (int64_t)ceil(2 * (s > 1 ? s : 1)) + 1;
    size_t n = (size_t)out, cells;
    if (__builtin_mul_overflow(n, (size_t)ax->widest, &cells)) return g4_nomem(err, "resize");
    double *w = calloc(cells, sizeof *w);
    ax->first = calloc(n, sizeof *ax->first);
    ax->taps = calloc(n, sizeof *ax->taps);
    ax->weight = calloc(cells, sizeof *ax->weight);
    if (!w || !ax->first || !ax->taps || !ax->weight) {
        free(w);
        axis_free(ax);
        return g4_nomem(err, "resize");
    }
    double largest = fill_weights(ax, in, w);
    while (ax->bits < 22 && (int)(0.5 + largest * (double)(1 << (ax->bits + 1))) < (1 << 15))
        ax->bits++;
    for (size_t k = 0; k < cells; k++) {   /* cells behind an output's last tap hold 0 */
        double x = w[k] * (double)(1 << ax->bits);
        ax->weight[k] = (int32_t)(x < 0 ? x - 0.5 : x + 0.5);
    }
    free(w);
    return G4_OK;
}

/* A sum that starts at half a unit, back to 8 bits.  At most 255 * 2^22 times
 * the sum of |weights| (< 1.5), so 32 bits hold it. */
static uint8_t narrow(int32_t sum, int bits)
{
    int32_t v = sum < 0 ? 0 : sum >> bits;
    return (uint8_t)(v > 255 ? 255 : v);
}

/* Along rows: in [height][in_width][3] to out [height][ax->out][3]. */
static void pass_columns(const axis *ax, const uint8_t *in, int64_t in_width, int64_t height,
                         uint8_t *out)
{
    for (int64_t y = 0; y < height; y++, in += 3 * in_width) {
        for (int64_t x = 0; x < ax->out; x++, out += 3) {
            const uint8_t *p = in + 3 * ax->first[x];
            const int32_t *w = ax->weight + x * ax->widest;
            int32_t r = 1 << (ax->bits - 1), g = r, b = r;
            for (int64_t k = 0; k < ax->taps[x]; k++, p += 3) {
                r += w[k] * p[0];
                g += w[k] * p[1];
                b += w[k] * p[2];
            }
            out[0] = narrow(r, ax->bits);
            out[1] = narrow(g, ax->bits);
            out[2] = narrow(b, ax->bits);
        }
    }
}

/* Down columns: in [..][row] to out [ax->out][row]; sum is [row] scratch. */
static void pass_rows(const axis *ax, const uint8_t *in, size_t row, int32_t *sum, uint8_t *out)
{
    for (int64_t y = 0; y < ax->out; y++, out += row) {
        for (size_t x = 0; x < row; x++) sum[x] = 1 << (ax->bits - 1);
        for (int64_t k = 0; k < ax->taps[y]; k++) {
            const uint8_t *p = in + (size_t)(ax->first[y] + k) * row;
            int32_t w = ax->weight[y * ax->widest + k];
            for (size_t x = 0; x < row; x++) sum[x] += w * p[x];
        }
        for (size_t x = 0; x < row; x++) out[x] = narrow(sum[x], ax->bits);
    }
}

static g4_status image_new(g4_image *im, int64_t width, int64_t height, g4_err *err)
{
    size_t n;
    *im = (g4_image){ .width = width, .height = height };
    if (__builtin_mul_overflow((size_t)width * 3, (size_t)height, &n))
        return g4_nomem(err, "a picture");
    im->rgb = malloc(n);
    return im->rgb ? G4_OK : g4_nomem(err, "a picture");
}

static g4_status resize_columns(const g4_image *in, int64_t width, g4_image *out, g4_err *err)
{
    axis ax;
    G4_TRY(axis_init(&ax, in->width, width, err));
    g4_status s = image_new(out, width, in->height, err);
    if (s == G4_OK) pass_columns(&ax, in->rgb, in->width, in->height, out->rgb);
    axis_free(&ax);
    return s;
}

static g4_status resize_rows(const g4_image *in, int64_t height, g4_image *out, g4_err *err)
{
    axis ax;
    size_t row = (size_t)in->width * 3;
    G4_TRY(axis_init(&ax, in->height, height, err));
    int32_t *sum = malloc(row * sizeof *sum);
    g4_status s = sum ? image_new(out, in->width, height, err) : g4_nomem(err, "resize");
    if (s == G4_OK) pass_rows(&ax, in->rgb, row, sum, out->rgb);
    free(sum);
    axis_free(&ax);
    return s;
}

g4_status g4_image_resize(const g4_image *in, int64_t width, int64_t height, g4_image *out,
                          g4_err *err)
{
    assert(in->width > 0 && in->height > 0 && width > 0 && height > 0);
    g4_image middle = { 0 };
    const g4_image *from = in;
    memset(out, 0, sizeof *out);
    if (width != in->width) {
        G4_TRY(resize_columns(in, width, &middle, err));
        from = &middle;
    }
    g4_status s;
    if (height != in->height) {
        s = resize_rows(from, height, out, err);
    } else if (from == &middle) {
        *out = middle;
        return G4_OK;
    } else {
        s = image_new(out, width, height, err);
        if (s == G4_OK) memcpy(out->rgb, in->rgb, (size_t)(width * height) * 3);
    }
    g4_image_free(&middle);
    return s;
}

/* ------------------------------------------------------------- the patches */

/* The 256 values a channel's byte can become, with torch's float32 roundings. */
static void fill_levels(const g4_visual *v, float level[3][256])
{
    for (int c = 0; c < 3; c++) {
        float scale = (float)(1.0 / v->rescale_factor);
        float mean = (float)v->image_mean[c] * scale, std = (float)v->image_std[c] * scale;
        for (int i = 0; i < 256; i++)
            level[c][i] = v->do_normalize ? ((float)i - mean) / std
                                          : (float)i * (float)v->rescale_factor;
    }
}

g4_status g4_image_patches(const g4_image *im, const g4_visual *v, int64_t budget, float *pixels,
                           int32_t *positions, int64_t *count, g4_err *err)
{
    g4_image small;
    float level[3][256];
    int64_t width, height, side = g4_visual_side(v), n = 0;
    g4_image_fit(v, budget, im->width, im->height, &width, &height);
    G4_TRY(g4_image_resize(im, width, height, &small, err));
    fill_levels(v, level);
    assert((width / side) * (height / side) <= budget);
    float *to = pixels;
    for (int64_t y = 0; y < height / side; y++)
        for (int64_t x = 0; x < width / side; x++, n++) {
            positions[2 * n] = (int32_t)x;
            positions[2 * n + 1] = (int32_t)y;
            for (int64_t r = 0; r < side; r++) {
                const uint8_t *p = small.rgb + ((y * side + r) * width + x * side) * 3;
                for (int64_t c = 0; c < side; c++, p += 3)
                    for (int ch = 0; ch < 3; ch++) *to++ = level[ch][p[ch]];
            }
        }
    memset(to, 0, (size_t)((budget - n) * side * side * 3) * sizeof *to);
    for (int64_t i = 2 * n; i < 2 * budget; i++) positions[i] = -1;
    *count = n;
    g4_image_free(&small);
    return G4_OK;
}
