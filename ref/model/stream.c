/* SPDX-License-Identifier: Apache-2.0
 * Attention as a stream (kernels_opt/span.h has the law): a task is some tokens and the
 * query heads of one key/value head.  With many tasks each walks all its spans; with few
 * (decoding) every span is a task of its own, and a row's parts are merged afterwards, in
 * the same order: the bits are the same. */
#include "ref/model/stream.h"

#include <string.h>

typedef struct stream_job {
    const g4_engine *e;
    const g4_attention_job *job;
    int64_t parts, heads;      /* a key/value head's query heads, cut in parts of `heads` */
    int64_t tokens, groups;    /* tokens of a task; tasks along the rows */
    int64_t begin, spans;      /* of all rows: first span, their number */
} stream_job;

/* What a task works on. */
typedef struct task {
    int64_t token, tokens, head, heads, kv_head;
} task;

static int64_t padded(int64_t n)
{
    return (n + 15) / 16 * 16;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Floats of a part with so many rows. */
static int64_t part_floats(int64_t rows, int64_t head_dim)
{
    return rows * (padded(head_dim) + 2);
}

static g4_span_part part_at(float *data, int64_t rows, int64_t head_dim)
{
    float *top = data + rows * padded(head_dim);
    return (g4_span_part){ data, top, top + rows };
}

static g4_span_part row_of(const g4_span_part *p, int64_t row, int64_t head_dim)
{
    return (g4_span_part){ p->acc + row * padded(head_dim), p->top + row, p->sum + row };
}

static int64_t span_count(int64_t ctx)
{
    return ctx / G4_SPAN + 2;
}

int64_t g4_stream_scratch(const g4_ops *ops, int64_t head_dim)
{
    return ops->span_scratch(head_dim) + 2 * part_floats(G4_SPAN_ROWS, head_dim);
}

int64_t g4_stream_parts(int64_t ctx, int64_t head_dim)
{
    return span_count(ctx) * part_floats(G4_SPAN_ROWS, head_dim);
}

static task task_at(const stream_job *s, int64_t i)
{
    const g4_attention_job *j = s->job;
    int64_t group = j->heads / j->kv_heads, first = i % s->parts * s->heads;
    int64_t kv_head = i / s->parts % j->kv_heads, token = i / s->parts / j->kv_heads * s->tokens;
    return (task){ token, least(s->tokens, j->rows - token), kv_head * group + first,
                   least(s->heads, group - first), kv_head };
}

/* One span of a task into a part. */
static void attend_span(const stream_job *s, const task *t, int64_t span, g4_span_part *part,
                        int worker)
{
    const g4_attention_job *j = s->job;
    g4_span_args a = {
        .part = part,
        .q = j->q + (t->token * j->heads + t->head) * j->head_dim,
        .ldq = j->heads * j->head_dim,
        .tokens = t->tokens,
        .heads = t->heads,
        .head_dim = j->head_dim,
        .keys = j->keys + t->token,
        .lo = span * G4_SPAN,
        .hi = (span + 1) * G4_SPAN,
        .kv = j->cache,
        .first = t->kv_head * j->head_dim,
        .scratch = s->e->scratch[worker],
    };
    s->e->ops.attend_span(&a);
}

/* out = acc / sum for one row: query head `head` of `token`. */
static void finish(const g4_attention_job *j, int64_t token, int64_t head, const g4_span_part *p)
{
    float *out = j->out + (token * j->heads + head) * j->head_dim, inverse = 1.0f / p->sum[0];
    for (int64_t i = 0; i < j->head_dim; i++) out[i] = p->acc[i] * inverse;
}

/* ---- many tasks: each walks its spans ---- */

static void walk_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const stream_job *s = ctx;
    const g4_attention_job *j = s->job;
    int64_t H = j->head_dim;
    float *space = s->e->scratch[worker] + s->e->ops.span_scratch(H);
    for (int64_t i = begin; i < end; i++) {
        task t = task_at(s, i);
        int64_t rows = t.tokens * t.heads, lo = INT64_MAX, hi = 0;
        g4_span_part all = part_at(space, rows, H);
        g4_span_part part = part_at(space + part_floats(rows, H), rows, H);
        for (int64_t k = 0; k < t.tokens; k++) {
            lo = least(lo, j->keys[t.token + k].begin);
            hi = j->keys[t.token + k].end > hi ? j->keys[t.token + k].end : hi;
        }
        memset(all.sum, 0, (size_t)rows * sizeof(float));
        for (int64_t span = lo / G4_SPAN; span * G4_SPAN < hi; span++) {
            attend_span(s, &t, span, &part, worker);
            s->e->ops.span_merge(&all, &part, rows, H);
        }
        for (int64_t r = 0; r < rows; r++) {
            g4_span_part row = row_of(&all, r, H);
            finish(j, t.token + r / t.heads, t.head + r % t.heads, &row);
        }
    }
}

