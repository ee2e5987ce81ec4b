/* SPDX-License-Identifier: Apache-2.0
 * The drafter (Gemma4UnifiedAssistantForCausalLM): four small layers that have no
 * keys of their own but attend to the backbone's cache, its last sliding and its
 * last full layer, keys already rotated.  One step:
 *
 *   inputs_embeds = [backbone embedding of the last token * sqrt(D) | hidden]  [2D]
 *   x  = pre_projection inputs_embeds, then the layers (q only), then norm
 *   logits = tied head (or centroid head), never capped [N42]
 *   hidden' = post_projection x                                                [D]
 *
 * hidden is the backbone's final-norm output at the last verified token; in later
 * steps of a round, the drafter's own hidden'.  All steps of a round have the same
 * position: that of the last known token, which is not yet in the cache [N14].
 * Full layers see all cached keys, sliding ones the last W + 1 [N15]. */
#ifndef G4_MODEL_MTP_H
#define G4_MODEL_MTP_H

#include "ref/model/sample.h"
#include "ref/model/session.h"

typedef struct g4_drafter {
    g4_engine *engine;              /* of the drafter's model; owned */
    const g4_model *backbone;
    int64_t shared_layer[2];        /* backbone layer whose cache each kind reads */
    const g4_tap *tap;              /* NULL: nobody watches */
    int64_t rows;                   /* rounds that a step goes on with, at most */
    float *inputs_embeds;           /* [rows][2D] */
    float *hidden;                  /* [rows][D] */
    float *logits;                  /* [rows][V], after the head */
    g4_span seen[2];                /* tokens whose keys a step sees, by layer kind */
    float *centroid_logits;         /* [num_centroids]; NULL without centroid head */
    unsigned char *picked;          /* [num_centroids] */
    g4_arena arena;
} g4_drafter;

/* model: the drafter's checkpoint, which g4_model_check_pair accepts. */
g4_status g4_drafter_open(g4_drafter **drafter, const g4_model *model, const g4_engine *backbone,
                          g4_err *err);
/* The same for g4_draft_rows with up to so many. */
g4_status g4_drafter_open_rows(g4_drafter **drafter, const g4_model *model,
                               const g4_engine *backbone, int64_t rows, g4_err *err);
void g4_drafter_close(g4_drafter *d);

/* A new round: hidden [D] of the last verified token; d->seen: the keys of all those. */
void g4_draft_begin(g4_drafter *d, const g4_session *s, const float *hidden);

/* One step behind `last`, given the backbone's session (cache only read).  Leaves
 * d->logits and d->hidden.  step counts from 0, for the taps. */
void g4_draft_step(g4_drafter *d, const g4_session *s, int32_t last, int64_t step);

/* One step of n rounds that began at different tokens of one session's text: round i behind
 * its first known[i] tokens, all of them text, not media; its last token is last[i].  d->hidden
 * and d->logits hold a row for each; the first hidden rows are the caller's. */
void g4_draft_rows(g4_drafter *d, const g4_session *s, const int64_t *known, const int32_t *last,
                   int64_t n);

#endif
