/* SPDX-License-Identifier: Apache-2.0
 * One channel from one sampling rate to another, block by block: libsoxr with
 * its "HQ" recipe (20 bits; pass band to 91 % of the lower Nyquist frequency, linear
 * phase), which is librosa's default (`soxr_hq`).  How the input is cut into
 * blocks does not change a bit of the output. */
#ifndef G4_INPUT_RESAMPLE_H
#define G4_INPUT_RESAMPLE_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct g4_resampler g4_resampler;

/* Rates in Hz, both positive; name is for messages. */
g4_status g4_resampler_open(g4_resampler **r, int64_t from, int64_t to, const char *name,
                            g4_err *err);
/* Takes *used of the n samples at in, gives *made <= room samples at out.  in
 * NULL: the input has ended; call until *made is 0. */
g4_status g4_resampler_run(g4_resampler *r, const float *in, size_t n, size_t *used, float *out,
                           size_t room, size_t *made, g4_err *err);
void g4_resampler_close(g4_resampler *r);

/* Library, version and recipe. */
const char *g4_resampler_name(void);
/* Samples that n samples become, n >= 0; saturates. */
int64_t g4_resampled_count(int64_t n, int64_t from, int64_t to);

#endif
