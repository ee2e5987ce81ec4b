/* SPDX-License-Identifier: Apache-2.0
 * Rotary position embedding: which angles.  (The rotation itself is an op.)
 * Source: transformers modeling_rope_utils.py, _compute_proportional_rope_parameters,
 * and Gemma4UnifiedTextRotaryEmbedding (5.20.2). */
#ifndef G4_MODEL_ROPE_H
#define G4_MODEL_ROPE_H

#include "ref/model/config.h"

/* freq[i] = f32(1 / f32(theta^(2i/H))) / factor for the first
 * partial_rotary_factor * H / 2 pairs, 0 for the rest; [H/2].  Two roundings, as
 * torch does it [N5]; the power itself is correctly rounded, torch's is 1 ulp off
 * in one entry of each of the 12B's tables [N6]. */
void g4_rope_inv_freq(float *freq, int64_t head_dim, const g4_rope_config *r);

/* Pairs that turn at all: the first so many of H/2. */
int64_t g4_rope_pairs(const g4_config *c, int kind);

/* cos and sin of the float32 product position * freq[i] [N7]; both [half]. */
void g4_rope_angles(double *cosine, double *sine, int32_t position, const float *freq,
                    int64_t half);

#endif
