/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/bench_kernels.h"

#include "harness/peak.h"
#include "kernels_opt/pair.h"
#include "kernels_opt/panel.h"
#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GRAIN = 64,              /* rows a piece, as the model asks for them */
    WEIGHT_MIB = 512,
    ATTEND_KEYS = 4096,
};

/* A call that would take longer, by a kernel that slow, is measured on a corner of it. */
static const double SLOW_SECONDS = 0.1, SLOW_SHARE = 0.03;
/* A short call is repeated; after ENOUGH there is no round beyond BENCH_ROUNDS_LEAST. */
static const double CALL_SECONDS = 0.004, PEAK_SECONDS = 0.004, ENOUGH_SECONDS = 40;

double bench_seconds(const bench *b, const bench_row *row)
{
    double v[BENCH_ROUNDS];
    memcpy(v, row->seconds, sizeof v);
    return g4_median(v, b->rounds);
}

double bench_share(const bench *b, const bench_row *row)
{
    double v[BENCH_ROUNDS];
    for (int i = 0; i < b->rounds; i++) v[i] = row->flops / row->seconds[i] / row->peak[i];
    return g4_median(v, b->rounds);
}

static int is_linear(const bench_row *r)
{
    return r->kind == BENCH_LINEAR || r->kind == BENCH_PANEL || r->kind == BENCH_PAIR;
}

static double peak_now(const bench *b, const bench_row *r)
{
    return r->kind == BENCH_PANEL  ? g4_peak_int8(b->par, r->isa, PEAK_SECONDS)
           : r->kind == BENCH_PAIR ? g4_peak_bf16(b->par, r->isa, PEAK_SECONDS)
                                   : g4_peak_fma(b->par, PEAK_SECONDS);
}

/* ---- running one row once ---- */

typedef struct call {
    const bench_row *row;
    const bench *b;
    g4_linear_args linear;
    g4_dtype dtype;
} call;

static void run_linear(void *ctx, int64_t begin, int64_t end, int worker)
{
    call *c = ctx;
    float *scratch = c->b->scratch[worker];
    if (c->row->kind == BENCH_PAIR) c->row->ops.linear_pair(&c->linear, begin, end, scratch);
    else c->row->ops.linear[c->dtype](&c->linear, begin, end, scratch);
}

static void run_panel(void *ctx, int64_t begin, int64_t end, int worker)
{
    call *c = ctx;
    (void)worker;
    c->row->ops.linear_panel[c->dtype](&c->linear, begin, end);
}

/* A piece is one key/value head's query: what the model gives a worker. */
static void run_attend(void *ctx, int64_t begin, int64_t end, int worker)
{
    const bench_row *r = ((call *)ctx)->row;
    const bench *b = ((call *)ctx)->b;
    int64_t width = r->rows * r->cols, span = r->tokens * r->cols;
    const float *kv = (const float *)(const void *)b->weights;
    for (int64_t i = begin; i < end; i++) {
        g4_attend_args a = {
            .out = b->y + i * width, .q = b->x + i * width, .key = kv + 2 * i * span,
            .value = kv + (2 * i + 1) * span, .heads = r->rows, .head_dim = r->cols,
            .stride = r->cols, .slots = r->tokens, .lo = 0, .hi = r->tokens,
            .scratch = b->scratch[worker],
        };
        r->ops.attend(&a);
    }
}

/* One token behind a span of an F16 cache; a full layer's keeps values alone, whatever numbers
 * those, the norm and the angles are. */
