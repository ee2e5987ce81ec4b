/* SPDX-License-Identifier: Apache-2.0
 * The 16 levels of iq4_nl and iq4_xs: uneven steps, fine around 0 and coarse at the
 * ends, as weights lie.  A fact of the format [N45]. */
#ifndef G4_DTYPE_IQ4_H
#define G4_DTYPE_IQ4_H

static const float g4_iq4_level[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

/* The number of a level by its value. */
static inline unsigned g4_iq4_index(float value)
{
    unsigned k = 0;
    while (k < 15 && g4_iq4_level[k] < value) k++;
    return k;
}

#endif
