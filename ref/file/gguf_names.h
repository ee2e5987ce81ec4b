/* SPDX-License-Identifier: Apache-2.0
 * Tensor names of a GGUF against those of a checkpoint folder, both ways. */
#ifndef G4_FILE_GGUF_NAMES_H
#define G4_FILE_GGUF_NAMES_H

#include <stddef.h>
#include <stdint.h>

enum { G4_TENSOR_NAME = 160 };   /* bytes that any of these names fits in */

typedef enum g4_gguf_change { G4_GGUF_SAME, G4_GGUF_PATCH, G4_GGUF_SWAP } g4_gguf_change;

/* dst: G4_TENSOR_NAME bytes.  0: no such tensor in this model. */
int g4_gguf_to_hf(char *dst, const char *name, int drafter, g4_gguf_change *change);
int g4_gguf_from_hf(char *dst, const char *name, int drafter, g4_gguf_change *change);

/* Where value i of a patch of side x side pixels, in a GGUF's order, stands in the folder's. */
static inline int64_t g4_gguf_patch_place(int64_t i, int64_t side)
{
    int64_t colour = i / (side * side), pixel = i % (side * side);
    return pixel * 3 + colour;
}

#endif