static void run_span(void *ctx, int64_t begin, int64_t end, int worker)
{
    const bench_row *r = ((call *)ctx)->row;
    const bench *b = ((call *)ctx)->b;
    const float *numbers = (const float *)(const void *)b->weights;
    int64_t H = r->cols, halved = r->per_layer[1];
    size_t row = g4_dtype_row_bytes(G4_F16, H), span = (size_t)r->tokens * row;
    g4_span keys = { 0, r->tokens };
    for (int64_t i = begin; i < end; i++) {
        unsigned char *at = b->weights + (size_t)(2 * i) * span;
        float *acc = b->y + i * (r->rows * g4_round_up(H, G4_LANES) + 2 * r->rows);
        g4_span_part part = { acc + 2 * r->rows, acc, acc + r->rows };
        g4_kv kv = { .dtype = G4_F16, .value = at, .key = halved ? NULL : at + span,
                     .row_bytes = row, .width = H, .slots = r->tokens, .head_dim = H,
                     .key_norm = numbers, .turn = numbers, .pairs = halved ? H / 8 : H / 2 };
        g4_span_args a = { &part, b->x + i * r->rows * H, r->rows * H, 1, r->rows, H, &keys, 0,
                           r->tokens, &kv, 0, b->scratch[worker] };
        r->ops.attend_span(&a);
    }
}

static void merge(const bench_row *r, const bench *b, int64_t i, float *s)
{
    g4_span_part all = { b->y + i * r->cols, s, s + 1 };
    g4_span_part part = { b->x + i * r->cols, s + 2, s + 3 };
    s[0] = s[2] = 0;
    s[1] = s[3] = 1;
    r->ops.span_merge(&all, &part, 1, r->cols);
}

static void run_rows(void *ctx, int64_t begin, int64_t end, int worker)
{
    const bench_row *r = ((call *)ctx)->row;
    const bench *b = ((call *)ctx)->b;
    const float *w = (const float *)(const void *)b->weights;
    const double *angle = (const double *)(const void *)b->weights;
    for (int64_t i = begin; i < end; i++) {
        float *y = b->y + i * r->cols;
        const float *x = b->x + i * r->cols;
        if (strcmp(r->op, "round_x") == 0) {
            g4_round_args round = { b->xq, b->x, r->cols, r->tokens, r->cols, G4_Q4_K };
            r->ops.round_x(&round, i, i + 1);
        }
        if (strcmp(r->op, "round_pair") == 0) {
            g4_round_args round = { b->xq, b->x, r->cols, r->tokens, r->cols, G4_BF16 };
            r->ops.round_pair(&round, i, i + 1);
        }
        if (strcmp(r->op, "span_merge") == 0) merge(r, b, i, b->scratch[worker]);
        if (strcmp(r->op, "rmsnorm") == 0) r->ops.rmsnorm(y, x, w, r->cols, 1e-6);
        if (strcmp(r->op, "layernorm") == 0) r->ops.layernorm(y, x, w, w, r->cols, 1e-5);
        if (strcmp(r->op, "rope") == 0) r->ops.rope(y, angle, angle, r->cols / 2);
        if (strcmp(r->op, "gelu_mul") == 0) r->ops.gelu_mul(y, x, x, r->cols);
        if (strcmp(r->op, "add_scale") == 0) r->ops.add_scale(y, x, x, r->cols, 0.5);
        if (strcmp(r->op, "softcap") == 0) r->ops.softcap(y, r->cols, 30.0);
    }
}

/* The weights are any bytes of the format, or of its panels; x is rounded beforehand:
 * several matrices share that, and round_x has a line of its own. */
static void set_linear(bench *b, const bench_row *r, call *c, g4_mat *w)
{
    c->dtype = (g4_dtype)g4_dtype_by_name(r->dtype);
    size_t row = g4_dtype_row_bytes(c->dtype, r->cols), size = row * (size_t)r->rows;
    *w = (g4_mat){ c->dtype, r->rows, r->cols, row, NULL, NULL };
    if (r->kind == BENCH_PANEL) size = (size_t)r->ops.panel_bytes(w);
    /* Walk through the buffer: weights are not in the caches when a layer begins. */
    size_t step = (size + 63) / 64 * 64;
    if (b->weight_at + step > b->weight_bytes) b->weight_at = 0;
    w->data = b->weights + b->weight_at;
    if (r->kind == BENCH_PANEL) w->panels = w->data;
    b->weight_at += step;
    c->linear = (g4_linear_args){ b->y, r->rows, b->x, r->cols, r->tokens, w, b->xq };
    g4_round_args round = { b->xq, b->x, r->cols, r->tokens, r->cols, c->dtype };
    if (r->kind == BENCH_PANEL) r->ops.round_x(&round, 0, r->ops.round_pieces(r->tokens));
    if (r->kind == BENCH_PAIR) r->ops.round_pair(&round, 0, r->tokens);
}

