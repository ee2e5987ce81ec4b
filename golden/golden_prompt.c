/* SPDX-License-Identifier: Apache-2.0
 * /inputs of a golden file <-> g4_prompt.  The datasets were checked for type
 * and rank on opening; here they are checked against each other. */
#include "golden/golden.h"

/* An optional dataset in the arena; data and set NULL where absent. */
typedef struct loaded {
    const g4_golden_set *set;
    void *data;
} loaded;

static g4_status load(g4_golden *g, const char *path, g4_arena *arena, loaded *l, g4_err *err)
{
    *l = (loaded){g4_golden_find(g, path), NULL};
    if (!l->set) return G4_OK;
    l->data = g4_arena_alloc(arena, (size_t)g4_golden_values(l->set), g4_golden_size(l->set->type));
    if (!l->data) return g4_nomem(err, path);
    return g4_golden_read(g, l->set, l->data, err);
}

static g4_status shape_fault(const g4_golden *g, const char *a, const char *b, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: inputs/%s: its shape does not fit inputs/%s",
                   g4_golden_path(g), a, b);
}

static g4_status load_tokens(g4_golden *g, g4_prompt *p, g4_arena *arena, g4_err *err)
{
    loaded positions, types;
    G4_TRY(g4_golden_ids(g, "inputs/input_ids", arena, &p->ids, &p->n, err));
    G4_TRY(load(g, "inputs/position_ids", arena, &positions, err));
    G4_TRY(load(g, "inputs/mm_token_type_ids", arena, &types, err));
    p->positions = positions.data;
    p->types = types.data;
    if (positions.set && positions.set->dims[0] != p->n)
        return shape_fault(g, "position_ids", "input_ids", err);
    if (types.set && types.set->dims[0] != p->n)
        return shape_fault(g, "mm_token_type_ids", "input_ids", err);
    if (!positions.set) {
        p->positions = g4_arena_alloc(arena, (size_t)p->n, sizeof *p->positions);
        if (!p->positions) return g4_nomem(err, "position_ids");
        for (int64_t t = 0; t < p->n; t++) p->positions[t] = (int32_t)t;
    }
    if (!types.set) {   /* the arena's zeros are G4_TEXT */
        p->types = g4_arena_alloc(arena, (size_t)p->n, sizeof *p->types);
        if (!p->types) return g4_nomem(err, "mm_token_type_ids");
    }
    for (int64_t t = 0; t < p->n; t++) {
        if (p->positions[t] < 0)
            return g4_fail(err, G4_EINPUT, "%s: inputs/position_ids: %d at token %lld",
                           g4_golden_path(g), p->positions[t], (long long)t);
        if (p->types[t] < G4_TEXT || p->types[t] > G4_AUDIO)
            return g4_fail(err, G4_EINPUT, "%s: inputs/mm_token_type_ids: %d at token %lld",
                           g4_golden_path(g), p->types[t], (long long)t);
    }
    return G4_OK;
}

static g4_status load_patches(g4_golden *g, g4_patches *p, const char *pixels,
                              const char *positions, g4_arena *arena, g4_err *err)
{
    loaded lpx, lpos;
    G4_TRY(load(g, pixels, arena, &lpx, err));
    G4_TRY(load(g, positions, arena, &lpos, err));
    const g4_golden_set *px = lpx.set, *pos = lpos.set;
    p->pixels = lpx.data;
    p->positions = lpos.data;
    if (!px && !pos) return G4_OK;
    if (!px || !pos)
        return g4_fail(err, G4_EINPUT, "%s: %s without %s", g4_golden_path(g),
                       px ? pixels : positions, px ? positions : pixels);
    if (px->dims[0] != pos->dims[0] || px->dims[1] != pos->dims[1] || pos->dims[2] != 2)
        return g4_fail(err, G4_EINPUT, "%s: %s: its shape does not fit %s", g4_golden_path(g),
                       positions, pixels);
    p->count = px->dims[0];
    p->budget = px->dims[1];
    p->patch = px->dims[2];
    return G4_OK;
}

