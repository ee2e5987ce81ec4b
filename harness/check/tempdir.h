/* SPDX-License-Identifier: Apache-2.0
 * A folder for a test's files, removed with all in it: in $TMPDIR, or else in
 * /dev/shm, where the many fsyncs of our writers cost nothing, or else in /tmp. */
#ifndef G4_HARNESS_CHECK_TEMPDIR_H
#define G4_HARNESS_CHECK_TEMPDIR_H

#include <stddef.h>

enum { TEMPDIR_MAX = 512 };

void tempdir_make(char dir[TEMPDIR_MAX]);
void tempdir_remove(const char *dir);
/* dir/name; aborts the test if it does not fit. */
void tempdir_path(char path[TEMPDIR_MAX], const char *dir, const char *name);
void tempdir_write(const char *dir, const char *name, const void *data, size_t size);
/* Entries of the folder, . and .. not counted; -1: cannot be read. */
int tempdir_count(const char *dir);

#endif