static double run_row(bench *b, const bench_row *r)
{
    call c = { .row = r, .b = b };
    g4_mat w;
    if (is_linear(r)) set_linear(b, r, &c, &w);
    double start = g4_now();
    if (is_linear(r))
        g4_par_for(b->par, r->rows, GRAIN, r->kind == BENCH_PANEL ? run_panel : run_linear, &c);
    else if (r->kind == BENCH_ATTEND || r->kind == BENCH_SPAN)
        g4_par_for(b->par, 2 * g4_par_threads(b->par), 1,
                   r->kind == BENCH_ATTEND ? run_attend : run_span, &c);
    else
        g4_par_for(b->par, strcmp(r->op, "round_x") ? r->tokens : r->ops.round_pieces(r->tokens), 1,
                   run_rows, &c);
    return g4_now() - start;
}

/* ---- the list of rows ---- */

static bench_row *add_row(bench *b, const g4_kernel *k, bench_kind kind, const char *label,
                          int64_t rows, int64_t cols, int64_t tokens)
{
    bench_row *r = &b->row[b->rows++];
    *r = (bench_row){ .kind = kind, .op = k->op, .dtype = k->dtype, .isa = k->isa,
                      .ops = g4_ops_definitions(), .rows = rows, .cols = cols, .tokens = tokens };
    g4_isa_print(r->isa_name, k->isa);
    if (k->put) k->put(&r->ops);
    if (kind == BENCH_ROW)
        snprintf(r->size, sizeof r->size, "%lld", (long long)cols);
    else
        snprintf(r->size, sizeof r->size, "%s %lldx%lld", label, (long long)rows, (long long)cols);
    return r;
}

/* The distinct matrices of a sliding and a full layer: q, k (= v), o, gate (= up), down.
 * All are measured of BF16, which checkpoints hold; the other formats' many kernels on gate
 * alone: nearly half of the weights. */
enum { MATRICES = 8, GATE = 3 };

static void add_linear(bench *b, const g4_kernel *k, bench_kind kind, const g4_config *c)
{
    static const int64_t tokens[] = { BENCH_PREFILL, 8, 1 };
    const int64_t D = c->hidden_size, F = c->intermediate_size, N = c->num_attention_heads;
    const int64_t *H = c->head_dim, *K = c->kv_heads;
    const struct {
        const char *name;
        int64_t rows, cols, uses[2];
    } matrix[MATRICES] = {
        { "q_proj", N * H[0], D, { 1, 0 } },
        { "k_proj v_proj", K[0] * H[0], D, { 2, 0 } },
        { "o_proj", D, N * H[0], { 1, 0 } },
        { "gate_proj up_proj", F, D, { 2, 2 } },
        { "down_proj", D, F, { 1, 1 } },
        { "full q_proj", N * H[1], D, { 0, 1 } },
        { "full k_proj", K[1] * H[1], D, { 0, c->attention_k_eq_v ? 1 : 2 } },
        { "full o_proj", D, N * H[1], { 0, 1 } },
    };
    g4_dtype type = (g4_dtype)g4_dtype_by_name(k->dtype);
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
        for (int m = 0; m < MATRICES; m++) {
            if (m != GATE && (strcmp(k->dtype, "bf16") != 0 || k->isa == G4_ISA_c)) continue;
            bench_row *r = add_row(b, k, kind, matrix[m].name, matrix[m].rows,
                                   matrix[m].cols, tokens[t]);
            memcpy(r->per_layer, matrix[m].uses, sizeof r->per_layer);
            r->flops = 2.0 * (double)r->rows * (double)r->cols * (double)r->tokens;
            r->bytes = (double)r->rows * (double)g4_dtype_row_bytes(type, r->cols);
        }
}

