/* SPDX-License-Identifier: Apache-2.0
 * The definition of linear over panels (the law is in panel.h), any format: what every
 * ISA's kernel is compared with, bit by bit, and what runs where there is none. */
#include "kernels_opt/c/panel_block.h"
#include "kernels_opt/c/round.h"

#include <math.h>
#include <string.h>

/* One token's place in a tile's block. */
typedef struct token_block {
    const signed char *q;
    float d;
    const unsigned char *correction;
} token_block;

static token_block token_get(const unsigned char *block, int64_t T, int64_t t)
{
    token_block x = { (const signed char *)block + G4_PANEL_BLOCK * t, 0,
                      block + (G4_PANEL_BLOCK + 4) * T + 4 * t };
    memcpy(&x.d, block + G4_PANEL_BLOCK * T + 4 * t, 4);
    return x;
}

static float accumulate(float acc, const panel_block *w, const token_block *x,
                        g4_correction correction)
{
    int sum[2] = { 0, 0 };
    float minimum;
    for (int i = 0; i < G4_PANEL_BLOCK; i++) sum[i / 16] += w->w[i] * x->q[i];
    if (correction == G4_CORRECT_HALVES) {
        acc = fmaf((float)sum[0], w->scale[0] * x->d, acc);
        return fmaf((float)sum[1], w->scale[1] * x->d, acc);
    }
    acc = fmaf((float)(sum[0] + sum[1]), w->scale[0] * x->d, acc);
    if (correction != G4_CORRECT_MINIMUM) return acc;
    memcpy(&minimum, x->correction, 4);
    return fmaf(-w->minimum, minimum, acc);
}

void g4_linear_panel_c(const g4_linear_args *a, int64_t r0, int64_t r1)
{
    g4_panel_format f = g4_panel_format_get(a->w->dtype);
    int64_t size = g4_panel_size(&f, a->w->cols), blocks = a->w->cols / G4_PANEL_BLOCK;
    for (int64_t r = r0; r < r1; r++) {
        const unsigned char *panel = a->w->panels + r / G4_PANEL_ROWS * size;
        for (int64_t t = 0; t < a->tokens; t++) a->y[t * a->ldy + r] = 0;
        for (int64_t b = 0; b < blocks; b++) {
            panel_block w = panel_block_get(panel, &f, a->w->dtype, b, (int)(r % G4_PANEL_ROWS));
            for (int64_t i = 0; i < g4_xq_tiles(a->tokens); i++) {
                int64_t t0 = g4_xq_begin(a->tokens, i), T = g4_xq_begin(a->tokens, i + 1) - t0;
                const unsigned char *x = a->xq + (t0 * blocks + b * T) * G4_XQ_BYTES;
                for (int64_t t = 0; t < T; t++) {
                    token_block one = token_get(x, T, t);
                    float *y = &a->y[(t0 + t) * a->ldy + r];
                    *y = accumulate(*y, &w, &one, f.correction);
                }
            }
        }
    }
}

void g4_round_x_c(const g4_round_args *a, int64_t p0, int64_t p1)
{
    round_tiles(a, p0, p1);
}

int64_t g4_xq_bytes(int64_t tokens, int64_t cols)
{
    return tokens * (cols / G4_PANEL_BLOCK) * G4_XQ_BYTES;
}

int64_t g4_xq_pieces(int64_t tokens)
{
    return g4_xq_tiles(tokens);
}
