/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a clip: the WAV header walk, libsndfile and its codecs, mixdown,
 * resampling; in this process, where the program itself would use a child for
 * MP3 and Ogg.  Whatever comes out must be finite and no longer than asked for. */
#include "ref/input/audio.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libsndfile 1.2.0 forgets this block where an Ogg header is damaged; in the
 * program that happens in a child, which ends.  The library's name serves where
 * no symbolizer is installed. */
const char *__lsan_default_suppressions(void)
{
    return "leak:vorbis_info_init\nleak:libvorbis.so\n";
}

enum { LIMIT = 10000 };   /* samples: more than two blocks of the reader */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g4_clip c;
    g4_err err;
    if (g4_audio_decode(&c, "fuzz", data, size, 16000, LIMIT, &err) != G4_OK) return 0;
    if (c.count < 1 || c.count > LIMIT || c.total < c.count) abort();
    for (int64_t i = 0; i < c.count; i++)
        if (!isfinite(c.samples[i])) abort();
    g4_clip_free(&c);
    return 0;
}
