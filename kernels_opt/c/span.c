/* SPDX-License-Identifier: Apache-2.0
 * attend_span and span_merge in plain C: the definitions (law in kernels_opt/span.h). */
#include "kernels_opt/span.h"

#include "ref/dtype/dtype.h"

#include <string.h>

enum { UNPACKED = 1024 };   /* values of a cache row unpacked at once, whole blocks */

static int64_t padded(int64_t n)
{
    return g4_round_up(n, G4_LANES);
}

/* Makes room for what the widest kernel wants: queries, widened cache rows, a block of the
 * cache's format beside them, and p. */
int64_t g4_span_scratch(int64_t head_dim)
{
    int64_t n = padded(head_dim);
    return (G4_SPAN_ROWS + G4_SPAN_KEYS) * n + G4_SPAN_ROWS * G4_SPAN_LD + n + UNPACKED;
}

static float exp_of(float x)
{
    float even = __builtin_fmaf(x, G4_EXP_LOG2E, G4_EXP_EVEN), n = even - G4_EXP_EVEN;
    float r = __builtin_fmaf(n, -G4_EXP_LN2_LO, __builtin_fmaf(n, -G4_EXP_LN2_HI, x));
    float p = 1.0f / 720.0f;
    const float term[] = { 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f };
    for (size_t i = 0; i < sizeof term / sizeof *term; i++) p = __builtin_fmaf(p, r, term[i]);
    uint32_t bits, up;
    memcpy(&bits, &p, 4);
    memcpy(&up, &even, 4);
    bits += up << 23;
    memcpy(&p, &bits, 4);
    return x < G4_EXP_LEAST ? 0.0f : p + (x - x);
}

static float fold(const float lane[G4_LANES])
{
    float l[G4_LANES];
    memcpy(l, lane, sizeof l);
    for (int half = G4_LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) l[i] += l[i + half];
    return l[0];
}

static float dot(const float *a, const float *b, int64_t n)
{
    float lane[G4_LANES] = { 0 };
    for (int64_t i = 0; i < n; i++)
        lane[i % G4_LANES] = __builtin_fmaf(a[i], b[i], lane[i % G4_LANES]);
    return fold(lane);
}

/* Values [first, first + H) of a packed row: from the beginning of the block they lie in. */
static void widen(float *out, const unsigned char *row, const g4_span_args *a, float *space)
{
    const g4_dtype_info *f = g4_dtype_get(a->kv->dtype);
    int64_t at = a->first - a->first % f->block, skip = a->first - at;
    const unsigned char *data = row + g4_dtype_row_bytes(a->kv->dtype, at);
    for (int64_t i = 0; i < skip + a->head_dim;) {
        int64_t left = g4_round_up(skip + a->head_dim - i, f->block);
        int64_t n = g4_min(left, UNPACKED);   /* UNPACKED is a multiple of every block */
        f->unpack(space, data + g4_dtype_row_bytes(a->kv->dtype, i), n);
        for (int64_t k = i < skip ? skip - i : 0; k < n && i + k < skip + a->head_dim; k++)
            out[i + k - skip] = space[k];
        i += n;
    }
}

static void read_value(float *out, int64_t k, const g4_span_args *a, float *space)
{
    widen(out, a->kv->value + (size_t)(k % a->kv->slots) * a->kv->row_bytes, a, space);
}

static void read_key(float *out, int64_t k, const g4_span_args *a, float *space)
{
    const g4_kv *kv = a->kv;
    int64_t slot = k % kv->slots, half = a->head_dim / 2;
    if (kv->key) {
        widen(out, kv->key + (size_t)slot * kv->row_bytes, a, space);
        return;
    }
    read_value(out, k, a, space);
    const float *c = kv->turn + slot * 2 * kv->pairs, *s = c + kv->pairs;
    for (int64_t i = 0; i < kv->pairs; i++) {
        float x = kv->key_norm[i] * out[i], y = kv->key_norm[i + half] * out[i + half];
        out[i] = __builtin_fmaf(x, c[i], -(y * s[i]));
        out[i + half] = __builtin_fmaf(y, c[i], x * s[i]);
    }
}

/* p of row r over keys [lo, hi), which it sees. */
static void soften(const g4_span_args *a, int64_t r, float *p, int64_t lo, int64_t hi)
{
    float top = p[lo % G4_SPAN], lane[G4_LANES] = { 0 };
    for (int64_t k = lo; k < hi; k++) top = p[k % G4_SPAN] > top ? p[k % G4_SPAN] : top;
    for (int64_t k = lo; k < hi; k++) {
        p[k % G4_SPAN] = exp_of(p[k % G4_SPAN] - top);
        lane[k % G4_LANES] += p[k % G4_SPAN];
    }
    a->part->top[r] = top;
    a->part->sum[r] = fold(lane);
}

/* What a row sees of the call's keys. */
static g4_span seen(const g4_span_args *a, int64_t token)
{
    const g4_span *k = &a->keys[token];
    return (g4_span){ k->begin > a->lo ? k->begin : a->lo, g4_min(k->end, a->hi) };
}

static void attend_row(const g4_span_args *a, int64_t r, g4_span any)
{
    int64_t H = a->head_dim, ld = padded(H);
    float *row = a->scratch, *query = row + ld, *space = query + ld, *p = space + UNPACKED;
    float *acc = a->part->acc + r * ld;
    const float *q = a->q + r / a->heads * a->ldq + r % a->heads * H;
    g4_span own = seen(a, r / a->heads);
    memset(acc, 0, (size_t)ld * sizeof *acc);
    memset(p, 0, G4_SPAN * sizeof *p);
    a->part->top[r] = a->part->sum[r] = 0.0f;
    for (int64_t i = 0; i < H; i++) {
        int plain = a->kv->key || i % (H / 2) < a->kv->pairs;
        query[i] = plain ? q[i] : q[i] * a->kv->key_norm[i];
    }
    for (int64_t k = own.begin; k < own.end; k++) {
        read_key(row, k, a, space);
        p[k % G4_SPAN] = dot(query, row, H);
    }
    if (own.begin < own.end) soften(a, r, p, own.begin, own.end);
    for (int64_t k = any.begin; k < any.end; k++) {
        read_value(row, k, a, space);
        for (int64_t i = 0; i < H; i++) acc[i] = __builtin_fmaf(p[k % G4_SPAN], row[i], acc[i]);
    }
    for (int64_t i = 0; i < H; i++) acc[i] += 0.0f;
}

void g4_attend_span_c(const g4_span_args *a)
{
    g4_span any = { a->hi, a->lo };
    for (int64_t t = 0; t < a->tokens; t++) {
        g4_span own = seen(a, t);
        any.begin = g4_min(any.begin, own.begin);
        any.end = own.end > any.end ? own.end : any.end;
    }
    for (int64_t r = 0; r < a->tokens * a->heads; r++) attend_row(a, r, any);
}

void g4_span_merge_c(g4_span_part *all, const g4_span_part *part, int64_t rows,
                     int64_t head_dim)
{
    int64_t ld = padded(head_dim);
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
        float a = exp_of(all->top[r] - top), b = exp_of(more - top);
        all->top[r] = top;
        all->sum[r] = __builtin_fmaf(part->sum[r], b, was * a);
        for (int64_t i = 0; i < ld; i++) x[i] = __builtin_fmaf(y[i], b, x[i] * a);
    }
}
