/* SPDX-License-Identifier: Apache-2.0
 * attend_span on vectors of VEC lanes (law in kernels_opt/span.h); included like
 * c/linear.h.  The rows of a call share a key/value head.  Where the cache's format and
 * widths allow, its rows are read as they lie, converted in registers, for 4 query rows x
 * 4 keys of scores or 8 rows x 3 vectors of values at a time; of keys made from values
 * only the rotated part is written out.  Otherwise rows are widened first. */
#include "kernels_opt/c/pack.h"
#include "kernels_opt/span.h"

enum {
    P_LD = G4_SPAN_LD,    /* a tile of scores may end past the span's last key */
    SPAN_KEYS = 4,        /* scores of one row folded together */
    SPAN_ROWS = REG_ACCS / (PASSES * SPAN_KEYS) >= 4 ? 4
                : REG_ACCS / (PASSES * SPAN_KEYS) < 1 ? 1 : REG_ACCS / (PASSES * SPAN_KEYS),
    AHEAD = 32,           /* keys called for before they are needed */
};

/* How rows of the cache are read: as they lie (F32, F16), or widened to float32 first. */
typedef enum span_form { SPAN_WIDE, SPAN_DIRECT, SPAN_TURNED } span_form;

/* What a call works on: rows of `ld` floats, padded with zeros that change nothing. */
typedef struct span_work {
    const g4_span_args *a;
    int64_t rows, ld, half;
    span_form keys, values;
    float *q;             /* [rows][ld] */
    float *wide;          /* [G4_SPAN_KEYS][ld] keys (or what of them is rotated), values */
    float *p;             /* [rows][P_LD], column k mod G4_SPAN */
    float *space;         /* [ld] and a block */
} span_work;

G4_INLINE vec vec_exp(vec x)
{
    vec even = vec_fma(x, vec_set1(G4_EXP_LOG2E), vec_set1(G4_EXP_EVEN));
    vec n = vec_add(even, vec_set1(-G4_EXP_EVEN));
    vec r = vec_fma(n, vec_set1(-G4_EXP_LN2_HI), x);
    r = vec_fma(n, vec_set1(-G4_EXP_LN2_LO), r);
    vec p = vec_set1(1.0f / 720.0f);
    p = vec_fma(p, r, vec_set1(1.0f / 120.0f));
    p = vec_fma(p, r, vec_set1(1.0f / 24.0f));
    p = vec_fma(p, r, vec_set1(1.0f / 6.0f));
    p = vec_fma(p, r, vec_set1(0.5f));
    p = vec_fma(p, r, vec_set1(1.0f));
    p = vec_fma(p, r, vec_set1(1.0f));
    p = vec_add(vec_times_2_to(p, even), vec_sub(x, x));
    return vec_zero_below(p, x, G4_EXP_LEAST);
}

/* The columns of key k in a row's range: where the span's keys lie in p. */
G4_INLINE int64_t seen_from(const g4_span_args *a, int64_t token)
{
    return a->keys[token].begin > a->lo ? a->keys[token].begin : a->lo;
}

G4_INLINE int64_t seen_to(const g4_span_args *a, int64_t token)
{
    return g4_min(a->keys[token].end, a->hi);
}

/* ---- rows of the cache as float32, padded ---- */

G4_INLINE void widen_row(const span_work *w, float *out, const unsigned char *row, float pad)
{
    const g4_span_args *a = w->a;
    int64_t H = a->head_dim, whole = H - H % G4_LANES, i = 0;
    if (a->kv->dtype == G4_F16) {
        const unsigned char *from = row + 2 * a->first;
        for (; i < whole; i += VEC) vec_store(out + i, vec_f16(from + 2 * i));
        if (i < H) load_tail(out + i, from + 2 * i, H - i, G4_F16, pad);
    } else if (a->kv->dtype == G4_F32) {
        const unsigned char *from = row + 4 * a->first;
        for (; i < whole; i += VEC) vec_store(out + i, vec_load(from + 4 * i));
        if (i < H) load_tail(out + i, from + 4 * i, H - i, G4_F32, pad);
    } else {
        const g4_dtype_info *f = g4_dtype_get(a->kv->dtype);
        int64_t skip = a->first % f->block, n = g4_round_up(skip + H, f->block);
        const unsigned char *from = row + g4_dtype_row_bytes(a->kv->dtype, a->first - skip);
        if (skip == 0 && n == H) {
            f->unpack(out, from, n);
        } else {   /* a head that begins or ends inside a block */
            f->unpack(w->space, from, n);
            memcpy(out, w->space + skip, (size_t)H * sizeof *out);
        }
        for (i = H; i < w->ld; i++) out[i] = pad;
    }
}

