/* SPDX-License-Identifier: Apache-2.0
 * Panels: nothing is lost in packing, and the law (kernels_opt/panel.h) keeps its bound.
 * That kernels obey the law bit by bit is check_kernels.c's. */
#include "harness/check/suite.h"
#include "kernels_opt/c/panel_block.h"
#include "kernels_opt/kernels.h"
#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *check_panel(void);

static const g4_dtype formats[] = { G4_Q4_0, G4_Q8_0, G4_Q4_K, G4_Q5_K,
                                    G4_Q6_K, G4_IQ4_NL, G4_IQ4_XS };

enum { FORMATS = sizeof formats / sizeof *formats, ROWS = 21 };

typedef struct matrix {
    g4_mat w;
    unsigned char *data, *panels;
} matrix;

/* Random bytes, every 16-bit field that could be a scale finite: exponents below 31. */
static matrix make(g4_dtype type, int64_t blocks)
{
    const g4_dtype_info *info = g4_dtype_get(type);
    matrix m = { .w = { .dtype = type, .rows = ROWS, .cols = blocks * info->block } };
    m.w.row_bytes = g4_dtype_row_bytes(type, m.w.cols);
    size_t size = ROWS * m.w.row_bytes;
    m.data = malloc(size);
    m.panels = malloc((size_t)g4_panel_bytes(&m.w));
    ck_assert(m.data && m.panels);
    for (size_t i = 0; i < size; i++)
        m.data[i] = (unsigned char)(g4_rng_u64(type, 7, i) >> 33) & 0xbf;
    m.w.data = m.data;
    g4_panel_pack(m.panels, &m.w, 0, ROWS);
    m.w.panels = m.panels;
    return m;
}

static panel_block block_of(const matrix *m, int64_t row, int64_t at)
{
    g4_panel_format f = g4_panel_format_get(m->w.dtype);
    const unsigned char *panel = m->panels + row / G4_PANEL_ROWS * g4_panel_size(&f, m->w.cols);
    return panel_block_get(panel, &f, m->w.dtype, at, (int)(row % G4_PANEL_ROWS));
}

static void drop(matrix *m)
{
    free(m->data);
    free(m->panels);
}

/* Scale times weight minus minimum, in float32 as the format's own unpacking has it. */
START_TEST(packing_keeps_values)
{
    for (int64_t blocks = 1; blocks <= 4; blocks++) {
        matrix m = make(formats[_i], blocks);
        float *row = malloc((size_t)m.w.cols * sizeof *row);
        ck_assert_ptr_nonnull(row);
        for (int64_t r = 0; r < ROWS; r++) {
            g4_dtype_get(m.w.dtype)->unpack(row, g4_mat_row(&m.w, r), m.w.cols);
            for (int64_t i = 0; i < m.w.cols; i++) {
                panel_block b = block_of(&m, r, i / G4_PANEL_BLOCK);
                int at = (int)(i % G4_PANEL_BLOCK);
                float value = b.scale[at / 16] * (float)b.w[at] - b.minimum;
                ck_assert_msg(value == row[i], "%s row %lld column %lld: %a, file %a",
                              g4_dtype_get(m.w.dtype)->name, (long long)r, (long long)i,
                              (double)value, (double)row[i]);
            }
        }
        free(row);
        drop(&m);
    }
}
END_TEST

/* Rows past the matrix's end are zero in every block. */
START_TEST(padding_rows_are_zero)
{
    matrix m = make(formats[_i], 3);
    for (int64_t b = 0; b < m.w.cols / G4_PANEL_BLOCK; b++) {
        panel_block pad = block_of(&m, 2 * G4_PANEL_ROWS - 1, b);
        ck_assert(pad.scale[0] == 0 && pad.scale[1] == 0 && pad.minimum == 0);
    }
    drop(&m);
}
END_TEST

/* With d = m / 127 and 1 / d rounded and x times that rounded, q is within
 * 1/2 + 127 * 3u(1 + 2^-20) of x / d, u = 2^-24; so each x is off by that times d.  The
 * sum has at most two fused steps a block and one rounded product of scales in each:
 * gamma of (steps + 1) times the sum of magnitudes, the minimum's part in it, too. */
