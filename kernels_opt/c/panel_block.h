/* SPDX-License-Identifier: Apache-2.0
 * One row's block of a panel, as numbers: what every kernel unpacks in its own way. */
#ifndef G4_KERNELS_C_PANEL_BLOCK_H
#define G4_KERNELS_C_PANEL_BLOCK_H

#include "kernels_opt/panel.h"
#include "ref/base/half.h"

typedef struct panel_block {
    int w[G4_PANEL_BLOCK];      /* offset subtracted */
    float scale[2];             /* of weights 0..15 and 16..31 */
    float minimum;
} panel_block;

static inline int nibble_at(const unsigned char *weights, int r, int i)
{
    return weights[64 * (i / 4 % 4) + 4 * r + i % 4] >> (i < 16 ? 0 : 4) & 15;
}

static inline float half_at(const unsigned char *p, int r)
{
    return g4_f16_to_f32(g4_load_u16(p + 2 * r));
}

/* 32 levels by nibble: of iq4_nl and iq4_xs. */
static inline void level_weights(panel_block *b, const unsigned char *weights, int r)
{
    static const signed char level[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                           1, 13, 25, 38, 53, 69, 89, 113 };
    for (int i = 0; i < G4_PANEL_BLOCK; i++) b->w[i] = level[nibble_at(weights, r, i)];
}

static inline void legacy_block(panel_block *b, const unsigned char *record, int k, int r,
                                g4_dtype type)
{
    const unsigned char *q = record + g4_panel_weights_at(type, k);
    b->scale[0] = b->scale[1] = half_at(record + 32 * k, r);
    if (type == G4_IQ4_NL) level_weights(b, q, r);
    for (int i = 0; i < G4_PANEL_BLOCK && type != G4_IQ4_NL; i++)
        b->w[i] = type == G4_Q8_0 ? q[64 * (i / 4) + 4 * r + i % 4] - 128 : nibble_at(q, r, i) - 8;
}

static inline void minima_block(panel_block *b, const unsigned char *record, int j, int r,
                                g4_dtype type)
{
    const unsigned char *q = record + g4_panel_weights_at(type, j);
    int low = record[64 + 16 * j + r], high = record[192 + 16 * (j / 2) + r] >> 4 * (j % 2);
    b->scale[0] = b->scale[1] = half_at(record, r) * (float)((low & 15) | (high & 3) << 4);
    b->minimum = half_at(record + 32, r) * (float)(low >> 4 | (high >> 2 & 3) << 4);
    for (int i = 0; i < G4_PANEL_BLOCK; i++) {
        b->w[i] = nibble_at(q, r, i);
        if (type == G4_Q5_K) b->w[i] |= (q[256 + 4 * r + i % 4] >> i / 4 & 1) << 4;
    }
}

static inline void q6_k_block(panel_block *b, const unsigned char *record, int j, int r)
{
    const unsigned char *q = record + g4_panel_weights_at(G4_Q6_K, j);
    for (int h = 0; h < 2; h++)
        b->scale[h] = half_at(record, r) * (float)(signed char)record[64 + 16 * (2 * j + h) + r];
    for (int i = 0; i < G4_PANEL_BLOCK; i++) {
        int top = q[256 + 64 * (i / 16) + 4 * r + i % 4] >> 2 * (i / 4 % 4) & 3;
        b->w[i] = (nibble_at(q, r, i) | top << 4) - 32;
    }
}

static inline void iq4_xs_block(panel_block *b, const unsigned char *record, int j, int r)
{
    int low = record[64 + 16 * (j / 2) + r] >> 4 * (j % 2) & 15;
    int high = g4_load_u16(record + 32 + 2 * r) >> 2 * j & 3;
    level_weights(b, record + g4_panel_weights_at(G4_IQ4_XS, j), r);
    b->scale[0] = b->scale[1] = half_at(record, r) * (float)((low | high << 4) - 32);
}

/* Block `at` of the panel's row r. */
static inline panel_block panel_block_get(const unsigned char *panel, const g4_panel_format *f,
                                          g4_dtype type, int64_t at, int r)
{
    const unsigned char *record = panel + at / f->blocks * f->record;
    int j = (int)(at % f->blocks);
    panel_block b = { .minimum = 0 };
    switch (type) {
    case G4_Q4_K:
    case G4_Q5_K: minima_block(&b, record, j, r, type); break;
    case G4_Q6_K: q6_k_block(&b, record, j, r); break;
    case G4_IQ4_XS: iq4_xs_block(&b, record, j, r); break;
    default: legacy_block(&b, record, j, r, type);
    }
    return b;
}

#endif
