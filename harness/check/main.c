/* SPDX-License-Identifier: Apache-2.0
 * The test program: every harness/check/check_<unit>.c gives one suite, listed
 * by the Makefile in suites.inc.  libcheck's own variables select and steer:
 *   CK_RUN_CASE=...  CK_INCLUDE_TAGS=unit  CK_FORK=no
 *   CK_VERBOSITY=verbose (every test by name)
 * CHECK_SUITES="base kernels" selects suites.  With CHECK_JOBS=N that many processes take
 * one suite after the other: many tests wait for a program that they started.  iofault is
 * as long as all others and goes in parts.
 * A suite of two seconds or more says its time.  The last line sums up; the exit status is 1
 * if anything failed. */
#include "harness/check/suite.h"

#include <check.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define G4_SUITE(name) Suite *check_##name(void);
#include "suites.inc"
#undef G4_SUITE

static const struct {
    const char *name;
    Suite *(*make)(void);
} suites[] = {
#define G4_SUITE(name) { #name, check_##name },
#include "suites.inc"
#undef G4_SUITE
};

enum { SUITES = sizeof suites / sizeof *suites };

/* Shared with the processes, and with the child process of each test for its skips. */
typedef struct sums {
    int run, failed, skipped;
    int next;                 /* suite, or part of iofault, that nobody has taken */
} sums;

static sums *sum;

void check_skip(const char *what, const char *why)
{
    fprintf(stderr, "SKIP %s: %s\n", what, why);
    if (sum) __atomic_fetch_add(&sum->skipped, 1, __ATOMIC_RELAXED);
}

static void run_suite(const char *name, Suite *suite)
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_ENV);
    __atomic_fetch_add(&sum->run, srunner_ntests_run(sr), __ATOMIC_RELAXED);
    __atomic_fetch_add(&sum->failed, srunner_ntests_failed(sr), __ATOMIC_RELAXED);
    srunner_free(sr);
    clock_gettime(CLOCK_MONOTONIC, &end);
    long seconds = (long)(end.tv_sec - start.tv_sec);
    if (seconds > 1) printf("   %s: %ld s\n", name, seconds);
    fflush(stdout);
}

/* Is the name among the words of the list?  No list means all. */
static int selected(const char *list, const char *name)
{
    size_t n = strlen(name);
    if (!list || !*list) return 1;
    for (const char *at = list; (at = strstr(at, name)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) return 1;
    return 0;
}

static void take_suites(void)
{
    const char *only = getenv("CHECK_SUITES");
    int shared = selected(only, "iofault") ? CHECK_IOFAULT_PARTS : 0;
    for (int i; (i = __atomic_fetch_add(&sum->next, 1, __ATOMIC_RELAXED)) < shared + SUITES;) {
        if (i < shared) run_suite("iofault", check_iofault_part(i));
        else if (suites[i - shared].make != check_iofault &&
                 selected(only, suites[i - shared].name))
            run_suite(suites[i - shared].name, suites[i - shared].make());
    }
}

/* Waits for all processes; one that did not end by itself is a failed test. */
static void await(int jobs, int started)
{
    int status, lost = jobs - started;
    while (wait(&status) > 0) lost += status != 0;
    if (lost) fprintf(stderr, "check: %d of %d processes failed\n", lost, jobs);
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
    const char *wanted = getenv("CHECK_JOBS");
    int jobs = wanted && atoi(wanted) > 1 ? atoi(wanted) : 1, started = 0;
    if (jobs > SUITES) jobs = SUITES;
    if (jobs == 1) take_suites();
    for (pid_t pid; jobs > 1 && started < jobs; started++) {
        if ((pid = fork()) < 0) break;
        if (pid > 0) continue;
        take_suites();
        return 0;
    }
    if (jobs > 1) await(jobs, started);
    /* Read by .ci/run: keep the form. */
    printf("check: %d run, %d failed, %d skipped\n", sum->run, sum->failed, sum->skipped);
    if (sum->run == 0) {
        fprintf(stderr, "check: no test matches CHECK_SUITES, CK_RUN_CASE or the tags\n");
        return 1;
    }
    return sum->failed ? 1 : 0;
}
