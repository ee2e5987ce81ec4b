/* SPDX-License-Identifier: Apache-2.0
 * Linear over panels with AVX-512 VNNI.  A zmm register holds 4 weights of each of the
 * panel's 16 rows; one vpdpbusd multiplies them with 4 values of one token, broadcast.
 * Few tokens, decoding and drafts: a tile is one panel by 1 to 8 of them; the block's
 * weights are unpacked into eight registers once and used for all of them.  Whole tiles of
 * 16 tokens, prefill: two panels by 4 tokens, so that each value of x that is broadcast
 * meets both, over a run of columns that is unpacked once for up to 512 tokens.  Bound
 * there by the two ports that multiply: 8 of 10 of their operations are vpdpbusd [N50].
 *
 * Unsigned weights (offset added) times signed x: the offset's part of the sum is where
 * the sum starts (round_x put it beside the values), so it costs nothing. */
#include "kernels_opt/c/panel_tiles.h"
#include "kernels_opt/x86/panel_avx512.h"

enum {
    PANELS = 2, TOKENS = 4,   /* of a prefill's tile */
    RUN = 24,       /* blocks: two panels' unpacked ones stay in the level-1 cache [N50] */
    TILES = 32,     /* of 16 tokens, whose part of x stays in the level-2 cache */
    HALVES = 2,     /* of a block of q6_k */
};

/* -sum q of one half, as round_x left it, times 32. */
G4_INLINE __m512i half_start(const unsigned char *correction, int h)
{
    int32_t both;
    memcpy(&both, correction, 4);
    __m512i v = _mm512_set1_epi32(both);
    return h ? _mm512_slli_epi32(_mm512_srai_epi32(v, 16), 5)
             : _mm512_srai_epi32(_mm512_slli_epi32(v, 16), 11);
}

/* Where a token's sum starts: `part` is a half of the block in q6_k. */
G4_INLINE __m512i sum_start(const unsigned char *correction, int part, g4_dtype type)
{
    int32_t start;
    memcpy(&start, correction, 4);
    return type == G4_Q6_K                      ? half_start(correction, part)
           : type == G4_Q4_K || type == G4_Q5_K ? _mm512_setzero_si512()
                                                : _mm512_set1_epi32(start);
}

G4_INLINE __m512i dot(__m512i sum, __m512i w, const unsigned char *q)
{
    int32_t four;
    memcpy(&four, q, 4);
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
}

/* One block of the panel times the same block of T tokens. */
TILE void block_tile(__m512 *acc, const block_regs *b, const unsigned char *x, int T,
                     g4_dtype type)
{
    const unsigned char *d = x + G4_PANEL_BLOCK * T, *correction = d + 4 * T;
    const int parts = type == G4_Q6_K ? 2 : 1, minima = type == G4_Q4_K || type == G4_Q5_K;
TILE_UNROLL
    for (int t = 0; t < T; t++) {
        const unsigned char *q = x + G4_PANEL_BLOCK * t;
        __m512 dt = floats_of(d + 4 * t);
        for (int part = 0; part < parts; part++) {
            __m512i sum = sum_start(correction + 4 * t, part, type);
            for (int i = 8 / parts * part; i < 8 / parts * (part + 1); i++)
                sum = dot(sum, b->w[i], q + 4 * i);
            acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(b->scale[part], dt),
                                     acc[t]);
        }
        if (minima) acc[t] = _mm512_fnmadd_ps(b->minimum, floats_of(correction + 4 * t), acc[t]);
    }
}

/* T and type are constants wherever this is used. */
TILE void few_of(const panel_tile *a, int T, g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    const unsigned char *record = a->panel, *x = a->x;
    __m512 acc[G4_XQ_FEW];
    block_regs b;
TILE_UNROLL
    for (int t = 0; t < T; t++) acc[t] = _mm512_setzero_ps();
    int64_t at = 0;
    for (; at + f.blocks <= a->blocks; at += f.blocks, record += f.record) {
        for (int k = 0; k < f.record; k += 64)   /* 8 tokens compute too long on a line for the
                                                  * hardware to look ahead by itself [N50] */
            _mm_prefetch((const char *)record + G4_PANEL_AHEAD + k, _MM_HINT_T0);
        for (int j = 0; j < f.blocks; j++, x += T * G4_XQ_BYTES) {
            unpack(&b, record, j, type);
            block_tile(acc, &b, x, T, type);
        }
    }
    if (at < a->blocks) {
        unpack(&b, record, 0, type);
        block_tile(acc, &b, x, T, type);
    }
    const __mmask16 rows = (__mmask16)((1u << a->rows) - 1);
TILE_UNROLL
    for (int t = 0; t < T; t++) _mm512_mask_storeu_ps(a->y + t * a->ldy, rows, acc[t]);
}

