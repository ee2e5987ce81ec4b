/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/amx_emulated.h"

#if defined(__x86_64__)

#define FORMATS(X)                                                                             \
    X(q4_0, G4_Q4_0) X(q8_0, G4_Q8_0) X(q4_k, G4_Q4_K) X(q5_k, G4_Q5_K) X(q6_k, G4_Q6_K)       \
    X(iq4_nl, G4_IQ4_NL) X(iq4_xs, G4_IQ4_XS)
#define DECLARE(name, type) \
    void g4_linear_panel_##name##_amx_emulated(const g4_linear_args *a, int64_t r0, int64_t r1);
FORMATS(DECLARE)

#define G4_AMX_EMULATED
#define G4_AMX_NAME amx_emulated
#include "kernels_opt/x86/linear_panel_amx.c"

int amx_emulated_put(g4_ops *ops)
{
    if (!(g4_cpu_isas() & G4_ISA_vnni)) return 0;
#define PUT(name, type) ops->linear_panel[type] = g4_linear_panel_##name##_amx_emulated;
    FORMATS(PUT)
    return 1;
}

#else

int amx_emulated_put(g4_ops *ops)
{
    (void)ops;
    return 0;
}

#endif
