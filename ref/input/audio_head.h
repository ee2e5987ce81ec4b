/* SPDX-License-Identifier: Apache-2.0
 * What the bytes of a sound file say before a library decodes them: which kind
 * it is, and whether what a header claims is there (libsndfile silently clamps
 * a size that is too large for the file). */
#ifndef G4_INPUT_AUDIO_HEAD_H
#define G4_INPUT_AUDIO_HEAD_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { G4_AUDIO_MAX_CHANNELS = 64, G4_AUDIO_MAX_RATE = 768000 };

typedef enum g4_sound { G4_SOUND_NONE, G4_SOUND_WAV, G4_SOUND_FLAC, G4_SOUND_OGG,
                        G4_SOUND_MPEG } g4_sound;

/* By the first bytes.  "ID3" counts as MPEG; a FLAC file may hide behind it. */
g4_sound g4_sound_kind(const uint8_t *data, size_t size);
/* 1 if an Ogg file's last page does not end its stream, or an MPEG file is
 * shorter than its Xing header says; decoders take both for a shorter clip. */
int g4_sound_ends_early(g4_sound kind, const uint8_t *data, size_t size);
/* What an Ogg file holds that libsndfile does not read, by its first packet; NULL: not that. */
const char *g4_ogg_foreign(const uint8_t *data, size_t size);
/* WAV, also RF64, its long form.  *frames: samples of each channel; *streamed: the
 * header does not know, they are what there is. */
g4_status g4_wav_check(const char *name, const uint8_t *data, size_t size, int64_t *frames,
                       int *streamed, g4_err *err);
g4_status g4_audio_check_shape(const char *name, uint64_t channels, uint64_t rate, g4_err *err);

#endif
