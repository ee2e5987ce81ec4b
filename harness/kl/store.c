/* SPDX-License-Identifier: Apache-2.0
 * A reference in a golden file (golden/golden.h): windows, and of each predicted token the K
 * likeliest with their log-probabilities, the mass of all others, and the log-probability of
 * the token that came.  4 KB a token with K = 512: 1 GB for 262,144, in blocks of 4,096 so
 * that no more is in memory at once.
 *   windows/ids [I]; windows/tokens, scored, lead [W]               int32
 *   distributions/NNN/top_ids [n][K] int32, top_logprobs [n][K], rest, token_logprobs [n]
 * (float32); attributes protocol, cut, ctx, vocab_size, producer */
#include "golden/golden.h"
#include "harness/kl/kl.h"
#include "ref/base/real.h"
#include "ref/model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096, BLOCKS = 1000, KEEP = 512 };

/* A block's values, read or to be written. */
typedef struct block {
    int64_t at, n;               /* its first row of all, and its rows */
    int32_t *ids;                /* [BLOCK][k] */
    float *logprobs;             /* [BLOCK][k] */
    float *rest, *token;         /* [BLOCK] */
    g4_arena arena;
} block;

static g4_status block_alloc(block *b, int64_t k, int64_t rows, g4_err *err)
{
    size_t n = rows < BLOCK ? (size_t)rows : BLOCK;
    b->ids = g4_arena_alloc(&b->arena, n, (size_t)k * sizeof *b->ids);
    b->logprobs = g4_arena_alloc(&b->arena, n, (size_t)k * sizeof *b->logprobs);
    b->rest = g4_arena_alloc(&b->arena, n, sizeof *b->rest);
    b->token = g4_arena_alloc(&b->arena, n, sizeof *b->token);
    return b->ids && b->logprobs && b->rest && b->token ? G4_OK : g4_nomem(err, "distributions");
}

static const char *path_of(char out[G4_GOLDEN_PATH], int64_t row, const char *name)
{
    snprintf(out, G4_GOLDEN_PATH, "distributions/%03lld/%s", (long long)(row / BLOCK), name);
    return out;
}

/* ---- reading ---- */

typedef struct store {
    g4_kl_source base;
    g4_golden *file;
    int64_t scored;
    const int32_t *came;         /* [scored] the predicted tokens */
    uint8_t *mark;               /* [V] zeros */
    block b;
    g4_arena arena;
} store;

/* A dataset of a block: rank, rows and columns must be those. */
static g4_status read_set(store *s, const char *name, g4_golden_type type, int64_t cols, void *to,
                          g4_err *err)
{
    char path[G4_GOLDEN_PATH];
    const g4_golden_set *set = g4_golden_find(s->file, path_of(path, s->b.at, name));
    if (!set)
        return g4_fail(err, G4_EINPUT, "%s: %s: is not in the file", g4_golden_path(s->file), path);
    if (set->type != type || set->rank != (cols ? 2 : 1) || set->dims[0] != s->b.n ||
        (cols && set->dims[1] != cols))
        return g4_fail(err, G4_EINPUT, "%s: %s: is not %lld rows of %lld %s",
                       g4_golden_path(s->file), path, (long long)s->b.n,
                       (long long)(cols ? cols : 1), g4_golden_type_name(type));
    return g4_golden_read(s->file, set, to, err);
}

