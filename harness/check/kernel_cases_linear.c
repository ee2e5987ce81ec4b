/* SPDX-License-Identifier: Apache-2.0
 * Cases of linear: sizes around the 16 lanes, the column block of 768 and the
 * token block of 96; real widths; weights at odd addresses with odd row strides. */
#include "harness/check/kernel_cases.h"

#include "ref/dtype/dtype.h"

#include <stdio.h>

static const int64_t all_cols[] = {
    1, 15, 16, 17, 31, 33, 63, 64, 65, 97, 640, 761, 768, 769, 1553, 3840, 15360,
};
static const int64_t all_tokens[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 64, 97 };
static const int64_t all_rows[] = { 1, 3, 4, 7, 13, 64, 67, 131 };

enum {
    COLS = sizeof all_cols / sizeof *all_cols,
    TOKENS = sizeof all_tokens / sizeof *all_tokens,
    ROWS = sizeof all_rows / sizeof *all_rows,
    SIZES = COLS * TOKENS,
    SMALL = 5 * 5 * FILL_KINDS,   /* every kind of number at five widths, five token counts */
    MOST_WORK = 300000,           /* multiply-adds: the definition takes some ns for each */
};

int kernel_linear_count(void)
{
    return SIZES + SMALL;
}

kernel_linear_case kernel_linear_get(int index, kernel_fill *fill)
{
    static const int64_t few_cols[] = { 1, 15, 17, 33, 96 }, few_tokens[] = { 1, 2, 3, 5, 9 };
    kernel_linear_case c;
    if (index >= SIZES) {
        index -= SIZES;
        *fill = (kernel_fill)(index / 25);
        c = (kernel_linear_case){ 13, few_cols[index % 5], few_tokens[index / 5 % 5], index % 2 };
        return c;
    }
    c.cols = all_cols[index / TOKENS];
    c.tokens = all_tokens[index % TOKENS];
    c.whole = index % 2;
    int r = index % ROWS;   /* TOKENS and ROWS share a factor: shift by the width */
    r = (r + index / TOKENS) % ROWS;
    while (r > 0 && all_rows[r] * c.cols * c.tokens > MOST_WORK) r--;
    c.rows = all_rows[r];
    *fill = (kernel_fill)(index / TOKENS % 2 ? index % FILL_KINDS : FILL_PLAIN);
    return c;
}

/* Weights of the run's kind, packed row by row at an odd address. */
static int make_weights(kernel_run *run, const kernel_linear_case *c, int index, g4_mat *w)
{
    const g4_dtype_info *info = g4_dtype_get(run->dtype);
    size_t row = g4_dtype_row_bytes(run->dtype, c->cols), stride = row + (size_t)(index % 3);
    size_t size = stride * (size_t)(c->rows - 1) + row;   /* nothing behind the last row */
    unsigned char *data = kernel_buffer(run, size, (size_t)(index % 4));
    float *one = kernel_buffer(run, (size_t)c->cols * sizeof *one, 0);
    if (!data || !one) return 0;
    for (int64_t r = 0; r < c->rows; r++) {
        for (int64_t i = 0; i < c->cols; i++)
            one[i] = kernel_number(run, KERNEL_WEIGHTS, (uint64_t)(r * c->cols + i));
        info->pack(data + (size_t)r * stride, one, NULL, c->cols);
    }
    *w = (g4_mat){ run->dtype, c->rows, c->cols, stride, data, NULL };
    return 1;
}

/* x in BF16 as the op under test makes it. */
static unsigned char *round_pair(kernel_run *run, const float *x, int64_t ldx,
                                 const kernel_linear_case *c)
{
    unsigned char *xq = kernel_buffer(run, (size_t)run->ops->pair_bytes(c->tokens, c->cols), 2);
    g4_round_args a = { xq, x, ldx, c->tokens, c->cols, run->dtype };
    for (int64_t t = c->tokens; xq && t > 0; t--) run->ops->round_pair(&a, t - 1, t);
    return xq;
}

void kernel_round_pair_run(kernel_run *run, int index)
{
    kernel_linear_case c = kernel_linear_get(index, &run->fill);
    run->dtype = G4_BF16;
    snprintf(run->what, sizeof run->what, "round_pair cols %lld tokens %lld fill %d",
             (long long)c.cols, (long long)c.tokens, (int)run->fill);
    float *x = kernel_floats(run, c.cols * c.tokens);
    unsigned char *xq = x ? round_pair(run, x, c.cols, &c) : NULL;
    if (xq) kernel_take_bytes(run, xq, (size_t)run->ops->pair_bytes(c.tokens, c.cols));
}

static void run_linear(kernel_run *run, int index, int pair)
{
    enum { GRAIN = 64 };
    kernel_linear_case c = kernel_linear_get(index, &run->fill);
    int64_t block = g4_dtype_get(run->dtype)->block;
    c.cols = (c.cols + block - 1) / block * block;
    if (block > 1) run->fill = FILL_PLAIN;   /* a block's scale must be finite */
    int64_t ldx = c.cols + index % 5, ldy = c.rows + index % 3;
    snprintf(run->what, sizeof run->what, "linear%s %s rows %lld cols %lld tokens %lld fill %d",
             pair ? "_pair" : "", g4_dtype_get(run->dtype)->name, (long long)c.rows,
             (long long)c.cols, (long long)c.tokens, (int)run->fill);
    g4_mat w;
    float *x = kernel_floats(run, ldx * (c.tokens - 1) + c.cols);
    unsigned char *xq = x && pair ? round_pair(run, x, ldx, &c) : NULL;
    int64_t need = run->ops->linear_scratch(c.cols, c.tokens);
    float *scratch = kernel_buffer(run, (size_t)need * sizeof *scratch, (size_t)(index % 2) * 4);
    kernel_fill fill = run->fill;
    run->fill = FILL_PLAIN;   /* what y held before: must stay between its rows */
    float *y = kernel_floats(run, ldy * c.tokens);
    run->fill = fill;
    if (!x || !scratch || !y || pair != !!xq || !make_weights(run, &c, index, &w)) return;
    g4_linear_args a = { y, ldy, x, ldx, c.tokens, &w, xq };
    int64_t piece = c.whole ? c.rows : GRAIN;
    for (int64_t r = 0; r < c.rows; r += piece) {
        int64_t end = r + piece < c.rows ? r + piece : c.rows;
        if (pair) run->ops->linear_pair(&a, r, end, scratch);
        else run->ops->linear[run->dtype](&a, r, end, scratch);
    }
    kernel_take(run, y, (size_t)(ldy * c.tokens));
}

void kernel_linear_run(kernel_run *run, int index)
{
    run_linear(run, index, 0);
}

void kernel_pair_run(kernel_run *run, int index)
{
    run_linear(run, index, 1);
}
