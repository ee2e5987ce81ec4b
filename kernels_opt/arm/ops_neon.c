/* SPDX-License-Identifier: Apache-2.0 */
#define G4_FN(name) g4_##name##_neon
#include "kernels_opt/c/ops.h"
