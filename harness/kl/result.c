/* SPDX-License-Identifier: Apache-2.0
 * What is shown and written: one JSON object, a table for people, tokens.csv. */
#include "harness/kl/kl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON ---- */

/* A figure that there is none of is null. */
static int put(json_t *to, const char *name, double v)
{
    return json_object_set_new(to, name, isfinite(v) ? json_real(v) : json_null());
}

static int put_mean(json_t *to, const char *name, g4_kl_mean m)
{
    json_t *j = json_object();
    int bad = !j || put(j, "value", m.value) || put(j, "se", m.se) ||
              put(j, "se_windows", m.se_windows);
    return json_object_set_new(to, name, j) || bad;
}

static g4_kl_mean perplexity_of(g4_kl_mean nll)
{
    return g4_kl_through(nll, exp(nll.value), exp(nll.value));
}

/* Per unit of which there are `units` where there are n tokens. */
static g4_kl_mean per_unit(g4_kl_mean nll, int64_t n, double units)
{
    double f = (double)n / units;
    return g4_kl_through(nll, nll.value * f, f);
}

static int put_text(json_t *to, const g4_kl_result *r)
{
    const g4_kl_text *t = r->text;
    const g4_options *o = r->o;
    int bad = json_object_set_new(to, "model", json_string(o->model)) ||
              json_object_set_new(to, "engine", json_string(r->engine)) ||
              json_object_set_new(to, "protocol", json_string(t->protocol)) ||
              json_object_set_new(to, "windows", json_string(t->cut)) ||
              json_object_set_new(to, "bos", json_string(o->bos ? o->bos : "auto")) ||
              json_object_set_new(to, "ctx", json_integer(t->ctx)) ||
              json_object_set_new(to, "stride", t->stride ? json_integer(t->stride)
                                                          : json_null()) ||
              json_object_set_new(to, "documents", json_integer((json_int_t)t->documents)) ||
              json_object_set_new(to, "window_count", json_integer((json_int_t)t->count)) ||
              json_object_set_new(to, "tokens", json_integer(t->scored)) ||
              json_object_set_new(to, "bytes", json_integer((json_int_t)t->bytes)) ||
              json_object_set_new(to, "words", json_integer((json_int_t)t->words));
    if (o->data) bad = bad || json_object_set_new(to, "data", json_string(o->data));
    return bad;
}

static int put_perplexity(json_t *to, const g4_kl_result *r)
{
    const g4_kl_stats *s = r->stats;
    const g4_kl_text *t = r->text;
    g4_kl_mean byte = per_unit(s->nll, s->n, t->bytes), word = per_unit(s->nll, s->n, t->words);
    return put_mean(to, "nll", s->nll) ||
           put_mean(to, "token_perplexity", perplexity_of(s->nll)) ||
           put_mean(to, "byte_perplexity", perplexity_of(byte)) ||
           put_mean(to, "word_perplexity", perplexity_of(word)) ||
           put_mean(to, "bits_per_byte", g4_kl_through(byte, byte.value / M_LN2, 1.0 / M_LN2));
}

static const char *const quantile_names[G4_KL_QUANTILES] = {
    "median", "p90", "p95", "p99", "p99_9"
};

static const char *kind_of(const g4_kl_source *s)
{
    return !s ? "model" : s->kind == G4_KL_TOP ? "stored" : "llama.cpp";
}

static int put_kl(json_t *to, const g4_kl_result *r)
{
    const g4_kl_stats *s = r->stats;
    json_t *kl = json_object();
    double rms = sqrt(s->dp2.value);
    int bad = !kl || put_mean(to, "perplexity_ratio", perplexity_of(s->log_ratio)) ||
              put_mean(to, "log_perplexity_ratio", s->log_ratio) ||
              put_mean(to, "reference_perplexity", perplexity_of(s->nll_ref)) ||
              put(to, "nll_correlation", s->correlation) ||
              put_mean(to, "top1_agreement", s->top1) ||
              put_mean(to, "top5_agreement", s->top5) || put_mean(to, "mean_dp", s->dp) ||
              put_mean(to, "rms_dp", g4_kl_through(s->dp2, rms, 0.5 / rms)) ||
              put_mean(kl, "mean", s->kl) || put(kl, "max", s->kl_max) ||
              put(kl, "min", s->kl_min);
    for (int i = 0; kl && i < G4_KL_QUANTILES; i++)
        bad = put_mean(kl, quantile_names[i], s->quantiles[i]) || bad;
    return json_object_set_new(to, "kl", kl) || bad ||
           json_object_set_new(to, "reference", json_string(r->reference)) ||
           json_object_set_new(to, "reference_kind", json_string(kind_of(r->source))) ||
           json_object_set_new(to, "reference_engine", r->source ? json_null()
                               : json_string(r->reference_engine)) ||
           json_object_set_new(to, "reference_top_k", r->source && r->source->k
                               ? json_integer(r->source->k) : json_null());
}

