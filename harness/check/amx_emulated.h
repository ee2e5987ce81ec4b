/* SPDX-License-Identifier: Apache-2.0
 * The AMX kernels on tiles in plain C, for CPUs without them. */
#ifndef G4_HARNESS_CHECK_AMX_EMULATED_H
#define G4_HARNESS_CHECK_AMX_EMULATED_H

#include "ref/model/ops.h"

/* Puts them in place of linear_panel; 0 where even their vector part cannot run. */
int amx_emulated_put(g4_ops *ops);

#endif
