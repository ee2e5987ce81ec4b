/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/dtype/fit_block.h"

#include "ref/dtype/iq4.h"

#include <float.h>

static void put(uint8_t p[2], uint16_t h)
{
    memcpy(p, &h, 2);
}

static int is_finite(uint16_t h)
{
    return (h & 0x7fff) < 0x7c00;
}

static float farthest(const g4_fit *f)
{
    float far = 0.0f;
    for (int i = 0; i < G4_BLOCK; i++)
        if (__builtin_fabsf(f->x[i]) > __builtin_fabsf(far)) far = f->x[i];
    return far;
}

/* Is what is left of the error the rounding of the f16 scale, 2^-11, and not that of the
 * levels?  Then which level meets which value is a matter of luck, and worth trying all. */
static int only_rounding(const g4_fit *f, float error)
{
    float all = 0.0f;
    for (int i = 0; i < G4_BLOCK; i++) all += f->w[i] * f->x[i] * f->x[i];
    return error <= all * 0x1p-16f;
}

typedef struct choice {
    float error;
    uint16_t d, m;
} choice;

static void try_scale(const g4_fit *f, g4_levels l, uint16_t h, choice *best)
{
    if (!is_finite(h)) return;
    float e = g4_fit_error(f->x, f->w, G4_BLOCK, l, g4_fit_load(f, h), NULL);
    if (e < best->error) *best = (choice){ e, h, 0 };
}

/* Every level on the largest value.  What was unpacked is kept so: it is some level times
 * an f16 (exact: no less than that will do, and most blocks are through at once). */
static void try_levels(const g4_fit *f, g4_levels l, int exact, choice *best)
{
    float far = farthest(f);
    int count = l.iq4 ? 16 : (int)(l.hi - l.lo) + 1;
    for (int k = 0; k < count && best->error > 0.0f; k++) {
        float level = l.iq4 ? g4_iq4_level[k] : l.lo + (float)k;
        if (level == 0.0f) continue;
        uint16_t h = g4_fit_store(f, far / level);
        if (exact ? g4_fit_load(f, h) * level == far : 1) try_scale(f, l, h, best);
    }
}

void g4_fit_block(const float *x, const float *weight, g4_levels l, uint8_t d[2],
                  float q[G4_BLOCK])
{
    g4_fit f;
    float gain;
    choice best = { FLT_MAX, G4_F16_NAN, 0 };
    memset(q, 0, G4_BLOCK * sizeof *q);
    g4_fit_kind kind = g4_fit_begin(&f, x, weight, G4_BLOCK);
    put(d, kind == G4_FIT_ZERO ? 0 : G4_F16_NAN);
    if (kind != G4_FIT_OK) return;
    try_levels(&f, l, 1, &best);
    if (best.error > 0.0f) {
        uint16_t h = g4_fit_store(&f, g4_fit_scale(f.x, f.w, G4_BLOCK, l, &gain));
        if (!is_finite(h)) return;
        /* Rounding moves the scale a little; far down, where f16 has few digits, a lot. */
        try_scale(&f, l, h, &best);
        try_scale(&f, l, (uint16_t)(h + 1), &best);
        if (h & 0x7fff) try_scale(&f, l, (uint16_t)(h - 1), &best);
        if (only_rounding(&f, best.error)) try_levels(&f, l, 0, &best);
    }
    put(d, best.d);
    g4_fit_error(f.x, f.w, G4_BLOCK, l, g4_fit_load(&f, best.d), q);
}

/* ---- with an offset ---- */

static void try_line(const g4_fit *f, float hi, uint16_t d, uint16_t m, choice *best)
{
    if (!is_finite(d) || !is_finite(m)) return;
    g4_line at = { g4_fit_load(f, d), g4_fit_load(f, m) };
    float e = g4_fit_line_error(f->x, f->w, G4_BLOCK, hi, at, NULL);
    if (e < best->error) *best = (choice){ e, d, m };
}

/* As try_levels: every pair of levels on the least and the largest value. */
static void try_pairs(const g4_fit *f, float hi, int exact, choice *best)
{
    float low = FLT_MAX, high = -FLT_MAX;
    for (int i = 0; i < G4_BLOCK; i++) {
        if (!exact && f->w[i] == 0.0f) continue;
        low = f->x[i] < low ? f->x[i] : low;
        high = f->x[i] > high ? f->x[i] : high;
    }
    for (int width = (int)hi; width > 0 && best->error > 0.0f; width--) {
        uint16_t hd = g4_fit_store(f, (high - low) / (float)width);
        float d = g4_fit_load(f, hd);
        if (exact && d * (float)width != high - low) continue;
        for (int first = 0; first + width <= (int)hi && best->error > 0.0f; first++) {
            uint16_t hm = g4_fit_store(f, low - d * (float)first);
            if (exact ? d * (float)first + g4_fit_load(f, hm) == low : 1)
                try_line(f, hi, hd, hm, best);
        }
        if (d == 0.0f) break;   /* all values the same: one width is like the others */
    }
}

/* Best scale for an offset that is stored already. */
static float scale_for(const g4_fit *f, float hi, g4_line at)
{
    float q[G4_BLOCK], xq = 0.0f, qq = 0.0f;
    g4_fit_line_error(f->x, f->w, G4_BLOCK, hi, at, q);
    for (int i = 0; i < G4_BLOCK; i++) {
        xq += f->w[i] * q[i] * (f->x[i] - at.m);
        qq += f->w[i] * q[i] * q[i];
    }
    return qq > 0.0f ? xq / qq : at.d;
}

void g4_fit_block_line(const float *x, const float *weight, float hi, uint8_t d[2], uint8_t m[2],
                       float q[G4_BLOCK])
{
    g4_fit f;
    float gain;
    choice best = { FLT_MAX, G4_F16_NAN, G4_F16_NAN };
    memset(q, 0, G4_BLOCK * sizeof *q);
    g4_fit_kind kind = g4_fit_begin(&f, x, weight, G4_BLOCK);
    put(d, kind == G4_FIT_ZERO ? 0 : G4_F16_NAN);
    put(m, kind == G4_FIT_ZERO ? 0 : G4_F16_NAN);
    if (kind != G4_FIT_OK) return;
    try_pairs(&f, hi, 1, &best);
    if (best.error > 0.0f) {
        g4_line line = g4_fit_line(f.x, f.w, G4_BLOCK, hi, FLT_MAX, &gain);
        uint16_t hm = g4_fit_store(&f, line.m);
        if (!is_finite(hm)) return;
        for (int step = -1; step <= 1; step++) {   /* few digits of a far offset reach the range */
            if (step < 0 && (hm & 0x7fff) == 0) continue;
            uint16_t m16 = (uint16_t)(hm + step);
            g4_line at = { line.d, g4_fit_load(&f, m16) };
            try_line(&f, hi, g4_fit_store(&f, scale_for(&f, hi, at)), m16, &best);
        }
        if (only_rounding(&f, best.error)) try_pairs(&f, hi, 0, &best);
    }
    if (best.error == FLT_MAX) return;   /* the scale is beyond f16 */
    g4_line at = { g4_fit_load(&f, best.d), g4_fit_load(&f, best.m) };
    put(d, best.d);
    put(m, best.m);
    g4_fit_line_error(f.x, f.w, G4_BLOCK, hi, at, q);
}
