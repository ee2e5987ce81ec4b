/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/engine.h"

#include "ref/dtype/dtype.h"
#include "ref/model/kv.h"
#include "ref/model/rope.h"
#include "ref/model/stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADS_PER_TASK = 8,    /* query heads of one key/value head that a worker takes together */
    LINEAR_GRAIN = 64,     /* weight rows a piece; kernels rely on multiples of it */
    ROW_GRAIN = 16384,     /* values a piece of elementwise work */
};

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t g4_cache_slots(const g4_config *c, const g4_engine_plan *plan, int kind)
{
    int64_t ring = c->sliding_window + 1 + g4_plan_back(plan);
    return kind == G4_FULL || ring > plan->ctx ? plan->ctx : ring;
}

/* ---- work buffers: one table serves planning and allocation ---- */

typedef struct buffer {
    void **slot;
    int64_t count;
    size_t size;
} buffer;

enum { MAX_BUFFERS = 24 };

static int64_t widest(const g4_config *c, int per_query)
{
    int64_t w[2];
    for (int k = 0; k < 2; k++)
        w[k] = (per_query ? c->num_attention_heads : c->kv_heads[k]) * c->head_dim[k];
    return max64(w[0], w[1]);
}

static int64_t max_cols(const g4_config *c)
{
    int64_t cols = max64(max64(c->hidden_size, c->intermediate_size), widest(c, 1));
    cols = max64(cols, max64(c->mm_embed_dim, c->audio_embed_dim));
    if (c->patch_size) cols = max64(cols, g4_patch_values(c));
    return max64(cols, 2 * c->backbone_hidden_size);
}

static int64_t scratch_floats(const g4_config *c, const g4_engine_plan *p, const g4_ops *ops)
{
    int64_t group = 1;
    for (int k = 0; k < 2; k++) group = max64(group, c->num_attention_heads / c->kv_heads[k]);
    if (group > HEADS_PER_TASK) group = HEADS_PER_TASK;
    int64_t linear = ops->linear_scratch(max_cols(c), p->rows);
    if (!p->stream) return max64(linear, group * p->ctx);
    return max64(linear, g4_stream_scratch(ops, max64(c->head_dim[0], c->head_dim[1])));
}

static int buffers(g4_engine *e, const g4_config *c, const g4_engine_plan *p, const g4_ops *ops,
                   buffer *b)
{
    int n = 0;
    int64_t d = max64(c->hidden_size, c->backbone_hidden_size);
    b[n++] = (buffer){ (void **)&e->x, p->rows * d, sizeof(float) };
    b[n++] = (buffer){ (void **)&e->h, p->rows * d, sizeof(float) };
    b[n++] = (buffer){ (void **)&e->o, p->rows * d, sizeof(float) };
    b[n++] = (buffer){ (void **)&e->q, p->rows * widest(c, 1), sizeof(float) };
    b[n++] = (buffer){ (void **)&e->context, p->rows * widest(c, 1), sizeof(float) };
    b[n++] = (buffer){ (void **)&e->k, p->rows * widest(c, 0), sizeof(float) };
    b[n++] = (buffer){ (void **)&e->v, p->rows * widest(c, 0), sizeof(float) };
    b[n++] = (buffer){ (void **)&e->gate, p->rows * c->intermediate_size, sizeof(float) };
    b[n++] = (buffer){ (void **)&e->up, p->rows * c->intermediate_size, sizeof(float) };
    b[n++] = (buffer){ (void **)&e->logits, p->logit_rows * c->vocab_size, sizeof(float) };
    for (int k = 0; k < 2; k++) {
        b[n++] = (buffer){ (void **)&e->cosine[k], p->rows * (c->head_dim[k] / 2), sizeof(double) };
        b[n++] = (buffer){ (void **)&e->sine[k], p->rows * (c->head_dim[k] / 2), sizeof(double) };
        b[n++] = (buffer){ (void **)&e->keys[k], p->rows, sizeof(g4_span) };
    }
    int64_t panels = p->panels ? ops->xq_bytes(p->rows, max_cols(c)) : 0;
    int64_t pairs = p->pair ? ops->pair_bytes(p->rows, max_cols(c)) : 0;
    if (p->panels || p->pair) b[n++] = (buffer){ (void **)&e->xq, max64(panels, pairs), 1 };
    if (p->stream) {
        int64_t H = max64(c->head_dim[0], c->head_dim[1]);
        b[n++] = (buffer){ (void **)&e->parts, g4_stream_parts(p->ctx, H), sizeof(float) };
    } else if (p->kv != G4_F32)
        b[n++] = (buffer){ (void **)&e->kv_scratch, 2 * p->ctx * widest(c, 0), sizeof(float) };
    assert(n <= MAX_BUFFERS);
    return n;
}

