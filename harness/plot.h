/* SPDX-License-Identifier: Apache-2.0
 * Pictures of a comparison: error against depth, drawn by gnuplot from a
 * script and a table that stay beside the picture. */
#ifndef G4_HARNESS_PLOT_H
#define G4_HARNESS_PLOT_H

#include "harness/compare.h"

/* A name ending in .svg or .png that can be given to gnuplot, and a gnuplot. */
g4_status g4_plot_check(const char *path, g4_err *err);

/* Writes F.svg, and F.gp and F.dat from which it was drawn; or, if anything
 * fails, none of them: old ones stay. */
g4_status g4_plot_compare(const g4_compare *c, const char *path, g4_err *err);

/* The script below its settings; notebooks_data/plots/error_by_depth.gp ends in it. */
const char *g4_plot_script(void);

#endif
