/* SPDX-License-Identifier: Apache-2.0
 * How media become numbers: everything in config.json and processor_config.json
 * that decides a pixel, an audio frame or a placeholder.  Mirrors the defaults
 * of transformers models/gemma4_unified/{image_processing,video_processing,
 * feature_extraction,processing}_gemma4_unified.py (5.20.2), with one exception
 * (see g4_visual.do_normalize).  An unknown value of a field that changes a
 * number is an error that names it; fields that change none are not read. */
#ifndef G4_INPUT_PROCESSOR_H
#define G4_INPUT_PROCESSOR_H

#include "ref/base/err.h"

#include <stdint.h>

/* Images, or the frames of a video. */
typedef struct g4_visual {
    int64_t patch_size, pooling_kernel_size;   /* 16 and 3: a patch of 48 x 48 */
    int64_t max_soft_tokens;                   /* the default budget B */
    double rescale_factor;                     /* 1/255 */
    /* false: v * f32(factor).  true: (v - mean/factor) / (std/factor), which
     * with mean 0 and std 1 differs from the first in the last bit of about half
     * of the 256 levels.  Transformers' video class has true as its default, yet
     * the golden files' frames were made with false: where the file does not
     * say, false it is, for videos too. */
    int do_normalize;
    double image_mean[3], image_std[3];        /* red, green, blue */
} g4_visual;

typedef struct g4_processor {
    int64_t vocab_size;
    int64_t boi_token_id, eoi_token_id, image_token_id, video_token_id;
    int64_t boa_token_id, eoa_token_id, audio_token_id;
    int has_vision, has_audio;                 /* does config.json have such a part? */
    int64_t mm_posemb_size;                    /* patch positions are below it */
    g4_visual image, video;
    int64_t sampling_rate;                     /* Hz */
    int64_t audio_samples_per_token;           /* A */
    int64_t audio_seq_length;                  /* most frames of a clip */
    double padding_value;                      /* fills frames behind a shorter clip */
} g4_processor;

/* Side of a patch in pixels; its values are side * side * 3. */
static inline int64_t g4_visual_side(const g4_visual *v)
{
    return v->patch_size * v->pooling_kernel_size;
}

/* 1 for the budgets the model knows: 70, 140, 280, 560, 1120. */
int g4_budget_valid(int64_t soft_tokens);

/* Reads dir/config.json and dir/processor_config.json; a missing second file
 * (or part of it) means the class defaults, or the older separate files
 * preprocessor_config.json and video_preprocessor_config.json if there are any. */
g4_status g4_processor_load(g4_processor *p, const char *dir, g4_err *err);

#endif
