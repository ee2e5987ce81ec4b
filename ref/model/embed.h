/* SPDX-License-Identifier: Apache-2.0
 * What enters layer 0. */
#ifndef G4_MODEL_EMBED_H
#define G4_MODEL_EMBED_H

#include "ref/model/engine.h"

/* y [D] = row `id` of the table * f32(sqrt(D)); the scale is float32 [N2]. */
void g4_embed_token(const g4_model *m, float *y, int32_t id);

#endif