/* The rotated part of a key made from its value x: of dimensions i and i + H/2, i < pairs.
 * out may be x. */
G4_INLINE void turn_row(const span_work *w, float *out, const unsigned char *x, g4_dtype type,
                        int64_t slot)
{
    const g4_kv *kv = w->a->kv;
    int64_t half = w->half, i = 0;
    const float *c = kv->turn + slot * 2 * kv->pairs, *s = c + kv->pairs, *norm = kv->key_norm;
    for (; i + VEC <= kv->pairs; i += VEC) {
        vec u = load_as(type, x + (size_t)i * size_of(type));
        vec v = load_as(type, x + (size_t)(i + half) * size_of(type));
        u = vec_mul(u, vec_load(norm + i));
        v = vec_mul(v, vec_load(norm + i + half));
        vec cosine = vec_load(c + i), sine = vec_load(s + i);
        vec_store(out + i, vec_fma(u, cosine, vec_sub(vec_set1(-0.0f), vec_mul(v, sine))));
        vec_store(out + i + half, vec_fma(v, cosine, vec_mul(u, sine)));
    }
    for (; i < kv->pairs; i++) {   /* only of float32 rows */
        float u, v;
        memcpy(&u, x + 4 * i, 4);
        memcpy(&v, x + 4 * (i + half), 4);
        u *= norm[i];
        v *= norm[i + half];
        out[i] = __builtin_fmaf(u, c[i], -(v * s[i]));
        out[i + half] = __builtin_fmaf(v, c[i], u * s[i]);
    }
}

/* Where the head begins in the row of a slot; formats without blocks. */
G4_INLINE const unsigned char *head_at(const span_work *w, const unsigned char *base, int64_t slot)
{
    const g4_kv *kv = w->a->kv;
    return base + (size_t)slot * kv->row_bytes + (size_t)w->a->first * size_of(kv->dtype);
}

/* Calls for a row's head before it is needed: rows lie too far apart for the hardware, and
 * its reading would wait while scores are computed [N52]. */
G4_INLINE void call_row(const span_work *w, const unsigned char *base, int64_t k)
{
    const g4_span_args *a = w->a;
    size_t size = g4_dtype_row_bytes(a->kv->dtype, a->head_dim);
    int64_t skip = a->first % g4_dtype_get(a->kv->dtype)->block;
    const unsigned char *row = base + (size_t)(k % a->kv->slots) * a->kv->row_bytes +
                               g4_dtype_row_bytes(a->kv->dtype, a->first - skip);
    for (size_t i = 0; i < size; i += 64) __builtin_prefetch(row + i, 0, 2);
}

/* And the angles of a key that is made from its value. */
G4_INLINE void call_turn(const g4_kv *kv, int64_t k)
{
    const float *turn = kv->turn + k % kv->slots * 2 * kv->pairs;
    for (int64_t i = 0; i < 2 * kv->pairs; i += 16) __builtin_prefetch(turn + i, 0, 2);
}

G4_INLINE const unsigned char *key_base(const g4_kv *kv)
{
    return kv->key ? kv->key : kv->value;
}

/* Keys (or values) [k, k + n) into w->wide. */
static void widen_rows(const span_work *w, int64_t k, int64_t n, int keys)
{
    const g4_kv *kv = w->a->kv;
    const unsigned char *base = keys ? key_base(kv) : kv->value;
    for (int64_t i = 0; i < n; i++) {
        float *out = w->wide + i * w->ld;
        int64_t slot = (k + i) % kv->slots;
        widen_row(w, out, base + (size_t)slot * kv->row_bytes, keys ? G4_PAD_W : 0.0f);
        if (keys && !kv->key)
            turn_row(w, out, (const unsigned char *)out, G4_F32, slot);
    }
}