uint64_t g4_engine_bytes(const g4_config *c, const g4_engine_plan *plan, const g4_ops *ops,
                         int threads)
{
    g4_engine none = { 0 };
    buffer b[MAX_BUFFERS];
    int n = buffers(&none, c, plan, ops, b);
    uint64_t total = (uint64_t)scratch_floats(c, plan, ops) * sizeof(float) * (uint64_t)threads;
    for (int i = 0; i < n; i++) total += (uint64_t)b[i].count * b[i].size;
    return total;
}

int g4_cache_is_halved(const g4_config *c, const g4_engine_plan *plan, int kind)
{
    return plan->stream && kind == G4_FULL && c->attention_k_eq_v;
}

uint64_t g4_cache_bytes(const g4_config *c, const g4_engine_plan *plan, int kind)
{
    uint64_t layers = 0, slots = (uint64_t)g4_cache_slots(c, plan, kind);
    uint64_t row = g4_dtype_row_bytes(plan->kv, c->kv_heads[kind] * c->head_dim[kind]);
    for (int64_t l = 0; l < c->num_hidden_layers; l++) layers += c->layer_kind[l] == kind;
    if (!g4_cache_is_halved(c, plan, kind)) return 2 * layers * slots * row;
    uint64_t turn = 2 * (uint64_t)g4_rope_pairs(c, kind) * sizeof(float);
    return layers ? slots * (layers * row + turn) : 0;
}

uint64_t g4_session_bytes(const g4_config *c, const g4_engine_plan *plan)
{
    if (c->is_drafter) return 0;   /* it reads the backbone's */
    return g4_cache_bytes(c, plan, G4_SLIDING) + g4_cache_bytes(c, plan, G4_FULL);
}

static g4_status allocate(g4_engine *e, g4_err *err)
{
    const g4_config *c = &e->model->config;
    buffer b[MAX_BUFFERS];
    int n = buffers(e, c, &e->plan, &e->ops, b), threads = g4_par_threads(e->par);
    for (int i = 0; i < n; i++) {
        *b[i].slot = g4_arena_alloc(&e->arena, (size_t)b[i].count, b[i].size);
        if (!*b[i].slot) return g4_nomem(err, "work buffers");
    }
    e->scratch = g4_arena_alloc(&e->arena, (size_t)threads, sizeof *e->scratch);
    if (!e->scratch) return g4_nomem(err, "work buffers");
    for (int i = 0; i < threads; i++) {
        int64_t floats = scratch_floats(c, &e->plan, &e->ops);
        e->scratch[i] = g4_arena_alloc(&e->arena, (size_t)floats, sizeof(float));
        if (!e->scratch[i]) return g4_nomem(err, "work buffers");
    }
    return G4_OK;
}

g4_status g4_engine_open(g4_engine **engine, const g4_model *model, const g4_ops *ops,
                         g4_par *par, const g4_engine_plan *plan, g4_err *err)
{
    *engine = NULL;
    assert(plan->rows > 0 && plan->logit_rows > 0 && plan->ctx > 0);
    g4_engine *e = calloc(1, sizeof *e);
    if (!e) return g4_nomem(err, "engine");
    e->model = model;
    e->ops = *ops;
    e->par = par;
    e->plan = *plan;
    g4_status s = allocate(e, err);
    if (s != G4_OK) {
        g4_engine_close(e);
        return s;
    }
    *engine = e;
    return G4_OK;
}

