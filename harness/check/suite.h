/* SPDX-License-Identifier: Apache-2.0
 * What the check binary gives its suites beside libcheck: a way to say that a
 * test could not run here.  libcheck knows no skipping, and a test that returns
 * early would be silently green; so it prints its reason and is counted. */
#ifndef G4_HARNESS_SUITE_H
#define G4_HARNESS_SUITE_H

/* Prints "SKIP what: why" and counts it (across libcheck's child processes);
 * the test then returns. */
void check_skip(const char *what, const char *why);

/* With CHECK_JOBS: is test i of a suite that is shared (main.c names it) this process's? */
int check_mine(int i);

#endif
