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

/* golden/tiny/<model>/<case>.h5 */
static void find_cases(void)
{
    static const char *const models[] = { "small", "even", "mini" };
    case_count = 0;
    for (int m = 0; m < 3; m++) {
        struct dirent **entry;
        char dir[64];
        snprintf(dir, sizeof dir, "golden/tiny/%s", models[m]);
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
    char model[300];
    snprintf(model, sizeof model, "%.*s/model", (int)(strrchr(file, '/') - file), file);
    g4_options o = { .model = model, .isa = isa, .threads = 2 };
    ck_assert_msg(g4_runtime_open(rt, &o, G4_DRAFT_IF_THERE, &err) == G4_OK, "%s", err.msg);
}

static void hold(const char *file, const g4_verify_options *v, const char *isa)
{
    g4_err err = { G4_OK, "" };
    g4_runtime rt;
    g4_compare *c;
    open_runtime(&rt, file, isa);
    ck_assert_msg(g4_verify(&c, &rt, file, v, &err) == G4_OK, "%s", err.msg);
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

/* A golden's mask is part of its truth: with another one the case must fall short. */
START_TEST(wrong_mask_shows)
{
    g4_err err = { G4_OK, "" };
    g4_runtime rt;
    g4_compare *c;
    const char *file = "golden/tiny/small/image_hf_helper.h5";
    g4_verify_options v = { .golden_flags = G4_GOLDEN_DIRECT, .mask = "causal" };
    open_runtime(&rt, file, NULL);
    ck_assert_msg(g4_verify(&c, &rt, file, &v, &err) == G4_OK, "%s", err.msg);
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
    g4_verify_options v = { .golden_flags = G4_GOLDEN_DIRECT };
    open_runtime(&rt, "golden/tiny/mini/text.h5", NULL);
    g4_status s = g4_verify(&c, &rt, "golden/tiny/small/text.h5", &v, &err);
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
    TCase *t = tcase_create("golden");
    find_cases();
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_kind_is_there);
    tcase_add_loop_test(t, at_once, 0, case_count);
    tcase_add_loop_test(t, in_chunks, 0, case_count);
    tcase_add_test(t, wrong_mask_shows);
    tcase_add_test(t, wrong_model_shows);
    suite_add_tcase(s, t);
    return s;
}