void g4_engine_close(g4_engine *e)
{
    if (!e) return;
    g4_arena_free(&e->arena);
    free(e);
}

/* ---- ops over many rows ---- */

static int64_t grain(int64_t n)
{
    return n >= ROW_GRAIN ? 1 : ROW_GRAIN / max64(n, 1);
}

typedef struct linear_job {
    g4_engine *e;
    g4_linear_args args;
} linear_job;

static void linear64_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    linear_job *j = ctx;
    j->e->ops.linear64(&j->args, begin, end, j->e->scratch[worker]);
}

void g4_linear64(g4_engine *e, float *y, const float *x, int64_t rows, const g4_mat *w)
{
    if (e->inputs) x = e->inputs->rows(e->inputs->ctx, x, rows, w);
    linear_job j = {e, {.y = y, .ldy = w->rows, .x = x, .ldx = w->cols, .tokens = rows, .w = w}};
    g4_par_for(e->par, w->rows, LINEAR_GRAIN, linear64_piece, &j);
}

static void linear_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    linear_job *j = ctx;
    j->e->ops.linear[j->args.w->dtype](&j->args, begin, end, j->e->scratch[worker]);
}

static g4_round_args round_args(const linear_job *j)
{
    const g4_linear_args *a = &j->args;
    return (g4_round_args){ j->e->xq, a->x, a->ldx, a->tokens, a->w->cols, a->w->dtype };
}

static void round_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const linear_job *j = ctx;
    g4_round_args a = round_args(j);
    (void)worker;
    j->e->ops.round_x(&a, begin, end);
}

static void panel_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const linear_job *j = ctx;
    (void)worker;
    j->e->ops.linear_panel[j->args.w->dtype](&j->args, begin, end);
}

static int is_pair(const g4_engine *e, const g4_mat *w)
{
    return e->plan.pair && w->dtype == G4_BF16;
}

static void round_pair_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const linear_job *j = ctx;
    g4_round_args a = round_args(j);
    (void)worker;
    j->e->ops.round_pair(&a, begin, end);
}

static void pair_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const linear_job *j = ctx;
    j->e->ops.linear_pair(&j->args, begin, end, j->e->scratch[worker]);
}

/* Some outputs of one x: their rows one behind the other, each beginning a new piece. */
typedef struct many_job {
    linear_job job[G4_LINEAR_MOST];
    int64_t first[G4_LINEAR_MOST + 1];   /* pieces */
    int count;
} many_job;

static void many_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    many_job *m = ctx;
    for (int64_t i = begin; i < end; i++) {
        int k = 0;
        while (i >= m->first[k + 1]) k++;
        const g4_mat *w = m->job[k].args.w;
        int64_t row = (i - m->first[k]) * LINEAR_GRAIN, left = w->rows - row;
        int64_t to = row + (left < LINEAR_GRAIN ? left : LINEAR_GRAIN);
        if (w->panels) panel_piece(&m->job[k], row, to, worker);
        else if (is_pair(m->job[k].e, w)) pair_piece(&m->job[k], row, to, worker);
        else linear_piece(&m->job[k], row, to, worker);
    }
}

static void many_call(g4_engine *e, many_job *m)
{
    linear_job *j = &m->job[0];
    for (int k = 0; k < m->count; k++) {
        m->job[k].args.xq = e->xq;
        m->first[k + 1] = m->first[k] + (m->job[k].args.w->rows + LINEAR_GRAIN - 1) / LINEAR_GRAIN;
    }
    if (j->args.w->panels)
        g4_par_for(e->par, e->ops.round_pieces(j->args.tokens), 1, round_piece, j);
    else if (is_pair(e, j->args.w))
        g4_par_for(e->par, j->args.tokens, grain(j->args.w->cols), round_pair_piece, j);
    g4_par_for(e->par, m->first[m->count], 1, many_piece, m);
}

