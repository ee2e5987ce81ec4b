/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/kernel_cases.h"

#include "ref/base/half.h"
#include "ref/base/real.h"
#include "ref/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD_BYTE = 0xa5 };

void *kernel_buffer(kernel_run *run, size_t size, size_t misalign)
{
    size_t total = KERNEL_GUARD + misalign + size + KERNEL_GUARD;
    void *base = NULL;
    if (run->buffers == KERNEL_BUFFERS || posix_memalign(&base, 64, total) != 0) {
        run->fault = "out of memory, or too many buffers";
        return NULL;
    }
    memset(base, GUARD_BYTE, total);
    int b = run->buffers++;
    run->buffer[b].base = base;
    run->buffer[b].data = (unsigned char *)base + KERNEL_GUARD + misalign;
    run->buffer[b].size = size;
    return run->buffer[b].data;
}

static int guards_intact(const kernel_run *run)
{
    for (int b = 0; b < run->buffers; b++) {
        const unsigned char *base = run->buffer[b].base, *data = run->buffer[b].data;
        const unsigned char *end = data + run->buffer[b].size;
        for (const unsigned char *p = base; p < data; p++)
            if (*p != GUARD_BYTE) return 0;
        for (int i = 0; i < KERNEL_GUARD; i++)
            if (end[i] != GUARD_BYTE) return 0;
    }
    return 1;
}

/* The exponents of a 16-bit float are fewer: its extremes stay inside them. */
static float power(const kernel_run *run, uint64_t r, float mantissa)
{
    int low = run->dtype == G4_F16 ? -24 : -126, high = run->dtype == G4_F16 ? 15 : 127;
    int e = low + (int)(r % (uint64_t)(high - low + 1));
    return (float)(mantissa * g4_f64_from_bits((uint64_t)(e + 1023) << 52));
}

float kernel_number(const kernel_run *run, uint64_t stream, uint64_t i)
{
    uint64_t r = g4_rng_u64(run->seed, stream, i);
    float plain = (float)((double)(r >> 40) * 0x1p-23 - 1.0);   /* exact */
    switch (run->fill) {
    case FILL_EXTREME:
        return power(run, r, plain < 0 ? plain - 1.0f : plain + 1.0f);
    case FILL_DENORMAL:
        return plain * (run->dtype == G4_F16 ? 0x1p-15f : r & 1 ? 0x1p-127f : 0x1p-64f);
    case FILL_CANCEL:   /* neighbours and elements 16 apart are opposite but for a little */
        return ((i ^ i >> 4) & 1 ? -1000.0f : 1000.0f) + plain * 0.01f;
    case FILL_ZERO:
        return r % 3 == 0 ? 0.0f : r % 3 == 1 ? -0.0f : plain * 0x1p-80f;
    case FILL_UNDERFLOW:
        plain = plain < 0 ? 1.0f - plain : 1.0f + plain;
        if (!(stream & 1)) plain = -plain;
        if (run->dtype == G4_F16) return plain * (stream >= KERNEL_WEIGHTS ? 0x1p-14f : 0x1p-138f);
        return plain * 0x1p-120f;
    case FILL_SPECIAL:
        return r % 97 == 0 ? __builtin_inff() : r % 97 == 1 ? -__builtin_inff()
               : r % 97 == 2 ? __builtin_nanf("") : plain;
    default:
        return plain;
    }
}

float *kernel_floats(kernel_run *run, int64_t n)
{
    float *p = kernel_buffer(run, (size_t)n * sizeof *p, sizeof *p);
    for (int64_t i = 0; p && i < n; i++)
        p[i] = kernel_number(run, (uint64_t)run->buffers, (uint64_t)i);
    return p;
}

/* Room for `count` more; doubled, as some cases take single values by the thousand. */
static float *more(kernel_run *run, size_t count)
{
    size_t need = run->out_count + count, room = run->out_room ? run->out_room : 256;
    while (room < need) room *= 2;
    float *grown = room > run->out_room ? realloc(run->out, room * sizeof *grown) : run->out;
    if (!grown) {
        run->fault = "out of memory";
        return NULL;
    }
    run->out = grown;
    run->out_room = room;
    run->out_count = need;
    return grown + need - count;
}

void kernel_take(kernel_run *run, const float *data, size_t count)
{
    float *out = more(run, count);
    for (size_t i = 0; out && i < count; i++)   /* which NaN comes out is nobody's promise */
        out[i] = data[i] != data[i] ? __builtin_nanf("") : data[i];
}

void kernel_take_bytes(kernel_run *run, const unsigned char *data, size_t count)
{
    float *out = more(run, count);
    for (size_t i = 0; out && i < count; i++) out[i] = data[i];
}

/* ---- the ops that work element by element, and the norms ---- */

static const int64_t lengths[] = {
    1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 128, 256, 512, 640, 641, 3840,
};

enum { LENGTHS = sizeof lengths / sizeof *lengths, ROW_CASES = LENGTHS * FILL_KINDS * 2 };