/* The heads of one key/value head, for a few of those, in both kinds of layer. */
static void add_attention(bench *b, const g4_kernel *k, const g4_config *c)
{
    bench_kind kind = strcmp(k->op, "attend") == 0 ? BENCH_ATTEND : BENCH_SPAN;
    for (int layer = 0; layer < 2; layer++) {
        int64_t keys = kind == BENCH_SPAN || k->isa == G4_ISA_c ? G4_SPAN
                       : layer == G4_SLIDING ? c->sliding_window : ATTEND_KEYS;
        bench_row *r = add_row(b, k, kind, layer == G4_SLIDING ? "sliding" : "full",
                               c->num_attention_heads / c->kv_heads[layer], c->head_dim[layer],
                               keys);
        double pieces = 2.0 * g4_par_threads(b->par), span = (double)keys * (double)r->cols;
        int halved = layer != G4_SLIDING && c->attention_k_eq_v;
        r->per_layer[1] = kind == BENCH_SPAN && halved;
        r->flops = pieces * 4.0 * span * (double)r->rows;
        r->bytes = pieces * span * (kind == BENCH_ATTEND ? 8 : r->per_layer[1] ? 2 : 4);
    }
}

static void add_kernel(bench *b, const g4_kernel *k, const g4_config *c)
{
    if (strncmp(k->op, "linear", 6) == 0) {
        add_linear(b, k, strcmp(k->op, "linear") == 0        ? BENCH_LINEAR
                         : strcmp(k->op, "linear_pair") == 0 ? BENCH_PAIR : BENCH_PANEL, c);
        return;
    }
    if (strncmp(k->op, "attend", 6) == 0) {
        add_attention(b, k, c);
        return;
    }
    int64_t n = strcmp(k->op, "gelu_mul") == 0  ? c->intermediate_size
                : strcmp(k->op, "rope") == 0    ? c->num_attention_heads * c->head_dim[0]
                                                : c->hidden_size;
    bench_row *r = add_row(b, k, BENCH_ROW, "", 1, n, BENCH_PREFILL);
    int reads = strcmp(k->op, "gelu_mul") == 0 || strcmp(k->op, "add_scale") == 0 ? 2 : 1;
    r->bytes = (double)n * BENCH_PREFILL * (reads + 1) * sizeof(float);
}

/* ---- operands ---- */

