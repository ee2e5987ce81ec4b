/* SPDX-License-Identifier: Apache-2.0
 * The tensors a config asks for, as a list with sizes: from weights.def, so
 * that what synth writes is what the loader binds.  Also the shapes known by
 * name (12b), as the text of their config.json. */
#ifndef G4_HARNESS_SHAPE_H
#define G4_HARNESS_SHAPE_H

#include "ref/model/weights.h"

typedef struct g4_shape_tensor {
    const char *name, *alt;     /* alt: another name that it may have, or NULL */
    g4_weight_role role;
    int rank;
    int64_t shape[3];
    uint64_t values, bytes;     /* bytes in the number format asked for; int64 for ORDER */
} g4_shape_tensor;

typedef struct g4_shape {
    g4_shape_tensor *list;      /* int64 tensors first, so that all are aligned in a file */
    size_t count;
    uint64_t bytes;             /* of all */
} g4_shape;

/* value_bytes: of one weight (4 or 2).  what is for messages. */
g4_status g4_shape_list(g4_shape *s, const g4_config *c, size_t value_bytes, g4_arena *arena,
                        const char *what, g4_err *err);

/* config.json of the backbone and of its drafter for a known name ("12b"), or 0. */
int g4_shape_named(const char *name, const char **backbone, const char **drafter);

#endif
