/* SPDX-License-Identifier: Apache-2.0
 * A request, ready for the model: token ids and the raw media behind its soft
 * tokens.  Field names and shapes are those of the golden files' /inputs.
 * Filled by prompt_build (text + media files) or by a golden file; owned by an
 * arena.  Letters: T tokens, B soft-token budget, P values of a patch (6912),
 * A values of an audio frame (640). */
#ifndef G4_INPUT_PROMPT_H
#define G4_INPUT_PROMPT_H

#include "ref/base/arena.h"
#include "ref/base/err.h"

#include <stdint.h>

/* Largest position whose angle g4_cos_sin reduces exactly, with room to generate. */
enum { G4_MAX_POSITION = 700000 };

/* mm_token_type_ids */
enum { G4_TEXT = 0, G4_IMAGE = 1, G4_VIDEO = 2, G4_AUDIO = 3 };

/* Images, or the frames of all videos: padded with zeros and (-1, -1) to B. */
typedef struct g4_patches {
    int64_t count, budget, patch;   /* images (frames), B, P */
    float *pixels;                  /* [count][B][P] in 0..1 */
    int32_t *positions;             /* [count][B][2] (x, y) */
} g4_patches;

typedef struct g4_prompt {
    int64_t n;                      /* T */
    int32_t *ids;                   /* [T] input_ids */
    int32_t *positions;             /* [T] position_ids */
    int8_t *types;                  /* [T] mm_token_type_ids */
    g4_patches images, frames;      /* pixel_values, pixel_values_videos */
    int64_t videos;
    int32_t *num_frames_per_video;  /* [videos] */
    int64_t clips, clip_frames, frame;   /* audio clips, frames each (padded), A */
    float *input_features;          /* [clips][clip_frames][A] */
    uint8_t *input_features_mask;   /* [clips][clip_frames] 1 = real */
    const char *audio, *video;      /* how the files were decoded; NULL: no files */
} g4_prompt;

/* Number of rows that become soft tokens (padding left out). */
int64_t g4_patches_valid(const g4_patches *p);
int64_t g4_prompt_audio_valid(const g4_prompt *p);

/* The soft tokens in types are as many as the media give, ids lie in [0, vocab),
 * positions in [0, G4_MAX_POSITION],
 * patch positions in [0, posemb), patch/frame sizes match.  name is for messages. */
g4_status g4_prompt_check(const g4_prompt *p, const char *name, int64_t vocab, int64_t posemb,
                          int64_t patch, int64_t frame, g4_err *err);

#endif
