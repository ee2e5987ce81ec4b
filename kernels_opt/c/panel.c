/* SPDX-License-Identifier: Apache-2.0
 * Panels: their sizes, and how rows of a file's blocks become one.  Records, by byte:
 *
 *   q4_0, iq4_nl, q8_0   0 scales f16 [2][16] | 64 weights of block 0, of block 1
 *   q4_k    0 d f16 [16] | 32 dmin f16 [16] | 64 low [8][16] | 192 high [4][16] | 256 weights
 *   q5_k    the same; each block's fifth bits follow its weights
 *   q6_k    0 d f16 [16], 32 of padding | 64 scales int8 [16][16] | 320 weights
 *   iq4_xs  0 d f16 [16] | 32 high u16 [16] | 64 low [4][16] | 128 weights
 *
 * low of q4_k: scale's low nibble and minimum's; high: their upper two bits, of blocks
 * 2g (bits 0..3) and 2g + 1.  So each is one load for 16 rows. */
#include "kernels_opt/panel.h"

#include "ref/base/half.h"
#include "ref/dtype/dtype.h"
#include "ref/dtype/scale6.h"

#include <assert.h>
#include <string.h>

enum { SUPER_BLOCKS = 8 };

int64_t g4_panel_bytes(const g4_mat *w)
{
    g4_panel_format f = g4_panel_format_get(w->dtype);
    if (!f.blocks) return 0;
    return g4_round_up(w->rows, G4_PANEL_ROWS) / G4_PANEL_ROWS * g4_panel_size(&f, w->cols);
}

/* 16 bytes whose nibbles are weights i and i + 16. */
static void put_nibbles(unsigned char *block, int r, const unsigned char q[16])
{
    for (int v = 0; v < 4; v++) memcpy(block + 64 * v + 4 * r, q + 4 * v, 4);
}

static void put_legacy(unsigned char *record, int k, int r, const unsigned char *in, g4_dtype type)
{
    unsigned char *block = record + g4_panel_weights_at(type, k);
    memcpy(record + 32 * k + 2 * r, in, 2);
    if (type != G4_Q8_0) {
        put_nibbles(block, r, in + 2);
        return;
    }
    for (int i = 0; i < 8; i++)
        for (int c = 0; c < 4; c++)   /* int8 + 128: the dot product wants one side unsigned */
            block[64 * i + 4 * r + c] = in[2 + 4 * i + c] ^ 0x80;
}

/* Low or high nibbles of 32 bytes are a block: two of its weights go in a byte. */
static void put_half(unsigned char *block, int r, const unsigned char in[32], int high)
{
    unsigned char q[16];
    for (int i = 0; i < 16; i++)
        q[i] = (unsigned char)((in[i] >> 4 * high & 15) | (in[i + 16] >> 4 * high & 15) << 4);
    put_nibbles(block, r, q);
}

static void put_minima(unsigned char *record, int r, const unsigned char *in, g4_dtype type)
{
    const int five = type == G4_Q5_K;
    const unsigned char *q = in + (five ? 48 : 16);
    memcpy(record + 2 * r, in, 2);
    memcpy(record + 32 + 2 * r, in + 2, 2);
    for (int j = 0; j < SUPER_BLOCKS; j++) {
        unsigned char *block = record + g4_panel_weights_at(type, j);
        unsigned char *high = record + 192 + 16 * (j / 2) + r;
        int s, m;
        g4_scale6_get(in + 4, j, &s, &m);
        record[64 + 16 * j + r] = (unsigned char)((s & 15) | (m & 15) << 4);
        if (j % 2 == 0) *high = 0;
        *high |= (unsigned char)((s >> 4 | m >> 4 << 2) << 4 * (j % 2));
        put_half(block, r, q + 32 * (j / 2), j % 2);
        for (int c = 0; five && c < 4; c++) {
            unsigned bits = 0;
            for (int i = 0; i < 8; i++) bits |= (in[16 + 4 * i + c] >> j & 1u) << i;
            block[256 + 4 * r + c] = (unsigned char)bits;
        }
    }
}

/* Weight i of q6_k's block j: its place in the file is told in ref/dtype/q6_k.c. */
static void put_q6_k(unsigned char *record, int r, const unsigned char *in)
{
    memcpy(record + 2 * r, in + 208, 2);
    memset(record + 32 + 2 * r, 0, 2);
    for (int j = 0; j < 16; j++) record[64 + 16 * j + r] = in[192 + j];
    for (int j = 0; j < SUPER_BLOCKS; j++) {
        const unsigned char *low = in + 64 * (j / 4) + 32 * (j % 2);
        const unsigned char *top = in + 128 + 32 * (j / 4);
        unsigned char *block = record + g4_panel_weights_at(G4_Q6_K, j);
        put_half(block, r, low, j / 2 % 2);
        for (int h = 0; h < 2; h++)
            for (int c = 0; c < 4; c++) {
                unsigned bits = 0;
                for (int i = 0; i < 4; i++)
                    bits |= (top[16 * h + 4 * i + c] >> 2 * (j % 4) & 3u) << 2 * i;
                block[256 + 64 * h + 4 * r + c] = (unsigned char)bits;
            }
    }
}

static void put_iq4_xs(unsigned char *record, int r, const unsigned char *in)
{
    memcpy(record + 2 * r, in, 2);
    memcpy(record + 32 + 2 * r, in + 2, 2);
    for (int j = 0; j < 4; j++) record[64 + 16 * j + r] = in[4 + j];
    for (int j = 0; j < SUPER_BLOCKS; j++)
        put_nibbles(record + g4_panel_weights_at(G4_IQ4_XS, j), r, in + 8 + 16 * j);
}

static void put_row(unsigned char *panel, const g4_panel_format *f, const g4_mat *w, int64_t row)
{
    const g4_dtype_info *info = g4_dtype_get(w->dtype);
    const unsigned char *in = g4_mat_row(w, row);
    int r = (int)(row % G4_PANEL_ROWS);
    int64_t blocks = w->cols / info->block;
    for (int64_t b = 0; b < blocks; b++, in += info->bytes) {
        switch (w->dtype) {
        case G4_Q4_K:
        case G4_Q5_K: put_minima(panel + b * f->record, r, in, w->dtype); break;
        case G4_Q6_K: put_q6_k(panel + b * f->record, r, in); break;
        case G4_IQ4_XS: put_iq4_xs(panel + b * f->record, r, in); break;
        default: put_legacy(panel + b / 2 * f->record, (int)(b % 2), r, in, w->dtype);
        }
    }
}

/* A panel that the matrix does not fill: rows past its end are zero, scales too. */
void g4_panel_pack(unsigned char *panels, const g4_mat *w, int64_t r0, int64_t r1)
{
    g4_panel_format f = g4_panel_format_get(w->dtype);
    int64_t size = g4_panel_size(&f, w->cols);
    assert(f.blocks && r0 % G4_PANEL_ROWS == 0);
    for (int64_t r = r0; r < r1; r++) {
        unsigned char *panel = panels + r / G4_PANEL_ROWS * size;
        if (r % G4_PANEL_ROWS == 0 && r1 - r < G4_PANEL_ROWS) memset(panel, 0, (size_t)size);
        put_row(panel, &f, w, r);
    }
}