json_t *g4_kl_json(const g4_kl_result *r)
{
    json_t *root = json_object();
    int bad = !root || put_text(root, r) || put_perplexity(root, r) ||
              (r->reference && put_kl(root, r)) || put(root, "seconds", r->seconds);
    if (!bad) return root;
    json_decref(root);
    return NULL;
}

/* ---- a table ---- */

static void line(const char *name, g4_kl_mean m, double scale)
{
    printf("%-26s %12.6g", name, scale * m.value);
    if (isfinite(m.se)) printf(" +- %-10.3g", scale * m.se);
    if (isfinite(m.se_windows)) printf(" (windows: %.3g)", scale * m.se_windows);
    putchar('\n');
}

static void print_kl(const g4_kl_result *r)
{
    const g4_kl_stats *s = r->stats;
    static const char *const names[G4_KL_QUANTILES] = {
        "KL median", "KL 90 %", "KL 95 %", "KL 99 %", "KL 99.9 %"
    };
    double rms = sqrt(s->dp2.value);
    printf("\nagainst %s (%s%s%s)\n", r->reference, kind_of(r->source),
           r->source ? "" : ", engine ", r->source ? "" : r->reference_engine);
    if (r->source && r->source->kind == G4_KL_TOP)
        printf("KL of the %lld likeliest tokens and one remainder: a lower bound\n",
               (long long)r->source->k);
    line("reference's perplexity", perplexity_of(s->nll_ref), 1.0);
    line("perplexity ratio", perplexity_of(s->log_ratio), 1.0);
    line("ln of it", s->log_ratio, 1.0);
    line("KL mean, nats", s->kl, 1.0);
    for (int i = 0; i < G4_KL_QUANTILES; i++) line(names[i], s->quantiles[i], 1.0);
    line("KL largest", (g4_kl_mean){ s->kl_max, NAN, NAN }, 1.0);
    line("same likeliest token, %", s->top1, 100.0);
    line("shared of the 5 best, %", s->top5, 100.0);
    line("RMS of p - p_ref, %", g4_kl_through(s->dp2, rms, 0.5 / rms), 100.0);
}

void g4_kl_print(const g4_kl_result *r)
{
    const g4_kl_text *t = r->text;
    const g4_kl_stats *s = r->stats;
    printf("protocol %s, windows %s, at most %lld tokens", t->protocol, t->cut, (long long)t->ctx);
    if (t->stride) printf(", stride %lld", (long long)t->stride);
    printf(": %zu of them, %lld tokens predicted\n", t->count, (long long)t->scored);
    line("perplexity of a token", perplexity_of(s->nll), 1.0);
    line("of a word", perplexity_of(per_unit(s->nll, s->n, t->words)), 1.0);
    line("of a byte", perplexity_of(per_unit(s->nll, s->n, t->bytes)), 1.0);
    if (r->reference) print_kl(r);
}

/* ---- files ---- */

static g4_status write_result(const g4_kl_result *r, const char *path, g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    json_t *j = g4_kl_json(r);
    char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    if (!text) return g4_nomem(err, path);
    g4_status s = g4_out_open(&out, path, err);
    if (s == G4_OK) s = g4_out_printf(&out, err, "%s\n", text);
    if (s == G4_OK) s = g4_out_commit(&out, err);
    g4_out_abort(&out);
    free(text);
    return s;
}

static g4_status write_rows(const g4_kl_result *r, const g4_kl_token *k, g4_out *out, g4_err *err)
{
    const g4_kl_text *t = r->text;
    G4_TRY(g4_out_printf(out, err, "window,place,id,nll%s\n",
                         r->reference ? ",nll_ref,kl,dp,top1,top5" : ""));
    for (size_t w = 0; w < t->count; w++) {
        const g4_kl_window *win = &t->windows[w];
        for (int32_t i = win->n - win->scored; i < win->n; i++, k++) {
            G4_TRY(g4_out_printf(out, err, "%zu,%d,%d,%.9g", w, (int)i, (int)k->id, k->nll));
            if (r->reference)
                G4_TRY(g4_out_printf(out, err, ",%.9g,%.9g,%.9g,%d,%d", k->nll_ref, k->kl, k->dp,
                                     k->top1, k->top5));
            G4_TRY(g4_out_printf(out, err, "\n"));
        }
    }
    return G4_OK;
}

g4_status g4_kl_write(const g4_kl_result *r, const g4_kl_token *tokens, const char *dir,
                      g4_err *err)
{
    g4_arena a = { NULL };
    g4_out out = G4_OUT_NONE;
    const char *result = g4_arena_printf(&a, "%s/result.json", dir);
    const char *csv = g4_arena_printf(&a, "%s/tokens.csv", dir);
    g4_status s = result && csv ? g4_out_open(&out, csv, err) : g4_nomem(err, dir);
    if (s == G4_OK) s = write_rows(r, tokens, &out, err);
    if (s == G4_OK) s = g4_out_commit(&out, err);
    g4_out_abort(&out);
    if (s == G4_OK) s = write_result(r, result, err);
    g4_arena_free(&a);
    return s;
}
