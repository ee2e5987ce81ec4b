/* SPDX-License-Identifier: Apache-2.0
 * Log-probabilities as evaluations and the server tell them: float64 log-softmaxes of
 * float32 logits, the same bits wherever they are asked for. */
#ifndef G4_HARNESS_LOGPROB_H
#define G4_HARNESS_LOGPROB_H

#include <stdint.h>

/* log softmax(row)[i] = row[i] - most - log_sum */
typedef struct g4_log_norm {
    double most, log_sum;
    int64_t best;                /* the first of the likeliest */
} g4_log_norm;

g4_log_norm g4_log_norm_of(const float *row, int64_t vocab);
double g4_log_prob_at(const g4_log_norm *n, float logit);

/* log softmax(row)[id]; *best: id is the first of the likeliest. */
double g4_log_prob(const float *row, int64_t vocab, int32_t id, int *best);

#endif
