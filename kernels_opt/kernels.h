/* SPDX-License-Identifier: Apache-2.0
 * Fast kernels behind the table of ref/model/ops.h.  A kernel gives the bits of
 * the definition it replaces (the law is in ops.h), so that choosing one is a
 * matter of speed alone.  What exists is written in kernels.def and nowhere else:
 * prototypes, choice, tests and benchmark walk that table. */
#ifndef G4_KERNELS_KERNELS_H
#define G4_KERNELS_KERNELS_H

#include "kernels_opt/cpu.h"
#include "ref/model/ops.h"

/* Every op in plain C: the reference's, and linear over panels (panel.h). */
g4_ops g4_ops_definitions(void);

/* The definitions, overridden by the kernels of the ISAs in the mask (from
 * g4_isa_parse or g4_cpu_isas).  An ISA this CPU lacks is G4_EINPUT. */
g4_status g4_ops_select(g4_ops *ops, unsigned isas, g4_err *err);

/* One row of kernels.def. */
typedef struct g4_kernel {
    const char *op, *dtype;
    unsigned isa;
    void (*put)(g4_ops *ops);   /* overrides this one entry */
} g4_kernel;

/* All kernels built for this architecture, whether this CPU can run them or not. */
const g4_kernel *g4_kernels(int *count);

/* Scratch that is enough for the definition and for every kernel's linear. */
int64_t g4_linear_scratch_opt(int64_t cols, int64_t tokens);

/* An op and a format must name a member and a kernel: the row would not compile. */
#define G4_KERNEL(op, slot, dtype, isa) \
    __typeof__(*((g4_ops *)0)->op slot) g4_##op##_##dtype##_##isa;
#include "kernels_opt/kernels.def"
#undef G4_KERNEL

#endif
