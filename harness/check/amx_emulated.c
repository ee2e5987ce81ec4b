/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/amx_emulated.h"

#if defined(__x86_64__)

#include "kernels_opt/panel.h"

#define DECLARE(name, type, isa) \
    void g4_linear_panel_##name##_##isa(const g4_linear_args *a, int64_t r0, int64_t r1);
G4_PANEL_TYPES(DECLARE, amx_emulated)

#define G4_AMX_EMULATED
#define G4_AMX_NAME amx_emulated
#include "kernels_opt/x86/linear_panel_amx.c"

int amx_emulated_put(g4_ops *ops)
{
    if (!(g4_cpu_isas() & G4_ISA_vnni)) return 0;
#define PUT(name, type, isa) ops->linear_panel[type] = g4_linear_panel_##name##_##isa;
    G4_PANEL_TYPES(PUT, amx_emulated)
    return 1;
}

#else

int amx_emulated_put(g4_ops *ops)
{
    (void)ops;
    return 0;
}

#endif
