/* SPDX-License-Identifier: Apache-2.0
 * What all kernels of linear_panel share: the walk over tiles, and their rows in
 * kernels.def.  A file that includes this says tile_run, for one panel and the tokens of
 * one tile, and linear, for whole calls. */
#ifndef G4_KERNELS_C_PANEL_TILES_H
#define G4_KERNELS_C_PANEL_TILES_H

#include "kernels_opt/c/round.h"
#include "kernels_opt/kernels.h"

typedef struct panel_tile {
    float *y;               /* [T][ldy] at the panel's first row */
    int64_t ldy, blocks, rows;   /* rows: the last panel of a matrix may have fewer than 16 */
    const unsigned char *panel, *x;
} panel_tile;

G4_INLINE void tile_run(const panel_tile *a, int64_t T, g4_dtype type);

G4_INLINE void linear(const g4_linear_args *a, int64_t r0, int64_t r1, g4_dtype type);

/* The tiles from `first`, all panels of each before the next: the panels of a piece stay in
 * the level-2 cache. */
G4_INLINE void tiles_from(const g4_linear_args *a, int64_t first, int64_t r0, int64_t r1,
                          g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    int64_t size = g4_panel_size(&f, a->w->cols), blocks = a->w->cols / G4_PANEL_BLOCK;
    for (int64_t i = first; i < g4_xq_tiles(a->tokens); i++) {
        int64_t t0 = g4_xq_begin(a->tokens, i), T = g4_xq_begin(a->tokens, i + 1) - t0;
        for (int64_t r = r0; r < r1; r += G4_PANEL_ROWS) {
            panel_tile one = { .y = a->y + t0 * a->ldy + r, .ldy = a->ldy, .blocks = blocks,
                               .rows = g4_min(r1 - r, G4_PANEL_ROWS),
                               .panel = a->w->panels + r / G4_PANEL_ROWS * size,
                               .x = a->xq + t0 * blocks * G4_XQ_BYTES };
            tile_run(&one, T, type);
        }
    }
}

/* A kernel each: whole calls go to linear. */
#define G4_PANEL_KERNEL(name, type, isa)                                                       \
    void g4_linear_panel_##name##_##isa(const g4_linear_args *a, int64_t r0, int64_t r1)       \
    {                                                                                          \
        linear(a, r0, r1, type);                                                               \
    }

#define G4_PANEL_KERNELS(isa) G4_PANEL_TYPES(G4_PANEL_KERNEL, isa)

#endif
