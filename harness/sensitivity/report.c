/* SPDX-License-Identifier: Apache-2.0
 * DIR/points.csv, depth.csv, noise.csv, channels.csv, questions.csv, predicted.csv and
 * sensitivity.h5: from the journal's lines, so that a resumed study gives the same bytes.
 *   sensitivity.h5, [P] points in the journal's order, [L] layers, [N] documents:
 *     points/name [P][160] text; points/{bits,bytes,weight_error} [P]
 *     points/{kl,kl_p99,flips,ppl_ratio,accuracy,acceptance,acceptance_change} [P][3] value
 *     and 95 % interval
 *     depth/{relative_l2,cosine} [P][L]; documents/kl [P][N] sums; noise [L] */
#include "golden/golden.h"
#include "harness/sensitivity/sensitivity.h"
#include "harness/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 160 };

typedef struct table {
    const g4_sens_study *s;
    g4_out out;
    g4_err *err;
} table;

static g4_status begin(table *t, const char *file, const char *head)
{
    char path[4096 + 32];
    snprintf(path, sizeof path, "%s/%s", t->s->o->out, file);
    t->out = (g4_out)G4_OUT_NONE;
    G4_TRY(g4_out_open(&t->out, path, t->err));
    return g4_out_printf(&t->out, t->err, "%s\n", head);
}

static g4_status end(table *t, g4_status s)
{
    if (s == G4_OK) s = g4_out_commit(&t->out, t->err);
    g4_out_abort(&t->out);
    return s;
}

const json_t *g4_sens_domain(const json_t *r, const char *domain)
{
    return json_object_get(json_object_get(r, "domains"), domain);
}