/* Tiles of plan.rows: kernels' scratch is planned for that many.  x is rounded once for
 * neighbours that want it in the same form. */
void g4_linear_many(g4_engine *e, const g4_linear_out *out, int count, const float *x, int64_t rows)
{
    if (e->inputs) x = e->inputs->rows(e->inputs->ctx, x, rows, out[0].w);
    for (int from = 0, to; from < count; from = to) {
        const g4_mat *w = out[from].w;
        for (to = from + 1; to < count && to - from < G4_LINEAR_MOST; to++)
            if (out[to].w->dtype != w->dtype || !out[to].w->panels != !w->panels) break;
        for (int64_t t = 0; t < rows; t += e->plan.rows) {
            many_job m = { .count = to - from };
            for (int k = 0; k < m.count; k++) {
                const g4_linear_out *o = &out[from + k];
                m.job[k] = (linear_job){
                    e, { .y = o->y + t * o->w->rows, .ldy = o->w->rows,
                         .x = x + t * w->cols, .ldx = w->cols, .w = o->w,
                         .tokens = rows - t < e->plan.rows ? rows - t : e->plan.rows } };
            }
            many_call(e, &m);
        }
    }
}

void g4_linear(g4_engine *e, float *y, const float *x, int64_t rows, const g4_mat *w)
{
    g4_linear_out out = { y, w };
    g4_linear_many(e, &out, 1, x, rows);
}

/* Elementwise and per-vector ops share one job: `count` vectors of n values. */
typedef struct row_job {
    const g4_engine *e;
    float *y;
    const float *x, *w, *b;
    const double *cosine, *sine;
    int64_t n, heads;
    double number;      /* eps, scale or cap */
} row_job;

static void rmsnorm_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const row_job *j = ctx;
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        j->e->ops.rmsnorm(j->y + i * j->n, j->x + i * j->n, j->w, j->n, j->number);
}

void g4_rmsnorm(g4_engine *e, float *y, const float *x, const float *w, int64_t count, int64_t n,
                double eps)
{
    row_job j = { .e = e, .y = y, .x = x, .w = w, .n = n, .number = eps };
    g4_par_for(e->par, count, grain(n), rmsnorm_piece, &j);
}

static void layernorm_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const row_job *j = ctx;
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        j->e->ops.layernorm(j->y + i * j->n, j->x + i * j->n, j->w, j->b, j->n, j->number);
}

void g4_layernorm(g4_engine *e, float *y, const float *x, const float *w, const float *b,
                  int64_t count, int64_t n)
{
    /* 1e-5 is torch.nn.LayerNorm's default, which the vision embedder keeps [N11] */
    row_job j = { .e = e, .y = y, .x = x, .w = w, .b = b, .n = n, .number = 1e-5 };
    g4_par_for(e->par, count, grain(n), layernorm_piece, &j);
}

static void rope_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const row_job *j = ctx;
    int64_t half = j->n / 2;
    (void)worker;
    for (int64_t t = begin; t < end; t++)
        for (int64_t head = 0; head < j->heads; head++)
            j->e->ops.rope(j->y + (t * j->heads + head) * j->n, j->cosine + t * half,
                           j->sine + t * half, half);
}

void g4_rope(g4_engine *e, float *x, int64_t rows, int64_t heads, int kind)
{
    row_job j = { .e = e, .y = x, .cosine = e->cosine[kind], .sine = e->sine[kind],
                  .n = e->model->config.head_dim[kind], .heads = heads };
    g4_par_for(e->par, rows, grain(heads * j.n), rope_piece, &j);
}

static void gelu_mul_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const row_job *j = ctx;
    (void)worker;
    j->e->ops.gelu_mul(j->y + begin, j->x + begin, j->w + begin, end - begin);
}

