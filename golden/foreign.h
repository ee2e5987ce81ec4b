/* SPDX-License-Identifier: Apache-2.0
 * Activations that another program dumped, as a golden file's listing: one .npy
 * file, a folder of NAME.npy, or a .safetensors file.  NAME is a path of the
 * format with dots or slashes; "activations" or "inputs" in front may be missing,
 * a layer's number need not have two digits, a layer by itself is its output, and
 * "model.language_model." in front is passed over: "layers.0.self_attn.q_proj" is
 * activations/layers/00/self_attn/q_proj.  Unknown names are counted and left out.
 *
 * Leading dimensions of 1 (a batch) may be there, and heads and their columns may
 * be one dimension or two.  Real values may have 16, 32 or 64 bits, integers any
 * size that holds what is in them.  The parsers are our own: no child is needed. */
#ifndef G4_GOLDEN_FOREIGN_H
#define G4_GOLDEN_FOREIGN_H

#include "golden/child.h"

typedef struct g4_foreign g4_foreign;

/* An attribute of the listing: the first of the names that mean nothing here. */
#define G4_FOREIGN_UNKNOWN "unknown_names"

/* By its name, or because it is a folder: not an HDF5 file. */
int g4_foreign_is(const char *path);
g4_status g4_foreign_open(g4_foreign **f, const char *path, g4_listing *list, g4_err *err);
void g4_foreign_close(g4_foreign *f);   /* the listing ends with it; NULL is fine */
/* All values of set number index of the listing, as they are stored. */
g4_status g4_foreign_read(const g4_foreign *f, size_t index, void *out, g4_err *err);

/* The path of the format that a dump's name means; 0: none. */
int g4_foreign_path(char path[G4_GOLDEN_PATH], const char *name);

#endif