/* float32 log-probabilities lose 2^-24 of at most ln V = 13 each: 1e-5 is ten times that. */
static const char *row_fault(const store *s, int64_t i)
{
    const int32_t *ids = s->b.ids + i * s->base.k;
    const float *lp = s->b.logprobs + i * s->base.k;
    double sum = s->b.rest[i];
    int32_t came = s->came[s->b.at + i];
    if (!(s->b.rest[i] >= 0.0f && s->b.rest[i] <= 1.0f)) return "a rest that is no probability";
    if (s->b.rest[i] > 0.0f && s->base.k == s->base.vocab) return "a rest behind every token";
    for (int64_t k = 0; k < s->base.k; k++) {
        if (ids[k] < 0 || ids[k] >= s->base.vocab) return "an id that is no token";
        if (!(lp[k] <= 1e-5f && lp[k] > -1e4f)) return "a log-probability out of range";
        if (k && lp[k] > lp[k - 1]) return "log-probabilities that do not fall";
        sum += g4_exp(lp[k]);
        if (ids[k] == came && lp[k] != s->b.token[i]) return "two probabilities of one token";
    }
    if (!(s->b.token[i] <= lp[0] && s->b.token[i] > -1e4f)) return "a log-probability out of range";
    return fabs(sum - 1.0) <= 1e-5 ? NULL : "probabilities that do not sum to 1";
}

static g4_status check_row(const store *s, int64_t i, g4_err *err)
{
    const int32_t *ids = s->b.ids + i * s->base.k;
    const char *fault = row_fault(s, i);
    int64_t k = 0;
    for (; !fault && k < s->base.k && !s->mark[ids[k]]; k++) s->mark[ids[k]] = 1;
    if (!fault && k < s->base.k) fault = "an id twice";
    while (k-- > 0) s->mark[ids[k]] = 0;
    return !fault ? G4_OK : g4_fail(err, G4_EINPUT, "%s: token %lld: %s", g4_golden_path(s->file),
                                    (long long)(s->b.at + i), fault);
}

static g4_status read_block(store *s, int64_t at, g4_err *err)
{
    s->b.at = at;
    s->b.n = s->scored - at < BLOCK ? s->scored - at : BLOCK;
    G4_TRY(read_set(s, "top_ids", G4_GOLDEN_I32, s->base.k, s->b.ids, err));
    G4_TRY(read_set(s, "top_logprobs", G4_GOLDEN_F32, s->base.k, s->b.logprobs, err));
    G4_TRY(read_set(s, "rest", G4_GOLDEN_F32, 0, s->b.rest, err));
    G4_TRY(read_set(s, "token_logprobs", G4_GOLDEN_F32, 0, s->b.token, err));
    for (int64_t i = 0; i < s->b.n; i++) G4_TRY(check_row(s, i, err));
    return G4_OK;
}

static g4_status read_rows(g4_kl_source *base, int64_t first, int64_t *n, g4_kl_ref *refs,
                           g4_err *err)
{
    store *s = (store *)base;
    int64_t k = base->k;
    if (first / BLOCK * BLOCK != s->b.at) G4_TRY(read_block(s, first / BLOCK * BLOCK, err));
    int64_t from = first - s->b.at;
    if (*n > s->b.n - from) *n = s->b.n - from;
    for (int64_t i = 0; i < *n; i++)
        refs[i] = (g4_kl_ref){ .kind = G4_KL_TOP, .ids = s->b.ids + (from + i) * k,
                               .logprobs = s->b.logprobs + (from + i) * k, .k = k,
                               .rest = s->b.rest[from + i], .token = s->b.token[from + i] };
    return G4_OK;
}

static void close_store(g4_kl_source *base)
{
    store *s = (store *)base;
    g4_golden_close(s->file);
    g4_arena_free(&s->b.arena);
    g4_arena_free(&s->arena);
    free(s);
}

