/* SPDX-License-Identifier: Apache-2.0
 * Comparing: values small enough to work out by hand, every kind of bound, what
 * NaN does, and the reports.  Goldens are written here, so that each number in
 * them stands beside the number expected of it. */
#include "harness/check/tempdir.h"
#include "harness/compare.h"
#include "harness/plot.h"
#include "ref/base/map.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Suite *check_compare(void);

static g4_err err;
static char dir[TEMPDIR_MAX], golden[TEMPDIR_MAX];

static g4_diff diff(const float *g, const float *o, int64_t rows, int64_t cols)
{
    return g4_diff_values((g4_values){ G4_GOLDEN_F32, g }, (g4_values){ G4_GOLDEN_F32, o }, rows,
                          cols);
}

/* Sums, roots and quotients below are of numbers that float64 holds exactly. */
START_TEST(measures_by_hand)
{
    static const float g[] = { 3, 0, 0, 4 }, o[] = { 3, 0, -5, 4 };
    g4_diff d = diff(g, o, 2, 2);
    ck_assert(d.max_abs == 5 && d.row == 1 && d.col == 0 && d.unequal == 1);
    ck_assert(d.relative_l2 == 1);                       /* 5 / 5 */
    /* 25 / (5 * sqrt(50)); one rounding each of root, product and quotient */
    ck_assert(fabs(d.cosine - 1 / sqrt(2)) <= 4 * 0x1p-53);
    d = diff(g, g, 2, 2);
    ck_assert(d.max_abs == 0 && d.relative_l2 == 0 && d.cosine == 1 && d.unequal == 0);
}
END_TEST

START_TEST(measures_zero_and_not_finite)
{
    static const float zero[2] = { 0, 0 }, tiny[2] = { 0, 1e-45f }, nan[2] = { 1, NAN };
    static const float one[2] = { 1, 1 }, inf[2] = { 1, INFINITY }, two[2] = { 2, 1 };
    g4_diff d = diff(zero, zero, 1, 2);
    ck_assert(d.relative_l2 == 0 && d.cosine == 1);
    d = diff(zero, tiny, 1, 2);
    ck_assert(isinf(d.relative_l2) && d.cosine == 0 && d.unequal == 1);
    d = diff(nan, nan, 1, 2);
    ck_assert(isnan(d.max_abs) && isnan(d.relative_l2) && d.col == 1 && d.unequal == 1);
    d = diff(one, nan, 1, 2);
    ck_assert(isnan(d.max_abs) && isnan(d.relative_l2) && isnan(d.cosine));
    d = diff(inf, inf, 1, 2);   /* equal, but nothing can be said of it */
    ck_assert(isnan(d.relative_l2));
    d = diff(inf, two, 1, 2);
    ck_assert(isnan(d.relative_l2));
    static const float first[3] = { NAN, 0, 0 }, last[3] = { 1, 9, 0 }, base[3] = { 1, 0, 0 };
    d = diff(base, first, 3, 1);
    ck_assert(isnan(d.max_abs) && d.row == 0);
    d = diff(base, last, 3, 1);
    ck_assert(d.max_abs == 9 && d.row == 1);
}
END_TEST

/* Rows of logits ln(p): softmax gives p back.  KL of (1/2, 1/4, 1/4) against
 * (1/4, 1/2, 1/4) is 1/2 ln 2 - 1/4 ln 2 = ln(2) / 4. */
START_TEST(measures_logits_by_hand)
{
    double a = log(0.5), b = log(0.25);
    const double g[] = { a, b, b, a, b, b }, o[] = { a + 3, b + 3, b + 3, b, a, b };
    g4_logit_diff d = g4_diff_logits((g4_values){ G4_GOLDEN_F64, g },
                                     (g4_values){ G4_GOLDEN_F64, o }, 2, 3);
    /* logs, exps and sums of three: a few roundings of numbers below 4 */
    double tolerance = 32 * 0x1p-52;
    ck_assert(fabs(d.kl_max - log(2) / 4) <= tolerance);
    ck_assert(fabs(d.kl_mean - log(2) / 8) <= tolerance);
    ck_assert(d.top1 == 0.5);
    ck_assert(d.top5 == 1);      /* fewer than five: all of them */
    const double x[] = { 9, 8, 7, 6, 5, 4, 3 }, y[] = { 9, 8, 7, 6, 3, 4, 5 };
    d = g4_diff_logits((g4_values){ G4_GOLDEN_F64, x }, (g4_values){ G4_GOLDEN_F64, y }, 1, 7);
    ck_assert(d.top1 == 1 && d.top5 == 0.8);
    const double n[] = { NAN, 1, 2 };
    d = g4_diff_logits((g4_values){ G4_GOLDEN_F64, g }, (g4_values){ G4_GOLDEN_F64, n }, 1, 3);
    ck_assert(isnan(d.kl_mean) && isnan(d.kl_max));
}
END_TEST

