/* SPDX-License-Identifier: Apache-2.0
 * gemma4 perplexity and gemma4 kl: a text is cut into windows (windows.c), one model or two
 * in lockstep read them (lockstep.c), each predicted token gives one g4_kl_token (row.c), and
 * those give the figures (stats.c, result.c).  What is in memory is 64 rows of logits of each
 * model, never a text's.  A reference may also be a file: ours (store.c) or llama.cpp's
 * (codes.c). */
#ifndef G4_HARNESS_KL_H
#define G4_HARNESS_KL_H

#include "harness/runtime.h"
#include "ref/base/map.h"
#include "ref/input/tokenizer.h"

#include <jansson.h>

/* ---- windows of tokens ---- */

/* A window's last `scored` tokens are predicted, each from all that stand before it. */
typedef struct g4_kl_window {
    size_t first;            /* in g4_kl_text.ids */
    int32_t n, scored;       /* 1 <= scored < n; n - 1 tokens are read */
    int32_t lead;            /* what stood where <bos> stands now (halves); else ids[first] */
} g4_kl_window;

typedef struct g4_kl_text {
    g4_ids ids;              /* of all windows, one behind the other */
    g4_kl_window *windows;   /* malloc'ed */
    size_t count, room, documents;
    int64_t scored;          /* of all windows */
    int64_t longest;         /* n of the longest window */
    int64_t ctx, stride;     /* as used; stride 0: none */
    const char *protocol;    /* raw, framed, self */
    const char *cut;         /* rolling, halves, lm-eval; answers */
    double bytes, words;     /* of what is scored */
} g4_kl_text;

/* --data, --protocol, --windows, --ctx, --stride, --limit, --bos.  writer: who answers the
 * prompts of protocol self. */
g4_status g4_kl_text_open(g4_kl_text *t, const g4_options *o, const g4_runtime *writer,
                          const g4_tokenizer *tokenizer, g4_err *err);
/* Adds a window of these ids.  Errors: memory, or a total past the limits. */
g4_status g4_kl_text_add(g4_kl_text *t, const int32_t *ids, int64_t n, int64_t scored,
                         int32_t lead, g4_err *err);
/* Fills in bytes and words from the scored tokens of every window. */
g4_status g4_kl_text_measure(g4_kl_text *t, const g4_tokenizer *tokenizer, g4_err *err);
void g4_kl_text_free(g4_kl_text *t);

/* ---- what the reference says of a token's place ---- */

typedef enum g4_kl_kind { G4_KL_LOGITS, G4_KL_TOP, G4_KL_CODES } g4_kl_kind;

typedef struct g4_kl_ref {
    g4_kl_kind kind;
    const float *logits;                 /* LOGITS: [V] */
    const int32_t *ids;                  /* TOP: [k], likeliest first */
    const float *logprobs;               /* [k] theirs */
    int64_t k;
    float rest, token;                   /* mass of all others; log p of the token that came */
    const uint8_t *codes;                /* CODES: [V] 16-bit words, log p = scale * code + least */
    float scale, least;
} g4_kl_ref;

enum { G4_KL_TOP_SHARED = 5 };

/* One predicted token. */
typedef struct g4_kl_token {
    int32_t id;
    uint8_t top1, top5;                  /* same likeliest token?  how many of 5 are shared */
    double nll, nll_ref, kl, dp;         /* dp: p - p_ref of the token that came */
} g4_kl_token;

/* ref NULL: nll alone.  mark [V]: zeros, and zeros again afterwards. */
void g4_kl_row(g4_kl_token *out, const float *logits, int64_t V, int32_t id,
               const g4_kl_ref *ref, uint8_t *mark);
double g4_kl_log_sum(const float *logits, int64_t n);   /* log(sum(exp)) */
/* Ids and logits of the k largest, best first, of equals the lower id. */
void g4_kl_best(const float *logits, int64_t V, int64_t k, int32_t *ids, float *best);

/* ---- stored references ---- */

typedef struct g4_kl_source g4_kl_source;
struct g4_kl_source {
    /* Rows [first, first + *n) of all scored ones in order; *n may come back smaller (not 0).
     * What refs point at stays until the next call. */
    g4_status (*rows)(g4_kl_source *s, int64_t first, int64_t *n, g4_kl_ref *refs, g4_err *err);
    void (*close)(g4_kl_source *s);
    g4_kl_kind kind;
    int64_t vocab, k;
    const char *producer;                /* who made it, as the file says; or "" */
};

