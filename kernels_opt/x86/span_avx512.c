/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels_opt/x86/vec_avx512.h"

#define G4_FN(name) g4_##name##_avx512
#include "kernels_opt/c/attend_span.h"
