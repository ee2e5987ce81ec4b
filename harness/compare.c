/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/compare.h"

#include "ref/base/map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double REAL_BOUND = 5e-4;      /* float32 golden: the figure */
static const double TWIN_FACTOR = 2;        /* on any single dataset */
static const double PIXEL_SHARE = 0.001;
/* One step of 8 bits; either side rounded its k/255 to float32, which moves a
 * value of at most 1 by 2^-25 at most. */
static const double PIXEL_BOUND = 1.0 / 255 + 0x1p-24;

struct g4_compare {
    g4_golden *golden, *twin;
    char *ours;
    g4_compare_row *rows;      /* one for each dataset of the golden */
    int expect_all;
};

/* "x.f64.h5" -> malloc'ed "x.h5"; NULL with *fits 0 if not so named. */
static char *twin_path(const char *path, int *fits)
{
    static const char tail[] = ".f64.h5";
    size_t len = strlen(path), n = sizeof tail - 1;
    *fits = len > n && strcmp(path + len - n, tail) == 0;
    if (!*fits) return NULL;
    char *twin = malloc(len);
    if (!twin) return NULL;
    memcpy(twin, path, len - n);
    memcpy(twin + len - n, ".h5", 4);
    return twin;
}

/* The twin must be of the same request, or its error means nothing. */
static g4_status twin_check(g4_compare *c, g4_err *err)
{
    g4_arena arena = {NULL};
    int32_t *a, *b;
    int64_t n, m;
    const char *path = g4_golden_path(c->twin), *ids = "inputs/input_ids";
    if (strcmp(g4_golden_text(c->twin, "dtype"), "float32") != 0)
        return g4_fail(err, G4_EINPUT, "%s: the float32 twin of %s is not float32", path,
                       g4_golden_path(c->golden));
    if (!g4_golden_find(c->golden, ids) || !g4_golden_find(c->twin, ids)) return G4_OK;
    g4_status s = g4_golden_ids(c->golden, ids, &arena, &a, &n, err);
    if (s == G4_OK) s = g4_golden_ids(c->twin, ids, &arena, &b, &m, err);
    if (s == G4_OK && (n != m || memcmp(a, b, (size_t)n * sizeof *a) != 0))
        s = g4_fail(err, G4_EINPUT, "%s: has other input_ids than %s, whose float32 twin it is",
                    path, g4_golden_path(c->golden));
    g4_arena_free(&arena);
    return s;
}

static g4_status open_twin(g4_compare *c, const char *golden, int flags, g4_err *err)
{
    int fits;
    const char *dtype = g4_golden_text(c->golden, "dtype");
    if (!dtype || strcmp(dtype, "float64") != 0) return G4_OK;
    char *path = twin_path(golden, &fits);
    if (!path) return fits ? g4_nomem(err, golden) : G4_OK;
    g4_status s = G4_OK;
    if (g4_path_kind(path) != 0) {
        s = g4_golden_open(&c->twin, path, flags, err);
        if (s == G4_OK) s = twin_check(c, err);
    }
    free(path);
    return s;
}

g4_status g4_compare_open(g4_compare **out, const char *golden, const char *ours, int flags,
                          g4_err *err)
{
    *out = NULL;
    g4_compare *c = calloc(1, sizeof *c);
    if (!c) return g4_nomem(err, golden);
    g4_status s = g4_golden_open(&c->golden, golden, flags, err);
    if (s == G4_OK) {
        size_t n = g4_golden_count(c->golden), len = strlen(ours) + 1;
        c->rows = calloc(n + 1, sizeof *c->rows);
        c->ours = malloc(len);
        if (!c->rows || !c->ours) {
            s = g4_nomem(err, golden);
        } else {
            memcpy(c->ours, ours, len);
            for (size_t i = 0; i < n; i++) {
                c->rows[i].set = g4_golden_at(c->golden, i);
                c->rows[i].theirs = -1;
            }
            s = open_twin(c, golden, flags, err);
        }
    }
    if (s != G4_OK) {
        g4_compare_close(c);
        return s;
    }
    *out = c;
    return G4_OK;
}

