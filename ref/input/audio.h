/* SPDX-License-Identifier: Apache-2.0
 * A clip as mono float samples at the model's rate, read from a WAV (or RF64:
 * PCM 8, 16, 24, 32 bits, float of 32 or 64, A-law, mu-law), FLAC, MP3 or Ogg
 * (Vorbis, Opus) file.
 * What the loaders in front of Transformers' feature extractor do, in their
 * order: integers are divided by their full scale (16 bit: 32768), channels
 * are averaged, another rate is resampled (resample.h) [N46].  A file that has the
 * model's rate keeps its samples bit for bit. */
#ifndef G4_INPUT_AUDIO_H
#define G4_INPUT_AUDIO_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct g4_clip {
    int64_t count;               /* samples kept, >= 1 */
    int64_t total;               /* of the whole file; more than count: it was cut;
                                    INT64_MAX: cut, and the file does not say */
    int incomplete;              /* the file ends before the end it announces */
    float *samples;              /* [count], malloc'ed, all finite */
    char note[240];              /* format, rate, channels, libraries: one line */
} g4_clip;

/* rate: the model's.  At most max_samples at that rate are made; what lies
 * behind them in the file is not read. */
g4_status g4_audio_read(g4_clip *c, const char *path, int64_t rate, int64_t max_samples,
                        g4_err *err);
/* The same from memory and in this very process; name is for messages. */
g4_status g4_audio_decode(g4_clip *c, const char *name, const uint8_t *data, size_t size,
                          int64_t rate, int64_t max_samples, g4_err *err);
void g4_clip_free(g4_clip *c);

#endif
