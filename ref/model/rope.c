/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/rope.h"

#include "ref/base/real.h"

static int64_t rotated_pairs(int64_t head_dim, const g4_rope_config *r)
{
    int64_t rotated = (int64_t)(r->partial_rotary_factor * (double)head_dim) / 2;
    return rotated < head_dim / 2 ? rotated : head_dim / 2;
}

int64_t g4_rope_pairs(const g4_config *c, int kind)
{
    return rotated_pairs(c->head_dim[kind], &c->rope[kind]);
}

void g4_rope_inv_freq(float *freq, int64_t head_dim, const g4_rope_config *r)
{
    int64_t half = head_dim / 2, rotated = rotated_pairs(head_dim, r);
    double log_theta = g4_log((double)(float)r->theta);
    for (int64_t i = 0; i < half; i++) {
        float exponent = (float)(2 * i) / (float)head_dim;
        float power = (float)g4_exp((double)exponent * log_theta);
        freq[i] = i < rotated ? 1.0f / power / (float)r->factor : 0.0f;
    }
}

void g4_rope_angles(double *cosine, double *sine, int32_t position, const float *freq,
                    int64_t half)
{
    for (int64_t i = 0; i < half; i++) {
        float angle = (float)position * freq[i];
        g4_cos_sin((double)angle, &cosine[i], &sine[i]);
    }
}
