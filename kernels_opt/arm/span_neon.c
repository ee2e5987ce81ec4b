/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels_opt/arm/vec_neon.h"

#define G4_FN(name) g4_##name##_neon
#include "kernels_opt/c/attend_span.h"