/* ---- scores ---- */

/* Dimensions [i, end) of R rows x 4 keys; key[j] + i elements of the type. */
G4_INLINE void advance(vec acc[4][SPAN_KEYS][PASSES], const float *q, int64_t ld,
                       const unsigned char *const key[SPAN_KEYS], int64_t i, int64_t end,
                       const int R, const g4_dtype type)
{
    for (; i < end; i += G4_LANES)
        G4_UNROLL
        for (int s = 0; s < PASSES; s++) {
            vec kv[SPAN_KEYS];
            G4_UNROLL
            for (int j = 0; j < SPAN_KEYS; j++)
                kv[j] = load_as(type, key[j] + (size_t)(i + s * VEC) * size_of(type));
            G4_UNROLL
            for (int h = 0; h < R; h++) {
                vec qv = vec_load(q + h * ld + i + s * VEC);
                G4_UNROLL
                for (int j = 0; j < SPAN_KEYS; j++)
                    acc[h][j][s] = vec_fma(qv, kv[j], acc[h][j][s]);
            }
        }
}

/* p of R rows from r on; wide: their widened rows, or rotated parts; R, form, type constant. */
G4_INLINE void span_scores(const span_work *w, int64_t r, const unsigned char *const key[SPAN_KEYS],
                           const unsigned char *const wide[SPAN_KEYS], float *p, const int R,
                           const span_form form, const g4_dtype type)
{
    vec acc[4][SPAN_KEYS][PASSES];
    G4_UNROLL
    for (int h = 0; h < R; h++)
        G4_UNROLL
        for (int j = 0; j < SPAN_KEYS; j++)
            G4_UNROLL
            for (int s = 0; s < PASSES; s++) acc[h][j][s] = vec_zero();
    const float *q = w->q + r * w->ld;
    int64_t pairs = w->a->kv->pairs;
    if (form == SPAN_WIDE) advance(acc, q, w->ld, wide, 0, w->ld, R, G4_F32);
    if (form == SPAN_DIRECT) advance(acc, q, w->ld, key, 0, w->ld, R, type);
    if (form == SPAN_TURNED) {
        advance(acc, q, w->ld, wide, 0, pairs, R, G4_F32);
        advance(acc, q, w->ld, key, pairs, w->half, R, type);
        advance(acc, q, w->ld, wide, w->half, w->half + pairs, R, G4_F32);
        advance(acc, q, w->ld, key, w->half + pairs, w->ld, R, type);
    }
    float lane[SPAN_KEYS * G4_LANES];
    G4_UNROLL
    for (int h = 0; h < R; h++) {
        G4_UNROLL
        for (int j = 0; j < SPAN_KEYS; j++)
            G4_UNROLL
            for (int s = 0; s < PASSES; s++)
                vec_store(lane + j * G4_LANES + s * VEC, acc[h][j][s]);
        fold4(p + (r + h) * P_LD, lane);
    }
}

/* All rows against 4 keys, whose columns begin at p. */
G4_INLINE void score_tile(const span_work *w, const unsigned char *const key[SPAN_KEYS],
                          const unsigned char *const wide[SPAN_KEYS], float *p,
                          const span_form form, const g4_dtype type)
{
    int64_t r = 0;
    for (; SPAN_ROWS >= 4 && r + 4 <= w->rows; r += 4)
        span_scores(w, r, key, wide, p, 4, form, type);
    for (; SPAN_ROWS >= 2 && r + 2 <= w->rows; r += 2)
        span_scores(w, r, key, wide, p, 2, form, type);
    for (; r < w->rows; r++) span_scores(w, r, key, wide, p, 1, form, type);
}

/* Scores of keys [k, hi), columns from c on; up to 3 columns behind the last hold nothing
 * of use (the last key again). */
