/* SPDX-License-Identifier: Apache-2.0
 * The observer: one pointer in a session, NULL by default, so that each sequence of
 * a batch has its own.  The model calls it at the place where an activation comes to
 * be, with a view of a few rows; a prefill in chunks or tiles therefore calls it
 * several times for one dataset.
 * Names are the HDF5 paths below /activations (taps.def). */
#ifndef G4_MODEL_TAP_H
#define G4_MODEL_TAP_H

#include <stddef.h>
#include <stdint.h>

typedef enum g4_tap_id {
#define G4_TAP(id, path) G4_TAP_##id,
#include "ref/model/taps.def"
#undef G4_TAP
    G4_TAP_COUNT
} g4_tap_id;

typedef struct g4_tap_at {
    g4_tap_id id;
    int64_t layer, step;   /* where the path has %L, %S */
    int64_t row, rows;     /* data holds rows [row, row + rows) of the dataset */
    int64_t cols;          /* values a row */
} g4_tap_at;

typedef struct g4_tap {
    void *ctx;
    void (*put)(void *ctx, const g4_tap_at *at, const float *data /* [rows][cols] */);
} g4_tap;

/* Tells the observer, if there is one. */
static inline void g4_observe(const g4_tap *tap, const g4_tap_at *at, const float *data)
{
    if (tap) tap->put(tap->ctx, at, data);
}

/* "layers/%L/output" with layer 3 -> "layers/03/output"; returns buf. */
char *g4_tap_path(char *buf, size_t size, g4_tap_id id, int64_t layer, int64_t step);

#endif
