/* SPDX-License-Identifier: Apache-2.0
 * Figures of a point: over all documents and of each domain, with 95 % intervals by bootstrap
 * over documents (tokens of one document go together).  Which documents a resample draws
 * depends on the seed alone, so that points are compared on the same draws. */
#include "harness/sensitivity/sensitivity.h"
#include "ref/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 1000, FIGURES = G4_SENS_FIGURES };
enum { KL, P99, FLIPS, RATIO, ACCURACY, ACCEPTANCE, CHANGE };
const char *const g4_sens_figures[FIGURES] = { "kl", "kl_p99", "flips", "ppl_ratio", "accuracy",
                                               "acceptance", "acceptance_change" };

/* Sums of one document. */
typedef struct sums {
    double n, kl, flips, log_ratio, questions, right, accepted, accepted_before;
} sums;

typedef struct ranked {
    double kl;
    int32_t doc, row;
} ranked;

typedef struct work {
    const g4_sens_study *s;
    const g4_sens_run *r;
    sums *docs;                  /* [documents] */
    ranked *tokens;              /* [scored], largest KL first */
    int32_t *drawn, *times;      /* documents of a domain; how often each is in the resample */
    double (*values)[FIGURES];   /* [RESAMPLES] */
} work;

static int falling(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->kl != y->kl ? (x->kl < y->kl) - (x->kl > y->kl) : x->row - y->row;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sum_docs(work *w)
{
    const g4_sens_data *d = &w->s->data;
    size_t question = 0;
    for (size_t i = 0; i < d->count; i++) {
        const g4_sens_doc *doc = &d->docs[i];
        sums *to = &w->docs[i];
        for (int64_t k = 0; w->r->tokens && k < doc->scored; k++) {
            int64_t row = doc->score_first + k;
            const g4_kl_token *t = &w->r->tokens[row];
            w->tokens[row] = (ranked){ -1.0, (int32_t)i, (int32_t)row };
            if (w->r->accepted) {
                if (k < doc->scored - doc->drafted) continue;
                to->accepted += w->r->accepted[row];
                to->accepted_before += w->s->reference_accepted[row];
            }
            to->n += 1.0;
            to->kl += t->kl;
            to->flips += !t->top1;
            to->log_ratio += t->nll - t->nll_ref;
            w->tokens[row] = (ranked){ t->kl, (int32_t)i, (int32_t)row };
        }
        if (!doc->choices || !w->r->tokens || w->r->accepted) continue;
        to->questions = 1.0;
        to->right = w->r->chosen[question++] == doc->answer;
    }
    if (w->r->tokens) qsort(w->tokens, (size_t)d->scored, sizeof *w->tokens, falling);
}

/* Figures of the documents as often as times says. */
static void figures(const work *w, const int32_t *docs, size_t count, double out[FIGURES])
{
    sums all = { 0 };
    for (size_t i = 0; i < count; i++) {
        const sums *d = &w->docs[docs[i]];
        double f = w->times[docs[i]];
        all.n += f * d->n;
        all.kl += f * d->kl;
        all.flips += f * d->flips;
        all.log_ratio += f * d->log_ratio;
        all.questions += f * d->questions;
        all.right += f * d->right;
        all.accepted += f * d->accepted;
        all.accepted_before += f * d->accepted_before;
    }
    double above = 0.0;
    out[P99] = NAN;
    for (int64_t k = 0; all.n > 0.0 && k < w->s->data.scored && above <= 0.01 * all.n; k++) {
        above += w->times[w->tokens[k].doc];
        out[P99] = w->tokens[k].kl;
    }
    out[KL] = all.kl / all.n;
    out[FLIPS] = all.flips / all.n;
    out[RATIO] = exp(all.log_ratio / all.n);
    out[ACCURACY] = all.questions > 0.0 ? all.right / all.questions : NAN;
    out[ACCEPTANCE] = w->r->accepted ? all.accepted / all.n : NAN;
    out[CHANGE] = w->r->accepted ? (all.accepted - all.accepted_before) / all.n : NAN;
}

/* A draw of as many documents. */
static void draw(const work *w, int domain, int resample, size_t count)
{
    memset(w->times, 0, w->s->data.count * sizeof *w->times);
    uint64_t stream = (uint64_t)(domain + 1) * RESAMPLES + (uint64_t)resample;
    for (size_t i = 0; i < count; i++) {
        double u = g4_rng_unit(w->s->o->seed, stream, i);
        w->times[w->drawn[(size_t)(u * (double)count)]]++;
    }
}

static void interval(double *sorted, size_t n, double *lo, double *hi)
{
    qsort(sorted, n, sizeof *sorted, rising);
    *lo = sorted[(size_t)(0.025 * (double)(n - 1))];
    *hi = sorted[(size_t)ceil(0.975 * (double)(n - 1))];
}

/* domain -1: all. */
static json_t *domain_json(work *w, int domain)
{
    const g4_sens_data *d = &w->s->data;
    double value[FIGURES], one[RESAMPLES], lo, hi, n = 0.0;
    size_t count = 0;
    for (size_t i = 0; i < d->count; i++)
        if (domain < 0 || d->docs[i].domain_id == domain) w->drawn[count++] = (int32_t)i;
    memset(w->times, 0, d->count * sizeof *w->times);
    for (size_t i = 0; i < count; i++) {
        w->times[w->drawn[i]] = 1;
        n += w->docs[w->drawn[i]].n;
    }
    figures(w, w->drawn, count, value);
    for (int r = 0; r < RESAMPLES; r++) {
        draw(w, domain, r, count);
        figures(w, w->drawn, count, w->values[r]);
    }
    json_t *out = json_pack("{s:I, s:I}", "tokens", (json_int_t)n, "documents",
                            (json_int_t)count);
    for (int k = 0; out && k < FIGURES; k++) {
        size_t finite = 0;
        for (int r = 0; r < RESAMPLES; r++)
            if (isfinite(w->values[r][k])) one[finite++] = w->values[r][k];
        if (!isfinite(value[k]) || !finite) continue;
        interval(one, finite, &lo, &hi);
        json_object_set_new(out, g4_sens_figures[k], json_pack("[f,f,f]", value[k], lo, hi));
    }
    return out;
}

static json_t *all_domains(work *w)
{
    json_t *out = json_object();
    for (int i = -1; w->r->tokens && i < (int)w->s->data.domains; i++) {
        const char *name = i < 0 ? "all" : w->s->data.domain[i];
        if (i >= 0 && (w->s->data.domains == 1 || strcmp(name, "all") == 0)) continue;
        json_t *d = domain_json(w, i);   /* a drafter predicts nothing of pictures */
        if (json_integer_value(json_object_get(d, "tokens")) > 0)
            json_object_set_new(out, name, d);
        else json_decref(d);
    }
    return out;
}

/* Lines whose answer was right and is not any more, and the reverse. */
static void turned(const work *w, json_t *lost, json_t *won)
{
    const g4_sens_data *d = &w->s->data;
    size_t question = 0;
    for (size_t i = 0; i < d->count; i++) {
        if (!d->docs[i].choices || !w->r->tokens || w->r->accepted) continue;
        int before = w->s->reference_choice[question] == d->docs[i].answer;
        int after = w->r->chosen[question++] == d->docs[i].answer;
        json_t *to = before && !after ? lost : !before && after ? won : NULL;
        if (to) json_array_append_new(to, json_integer((json_int_t)d->docs[i].line + 1));
    }
}

static json_t *line_of(work *w, const g4_sens_point *p)
{
    const g4_sens_study *s = w->s;
    double bits = g4_sens_point_bits(s, p);
    json_t *layers = json_array(), *docs = json_array(), *lost = json_array(), *won = json_array();
    for (int64_t l = 0; l < w->r->last; l++) {
        const g4_sens_error *e = &w->r->layers[l];
        json_array_append_new(layers, json_pack("[f,f]", e->relative,
                                                l < w->r->first ? 1.0 : e->cosine));
    }
    for (size_t i = 0; i < s->data.count; i++)
        json_array_append_new(docs, json_real(w->docs[i].kl));
    turned(w, lost, won);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:o,"
                     " s:o}", "point", p->name, "by", p->by, "what", p->what, "of", p->of, "leave",
                     p->leave, "type", p->type, "bits", isfinite(bits) ? bits : 0.0, "bytes",
                     (json_int_t)g4_sens_point_bytes(s, p), "first", (json_int_t)w->r->first,
                     "weight_error", w->r->weight_error, "seconds", w->r->seconds, "domains",
                     all_domains(w), "layers", layers, "document_kl", docs, "lost", lost, "won",
                     won);
}