G4_INLINE void score_keys(const span_work *w, int64_t k, int64_t hi, int64_t c,
                          const span_form form, const g4_dtype type)
{
    const g4_kv *kv = w->a->kv;
    for (; k < hi; k += SPAN_KEYS, c += SPAN_KEYS) {
        const unsigned char *key[SPAN_KEYS], *wide[SPAN_KEYS];
        for (int64_t j = 0; j < SPAN_KEYS; j++) {
            int64_t at = g4_min(k + j, hi - 1), slot = at % kv->slots;
            if (k + j + AHEAD < hi) call_row(w, key_base(kv), k + j + AHEAD);
            if (k + j + AHEAD < hi && !kv->key) call_turn(kv, k + j + AHEAD);
            key[j] = head_at(w, key_base(kv), slot);
            wide[j] = (const unsigned char *)(w->wide + j * w->ld);
            if (form == SPAN_TURNED) turn_row(w, w->wide + j * w->ld, key[j], type, slot);
        }
        if (form == SPAN_WIDE) widen_rows(w, k, g4_min(hi - k, SPAN_KEYS), 1);
        score_tile(w, key, wide, w->p + c, form, type);
    }
}

/* ---- softmax ---- */

/* Columns [lo, hi) of p become exp(p - top), all others of [begin, end) 0: begin and end
 * are multiples of 16, so that column k is in lane k mod 16. */
G4_INLINE void soften(float *p, int64_t lo, int64_t hi, int64_t begin, int64_t end, float *top,
                      float *sum)
{
    vec most[PASSES], total[PASSES];
    float lane[4 * G4_LANES] = { 0 }, out[4];
    for (int64_t i = begin; i < lo; i++) p[i] = -__builtin_inff();
    for (int64_t i = hi; i < end; i++) p[i] = -__builtin_inff();
    G4_UNROLL
    for (int s = 0; s < PASSES; s++) {
        most[s] = vec_set1(p[lo]);
        total[s] = vec_zero();
    }
    for (int64_t i = begin; i < end; i += G4_LANES)
        G4_UNROLL
        for (int s = 0; s < PASSES; s++) most[s] = vec_max(vec_load(p + i + s * VEC), most[s]);
    G4_UNROLL
    for (int s = 0; s < PASSES; s++) vec_store(lane + s * VEC, most[s]);
    *top = p[lo];
    for (int i = 0; i < G4_LANES; i++) *top = lane[i] > *top ? lane[i] : *top;
    for (int64_t i = begin; i < end; i += G4_LANES)
        G4_UNROLL
        for (int s = 0; s < PASSES; s++) {
            vec e = vec_exp(vec_sub(vec_load(p + i + s * VEC), vec_set1(*top)));
            vec_store(p + i + s * VEC, e);
            total[s] = vec_add(total[s], e);
        }
    G4_UNROLL
    for (int s = 0; s < PASSES; s++) vec_store(lane + s * VEC, total[s]);
    fold4(out, lane);
    *sum = out[0];
}

/* ---- values ---- */

/* acc of R rows from r on, D vectors from d on, plus n values: rows of `step` bytes from
 * `value` on.  R, D, type constant. */
G4_INLINE void value_tile(const span_work *w, const unsigned char *value, size_t step, int64_t r,
                          int64_t d, int64_t c, int64_t n, const int R, const int D,
                          const g4_dtype type)
{
    vec acc[8][8];
    float *out = w->a->part->acc + r * w->ld + d;
    const float *p = w->p + r * P_LD + c;
    value += (size_t)d * size_of(type);
    G4_UNROLL
    for (int h = 0; h < R; h++)
        G4_UNROLL
        for (int j = 0; j < D; j++) acc[h][j] = vec_load(out + h * w->ld + j * VEC);
    for (int64_t k = 0; k < n; k++, value += step) {
        vec v[8];
        G4_UNROLL
        for (int j = 0; j < D; j++) v[j] = load_as(type, value + (size_t)(j * VEC) * size_of(type));
        G4_UNROLL
        for (int h = 0; h < R; h++) {
            vec ph = vec_set1(p[h * P_LD + k]);
            G4_UNROLL
            for (int j = 0; j < D; j++) acc[h][j] = vec_fma(ph, v[j], acc[h][j]);
        }
    }
    G4_UNROLL
    for (int h = 0; h < R; h++)
        G4_UNROLL
        for (int j = 0; j < D; j++) vec_store(out + h * w->ld + j * VEC, acc[h][j]);
}

