/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/gguf_mix.h"
#include "harness/sensitivity/sensitivity.h"
#include "ref/base/half.h"
#include "ref/dtype/dtype.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_BLOCK = 256, MOST_BLOCK_BYTES = 1024 };

static g4_status unknown(const char *name, size_t len, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "--types %.*s: expected a format that can be packed (q4_k), "
                   "s or a with 2 to 8 bits and a block (s4b32, a3b64, a4b0), or a mix",
                   (int)(len < 40 ? len : 40), name);
}

g4_status g4_sens_type_parse(g4_sens_type *t, const char *name, size_t len, g4_err *err)
{
    int bits = 0, block = 32, end = 0;
    *t = (g4_sens_type){ .dtype = -1 };
    if (len >= sizeof t->name) return unknown(name, len, err);
    memcpy(t->name, name, len);
    t->dtype = g4_dtype_by_name(t->name);
    if (t->dtype >= 0)
        return g4_dtype_get((g4_dtype)t->dtype)->pack ? G4_OK : unknown(name, len, err);
    t->affine = t->name[0] == 'a';
    if (!t->affine && t->name[0] != 's') return unknown(name, len, err);
    if (sscanf(t->name + 1, "%1d%n", &bits, &end) != 1) return unknown(name, len, err);
    const char *rest = t->name + 1 + end;
    end = 0;
    if (*rest && (sscanf(rest, "b%6d%n", &block, &end) != 1 || rest[end]))
        return unknown(name, len, err);
    if (bits < 2 || bits > 8 || block < 0) return unknown(name, len, err);
    t->bits = bits;
    t->block = block;
    return G4_OK;
}

uint64_t g4_sens_row_bytes(const g4_sens_type *t, int64_t cols)
{
    if (t->dtype >= 0)
        return g4_dtype_row_bytes(g4_mix_fitting((g4_dtype)t->dtype, cols), cols);
    int64_t block = t->block ? t->block : cols, blocks = (cols + block - 1) / block;
    return (uint64_t)((cols * t->bits + 7) / 8 + blocks * (t->affine ? 4 : 2));
}

/* As ggml's q4_0: the value of largest size becomes level 0, which is -2^(bits-1). */
static void symmetric(float *y, const float *x, int64_t n, int bits)
{
    float most = 0.0f, value = 0.0f, middle = (float)(1 << (bits - 1)), top = 2.0f * middle - 1.0f;
    for (int64_t i = 0; i < n; i++)
        if (fabsf(x[i]) > most) {
            most = fabsf(x[i]);
            value = x[i];
        }
    float d = value / -middle, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    float scale = g4_f16_to_f32(g4_f32_to_f16(d));
    for (int64_t i = 0; i < n; i++)
        y[i] = (fminf(truncf(x[i] * inverse + (middle + 0.5f)), top) - middle) * scale;
}

/* As ggml's q4_1. */
static void affine(float *y, const float *x, int64_t n, int bits)
{
    float lo = x[0], hi = x[0], top = (float)((1 << bits) - 1);
    for (int64_t i = 1; i < n; i++) {
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    float d = (hi - lo) / top, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    float scale = g4_f16_to_f32(g4_f32_to_f16(d)), least = g4_f16_to_f32(g4_f32_to_f16(lo));
    for (int64_t i = 0; i < n; i++)
        y[i] = fminf(truncf((x[i] - lo) * inverse + 0.5f), top) * scale + least;
}

void g4_sens_round(const g4_sens_type *t, float *y, const float *x, int64_t n)
{
    int64_t block = t->block ? t->block : n;
    const g4_dtype_info *f = NULL;
    unsigned char packed[MOST_BLOCK_BYTES];
    if (t->dtype >= 0) {
        f = g4_dtype_get(g4_mix_fitting((g4_dtype)t->dtype, n));
        block = f->block > 1 ? f->block : n < MOST_BLOCK ? n : MOST_BLOCK;
    }
    for (int64_t i = 0; i < n; i += block) {
        int64_t some = n - i < block ? n - i : block;
        if (f) {
            f->pack(packed, x + i, NULL, some);
            f->unpack(y + i, packed, some);
        } else if (t->affine) {
            affine(y + i, x + i, some, t->bits);
        } else {
            symmetric(y + i, x + i, some, t->bits);
        }
    }
}
