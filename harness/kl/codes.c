/* SPDX-License-Identifier: Apache-2.0
 * llama.cpp's --kl-divergence-base file [N91], little-endian:
 *   "_logits_"  u32 ctx  i32 vocab  i32 pieces  i32 tokens [pieces][ctx]
 *   of each scored token: f32 scale, f32 least, u16 code [vocab], one more where vocab is odd
 * log p = scale * code + least; what lies more than 16 below the likeliest has code 0.  The
 * scored tokens are the last ctx - 1 - ctx / 2 of a piece, whose first token <bos> replaces.
 * 524 KB a token for 262,144: the file is mapped and let go again as it is read. */
#include "harness/kl/kl.h"
#include "ref/base/bytes.h"
#include "ref/base/half.h"
#include "ref/model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char magic[8] = "_logits_";
enum { HEAD = 8 + 3 * 4, ROW_HEAD = 8, MAX_CTX = G4_MAX_POSITION };

static int64_t row_bytes(int64_t vocab)
{
    return ROW_HEAD + 2 * (vocab + (vocab & 1));
}

static float float_at(const uint8_t *p)
{
    return g4_f32_from_bits((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                            (uint32_t)p[3] << 24);
}

/* ---- reading ---- */

typedef struct codes {
    g4_kl_source base;
    g4_map map;
    const char *path;
    const uint8_t *first;        /* row */
    int64_t row;                 /* bytes */
} codes;

/* Of a softmax cut off at 16 and rounded: nothing else can be in a row. */
static g4_status check_row(const codes *c, const g4_kl_ref *r, int64_t i, g4_err *err)
{
    float most = r->scale * 65535.0f + r->least;
    if (r->scale >= 0.0f && isfinite(most) && most <= 1e-3f && most - r->least < 16.1f)
        return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: token %lld: scale %g and least %g are of no log-"
                   "probabilities", c->path, (long long)i, (double)r->scale, (double)r->least);
}

static g4_status read_rows(g4_kl_source *s, int64_t first, int64_t *n, g4_kl_ref *refs,
                           g4_err *err)
{
    codes *c = (codes *)s;
    if (first) g4_map_release(c->map.data, (size_t)(c->first + first * c->row - c->map.data));
    for (int64_t i = 0; i < *n; i++) {
        const uint8_t *p = c->first + (first + i) * c->row;
        refs[i] = (g4_kl_ref){ .kind = G4_KL_CODES, .scale = float_at(p), .least = float_at(p + 4),
                               .codes = p + ROW_HEAD };
        G4_TRY(check_row(c, &refs[i], first + i, err));
    }
    return G4_OK;
}

static void close_codes(g4_kl_source *s)
{
    codes *c = (codes *)s;
    g4_map_close(&c->map);
    free(c);
}

static g4_status take_windows(codes *c, g4_kl_text *t, g4_bytes *b, int64_t ctx, int64_t pieces,
                              int32_t bos, g4_err *err)
{
    int32_t *ids = malloc((size_t)ctx * sizeof *ids);
    g4_status s = ids ? G4_OK : g4_nomem(err, c->path);
    for (int64_t w = 0; s == G4_OK && w < pieces; w++) {
        for (int64_t i = 0; s == G4_OK && i < ctx; i++) {
            ids[i] = (int32_t)g4_bytes_uint(b, 4);
            if (ids[i] < 0 || ids[i] >= c->base.vocab)
                s = g4_fail(err, G4_EINPUT, "%s: piece %lld: token %lld is %d, of a vocabulary of "
                            "%lld", c->path, (long long)w, (long long)i, (int)ids[i],
                            (long long)c->base.vocab);
        }
        int32_t lead = s == G4_OK ? ids[0] : 0;
        if (s == G4_OK && bos >= 0) ids[0] = bos;
        if (s == G4_OK) s = g4_kl_text_add(t, ids, ctx, ctx - 1 - ctx / 2, lead, err);
    }
    free(ids);
    return s;
}

/* The header says how large the file is: it must be just that. */
static g4_status parse(codes *c, g4_kl_text *t, int64_t vocab, int32_t bos, g4_err *err)
{
    g4_bytes b = { c->map.data, c->map.size, 0, 0 };
    const uint8_t *m = g4_bytes_take(&b, sizeof magic);
    int64_t ctx = (int64_t)g4_bytes_uint(&b, 4), V = (int64_t)g4_bytes_uint(&b, 4);
    int64_t pieces = (int64_t)g4_bytes_uint(&b, 4), tokens, rows, bytes;
    if (b.bad || memcmp(m, magic, sizeof magic) != 0)
        return g4_fail(err, G4_EINPUT, "%s: does not begin as llama.cpp's base file", c->path);
    if (V != vocab)
        return g4_fail(err, G4_EINPUT, "%s: a vocabulary of %lld tokens, where the model has %lld",
                       c->path, (long long)V, (long long)vocab);
    if (ctx < 4 || ctx > MAX_CTX || pieces < 1 || pieces > INT32_MAX)
        return g4_fail(err, G4_EINPUT, "%s: %lld pieces of %lld tokens", c->path,
                       (long long)pieces, (long long)ctx);
    c->row = row_bytes(V);
    if (__builtin_mul_overflow(ctx, pieces, &tokens) ||
        __builtin_mul_overflow(pieces * (ctx - 1 - ctx / 2), c->row, &rows) ||
        __builtin_add_overflow(rows, HEAD + 4 * tokens, &bytes) || bytes < 0 ||
        (uint64_t)bytes != c->map.size)
        return g4_fail(err, G4_EINPUT, "%s: %zu bytes, which %lld pieces of %lld tokens do not "
                       "take", c->path, c->map.size, (long long)pieces, (long long)ctx);
    c->base.vocab = V;
    c->first = c->map.data + HEAD + 4 * tokens;
    t->ctx = ctx;
    return take_windows(c, t, &b, ctx, pieces, bos, err);
}