/* ---- few tasks: each span by itself ---- */

/* Where the part of a task and a span lies. */
static g4_span_part kept_part(const stream_job *s, const task *t, int64_t i, int64_t span)
{
    int64_t most = s->tokens * s->heads, H = s->job->head_dim;
    float *data = s->e->parts + (i * s->spans + span) * part_floats(most, H);
    return part_at(data, t->tokens * t->heads, H);
}

static void span_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const stream_job *s = ctx;
    for (int64_t i = begin; i < end; i++) {
        task t = task_at(s, i / s->spans);
        g4_span_part part = kept_part(s, &t, i / s->spans, i % s->spans);
        attend_span(s, &t, s->begin + i % s->spans, &part, worker);
    }
}

/* A row of a task; tasks at the end may have fewer. */
static void merge_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const stream_job *s = ctx;
    int64_t most = s->tokens * s->heads, H = s->job->head_dim;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        task t = task_at(s, i / most);
        int64_t r = i % most;
        if (r >= t.tokens * t.heads) continue;
        g4_span_part all = kept_part(s, &t, i / most, 0);
        all = row_of(&all, r, H);
        for (int64_t span = 1; span < s->spans; span++) {
            g4_span_part part = kept_part(s, &t, i / most, span);
            part = row_of(&part, r, H);
            s->e->ops.span_merge(&all, &part, 1, H);
        }
        finish(s->job, t.token + r / t.heads, t.head + r % t.heads, &all);
    }
}

void g4_attention_stream(g4_engine *e, const g4_attention_job *job)
{
    int64_t group = job->heads / job->kv_heads;
    stream_job s = { .e = e, .job = job, .heads = least(group, G4_SPAN_ROWS) };
    s.parts = (group + s.heads - 1) / s.heads;
    s.tokens = least(G4_SPAN_ROWS / s.heads, job->rows);
    s.groups = (job->rows + s.tokens - 1) / s.tokens;
    int64_t lo = job->keys[0].begin, hi = job->keys[0].end;
    for (int64_t t = 1; t < job->rows; t++) {
        lo = least(lo, job->keys[t].begin);
        hi = job->keys[t].end > hi ? job->keys[t].end : hi;
    }
    s.begin = lo / G4_SPAN;
    s.spans = (hi - 1) / G4_SPAN - s.begin + 1;
    int64_t tasks = s.parts * job->kv_heads * s.groups, rows = s.tokens * s.heads;
    int64_t room = g4_stream_parts(e->plan.ctx, job->head_dim);
    if (tasks * s.spans * part_floats(rows, job->head_dim) > room) {
        g4_par_for(e->par, tasks, 1, walk_piece, &s);
        return;
    }
    g4_par_for(e->par, tasks * s.spans, 1, span_piece, &s);
    g4_par_for(e->par, tasks * rows, 1, merge_piece, &s);
}
