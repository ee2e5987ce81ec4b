/* SPDX-License-Identifier: Apache-2.0
 * Which way up a picture is, by the rules of Pillow's exif_transpose: the tag
 * Orientation of EXIF's first directory, and where EXIF lacks it, XMP's
 * tiff:Orientation.  Nothing else of either is read; the chain to further
 * directories is not followed, so it cannot loop. */
#ifndef G4_INPUT_EXIF_H
#define G4_INPUT_EXIF_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct g4_exif {
    const uint8_t *exif;         /* with or without "Exif\0\0" before it; NULL: none */
    size_t exif_size;
    const uint8_t *xmp;          /* NULL: none */
    size_t xmp_size;
    int lenient;                 /* EXIF that is no TIFF is passed over, XMP with it */
} g4_exif;

/* *orientation: 2 to 8 where the picture must be turned, else 1.  Damage is
 * treated as Pillow does: bytes that do not begin as a TIFF file are an error (it
 * refuses the picture) unless `lenient` is set; a directory that ends too early,
 * or a value that lies outside, ends the search. */
g4_status g4_exif_orientation(const g4_exif *e, const char *name, int *orientation, g4_err *err);

#endif
