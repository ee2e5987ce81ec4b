/* SPDX-License-Identifier: Apache-2.0
 * How many tokens to draft: after each draft, whether the next one is worth its cost.
 *
 * Drafting is a renewal process: a round yields tokens and costs time, and what counts
 * is tokens over time of all rounds.  So one more draft pays as long as
 *
 *   P(all drafts so far are accepted) * P(the next one is)  >  rate * (draft + row)
 *
 * where rate is what rounds yielded lately, draft the time of a draft step and row what
 * one more takes in the verification [N70].  The probabilities are counted while running:
 * of a draft that was made, by the drafter's own confidence in it; of one to come, by its
 * position.  Old rounds fade. */
#ifndef G4_MODEL_PACE_H
#define G4_MODEL_PACE_H

#include "ref/model/weights.h"

enum { G4_PACE_BINS = 8, G4_PACE_POSITIONS = 32 };

typedef struct g4_pace_count {
    double kept, tried;
} g4_pace_count;

typedef struct g4_pace {
    double draft;                /* cost of a draft step */
    double curve[3];             /* verifying n rows costs curve[0] + curve[1] n + curve[2] n^2 */
    int clock;                   /* costs follow the clock; else they stay */
    double sum[8], assumed[8];   /* of 1, n, .. n^4, t, n t, n^2 t: measured; before that */
    g4_pace_count by_confidence[G4_PACE_BINS], at[G4_PACE_POSITIONS], all;
    double tokens, cost;         /* of rounds: their quotient is the rate */
    int64_t idle;                /* rounds in a row without a draft */
    double reach;                /* P(all drafts of this round so far are accepted) */
} g4_pace;

/* Costs in steps of the backbone, as the bytes that are read say.  clock: they become
 * what is measured.  A sampled text that only its seed shall decide must not follow it. */
void g4_pace_init(g4_pace *p, const g4_model *backbone, const g4_model *drafter, int clock);

/* Roughly the probability of token id, the likeliest, by softmax: within 5 %, and where all
 * others are e^-16 times less likely, too high by what those are together. */
double g4_pace_confidence(const float *logits, int64_t vocab, int32_t id);

void g4_pace_begin(g4_pace *p);                          /* a round */
int g4_pace_more(const g4_pace *p, int64_t drafted);     /* one more? */
void g4_pace_drafted(g4_pace *p, double confidence);     /* it was made */

/* Confidences [k] of the drafts, `matched` of which were accepted; seconds. */
typedef struct g4_pace_round {
    const double *confidence;
    int64_t k, matched;
    double draft_s, verify_s;
} g4_pace_round;
void g4_pace_learn(g4_pace *p, const g4_pace_round *r);

#endif