static void check_bound(const matrix *m, int64_t r, const float *x, float y)
{
    const double u = 0x1p-24;
    int64_t blocks = m->w.cols / G4_PANEL_BLOCK;
    double truth = 0, size = 0, bound = 0, steps = (double)(3 * blocks + 3);
    for (int64_t b = 0; b < blocks; b++) {
        panel_block w = block_of(m, r, b);
        double most = 0, weights = 0;
        for (int i = 0; i < G4_PANEL_BLOCK; i++) {
            double v = (double)w.scale[i / 16] * w.w[i] - (double)w.minimum;
            double one = x[b * G4_PANEL_BLOCK + i];
            truth += v * one;
            size += (fabs((double)w.scale[i / 16] * w.w[i]) + fabs((double)w.minimum)) * fabs(one);
            weights += fabs(v);
            most = fmax(most, fabs(one));
        }
        bound += weights * most / 127 * (1 + 2 * u) * (0.5 + 127 * 3 * u * (1 + 0x1p-20));
        size += weights * most / 127;   /* what rounding may have added to the magnitudes */
    }
    bound += steps * u / (1 - steps * u) * size;
    ck_assert_msg(fabs((double)y - truth) <= bound, "%s row %lld: %g, exactly %g, bound %g",
                  g4_dtype_get(m->w.dtype)->name, (long long)r, (double)y, truth, bound);
}

START_TEST(law_within_bound)
{
    enum { TOKENS = 5 };
    matrix m = make(formats[_i], 3);
    g4_ops ops = g4_ops_definitions();
    float *x = malloc((size_t)(TOKENS * m.w.cols) * sizeof *x), y[TOKENS * ROWS];
    unsigned char *xq = malloc((size_t)ops.xq_bytes(TOKENS, m.w.cols));
    ck_assert(x && xq);
    for (int64_t i = 0; i < TOKENS * m.w.cols; i++)
        x[i] = (float)((g4_rng_unit(3, 1, (uint64_t)i) - 0.5) * (i % 50 ? 1 : 40));
    g4_round_args round = { xq, x, m.w.cols, TOKENS, m.w.cols, m.w.dtype };
    ops.round_x(&round, 0, ops.round_pieces(TOKENS));
    g4_linear_args a = { .y = y, .ldy = ROWS, .tokens = TOKENS, .w = &m.w, .xq = xq };
    ops.linear_panel[m.w.dtype](&a, 0, ROWS);
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t r = 0; r < ROWS; r++) check_bound(&m, r, x + t * m.w.cols, y[t * ROWS + r]);
    free(x);
    free(xq);
    drop(&m);
}
END_TEST

/* 127 at the largest magnitude, ties to even, zero and non-finite blocks; tiles even. */
START_TEST(rounding_by_hand)
{
    float x[4][32] = { { 127.0f, -127.0f, 0.5f, 1.5f, -2.5f, 63.0f }, { 0 }, { 1.0f, INFINITY },
                       { 0x1p-101f, -0x1p-120f } };
    unsigned char xq[4 * G4_XQ_BYTES];
    g4_ops ops = g4_ops_definitions();
    g4_round_args a = { xq, x[0], 32, 4, 32, G4_Q4_0 };
    ops.round_x(&a, 0, 1);
    static const signed char want[6] = { 127, -127, 0, 2, -2, 63 };
    ck_assert_mem_eq(xq, want, sizeof want);
    for (size_t i = sizeof want; i < 4 * 32; i++) ck_assert_uint_eq(xq[i], 0);
    float d[4];
    int32_t start[4];
    memcpy(d, xq + 4 * 32, sizeof d);
    memcpy(start, xq + 4 * 36, sizeof start);
    ck_assert(d[0] == 1.0f && d[1] == 0 && isnan(d[2]) && d[3] == 0);
    ck_assert_int_eq(start[0], -8 * 63);
    ck_assert_int_eq(start[1] | start[2] | start[3], 0);
    static const int64_t tokens[] = { 1, 8, 9, 16, 17, 31 }, tiles[] = { 1, 1, 2, 1, 2, 3 };
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        ck_assert_int_eq(g4_xq_tiles(tokens[i]), tiles[i]);
        ck_assert_int_eq(g4_xq_begin(tokens[i], tiles[i]), tokens[i]);
    }
    ck_assert_int_eq(g4_xq_begin(9, 1), 8);
    ck_assert_int_eq(g4_xq_begin(31, 2), 24);
}
END_TEST

Suite *check_panel(void)
{
    Suite *s = suite_create("panel");
    TCase *t = tcase_create("panel");
    tcase_set_tags(t, "kernels");
    tcase_add_loop_test(t, packing_keeps_values, 0, FORMATS);
    tcase_add_loop_test(t, padding_rows_are_zero, 0, FORMATS);
    tcase_add_loop_test(t, law_within_bound, 0, FORMATS);
    tcase_add_test(t, rounding_by_hand);
    suite_add_tcase(s, t);
    return s;
}
