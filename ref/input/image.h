/* SPDX-License-Identifier: Apache-2.0
 * A still picture in memory, read from a PNG, JPEG or WebP file; the bytes say
 * which, not the name.  The pixels are those of Transformers' load_image: Pillow's
 * exif_transpose(Image.open(f)).convert("RGB").  So the picture is turned as its
 * EXIF or XMP orientation wants; alpha and transparency are dropped, gamma and
 * colour profiles ignored, 16-bit colour cut to its high byte, 16-bit grey
 * (Pillow's "I;16") clipped at 255, CMYK taken as Adobe writes it (inverted). */
#ifndef G4_INPUT_IMAGE_H
#define G4_INPUT_IMAGE_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Limits against decompression bombs; the product bounds a picture to 192 MB. */
enum { G4_IMAGE_MAX_SIDE = 16384, G4_IMAGE_MAX_PIXELS = 64 << 20 };

typedef struct g4_image {
    int64_t width, height;
    uint8_t *rgb;                /* [height][width][3], malloc'ed */
} g4_image;

/* Other formats are an error that names the format. */
g4_status g4_image_read(g4_image *im, const char *path, g4_err *err);
/* The same from memory; name is for messages. */
g4_status g4_image_decode(g4_image *im, const char *name, const uint8_t *data, size_t size,
                          g4_err *err);
void g4_image_free(g4_image *im);

#endif