static g4_status make_operands(bench *b, const g4_config *c, g4_arena *arena, g4_err *err)
{
    int threads = g4_par_threads(b->par);
    int64_t widest = c->intermediate_size, most = 0;
    for (int i = 0; i < b->rows; i++) {
        const bench_row *r = &b->row[i];
        int64_t need = is_linear(r) ? r->ops.linear_scratch(r->cols, r->tokens)
                       : r->kind == BENCH_ATTEND ? r->rows * r->tokens
                       : r->kind == BENCH_SPAN ? r->ops.span_scratch(r->cols) : 4;
        int64_t width = r->rows > r->cols ? r->rows : r->cols;
        double size = is_linear(r) ? r->bytes + 64 : 0;
        if (!is_linear(r) && r->kind != BENCH_ROW)   /* queries of all pieces */
            width = r->rows * r->cols * threads;
        if (need > most) most = need;
        if (width > widest) widest = width;
        if ((double)b->weight_bytes < size) b->weight_bytes = (size_t)size;
        if (r->kind == BENCH_ATTEND && (double)b->weight_bytes < r->bytes)
            b->weight_bytes = (size_t)r->bytes;
    }
    if (b->weight_bytes < (size_t)WEIGHT_MIB << 20) b->weight_bytes = (size_t)WEIGHT_MIB << 20;
    b->weights = g4_arena_alloc(arena, b->weight_bytes, 1);
    b->x = g4_arena_alloc(arena, (size_t)widest * BENCH_PREFILL, sizeof *b->x);
    b->y = g4_arena_alloc(arena, (size_t)widest * BENCH_PREFILL, sizeof *b->y);
    b->scratch = g4_arena_alloc(arena, (size_t)threads, sizeof *b->scratch);
    int64_t rounded[] = { g4_xq_bytes(BENCH_PREFILL, widest),
                          g4_pair_bytes(BENCH_PREFILL, widest) };
    b->xq = g4_arena_alloc(arena, (size_t)rounded[rounded[0] < rounded[1]], 1);
    if (!b->weights || !b->x || !b->y || !b->scratch || !b->xq) return g4_nomem(err, "bench");
    for (int t = 0; t < threads; t++) {
        b->scratch[t] = g4_arena_alloc(arena, (size_t)most, sizeof *b->scratch[t]);
        if (!b->scratch[t]) return g4_nomem(err, "bench");
    }
    /* 16-bit patterns 0x3c00..0x3c7f: small normal numbers as bf16, f16 and, in pairs, f32. */
    for (size_t i = 0; i + 8 <= b->weight_bytes; i += 8) {
        uint64_t r = (g4_mix64(i) & 0x807f807f807f807fu) | 0x3c003c003c003c00u;
        memcpy(b->weights + i, &r, 8);
    }
    for (int64_t i = 0; i < widest * BENCH_PREFILL; i++)
        b->x[i] = b->y[i] = (float)(g4_rng_unit(1, 0, (uint64_t)i) - 0.5);
    return G4_OK;
}

/* Seconds a whole call would take, from a few of its rows and tokens, and the share
 * of the peak it runs at: a busy machine slows both, so the share hardly moves. */
static double probe(bench *b, const bench_row *r, int64_t few_rows, double *share)
{
    enum { TRIES = 3, FEW_TOKENS = 8 };
    bench_row few = *r;
    double best = 0;
    *share = 0;
    few.rows = few_rows;
    few.tokens = r->tokens < FEW_TOKENS ? r->tokens : FEW_TOKENS;
    double scale = (double)(r->rows * r->tokens) / (double)(few.rows * few.tokens);
    for (int i = 0; i < TRIES && *share < SLOW_SHARE; i++) {
        double peak = peak_now(b, r), seconds = run_row(b, &few);
        if (i == 0 || seconds < best) best = seconds;
        *share = r->flops / (best * scale) / peak;
    }
    return best * scale;
}

/* The definitions would take minutes: such a call is measured on a corner of it; the
 * rate is nearly the same, but it does not count in the sum over layers. */
static void shorten(bench *b)
{
    enum { FEW_TOKENS = 32 };
    for (int i = 0; i < b->rows; i++) {
        bench_row *r = &b->row[i];
        double full = (double)r->rows * (double)r->tokens, share;
        int64_t few = (int64_t)GRAIN * g4_par_threads(b->par);
        if (!is_linear(r)) continue;
        if (few > r->rows) few = r->rows;
        if (probe(b, r, few, &share) < SLOW_SECONDS || share > SLOW_SHARE) continue;
        r->bytes *= (double)few / (double)r->rows;
        r->rows = few;
        r->tokens = r->tokens < FEW_TOKENS ? r->tokens : FEW_TOKENS;
        r->flops *= (double)r->rows * (double)r->tokens / full;
        memset(r->per_layer, 0, sizeof r->per_layer);
        size_t at = strlen(r->size);
        snprintf(r->size + at, sizeof r->size - at, " (%lld rows of it)", (long long)r->rows);
    }
}

/* One round of all layers' matrices, each kernel by itself: operations, seconds, and the
 * seconds they would take at the peak beside them.  0: not all of them were measured whole. */