/* ---- whole files ---- */

enum { D = 4 };
static const int32_t ids[] = { 2, 3 };
static const int64_t two = 2, shape[] = { 2, D };
static const char embeddings[] = "activations/embeddings", norm[] = "activations/norm",
                  output[] = "activations/layers/00/output", logits[] = "activations/logits";

/* [2][4] with all 1, so that |golden| is sqrt(8), and one cell moved by e. */
static void write_file(const char *path, const char *dtype, double e0, double e1, double e2)
{
    const char *names[] = { embeddings, output, norm };
    const double moved[] = { e0, e1, e2 };
    int wide = strcmp(dtype, "float64") == 0;
    g4_golden_writer *w;
    ck_assert_msg(g4_golden_create(&w, path, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(g4_golden_put_text(w, "dtype", dtype, &err), G4_OK);
    ck_assert_int_eq(g4_golden_put_text(w, "case", "it's `x` \"y\"", &err), G4_OK);
    ck_assert_int_eq(g4_golden_write(w, "inputs/input_ids", G4_GOLDEN_I32, 1, &two, ids, &err),
                     G4_OK);
    for (int n = 0; n < 3; n++) {
        double d[2 * D];
        float f[2 * D];
        for (int i = 0; i < 2 * D; i++) d[i] = i == 5 ? 1 + moved[n] : 1;
        for (int i = 0; i < 2 * D; i++) f[i] = (float)d[i];
        ck_assert_int_eq(g4_golden_write(w, names[n], wide ? G4_GOLDEN_F64 : G4_GOLDEN_F32, 2,
                                         shape, wide ? (void *)d : (void *)f, &err), G4_OK);
    }
    ck_assert_msg(g4_golden_commit(w, &err) == G4_OK, "%s", err.msg);
}

static void setup(void)
{
    tempdir_make(dir);
    tempdir_path(golden, dir, "case.h5");
}

static void teardown(void)
{
    tempdir_remove(dir);
}

static g4_compare *compare_files(const char *name, const char *other)
{
    char a[TEMPDIR_MAX], b[TEMPDIR_MAX];
    g4_compare *c;
    g4_golden *g;
    tempdir_path(a, dir, name);
    tempdir_path(b, dir, other);
    ck_assert_msg(g4_compare_open(&c, a, b, 0, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_golden_open(&g, b, 0, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_compare_file(c, g, &err) == G4_OK, "%s", err.msg);
    g4_golden_close(g);
    return c;
}

static void write_in(const char *name, const char *dtype, double e0, double e1, double e2)
{
    char path[TEMPDIR_MAX];
    tempdir_path(path, dir, name);
    write_file(path, dtype, e0, e1, e2);
}

/* One cell of eight ones moved by e is a relative L2 of e / sqrt(8): the bound
 * 5e-4 lies at e = 0.00141421. */
START_TEST(holds_to_the_bound_and_names_the_first_past_it)
{
    write_in("case.h5", "float32", 0, 0, 0);
    write_in("in.h5", "float32", 0.00141, 0, 0.00141);
    write_in("past.h5", "float32", 0.00141, 0.00142, 0.1);
    write_in("nan.h5", "float32", 0, 0, NAN);
    g4_compare *c = compare_files("case.h5", "in.h5");
    g4_compare_sum s = g4_compare_finish(c);
    ck_assert(s.held && s.compared == 4 && s.missing == 0 && s.failed == 0);
    ck_assert_ptr_null(s.first);
    g4_compare_close(c);
    c = compare_files("case.h5", "past.h5");
    s = g4_compare_finish(c);
    ck_assert(!s.held && s.failed == 2);
    ck_assert_str_eq(s.first->set->path, output);
    ck_assert_str_eq(s.worst->set->path, norm);
    ck_assert(s.first->diff.row == 1 && s.first->diff.col == 1);
    g4_compare_close(c);
    c = compare_files("case.h5", "nan.h5");
    s = g4_compare_finish(c);
    ck_assert(!s.held && s.failed == 1 && isnan(s.worst->diff.relative_l2));
    g4_compare_close(c);
    c = compare_files("nan.h5", "nan.h5");   /* a NaN in the golden is data, never a pass */
    s = g4_compare_finish(c);
    ck_assert(!s.held);
    ck_assert_str_eq(s.first->set->path, norm);
    g4_compare_close(c);
}
END_TEST

/* One cell each: the twin says 1, the truth is 0, 1e-6 and 4e-6 away from it.
 * Single bounds are twice that; the geometric mean over the two that are not 0
 * is 2e-6.  Ours lies e from the truth. */
START_TEST(takes_the_twins_error_as_bound)
{
    static const struct {
        double e0, e1, e2;
        int held;
        const char *first;
    } cases[] = {
        { 0, 1e-6, 4e-6, 1, NULL },        /* themselves */
        { 0, 1.9e-6, 2e-6, 1, NULL },      /* sqrt(3.8) < 2 */
        { 0, 1.9e-6, 2.5e-6, 0, NULL },    /* sqrt(4.75) > 2: only the mean is past */
        { 0, 2.1e-6, 1e-7, 0, output },
        { 0, 0, 7e-6, 1, NULL },           /* a mean of 0 */
        { 1e-9, 1e-6, 1e-6, 0, embeddings },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[TEMPDIR_MAX];
        double one = 1;
        tempdir_path(path, dir, "case.f64.h5");
        g4_golden_writer *w;
        ck_assert_int_eq(g4_golden_create(&w, path, &err), G4_OK);
        ck_assert_int_eq(g4_golden_put_text(w, "dtype", "float64", &err), G4_OK);
        const char *names[] = { embeddings, output, norm };
        const double theirs[] = { 0, 1e-6, 4e-6 };
        const int64_t dims[] = { 1, 1 };
        for (int n = 0; n < 3; n++) {
            double truth = one + theirs[n];
            ck_assert_int_eq(g4_golden_write(w, names[n], G4_GOLDEN_F64, 2, dims, &truth, &err),
                             G4_OK);
        }
        ck_assert_int_eq(g4_golden_commit(w, &err), G4_OK);
        ck_assert_int_eq(g4_golden_create(&w, golden, &err), G4_OK);
        ck_assert_int_eq(g4_golden_put_text(w, "dtype", "float32", &err), G4_OK);
        const float f = 1;
        for (int n = 0; n < 3; n++)
            ck_assert_int_eq(g4_golden_write(w, names[n], G4_GOLDEN_F32, 2, dims, &f, &err), G4_OK);
        ck_assert_int_eq(g4_golden_commit(w, &err), G4_OK);
        g4_compare *c;
        ck_assert_msg(g4_compare_open(&c, path, "memory", 0, &err) == G4_OK, "%s", err.msg);
        const double e[] = { cases[i].e0, cases[i].e1, cases[i].e2 };
        for (int n = 0; n < 3; n++) {
            double ours = one + theirs[n] + e[n];
            ck_assert_int_eq(g4_compare_values(c, names[n], 1, 1, G4_GOLDEN_F64, &ours, &err),
                             G4_OK);
        }
        g4_compare_sum s = g4_compare_finish(c);
        ck_assert_msg(s.held == cases[i].held, "case %zu", i);
        ck_assert_uint_eq(s.twin_count, 2);
        ck_assert((s.first != NULL) == (cases[i].first != NULL));
        if (s.first) ck_assert_str_eq(s.first->set->path, cases[i].first);
        g4_compare_close(c);
    }
}
END_TEST

START_TEST(refuses_a_twin_of_another_request)
{
    g4_compare *c;
    char path[TEMPDIR_MAX], twin[TEMPDIR_MAX];
    static const int32_t other[] = { 2, 4 };
    g4_golden_writer *w;
    write_in("x.f64.h5", "float64", 0, 0, 0);
    tempdir_path(path, dir, "x.f64.h5");
    tempdir_path(twin, dir, "x.h5");
    ck_assert_int_eq(g4_golden_create(&w, twin, &err), G4_OK);
    ck_assert_int_eq(g4_golden_put_text(w, "dtype", "float32", &err), G4_OK);
    ck_assert_int_eq(g4_golden_write(w, "inputs/input_ids", G4_GOLDEN_I32, 1, &two, other, &err),
                     G4_OK);
    ck_assert_int_eq(g4_golden_commit(w, &err), G4_OK);
    ck_assert_int_eq(g4_compare_open(&c, path, "x", 0, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "has other input_ids"));
    write_in("x.h5", "float64", 0, 0, 0);
    ck_assert_int_eq(g4_compare_open(&c, path, "x", 0, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "is not float32"));
}
END_TEST

START_TEST(compares_what_there_is_and_refuses_other_shapes)
{
    static const float ones[2 * D] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    g4_compare *c;
    write_file(golden, "float32", 0, 0, 0);
    ck_assert_int_eq(g4_compare_open(&c, golden, "memory", 0, &err), G4_OK);
    ck_assert(!g4_compare_finish(c).held);   /* nothing compared is not "held" */
    ck_assert_int_eq(g4_compare_values(c, "inputs/input_ids", 2, 1, G4_GOLDEN_I32, ids, &err),
                     G4_OK);
    ck_assert(!g4_compare_finish(c).held);   /* nor is the request alone */
    ck_assert_int_eq(g4_compare_dataset(c, logits, 2, D, ones, &err), G4_OK);   /* not in it */
    ck_assert(!g4_compare_finish(c).held);
    ck_assert_int_eq(g4_compare_dataset(c, norm, D, 2, ones, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "activations/norm: is 2 x 4, but memory has 4 x 2"));
    ck_assert_int_eq(g4_compare_dataset(c, norm, 2, D, ones, &err), G4_OK);
    g4_compare_sum s = g4_compare_finish(c);
    ck_assert(s.held && s.compared == 2 && s.missing == 2);
    static const int32_t wrong[] = { 2, 4 };
    ck_assert_int_eq(g4_compare_values(c, "inputs/input_ids", 2, 1, G4_GOLDEN_I32, wrong, &err),
                     G4_OK);
    s = g4_compare_finish(c);
    ck_assert(!s.held);
    ck_assert_str_eq(s.first->set->path, "inputs/input_ids");
    g4_compare_close(c);
}
END_TEST

/* 1000 pixels: one of them may be off by one step of 1/255, not two, not by two. */
START_TEST(allows_pixels_their_rounding)
{
    enum { N = 1000 };
    static const int64_t dims[] = { 1, 1, N };
    static float px[N], ours[N];
    g4_compare *c;
    g4_golden_writer *w;
    for (int i = 0; i < N; i++) px[i] = ours[i] = (float)(i % 250) / 255;
    ck_assert_int_eq(g4_golden_create(&w, golden, &err), G4_OK);
    ck_assert_int_eq(g4_golden_put_text(w, "dtype", "float32", &err), G4_OK);
    ck_assert_int_eq(g4_golden_write(w, "inputs/pixel_values", G4_GOLDEN_F32, 3, dims, px, &err),
                     G4_OK);
    ck_assert_int_eq(g4_golden_commit(w, &err), G4_OK);
    ck_assert_int_eq(g4_compare_open(&c, golden, "x", 0, &err), G4_OK);
    for (int i = 0; i < 250; i++) {   /* every step, rounded to float32 on both sides */
        ours[i] = (float)(i + 1) / 255;
        ck_assert_int_eq(g4_compare_dataset(c, "inputs/pixel_values", 1, N, ours, &err), G4_OK);
        ck_assert_msg(g4_compare_at(c, 0)->held, "step %d", i);
        ours[i] = px[i];
    }
    ours[3] = px[4];
    ours[9] = px[10];
    ck_assert_int_eq(g4_compare_dataset(c, "inputs/pixel_values", 1, N, ours, &err), G4_OK);
    ck_assert(!g4_compare_at(c, 0)->held);
    ours[9] = px[9];
    ours[3] = px[5];
    ck_assert_int_eq(g4_compare_dataset(c, "inputs/pixel_values", 1, N, ours, &err), G4_OK);
    ck_assert(!g4_compare_at(c, 0)->held);
    g4_compare_close(c);
}
END_TEST

START_TEST(reports_in_json)
{
    write_in("case.h5", "float32", 0, 0, 0);
    write_in("bad.h5", "float32", 0, NAN, 0.5);
    g4_compare *c = compare_files("case.h5", "bad.h5");
    json_t *j = g4_compare_json(c), *sets = json_object_get(j, "datasets");
    ck_assert_ptr_nonnull(j);
    ck_assert(json_is_false(json_object_get(j, "held")));
    ck_assert(json_is_null(json_object_get(j, "worst")));   /* NaN has no JSON */
    ck_assert_str_eq(json_string_value(json_object_get(j, "worst_dataset")), output);
    ck_assert_str_eq(json_string_value(json_object_get(j, "first_past_bound")), output);
    ck_assert_uint_eq(json_array_size(sets), 4);
    json_t *row = json_array_get(sets, 3);
    ck_assert_str_eq(json_string_value(json_object_get(row, "name")), norm);
    ck_assert(json_real_value(json_object_get(row, "max_abs")) == 0.5);
    ck_assert(json_real_value(json_object_get(row, "bound")) == 5e-4);
    ck_assert(json_is_false(json_object_get(row, "held")));
    ck_assert(json_is_real(json_object_get(row, "relative_l2")));
    ck_assert(json_is_real(json_object_get(row, "cosine")));
    json_decref(j);
    g4_compare_close(c);
}
END_TEST

/* ---- the picture ---- */

/* An empty folder, or one with a gnuplot that runs `script`, instead of $PATH. */
static void set_path(const char *script)
{
    char path[TEMPDIR_MAX];
    if (script) {
        tempdir_write(dir, "gnuplot", script, strlen(script));
        tempdir_path(path, dir, "gnuplot");
        ck_assert_int_eq(chmod(path, 0755), 0);
    }
    ck_assert_int_eq(setenv("PATH", dir, 1), 0);
}

START_TEST(plots_only_to_names_it_can_give_to_gnuplot)
{
    const char *path = getenv("PATH");
    char *before = strdup(path ? path : "");
    set_path(NULL);
    ck_assert_int_eq(g4_plot_check("a.svg", &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "a.svg: --plot needs gnuplot, which is not installed"));
    set_path("#!/bin/sh\n");
    ck_assert_int_eq(g4_plot_check("a.svg", &err), G4_OK);
    ck_assert_int_eq(g4_plot_check("x/y.png", &err), G4_OK);
    ck_assert_int_eq(g4_plot_check("a.pdf", &err), G4_EINPUT);
    ck_assert_int_eq(g4_plot_check(".svg", &err), G4_EINPUT);
    ck_assert_int_eq(g4_plot_check("a\nset output 'b'.svg", &err), G4_EINPUT);
    ck_assert_int_eq(setenv("PATH", before, 1), 0);
    free(before);
}
END_TEST

/* A gnuplot that fails, dies, or writes half a picture: the old files, nothing else. */
START_TEST(keeps_old_pictures_when_drawing_fails)
{
    static const struct {
        const char *script, *says;
    } bad[] = {
        { "#!/bin/sh\nexit 3\n", "p.svg: gnuplot failed (exit 3)" },
        { "#!/bin/sh\nkill -9 $$\n", "p.svg: gnuplot was ended by signal 9" },
        { "#!/bin/sh\nexit 0\n", "p.svg: gnuplot wrote only a part of it" },
        { "#!/no/such/shell\n", "p.svg: gnuplot failed (exit 127)" },
    };
    static const char *const names[] = { "p.svg", "p.gp", "p.dat" };
    const char *search = getenv("PATH");
    char picture[TEMPDIR_MAX], path[TEMPDIR_MAX], *before = strdup(search ? search : "");
    write_in("case.h5", "float32", 0, 0, 0);
    write_in("out.h5", "float32", 0, 1e-6, 0);
    g4_compare *c = compare_files("case.h5", "out.h5");
    tempdir_path(picture, dir, "p.svg");
    for (int old = 0; old < 2; old++) {
        for (int i = 0; old && i < 3; i++) tempdir_write(dir, names[i], "older", 6);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            set_path(bad[i].script);
            g4_status s = g4_plot_compare(c, picture, &err);
            ck_assert_int_eq(setenv("PATH", before, 1), 0);
            ck_assert_int_ne(s, G4_OK);
            ck_assert_msg(strstr(err.msg, bad[i].says) != NULL, "%s", err.msg);
            ck_assert_int_eq(tempdir_count(dir), 3 + 3 * old);   /* goldens, gnuplot */
        }
    }
    for (int i = 0; i < 3; i++) {
        uint8_t *data;
        size_t size;
        tempdir_path(path, dir, names[i]);
        ck_assert_int_eq(g4_file_read(path, 100, &data, &size, &err), G4_OK);
        ck_assert_uint_eq(size, 6);
        ck_assert_mem_eq(data, "older", 6);
        free(data);
    }
    free(before);
    g4_compare_close(c);
}
END_TEST

/* The script in the program is the one in notebooks_data. */
START_TEST(keeps_one_script)
{
    uint8_t *data;
    size_t size, n = strlen(g4_plot_script());
    ck_assert_int_eq(g4_file_read("notebooks_data/plots/error_by_depth.gp", 1 << 20, &data, &size,
                                  &err), G4_OK);
    ck_assert_uint_gt(size, n);
    ck_assert_mem_eq(data + size - n, g4_plot_script(), n);
    free(data);
}
END_TEST

/* A name and a case full of what shells and gnuplot would run. */
START_TEST(draws_a_picture)
{
    char path[TEMPDIR_MAX];
    uint8_t *data;
    size_t size;
    write_in("case.h5", "float32", 0, 0, 0);
    write_in("out.h5", "float32", 0, 1e-6, NAN);
    g4_compare *c = compare_files("case.h5", "out.h5");
    tempdir_path(path, dir, "|it's `touch x` $(y).svg");
    g4_status s = g4_plot_compare(c, path, &err);
    ck_assert_msg(s == G4_OK || strstr(err.msg, "gnuplot, which is not installed"), "%s", err.msg);
    if (s == G4_OK) {
        ck_assert_int_eq(g4_file_read(path, 1 << 20, &data, &size, &err), G4_OK);
        ck_assert_ptr_nonnull(strstr((char *)data, "<svg"));
        ck_assert_ptr_nonnull(strstr((char *)data, "error by depth: case it"));
        free(data);
        ck_assert_int_eq(tempdir_count(dir), 5);   /* two goldens, .svg, .gp, .dat */
    }
    g4_compare_close(c);
}
END_TEST

Suite *check_compare(void)
{
    Suite *s = suite_create("compare");
    TCase *t = tcase_create("metrics");
    tcase_set_tags(t, "unit");
    tcase_add_test(t, measures_by_hand);
    tcase_add_test(t, measures_zero_and_not_finite);
    tcase_add_test(t, measures_logits_by_hand);
    suite_add_tcase(s, t);
    t = tcase_create("files");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, holds_to_the_bound_and_names_the_first_past_it);
    tcase_add_test(t, takes_the_twins_error_as_bound);
    tcase_add_test(t, refuses_a_twin_of_another_request);
    tcase_add_test(t, compares_what_there_is_and_refuses_other_shapes);
    tcase_add_test(t, allows_pixels_their_rounding);
    tcase_add_test(t, reports_in_json);
    suite_add_tcase(s, t);
    t = tcase_create("plot");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, plots_only_to_names_it_can_give_to_gnuplot);
    tcase_add_test(t, keeps_one_script);
    tcase_add_test(t, draws_a_picture);
    tcase_add_test(t, keeps_old_pictures_when_drawing_fails);
    suite_add_tcase(s, t);
    return s;
}