typedef struct g4_kl_sink g4_kl_sink;
struct g4_kl_sink {
    g4_status (*rows)(g4_kl_sink *s, const float *logits, const int32_t *ids, int64_t n,
                      g4_par *par, g4_err *err);
    g4_status (*commit)(g4_kl_sink *s, g4_err *err);
    void (*close)(g4_kl_sink *s);        /* uncommitted: leaves nothing */
};

/* 1: a model (folder or GGUF), else one of the two files by its first bytes. */
int g4_kl_is_model(const char *path);
g4_status g4_kl_source_open(g4_kl_source **s, g4_kl_text *t, const char *path, int64_t vocab,
                            const g4_tokenizer *tokenizer, g4_err *err);
g4_status g4_kl_codes_open(g4_kl_source **s, g4_kl_text *t, const char *path, int64_t vocab,
                           int32_t bos, g4_err *err);
g4_status g4_kl_store_open(g4_kl_source **s, g4_kl_text *t, const char *path, int64_t vocab,
                           g4_err *err);
/* path ends in .h5: ours, the k likeliest and the mass of the rest; else llama.cpp's. */
g4_status g4_kl_sink_open(g4_kl_sink **s, const g4_kl_text *t, const char *path, int64_t vocab,
                          int64_t k, const char *model, g4_err *err);
g4_status g4_kl_codes_create(g4_kl_sink **s, const g4_kl_text *t, const char *path,
                             int64_t vocab, g4_err *err);
g4_status g4_kl_store_create(g4_kl_sink **s, const g4_kl_text *t, const char *path,
                             int64_t vocab, int64_t k, const char *model, g4_err *err);

/* ---- the run ---- */

typedef struct g4_kl_run {
    const g4_kl_text *text;
    const g4_runtime *rt, *reference;    /* reference NULL: a source, or none */
    g4_kl_source *source;
    g4_kl_sink *sink;                    /* gets what rt says; NULL: nobody */
    g4_mask mask;
    int64_t chunk;                       /* most tokens a call; 0: default */
    g4_kl_token *tokens;                 /* [text->scored] filled */
    int silent;                          /* nothing on stderr */
} g4_kl_run;

g4_status g4_kl_run_all(const g4_kl_run *r, g4_err *err);

/* ---- figures ---- */

/* A mean with two standard errors: as if tokens were independent (what llama.cpp prints), and
 * of means that differ from window to window, which neighbours do not make too small. */
typedef struct g4_kl_mean {
    double value, se, se_windows;
} g4_kl_mean;

enum { G4_KL_QUANTILES = 5 };            /* median, 90, 95, 99, 99.9 % */
extern const double g4_kl_quantile_at[G4_KL_QUANTILES];

typedef struct g4_kl_stats {
    int64_t n;
    g4_kl_mean nll, nll_ref, log_ratio, kl, dp, dp2, top1, top5;
    g4_kl_mean quantiles[G4_KL_QUANTILES];   /* of kl; se by order statistics */
    double kl_min, kl_max, correlation;      /* of nll and nll_ref */
} g4_kl_stats;

g4_status g4_kl_stats_of(g4_kl_stats *s, const g4_kl_text *t, const g4_kl_token *tokens,
                         g4_err *err);
/* f(mean), where f' is its slope there. */
g4_kl_mean g4_kl_through(g4_kl_mean m, double value, double slope);

typedef struct g4_kl_result {
    const g4_options *o;
    const g4_kl_text *text;
    const g4_kl_stats *stats;
    const g4_kl_source *source;          /* NULL: none */
    const char *reference;               /* NULL: perplexity alone */
    const char *engine, *reference_engine;
    double seconds;
} g4_kl_result;

json_t *g4_kl_json(const g4_kl_result *r);                     /* NULL: out of memory */
void g4_kl_print(const g4_kl_result *r);
/* DIR/result.json and DIR/tokens.csv. */
g4_status g4_kl_write(const g4_kl_result *r, const g4_kl_token *tokens, const char *dir,
                      g4_err *err);

#endif