double g4_sens_number(const json_t *r, const char *key)
{
    const json_t *v = json_object_get(r, key);
    if (!v) v = json_array_get(json_object_get(g4_sens_domain(r, "all"), key), 0);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *text(const json_t *r, const char *key, char buf[NAME])
{
    const char *v = json_string_value(json_object_get(r, key));
    return g4_text_cell(buf, NAME, v ? v : "");
}

/* "" for what there is not. */
static g4_status put_number(table *t, double v)
{
    return isfinite(v) ? g4_out_printf(&t->out, t->err, ",%.9g", v)
                       : g4_out_write(&t->out, ",", 1, t->err);
}

/* by, what, layer, of, leave, type, bits, bytes: how every table's line of a point begins. */
static g4_status put_point(table *t, const json_t *r)
{
    static const char *const keys[] = { "by", "what", "of", "leave", "type" };
    char buf[NAME];
    const char *what = json_string_value(json_object_get(r, "what"));
    for (int k = 0; k < 5; k++)
        G4_TRY(g4_out_printf(&t->out, t->err, "%s%s", k ? "," : "", text(r, keys[k], buf)));
    int in_layer = what && strncmp(what, "blk.", 4) == 0;
    int is_layer = strcmp(text(r, "by", buf), "layer") == 0;
    G4_TRY(put_number(t, in_layer ? strtod(what + 4, NULL) : is_layer ? strtod(what, NULL) : NAN));
    G4_TRY(put_number(t, g4_sens_number(r, "bits")));
    return g4_out_printf(&t->out, t->err, ",%.0f", g4_sens_number(r, "bytes"));
}

/* ---- tables ---- */

/* NAN: no layer changes, only the head. */
static double error_of(const json_t *layers, size_t l)
{
    const json_t *e = json_array_get(layers, l);
    return e ? json_number_value(json_array_get(e, 0)) : NAN;
}

static g4_status put_domain(table *t, const json_t *r, const char *domain, const json_t *d)
{
    const json_t *layers = json_object_get(r, "layers");
    size_t first = (size_t)g4_sens_number(r, "first"), L = json_array_size(layers);
    G4_TRY(put_point(t, r));
    G4_TRY(g4_out_printf(&t->out, t->err, ",%s,%.0f,%.0f", domain, g4_sens_number(d, "tokens"),
                         g4_sens_number(d, "documents")));
    for (int k = 0; k < G4_SENS_FIGURES; k++)
        for (size_t i = 0; i < 3; i++) {
            const json_t *v = json_array_get(json_object_get(d, g4_sens_figures[k]), i);
            G4_TRY(put_number(t, v ? json_number_value(v) : NAN));
        }
    G4_TRY(g4_out_printf(&t->out, t->err, ",%zu,%zu", json_array_size(json_object_get(r, "lost")),
                         json_array_size(json_object_get(r, "won"))));
    G4_TRY(put_number(t, g4_sens_number(r, "weight_error")));
    G4_TRY(put_number(t, error_of(layers, first)));
    G4_TRY(put_number(t, error_of(layers, L - 1)));
    while (first < L && !(error_of(layers, first) > t->s->noise[first])) first++;
    G4_TRY(put_number(t, first < L ? (double)first : NAN));
    return g4_out_printf(&t->out, t->err, "\n");
}

static g4_status points(table *t)
{
    size_t i;
    json_t *r, *d;
    const char *domain;
    g4_status s = begin(t, "points.csv", "by,what,of,leave,type,layer,bits,bytes,domain,tokens,"
                        "documents,kl,kl_lo,kl_hi,kl_p99,kl_p99_lo,kl_p99_hi,flips,flips_lo,"
                        "flips_hi,ppl_ratio,ppl_ratio_lo,ppl_ratio_hi,accuracy,accuracy_lo,"
                        "accuracy_hi,acceptance,acceptance_lo,acceptance_hi,acceptance_change,"
                        "acceptance_change_lo,acceptance_change_hi,lost,won,weight_error,"
                        "first_error,last_error,noise_from");
    json_array_foreach(t->s->results, i, r)
        json_object_foreach(json_object_get(r, "domains"), domain, d)
            if (s == G4_OK) s = put_domain(t, r, domain, d);
    return end(t, s);
}

static g4_status put_depth(table *t, const json_t *r)
{
    size_t l, first = (size_t)g4_sens_number(r, "first");
    json_t *e;
    json_array_foreach(json_object_get(r, "layers"), l, e) {
        double relative = json_number_value(json_array_get(e, 0));
        if (l < first) continue;
        G4_TRY(put_point(t, r));
        G4_TRY(g4_out_printf(&t->out, t->err, ",%zu,%.9g,%.17g", l, relative,
                             json_number_value(json_array_get(e, 1))));
        G4_TRY(put_number(t, relative / t->s->noise[l]));
        G4_TRY(g4_out_printf(&t->out, t->err, "\n"));
    }
    return G4_OK;
}

static g4_status depth(table *t)
{
    size_t i;
    json_t *r;
    g4_status s = begin(t, "depth.csv", "by,what,of,leave,type,layer,bits,bytes,output,relative_l2,"
                        "cosine,noise_units");
    json_array_foreach(t->s->results, i, r) if (s == G4_OK) s = put_depth(t, r);
    return end(t, s);
}

static g4_status noise(table *t)
{
    g4_status s = begin(t, "noise.csv", "output,relative_l2");
    for (int64_t l = 0; s == G4_OK && l < t->s->candidate.config.num_hidden_layers; l++)
        s = g4_out_printf(&t->out, t->err, "%lld,%.9g\n", (long long)l, t->s->noise[l]);
    return end(t, s);
}

static g4_status channels(table *t)
{
    g4_status s = begin(t, "channels.csv", "layer,input_of,rank,column,rms,over_median");
    for (size_t i = 0; s == G4_OK && i < t->s->slots.count * G4_SENS_CHANNELS; i++) {
        const g4_sens_channel *c = &t->s->channels[i];
        const g4_sens_slot *slot = &t->s->slots.list[i / G4_SENS_CHANNELS];
        if (c->column < 0) continue;
        s = g4_out_printf(&t->out, t->err, "%lld,%s,%zu,%d,%.9g,%.9g\n", (long long)slot->layer,
                          slot->kind, i % G4_SENS_CHANNELS + 1, (int)c->column, c->rms, c->over);
    }
    return end(t, s);
}

static g4_status put_questions(table *t, const json_t *r, const char *key)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(r, key), i, v) {
        G4_TRY(put_point(t, r));
        G4_TRY(g4_out_printf(&t->out, t->err, ",%lld,%s\n", (long long)json_integer_value(v), key));
    }
    return G4_OK;
}

static g4_status questions(table *t)
{
    size_t i;
    json_t *r;
    g4_status s = begin(t, "questions.csv", "by,what,of,leave,type,layer,bits,bytes,line,answer");
    json_array_foreach(t->s->results, i, r) {
        if (s == G4_OK) s = put_questions(t, r, "lost");
        if (s == G4_OK) s = put_questions(t, r, "won");
    }
    return end(t, s);
}

static g4_status predicted(table *t)
{
    g4_status s = begin(t, "predicted.csv", "by,what,of,leave,type,layer,bits,bytes,kl,predicted");
    for (size_t i = 0; s == G4_OK && i < t->s->points.count; i++) {
        const g4_sens_point *p = &t->s->points.list[i];
        const json_t *r = g4_sens_result(t->s, p->name);
        double sum = g4_sens_predicted(t->s, p);
        if (strcmp(p->of, "weights") != 0 || strcmp(p->by, "tensor") == 0 || !(sum > 0.0)) continue;
        s = put_point(t, r);
        if (s == G4_OK) s = put_number(t, g4_sens_number(r, "kl"));
        if (s == G4_OK) s = put_number(t, sum);
        if (s == G4_OK) s = g4_out_printf(&t->out, t->err, "\n");
    }
    return end(t, s);
}