static int sum_layers(const bench_row *r, const int64_t layers[2], int round, double sum[3])
{
    memset(sum, 0, 3 * sizeof *sum);
    for (int m = 0; m < MATRICES; m++) {
        double uses = (double)(layers[0] * r[m].per_layer[0] + layers[1] * r[m].per_layer[1]);
        if (r[m].per_layer[0] + r[m].per_layer[1] == 0) return 0;
        sum[0] += uses * r[m].flops;
        sum[1] += uses * r[m].seconds[round];
        sum[2] += uses * r[m].flops / r[m].peak[round];
    }
    return 1;
}

static void sum_prefill(bench *b, const g4_config *c)
{
    int64_t layers[2] = { 0, 0 };
    for (int64_t l = 0; l < c->num_hidden_layers; l++) layers[c->layer_kind[l]]++;
    for (int i = 0; i + MATRICES <= b->rows; i++) {
        const bench_row *r = &b->row[i];
        double sum[3], rate[BENCH_ROUNDS], share[BENCH_ROUNDS];
        int complete = is_linear(r) && strcmp(r->dtype, "bf16") == 0 &&
                       r->tokens == BENCH_PREFILL && r->isa != G4_ISA_c;
        for (int k = 0; k < b->rounds && complete; k++) {
            complete = sum_layers(r, layers, k, sum);
            rate[k] = sum[0] / sum[1];
            share[k] = sum[2] / sum[1];
        }
        if (!complete) continue;
        b->prefill[b->prefills++] =
            (bench_prefill){ r->op, r->dtype, r->isa_name, g4_median(rate, b->rounds),
                             g4_median(share, b->rounds) };
        i += MATRICES - 1;
    }
}

/* Every row in turns, each between two looks at the peak. */
static void measure(bench *b)
{
    double read[BENCH_ROUNDS], peak[BENCH_ROUNDS], start = g4_now();
    for (b->rounds = 0; b->rounds < BENCH_ROUNDS; b->rounds++) {
        int round = b->rounds;
        if (round >= BENCH_ROUNDS_LEAST && g4_now() - start > ENOUGH_SECONDS) break;
        peak[round] = g4_peak_fma(b->par, 10 * PEAK_SECONDS);
        read[round] = g4_peak_read(b->par, b->weights, b->weight_bytes, 10 * PEAK_SECONDS);
        for (int i = 0; i < b->rows; i++) {
            bench_row *r = &b->row[i];
            double before = peak_now(b, r), seconds = 0;
            int calls = 0;
            for (; seconds < CALL_SECONDS; calls++) seconds += run_row(b, r);
            r->seconds[round] = seconds / calls;
            r->peak[round] = (before + peak_now(b, r)) / 2;
        }
    }
    b->peak = g4_median(peak, b->rounds);
    b->read = g4_median(read, b->rounds);
}

g4_status bench_kernels(bench *b, const g4_config *c, g4_par *par, unsigned isas, g4_arena *arena,
                        g4_err *err)
{
    static const g4_kernel plain[] = {
        { "linear", "bf16", G4_ISA_c, NULL },    { "attend", "f32", G4_ISA_c, NULL },
        { "rmsnorm", "f32", G4_ISA_c, NULL },    { "gelu_mul", "f32", G4_ISA_c, NULL },
    };
    enum { PLAIN = sizeof plain / sizeof *plain };
    int count;
    const g4_kernel *k = g4_kernels(&count);
    *b = (bench){ .par = par, .isas = isas };
    b->row = g4_arena_alloc(arena, (size_t)(count + PLAIN) * 3 * MATRICES, sizeof *b->row);
    b->prefill = g4_arena_alloc(arena, (size_t)(count + PLAIN), sizeof *b->prefill);
    if (!b->row || !b->prefill) return g4_nomem(err, "bench");
    for (int i = 0; i < PLAIN && (isas & G4_ISA_c); i++) add_kernel(b, &plain[i], c);
    for (int i = 0; i < count; i++)
        if (k[i].isa & isas) add_kernel(b, &k[i], c);
    G4_TRY(make_operands(b, c, arena, err));
    shorten(b);
    measure(b);
    sum_prefill(b, c);
    return G4_OK;
}