G4_INLINE void tile_run(const panel_tile *a, int64_t T, g4_dtype type)
{
    switch (T) {
    case 1: few_of(a, 1, type); break;
    case 2: few_of(a, 2, type); break;
    case 3: few_of(a, 3, type); break;
    case 4: few_of(a, 4, type); break;
    case 5: few_of(a, 5, type); break;
    case 6: few_of(a, 6, type); break;
    case 7: few_of(a, 7, type); break;
    default: few_of(a, 8, type);
    }
}

/* ---- whole tiles ---- */

/* Some columns of two panels, unpacked. */
typedef struct panel_run {
    _Alignas(64) unsigned char w[RUN][8][PANELS][64];
    __m512 scale[RUN][PANELS][HALVES], minimum[RUN][PANELS];
    __mmask16 rows[PANELS];
    int blocks, first;      /* first: sums begin here, not in y */
    const unsigned char *next[PANELS];   /* the columns that come then */
    int64_t bytes;          /* of a run in a panel */
} panel_run;

static __mmask16 rows_mask(int64_t rows)
{
    return (__mmask16)((1u << (rows < 0 ? 0 : g4_min(rows, G4_PANEL_ROWS))) - 1);
}

/* Blocks [at, at + run->blocks) of panel p; `at` begins a record. */
G4_INLINE void unpack_run(panel_run *run, int p, const unsigned char *panel, int64_t at,
                          g4_dtype type)
{
    const g4_panel_format f = g4_panel_format_get(type);
    for (int i = 0; i < run->blocks; i++) {
        block_regs b;
        unpack(&b, panel + (at + i) / f.blocks * f.record, (int)((at + i) % f.blocks), type);
        for (int v = 0; v < 8; v++) _mm512_store_si512(run->w[i][v][p], b.w[v]);
        run->scale[i][p][0] = b.scale[0];
        if (type == G4_Q6_K) run->scale[i][p][1] = b.scale[1];
        if (f.correction == G4_CORRECT_MINIMUM) run->minimum[i][p] = b.minimum;
    }
}

/* A block of both panels times a block of TOKENS tokens: their values, scales, corrections. */
TILE void run_block(__m512 acc[TOKENS][PANELS], const panel_run *run, int i,
                    const unsigned char *q, const unsigned char *d, const unsigned char *c,
                    g4_dtype type)
{
    const int parts = type == G4_Q6_K ? 2 : 1, minima = type == G4_Q4_K || type == G4_Q5_K;
TILE_UNROLL
    for (int part = 0; part < parts; part++) {
        __m512i sum[TOKENS][PANELS];
TILE_UNROLL
        for (int t = 0; t < TOKENS; t++) {
            __m512i start = sum_start(c + 4 * t, part, type);
TILE_UNROLL
            for (int p = 0; p < PANELS; p++) sum[t][p] = start;
        }
TILE_UNROLL
        for (int v = 8 / parts * part; v < 8 / parts * (part + 1); v++)
TILE_UNROLL
            for (int t = 0; t < TOKENS; t++)
TILE_UNROLL
                for (int p = 0; p < PANELS; p++)
                    sum[t][p] = dot(sum[t][p], _mm512_load_si512(run->w[i][v][p]),
                                    q + G4_PANEL_BLOCK * t + 4 * v);
TILE_UNROLL
        for (int t = 0; t < TOKENS; t++) {
            __m512 dt = floats_of(d + 4 * t);
TILE_UNROLL
            for (int p = 0; p < PANELS; p++)
                acc[t][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t][p]),
                                            _mm512_mul_ps(run->scale[i][p][part], dt), acc[t][p]);
        }
    }
TILE_UNROLL
    for (int t = 0; minima && t < TOKENS; t++)
TILE_UNROLL
        for (int p = 0; p < PANELS; p++)
            acc[t][p] = _mm512_fnmadd_ps(run->minimum[i][p], floats_of(c + 4 * t), acc[t][p]);
}

/* TOKENS tokens from t of the tile whose block is x.  The hardware does not look
 * ahead over strides of a tile's block: `next` has the tokens that come then. */