/* variant 1: no weight, output over input, where the op allows it */
static void row_run(kernel_run *run, const char *op, int64_t n, int variant)
{
    float *x = kernel_floats(run, n), *w = kernel_floats(run, n), *b = kernel_floats(run, n);
    float *y = variant ? x : kernel_floats(run, n);
    if (!x || !w || !b || !y) return;
    if (strcmp(op, "rmsnorm") == 0)
        run->ops->rmsnorm(y, x, variant ? NULL : w, n, 1e-6);
    else if (strcmp(op, "layernorm") == 0)
        run->ops->layernorm(y, x, w, b, n, 1e-5);
    else if (strcmp(op, "gelu_mul") == 0)
        run->ops->gelu_mul(y, x, w, n);
    else if (strcmp(op, "add_scale") == 0)
        run->ops->add_scale(y, x, w, n, variant ? 1.0 : 0.7);
    else
        run->ops->softcap(y = x, n, variant ? 30.0 : 0.5);
    kernel_take(run, y, (size_t)n);
}

static void rope_run(kernel_run *run, int64_t half, int variant)
{
    float *x = kernel_floats(run, 2 * half);
    double *cosine = kernel_buffer(run, (size_t)half * sizeof *cosine, sizeof *cosine);
    double *sine = kernel_buffer(run, (size_t)half * sizeof *sine, sizeof *sine);
    if (!x || !cosine || !sine) return;
    for (int64_t i = 0; i < half; i++)
        g4_cos_sin((variant ? 262143.0 : 17.0) / (double)(i + 1), &cosine[i], &sine[i]);
    run->ops->rope(x, cosine, sine, half);
    kernel_take(run, x, (size_t)(2 * half));
}

static int is_row_op(const char *op)
{
    static const char *const names[] = {
        "rmsnorm", "layernorm", "gelu_mul", "add_scale", "softcap", "rope",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(op, names[i]) == 0) return 1;
    return 0;
}

static const struct {
    const char *op;
    int (*count)(void);
    void (*run)(kernel_run *run, int index);
} with_cases[] = {
    { "linear", kernel_linear_count, kernel_linear_run },
    { "linear_pair", kernel_linear_count, kernel_pair_run },
    { "round_pair", kernel_linear_count, kernel_round_pair_run },
    { "linear_panel", kernel_panel_count, kernel_panel_run },
    { "round_x", kernel_panel_count, kernel_round_run },
    { "attend", kernel_attend_count, kernel_attend_run },
    { "attend_span", kernel_span_count, kernel_span_run },
    { "span_merge", kernel_span_count, kernel_merge_run },
};

enum { WITH_CASES = sizeof with_cases / sizeof *with_cases };

static int place_of(const char *op)
{
    int i = 0;
    while (i < WITH_CASES && strcmp(with_cases[i].op, op) != 0) i++;
    return i;
}

int kernel_case_count(const char *op)
{
    int i = place_of(op);
    return i < WITH_CASES ? with_cases[i].count() : is_row_op(op) ? ROW_CASES : 0;
}

void kernel_case_run(kernel_run *run, const g4_ops *ops, const char *op, g4_dtype dtype, int index)
{
    int i = place_of(op);
    *run = (kernel_run){ .ops = ops, .dtype = dtype, .seed = (uint64_t)index };
    if (i < WITH_CASES) {
        with_cases[i].run(run, index);
    } else {
        int64_t n = lengths[index % LENGTHS];
        int variant = index / LENGTHS / FILL_KINDS;
        run->fill = (kernel_fill)(index / LENGTHS % FILL_KINDS);
        snprintf(run->what, sizeof run->what, "%s n %lld fill %d variant %d", op, (long long)n,
                 (int)run->fill, variant);
        if (strcmp(op, "rope") == 0)
            rope_run(run, n, variant);
        else
            row_run(run, op, n, variant);
    }
    if (!run->fault && !guards_intact(run)) run->fault = "wrote outside its buffers";
}

void kernel_run_free(kernel_run *run)
{
    for (int b = 0; b < run->buffers; b++) free(run->buffer[b].base);
    free(run->out);
    *run = (kernel_run){ 0 };
}

int64_t kernel_run_differs(const kernel_run *a, const kernel_run *b)
{
    if (a->out_count != b->out_count) return 0;
    for (size_t i = 0; i < a->out_count; i++)
        if (g4_f32_bits(a->out[i]) != g4_f32_bits(b->out[i])) return (int64_t)i;
    return -1;
}

int kernel_digest(const g4_ops *ops, const char *op, g4_dtype dtype, char hex[G4_SHA256_HEX],
                  char run_fault[KERNEL_TEXT])
{
    g4_sha256 sum;
    g4_sha256_begin(&sum);
    for (int i = 0; i < kernel_case_count(op); i++) {
        kernel_run run;
        kernel_case_run(&run, ops, op, dtype, i);
        if (run.fault) {
            snprintf(run_fault, KERNEL_TEXT, "%.120s: %s", run.what, run.fault);
            kernel_run_free(&run);
            return 1;
        }
        g4_sha256_add(&sum, run.out, run.out_count * sizeof *run.out);   /* little-endian hosts */
        kernel_run_free(&run);
    }
    g4_sha256_end(&sum, hex);
    return 0;
}
