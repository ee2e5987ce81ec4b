/* SPDX-License-Identifier: Apache-2.0
 * A clip as mono float samples, read from a WAV (PCM 16/24/32 or float) or
 * FLAC file.  Integers are divided by their full scale (16 bit: 32768) and
 * channels are averaged, as the loaders in front of Transformers' feature
 * extractor do.  No resampling: another rate than the model's is an error. */
#ifndef G4_INPUT_AUDIO_H
#define G4_INPUT_AUDIO_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct g4_clip {
    int64_t count;               /* samples kept, >= 1 */
    int64_t total;               /* samples in the file; more than count: it was cut */
    float *samples;              /* [count], malloc'ed, all finite */
} g4_clip;

/* rate: what the file must have.  At most max_samples are read. */
g4_status g4_audio_read(g4_clip *c, const char *path, int64_t rate, int64_t max_samples,
                        g4_err *err);
/* The same from memory; name is for messages. */
g4_status g4_audio_decode(g4_clip *c, const char *name, const uint8_t *data, size_t size,
                          int64_t rate, int64_t max_samples, g4_err *err);
void g4_clip_free(g4_clip *c);

#endif
