/* SPDX-License-Identifier: Apache-2.0
 * Processor settings, prompt assembly and the check of a prompt, on a model
 * folder whose tokenizer has one merge ("ab"), so that ids can be worked out by
 * hand: <|image> 4, <|audio> 5, <|image|> 6, <|audio|> 7, <image|> 8,
 * <audio|> 9, <|video|> 10, a space 269, letters from 270 (a), digits from 296
 * (0), ':' 306, "ab" 307; <bos> 2 is added in front. */
#include "harness/check/fault.h"
#include "ref/base/map.h"
#include "ref/input/prompt_build.h"
#include "ref/input/video.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_prompt(void);

#define DATA "harness/check/data/media/"
#define MODEL DATA "model"
#define PICTURE DATA "c2d8i0.png"   /* 13 x 11: 9 x 7 patches at 70 */
#define CLIP DATA "clip"            /* 2 frames of 480 x 48: 26 x 2 patches, at 0.5 and 125.9 s */
#define SOUND DATA "stereo.flac"    /* 1000 samples: 2 frames */

static g4_processor proc;
static g4_tokenizer *tok;
static g4_arena arena;

static void open_model(void)
{
    g4_err err;
    ck_assert_msg(g4_processor_load(&proc, MODEL, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_tokenizer_load(&tok, MODEL, &err) == G4_OK, "%s", err.msg);
}

static void close_model(void)
{
    g4_tokenizer_free(tok);
    g4_arena_free(&arena);
}

static g4_status build(g4_prompt *p, const char *text, const g4_media *media, size_t n,
                       const char **warning, g4_err *err)
{
    g4_request r = { .text = text, .len = strlen(text), .media = media, .media_count = n,
                     .audio_limit = -1, .bos = G4_BOS_FILE };
    return g4_prompt_build(p, &r, &proc, tok, &arena, warning, err);
}

/* want: ids, a negative -n repeating the id behind it n times; 0 ends. */
static void expect_ids(const char *text, const g4_media *media, size_t n, const int32_t *want)
{
    g4_prompt p;
    g4_err err;
    ck_assert_msg(build(&p, text, media, n, NULL, &err) == G4_OK, "%s", err.msg);
    int64_t t = 0;
    for (; *want; want++) {
        int32_t times = 1;
        if (*want < 0) times = -*want++;
        for (; times > 0; times--, t++) {
            ck_assert_int_lt(t, p.n);
            ck_assert_msg(p.ids[t] == *want, "%s: token %lld is %d, not %d", text, (long long)t,
                          p.ids[t], *want);
            int type = *want == 6 ? G4_IMAGE : *want == 10 ? G4_VIDEO : *want == 7 ? G4_AUDIO : 0;
            ck_assert_int_eq(p.types[t], type);
            ck_assert_int_eq(p.positions[t], t);
        }
    }
    ck_assert_int_eq(t, p.n);
}

static const g4_media picture[] = { { G4_IMAGE, PICTURE } };
static const g4_media sound[] = { { G4_AUDIO, SOUND } };
static const g4_media video[] = { { G4_VIDEO, CLIP } };

START_TEST(media_expand)
{
    static const int32_t text[] = { 2, 307, 0 };
    static const int32_t image[] = { 2, 270, 269, 4, -63, 6, 8, 269, 271, 0 };
    static const int32_t audio[] = { 2, 5, -2, 7, 9, 307, 0 };
    /* "a 00:00 <frame> 02:05 <frame>b": seconds are cut, not rounded. */
    static const int32_t frames[] = { 2, 270, 296, 296, 306, 296, 296, 269, 4, -52, 10, 8,
                                      269, 296, 298, 306, 296, 301, 269, 4, -52, 10, 8, 271, 0 };
    expect_ids("ab", NULL, 0, text);
    expect_ids("a <|image|> b", picture, 1, image);
    expect_ids("<|audio|>ab", sound, 1, audio);
    expect_ids("a<|video|>b", video, 1, frames);
}
END_TEST

START_TEST(media_without_a_place_come_first)
{
    static const g4_media both[] = { { G4_AUDIO, SOUND }, { G4_IMAGE, PICTURE },
                                     { G4_AUDIO, SOUND } };
    static const int32_t front[] = { 2, 4, -63, 6, 8, 307, 0 };
    /* The first clip takes the one place; picture and second clip go ahead. */
    static const int32_t mixed[] = { 2, 4, -63, 6, 8, 5, -2, 7, 9, 270, 5, -2, 7, 9, 271, 0 };
    expect_ids("ab", picture, 1, front);
    expect_ids("a<|audio|>b", both, 3, mixed);
    ck_assert_int_eq(g4_prompt_placeholders("<|audio|><|image|><|audio|>", 27, G4_AUDIO), 2);
}
END_TEST

START_TEST(bos_stays_in_front)
{
    static const struct {
        g4_bos bos;
        const char *text;
        int64_t boses;
    } rows[] = {
        { G4_BOS_AUTO, "ab", 1 }, { G4_BOS_AUTO, "<bos>ab", 1 }, { G4_BOS_OFF, "ab", 0 },
        { G4_BOS_OFF, "<bos>ab", 1 }, { G4_BOS_ON, "<bos>ab", 2 }, { G4_BOS_FILE, "ab", 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        g4_prompt p;
        g4_err err;
        g4_request r = { .text = rows[i].text, .len = strlen(rows[i].text), .media = picture,
                         .media_count = 1, .audio_limit = -1, .bos = rows[i].bos };
        ck_assert_int_eq(g4_prompt_build(&p, &r, &proc, tok, &arena, NULL, &err), G4_OK);
        for (int64_t t = 0; t < p.n; t++) ck_assert_int_eq(p.ids[t] == 2, t < rows[i].boses);
        ck_assert_int_eq(p.ids[rows[i].boses], 4);
    }
}
END_TEST

START_TEST(tensors_are_filled)
{
    static const g4_media many[] = { { G4_VIDEO, CLIP }, { G4_IMAGE, PICTURE },
                                     { G4_IMAGE, PICTURE }, { G4_AUDIO, SOUND } };
    g4_prompt p;
    g4_err err;
    ck_assert_msg(build(&p, "", many, 4, NULL, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(p.images.count, 2);
    ck_assert_int_eq(p.images.budget, 70);
    ck_assert_int_eq(p.images.patch, 6912);
    ck_assert_int_eq(g4_patches_valid(&p.images), 126);
    ck_assert_mem_eq(p.images.pixels, p.images.pixels + 70 * 6912, 70 * 6912 * sizeof(float));
    ck_assert_int_eq(p.videos, 1);
    ck_assert_int_eq(p.num_frames_per_video[0], 2);
    ck_assert_int_eq(p.frames.count, 2);
    /* The frames are all one grey, 30 and 200: so are they after any resize. */
    ck_assert(p.frames.pixels[0] == 30 * (float)proc.video.rescale_factor);
    ck_assert(p.frames.pixels[70 * 6912] == 200 * (float)proc.video.rescale_factor);
    ck_assert_int_eq(p.clips, 1);
    ck_assert_int_eq(p.clip_frames, 2);
    ck_assert_int_eq(g4_prompt_audio_valid(&p), 2);
    ck_assert(p.input_features[999] != 0 && p.input_features[1000] == 0);
    ck_assert(p.input_features[1279] == 0);
}
END_TEST

/* A WAV of n 16-bit samples; the file is the test's own. */
static void write_wav(const char *path, uint32_t n)
{
    uint8_t head[44] = "RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0"
                       "\0\x7d\0\0\x02\0\x10\0data";
    uint32_t bytes = 2 * n;
    memcpy(head + 40, &bytes, 4);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(head, 1, 44, f), 44);
    for (uint32_t i = 0; i < bytes; i++) fputc(1, f);
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(clips_are_capped_and_padded)
{
    char dir[] = "/tmp/g4_check_XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/long.wav", dir);
    write_wav(path, 5000);   /* 7.8 frames; the model folder allows 3 */
    g4_media two[] = { { G4_AUDIO, path }, { G4_AUDIO, SOUND } };
    g4_prompt p;
    g4_err err;
    const char *warning;
    ck_assert_msg(build(&p, "", two, 2, &warning, &err) == G4_OK, "%s", err.msg);
    ck_assert_ptr_nonnull(warning);
    ck_assert_ptr_nonnull(strstr(warning, "long.wav: 0.31 s long, cut to the first 0.12 s"));
    ck_assert_int_eq(p.clip_frames, 3);
    static const uint8_t mask[] = { 1, 1, 1, 1, 1, 0 };
    ck_assert_mem_eq(p.input_features_mask, mask, 6);
    ck_assert(p.input_features[3 * 640 + 1279] == 0);        /* the clip's own last frame */
    ck_assert(p.input_features[3 * 640 + 1280] == 0.5f);     /* the padding_value of the file */
    g4_request r = { .text = "", .media = two, .media_count = 1, .audio_limit = 0.1 };
    ck_assert_int_eq(g4_prompt_build(&p, &r, &proc, tok, &arena, &warning, &err), G4_OK);
    ck_assert_int_eq(p.clip_frames, 3);                      /* 1600 samples: 2.5 frames */
    ck_assert(p.input_features[1599] != 0 && p.input_features[1600] == 0);
    r.audio_limit = 1;
    ck_assert_int_eq(g4_prompt_build(&p, &r, &proc, tok, &arena, &warning, &err), G4_OK);
    ck_assert_ptr_null(warning);
    ck_assert_int_eq(p.clip_frames, 8);
    r.audio_limit = 0;
    ck_assert_int_eq(g4_prompt_build(&p, &r, &proc, tok, &arena, &warning, &err), G4_EINPUT);
    unlink(path);
    rmdir(dir);
}
END_TEST

static void expect_bad(const char *text, const g4_media *media, size_t n, const char *what)
{
    g4_prompt p;
    g4_err err;
    g4_status s = build(&p, text, media, n, NULL, &err);
    ck_assert_msg(s == G4_EINPUT || s == G4_EIO, "accepted, but %s", what);
    ck_assert_msg(strstr(err.msg, what) != NULL, "'%s' lacks '%s'", err.msg, what);
}

START_TEST(requests_that_cannot_be)
{
    static const g4_media none[] = { { G4_IMAGE, DATA "none.png" } };
    static const g4_media file[] = { { G4_VIDEO, PICTURE } };
    static const g4_media empty[] = { { G4_VIDEO, MODEL } };
    static const g4_media folder[] = { { G4_AUDIO, MODEL } };
    g4_prompt p;
    g4_err err;
    expect_bad("<|image|><|image|>", picture, 1, "2 <|image|> in the text, more than");
    expect_bad("<|audio|>", picture, 1, "<|audio|> in the text, more than");
    expect_bad("", none, 1, "none.png: cannot open");
    expect_bad("", file, 1, "libav");   /* not a video, or not built in */
    expect_bad("", empty, 1, "no .png frames");
    expect_bad("", folder, 1, "not a regular file");
    expect_bad("\xff", NULL, 0, "");
    g4_request r = { .text = "", .media = picture, .media_count = 1, .image_tokens = 71 };
    ck_assert_int_eq(g4_prompt_build(&p, &r, &proc, tok, &arena, NULL, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "--image-tokens: 71"));
    proc.boi_token_id = 100000;
    expect_bad("", picture, 1, "no token 100000, which config.json uses");
    proc.has_vision = 0;
    expect_bad("", picture, 1, "takes no image");
    expect_bad("", video, 1, "takes no video");
}
END_TEST

/* A frame's position may lie outside the table of a small model. */
START_TEST(positions_outside_the_table)
{
    proc.mm_posemb_size = 8;
    expect_bad("", picture, 1, "pixel_values row 8 lies at (8, 0), the table has 8");
}
END_TEST

START_TEST(frames_of_a_folder)
{
    static const g4_video_sampling every = { 0, 0 }, fast = { 4, 0 }, some = { 2, 5 };
    char dir[] = "/tmp/g4_check_XXXXXX", path[80];
    g4_video v;
    g4_err err;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (int i = 0; i < 62; i++) {
        snprintf(path, sizeof path, "%s/%02d.png", dir, 61 - i);
        FILE *f = fopen(path, "wb");
        ck_assert_ptr_nonnull(f);
        fclose(f);
    }
    ck_assert_int_eq(g4_video_list(&v, dir, &every, &arena, &err), G4_OK);
    ck_assert_int_eq(v.total, 62);
    ck_assert_int_eq(v.count, 60);
    for (int i = 0; i < 60; i++) {
        snprintf(path, sizeof path, "%s/%02d.png", dir, i);
        ck_assert_str_eq(v.paths[i], path);
        ck_assert(v.seconds[i] == i);
    }
    ck_assert_int_eq(g4_video_list(&v, dir, &fast, &arena, &err), G4_OK);
    ck_assert(v.count == 60 && v.seconds[59] == 59 / 4.0);
    ck_assert_int_eq(g4_video_list(&v, dir, &some, &arena, &err), G4_OK);
    ck_assert_int_eq(v.count, 5);
    for (int i = 0; i < 5; i++) {   /* of 62 frames, two a second: 0, 12, 24, 37, 49 */
        snprintf(path, sizeof path, "%s/%02d.png", dir, i * 62 / 5);
        ck_assert_str_eq(v.paths[i], path);
        ck_assert(v.seconds[i] == i * 62 / 5 / 2.0);
    }
    static const struct {
        const char *text, *what;
    } rows[] = { { "1\n2\n", "2 times for 62 frames" }, { "-1\n", "line 1" }, { "1\n\n", "line 2" },
                 { "1 2\n", "line 1" }, { "1e3\n", "line 1" }, { "9999999\n", "line 1" },
                 { "1\n.5\n", "line 2 is earlier than the line before it" } };
    char times[80];
    snprintf(times, sizeof times, "%s/times.txt", dir);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        FILE *f = fopen(times, "wb");
        ck_assert_ptr_nonnull(f);
        fputs(rows[i].text, f);
        fclose(f);
        ck_assert_int_eq(g4_video_list(&v, dir, &every, &arena, &err), G4_EINPUT);
        ck_assert_msg(strstr(err.msg, rows[i].what) != NULL, "%s", err.msg);
    }
    unlink(times);
    for (int i = 0; i < 62; i++) {
        snprintf(path, sizeof path, "%s/%02d.png", dir, i);
        unlink(path);
    }
    rmdir(dir);
}
END_TEST

static void copy_file(const char *from, const char *to)
{
    uint8_t *data;
    size_t size;
    ck_assert_int_eq(g4_file_read(from, 1 << 20, &data, &size, NULL), G4_OK);
    FILE *f = fopen(to, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
    free(data);
}

START_TEST(a_folder_is_cut_and_its_frames_agree)
{
    char dir[] = "/tmp/g4_check_XXXXXX", path[80];
    const g4_media media[] = { { G4_VIDEO, dir } };
    const char *warning;
    g4_prompt p;
    g4_err err;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (int i = 0; i < 61; i++) {
        snprintf(path, sizeof path, "%s/%02d.png", dir, i);
        copy_file(CLIP "/f1.png", path);
    }
    ck_assert_msg(build(&p, "", media, 1, &warning, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(p.frames.count, 60);
    ck_assert_ptr_nonnull(strstr(warning, "61 frames, cut to the first 60"));
    snprintf(path, sizeof path, "%s/03.png", dir);
    copy_file(PICTURE, path);
    expect_bad("", media, 1, "/03.png: a frame of ");
    for (int i = 0; i < 61; i++) {
        snprintf(path, sizeof path, "%s/%02d.png", dir, i);
        unlink(path);
    }
    rmdir(dir);
}
END_TEST

/* ------------------------------------------------------------- the processor */

/* Loads a copy of the model folder with `from` replaced by `to` in one file. */
static g4_status load_edited(const char *name, const char *from, const char *to,
                             g4_processor *out, g4_err *err)
{
    static const char *const files[] = { "config.json", "processor_config.json" };
    char dir[] = "/tmp/g4_check_XXXXXX", path[128];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (int i = 0; i < 2; i++) {
        uint8_t *data;
        size_t size;
        snprintf(path, sizeof path, MODEL "/%s", files[i]);
        ck_assert_int_eq(g4_file_read(path, 1 << 20, &data, &size, NULL), G4_OK);
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        const char *text = (const char *)data, *hit = text + size;
        int edit = strcmp(name, files[i]) == 0;
        if (edit) hit = strstr(text, from);
        ck_assert_msg(hit != NULL, "%s lacks %s", name, from);
        FILE *f = fopen(path, "wb");
        ck_assert_ptr_nonnull(f);
        fprintf(f, "%.*s%s%s", (int)(hit - text), text, edit ? to : "",
                edit ? hit + strlen(from) : "");
        fclose(f);
        free(data);
    }
    g4_status s = g4_processor_load(out, dir, err);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
    return s;
}

START_TEST(settings_are_read)
{
    g4_processor p;
    g4_err err;
    ck_assert_int_eq(proc.eoa_token_id, 9);
    ck_assert_int_eq(proc.video_token_id, 10);
    ck_assert_int_eq(proc.image.max_soft_tokens, 70);
    ck_assert_int_eq(proc.audio_seq_length, 3);
    ck_assert_int_eq(proc.mm_posemb_size, 128);
    ck_assert_int_eq(proc.video.do_normalize, 0);
    ck_assert_int_eq(load_edited("processor_config.json", "\"num_frames\"",
                                 "\"do_normalize\": true, \"num_frames\"", &p, &err), G4_OK);
    ck_assert_int_eq(p.video.do_normalize, 1);
    /* One number for all channels. */
    ck_assert_int_eq(load_edited("processor_config.json", "\"image_std\": [",
                                 "\"image_std\": 0.5, \"old\": [", &p, &err), G4_OK);
    for (int c = 0; c < 3; c++) ck_assert(p.image.image_std[c] == 0.5);
    /* Nothing said: the class defaults. */
    ck_assert_int_eq(load_edited("processor_config.json", "\"image_processor\"", "\"other\"", &p,
                                 &err), G4_OK);
    ck_assert_int_eq(p.image.max_soft_tokens, 280);
    ck_assert(p.image.rescale_factor == 1.0 / 255);
}
END_TEST

START_TEST(unknown_settings_are_errors)
{
    static const struct {
        const char *file, *from, *to, *what;
    } rows[] = {
        { "processor_config.json", "\"resample\": 3", "\"resample\": 2", "resample is 2" },
        { "processor_config.json", "\"do_resize\": true", "\"do_resize\": false", "do_resize" },
        { "processor_config.json", "\"do_rescale\": true", "\"do_rescale\": 1", "do_rescale" },
        { "processor_config.json", "\"do_convert_rgb\": true", "\"do_convert_rgb\": false",
          "do_convert_rgb" },
        { "processor_config.json", "\"max_soft_tokens\": 70", "\"max_soft_tokens\": 71",
          "max_soft_tokens is 71" },
        { "processor_config.json", "\"patch_size\": 16", "\"patch_size\": 8", "of 24 pixels" },
        { "processor_config.json", "Gemma4UnifiedImageProcessor", "SiglipImageProcessor",
          "SiglipImageProcessor" },
        { "processor_config.json", "Gemma4UnifiedVideoProcessor", "X", "video_processor_type" },
        { "processor_config.json", "\"feature_size\": 640", "\"feature_size\": 320",
          "feature_size is 320" },
        { "processor_config.json", "\"sampling_rate\": 16000", "\"sampling_rate\": 0",
          "sampling_rate is 0" },
        { "processor_config.json", "\"image_std\": [", "\"image_std\": [0,", "image_std" },
        { "processor_config.json", "\"image_mean\": [", "\"image_mean\": [true, 0, 0], \"old\": [",
          "image_mean[0] is no number" },
        { "config.json", "\"pooling_kernel_size\": 3", "\"pooling_kernel_size\": 17",
          "patches of 272 pixels, at most 256" },
        { "config.json", "\"audio_embed_dim\": 640", "\"audio_embed_dim\": 512",
          "audio_embed_dim" },
        { "config.json", "\"pooling_kernel_size\": 3", "\"pooling_kernel_size\": 2",
          "vision_config has 32" },
        { "config.json", "\"boi_token_id\": 4", "\"boi_token_id\": -1", "boi_token_id is -1" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        g4_processor p;
        g4_err err;
        ck_assert_msg(load_edited(rows[i].file, rows[i].from, rows[i].to, &p, &err) == G4_EINPUT,
                      "accepted %s", rows[i].to);
        ck_assert_msg(strstr(err.msg, rows[i].what) != NULL, "'%s' lacks '%s'", err.msg,
                      rows[i].what);
    }
}
END_TEST

/* ------------------------------------------------------------- g4_prompt_check */

START_TEST(prompts_that_contradict_themselves)
{
    static const g4_media many[] = { { G4_IMAGE, PICTURE }, { G4_VIDEO, CLIP },
                                     { G4_AUDIO, SOUND } };
    g4_prompt p;
    g4_err err;
    ck_assert_int_eq(build(&p, "ab", many, 3, NULL, &err), G4_OK);
    ck_assert_int_eq(g4_prompt_check(&p, "x.h5", 308, 128, 6912, 640, &err), G4_OK);
#define BAD(change, undo, what)                                                             \
    do {                                                                                    \
        change;                                                                             \
        ck_assert_int_eq(g4_prompt_check(&p, "x.h5", 308, 128, 6912, 640, &err), G4_EINPUT); \
        ck_assert_msg(strncmp(err.msg, "x.h5: ", 6) == 0 && strstr(err.msg, what), "%s",     \
                      err.msg);                                                             \
        undo;                                                                               \
    } while (0)
    BAD(p.ids[0] = 308, p.ids[0] = 2, "id 308");
    BAD(p.ids[0] = -1, p.ids[0] = 2, "id -1");
    BAD(p.types[0] = 4, p.types[0] = 0, "type 4");
    BAD(p.types[0] = 1, p.types[0] = 0, "64 image soft tokens, but the media give 63");
    BAD(p.types[0] = 2, p.types[0] = 0, "video soft tokens");
    BAD(p.types[0] = 3, p.types[0] = 0, "3 audio soft tokens, but the media give 2");
    BAD(p.positions[0] = -1, p.positions[0] = 0, "position -1");
    BAD(p.images.positions[0] = 128, p.images.positions[0] = 0, "(128, 0)");
    BAD(p.images.positions[0] = -1, p.images.positions[0] = 0, "(-1, 0)");
    BAD(p.images.patch = 6911, p.images.patch = 6912, "6911");
    BAD(p.images.count = INT64_MAX / 2, p.images.count = 1, "pixel_values of");
    BAD(p.frame = 639, p.frame = 640, "639");
    BAD(p.num_frames_per_video[0] = 3, p.num_frames_per_video[0] = 2, "gives 3, there are 2");
    BAD(p.input_features_mask[1] = 0, p.input_features_mask[1] = 1, "audio soft tokens");
    BAD(p.input_features[7] = 0.0f / 0.0f, p.input_features[7] = 0, "input_features[7]");
    float old = p.frames.pixels[9];
    BAD(p.frames.pixels[9] = 1.0f / 0.0f, p.frames.pixels[9] = old, "pixel_values_videos[9]");
#undef BAD
    ck_assert_int_eq(g4_prompt_check(&p, "x.h5", 308, 128, 6912, 640, &err), G4_OK);
}
END_TEST

START_TEST(allocations_fail)
{
    static const g4_media many[] = { { G4_IMAGE, PICTURE }, { G4_VIDEO, CLIP },
                                     { G4_AUDIO, SOUND } };
    for (long n = 1;; n++) {
        g4_arena own = { NULL };
        g4_processor c;
        g4_prompt p;
        g4_request r = { .text = "ab<|video|>", .len = 11, .media = many, .media_count = 3,
                         .audio_limit = 0.02 };
        fault_alloc_arm(n, 0);
        g4_status s = g4_processor_load(&c, MODEL, NULL);
        if (s == G4_OK) s = g4_prompt_build(&p, &r, &c, tok, &own, NULL, NULL);
        g4_arena_free(&own);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) {
            ck_assert_int_eq(s, G4_OK);
            ck_assert_int_gt(n, 30);
            break;
        }
        ck_assert_int_eq(s, G4_ENOMEM);
    }
}
END_TEST

Suite *check_prompt(void)
{
    Suite *s = suite_create("prompt");
    TCase *t = tcase_create("build");
    tcase_add_checked_fixture(t, open_model, close_model);
    tcase_add_test(t, media_expand);
    tcase_add_test(t, media_without_a_place_come_first);
    tcase_add_test(t, bos_stays_in_front);
    tcase_add_test(t, tensors_are_filled);
    tcase_add_test(t, clips_are_capped_and_padded);
    tcase_add_test(t, requests_that_cannot_be);
    tcase_add_test(t, positions_outside_the_table);
    tcase_add_test(t, frames_of_a_folder);
    tcase_add_test(t, a_folder_is_cut_and_its_frames_agree);
    tcase_add_test(t, prompts_that_contradict_themselves);
    tcase_add_test(t, allocations_fail);
    suite_add_tcase(s, t);
    t = tcase_create("processor");
    tcase_add_checked_fixture(t, open_model, close_model);
    tcase_add_test(t, settings_are_read);
    tcase_add_test(t, unknown_settings_are_errors);
    suite_add_tcase(s, t);
    return s;
}
