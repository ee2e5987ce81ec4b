/* SPDX-License-Identifier: Apache-2.0
 * What the check binary gives its suites beside libcheck: a way to say that a
 * test could not run here.  libcheck knows no skipping, and a test that returns
 * early would be silently green; so it prints its reason and is counted. */
#ifndef G4_HARNESS_SUITE_H
#define G4_HARNESS_SUITE_H

#include <check.h>

/* Prints "SKIP what: why" and counts it (across libcheck's child processes);
 * the test then returns. */
void check_skip(const char *what, const char *why);

/* The suite iofault in parts, for processes side by side: part i < CHECK_IOFAULT_PARTS. */
enum { CHECK_IOFAULT_PARTS = 12 };
Suite *check_iofault_part(int part);

#endif
