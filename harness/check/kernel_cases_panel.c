/* SPDX-License-Identifier: Apache-2.0
 * Cases of linear_panel and round_x: every number of tokens of a tile, odd blocks, rows
 * that do not fill a panel; last one that is large enough for a kernel to cut its columns
 * and tokens.  Weights are random bytes, so scales of any kind occur, too. */
#include "harness/check/kernel_cases.h"

#include "kernels_opt/panel.h"
#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"

#include <stdio.h>
#include <string.h>

/* In blocks of the format; of 32 columns or of 256. */
static const int64_t all_blocks[] = { 1, 2, 3, 15 };
static const int64_t all_tokens[] = { 1,  2,  3,  4,  5,  6,  7,  8,  9,
                                      10, 11, 12, 13, 14, 15, 16, 17, 35 };
static const int64_t all_rows[] = { 1, 16, 35 };

enum {
    BLOCKS = sizeof all_blocks / sizeof *all_blocks,
    TOKENS = sizeof all_tokens / sizeof *all_tokens,
    ROWS = sizeof all_rows / sizeof *all_rows,
    LARGE = BLOCKS * TOKENS,   /* index of the large case */
    LARGE_COLS = 1024, LARGE_TOKENS = 529, LARGE_ROWS = 19,
};

int kernel_panel_count(void)
{
    return LARGE + 1;
}

/* Two cases of three have scales as a model has them: f16 of exponent -8 to -7. */
static void make_blocks(kernel_run *run, unsigned char *data, size_t size, size_t block)
{
    static const struct {
        g4_dtype type;
        size_t at[2];
    } scale[] = { { G4_Q4_K, { 0, 2 } }, { G4_Q5_K, { 0, 2 } }, { G4_Q6_K, { 208, 208 } } };
    size_t at[2] = { 0, 0 };
    for (size_t i = 0; i < sizeof scale / sizeof *scale; i++)
        if (scale[i].type == run->dtype) memcpy(at, scale[i].at, sizeof at);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(g4_rng_u64(run->seed, KERNEL_WEIGHTS, i) >> 40);
    for (size_t b = 0; b < size && run->seed % 3; b += block)
        for (int k = 0; k < 2; k++)   /* the high byte of a little-endian f16 */
            data[b + at[k] + 1] = (unsigned char)((data[b + at[k] + 1] & 0x87) | 0x20);
}

/* x in 8 bits, as bytes so that no pattern is lost: what round_x is judged by. */
static unsigned char *round_x(kernel_run *run, const float *x, int64_t ldx, int64_t tokens,
                              int64_t cols)
{
    size_t size = (size_t)run->ops->xq_bytes(tokens, cols);
    unsigned char *xq = kernel_buffer(run, size, 0);
    g4_round_args a = { xq, x, ldx, tokens, cols, run->dtype };
    int64_t pieces = run->ops->round_pieces(tokens);
    if (!xq) return NULL;
    for (int64_t p = pieces - 1; p >= 0; p--) run->ops->round_x(&a, p, p + 1);
    return xq;
}

static int64_t cols_of(const kernel_run *run, int index)
{
    return index == LARGE ? LARGE_COLS
                          : all_blocks[index / TOKENS] * g4_dtype_get(run->dtype)->block;
}

static int64_t tokens_of(int index)
{
    return index == LARGE ? LARGE_TOKENS : all_tokens[index % TOKENS];
}

void kernel_round_run(kernel_run *run, int index)
{
    static const g4_dtype kinds[] = { G4_Q4_0, G4_Q8_0, G4_Q4_K, G4_Q6_K };
    run->dtype = kinds[index % 4];
    run->fill = (kernel_fill)(index % FILL_KINDS);
    int64_t cols = cols_of(run, index), tokens = tokens_of(index), ldx = cols + index % 5;
    snprintf(run->what, sizeof run->what, "round_x for %s, cols %lld tokens %lld fill %d",
             g4_dtype_get(run->dtype)->name, (long long)cols, (long long)tokens, (int)run->fill);
    float *x = kernel_floats(run, ldx * (tokens - 1) + cols);
    unsigned char *xq = x ? round_x(run, x, ldx, tokens, cols) : NULL;
    if (xq) kernel_take_bytes(run, xq, (size_t)run->ops->xq_bytes(tokens, cols));
}

void kernel_panel_run(kernel_run *run, int index)
{
    const g4_dtype_info *info = g4_dtype_get(run->dtype);
    int64_t cols = cols_of(run, index), tokens = tokens_of(index);
    int64_t rows = index == LARGE ? LARGE_ROWS : all_rows[(index + index / TOKENS) % ROWS];
    int64_t ldx = cols + index % 5, ldy = rows + index % 3;
    int64_t step = index % 2 ? G4_PANEL_ROWS : rows;   /* a call's rows */
    run->fill = (kernel_fill)(index % FILL_KINDS);
    snprintf(run->what, sizeof run->what, "linear_panel %s rows %lld cols %lld tokens %lld fill %d",
             info->name, (long long)rows, (long long)cols, (long long)tokens, (int)run->fill);
    g4_mat w = { .dtype = run->dtype, .rows = rows, .cols = cols,
                 .row_bytes = g4_dtype_row_bytes(run->dtype, cols) };
    unsigned char *data = kernel_buffer(run, (size_t)rows * w.row_bytes, 1);
    unsigned char *panels = kernel_buffer(run, (size_t)run->ops->panel_bytes(&w), 0);
    float *x = kernel_floats(run, ldx * (tokens - 1) + cols);
    unsigned char *xq = x ? round_x(run, x, ldx, tokens, cols) : NULL;
    run->fill = FILL_PLAIN;   /* what y held before: must stay between its rows */
    float *y = kernel_floats(run, ldy * tokens);
    if (!data || !panels || !xq || !y) return;
    make_blocks(run, data, (size_t)rows * w.row_bytes, info->bytes);
    w.data = data;
    run->ops->panel_pack(panels, &w, 0, rows);
    w.panels = panels;
    g4_linear_args a = { y, ldy, x, ldx, tokens, &w, xq };
    for (int64_t r = 0; r < rows; r += step)
        run->ops->linear_panel[run->dtype](&a, r, g4_min(r + step, rows));
    kernel_take(run, y, (size_t)(ldy * tokens));
}
