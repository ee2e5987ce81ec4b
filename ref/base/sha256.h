/* SPDX-License-Identifier: Apache-2.0
 * SHA-256 (FIPS 180-4): names files and test outputs by their content. */
#ifndef G4_BASE_SHA256_H
#define G4_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct g4_sha256 {
    uint32_t state[8];
    uint64_t size;                /* bytes so far */
    unsigned char block[64];      /* the bytes of an unfinished block */
} g4_sha256;

enum { G4_SHA256_HEX = 65 };      /* 64 digits and NUL */

void g4_sha256_begin(g4_sha256 *s);
void g4_sha256_add(g4_sha256 *s, const void *data, size_t size);
/* Ends the sum; s must begin again before it is used again. */
void g4_sha256_end(g4_sha256 *s, char hex[G4_SHA256_HEX]);

#endif