static g4_status take_windows(store *s, g4_kl_text *t, g4_err *err)
{
    int32_t *ids, *tokens, *scored, *lead, *came;
    int64_t I, W, n = 0, m = 0, at = 0;
    const char *path = g4_golden_path(s->file);
    G4_TRY(g4_golden_ids(s->file, "windows/ids", &s->arena, &ids, &I, err));
    G4_TRY(g4_golden_ids(s->file, "windows/tokens", &s->arena, &tokens, &W, err));
    G4_TRY(g4_golden_ids(s->file, "windows/scored", &s->arena, &scored, &n, err));
    G4_TRY(g4_golden_ids(s->file, "windows/lead", &s->arena, &lead, &m, err));
    if (!(came = g4_arena_alloc(&s->arena, (size_t)I, sizeof *came))) return g4_nomem(err, path);
    if (n != W || m != W)
        return g4_fail(err, G4_EINPUT, "%s: windows: tokens, scored and lead differ in length",
                       path);
    for (int64_t i = 0; i < I; i++)
        if (ids[i] < 0 || ids[i] >= s->base.vocab)
            return g4_fail(err, G4_EINPUT, "%s: windows/ids: %d is no token", path, (int)ids[i]);
    for (int64_t w = 0; w < W; w++) {
        if (tokens[w] < 2 || tokens[w] > I - at || scored[w] < 1 || scored[w] >= tokens[w] ||
            scored[w] > I - s->scored || lead[w] < 0 || lead[w] >= s->base.vocab)
            return g4_fail(err, G4_EINPUT, "%s: windows: number %lld does not fit the ids", path,
                           (long long)w);
        G4_TRY(g4_kl_text_add(t, ids + at, tokens[w], scored[w], lead[w], err));
        at += tokens[w];
        memcpy(came + s->scored, ids + at - scored[w], (size_t)scored[w] * sizeof *came);
        s->scored += scored[w];
    }
    s->came = came;
    if (at == I) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: windows: ids that no window has", path);
}

/* One of the names a|b|c that the file gives, as our own string. */
static g4_status take_name(const store *s, const char *attr, const char *const *names,
                           const char **out, g4_err *err)
{
    const char *text = g4_golden_text(s->file, attr);
    for (; text && *names; names++)
        if (strcmp(text, *names) == 0) {
            *out = *names;
            return G4_OK;
        }
    return g4_fail(err, G4_EINPUT, "%s: attribute '%s' is missing or unknown",
                   g4_golden_path(s->file), attr);
}

static g4_status take_number(const store *s, const char *attr, int64_t *out, g4_err *err)
{
    const char *text = g4_golden_text(s->file, attr);
    char *end;
    *out = text ? strtoll(text, &end, 10) : -1;
    if (text && end != text && !*end && *out >= 0 && *out <= INT32_MAX) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: attribute '%s' is no number",
                   g4_golden_path(s->file), attr);
}

static g4_status open_file(store *s, g4_kl_text *t, const char *path, int64_t vocab, g4_err *err)
{
    static const char *const protocols[] = { "raw", "framed", "self", NULL };
    static const char *const cuts[] = { "rolling", "halves", "lm-eval", "answers", NULL };
    char first[G4_GOLDEN_PATH];
    G4_TRY(g4_golden_open(&s->file, path, 0, err));
    const g4_golden_set *top = g4_golden_find(s->file, path_of(first, 0, "top_ids"));
    if (!top || top->dims[1] < G4_KL_TOP_SHARED || top->dims[1] > vocab)
        return g4_fail(err, G4_EINPUT, "%s: %s: missing, or not 5 to %lld tokens a place", path,
                       first, (long long)vocab);
    s->base.k = top->dims[1];
    G4_TRY(take_number(s, "vocab_size", &s->base.vocab, err));
    if (s->base.vocab != vocab)
        return g4_fail(err, G4_EINPUT, "%s: a vocabulary of %lld tokens, where the model has %lld",
                       path, (long long)s->base.vocab, (long long)vocab);
    G4_TRY(take_name(s, "protocol", protocols, &t->protocol, err));
    G4_TRY(take_name(s, "cut", cuts, &t->cut, err));
    G4_TRY(take_number(s, "ctx", &t->ctx, err));
    G4_TRY(take_windows(s, t, err));
    s->mark = g4_arena_alloc(&s->arena, (size_t)vocab, 1);
    if (!s->mark) return g4_nomem(err, path);
    s->b.at = -1;
    return block_alloc(&s->b, s->base.k, s->scored, err);
}

g4_status g4_kl_store_open(g4_kl_source **out, g4_kl_text *t, const char *path, int64_t vocab,
                           g4_err *err)
{
    store *s = calloc(1, sizeof *s);
    if (!s) return g4_nomem(err, path);
    *out = &s->base;                 /* closed by the caller, whatever comes */
    s->base = (g4_kl_source){ .rows = read_rows, .close = close_store, .kind = G4_KL_TOP };
    return open_file(s, t, path, vocab, err);
}

