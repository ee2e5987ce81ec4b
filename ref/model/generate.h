/* SPDX-License-Identifier: Apache-2.0
 * Text from a prefilled session, with or without a drafter: draft, verify,
 * accept.  With a drafter, greedy text is the same token for token, sampled text
 * has the same distribution (g4_accept). */
#ifndef G4_MODEL_GENERATE_H
#define G4_MODEL_GENERATE_H

#include "ref/model/forward.h"
#include "ref/model/mtp.h"
#include "ref/model/sample.h"

enum { G4_MAX_DRAFT = 32 };

typedef struct g4_generate_options {
    g4_sampler sampler;
    int64_t max_tokens;
    const int64_t *stop;            /* ids that end the text (they are emitted, too) */
    int stop_count;
    int64_t max_draft;              /* 1 .. G4_MAX_DRAFT; only with a drafter */
} g4_generate_options;

typedef struct g4_generate_stats {
    int64_t tokens, rounds, drafted, accepted;
    int64_t drafted_at[G4_MAX_DRAFT], accepted_at[G4_MAX_DRAFT];   /* by draft position */
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
