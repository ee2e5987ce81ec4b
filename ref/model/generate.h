/* SPDX-License-Identifier: Apache-2.0
 * Text from a prefilled session, with or without a drafter: draft, verify,
 * accept.  With a drafter, greedy text is the same token for token, sampled text
 * has the same distribution (g4_accept). */
#ifndef G4_MODEL_GENERATE_H
#define G4_MODEL_GENERATE_H

#include "ref/model/forward.h"
#include "ref/model/mtp.h"
#include "ref/model/pace.h"
#include "ref/model/sample.h"

enum { G4_MAX_DRAFT = 32 };

/* Whose way of drafting and accepting [N71]; greedy text is the same in all of them.
 *   ours        drafts are drawn from the drafter's own distribution, under the same filters
 *   hf          from the second round on it sees stale keys [N18]; drafts are its likeliest
 *               tokens, yet judged as if drawn from its distribution: sampled text is biased
 *   llama.cpp   likeliest tokens, kept where the backbone would have drawn the same
 *   vllm        the same; rounds at a text's end are not made shorter */
typedef enum g4_draft_way {
    G4_DRAFT_OURS, G4_DRAFT_HF, G4_DRAFT_LLAMA_CPP, G4_DRAFT_VLLM
} g4_draft_way;

/* One round, as an observer sees it when it is over. */
typedef struct g4_round {
    int64_t cached;                 /* tokens in the cache before it */
    int64_t k;                      /* tokens drafted */
    int64_t matched;                /* of them, those that verification agreed with */
    int64_t taken;                  /* of those, in the text: fewer where it ended before */
    int64_t written;                /* tokens it gave the text: taken and, mostly, one more */
    const int32_t *drafted;         /* [k] */
    const int32_t *chosen;          /* [matched + 1] the drafts and what came behind them */
    const float *draft_logits;      /* [k][V] */
    const float *logits;            /* [k + 1][V] the backbone's */
    double draft_s, verify_s;
} g4_round;
typedef void g4_round_fn(void *ctx, const g4_round *r);

typedef struct g4_generate_options {
    g4_sampler sampler;
    int64_t max_tokens;
    const int64_t *stop;            /* ids that end the text (they are emitted, too) */
    int stop_count;
    int64_t max_draft;              /* 0 .. G4_MAX_DRAFT; only with a drafter */
    g4_pace *pace;                  /* ends a round's drafting earlier; NULL: never */
    g4_draft_way way;
    const double *forced;           /* [max_draft] to measure time alone: draft i is accepted
                                     * with this probability, whatever it is; NULL: judged */
    g4_round_fn *round;             /* NULL: nobody watches */
    void *round_ctx;
    const float **row;              /* before a token is emitted: the logits [V] it was chosen
                                     * from, which last until emit returns; NULL: not wanted */
} g4_generate_options;

typedef struct g4_generate_stats {
    int64_t tokens, rounds, drafted, accepted;
    int64_t drafted_at[G4_MAX_DRAFT], accepted_at[G4_MAX_DRAFT];   /* by draft position */
    double draft_s, verify_s;
} g4_generate_stats;

/* What g4_generate allocates. */
uint64_t g4_generate_bytes(const g4_config *c, const g4_generate_options *o, int drafted);

/* Called for each token as soon as it is certain; nonzero stops. */
typedef int g4_token_fn(void *ctx, int32_t id);

/* The engine's plan must allow max_draft + 1 rows (and logit rows).  logits [V] and
 * hidden [D]: of the session's last token, as g4_prefill left them.  d NULL: no
 * drafter.  Ends at a stop id, max_tokens or a full context. */
g4_status g4_generate(g4_engine *e, g4_session *s, g4_drafter *d, const float *logits,
                      const float *hidden, const g4_generate_options *o, g4_token_fn *emit,
                      void *ctx, g4_generate_stats *stats, g4_err *err);

#endif
