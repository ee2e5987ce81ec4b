/* SPDX-License-Identifier: Apache-2.0
 * Cases of attend: head counts and widths off the register tiles, spans that
 * begin and end inside a block of 64 keys, rings that wrap. */
#include "harness/check/kernel_cases.h"

#include <stdio.h>

static const int64_t all_heads[] = { 1, 2, 3, 4, 5, 7, 16 };
static const int64_t all_dims[] = { 1, 7, 16, 17, 32, 40, 64, 97, 256, 512 };
static const struct {
    int64_t lo, hi, slots;
} spans[] = {
    { 0, 1, 1 }, { 0, 5, 8 }, { 3, 64, 61 }, { 63, 65, 2 }, { 10, 75, 70 },
    { 60, 200, 150 }, { 1000, 1130, 130 }, { 0, 64, 64 }, { 64, 128, 1024 }, { 17, 34, 33 },
};

enum {
    HEADS = sizeof all_heads / sizeof *all_heads,
    DIMS = sizeof all_dims / sizeof *all_dims,
    SPANS = sizeof spans / sizeof *spans,
};

int kernel_attend_count(void)
{
    return DIMS * SPANS * 3;
}

void kernel_attend_run(kernel_run *run, int index)
{
    int64_t dim = all_dims[index % DIMS];
    int s = index / DIMS % SPANS;
    int64_t heads = all_heads[(index / DIMS + index) % HEADS];
    int64_t lo = spans[s].lo, hi = spans[s].hi, slots = spans[s].slots;
    int64_t stride = dim + index % 4 * 3;
    run->fill = (kernel_fill)(index < DIMS * SPANS ? FILL_PLAIN : (index / SPANS + s) % FILL_KINDS);
    snprintf(run->what, sizeof run->what, "attend heads %lld dim %lld keys %lld..%lld slots %lld "
             "fill %d", (long long)heads, (long long)dim, (long long)lo, (long long)hi,
             (long long)slots, (int)run->fill);
    g4_attend_args a = {
        .heads = heads, .head_dim = dim, .stride = stride, .slots = slots, .lo = lo, .hi = hi,
    };
    a.q = kernel_floats(run, heads * dim);   /* one after the other: the order is their seed */
    a.key = kernel_floats(run, stride * (slots - 1) + dim);
    a.value = kernel_floats(run, stride * (slots - 1) + dim);
    a.scratch = kernel_floats(run, heads * (hi - lo));
    float *out = a.out = kernel_floats(run, heads * dim);
    if (!a.q || !a.key || !a.value || !a.scratch || !out) return;
    run->ops->attend(&a);
    kernel_take(run, out, (size_t)(heads * dim));
}
