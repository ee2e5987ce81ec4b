/* SPDX-License-Identifier: Apache-2.0
 * What a loaded checkpoint is: shapes, number formats, tensors by kind.  Gathered
 * once here, printed twice (text and JSON) by cmd_info.c. */
#ifndef G4_HARNESS_INFO_H
#define G4_HARNESS_INFO_H

#include "ref/model/weights.h"

enum { G4_MAX_FORMATS = 32 };

/* Tensors of one number format. */
typedef struct g4_info_format {
    char name[16];                 /* ggml's: bf16 */
    uint64_t tensors, values, bytes;
} g4_info_format;

/* Tensors that differ in nothing but their layer. */
typedef struct g4_info_group {
    const char *name;              /* "model.layers.*.mlp.up_proj.weight" */
    const g4_tensor *first;
    uint64_t tensors, bytes;
} g4_info_group;

typedef struct g4_info {
    const g4_model *model;
    const char *architecture;      /* config.json's architectures[0], else model_type */
    g4_info_format format[G4_MAX_FORMATS];
    int formats;
    g4_info_group *group;
    size_t groups;
    uint64_t parameters, bytes;    /* parameters: floating-point values */
    size_t tensors;
} g4_info;

g4_status g4_info_gather(g4_info *info, const g4_model *m, g4_arena *arena, g4_err *err);

/* "(5 sliding + 1 full) x 8", or the kinds one by one where they do not repeat. */
const char *g4_info_pattern(const g4_config *c, g4_arena *arena);

#endif