/* ---- writing ---- */

typedef struct writer {
    g4_kl_sink base;
    g4_golden_writer *file;
    int64_t vocab, k, scored;
    block b;
} writer;

typedef struct filling {
    writer *w;
    const float *logits;
    const int32_t *came;
    int64_t to;                  /* row of the block */
} filling;

/* The mass of the rest is summed by itself: 1 less the others' would be rounding alone. */
static void fill_rows(void *ctx, int64_t begin, int64_t end, int worker)
{
    const filling *f = ctx;
    int64_t V = f->w->vocab, k = f->w->k;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        const float *z = f->logits + i * V;
        int32_t *ids = f->w->b.ids + (f->to + i) * k;
        float *lp = f->w->b.logprobs + (f->to + i) * k;
        double log_sum = g4_kl_log_sum(z, V), rest = 0.0;
        g4_kl_best(z, V, k, ids, lp);
        float least = lp[k - 1];
        int32_t last = ids[k - 1];
        for (int64_t t = 0; t < V; t++)   /* of equals those with lower ids are among the k */
            if (z[t] < least || (z[t] == least && t > last)) rest += g4_exp((double)z[t] - log_sum);
        for (int64_t t = 0; t < k; t++) lp[t] = (float)((double)lp[t] - log_sum);
        f->w->b.rest[f->to + i] = (float)rest;
        f->w->b.token[f->to + i] = (float)((double)z[f->came[i]] - log_sum);
    }
}

