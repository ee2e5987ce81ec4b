/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/dtype/grid.h"

const uint16_t g4_grid_iq2_xxs[256] = {
#include "ref/dtype/iq2_xxs_grid.inc"
};
const uint16_t g4_grid_iq2_xs[512] = {
#include "ref/dtype/iq2_xs_grid.inc"
};
const uint16_t g4_grid_iq2_s[1024] = {
#include "ref/dtype/iq2_s_grid.inc"
};
const uint16_t g4_grid_iq3_xxs[256] = {
#include "ref/dtype/iq3_xxs_grid.inc"
};
const uint16_t g4_grid_iq3_s[512] = {
#include "ref/dtype/iq3_s_grid.inc"
};
const uint16_t g4_grid_iq1_s[2048] = {
#include "ref/dtype/iq1_s_grid.inc"
};

static float signed_value(float v, unsigned signs, int i)
{
    return signs >> i & 1 ? -v : v;
}

void g4_grid_iq2(float y[8], unsigned point, unsigned signs, float scale)
{
    static const float level[4] = { 8, 25, 43 };   /* about 1, 3, 5; the fourth does not occur */
    for (int i = 0; i < 8; i++)
        y[i] = signed_value(scale * level[point >> 2 * i & 3], signs, i);
}

void g4_grid_iq3(float y[4], const float level[8], unsigned point, unsigned signs, float scale)
{
    for (int i = 0; i < 4; i++)
        y[i] = signed_value(scale * level[point >> 3 * i & 7], signs, i);
}

void g4_grid_iq1(float y[8], unsigned point, float scale, float delta)
{
    for (int i = 0; i < 8; i++)
        y[i] = scale * ((float)((int)(point >> 2 * i & 3) - 1) + delta);
}
