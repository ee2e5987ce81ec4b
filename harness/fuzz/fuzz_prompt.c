/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: one byte that says how many pictures, clips and videos there are,
 * one for their order, and a text whose placeholders they go to.  Whatever the
 * text: a request with no more placeholders than media is taken if it is UTF-8,
 * one with more is refused for that, and soft tokens and media always agree. */
#include "harness/fuzz/folder.h"
#include "ref/input/prompt_build.h"
#include "ref/input/utf8.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 2 x 1 grey pixels; five samples of 16 kHz. */
static const uint8_t picture[] = {
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0, 0, 0, 1, 8, 0,
    0, 0, 0, 209, 73, 32, 86, 0, 0, 0, 11, 73, 68, 65, 84, 120, 156, 99, 16, 248, 0, 0, 1, 19,
    1, 1, 117, 91, 102, 252, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130
};
static const uint8_t clip[] = {
    82, 73, 70, 70, 46, 0, 0, 0, 87, 65, 86, 69, 102, 109, 116, 32, 16, 0, 0, 0, 1, 0, 1, 0,
    128, 62, 0, 0, 0, 125, 0, 0, 2, 0, 16, 0, 100, 97, 116, 97, 10, 0, 0, 0, 0, 0, 232, 3, 24,
    252, 5, 0, 7, 0
};

/* Ids 0 to 6 are special; of other characters it knows a few and drops the rest. */
static const char *const special[] = { "<bos>", "<|image>", "<image|>", "<|image|>", "<|video|>",
                                       "<|audio>", "<audio|>", "<|audio|>" };
enum { SPECIAL = 8, SIDES = 1, VOCABULARY = 16 };

static const g4_visual visual = { .patch_size = SIDES, .pooling_kernel_size = 1,
                                  .max_soft_tokens = 70, .rescale_factor = 1.0 / 255,
                                  .image_std = { 1, 1, 1 } };

static void require(int holds)
{
    if (!holds) abort();
}

static g4_tokenizer *make_tokenizer(void)
{
    char json[4096];
    int n = snprintf(json, sizeof json, "{\"added_tokens\":[");
    for (int i = 0; i < SPECIAL; i++)
        n += snprintf(json + n, sizeof json - (size_t)n,
                      "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,"
                      "\"rstrip\":false,\"normalized\":false,\"special\":true}", i ? "," : "", i,
                      special[i]);
    n += snprintf(json + n, sizeof json - (size_t)n, "],\"normalizer\":null,"
                  "\"pre_tokenizer\":null,\"post_processor\":{\"type\":\"TemplateProcessing\","
                  "\"single\":[{\"SpecialToken\":{\"id\":\"<bos>\",\"type_id\":0}},"
                  "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"
                  "\"special_tokens\":{\"<bos>\":{\"id\":\"<bos>\",\"ids\":[0],"
                  "\"tokens\":[\"<bos>\"]}}},\"decoder\":null,"
                  "\"model\":{\"type\":\"BPE\",\"byte_fallback\":false,\"vocab\":{");
    for (int i = 0; i < SPECIAL; i++)
        n += snprintf(json + n, sizeof json - (size_t)n, "\"%s\":%d,", special[i], i);
    n += snprintf(json + n, sizeof json - (size_t)n,
                  "\"0\":8,\"1\":9,\":\":10,\" \":11,\"a\":12,\"00\":13,\"<\":14},"
                  "\"merges\":[[\"0\",\"0\"]]}}");
    g4_tokenizer *t;
    g4_err err = { G4_OK, "" };
    if (g4_tokenizer_parse(&t, "fuzz", json, (size_t)n, &err) != G4_OK) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    return t;
}

/* Two bits for each kind, then one of eight orders; the folder is the video. */
static size_t choose_media(g4_media *media, size_t count[4], uint8_t how_many, uint8_t order)
{
    static char image[PATH_MAX], sound[PATH_MAX];
    const char *path[4] = { NULL, image, fuzz_folder(), sound };
    size_t n = 0, left[4] = { 0 };
    snprintf(image, sizeof image, "%s/0.png", fuzz_folder());
    snprintf(sound, sizeof sound, "%s/sound.wav", fuzz_folder());
    for (int k = G4_IMAGE; k <= G4_AUDIO; k++) left[k] = count[k] = how_many >> (2 * k) & 3;
    while (left[1] + left[2] + left[3] > 0) {
        int k = 1 + order % 3;
        while (!left[k]) k = k % 3 + 1;
        media[n++] = (g4_media){ k, path[k] };
        left[k]--;
        order = (uint8_t)(order / 2 + 1);
    }
    return n;
}

static void check_prompt(const g4_prompt *p, const size_t count[4])
{
    require(p->n >= 1 && p->images.count == (int64_t)count[G4_IMAGE]);
    require(p->videos == (int64_t)count[G4_VIDEO] && p->clips == (int64_t)count[G4_AUDIO]);
    require(p->frames.count == 2 * p->videos);
    for (int64_t i = 0; i < p->n; i++) {
        require(p->ids[i] >= 0 && p->ids[i] < VOCABULARY && p->positions[i] == i);
        require((p->types[i] == G4_IMAGE) == (p->ids[i] == 3));
    }
}

static void build(const g4_processor *proc, const g4_tokenizer *t, const uint8_t head[2],
                  const char *text, size_t len)
{
    g4_media media[9];
    size_t count[4], more = 0;
    g4_prompt p;
    g4_arena arena = { NULL };
    g4_err err = { G4_OK, "" };
    const char *warning;
    g4_request r = { .text = text, .len = len, .media = media, .audio_limit = -1,
                     .bos = head[1] & 128 ? G4_BOS_AUTO : G4_BOS_ON };
    r.media_count = choose_media(media, count, head[0], head[1] & 127);
    for (int k = G4_IMAGE; k <= G4_AUDIO; k++)
        more += g4_prompt_placeholders(text, len, k) > count[k];
    if (g4_prompt_build(&p, &r, proc, t, &arena, &warning, &err) == G4_OK) {
        require(!more && g4_utf8_check(text, len) == len);
        check_prompt(&p, count);
    } else if (more) {
        require(strstr(err.msg, "in the text, more than there are") != NULL);
    } else {
        require(g4_utf8_check(text, len) < len);
    }
    g4_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static g4_tokenizer *tokenizer;   /* made once, for all inputs */
    const g4_processor proc = {
        .vocab_size = VOCABULARY, .boi_token_id = 1, .eoi_token_id = 2, .image_token_id = 3,
        .video_token_id = 4, .boa_token_id = 5, .eoa_token_id = 6, .audio_token_id = 7,
        .has_vision = 1, .has_audio = 1, .mm_posemb_size = 1120, .image = visual, .video = visual,
        .sampling_rate = 16000, .audio_samples_per_token = 2, .audio_seq_length = 2,
    };
    if (size < 2) return 0;
    if (!tokenizer) {
        tokenizer = make_tokenizer();
        fuzz_file("0.png", picture, sizeof picture);
        fuzz_file("1.png", picture, sizeof picture);
        fuzz_file("sound.wav", clip, sizeof clip);
    }
    build(&proc, tokenizer, data, (const char *)data + 2, size - 2);
    return 0;
}
