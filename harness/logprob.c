/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/logprob.h"

#include <math.h>

g4_log_norm g4_log_norm_of(const float *row, int64_t vocab)
{
    g4_log_norm n = { .most = row[0] };
    double sum = 0.0;
    for (int64_t i = 1; i < vocab; i++)
        if ((double)row[i] > n.most) {
            n.most = row[i];
            n.best = i;
        }
    for (int64_t i = 0; i < vocab; i++) sum += exp((double)row[i] - n.most);
    n.log_sum = log(sum);
    return n;
}

double g4_log_prob_at(const g4_log_norm *n, float logit)
{
    return (double)logit - n->most - n->log_sum;
}

double g4_log_prob(const float *row, int64_t vocab, int32_t id, int *best)
{
    g4_log_norm n = g4_log_norm_of(row, vocab);
    *best = n.best == id;
    return g4_log_prob_at(&n, row[id]);
}
