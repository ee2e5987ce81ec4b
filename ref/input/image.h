/* SPDX-License-Identifier: Apache-2.0
 * A still picture in memory, read from a PNG file.  The pixels are those of
 * Pillow's Image.open(f).convert("RGB"), which is what Transformers feeds its
 * image processor: alpha and transparency dropped, gamma and colour profiles
 * ignored, 16-bit colour cut to its high byte, 16-bit grey (Pillow's "I;16")
 * clipped at 255. */
#ifndef G4_INPUT_IMAGE_H
#define G4_INPUT_IMAGE_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Limits against decompression bombs; the product bounds memory to 192 MB. */
enum { G4_IMAGE_MAX_SIDE = 16384, G4_IMAGE_MAX_PIXELS = 64 << 20 };

typedef struct g4_image {
    int64_t width, height;
    uint8_t *rgb;                /* [height][width][3], malloc'ed */
} g4_image;

/* Other formats than PNG are an error that names the format. */
g4_status g4_image_read(g4_image *im, const char *path, g4_err *err);
/* The same from memory; name is for messages. */
g4_status g4_image_decode(g4_image *im, const char *name, const uint8_t *data, size_t size,
                          g4_err *err);
void g4_image_free(g4_image *im);

#endif