TILE void run_tokens(float *y, int64_t ldy, const panel_run *run, const unsigned char *x,
                     int t, const unsigned char *next, g4_dtype type)
{
    enum { BLOCK = G4_XQ_TOKENS * G4_XQ_BYTES, SCALES = G4_PANEL_BLOCK * G4_XQ_TOKENS };
    __m512 acc[TOKENS][PANELS];
TILE_UNROLL
    for (int k = 0; k < TOKENS; k++)
TILE_UNROLL
        for (int p = 0; p < PANELS; p++)
            acc[k][p] = run->first ? _mm512_setzero_ps()
                                   : _mm512_maskz_loadu_ps(run->rows[p],
                                                           y + k * ldy + G4_PANEL_ROWS * p);
    for (int i = 0; i < run->blocks; i++, x += BLOCK, next += BLOCK) {
        _mm_prefetch((const char *)next, _MM_HINT_T0);
        _mm_prefetch((const char *)next + 64, _MM_HINT_T0);
        _mm_prefetch((const char *)next + SCALES, _MM_HINT_T0);
        const unsigned char *d = x + SCALES + 4 * t;
        run_block(acc, run, i, x + G4_PANEL_BLOCK * t, d, d + 4 * G4_XQ_TOKENS, type);
    }
TILE_UNROLL
    for (int k = 0; k < TOKENS; k++)
TILE_UNROLL
        for (int p = 0; p < PANELS; p++)
            _mm512_mask_storeu_ps(y + k * ldy + G4_PANEL_ROWS * p, run->rows[p], acc[k][p]);
}

/* `tiles` whole tiles of tokens; x and y at the first. */
G4_INLINE void run_tiles(float *y, int64_t ldy, const panel_run *run, const unsigned char *x,
                         int64_t stride, int64_t tiles, g4_dtype type)
{
    int64_t asked = 0;
    for (int64_t i = 0; i < tiles; i++, x += stride, y += G4_XQ_TOKENS * ldy)
        for (int t = 0; t < G4_XQ_TOKENS; t += TOKENS) {
            for (int k = 0; k < 4 && asked < run->bytes; k++, asked += 64)
                for (int p = 0; p < PANELS; p++)
                    _mm_prefetch((const char *)run->next[p] + asked, _MM_HINT_T1);
            int then = t + TOKENS < G4_XQ_TOKENS;
            run_tokens(y + t * ldy, ldy, run, x, t,
                       then ? x + G4_PANEL_BLOCK * (t + TOKENS) : x + stride, type);
        }
}

/* Runs of columns outside, so that their part of x is read by all rows of the call from
 * the level-2 cache; between runs the outputs wait in y. */
G4_INLINE void whole_tiles(const g4_linear_args *a, int64_t r0, int64_t r1, int64_t tiles,
                           g4_dtype type)
{
    enum { ROWS = PANELS * G4_PANEL_ROWS };
    const g4_panel_format f = g4_panel_format_get(type);
    int64_t size = g4_panel_size(&f, a->w->cols), blocks = a->w->cols / G4_PANEL_BLOCK;
    int64_t stride = blocks * G4_XQ_TOKENS * G4_XQ_BYTES;
    panel_run run = { .bytes = RUN / f.blocks * f.record };
    for (int64_t at = 0; at < blocks; at += RUN)
        for (int64_t r = r0; r < r1; r += ROWS) {
            const unsigned char *panel = a->w->panels + r / G4_PANEL_ROWS * size;
            const unsigned char *then = panel + at / f.blocks * f.record +
                (r + ROWS < r1 ? PANELS * size : run.bytes - (r - r0) / G4_PANEL_ROWS * size);
            run.blocks = (int)g4_min(RUN, blocks - at);
            run.first = at == 0;
            for (int p = 0; p < PANELS; p++) {
                int64_t left = r1 - r - p * G4_PANEL_ROWS;
                run.rows[p] = rows_mask(left);
                unpack_run(&run, p, panel + (left > 0 ? p * size : 0), at, type);
                run.next[p] = then + p * size;
            }
            run_tiles(a->y + r, a->ldy, &run,
                      a->xq + at * G4_XQ_TOKENS * G4_XQ_BYTES, stride, tiles, type);
        }
}

G4_INLINE void linear(const g4_linear_args *a, int64_t r0, int64_t r1, g4_dtype type)
{
    int64_t whole = a->tokens / G4_XQ_TOKENS, past = a->w->cols / G4_PANEL_BLOCK * G4_XQ_BYTES;
    for (int64_t i = 0; i < whole; i += TILES) {
        g4_linear_args part = *a;
        part.y += i * G4_XQ_TOKENS * a->ldy;
        part.xq += i * G4_XQ_TOKENS * past;
        whole_tiles(&part, r0, r1, g4_min(whole - i, TILES), type);
    }
    tiles_from(a, whole, r0, r1, type);
}

G4_PANEL_KERNELS(vnni)

void g4_round_x_f32_vnni(const g4_round_args *a, int64_t p0, int64_t p1)
{
    round_tiles(a, p0, p1);
}
