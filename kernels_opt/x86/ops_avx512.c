/* SPDX-License-Identifier: Apache-2.0 */
#define G4_FN(name) g4_##name##_avx512
#include "kernels_opt/c/ops.h"
