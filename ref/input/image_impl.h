/* SPDX-License-Identifier: Apache-2.0
 * What the picture formats share: image.c looks at the first bytes and calls one
 * of these; a new format is one file and one row there. */
#ifndef G4_INPUT_IMAGE_IMPL_H
#define G4_INPUT_IMAGE_IMPL_H

#include "ref/input/image.h"

/* Fills *im with the pixels as they are stored, and *orientation (EXIF's 1 to 8,
 * see exif.h).  im is zeroed before; what is in it after an error image.c frees. */
typedef g4_status g4_image_decoder(g4_image *im, int *orientation, const char *name,
                                   const uint8_t *data, size_t size, g4_err *err);

g4_image_decoder g4_png_decode, g4_jpeg_decode, g4_webp_decode;

/* Refuses more than the limits of image.h; allocates im->rgb and sets the size. */
g4_status g4_image_alloc(g4_image *im, const char *name, uint64_t width, uint64_t height,
                         g4_err *err);
/* The limits alone. */
g4_status g4_image_check_size(const char *name, uint64_t width, uint64_t height, g4_err *err);

#endif
