/* SPDX-License-Identifier: Apache-2.0
 * What a run needs besides the model: the op table, the threads, and work
 * buffers for a number of rows; and the ops applied to many rows at once, which
 * is all the model code calls.  A session (one timeline, one cache) is opened on
 * an engine.  After opening nothing is allocated.
 * Backbone and drafter each have an engine of their own; they may share ops and
 * threads. */
#ifndef G4_MODEL_ENGINE_H
#define G4_MODEL_ENGINE_H

#include "ref/base/par.h"
#include "ref/model/mask.h"
#include "ref/model/ops.h"
#include "ref/model/weights.h"

typedef struct g4_engine_plan {
    int64_t rows;         /* most tokens in one g4_forward, all sequences together */
    int64_t logit_rows;   /* rows of logits computed at once */
    int64_t ctx;          /* most tokens in one session */
    int64_t back;         /* tokens a rewind may take back, where that is more than rows */
    g4_dtype kv;          /* F32, F16 or Q8_0 */
    int panels;           /* the model's matrices lie in panels (g4_model_pack) */
    int pair;             /* x is rounded to bf16 for BF16 matrices (kernels_opt/pair.h) */
    int stream;           /* attention reads the cache as it is stored; K = V layers keep V */
    g4_mask mask;
} g4_engine_plan;

/* How far g4_session_rewind may go back: a ring keeps that many tokens more. */
static inline int64_t g4_plan_back(const g4_engine_plan *p)
{
    return p->back > p->rows ? p->back : p->rows;
}

/* For studies of rounded activations: what stands in for the rows x [rows][w->cols] that
 * meet w (and other matrices of the same x); may be x. */
typedef struct g4_inputs {
    const float *(*rows)(void *ctx, const float *x, int64_t rows, const g4_mat *w);
    void *ctx;
} g4_inputs;

typedef struct g4_engine {
    const g4_model *model;
    g4_ops ops;
    g4_par *par;
    g4_engine_plan plan;
    float *x, *h, *o;               /* [rows][D] residual stream, normed input, branch output */
    float *q, *context;             /* [rows][N*H] of the wider kind */
    float *k, *v;                   /* [rows][K*H] */
    float *gate, *up;               /* [rows][F] */
    float *logits;                  /* [logit_rows][V] */
    double *cosine[2], *sine[2];    /* [rows][H/2] */
    g4_span *keys[2];               /* [rows] what each row sees, by layer kind */
    unsigned char *xq;              /* x rounded, where plan.panels or plan.pair wants it */
    float *kv_scratch;              /* unpacked cache rows; NULL for an F32 cache or a stream */
    float *parts;                   /* of a stream's spans (stream.h) */
    float **scratch;                /* [threads] kernels' own */
    const g4_inputs *inputs;        /* set once it is open; NULL: x itself */
    g4_arena arena;
} g4_engine;

/* ops is copied; model and par must outlive the engine. */
g4_status g4_engine_open(g4_engine **engine, const g4_model *model, const g4_ops *ops,
                         g4_par *par, const g4_engine_plan *plan, g4_err *err);
void g4_engine_close(g4_engine *e);

/* Bytes that g4_engine_open and one g4_session_open will take, without taking them. */
uint64_t g4_engine_bytes(const g4_config *c, const g4_engine_plan *plan, const g4_ops *ops,
                         int threads);
uint64_t g4_session_bytes(const g4_config *c, const g4_engine_plan *plan);
/* Of that: the layers of one kind, all together. */
uint64_t g4_cache_bytes(const g4_config *c, const g4_engine_plan *plan, int kind);
/* Does a layer's cache keep values alone? */
int g4_cache_is_halved(const g4_config *c, const g4_engine_plan *plan, int kind);

/* Slots a layer's cache needs: all of ctx, or the window, the drafter's one more
 * key and the rows of one call (which a rejected draft may take back). */
int64_t g4_cache_slots(const g4_config *c, const g4_engine_plan *plan, int kind);

/* y[t][r] = w[r] . x[t]; y [rows][w->rows], x [rows][w->cols], both dense. */
void g4_linear(g4_engine *e, float *y, const float *x, int64_t rows, const g4_mat *w);
/* Several outputs of one x [rows][cols]; all w have as many columns. */
typedef struct g4_linear_out {
    float *y;
    const g4_mat *w;
} g4_linear_out;
enum { G4_LINEAR_MOST = 3 };   /* computed in one go, where there are more */
void g4_linear_many(g4_engine *e, const g4_linear_out *out, int count, const float *x,
                    int64_t rows);
/* The same in float64, rounded once. */
void g4_linear64(g4_engine *e, float *y, const float *x, int64_t rows, const g4_mat *w);
/* Each of `count` vectors of n values; w [n] or NULL.  y may be x. */
void g4_rmsnorm(g4_engine *e, float *y, const float *x, const float *w, int64_t count, int64_t n,
                double eps);
void g4_layernorm(g4_engine *e, float *y, const float *x, const float *w, const float *b,
                  int64_t count, int64_t n);
/* Rotates x [rows][heads][H] by the angles of this layer kind. */
void g4_rope(g4_engine *e, float *x, int64_t rows, int64_t heads, int kind);
void g4_gelu_mul(g4_engine *e, float *y, const float *gate, const float *up, int64_t n);
void g4_add_scale(g4_engine *e, float *y, const float *x, const float *r, int64_t n,
                  double scale);
void g4_softcap(g4_engine *e, float *x, int64_t n, double cap);
/* Fills cosine/sine of both kinds for rows [at, at + n). */
void g4_angles(g4_engine *e, int64_t at, const int32_t *positions, int64_t n);

/* out[t] = attention of q[t] over the keys [keys[t].begin, keys[t].end) of the cache. */
typedef struct g4_attention_job {
    float *out;                     /* [rows][N*H] */
    const float *q;                 /* [rows][N*H] */
    const struct g4_kv *cache;
    const g4_span *keys;            /* [rows] */
    int64_t rows, heads, kv_heads, head_dim;
} g4_attention_job;
void g4_attention(g4_engine *e, const g4_attention_job *job);

/* Keys that token `index` sees in this layer kind; block: its image block. */
g4_span g4_visible(const g4_engine *e, int kind, int64_t index, g4_span block);

#endif
