/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels_opt/x86/vec_avx2.h"

#define G4_FN(name) g4_##name##_avx2
#include "kernels_opt/c/attend_span.h"
