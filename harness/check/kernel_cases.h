/* SPDX-License-Identifier: Apache-2.0
 * The inputs on which kernels are compared: for each op of g4_ops a numbered list
 * of cases (sizes, kinds of numbers, misalignment), made from a fixed seed.  A case
 * runs on any op table and gives its outputs, NaNs made equal; so two tables can
 * be compared bit by bit, and a table's outputs can be digested.
 * No libcheck here: cross/main_kernels.c runs the same cases under an emulator. */
#ifndef G4_HARNESS_KERNEL_CASES_H
#define G4_HARNESS_KERNEL_CASES_H

#include "ref/base/sha256.h"
#include "ref/model/ops.h"

enum { KERNEL_BUFFERS = 12, KERNEL_GUARD = 64, KERNEL_TEXT = 200, KERNEL_WEIGHTS = 100 };

/* How numbers are drawn. */
typedef enum kernel_fill {
    FILL_PLAIN,       /* (-1, 1) */
    FILL_EXTREME,     /* any sign, any exponent of the format: overflows on purpose */
    FILL_DENORMAL,    /* below the smallest normal number, or near it */
    FILL_CANCEL,      /* large pairs that nearly cancel */
    FILL_ZERO,        /* zeros of both signs, and numbers whose products underflow */
    FILL_UNDERFLOW,   /* products of two buffers all round to -0: a lane touched by a tail shows */
    FILL_SPECIAL,     /* some infinities and NaNs among plain ones */
    FILL_KINDS
} kernel_fill;

typedef struct kernel_run {
    const g4_ops *ops;
    g4_dtype dtype;                 /* of linear's weights */
    kernel_fill fill;
    char what[KERNEL_TEXT];         /* the case in words */
    const char *fault;              /* NULL, or what went wrong beside the values */
    float *out;                     /* [out_count], outputs with NaNs made equal */
    size_t out_count, out_room;
    struct {
        void *base;
        unsigned char *data;
        size_t size;
    } buffer[KERNEL_BUFFERS];       /* all memory of the run, with guards on both sides */
    int buffers;
    uint64_t seed;
} kernel_run;

/* Names as in kernels.def; 0 for an op that has no cases (the tests refuse that). */
int kernel_case_count(const char *op);

/* Runs one case on ops; kernel_run_free after use. */
void kernel_case_run(kernel_run *run, const g4_ops *ops, const char *op, g4_dtype dtype, int index);
void kernel_run_free(kernel_run *run);

/* First output whose bits differ, or -1. */
int64_t kernel_run_differs(const kernel_run *a, const kernel_run *b);

/* SHA-256 of the outputs of all cases; 0, or 1 with the fault in run_fault. */
int kernel_digest(const g4_ops *ops, const char *op, g4_dtype dtype, char hex[G4_SHA256_HEX],
                  char run_fault[KERNEL_TEXT]);

/* ---- for the files that make cases ---- */

/* size bytes at `misalign` bytes past a 64-byte boundary, guarded; NULL sets fault. */
void *kernel_buffer(kernel_run *run, size_t size, size_t misalign);
/* A guarded buffer of n floats, filled by run->fill; one float off a cache line. */
float *kernel_floats(kernel_run *run, int64_t n);
/* One number of the run's kind: i-th of stream s. */
float kernel_number(const kernel_run *run, uint64_t stream, uint64_t i);
/* Copies outputs out of a buffer. */
void kernel_take(kernel_run *run, const float *data, size_t count);
/* As numbers, so that no pattern of bits is lost. */
void kernel_take_bytes(kernel_run *run, const unsigned char *data, size_t count);

typedef struct kernel_linear_case {
    int64_t rows, cols, tokens;
    int whole;                      /* one call for all rows, or pieces of 64 */
} kernel_linear_case;

int kernel_linear_count(void);
kernel_linear_case kernel_linear_get(int index, kernel_fill *fill);
void kernel_linear_run(kernel_run *run, int index);
void kernel_pair_run(kernel_run *run, int index);
void kernel_round_pair_run(kernel_run *run, int index);
int kernel_attend_count(void);
void kernel_attend_run(kernel_run *run, int index);
int kernel_span_count(void);
void kernel_span_run(kernel_run *run, int index);
void kernel_merge_run(kernel_run *run, int index);
int kernel_panel_count(void);
void kernel_panel_run(kernel_run *run, int index);
void kernel_round_run(kernel_run *run, int index);

#endif
