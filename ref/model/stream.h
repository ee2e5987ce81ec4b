/* SPDX-License-Identifier: Apache-2.0
 * Attention as a stream: rows on their way through the spans of a cache. */
#ifndef G4_MODEL_STREAM_H
#define G4_MODEL_STREAM_H

#include "ref/model/engine.h"

/* out[t] of a job, as g4_attention gives it. */
void g4_attention_stream(g4_engine *e, const g4_attention_job *job);

/* Floats that it needs: a worker's scratch; parts kept for all spans of a context. */
int64_t g4_stream_scratch(const g4_ops *ops, int64_t head_dim);
int64_t g4_stream_parts(int64_t ctx, int64_t head_dim);

#endif
