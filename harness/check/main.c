/* SPDX-License-Identifier: Apache-2.0
 * The test program: every harness/check/check_<unit>.c gives one suite, listed
 * by the Makefile in suites.inc.  libcheck's own variables select and steer:
 *   CK_RUN_SUITE=base  CK_RUN_CASE=...  CK_INCLUDE_TAGS=unit  CK_FORK=no
 *   CK_VERBOSITY=verbose (every test by name)
 * The last line sums up; the exit status is 1 if anything failed. */
#include "harness/check/suite.h"

#include <check.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define G4_SUITE(name) Suite *check_##name(void);
#include "suites.inc"
#undef G4_SUITE

/* Shared with the child process of each test, so that its skips are counted here. */
static int *skipped;

void check_skip(const char *what, const char *why)
{
    fprintf(stderr, "SKIP %s: %s\n", what, why);
    if (skipped) __atomic_fetch_add(skipped, 1, __ATOMIC_RELAXED);
}

int main(void)
{
    setlocale(LC_ALL, "C");
    void *page = mmap(NULL, sizeof *skipped, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        perror("check: mmap");
        return 2;
    }
    skipped = page;
    SRunner *sr = srunner_create(NULL);
#define G4_SUITE(name) srunner_add_suite(sr, check_##name());
#include "suites.inc"
#undef G4_SUITE
    srunner_run_all(sr, CK_ENV);
    int run = srunner_ntests_run(sr), failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    /* Read by .ci/run: keep the form. */
    printf("check: %d run, %d failed, %d skipped\n", run, failed, *skipped);
    if (run == 0) {
        fprintf(stderr, "check: no test matches CK_RUN_SUITE, CK_RUN_CASE or the tags\n");
        return 1;
    }
    return failed ? 1 : 0;
}
