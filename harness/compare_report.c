/* SPDX-License-Identifier: Apache-2.0
 * What a comparison found: a table for people, JSON for programs. */
#include "harness/compare.h"

#include "harness/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *g4_compare_short(const char *path)
{
    static const char root[] = "activations/";
    return strncmp(path, root, sizeof root - 1) == 0 ? path + sizeof root - 1 : path;
}

/* "14x64"; a scalar is "1". */
static void shape_text(char *buf, size_t size, const g4_golden_set *s)
{
    size_t at = 0;
    if (s->rank == 0) snprintf(buf, size, "1");
    for (int i = 0; i < s->rank && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%" PRId64, i ? "x" : "", s->dims[i]);
}

static const char *text_or(const g4_golden *g, const char *name, const char *instead)
{
    const char *t = g4_golden_text(g, name);
    return t ? t : instead;
}

static void print_head(const g4_compare *c, int twin, FILE *out)
{
    char safe[512];
    const g4_golden *g = g4_compare_golden(c);
    fprintf(out, "golden: %s", g4_text_safe(safe, sizeof safe, g4_golden_path(g)));
    fprintf(out, " (case %s", g4_text_safe(safe, sizeof safe, text_or(g, "case", "not named")));
    fprintf(out, ", %s, mask %s; ", g4_golden_text(g, "dtype"), text_or(g, "mask", "not named"));
    fprintf(out, "%s)\n", g4_text_safe(safe, sizeof safe, text_or(g, "producer",
                                                                  "producer not named")));
    fprintf(out, "ours:   %s\n\n", g4_text_safe(safe, sizeof safe, g4_compare_ours(c)));
    fprintf(out, "%-45s %-13s %9s %12s %9s %11s %9s ", "dataset", "shape", "max abs", "where",
            "rel L2", "cosine", "bound");
    if (twin) fprintf(out, "%9s ", "theirs");
    fprintf(out, "verdict\n");
}

static void print_row(const g4_compare_row *r, int twin, FILE *out)
{
    char shape[96], where[48];
    const g4_diff *d = &r->diff;
    shape_text(shape, sizeof shape, r->set);
    snprintf(where, sizeof where, "%" PRId64 ",%" PRId64, d->row, d->col);
    fprintf(out, "%-45s %-13s ", g4_compare_short(r->set->path), shape);
    if (r->set->role == G4_GOLDEN_EQUAL) {
        fprintf(out, "%9.3g %12s %9s %11s %9s ", d->max_abs, d->unequal ? where : "-", "", "",
                "equal");
        if (twin) fprintf(out, "%9s ", "");
        fprintf(out, "%s\n", r->held ? "ok" : "DIFFERS");
        return;
    }
    fprintf(out, "%9.2e %12s %9.2e %11.8f %9.2e ", d->max_abs, d->unequal ? where : "-",
            d->relative_l2, d->cosine, r->bound);
    if (twin && r->theirs >= 0) fprintf(out, "%9.2e ", r->theirs);
    else if (twin) fprintf(out, "%9s ", "-");
    fprintf(out, "%s\n", r->held ? "ok" : "PAST ITS BOUND");
    if (r->set->role == G4_GOLDEN_LOGITS)
        fprintf(out, "  KL mean %.2e max %.2e nats, top-1 %.2f %%, top-5 %.2f %%\n",
                r->logits.kl_mean, r->logits.kl_max, 100 * r->logits.top1,
                100 * r->logits.top5);
}

/* The first few of those that were not compared, or only of those not made. */
static void print_missing(const g4_compare *c, size_t missing, int unmade, FILE *out)
{
    enum { NAMES = 6 };
    size_t shown = 0;
    if (!missing) return;
    fprintf(out, "%zu of the golden's datasets were not %s:", missing,
            unmade ? "made by the model" : "compared");
    for (size_t i = 0; i < g4_compare_count(c) && shown < NAMES; i++) {
        const g4_compare_row *r = g4_compare_at(c, i);
        if (unmade ? g4_compare_unmade(c, r) : !r->compared)
            fprintf(out, "%s %s", shown++ ? "," : "", r->set->path);
    }
    fprintf(out, "%s\n", missing > NAMES ? ", ..." : "");
}

void g4_compare_table(const g4_compare *c, FILE *out)
{
    g4_compare_sum s = g4_compare_finish(c);
    int twin = 0;
    for (size_t i = 0; i < g4_compare_count(c); i++) twin |= g4_compare_at(c, i)->theirs >= 0;
    print_head(c, twin, out);
    for (size_t i = 0; i < g4_compare_count(c); i++)
        if (g4_compare_at(c, i)->compared) print_row(g4_compare_at(c, i), twin, out);
    fprintf(out, "\n%zu datasets compared, %zu past their bound", s.compared, s.failed);
    if (s.mean > 0) fprintf(out, "; geometric mean of relative L2 %.2e", s.mean);
    if (s.worst)
        fprintf(out, ", worst %.2e at %s", s.worst->diff.relative_l2, s.worst->set->path);
    fprintf(out, "\n");
    print_missing(c, s.missing, 0, out);
    if (s.twin_count)
        fprintf(out, "against float64, geometric mean over %zu datasets: ours %.2e, "
                "theirs in float32 %.2e: %s\n", s.twin_count, s.twin_ours, s.twin_theirs,
                s.twin_ours <= s.twin_theirs ? "ok" : "PAST ITS BOUND");
    if (s.first) fprintf(out, "first past its bound: %s\n", s.first->set->path);
    print_missing(c, s.unmade, 1, out);
    fprintf(out, "%s\n", s.held ? "held" : s.compared ? "fell short" :
            "fell short: nothing was compared");
}

/* ---- JSON ---- */

/* JSON has no NaN and no infinity: null. */
static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static int put(json_t *o, const char *key, json_t *value)
{
    return json_object_set_new(o, key, value);   /* a NULL value is -1, too */
}

static json_t *shape_json(const g4_golden_set *s)
{
    json_t *a = json_array();
    for (int i = 0; a && i < s->rank; i++)
        if (json_array_append_new(a, json_integer(s->dims[i])) != 0) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *row_json(const g4_compare_row *r)
{
    static const char *const of[] = {"relative_l2", "relative_l2", "equal", "max_abs"};
    const g4_diff *d = &r->diff;
    json_t *o = json_object();
    if (!o) return NULL;
    int bad = put(o, "name", json_string(r->set->path));
    bad |= put(o, "shape", shape_json(r->set));
    bad |= put(o, "max_abs", number(d->max_abs));
    bad |= put(o, "where", json_pack("[I,I]", (json_int_t)d->row, (json_int_t)d->col));
    bad |= put(o, "relative_l2", number(d->relative_l2));
    bad |= put(o, "cosine", number(d->cosine));
    bad |= put(o, "unequal", json_integer(d->unequal));
    bad |= put(o, "bound", number(r->bound));
    bad |= put(o, "bound_of", json_string(of[r->set->role]));
    bad |= put(o, "held", json_boolean(r->held));
    if (r->theirs >= 0) bad |= put(o, "theirs", number(r->theirs));
    if (r->set->role == G4_GOLDEN_LOGITS) {
        bad |= put(o, "kl_mean", number(r->logits.kl_mean));
        bad |= put(o, "kl_max", number(r->logits.kl_max));
        bad |= put(o, "top1", number(r->logits.top1));
        bad |= put(o, "top5", number(r->logits.top5));
    }
    if (bad) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* Summary fields; `worst` is the largest relative L2. */
static int put_sum(json_t *o, const g4_compare *c, const g4_compare_sum *s)
{
    char safe[512];
    const char *golden = g4_golden_path(g4_compare_golden(c));
    int bad = put(o, "golden", json_string(g4_text_safe(safe, sizeof safe, golden)));
    bad |= put(o, "ours", json_string(g4_text_safe(safe, sizeof safe, g4_compare_ours(c))));
    bad |= put(o, "held", json_boolean(s->held));
    bad |= put(o, "worst", s->worst ? number(s->worst->diff.relative_l2) : json_null());
    bad |= put(o, "worst_dataset", s->worst ? json_string(s->worst->set->path) : json_null());
    bad |= put(o, "first_past_bound", s->first ? json_string(s->first->set->path) : json_null());
    bad |= put(o, "compared", json_integer((json_int_t)s->compared));
    bad |= put(o, "failed", json_integer((json_int_t)s->failed));
    bad |= put(o, "geometric_mean", number(s->mean));
    if (s->twin_count) {
        bad |= put(o, "geometric_mean_ours", number(s->twin_ours));
        bad |= put(o, "geometric_mean_theirs", number(s->twin_theirs));
    }
    return bad;
}

json_t *g4_compare_json(const g4_compare *c)
{
    g4_compare_sum s = g4_compare_finish(c);
    json_t *o = json_object(), *sets = json_array(), *missing = json_array();
    json_t *unmade = json_array();
    int bad = !o || !sets || !missing || !unmade;
    for (size_t i = 0; !bad && i < g4_compare_count(c); i++) {
        const g4_compare_row *r = g4_compare_at(c, i);
        bad = r->compared ? json_array_append_new(sets, row_json(r)) :
              json_array_append_new(missing, json_string(r->set->path));
        if (!bad && g4_compare_unmade(c, r))
            bad = json_array_append_new(unmade, json_string(r->set->path));
    }
    if (!bad) bad = put_sum(o, c, &s);
    if (!bad) bad = json_object_set(o, "datasets", sets);
    if (!bad) bad = json_object_set(o, "not_compared", missing);
    if (!bad) bad = json_object_set(o, "not_made", unmade);
    json_decref(unmade);
    json_decref(sets);
    json_decref(missing);
    if (!bad) return o;
    json_decref(o);
    return NULL;
}
