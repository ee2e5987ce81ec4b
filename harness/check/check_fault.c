/* SPDX-License-Identifier: Apache-2.0
 * verify of a small case with the n-th allocation failing, for every n, once and
 * from there on: an error each time, nothing leaked, and the run that no failure
 * reaches holds.  Our own allocations only (see fault.h). */
#include "harness/check/fault.h"
#include "harness/verify.h"

#include <check.h>
#include <string.h>

Suite *check_fault(void);

typedef struct small_case {
    const char *model, *draft, *file;
} small_case;

static const small_case small_cases[] = {
    {"golden/tiny/mini/model", "golden/tiny/mini/model/assistant", "golden/tiny/mini/mtp_short.h5"},
    {"golden/tiny/mini/model", "golden/tiny/mini/model/assistant", "golden/tiny/mini/greedy.h5"},
    {"golden/tiny/small/model", "golden/tiny/small/model/assistant", "golden/tiny/small/mixed.h5"},
};

/* The whole command, library by library: open, run, compare, close.  No ck_assert in
 * here: libcheck's own allocations would fail, too. */
static g4_status whole(const small_case *c, int *held, g4_err *error)
{
    g4_err err = { G4_OK, "" };
    g4_runtime rt;
    g4_compare *cmp = NULL;
    int n;
    g4_options o = { .model = c->model, .draft = c->draft, .isa = NULL, .threads = 1 };
    g4_verify_options v = { .golden_flags = G4_GOLDEN_DIRECT, .chunk = 16 };
    g4_status s = g4_runtime_open(&rt, &o, G4_DRAFT_IF_THERE, &err);
    if (s == G4_OK) s = g4_verify(&cmp, &n, &rt, &c->file, 1, &v, &err);
    *held = s == G4_OK && g4_compare_finish(cmp).held;
    g4_compare_close(cmp);
    g4_runtime_close(&rt);
    *error = err;
    return s;
}

static void every_allocation(const small_case *c, int persistent, long step)
{
    int held;
    g4_err err;
    /* libraries fill their own caches first */
    ck_assert_msg(whole(c, &held, &err) == G4_OK, "%s", err.msg);
    for (long n = 1;; n += step) {
        fault_alloc_arm(n, persistent);
        g4_status s = whole(c, &held, &err);
        fault_end();
        ck_assert_msg(s == G4_OK || err.msg[0], "allocation %ld: an error without a message", n);
        ck_assert_msg(fault_live() == 0, "allocation %ld: something leaked", n);
        if (!fault_fired()) {
            ck_assert_int_eq(s, G4_OK);
            ck_assert(held);
            ck_assert_int_gt(n, 20);
            return;
        }
        ck_assert_msg(s == G4_ENOMEM, "allocation %ld (%s): status %d", n, fault_what(), (int)s);
    }
}

START_TEST(small_once)
{
    every_allocation(&small_cases[_i], 0, 1);
}
END_TEST

START_TEST(small_from_there_on)
{
    every_allocation(&small_cases[_i], 1, 1);
}
END_TEST

/* A file operation that fails or moves fewer bytes: an error or the same result,
 * never a wrong one. */
static void every_io(const small_case *c, int error)
{
    int held;
    g4_err err;
    for (long n = 1;; n++) {
        fault_io_arm(n, 0, error);
        g4_status s = whole(c, &held, &err);
        fault_end();
        ck_assert_msg(s == G4_OK || err.msg[0], "file operation %ld: no message", n);
        ck_assert_msg(fault_live() == 0, "file operation %ld: something leaked", n);
        ck_assert_msg(s != G4_OK || held, "file operation %ld (%s): a wrong result", n,
                      fault_what());
        if (!fault_fired()) return;
    }
}

START_TEST(file_errors)
{
    static const int errors[] = { 5 /* EIO */, 4 /* EINTR */, 28 /* ENOSPC */, FAULT_SHORT };
    every_io(&small_cases[0], errors[_i]);
}
END_TEST

Suite *check_fault(void)
{
    Suite *s = suite_create("fault");
    TCase *t = tcase_create("small"), *slow = tcase_create("all");
    int cases = (int)(sizeof small_cases / sizeof *small_cases);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, small_once, 0, 1);
    tcase_add_loop_test(t, file_errors, 0, 4);
    suite_add_tcase(s, t);
    tcase_set_timeout(slow, 900);
    tcase_set_tags(slow, "slow");
    tcase_add_loop_test(slow, small_once, 1, cases);
    tcase_add_loop_test(slow, small_from_there_on, 0, cases);
    suite_add_tcase(s, slow);
    return s;
}
