/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a picture: PNG, JPEG and WebP decoding, and for what decodes, the
 * resize; then as EXIF and XMP by themselves. */
#include "ref/input/exif.h"
#include "ref/input/image.h"
#include "ref/input/resize.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BUDGET = 4, SIDE = 48, MAX_PIXELS = 1 << 16 };   /* larger ones only cost time */

static void turn(const uint8_t *data, size_t size)
{
    for (int i = 0; i < 3; i++) {
        const g4_exif e = { .exif = i == 1 ? NULL : data, .exif_size = size,
                            .xmp = i == 1 ? data : NULL, .xmp_size = size, .lenient = i == 2 };
        int orientation = 0;
        g4_err err;
        if (g4_exif_orientation(&e, "fuzz", &orientation, &err) == G4_OK &&
            (orientation < 1 || orientation > 8))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const g4_visual v = { .patch_size = 16, .pooling_kernel_size = 3, .max_soft_tokens = BUDGET,
                          .rescale_factor = 1.0 / 255, .image_std = { 1, 1, 1 } };
    g4_image im;
    g4_err err;
    turn(data, size);
    if (g4_image_decode(&im, "fuzz", data, size, &err) != G4_OK) return 0;
    if (im.width * im.height <= MAX_PIXELS) {
        float *pixels = malloc((size_t)BUDGET * SIDE * SIDE * 3 * sizeof *pixels);
        int32_t positions[2 * BUDGET];
        int64_t count;
        if (pixels) (void)g4_image_patches(&im, &v, BUDGET, pixels, positions, &count, &err);
        free(pixels);
    }
    g4_image_free(&im);
    return 0;
}