/* ---- HDF5 ---- */

static double cell(const json_t *r, const char *path, const char *key, int64_t i)
{
    const json_t *v = json_object_get(r, key);
    if (strcmp(path, "depth/cosine") == 0) v = json_array_get(json_array_get(v, (size_t)i), 1);
    else if (strcmp(path, "depth/relative_l2") == 0)
        v = json_array_get(json_array_get(v, (size_t)i), 0);
    else if (!v) v = json_array_get(json_object_get(g4_sens_domain(r, "all"), key), (size_t)i);
    else if (json_is_array(v)) v = json_array_get(v, (size_t)i);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static g4_status put_array(g4_golden_writer *w, const g4_sens_study *s, const char *path,
                           const char *key, int64_t cols, g4_err *err)
{
    int64_t dims[2] = { (int64_t)json_array_size(s->results), cols };
    double *all = calloc((size_t)(dims[0] * cols), sizeof *all);
    if (!all) return g4_nomem(err, path);
    for (int64_t i = 0; i < dims[0]; i++)
        for (int64_t k = 0; k < cols; k++)
            all[i * cols + k] = cell(json_array_get(s->results, (size_t)i), path, key, k);
    g4_status st = g4_golden_write(w, path, G4_GOLDEN_F64, cols > 1 ? 2 : 1, dims, all, err);
    free(all);
    return st;
}

static g4_status put_names(g4_golden_writer *w, const g4_sens_study *s, g4_err *err)
{
    size_t P = json_array_size(s->results);
    const int64_t dims[2] = { (int64_t)P, NAME };
    char (*names)[NAME] = calloc(P, sizeof *names);
    if (!names) return g4_nomem(err, "names");
    for (size_t i = 0; i < P; i++)
        snprintf(names[i], NAME, "%s",
                 json_string_value(json_object_get(json_array_get(s->results, i), "point")));
    g4_status st = g4_golden_write(w, "points/name", G4_GOLDEN_U8, 2, dims, names, err);
    free(names);
    return st;
}

static g4_status put_all(g4_golden_writer *w, const g4_sens_study *s, g4_err *err)
{
    int64_t L = s->candidate.config.num_hidden_layers;
    char path[64];
    G4_TRY(g4_golden_put_text(w, "format", "gemma4-sensitivity", err));
    G4_TRY(put_names(w, s, err));
    G4_TRY(put_array(w, s, "points/bits", "bits", 1, err));
    G4_TRY(put_array(w, s, "points/bytes", "bytes", 1, err));
    G4_TRY(put_array(w, s, "points/weight_error", "weight_error", 1, err));
    for (int k = 0; k < G4_SENS_FIGURES; k++) {
        snprintf(path, sizeof path, "points/%s", g4_sens_figures[k]);
        G4_TRY(put_array(w, s, path, g4_sens_figures[k], 3, err));
    }
    G4_TRY(put_array(w, s, "depth/relative_l2", "layers", L, err));
    G4_TRY(put_array(w, s, "depth/cosine", "layers", L, err));
    G4_TRY(put_array(w, s, "documents/kl", "document_kl", (int64_t)s->data.count, err));
    return g4_golden_write(w, "noise", G4_GOLDEN_F64, 1, &L, s->noise, err);
}

static g4_status write_h5(const g4_sens_study *s, g4_err *err)
{
    char path[4096 + 32];
    g4_golden_writer *w;
    snprintf(path, sizeof path, "%s/sensitivity.h5", s->o->out);
    G4_TRY(g4_golden_create(&w, path, err));
    g4_status st = put_all(w, s, err);
    if (st == G4_OK) return g4_golden_commit(w, err);
    g4_golden_abort(w);
    return st;
}

g4_status g4_sens_report(const g4_sens_study *s, g4_err *err)
{
    table t = { .s = s, .err = err };
    char path[4096 + 32];
    G4_TRY(points(&t));
    G4_TRY(depth(&t));
    G4_TRY(noise(&t));
    G4_TRY(channels(&t));
    G4_TRY(questions(&t));
    G4_TRY(predicted(&t));
    G4_TRY(write_h5(s, err));
    snprintf(path, sizeof path, "%s/summary.md", s->o->out);
    return g4_sens_summary(s, path, err);
}
