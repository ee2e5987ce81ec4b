/* SPDX-License-Identifier: Apache-2.0
 * Failures on demand.  The check binary is linked with --wrap for the calls
 * listed in the Makefile (FAULT_WRAP), so that a test can let the n-th
 * allocation or the n-th file operation of our own objects fail, and can count
 * what was not given back.  Calls inside shared libraries are not seen; libcheck
 * is a static library here, so it is: keep its asserts out of the window.
 *
 *   for (long n = 1;; n++) {
 *       fault_alloc_arm(n, 0);             opens the window
 *       s = the operation;
 *       fault_end();                       closes it; nothing fails any more
 *       ck_assert_int_eq(fault_live(), 0);
 *       if (!fault_fired()) break;         n is past the last allocation
 *       ck_assert_int_eq(s, G4_ENOMEM);
 *   } */
#ifndef G4_HARNESS_FAULT_H
#define G4_HARNESS_FAULT_H

/* Opens the window; nothing fails, calls are counted. */
void fault_begin(void);
/* Opens the window; the n-th allocation (from 1) gives NULL, and with
 * persistent all that follow, too. */
void fault_alloc_arm(long n, int persistent);
/* Opens the window; the n-th file operation fails: error is an errno value, or
 * FAULT_SHORT: a read or write moves half (at least 1 byte), others succeed. */
enum { FAULT_SHORT = -1 };
void fault_io_arm(long n, int persistent, int error);
/* Closes the window; the counts stay. */
void fault_end(void);

long fault_count(void);      /* allocations asked for in the window */
long fault_io_count(void);   /* file operations in the window */
int fault_fired(void);       /* how many calls were made to fail */
const char *fault_what(void);   /* name of the first of them, or "" */
/* Allocations of the window not freed until now; prints each on stderr (size,
 * which one of the window it was, address of the calling code). */
long fault_live(void);

#endif