void g4_compare_close(g4_compare *c)
{
    if (!c) return;
    g4_golden_close(c->golden);
    g4_golden_close(c->twin);
    free(c->rows);
    free(c->ours);
    free(c);
}

g4_golden *g4_compare_golden(const g4_compare *c) { return c->golden; }
const char *g4_compare_ours(const g4_compare *c) { return c->ours; }
size_t g4_compare_count(const g4_compare *c) { return g4_golden_count(c->golden); }
const g4_compare_row *g4_compare_at(const g4_compare *c, size_t i) { return &c->rows[i]; }

/* Values of a dataset, malloc'ed. */
static g4_status load(g4_golden *g, const g4_golden_set *s, void **data, g4_err *err)
{
    *data = malloc((size_t)g4_golden_values(s) * g4_golden_size(s->type));
    if (!*data) return g4_nomem(err, g4_golden_path(g));
    g4_status st = g4_golden_read(g, s, *data, err);
    if (st == G4_OK) return G4_OK;
    free(*data);
    *data = NULL;
    return st;
}

static int is_real(const g4_golden_set *s)
{
    return s->role == G4_GOLDEN_REAL || s->role == G4_GOLDEN_LOGITS;
}

/* The twin's error on this dataset into row->theirs. */
static g4_status measure_twin(g4_compare *c, g4_compare_row *row, g4_values golden, g4_err *err)
{
    void *data;
    const g4_golden_set *s = row->set;
    row->theirs = -1;
    if (!c->twin || s->type != G4_GOLDEN_F64) return G4_OK;
    const g4_golden_set *t = g4_golden_find(c->twin, s->path);
    if (!t) return G4_OK;
    if (memcmp(t->dims, s->dims, sizeof s->dims) != 0)
        return g4_fail(err, G4_EINPUT, "%s: %s: has another shape than in %s",
                       g4_golden_path(c->twin), s->path, g4_golden_path(c->golden));
    G4_TRY(load(c->twin, t, &data, err));
    g4_diff d = g4_diff_values(golden, (g4_values){t->type, data}, g4_golden_rows(s),
                               g4_golden_cols(s));
    free(data);
    if (!(d.relative_l2 >= 0 && isfinite(d.relative_l2)))
        return g4_fail(err, G4_EINPUT, "%s: %s: is not finite", g4_golden_path(c->twin), s->path);
    /* equal is equal, even where squares underflow */
    row->theirs = d.relative_l2 > 0 || !d.unequal ? d.relative_l2 : 0x1p-1022;
    return G4_OK;
}

/* Every test reads "holds if d <= bound", so NaN never holds. */
static void judge(g4_compare_row *row)
{
    const g4_diff *d = &row->diff;
    double values = (double)g4_golden_values(row->set);
    switch (row->set->role) {
    case G4_GOLDEN_EQUAL:
        row->bound = 0;
        row->held = d->unequal == 0;
        return;
    case G4_GOLDEN_PIXELS:
        row->bound = PIXEL_BOUND;
        row->held = d->max_abs <= PIXEL_BOUND && (double)d->unequal <= PIXEL_SHARE * values;
        return;
    case G4_GOLDEN_REAL:
    case G4_GOLDEN_LOGITS:
        break;
    }
    row->bound = row->theirs < 0 ? REAL_BOUND : TWIN_FACTOR * row->theirs;
    row->held = row->bound > 0 ? d->relative_l2 <= row->bound : d->unequal == 0;
}

static g4_status measure(g4_compare *c, g4_compare_row *row, g4_values ours, g4_err *err)
{
    void *data;
    const g4_golden_set *s = row->set;
    int64_t rows = g4_golden_rows(s), cols = g4_golden_cols(s);
    G4_TRY(load(c->golden, s, &data, err));
    g4_values golden = {s->type, data};
    row->diff = g4_diff_values(golden, ours, rows, cols);
    if (s->role == G4_GOLDEN_LOGITS) row->logits = g4_diff_logits(golden, ours, rows, cols);
    g4_status st = measure_twin(c, row, golden, err);
    free(data);
    G4_TRY(st);
    row->compared = 1;
    judge(row);
    return G4_OK;
}