G4_INLINE void value_rows(const span_work *w, const unsigned char *value, size_t step, int64_t r,
                          int64_t c, int64_t n, const int R, const g4_dtype type)
{
    enum { MOST = 8 };
    const int D = REG_ACCS / R < 1 ? 1 : REG_ACCS / R < MOST ? REG_ACCS / R : MOST;
    int64_t d = 0;
    for (; d + D * VEC <= w->ld; d += D * VEC) value_tile(w, value, step, r, d, c, n, R, D, type);
    for (; d < w->ld; d += VEC) value_tile(w, value, step, r, d, c, n, R, 1, type);
}

/* n values that lie one behind the other. */
G4_INLINE void value_block(const span_work *w, const unsigned char *value, size_t step, int64_t c,
                           int64_t n, const g4_dtype type)
{
    int64_t r = 0;
    for (; REG_ACCS >= 24 && r + 8 <= w->rows; r += 8)
        value_rows(w, value, step, r, c, n, 8, type);
    for (; r + 4 <= w->rows; r += 4) value_rows(w, value, step, r, c, n, 4, type);
    for (; r + 2 <= w->rows; r += 2) value_rows(w, value, step, r, c, n, 2, type);
    for (; r < w->rows; r++) value_rows(w, value, step, r, c, n, 1, type);
}

/* Values [k, hi), columns from c on. */
G4_INLINE void add_values(const span_work *w, int64_t k, int64_t hi, int64_t c,
                          const span_form form, const g4_dtype type)
{
    const g4_kv *kv = w->a->kv;
    for (int64_t n; k < hi; k += n, c += n) {
        int64_t slot = k % kv->slots;
        n = g4_min(hi - k, form == SPAN_WIDE ? G4_SPAN_KEYS : AHEAD);
        n = form == SPAN_WIDE ? n : g4_min(n, kv->slots - slot);   /* to the ring's end */
        for (int64_t i = k + AHEAD; i < g4_min(k + AHEAD + n, hi); i++) call_row(w, kv->value, i);
        if (form == SPAN_WIDE) {
            widen_rows(w, k, n, 0);
            value_block(w, (const unsigned char *)w->wide, (size_t)w->ld * sizeof(float), c, n,
                        G4_F32);
        } else {
            value_block(w, head_at(w, kv->value, slot), kv->row_bytes, c, n, type);
        }
    }
}

/* ---- the op ---- */

static void copy_queries(const span_work *w)
{
    const g4_span_args *a = w->a;
    for (int64_t r = 0; r < w->rows; r++) {
        float *q = w->q + r * w->ld;
        memcpy(q, a->q + r / a->heads * a->ldq + r % a->heads * a->head_dim,
               (size_t)a->head_dim * sizeof *q);
        for (int64_t i = a->head_dim; i < w->ld; i++) q[i] = G4_PAD_X;
        if (a->kv->key) continue;
        for (int64_t i = a->kv->pairs; i < w->half; i++) q[i] *= a->kv->key_norm[i];
        for (int64_t i = w->half + a->kv->pairs; i < a->head_dim; i++) q[i] *= a->kv->key_norm[i];
    }
}

static void score_span(const span_work *w, int64_t lo, int64_t hi, int64_t c)
{
    int narrow = w->a->kv->dtype == G4_F16;
    if (w->keys == SPAN_WIDE) score_keys(w, lo, hi, c, SPAN_WIDE, G4_F32);
    else if (w->keys == SPAN_DIRECT && narrow) score_keys(w, lo, hi, c, SPAN_DIRECT, G4_F16);
    else if (w->keys == SPAN_DIRECT) score_keys(w, lo, hi, c, SPAN_DIRECT, G4_F32);
    else if (narrow) score_keys(w, lo, hi, c, SPAN_TURNED, G4_F16);
    else score_keys(w, lo, hi, c, SPAN_TURNED, G4_F32);
}

static void value_span(const span_work *w, int64_t lo, int64_t hi, int64_t c)
{
    int narrow = w->a->kv->dtype == G4_F16;
    if (w->values == SPAN_WIDE) add_values(w, lo, hi, c, SPAN_WIDE, G4_F32);
    else if (narrow) add_values(w, lo, hi, c, SPAN_DIRECT, G4_F16);
    else add_values(w, lo, hi, c, SPAN_DIRECT, G4_F32);
}

