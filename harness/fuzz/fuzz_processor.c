/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: config.json, processor_config.json and the two older files that
 * may stand for parts of it, with a NUL between them; an empty or missing one is
 * not there.  What is accepted bounds what a picture and a clip can cost. */
#include "harness/fuzz/folder.h"
#include "ref/input/processor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

static void check_visual(const g4_visual *v)
{
    require(v->patch_size >= 1 && v->pooling_kernel_size >= 1);
    require(g4_budget_valid(v->max_soft_tokens));
    require(isfinite(v->rescale_factor) && v->rescale_factor > 0);
    for (int c = 0; c < 3; c++) require(isfinite(v->image_mean[c]) && v->image_std[c] > 0);
}

static void check_processor(const g4_processor *p)
{
    require(p->vocab_size >= 1 && p->mm_posemb_size >= 1);
    check_visual(&p->image);
    check_visual(&p->video);
    if (p->has_vision) require(g4_visual_side(&p->image) == g4_visual_side(&p->video));
    if (p->has_vision) require(g4_visual_side(&p->image) <= 256);
    require(p->sampling_rate >= 1 && isfinite(p->padding_value));
    int64_t samples;
    require(!__builtin_mul_overflow(p->audio_seq_length, p->audio_samples_per_token, &samples));
    require(samples >= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = { "config.json", "processor_config.json",
                                         "preprocessor_config.json",
                                         "video_preprocessor_config.json" };
    fuzz_bytes rest = { data, size };
    g4_processor p;
    g4_err err = { G4_OK, "" };
    for (int i = 0; i < 4; i++) {
        fuzz_bytes part = fuzz_cut(&rest);
        fuzz_file(names[i], part.size ? part.data : NULL, part.size);
    }
    const char *dir = fuzz_folder();
    if (g4_processor_load(&p, dir, &err) == G4_OK) check_processor(&p);
    else require(strncmp(err.msg, dir, strlen(dir)) == 0);
    return 0;
}