g4_status g4_kl_codes_open(g4_kl_source **out, g4_kl_text *t, const char *path, int64_t vocab,
                           int32_t bos, g4_err *err)
{
    codes *c = calloc(1, sizeof *c);
    if (!c) return g4_nomem(err, path);
    *out = &c->base;                 /* closed by the caller, whatever comes */
    c->base = (g4_kl_source){ .rows = read_rows, .close = close_codes, .kind = G4_KL_CODES,
                              .producer = "llama.cpp's format" };
    c->path = path;
    t->protocol = "raw";
    t->cut = "halves";
    G4_TRY(g4_map_open(&c->map, path, err));
    return parse(c, t, vocab, bos, err);
}

/* ---- writing ---- */

typedef struct writer {
    g4_kl_sink base;
    g4_out out;
    int64_t vocab;
    uint8_t *rows;               /* [room][row_bytes] */
    int64_t room;
} writer;

typedef struct packing {
    const writer *w;
    const float *logits;
} packing;

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v & 0xffff);
    put16(p + 2, v >> 16);
}

/* In the float32 steps that llama.cpp takes, so that the same logits give the same file but
 * for the last bit of expf and logf. */
static void pack_row(uint8_t *p, const float *z, int64_t V)
{
    float most = z[0], least = z[0];
    for (int64_t i = 1; i < V; i++) {
        most = z[i] > most ? z[i] : most;
        least = z[i] < least ? z[i] : least;
    }
    least = least > most - 16.0f ? least : most - 16.0f;
    float log_sum = (float)(g4_kl_log_sum(z, V) - (double)most);
    float scale = (most - least) / 65535.0f;
    put32(p, g4_f32_bits(scale));
    put32(p + 4, g4_f32_bits(least - most - log_sum));
    float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (int64_t i = 0; i < V; i++) {
        float code = z[i] > least ? rintf(inverse * (z[i] - least)) : 0.0f;
        put16(p + ROW_HEAD + 2 * i, code < 65535.0f ? (unsigned)code : 65535u);
    }
}

static void pack_rows(void *ctx, int64_t begin, int64_t end, int worker)
{
    const packing *p = ctx;
    int64_t V = p->w->vocab;
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        pack_row(p->w->rows + i * row_bytes(V), p->logits + i * V, V);
}

static g4_status write_rows(g4_kl_sink *s, const float *logits, const int32_t *ids, int64_t n,
                            g4_par *par, g4_err *err)
{
    writer *w = (writer *)s;
    packing p = { w, logits };
    (void)ids;
    if (n > w->room) {
        free(w->rows);
        w->room = 0;
        if (!(w->rows = calloc((size_t)n, (size_t)row_bytes(w->vocab))))
            return g4_nomem(err, w->out.path);
        w->room = n;
    }
    g4_par_for(par, n, 1, pack_rows, &p);
    return g4_out_write(&w->out, w->rows, (size_t)(n * row_bytes(w->vocab)), err);
}

static g4_status commit(g4_kl_sink *s, g4_err *err)
{
    return g4_out_commit(&((writer *)s)->out, err);
}

static void close_writer(g4_kl_sink *s)
{
    writer *w = (writer *)s;
    g4_out_abort(&w->out);
    free(w->rows);
    free(w);
}

static g4_status put_head(writer *w, const g4_kl_text *t, g4_err *err)
{
    uint8_t head[HEAD], id[4];
    memcpy(head, magic, sizeof magic);
    put32(head + 8, (uint32_t)t->ctx);
    put32(head + 12, (uint32_t)w->vocab);
    put32(head + 16, (uint32_t)t->count);
    G4_TRY(g4_out_write(&w->out, head, sizeof head, err));
    for (size_t i = 0; i < t->count; i++)
        for (int32_t k = 0; k < t->windows[i].n; k++) {
            const g4_kl_window *win = &t->windows[i];
            put32(id, (uint32_t)(k ? t->ids.ids[win->first + (size_t)k] : win->lead));
            G4_TRY(g4_out_write(&w->out, id, sizeof id, err));
        }
    return G4_OK;
}

g4_status g4_kl_codes_create(g4_kl_sink **out, const g4_kl_text *t, const char *path,
                             int64_t vocab, g4_err *err)
{
    if (strcmp(t->cut, "halves") != 0)
        return g4_fail(err, G4_EINPUT, "%s: llama.cpp's format holds --windows halves; a name "
                       "that ends in .h5 gets any", path);
    writer *w = calloc(1, sizeof *w);
    if (!w) return g4_nomem(err, path);
    *out = &w->base;
    w->base = (g4_kl_sink){ .rows = write_rows, .commit = commit, .close = close_writer };
    w->out = (g4_out)G4_OUT_NONE;
    w->vocab = vocab;
    G4_TRY(g4_out_open(&w->out, path, err));
    return put_head(w, t, err);
}
