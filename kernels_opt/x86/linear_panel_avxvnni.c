/* SPDX-License-Identifier: Apache-2.0
 * For CPUs that have vpdpbusd without AVX-512: laptops and desktops of Intel since 2021. */
#define G4_PANEL_DPBUSD
#include "kernels_opt/x86/linear_panel_256.h"

G4_PANEL_KERNELS(avxvnni)
