/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels_opt/kernels.h"

#include "kernels_opt/lanes.h"
#include "kernels_opt/pair.h"
#include "kernels_opt/panel.h"
#include "kernels_opt/span.h"

#include <stddef.h>

/* Every put also widens linear_scratch: an op table may mix kernels and definitions. */
#define G4_KERNEL(op, slot, dtype, isa)                      \
    static void put_##op##_##dtype##_##isa(g4_ops *ops)      \
    {                                                        \
        ops->op slot = g4_##op##_##dtype##_##isa;            \
        ops->linear_scratch = g4_linear_scratch_opt;         \
    }
#include "kernels_opt/kernels.def"
#undef G4_KERNEL

static const g4_kernel table[] = {
#define G4_KERNEL(op, slot, dtype, isa) \
    { #op, #dtype, G4_ISA_##isa, put_##op##_##dtype##_##isa },
#include "kernels_opt/kernels.def"
#undef G4_KERNEL
    { NULL, NULL, 0, NULL },   /* an architecture without kernels has this row only */
};

const g4_kernel *g4_kernels(int *count)
{
    *count = (int)(sizeof table / sizeof *table) - 1;
    return table;
}

g4_ops g4_ops_definitions(void)
{
    g4_ops ops = g4_ops_ref();
    ops.panel_bytes = g4_panel_bytes;
    ops.panel_pack = g4_panel_pack;
    ops.xq_bytes = g4_xq_bytes;
    ops.round_pieces = g4_xq_pieces;
    ops.round_x = g4_round_x_c;
    ops.pair_bytes = g4_pair_bytes;
    ops.round_pair = g4_round_pair_c;
    ops.linear_pair = g4_linear_pair_c;
    ops.span_scratch = g4_span_scratch;
    ops.attend_span = g4_attend_span_c;
    ops.span_merge = g4_span_merge_c;
    for (int t = 0; t < G4_DTYPE_COUNT; t++)
        if (g4_panel_format_get((g4_dtype)t).blocks) ops.linear_panel[t] = g4_linear_panel_c;
    return ops;
}

g4_status g4_ops_select(g4_ops *ops, unsigned isas, g4_err *err)
{
    char text[G4_ISA_TEXT];
    unsigned lacking = isas & ~g4_cpu_isas();
    if (lacking)
        return g4_fail(err, G4_EINPUT, "this CPU has no %s", g4_isa_print(text, lacking));
    *ops = g4_ops_definitions();
    for (const g4_kernel *k = table; k->op; k++)
        if (k->isa & isas) k->put(ops);
    return G4_OK;
}

int64_t g4_linear_scratch_opt(int64_t cols, int64_t tokens)
{
    int64_t ref = g4_ops_ref().linear_scratch(cols, tokens);
    int64_t tile = g4_tile_scratch(cols, tokens);
    return tile > ref ? tile : ref;
}