static void soften_rows(const span_work *w, int64_t begin, int64_t end)
{
    const g4_span_args *a = w->a;
    int64_t base = a->lo - a->lo % G4_SPAN;
    for (int64_t r = 0; r < w->rows; r++) {
        int64_t lo = seen_from(a, r / a->heads), hi = seen_to(a, r / a->heads);
        float *p = w->p + r * P_LD;
        if (lo < hi) {
            soften(p, lo - base, hi - base, begin, end, &a->part->top[r], &a->part->sum[r]);
        } else {
            memset(p + begin, 0, (size_t)(end - begin) * sizeof *p);
            a->part->top[r] = a->part->sum[r] = 0.0f;
        }
    }
}

void G4_FN(attend_span_f32)(const g4_span_args *a)
{
    const g4_kv *kv = a->kv;
    span_work w = { .a = a, .rows = a->tokens * a->heads, .half = a->head_dim / 2,
                    .ld = g4_round_up(a->head_dim, G4_LANES) };
    w.q = a->scratch;
    w.wide = w.q + G4_SPAN_ROWS * w.ld;
    w.p = w.wide + G4_SPAN_KEYS * w.ld;
    w.space = w.p + G4_SPAN_ROWS * P_LD;
    int direct = w.ld == a->head_dim && (kv->dtype == G4_F16 || kv->dtype == G4_F32);
    int turned = direct && w.half % G4_LANES == 0 && kv->pairs % G4_LANES == 0;
    w.values = direct ? SPAN_DIRECT : SPAN_WIDE;
    w.keys = kv->key ? w.values : turned ? SPAN_TURNED : SPAN_WIDE;
    int64_t lo = a->hi, hi = a->lo;   /* what any row sees */
    for (int64_t t = 0; t < a->tokens; t++) {
        lo = g4_min(lo, seen_from(a, t));
        hi = seen_to(a, t) > hi ? seen_to(a, t) : hi;
    }
    int64_t base = a->lo - a->lo % G4_SPAN;
    copy_queries(&w);
    score_span(&w, lo, hi, lo - base);
    int64_t begin = (lo - base) / G4_LANES * G4_LANES, end = g4_round_up(hi - base, G4_LANES);
    if (lo >= hi) begin = end = 0;
    soften_rows(&w, begin, end);
    memset(a->part->acc, 0, (size_t)(w.rows * w.ld) * sizeof(float));
    value_span(&w, lo, hi, lo - base);
    for (int64_t i = 0; i < w.rows * w.ld; i += VEC)
        vec_store(a->part->acc + i, vec_add(vec_load(a->part->acc + i), vec_zero()));
}

void G4_FN(span_merge_f32)(g4_span_part *all, const g4_span_part *part, int64_t rows,
                           int64_t head_dim)
{
    int64_t ld = g4_round_up(head_dim, G4_LANES);
    for (int64_t r = 0; r < rows; r++) {
        float *x = all->acc + r * ld, was = all->sum[r], top = all->top[r], more = part->top[r];
        const float *y = part->acc + r * ld;
        if (part->sum[r] == 0.0f) continue;   /* NaN is not 0 */
        if (was == 0.0f) {
            memcpy(x, y, (size_t)ld * sizeof *x);
            all->top[r] = more;
            all->sum[r] = part->sum[r];
            continue;
        }
        top = more > top ? more : top;
        float factor[2 * VEC];
        vec_store(factor, vec_exp(vec_set1(all->top[r] - top)));
        vec_store(factor + VEC, vec_exp(vec_set1(more - top)));
        vec a = vec_set1(factor[0]), b = vec_set1(factor[VEC]);
        all->top[r] = top;
        all->sum[r] = __builtin_fmaf(part->sum[r], factor[VEC], was * factor[0]);
        for (int64_t i = 0; i < ld; i += VEC)
            vec_store(x + i, vec_fma(vec_load(y + i), b, vec_mul(vec_load(x + i), a)));
    }
}
