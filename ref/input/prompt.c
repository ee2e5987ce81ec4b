/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/input/prompt.h"

#include <math.h>
#include <stddef.h>

static int is_padding(const int32_t *xy)
{
    return xy[0] == -1 && xy[1] == -1;
}

int64_t g4_patches_valid(const g4_patches *p)
{
    int64_t valid = 0;
    for (int64_t i = 0; i < p->count * p->budget; i++) valid += !is_padding(p->positions + 2 * i);
    return valid;
}

int64_t g4_prompt_audio_valid(const g4_prompt *p)
{
    int64_t valid = 0;
    for (int64_t i = 0; i < p->clips * p->clip_frames; i++)
        valid += p->input_features_mask[i] != 0;
    return valid;
}

static g4_status check_tokens(const g4_prompt *p, const char *name, int64_t vocab, g4_err *err)
{
    if (p->n < 1) return g4_fail(err, G4_EINPUT, "%s: no tokens in it", name);
    if (p->n > G4_MAX_POSITION)   /* a few bytes of HDF5 can unpack to a billion */
        return g4_fail(err, G4_EINPUT, "%s: %lld tokens, at most %d are taken", name,
                       (long long)p->n, (int)G4_MAX_POSITION);
    for (int64_t t = 0; t < p->n; t++) {
        if (p->ids[t] < 0 || p->ids[t] >= vocab)
            return g4_fail(err, G4_EINPUT, "%s: token %lld has id %d, the vocabulary %lld", name,
                           (long long)t, p->ids[t], (long long)vocab);
        if (p->positions[t] < 0 || p->positions[t] > G4_MAX_POSITION)
            return g4_fail(err, G4_EINPUT, "%s: token %lld has position %d, expected 0 to %d",
                           name, (long long)t, p->positions[t], (int)G4_MAX_POSITION);
        if (p->types[t] < G4_TEXT || p->types[t] > G4_AUDIO)
            return g4_fail(err, G4_EINPUT, "%s: token %lld has type %d, expected 0 to 3", name,
                           (long long)t, p->types[t]);
    }
    return G4_OK;
}

/* Sizes come from files: products are checked before anything is indexed. */
static g4_status check_volume(const char *name, const char *what, int64_t a, int64_t b, int64_t c,
                              const void *data, g4_err *err)
{
    int64_t cells;
    if (a < 0 || (a > 0 && (b < 1 || c < 1)) || __builtin_mul_overflow(a, b, &cells) ||
        __builtin_mul_overflow(cells, c, &cells) || cells > PTRDIFF_MAX / 8)
        return g4_fail(err, G4_EINPUT, "%s: %s of %lld x %lld x %lld", name, what, (long long)a,
                       (long long)b, (long long)c);
    if (a > 0 && !data) return g4_fail(err, G4_EINPUT, "%s: %s without values", name, what);
    return G4_OK;
}

static g4_status check_finite(const char *name, const char *what, const float *v, int64_t n,
                              g4_err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return g4_fail(err, G4_EINPUT, "%s: %s[%lld] is not a finite number", name, what,
                           (long long)i);
    return G4_OK;
}

static g4_status check_patches(const g4_patches *p, const char *name, const char *what,
                               int64_t posemb, int64_t patch, g4_err *err)
{
    G4_TRY(check_volume(name, what, p->count, p->budget, p->patch, p->pixels, err));
    if (p->count == 0) return G4_OK;
    if (p->patch != patch)
        return g4_fail(err, G4_EINPUT, "%s: %s has patches of %lld values, the model %lld", name,
                       what, (long long)p->patch, (long long)patch);
    if (!p->positions) return g4_fail(err, G4_EINPUT, "%s: %s without positions", name, what);
    for (int64_t i = 0; i < p->count * p->budget; i++) {
        const int32_t *xy = p->positions + 2 * i;
        if (is_padding(xy)) continue;
        if (xy[0] < 0 || xy[0] >= posemb || xy[1] < 0 || xy[1] >= posemb)
            return g4_fail(err, G4_EINPUT, "%s: %s row %lld lies at (%d, %d), the table has %lld",
                           name, what, (long long)i, xy[0], xy[1], (long long)posemb);
    }
    return check_finite(name, what, p->pixels, p->count * p->budget * p->patch, err);
}

static g4_status check_videos(const g4_prompt *p, const char *name, g4_err *err)
{
    int64_t frames = 0;
    if (p->videos < 0 || (p->videos > 0 && !p->num_frames_per_video))
        return g4_fail(err, G4_EINPUT, "%s: %lld videos without num_frames_per_video", name,
                       (long long)p->videos);
    for (int64_t i = 0; i < p->videos; i++) {
        if (p->num_frames_per_video[i] < 1)
            return g4_fail(err, G4_EINPUT, "%s: num_frames_per_video[%lld] is %d", name,
                           (long long)i, p->num_frames_per_video[i]);
        frames += p->num_frames_per_video[i];
    }
    if (frames != p->frames.count)
        return g4_fail(err, G4_EINPUT, "%s: num_frames_per_video gives %lld, there are %lld", name,
                       (long long)frames, (long long)p->frames.count);
    return G4_OK;
}

static g4_status check_audio(const g4_prompt *p, const char *name, int64_t frame, g4_err *err)
{
    G4_TRY(check_volume(name, "input_features", p->clips, p->clip_frames, p->frame,
                        p->input_features, err));
    if (p->clips == 0) return G4_OK;
    if (p->frame != frame)
        return g4_fail(err, G4_EINPUT, "%s: input_features has frames of %lld, the model %lld",
                       name, (long long)p->frame, (long long)frame);
    if (!p->input_features_mask)
        return g4_fail(err, G4_EINPUT, "%s: input_features without a mask", name);
    return check_finite(name, "input_features", p->input_features,
                        p->clips * p->clip_frames * p->frame, err);
}

g4_status g4_prompt_check(const g4_prompt *p, const char *name, int64_t vocab, int64_t posemb,
                          int64_t patch, int64_t frame, g4_err *err)
{
    static const char *const what[] = { "", "image", "video", "audio" };
    int64_t have[4] = { 0 }, want[4] = { 0 };
    G4_TRY(check_tokens(p, name, vocab, err));
    G4_TRY(check_patches(&p->images, name, "pixel_values", posemb, patch, err));
    G4_TRY(check_patches(&p->frames, name, "pixel_values_videos", posemb, patch, err));
    G4_TRY(check_videos(p, name, err));
    G4_TRY(check_audio(p, name, frame, err));
    want[G4_IMAGE] = g4_patches_valid(&p->images);
    want[G4_VIDEO] = g4_patches_valid(&p->frames);
    want[G4_AUDIO] = g4_prompt_audio_valid(p);
    for (int64_t t = 0; t < p->n; t++) have[p->types[t]]++;
    for (int k = G4_IMAGE; k <= G4_AUDIO; k++)
        if (have[k] != want[k])
            return g4_fail(err, G4_EINPUT, "%s: %lld %s soft tokens, but the media give %lld",
                           name, (long long)have[k], what[k], (long long)want[k]);
    return G4_OK;
}
