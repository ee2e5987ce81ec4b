/* SPDX-License-Identifier: Apache-2.0
 * Every golden in the repository, held: `verify` as a user runs it, on each
 * golden/tiny/<model>/<case>.h5, at once and in chunks; and that it does not
 * hold when something is wrong. */
#include "harness/verify.h"

#include "harness/check/suite.h"
#include "kernels_opt/kernels.h"
#include "ref/base/map.h"

#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

Suite *check_verify(void);

enum { MAX_CASES = 200 };

static char cases[MAX_CASES][256];
static int case_count;

/* <folder>/<case>.h5, with the model beside or above them */
static const struct { const char *dir, *model; } folders[] = {
    { "golden/tiny/small", "golden/tiny/small/model" },
    { "golden/tiny/even", "golden/tiny/even/model" },
    { "golden/tiny/mini", "golden/tiny/mini/model" },
    { "golden/miniature/golden", "golden/miniature" },
};

enum { FOLDERS = sizeof folders / sizeof folders[0] };

static void find_cases(void)
{
    case_count = 0;
    for (int m = 0; m < FOLDERS; m++) {
        struct dirent **entry;
        const char *dir = folders[m].dir;
        int n = scandir(dir, &entry, NULL, alphasort);
        for (int i = 0; i < n; i++) {
            const char *dot = strrchr(entry[i]->d_name, '.');
            if (dot && strcmp(dot, ".h5") == 0 && case_count < MAX_CASES)
                snprintf(cases[case_count++], sizeof cases[0], "%s/%.180s", dir, entry[i]->d_name);
            free(entry[i]);
        }
        if (n >= 0) free(entry);
    }
}

static void open_runtime(g4_runtime *rt, const char *file, const char *isa)
{
    g4_err err = { G4_OK, "" };
    const char *model = NULL;
    for (int m = 0; m < FOLDERS; m++)
        if (strncmp(file, folders[m].dir, strlen(folders[m].dir)) == 0) model = folders[m].model;
    ck_assert_ptr_nonnull(model);
    g4_options o = { .model = model, .isa = isa, .threads = 2 };
    ck_assert_msg(g4_runtime_open(rt, &o, G4_DRAFT_IF_THERE, &err) == G4_OK, "%s", err.msg);
}

static void hold(const char *file, const g4_verify_options *v, const char *isa)
{
    g4_err err = { G4_OK, "" };
    g4_runtime rt;
    g4_compare *c;
    int n;
    open_runtime(&rt, file, isa);
    ck_assert_msg(g4_verify(&c, &n, &rt, &file, 1, v, &err) == G4_OK, "%s", err.msg);
    g4_compare_sum sum = g4_compare_finish(c);
    ck_assert_msg(sum.held, "%s: past its bound: %s", file,
                  sum.first ? sum.first->set->path : "nothing compared");
    g4_compare_close(c);
    g4_runtime_close(&rt);
}

START_TEST(at_once)
{
    g4_verify_options v = { .golden_flags = G4_GOLDEN_DIRECT };
    hold(cases[_i], &v, NULL);
}
END_TEST

START_TEST(in_chunks)
{
    g4_verify_options v = { .golden_flags = G4_GOLDEN_DIRECT, .chunk = 7 };
    hold(cases[_i], &v, NULL);
}
END_TEST

/* Files in one pass give, each, exactly what they give alone; a missing one ends the
 * list before it and is an error when it comes first. */
