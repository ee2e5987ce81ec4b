/* SPDX-License-Identifier: Apache-2.0
 * The arithmetic of the model as a table of function pointers.  ops_ref.c fills
 * it with the plain-C definitions; kernels_opt overrides single entries with
 * SIMD code that gives the same bits.  The model calls nothing else to compute.
 *
 * Rounding law (every implementation of an entry obeys it, so bits never depend
 * on ISA, compiler, thread count, chunk or batch):
 *  - dot products: 16 float32 lanes, element i goes to lane i mod 16 with one
 *    fused multiply-add in order of i; then lanes are folded l += l+8, l+4, l+2,
 *    l+1 (float32 adds).  A tail is masked: lanes past the end are not touched.
 *  - everything else (norms, RoPE, exp, tanh, softmax sums) is computed in
 *    float64 by plain multiplies, adds, divisions and square roots (no fused
 *    operations), in the order the definition gives, and rounded to float32 once.
 *  - float64 reductions: 16 lanes and the same fold.
 * Nothing comes from libm except what IEEE 754 rounds exactly (sqrt, fma). */
#ifndef G4_MODEL_OPS_H
#define G4_MODEL_OPS_H

#include "ref/dtype/mat.h"
#include "ref/model/kv.h"
#include "ref/model/mask.h"

#include <stdint.h>

/* y[t][r] = sum_i w[r][i] * x[t][i]   for t in [0, tokens), r in [r0, r1). */
typedef struct g4_linear_args {
    float *y;             /* [tokens][ldy] */
    int64_t ldy;
    const float *x;       /* [tokens][ldx], w->cols of them used */
    int64_t ldx, tokens;
    const g4_mat *w;      /* [rows][cols] */
    const unsigned char *xq;   /* x rounded: for linear_panel and linear_pair alone */
} g4_linear_args;

/* x rounded to 8 bits in blocks of 32, in the order its kernels read it. */
typedef struct g4_round_args {
    unsigned char *xq;    /* [xq_bytes(tokens, cols)] */
    const float *x;       /* [tokens][ldx], cols of them used */
    int64_t ldx, tokens, cols;
    g4_dtype dtype;       /* of the weights that it will be multiplied with */
} g4_round_args;

/* Query heads that share one key/value head, one query position:
 *   s[k]   = dot(q, key[k])                      k in [lo, hi)
 *   p[k]   = f32(exp(f64(s[k]) - max s))
 *   out[h] = f32(f64(sum_k p[k] * value[k][h]) / sum_k f64(p[k]))
 * sum_k p[k] in float64, in order of k.  sum_k p[k] * value[k][h] in float32, one fused
 * multiply-add a key in order of k, in blocks: keys with equal k / 64 are summed
 * from 0, and block sums are added in order.  The key of position k is row
 * k mod slots of the cache (a ring; slots >= hi - lo). */
typedef struct g4_attend_args {
    float *out;                 /* [heads][H] */
    const float *q;             /* [heads][H] */
    const float *key, *value;   /* row k at key + (k mod slots) * stride */
    int64_t heads, head_dim, stride, slots, lo, hi;
    float *scratch;             /* heads * (hi - lo) floats */
} g4_attend_args;

/* The same as a stream: for the rows of some tokens, over the keys of one span, which gives
 * a part that is merged, span by span, into an output (law in kernels_opt/span.h). */
enum {
    G4_SPAN = 512,              /* keys of a span: those with equal k / 512 */
    G4_SPAN_ROWS = 32,          /* most rows of one call */
};

/* Rows of weighted values, head_dim rounded up to 16; their largest score; the weights' sum. */
typedef struct g4_span_part {
    float *acc;                 /* [rows][round_up(H, 16)] */
    float *top, *sum;           /* [rows]; sum 0: nothing seen yet */
} g4_span_part;

typedef struct g4_span_args {
    g4_span_part *part;  /* of tokens x heads rows */
    const float *q;             /* [tokens][ldq]: heads x H values are used */
    int64_t ldq, tokens, heads, head_dim;
    const g4_span *keys;        /* [tokens] what each sees */
    int64_t lo, hi;             /* keys of one span */
    const g4_kv *kv;
    int64_t first;              /* where the key/value head begins in a cache row */
    float *scratch;             /* span_scratch(head_dim) floats */
} g4_span_args;

typedef struct g4_ops {
    /* scratch: per worker, linear_scratch(cols, tokens) floats. */
    void (*linear[G4_DTYPE_COUNT])(const g4_linear_args *a, int64_t r0, int64_t r1,
                                   float *scratch);
    int64_t (*linear_scratch)(int64_t cols, int64_t tokens);
    /* A faster form of some formats, with a law of its own (kernels_opt/panel.h); the
     * reference has none: NULL.  panel_bytes: memory of w's panels, 0: w has no such
     * form.  panel_pack writes panels of rows [r0, r1).  linear_panel multiplies
     * w->panels with a->xq, which round_x made: pieces [p0, p1) of round_pieces. */
    int64_t (*panel_bytes)(const g4_mat *w);
    void (*panel_pack)(unsigned char *panels, const g4_mat *w, int64_t r0, int64_t r1);
    int64_t (*xq_bytes)(int64_t tokens, int64_t cols);
    int64_t (*round_pieces)(int64_t tokens);
    void (*round_x)(const g4_round_args *a, int64_t p0, int64_t p1);
    void (*linear_panel[G4_DTYPE_COUNT])(const g4_linear_args *a, int64_t r0, int64_t r1);
    /* BF16 weights times x rounded to BF16 (kernels_opt/pair.h), which round_pair put in xq,
     * pair_bytes long, for tokens [t0, t1); NULL in the reference. */
    int64_t (*pair_bytes)(int64_t tokens, int64_t cols);
    void (*round_pair)(const g4_round_args *a, int64_t t0, int64_t t1);
    void (*linear_pair)(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch);
    /* The same sum in float64 lanes (each product is exact there), rounded once: for
     * the image and sound embedders, whose error every layer after them magnifies
     * [N36].  Scratch: cols floats. */
    void (*linear64)(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch);

    /* y = w * x * (mean(x^2) + eps)^-0.5; w NULL: no weight.  y may be x. */
    void (*rmsnorm)(float *y, const float *x, const float *w, int64_t n, double eps);
    /* y = (x - mean) / sqrt(var + eps) * w + b. */
    void (*layernorm)(float *y, const float *x, const float *w, const float *b, int64_t n,
                      double eps);
    /* Rotates pairs (i, i + half) of x by cosine/sine [half]. */
    void (*rope)(float *x, const double *cosine, const double *sine, int64_t half);
    void (*attend)(const g4_attend_args *a);
    /* Attention as a stream over the cache as it is stored; NULL in the reference.
     * span_merge puts a part behind those merged so far, [rows] of them. */
    int64_t (*span_scratch)(int64_t head_dim);
    void (*attend_span)(const g4_span_args *a);
    void (*span_merge)(g4_span_part *all, const g4_span_part *part, int64_t rows,
                       int64_t head_dim);
    /* y = gelu_tanh(gate) * up; y may be gate. */
    void (*gelu_mul)(float *y, const float *gate, const float *up, int64_t n);
    /* y = (x + r) * scale, rounded once; y may be x. */
    void (*add_scale)(float *y, const float *x, const float *r, int64_t n, double scale);
    /* x = cap * tanh(x / cap). */
    void (*softcap)(float *x, int64_t n, double cap);
} g4_ops;

/* The plain-C definitions, whole. */
g4_ops g4_ops_ref(void);

#endif
