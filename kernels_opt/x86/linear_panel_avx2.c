/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels_opt/x86/linear_panel_256.h"

G4_PANEL_KERNELS(avx2)

void g4_round_x_f32_avx2(const g4_round_args *a, int64_t p0, int64_t p1)
{
    round_tiles(a, p0, p1);
}