static void same_as_alone(const g4_runtime *rt, const g4_compare *c, const char *file,
                          const g4_verify_options *v)
{
    g4_err err = { G4_OK, "" };
    g4_compare *alone;
    int n;
    ck_assert_msg(g4_verify(&alone, &n, rt, &file, 1, v, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(n, 1);
    ck_assert_uint_eq(g4_compare_count(c), g4_compare_count(alone));
    ck_assert(g4_compare_finish(c).held);
    for (size_t i = 0; i < g4_compare_count(c); i++) {
        const g4_compare_row *a = g4_compare_at(c, i), *b = g4_compare_at(alone, i);
        ck_assert_str_eq(a->set->path, b->set->path);
        ck_assert_int_eq(a->compared, b->compared);
        ck_assert_msg(a->diff.relative_l2 == b->diff.relative_l2 &&
                      a->diff.max_abs == b->diff.max_abs && a->diff.unequal == b->diff.unequal,
                      "%s: %s: other bits in company", file, a->set->path);
    }
    g4_compare_close(alone);
}

START_TEST(together)
{
    static const char *const files[] = {
        "golden/tiny/small/text.h5", "golden/tiny/small/far.h5", "golden/tiny/small/mixed.h5",
        "golden/tiny/small/images2.h5", "golden/tiny/small/mtp_short.h5",
        "golden/tiny/small/greedy.h5", "golden/tiny/small/none.h5",
    };
    enum { FILES = sizeof files / sizeof *files, GOOD = FILES - 1 };
    static const int64_t chunks[] = { 0, 7 };
    g4_verify_options v = { .golden_flags = G4_GOLDEN_DIRECT, .chunk = chunks[_i] };
    g4_compare *c[FILES];
    g4_err err = { G4_OK, "" };
    g4_runtime rt;
    int n, most = 0;
    open_runtime(&rt, files[0], NULL);
    for (int at = 0; at < GOOD; at += n) {
        g4_status s = g4_verify(c, &n, &rt, files + at, FILES - at, &v, &err);
        ck_assert_msg(s == G4_OK, "%s", err.msg);
        ck_assert_int_le(at + n, GOOD);
        most = n > most ? n : most;
        for (int i = 0; i < n; i++) {
            same_as_alone(&rt, c[i], files[at + i], &v);
            g4_compare_close(c[i]);
        }
    }
    ck_assert_int_ge(most, 2);
    ck_assert_int_ne(g4_verify(c, &n, &rt, files + GOOD, 1, &v, &err), G4_OK);
    ck_assert_ptr_nonnull(strstr(err.msg, "none.h5"));
    g4_runtime_close(&rt);
}
END_TEST

/* A golden's mask is part of its truth: with another one the case must fall short. */
START_TEST(wrong_mask_shows)
{
    g4_err err = { G4_OK, "" };
    g4_runtime rt;
    g4_compare *c;
    int n;
    const char *file = "golden/tiny/small/image_hf_helper.h5";
    g4_verify_options v = { .golden_flags = G4_GOLDEN_DIRECT, .mask = "causal" };
    open_runtime(&rt, file, NULL);
    ck_assert_msg(g4_verify(&c, &n, &rt, &file, 1, &v, &err) == G4_OK, "%s", err.msg);
    g4_compare_sum sum = g4_compare_finish(c);
    ck_assert(!sum.held);
    ck_assert_ptr_nonnull(sum.first);
    g4_compare_close(c);
    g4_runtime_close(&rt);
}
END_TEST

/* Another model's golden is refused or falls short, never held. */
START_TEST(wrong_model_shows)
{
    g4_err err = { G4_OK, "" };
    g4_runtime rt;
    g4_compare *c = NULL;
    int n;
    const char *file = "golden/tiny/small/text.h5";
    g4_verify_options v = { .golden_flags = G4_GOLDEN_DIRECT };
    open_runtime(&rt, "golden/tiny/mini/text.h5", NULL);
    g4_status s = g4_verify(&c, &n, &rt, &file, 1, &v, &err);
    ck_assert(s == G4_EINPUT || (s == G4_OK && !g4_compare_finish(c).held));
    g4_compare_close(c);
    g4_runtime_close(&rt);
}
END_TEST

/* All kinds of case are there: a folder that lost its goldens is not green. */
START_TEST(every_kind_is_there)
{
    static const char *const kinds[] = { "/text.h5", "/text_long.h5", "/far.h5", "/image.h5",
                                         "/images2.h5", "/audio.h5", "/video.h5", "/mixed.h5",
                                         "/mtp_short.h5", "/mtp_long.h5", "/mtp_centroid.h5",
                                         "/greedy.h5", "/text.f64.h5", "/image_hf_helper.f64.h5",
                                         "/text_long.f64.h5", "/image_official.h5",
                                         "/image_hf_forward.h5", "/image_causal.h5",
                                         "/mix_videos_between.h5", "/mix_mask_causal.h5" };
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        int found = 0;
        for (int i = 0; i < case_count; i++) found |= strstr(cases[i], kinds[k]) != NULL;
        ck_assert_msg(found, "no golden%s", kinds[k]);
    }
}
END_TEST

Suite *check_verify(void)
{
    Suite *s = suite_create("verify");
    TCase *t = tcase_create("golden"), *more = tcase_create("more golden");
    find_cases();
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_kind_is_there);
    tcase_add_loop_test(t, at_once, 0, case_count);
    for (int i = 0; i < case_count; i++)   /* every other in check-all */
        tcase_add_loop_test(i % 2 ? more : t, in_chunks, i, i + 1);
    tcase_add_loop_test(t, together, 0, 2);
    tcase_add_test(t, wrong_mask_shows);
    tcase_add_test(t, wrong_model_shows);
    suite_add_tcase(s, t);
    tcase_set_tags(more, "slow");
    tcase_set_timeout(more, 120);
    suite_add_tcase(s, more);
    return s;
}