static g4_status put_block(writer *w, g4_err *err)
{
    char path[G4_GOLDEN_PATH];
    const int64_t dims[2] = { w->b.n, w->k };
    const struct { const char *name; g4_golden_type type; int rank; const void *data; } sets[] = {
        { "top_ids", G4_GOLDEN_I32, 2, w->b.ids },
        { "top_logprobs", G4_GOLDEN_F32, 2, w->b.logprobs },
        { "rest", G4_GOLDEN_F32, 1, w->b.rest },
        { "token_logprobs", G4_GOLDEN_F32, 1, w->b.token },
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        G4_TRY(g4_golden_write(w->file, path_of(path, w->b.at, sets[i].name), sets[i].type,
                               sets[i].rank, dims, sets[i].data, err));
    w->b.at += w->b.n;
    w->b.n = 0;
    return G4_OK;
}

static g4_status write_rows(g4_kl_sink *s, const float *logits, const int32_t *ids, int64_t n,
                            g4_par *par, g4_err *err)
{
    writer *w = (writer *)s;
    for (int64_t m; n > 0; n -= m, logits += m * w->vocab, ids += m) {
        m = BLOCK - w->b.n < n ? BLOCK - w->b.n : n;
        filling f = { w, logits, ids, w->b.n };
        g4_par_for(par, m, 1, fill_rows, &f);
        w->b.n += m;
        if (w->b.n == BLOCK || w->b.at + w->b.n == w->scored) G4_TRY(put_block(w, err));
    }
    return G4_OK;
}

static g4_status commit(g4_kl_sink *s, g4_err *err)
{
    writer *w = (writer *)s;
    g4_golden_writer *file = w->file;
    w->file = NULL;
    return g4_golden_commit(file, err);
}

static void close_writer(g4_kl_sink *s)
{
    writer *w = (writer *)s;
    g4_golden_abort(w->file);
    g4_arena_free(&w->b.arena);
    free(w);
}

/* windows/...: three columns of the windows. */
static g4_status put_windows(writer *w, const g4_kl_text *t, g4_err *err)
{
    static const char *const names[] = { "windows/tokens", "windows/scored", "windows/lead" };
    const int64_t ids[1] = { (int64_t)t->ids.count }, W[1] = { (int64_t)t->count };
    int32_t *column = malloc(t->count * sizeof *column);
    g4_status s = column ? g4_golden_write(w->file, "windows/ids", G4_GOLDEN_I32, 1, ids,
                                           t->ids.ids, err) : g4_nomem(err, "windows");
    for (int k = 0; s == G4_OK && k < 3; k++) {
        for (size_t i = 0; i < t->count; i++) {
            const g4_kl_window *win = &t->windows[i];
            column[i] = k == 0 ? win->n : k == 1 ? win->scored : win->lead;
        }
        s = g4_golden_write(w->file, names[k], G4_GOLDEN_I32, 1, W, column, err);
    }
    free(column);
    return s;
}

static g4_status put_head(writer *w, const g4_kl_text *t, const char *model, g4_err *err)
{
    G4_TRY(g4_golden_put_text(w->file, "producer", "gemma4 kl", err));
    G4_TRY(g4_golden_put_text(w->file, "dtype", "float32", err));
    G4_TRY(g4_golden_put_text(w->file, "detail", "distributions", err));
    G4_TRY(g4_golden_put_text(w->file, "model", model, err));
    G4_TRY(g4_golden_put_text(w->file, "protocol", t->protocol, err));
    G4_TRY(g4_golden_put_text(w->file, "cut", t->cut, err));
    G4_TRY(g4_golden_put_int(w->file, "ctx", t->ctx, err));
    G4_TRY(g4_golden_put_int(w->file, "vocab_size", w->vocab, err));
    return put_windows(w, t, err);
}

g4_status g4_kl_store_create(g4_kl_sink **out, const g4_kl_text *t, const char *path,
                             int64_t vocab, int64_t k, const char *model, g4_err *err)
{
    if (t->scored > (int64_t)BLOCK * BLOCKS)
        return g4_fail(err, G4_EINPUT, "%s: more than %d tokens predicted", path, BLOCK * BLOCKS);
    writer *w = calloc(1, sizeof *w);
    if (!w) return g4_nomem(err, path);
    *out = &w->base;
    w->base = (g4_kl_sink){ .rows = write_rows, .commit = commit, .close = close_writer };
    w->vocab = vocab;
    w->scored = t->scored;
    w->k = k ? k : KEEP;
    if (w->k > vocab) w->k = vocab;
    G4_TRY(g4_golden_create(&w->file, path, err));
    G4_TRY(block_alloc(&w->b, w->k, t->scored, err));
    return put_head(w, t, model, err);
}

/* ---- which of the two ---- */

static int ends(const char *text, const char *with)
{
    size_t n = strlen(text), m = strlen(with);
    return n >= m && strcmp(text + n - m, with) == 0;
}

g4_status g4_kl_sink_open(g4_kl_sink **s, const g4_kl_text *t, const char *path, int64_t vocab,
                          int64_t k, const char *model, g4_err *err)
{
    if (ends(path, ".h5")) return g4_kl_store_create(s, t, path, vocab, k, model, err);
    if (k) return g4_fail(err, G4_EINPUT, "--keep: goes with --save F.h5");
    return g4_kl_codes_create(s, t, path, vocab, err);
}

int g4_kl_is_model(const char *path)
{
    int kind = g4_path_kind(path);
    return kind == 0 || kind == 2 || ends(path, ".gguf") || strstr(path, ".gguf,") != NULL;
}

g4_status g4_kl_source_open(g4_kl_source **s, g4_kl_text *t, const char *path, int64_t vocab,
                            const g4_tokenizer *tokenizer, g4_err *err)
{
    g4_map m;
    G4_TRY(g4_map_open(&m, path, err));
    int hdf5 = m.size >= 8 && memcmp(m.data, "\x89HDF\r\n\x1a\n", 8) == 0;
    g4_map_close(&m);
    G4_TRY(hdf5 ? g4_kl_store_open(s, t, path, vocab, err)
                : g4_kl_codes_open(s, t, path, vocab, g4_tokenizer_bos(tokenizer), err));
    return g4_kl_text_measure(t, tokenizer, err);
}