static g4_status load_videos(g4_golden *g, g4_prompt *p, g4_arena *arena, g4_err *err)
{
    loaded num;
    int64_t frames = 0;
    G4_TRY(load_patches(g, &p->frames, "inputs/pixel_values_videos", "inputs/video_position_ids",
                        arena, err));
    G4_TRY(load(g, "inputs/num_frames_per_video", arena, &num, err));
    p->num_frames_per_video = num.data;
    p->videos = num.set ? num.set->dims[0] : 0;
    for (int64_t v = 0; v < p->videos; v++) {
        if (p->num_frames_per_video[v] < 1)
            return g4_fail(err, G4_EINPUT, "%s: inputs/num_frames_per_video: %d for video %lld",
                           g4_golden_path(g), p->num_frames_per_video[v], (long long)v);
        frames += p->num_frames_per_video[v];
    }
    if (frames != p->frames.count)
        return g4_fail(err, G4_EINPUT,
                       "%s: inputs/num_frames_per_video: adds up to %lld, not the %lld frames",
                       g4_golden_path(g), (long long)frames, (long long)p->frames.count);
    return G4_OK;
}

static g4_status load_audio(g4_golden *g, g4_prompt *p, g4_arena *arena, g4_err *err)
{
    loaded lsamples, lmask;
    G4_TRY(load(g, "inputs/input_features", arena, &lsamples, err));
    G4_TRY(load(g, "inputs/input_features_mask", arena, &lmask, err));
    const g4_golden_set *samples = lsamples.set, *mask = lmask.set;
    p->input_features = lsamples.data;
    p->input_features_mask = lmask.data;
    if (!samples && !mask) return G4_OK;
    if (!samples || !mask || samples->dims[0] != mask->dims[0] ||
        samples->dims[1] != mask->dims[1])
        return shape_fault(g, "input_features_mask", "input_features", err);
    p->clips = samples->dims[0];
    p->clip_frames = samples->dims[1];
    p->frame = samples->dims[2];
    for (int64_t i = 0; i < p->clips * p->clip_frames; i++)
        if (p->input_features_mask[i] > 1)
            return g4_fail(err, G4_EINPUT, "%s: inputs/input_features_mask: value %d",
                           g4_golden_path(g), p->input_features_mask[i]);
    return G4_OK;
}

g4_status g4_golden_prompt(g4_golden *g, g4_prompt *p, g4_arena *arena, g4_err *err)
{
    *p = (g4_prompt){0};
    G4_TRY(load_tokens(g, p, arena, err));
    G4_TRY(load_patches(g, &p->images, "inputs/pixel_values", "inputs/image_position_ids", arena,
                        err));
    G4_TRY(load_videos(g, p, arena, err));
    return load_audio(g, p, arena, err);
}

/* ---- and back ---- */

static g4_status write_patches(g4_golden_writer *w, const g4_patches *p, const char *pixels,
                               const char *positions, g4_err *err)
{
    const int64_t px[] = {p->count, p->budget, p->patch}, pos[] = {p->count, p->budget, 2};
    if (p->count == 0) return G4_OK;
    G4_TRY(g4_golden_write(w, pixels, G4_GOLDEN_F32, 3, px, p->pixels, err));
    return g4_golden_write(w, positions, G4_GOLDEN_I32, 3, pos, p->positions, err);
}

g4_status g4_golden_write_prompt(g4_golden_writer *w, const g4_prompt *p, g4_err *err)
{
    const int64_t samples[] = {p->clips, p->clip_frames, p->frame};
    G4_TRY(g4_golden_write(w, "inputs/input_ids", G4_GOLDEN_I32, 1, &p->n, p->ids, err));
    G4_TRY(g4_golden_write(w, "inputs/position_ids", G4_GOLDEN_I32, 1, &p->n, p->positions, err));
    G4_TRY(g4_golden_write(w, "inputs/mm_token_type_ids", G4_GOLDEN_I8, 1, &p->n, p->types, err));
    G4_TRY(write_patches(w, &p->images, "inputs/pixel_values", "inputs/image_position_ids", err));
    G4_TRY(write_patches(w, &p->frames, "inputs/pixel_values_videos",
                         "inputs/video_position_ids", err));
    if (p->videos > 0)
        G4_TRY(g4_golden_write(w, "inputs/num_frames_per_video", G4_GOLDEN_I32, 1, &p->videos,
                               p->num_frames_per_video, err));
    if (p->clips == 0) return G4_OK;
    G4_TRY(g4_golden_write(w, "inputs/input_features", G4_GOLDEN_F32, 3, samples,
                           p->input_features, err));
    return g4_golden_write(w, "inputs/input_features_mask", G4_GOLDEN_U8, 2, samples,
                           p->input_features_mask, err);
}
