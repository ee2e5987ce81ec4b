/* SPDX-License-Identifier: Apache-2.0
 * From a picture to the vision embedder's rows: the aspect-keeping size, the
 * resize, patches and positions, each exactly as Transformers' torchvision
 * image processor makes them (architecture: torch's uint8 antialiased bicubic).
 *
 * The filter.  out pixels from in pixels along one axis: s = in/out, and output
 * i lies at c = (i + 0.5) s.  Taps j are the pixels whose distance from c is
 * within 2 max(s, 1); their weights k((j - c + 0.5) / max(s, 1)), k the Keys
 * cubic with a = -1/2, are divided by their sum in float64 and then rounded to
 * integers of P fractional bits, P as large as 16-bit weights allow (<= 22).
 * Columns first, rows second, rounded to 8 bits in between; an axis that keeps
 * its length is not touched. */
#ifndef G4_INPUT_RESIZE_H
#define G4_INPUT_RESIZE_H

#include "ref/base/err.h"
#include "ref/input/image.h"
#include "ref/input/processor.h"

#include <stdint.h>

/* The size that keeps the aspect, fills at most `budget` patches and has sides
 * that are multiples of the patch side.  width, height >= 1. */
void g4_image_fit(const g4_visual *v, int64_t budget, int64_t width, int64_t height,
                  int64_t *out_width, int64_t *out_height);

/* out: a new picture, freed by the caller (also when its size is that of in). */
g4_status g4_image_resize(const g4_image *in, int64_t width, int64_t height, g4_image *out,
                          g4_err *err);

/* Resizes im to the budget and cuts it: pixels [B][P], positions [B][2] as
 * (x, y); rows behind the last patch become 0 and (-1, -1).  *count: patches. */
g4_status g4_image_patches(const g4_image *im, const g4_visual *v, int64_t budget, float *pixels,
                           int32_t *positions, int64_t *count, g4_err *err);

#endif