void g4_gelu_mul(g4_engine *e, float *y, const float *gate, const float *up, int64_t n)
{
    row_job j = { .e = e, .y = y, .x = gate, .w = up };
    g4_par_for(e->par, n, ROW_GRAIN, gelu_mul_piece, &j);
}

static void add_scale_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const row_job *j = ctx;
    (void)worker;
    j->e->ops.add_scale(j->y + begin, j->x + begin, j->w + begin, end - begin, j->number);
}

void g4_add_scale(g4_engine *e, float *y, const float *x, const float *r, int64_t n, double scale)
{
    row_job j = { .e = e, .y = y, .x = x, .w = r, .number = scale };
    g4_par_for(e->par, n, ROW_GRAIN, add_scale_piece, &j);
}

static void softcap_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const row_job *j = ctx;
    (void)worker;
    j->e->ops.softcap(j->y + begin, end - begin, j->number);
}

void g4_softcap(g4_engine *e, float *x, int64_t n, double cap)
{
    row_job j = { .e = e, .y = x, .number = cap };
    g4_par_for(e->par, n, ROW_GRAIN, softcap_piece, &j);
}

void g4_angles(g4_engine *e, int64_t at, const int32_t *positions, int64_t n)
{
    for (int kind = 0; kind < 2; kind++) {
        int64_t half = e->model->config.head_dim[kind] / 2;
        for (int64_t t = 0; t < n; t++)
            g4_rope_angles(e->cosine[kind] + (at + t) * half, e->sine[kind] + (at + t) * half,
                           positions[t], e->model->inv_freq[kind], half);
    }
}

typedef struct attention_job {
    const g4_engine *e;
    const g4_attention_job *job;
    g4_kv_view kv;
    int64_t parts, part_heads;   /* a key/value head's query heads, cut in parts */
} attention_job;

static void attention_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const attention_job *a = ctx;
    const g4_attention_job *j = a->job;
    int64_t group = j->heads / j->kv_heads, width = j->heads * j->head_dim;
    for (int64_t i = begin; i < end; i++) {
        int64_t part = i % a->parts, kv_head = i / a->parts % j->kv_heads;
        int64_t t = i / a->parts / j->kv_heads, first = part * a->part_heads;
        int64_t at = t * width + (kv_head * group + first) * j->head_dim;
        g4_attend_args args = {
            .out = j->out + at,
            .q = j->q + at,
            .key = a->kv.key + kv_head * j->head_dim,
            .value = a->kv.value + kv_head * j->head_dim,
            .heads = group - first < a->part_heads ? group - first : a->part_heads,
            .head_dim = j->head_dim,
            .stride = a->kv.width,
            .slots = a->kv.slots,
            .lo = j->keys[t].begin,
            .hi = j->keys[t].end,
            .scratch = a->e->scratch[worker],
        };
        a->e->ops.attend(&args);
    }
}

void g4_attention(g4_engine *e, const g4_attention_job *job)
{
    if (e->plan.stream) {
        g4_attention_stream(e, job);
        return;
    }
    int64_t group = job->heads / job->kv_heads, lo = job->keys[0].begin, hi = job->keys[0].end;
    for (int64_t t = 1; t < job->rows; t++) {
        if (job->keys[t].begin < lo) lo = job->keys[t].begin;
        if (job->keys[t].end > hi) hi = job->keys[t].end;
    }
    attention_job a = { e, job, g4_kv_read(job->cache, lo, hi, e->kv_scratch),
                        (group + HEADS_PER_TASK - 1) / HEADS_PER_TASK,
                        group < HEADS_PER_TASK ? group : HEADS_PER_TASK };
    g4_par_for(e->par, job->rows * job->kv_heads * a.parts, 1, attention_piece, &a);
}

g4_span g4_visible(const g4_engine *e, int kind, int64_t index, g4_span block)
{
    const g4_config *c = &e->model->config;
    if (!c->bidirectional_vision) block = (g4_span){ index, index };
    return g4_mask_keys(e->plan.mask, kind, c->sliding_window, index, block);
}
