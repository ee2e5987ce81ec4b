/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/input/processor.h"

#include "ref/base/arena.h"
#include "ref/base/json.h"
#include "ref/file/document.h"

#include <string.h>

enum { MAX_FILE = 16 << 20, MAX_SIDE = 256, MAX_VOCAB = 1 << 30 };

int g4_budget_valid(int64_t soft_tokens)
{
    static const int64_t known[] = { 70, 140, 280, 560, 1120 };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (soft_tokens == known[i]) return 1;
    return 0;
}

/* ------------------------------------------------------------ config.json */

static g4_status read_token_ids(g4_processor *p, const g4_json *j, g4_err *err)
{
    const struct {
        const char *key;
        int64_t *out, otherwise;   /* Transformers' default */
    } rows[] = {
        { "boi_token_id", &p->boi_token_id, 255999 },
        { "eoi_token_id", &p->eoi_token_id, 258882 },
        { "image_token_id", &p->image_token_id, 258880 },
        { "video_token_id", &p->video_token_id, 258884 },
        { "boa_token_id", &p->boa_token_id, 256000 },
        { "eoa_token_index", &p->eoa_token_id, 258883 },   /* sic: the only "_index" */
        { "audio_token_id", &p->audio_token_id, 258881 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        /* An id outside the vocabulary is no fault until such media are used. */
        *rows[i].out = rows[i].otherwise;
        G4_TRY(g4_json_opt_int(j, rows[i].key, 0, MAX_VOCAB, rows[i].out, err));
    }
    return G4_OK;
}

/* The parts of config.json that the media must fit; side, width: P and A of the model. */
static g4_status read_config(g4_processor *p, const g4_json *j, int64_t *side, int64_t *width,
                             g4_err *err)
{
    g4_json text, vision, audio;
    int64_t patch = 16, pool = 3;
    G4_TRY(read_token_ids(p, j, err));
    G4_TRY(g4_json_object(j, "text_config", 1, &text, err));
    G4_TRY(g4_json_object(j, "vision_config", 0, &vision, err));
    G4_TRY(g4_json_object(j, "audio_config", 0, &audio, err));
    p->vocab_size = 262144;
    G4_TRY(g4_json_opt_int(&text, "vocab_size", 1, MAX_VOCAB, &p->vocab_size, err));
    p->has_vision = vision.root != NULL;
    p->has_audio = audio.root != NULL;
    p->mm_posemb_size = 1120;
    *width = 640;
    if (p->has_vision) {
        G4_TRY(g4_json_opt_int(&vision, "patch_size", 1, MAX_SIDE, &patch, err));
        G4_TRY(g4_json_opt_int(&vision, "pooling_kernel_size", 1, MAX_SIDE, &pool, err));
        G4_TRY(g4_json_opt_int(&vision, "mm_posemb_size", 1, 1 << 20, &p->mm_posemb_size, err));
    }
    if (p->has_audio)
        G4_TRY(g4_json_opt_int(&audio, "audio_embed_dim", 1, 1 << 20, width, err));
    *side = patch * pool;
    return G4_OK;
}

/* --------------------------------------------------- processor_config.json */

/* Transformers picks the class by this name; another class, other numbers. */
static g4_status expect_class(const g4_json *j, const char *key, const char *want, g4_err *err)
{
    const char *name = want;
    G4_TRY(g4_json_opt_str(j, key, &name, err));
    if (strcmp(name, want) == 0) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: %s is %.80s, only %s is known", j->file, key, name, want);
}

/* A switch that must stand where this program has it; absent: it does. */
static g4_status expect_on(const g4_json *j, const char *key, g4_err *err)
{
    int on = 1;
    G4_TRY(g4_json_opt_bool(j, key, &on, err));
    if (on) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: %s is false, only true is supported", j->file, key);
}

/* Three numbers, or one for all three channels. */
static g4_status read_channels(const g4_json *j, const char *key, double min, double *out,
                               g4_err *err)
{
    json_t *v = json_object_get(j->root, key);
    if (json_is_number(v)) {
        G4_TRY(g4_json_opt_num(j, key, min, 1e6, &out[0], err));
        out[1] = out[2] = out[0];
        return G4_OK;
    }
    g4_json list;
    G4_TRY(g4_json_array(j, key, 0, &list, err));
    if (!list.root) return G4_OK;
    if (json_array_size(list.root) != 3)
        return g4_fail(err, G4_EINPUT, "%s: %s has %zu values, expected 3", j->file, key,
                       json_array_size(list.root));
    for (size_t c = 0; c < 3; c++) {
        json_t *item = json_array_get(list.root, c);
        double d = json_is_number(item) ? json_number_value(item) : min - 1;
        if (!(d >= min && d <= 1e6))
            return g4_fail(err, G4_EINPUT, "%s: %s[%zu] is no number from %g to 1e6", j->file,
                           key, c, min);
        out[c] = d;
    }
    return G4_OK;
}

static g4_status read_visual(g4_visual *v, const g4_json *j, g4_err *err)
{
    int64_t resample = 3;   /* PIL's number of BICUBIC */
    G4_TRY(g4_json_opt_int(j, "patch_size", 1, MAX_SIDE, &v->patch_size, err));
    G4_TRY(g4_json_opt_int(j, "pooling_kernel_size", 1, MAX_SIDE, &v->pooling_kernel_size, err));
    G4_TRY(g4_json_opt_int(j, "max_soft_tokens", 1, 1 << 20, &v->max_soft_tokens, err));
    if (!g4_budget_valid(v->max_soft_tokens))
        return g4_fail(err, G4_EINPUT,
                       "%s: max_soft_tokens is %lld, expected 70, 140, 280, 560 or 1120",
                       j->file, (long long)v->max_soft_tokens);
    G4_TRY(g4_json_opt_int(j, "resample", 0, 100, &resample, err));
    if (resample != 3)
        return g4_fail(err, G4_EINPUT, "%s: resample is %lld, only 3 (bicubic) is supported",
                       j->file, (long long)resample);
    G4_TRY(expect_on(j, "do_convert_rgb", err));
    G4_TRY(expect_on(j, "do_resize", err));
    G4_TRY(expect_on(j, "do_rescale", err));
    G4_TRY(g4_json_opt_num(j, "rescale_factor", 1e-9, 1e9, &v->rescale_factor, err));
    G4_TRY(g4_json_opt_bool(j, "do_normalize", &v->do_normalize, err));
    G4_TRY(read_channels(j, "image_mean", -1e6, v->image_mean, err));
    return read_channels(j, "image_std", 1e-6, v->image_std, err);
}

static g4_status read_audio(g4_processor *p, const g4_json *j, g4_err *err)
{
    int64_t feature_size;
    G4_TRY(g4_json_opt_int(j, "sampling_rate", 1, 1 << 20, &p->sampling_rate, err));
    G4_TRY(g4_json_opt_int(j, "audio_samples_per_token", 1, 1 << 20, &p->audio_samples_per_token,
                           err));
    G4_TRY(g4_json_opt_num(j, "padding_value", -1e6, 1e6, &p->padding_value, err));
    feature_size = p->audio_samples_per_token;
    G4_TRY(g4_json_opt_int(j, "feature_size", 1, 1 << 20, &feature_size, err));
    if (feature_size != p->audio_samples_per_token)
        return g4_fail(err, G4_EINPUT, "%s: feature_size is %lld, audio_samples_per_token %lld",
                       j->file, (long long)feature_size, (long long)p->audio_samples_per_token);
    return G4_OK;
}

/* One part: nested in processor_config.json (root may be NULL), else a file of
 * its own as older checkpoints have it, else left at the defaults. */
static g4_status read_part(g4_processor *p, const char *dir, const g4_json *all, const char *key,
                           const char *old_file, g4_err *err)
{
    g4_json part = { NULL, NULL }, own = { NULL, NULL };
    g4_arena arena = { NULL };
    g4_status s = G4_OK;
    if (all->root) G4_TRY(g4_json_object(all, key, 0, &part, err));
    if (!part.root) {
        s = g4_document_load(&own, &arena, dir, old_file, 0, MAX_FILE, err);
        part = own;
    }
    if (s == G4_OK && part.root) {
        if (strcmp(key, "image_processor") == 0) {
            s = expect_class(&part, "image_processor_type", "Gemma4UnifiedImageProcessor", err);
            if (s == G4_OK) s = read_visual(&p->image, &part, err);
        } else if (strcmp(key, "video_processor") == 0) {
            s = expect_class(&part, "video_processor_type", "Gemma4UnifiedVideoProcessor", err);
            if (s == G4_OK) s = read_visual(&p->video, &part, err);
        } else {
            s = expect_class(&part, "feature_extractor_type",
                             "Gemma4UnifiedAudioFeatureExtractor", err);
            if (s == G4_OK) s = read_audio(p, &part, err);
        }
    }
    g4_json_free(&own);
    g4_arena_free(&arena);
    return s;
}

static g4_status read_processor(g4_processor *p, const char *dir, const g4_json *j, g4_err *err)
{
    if (j->root) {
        G4_TRY(expect_class(j, "processor_class", "Gemma4UnifiedProcessor", err));
        G4_TRY(g4_json_opt_int(j, "audio_seq_length", 1, 1 << 24, &p->audio_seq_length, err));
    }
    G4_TRY(read_part(p, dir, j, "image_processor", "preprocessor_config.json", err));
    G4_TRY(read_part(p, dir, j, "feature_extractor", "preprocessor_config.json", err));
    return read_part(p, dir, j, "video_processor", "video_preprocessor_config.json", err);
}

/* The model's matrices have P and A rows: what the processor cuts must fit. */
static g4_status check_fit(const g4_processor *p, const char *config, const char *path,
                           int64_t side, int64_t width, g4_err *err)
{
    const g4_visual *v[] = { &p->image, &p->video };
    if (side > MAX_SIDE)   /* bounds what a picture can cost */
        return g4_fail(err, G4_EINPUT, "%s: vision_config patches of %lld pixels, at most %d",
                       config, (long long)side, (int)MAX_SIDE);
    for (int i = 0; p->has_vision && i < 2; i++)
        if (g4_visual_side(v[i]) != side)
            return g4_fail(err, G4_EINPUT,
                           "%s: %s patches of %lld pixels (patch_size x pooling_kernel_size),"
                           " config.json's vision_config has %lld", path,
                           i ? "video" : "image", (long long)g4_visual_side(v[i]),
                           (long long)side);
    if (p->has_audio && p->audio_samples_per_token != width)
        return g4_fail(err, G4_EINPUT,
                       "%s: audio_samples_per_token is %lld, config.json's audio_embed_dim %lld",
                       path, (long long)p->audio_samples_per_token, (long long)width);
    return G4_OK;
}

static g4_status load(g4_processor *p, const char *dir, g4_arena *arena, g4_err *err)
{
    g4_json j;
    int64_t side, width;
    g4_json config;
    G4_TRY(g4_document_load(&config, arena, dir, "config.json", 1, MAX_FILE, err));
    g4_status s = read_config(p, &config, &side, &width, err);
    g4_json_free(&config);
    if (s != G4_OK) return s;
    G4_TRY(g4_document_load(&j, arena, dir, "processor_config.json", 0, MAX_FILE, err));
    s = read_processor(p, dir, &j, err);
    if (s == G4_OK) s = check_fit(p, config.file, j.file, side, width, err);
    g4_json_free(&j);
    return s;
}

g4_status g4_processor_load(g4_processor *p, const char *dir, g4_err *err)
{
    const g4_visual visual = { .patch_size = 16, .pooling_kernel_size = 3, .max_soft_tokens = 280,
                               .rescale_factor = 1.0 / 255, .image_std = { 1, 1, 1 } };
    g4_arena arena = { NULL };
    memset(p, 0, sizeof *p);
    p->image = p->video = visual;
    p->video.max_soft_tokens = 70;
    p->sampling_rate = 16000;
    p->audio_samples_per_token = 640;
    p->audio_seq_length = 750;
    g4_status s = load(p, dir, &arena, err);
    g4_arena_free(&arena);
    return s;
}
