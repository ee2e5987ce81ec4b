/* SPDX-License-Identifier: Apache-2.0
 * The test program: every harness/check/check_<unit>.c gives one suite, listed
 * by the Makefile in suites.inc.  libcheck's own variables select and steer:
 *   CK_RUN_SUITE=base  CK_RUN_CASE=...  CK_INCLUDE_TAGS=unit  CK_FORK=no
 *   CK_VERBOSITY=verbose (every test by name)
 * With CHECK_JOBS=N the suites are dealt out to N processes side by side: many tests
 * wait for a program that they started.  iofault is as long as all others: each process
 * has a share of its tests.
 * The last line sums up; the exit status is 1 if anything failed. */
#include "harness/check/suite.h"

#include <check.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define G4_SUITE(name) Suite *check_##name(void);
#include "suites.inc"
#undef G4_SUITE

static Suite *(*const suites[])(void) = {
#define G4_SUITE(name) check_##name,
#include "suites.inc"
#undef G4_SUITE
};

enum { SUITES = sizeof suites / sizeof *suites };

/* Shared with the processes, and with the child process of each test for its skips. */
typedef struct sums {
    int run, failed, skipped;
} sums;

static sums *sum;

void check_skip(const char *what, const char *why)
{
    fprintf(stderr, "SKIP %s: %s\n", what, why);
    if (sum) __atomic_fetch_add(&sum->skipped, 1, __ATOMIC_RELAXED);
}

static int part, parts = 1;

int check_mine(int i)
{
    return i % parts == part;
}

static void run_part(void)
{
    SRunner *sr = srunner_create(NULL);
    for (int i = 0; i < SUITES; i++)
        if (check_mine(i) || suites[i] == check_iofault) srunner_add_suite(sr, suites[i]());
    srunner_run_all(sr, CK_ENV);
    __atomic_fetch_add(&sum->run, srunner_ntests_run(sr), __ATOMIC_RELAXED);
    __atomic_fetch_add(&sum->failed, srunner_ntests_failed(sr), __ATOMIC_RELAXED);
    srunner_free(sr);
}

/* Waits for all parts; one that did not end by itself is a failed test. */
static void await(int started)
{
    int status, lost = parts - started;
    while (wait(&status) > 0) lost += status != 0;
    if (lost) fprintf(stderr, "check: %d of %d processes failed\n", lost, parts);
    __atomic_fetch_add(&sum->run, lost, __ATOMIC_RELAXED);
    __atomic_fetch_add(&sum->failed, lost, __ATOMIC_RELAXED);
}

int main(void)
{
    setlocale(LC_ALL, "C");
    signal(SIGHUP, SIG_DFL);   /* ignored under nohup; tests send it to what they start */
    sum = mmap(NULL, sizeof *sum, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sum == MAP_FAILED) {
        perror("check: mmap");
        return 2;
    }
    const char *jobs = getenv("CHECK_JOBS");
    int started = 0;
    if (jobs && atoi(jobs) > 1) parts = atoi(jobs) < SUITES ? atoi(jobs) : SUITES;
    if (parts == 1) run_part();
    for (pid_t pid; parts > 1 && started < parts; started++) {
        if ((pid = fork()) < 0) break;
        if (pid > 0) continue;
        part = started;
        run_part();
        return 0;
    }
    if (parts > 1) await(started);
    /* Read by .ci/run: keep the form. */
    printf("check: %d run, %d failed, %d skipped\n", sum->run, sum->failed, sum->skipped);
    if (sum->run == 0) {
        fprintf(stderr, "check: no test matches CK_RUN_SUITE, CK_RUN_CASE or the tags\n");
        return 1;
    }
    return sum->failed ? 1 : 0;
}
