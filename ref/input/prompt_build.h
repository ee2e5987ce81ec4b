/* SPDX-License-Identifier: Apache-2.0
 * Text + media files -> g4_prompt, as Transformers' Gemma4UnifiedProcessor does.
 * Placeholders in the text say where the media go, each kind in the order of
 * the list; media that find none because their kind's are used up stand before
 * the text, behind a "<bos>" that the text may start with.  A placeholder becomes
 *   image   <|image> n x <|image|> <image|>
 *   audio   <|audio> n x <|audio|> <audio|>
 *   video   for each frame  mm:ss <|image> n x <|video|> <image|>, one space between
 * in text, which is then tokenised whole; so a video's time merges with the
 * words around it as it does in the library.  Used by the commands; a chat
 * template's output is such a text, too. */
#ifndef G4_INPUT_PROMPT_BUILD_H
#define G4_INPUT_PROMPT_BUILD_H

#include "ref/base/arena.h"
#include "ref/base/err.h"
#include "ref/input/processor.h"
#include "ref/input/prompt.h"
#include "ref/input/tokenizer.h"
#include "ref/input/video.h"

#include <stddef.h>
#include <stdint.h>

typedef struct g4_media {
    int kind;                    /* G4_IMAGE, G4_VIDEO (file or folder), G4_AUDIO */
    const char *path;
} g4_media;

typedef struct g4_request {
    const char *name;            /* of the text in errors; NULL: prompt */
    const char *text;            /* UTF-8, [len]; may be NULL when len is 0 */
    size_t len;
    const g4_media *media;       /* [media_count] in command-line order */
    size_t media_count;
    int64_t image_tokens;        /* budget of images; 0: the processor's */
    double audio_limit;          /* seconds; negative: the processor's audio_seq_length */
    g4_video_sampling sampling;  /* of videos; all 0: the model's documentation */
    g4_bos bos;
} g4_request;

/* How many placeholders of a kind (G4_IMAGE, ...) the text holds. */
size_t g4_prompt_placeholders(const char *text, size_t len, int kind);

/* Everything in *p is owned by the arena.  *warning (may be NULL): what was cut
 * off, one line, in the arena; NULL when nothing was. */
g4_status g4_prompt_build(g4_prompt *p, const g4_request *r, const g4_processor *proc,
                          const g4_tokenizer *t, g4_arena *arena, const char **warning,
                          g4_err *err);

#endif