json_t *g4_sens_measure(const g4_sens_study *s, const g4_sens_point *p, const g4_sens_run *r)
{
    size_t n = s->data.count;
    json_t *line = NULL;
    work w = { .s = s, .r = r, .docs = calloc(n, sizeof *w.docs),
               .tokens = malloc((size_t)s->data.scored * sizeof *w.tokens),
               .drawn = calloc(n, sizeof *w.drawn), .times = calloc(n, sizeof *w.times),
               .values = malloc(RESAMPLES * sizeof *w.values) };
    if (w.docs && w.tokens && w.drawn && w.times && w.values) {
        sum_docs(&w);
        line = line_of(&w, p);
    }
    free(w.docs);
    free(w.tokens);
    free(w.drawn);
    free(w.times);
    free(w.values);
    return line;
}

int g4_sens_difference(const g4_sens_study *s, const json_t *a, const json_t *b,
                       g4_sens_figure *f)
{
    const json_t *x = json_object_get(a, "document_kl"), *y = json_object_get(b, "document_kl");
    size_t n = s->data.count;
    double values[RESAMPLES], sum = 0.0;
    if (json_array_size(x) != n || json_array_size(y) != n) return 0;
    for (size_t i = 0; i < n; i++)
        sum += json_real_value(json_array_get(x, i)) - json_real_value(json_array_get(y, i));
    f->value = sum / (double)s->data.scored;
    for (int r = 0; r < RESAMPLES; r++) {
        double d = 0.0, tokens = 0.0;
        for (size_t i = 0; i < n; i++) {
            size_t k = (size_t)(g4_rng_unit(s->o->seed, (uint64_t)r, i) * (double)n);
            d += json_real_value(json_array_get(x, k)) - json_real_value(json_array_get(y, k));
            tokens += (double)s->data.docs[k].scored;
        }
        values[r] = d / tokens;
    }
    interval(values, RESAMPLES, &f->lo, &f->hi);
    return 1;
}
