/* SPDX-License-Identifier: Apache-2.0
 * Too little memory is an error before anything is taken, and what it says would fit, fits. */
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/room.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *check_room(void);

static program_result run;
static const program_place none[] = { { NULL, NULL } };

/* Sanitizers reserve terabytes of addresses: a limit of them is no memory limit there. */
static int limits_work(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return 0;
#endif
#endif
    return 1;
}

static void limited(const char *line, rlim_t bytes)
{
    struct rlimit before, now;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    now = before;
    now.rlim_cur = bytes;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &now), 0);
    program_run(&run, line, none, NULL, RLIM_INFINITY);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
}

START_TEST(address_space)
{
    struct rlimit before, now;
    if (!limits_work()) {
        check_skip("room", "a sanitizer's addresses are without limit");
        return;
    }
    uint64_t all = g4_room_now().bytes;
    ck_assert(all > 0 && all < UINT64_MAX);   /* /proc/meminfo is read, at least */
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    now = before;
    now.rlim_cur = 4ull << 40;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &now), 0);
    g4_room wide = g4_room_now();
    now.rlim_cur = 1ull << 32;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &now), 0);
    g4_room r = g4_room_now();
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_str_ne(wide.why, "ulimit -v");
    ck_assert(r.bytes < 1ull << 32);
    if (all > 1ull << 32) ck_assert_str_eq(r.why, "ulimit -v");
}
END_TEST

/* generate with that much address space: refused; then as the message says: it runs. */
START_TEST(what_is_said_fits)
{
    static const char asked[] = "generate --model golden/tiny/even/model --prompt ab --threads 1 "
                                "--max-tokens 1 --ignore-eos --ctx 600000";
    char line[256];
    rlim_t space;
    if (!limits_work()) {
        check_skip("room", "a sanitizer's addresses are without limit");
        return;
    }
    program_run(&run, "help", none, NULL, RLIM_INFINITY);
    if (!program_runnable(&run, "room")) return;
    /* As little as the same run needs with a small context, and 100 MB: a context of 600,000
     * takes 4 times 64 MB of cache and angles in F32. */
    for (space = 64 << 20;; space += 8 << 20) {
        ck_assert(space < 2u << 30);
        limited("generate --model golden/tiny/even/model --prompt ab --threads 1 --max-tokens 1 "
                "--ignore-eos --ctx 256", space);
        if (run.code == 0) break;
    }
    limited(asked, space + (100 << 20));
    program_expect_error(&run, "a context of 600000 tokens needs");
    ck_assert_msg(strstr(run.err, "ulimit -v has"), "%s", run.err);
    const char *ctx = strstr(run.err, "--ctx ");
    ck_assert_msg(ctx != NULL && strstr(ctx, " would fit"), "%s", run.err);
    long fits = strtol(ctx + 6, NULL, 10);
    ck_assert(fits >= 256 && fits < 600000 && fits % 256 == 0);
    snprintf(line, sizeof line, "generate --model golden/tiny/even/model --prompt ab --threads 1 "
             "--max-tokens 1 --ignore-eos --ctx %ld", fits);
    limited(line, space + (100 << 20));
    ck_assert_msg(run.code == 0, "%s: %s", line, run.err);
    limited(asked, space + (800 << 20));
    ck_assert_msg(run.code == 0, "%s", run.err);
}
END_TEST

Suite *check_room(void)
{
    Suite *s = suite_create("room");
    TCase *tc = tcase_create("room");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, address_space);
    tcase_add_test(tc, what_is_said_fits);
    suite_add_tcase(s, tc);
    return s;
}
