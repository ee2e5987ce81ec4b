/* SPDX-License-Identifier: Apache-2.0
 * For targets whose input is several texts, or whose parser takes a folder. */
#ifndef G4_HARNESS_FUZZ_FOLDER_H
#define G4_HARNESS_FUZZ_FOLDER_H

#include <stddef.h>
#include <stdint.h>

typedef struct fuzz_bytes {
    const uint8_t *data;
    size_t size;
} fuzz_bytes;

/* Cuts off what stands before the next NUL; {NULL, 0} when nothing is left. */
fuzz_bytes fuzz_cut(fuzz_bytes *rest);

/* An empty folder in memory, where the system has one; removed at the end. */
const char *fuzz_folder(void);

/* Writes name in that folder; data NULL: there is no such file. */
void fuzz_file(const char *name, const void *data, size_t size);

#endif