g4_status g4_compare_values(g4_compare *c, const char *path, int64_t rows, int64_t cols,
                            g4_golden_type type, const void *ours, g4_err *err)
{
    const g4_golden_set *s = g4_golden_find(c->golden, path);
    if (!s) return G4_OK;
    if (rows != g4_golden_rows(s) || cols != g4_golden_cols(s))
        return g4_fail(err, G4_EINPUT, "%s: %s: is %lld x %lld, but %s has %lld x %lld",
                       g4_golden_path(c->golden), path, (long long)g4_golden_rows(s),
                       (long long)g4_golden_cols(s), c->ours, (long long)rows, (long long)cols);
    return measure(c, &c->rows[s - g4_golden_at(c->golden, 0)], (g4_values){type, ours}, err);
}

g4_status g4_compare_dataset(g4_compare *c, const char *path, int64_t rows, int64_t cols,
                             const float *ours, g4_err *err)
{
    return g4_compare_values(c, path, rows, cols, G4_GOLDEN_F32, ours, err);
}

g4_status g4_compare_file(g4_compare *c, g4_golden *ours, g4_err *err)
{
    for (size_t i = 0; i < g4_compare_count(c); i++) {
        void *data;
        const g4_golden_set *s = c->rows[i].set, *o = g4_golden_find(ours, s->path);
        if (!o) continue;
        if (g4_golden_rows(o) != g4_golden_rows(s) || g4_golden_cols(o) != g4_golden_cols(s))
            return g4_fail(err, G4_EINPUT, "%s: %s: has another shape than in %s",
                           g4_golden_path(ours), s->path, g4_golden_path(c->golden));
        G4_TRY(load(ours, o, &data, err));
        g4_status st = measure(c, &c->rows[i], (g4_values){o->type, data}, err);
        free(data);
        G4_TRY(st);
    }
    return G4_OK;
}

/* The request itself; equal requests alone prove nothing. */
static int is_request(const g4_golden_set *s)
{
    static const char *const results[] = {"inputs/next_token", "inputs/position_id",
                                          "inputs/drafted", "inputs/generated",
                                          "inputs/assisted"};
    if (strncmp(s->path, "inputs/", 7) != 0) return 0;
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        if (strcmp(s->path, results[i]) == 0) return 0;
    return 1;
}

void g4_compare_expect_all(g4_compare *c) { c->expect_all = 1; }

int g4_compare_unmade(const g4_compare *c, const g4_compare_row *r)
{
    return c->expect_all && !r->compared && !is_request(r->set);
}

/* Is a worse than b?  NaN is worst. */
static int worse(double a, double b)
{
    return isnan(a) ? !isnan(b) : !isnan(b) && a > b;
}

g4_compare_sum g4_compare_finish(const g4_compare *c)
{
    g4_compare_sum s = {0};
    size_t results = 0, means = 0;
    double logs = 0, ours = 0, theirs = 0;
    for (size_t i = 0; i < g4_compare_count(c); i++) {
        const g4_compare_row *r = &c->rows[i];
        double rel = r->diff.relative_l2;
        if (!r->compared) {
            s.missing++;
            s.unmade += g4_compare_unmade(c, r) != 0;
            continue;
        }
        s.compared++;
        results += !is_request(r->set);
        s.failed += !r->held;
        if (!r->held && !s.first) s.first = r;
        if (!s.worst || worse(rel, s.worst->diff.relative_l2)) s.worst = r;
        if (!is_real(r->set)) continue;
        if (!(rel <= 0)) {   /* NaN goes in, and so comes out */
            logs += log(rel);
            means++;
        }
        if (r->theirs > 0) {
            ours += log(rel);   /* 0: -inf, a mean of 0 */
            theirs += log(r->theirs);
            s.twin_count++;
        }
    }
    if (means) s.mean = exp(logs / (double)means);
    if (s.twin_count) {
        s.twin_ours = exp(ours / (double)s.twin_count);
        s.twin_theirs = exp(theirs / (double)s.twin_count);
    }
    s.held = results > 0 && s.failed == 0 && s.unmade == 0 && s.twin_ours <= s.twin_theirs;
    return s;
}
