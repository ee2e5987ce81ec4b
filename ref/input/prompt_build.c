/* SPDX-License-Identifier: Apache-2.0
 * Steps: 1 read the media into tensors, 2 write the expanded text, 3 encode it,
 * 4 derive types from ids and check the whole. */
#include "ref/input/prompt_build.h"

#include "ref/input/audio.h"
#include "ref/input/image.h"
#include "ref/input/resize.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = 4, MAX_LIMIT = 24 * 3600 };

/* What users write; Transformers' tokens of the same spelling. */
static const char *const placeholder[KINDS] = { "", "<|image|>", "<|video|>", "<|audio|>" };
static const char *const option[KINDS] = { "", "--image", "--video", "--audio" };

typedef struct item {            /* one medium, in its kind's order */
    int64_t first, count;        /* images, clips: count soft tokens; video: its frames */
} item;

typedef struct frame {           /* of a video, until all are known; malloc'ed tensors */
    float *pixels;               /* [B][P] */
    int32_t *positions;          /* [B][2] */
    int64_t tokens;              /* soft tokens */
    double seconds;
} frame;

typedef struct build {
    const g4_request *r;
    const g4_processor *proc;
    const g4_tokenizer *t;
    g4_arena *arena;
    g4_prompt *p;
    const char *warning;
    g4_media *media;             /* [media_count] in the order of the text: first those */
    size_t media_count, unplaced;   /* without a placeholder */
    item *items;                 /* [media_count] */
    frame *frames;               /* [frame_count] of all videos, malloc'ed */
    int64_t frame_count, frame_capacity;
    g4_clip *clips;              /* [media_count]; samples freed at the end */
    char *text;                  /* the expanded text, malloc'ed */
    size_t len, capacity;
} build;

/* -------------------------------------------------------------- the media */

/* Which placeholder starts at s?  0: none. */
static int placeholder_at(const char *s, size_t len)
{
    for (int k = G4_IMAGE; k < KINDS; k++) {
        size_t n = strlen(placeholder[k]);
        if (len >= n && memcmp(s, placeholder[k], n) == 0) return k;
    }
    return 0;
}

size_t g4_prompt_placeholders(const char *text, size_t len, int kind)
{
    size_t found = 0;
    for (size_t i = 0; i < len; i++) found += placeholder_at(text + i, len - i) == kind;
    return found;
}

/* The model takes each kind's soft tokens in the order in which they stand, so
 * media without a placeholder go to the front here as they do in the text. */
static g4_status order_media(build *b, g4_err *err)
{
    const g4_request *r = b->r;
    size_t places[KINDS], at = 0;
    b->media_count = r->media_count;
    b->media = g4_arena_alloc(b->arena, r->media_count, sizeof *b->media);
    if (!b->media) return g4_nomem(err, "media");
    for (int placed = 0; placed <= 1; placed++) {
        for (int k = G4_IMAGE; k < KINDS; k++)
            places[k] = g4_prompt_placeholders(r->text, r->len, k);
        for (size_t i = 0; i < r->media_count; i++) {
            size_t *left = &places[r->media[i].kind];
            int found = *left > 0;
            *left -= (size_t)found;
            if (found == placed) b->media[at++] = r->media[i];
        }
        if (!placed) b->unplaced = at;
    }
    return G4_OK;
}

/* Appends "path: text" to a line that may not have begun. */
static g4_status add_line(build *b, const char **line, const char *path, const char *text,
                          g4_err *err)
{
    *line = g4_arena_printf(b->arena, "%s%s%s: %s", *line ? *line : "", *line ? "; " : "", path,
                            text);
    return *line ? G4_OK : g4_nomem(err, "a warning");
}

/* How a file was decoded; its name without the folder. */
static g4_status note(build *b, const char **line, const char *path, const char *text,
                      g4_err *err)
{
    const char *slash = strrchr(path, '/');
    return add_line(b, line, slash ? slash + 1 : path, text, err);
}

static g4_status alloc_patches(build *b, g4_patches *to, int64_t count, int64_t budget,
                               const g4_visual *v, g4_err *err)
{
    size_t side = (size_t)g4_visual_side(v), row = side * side * 3 * sizeof(float), bytes;
    if (count == 0) return G4_OK;
    to->count = count;
    to->budget = budget;
    to->patch = (int64_t)(side * side * 3);
    if (__builtin_mul_overflow(row, (size_t)budget, &bytes)) return g4_nomem(err, "pixels");
    to->pixels = g4_arena_alloc(b->arena, (size_t)count, bytes);
    to->positions = g4_arena_alloc(b->arena, (size_t)count, (size_t)budget * 2 * sizeof(int32_t));
    return to->pixels && to->positions ? G4_OK : g4_nomem(err, "pixels");
}

/* Reads a picture into row `at`. */
static g4_status load_picture(g4_patches *to, int64_t at, const char *path, const g4_visual *v,
                              int64_t *tokens, g4_err *err)
{
    g4_image im;
    G4_TRY(g4_image_read(&im, path, err));
    g4_status s = g4_image_patches(&im, v, to->budget, to->pixels + at * to->budget * to->patch,
                                   to->positions + at * to->budget * 2, tokens, err);
    g4_image_free(&im);
    return s;
}

static g4_status load_images(build *b, int64_t count, g4_err *err)
{
    int64_t budget = b->r->image_tokens ? b->r->image_tokens : b->proc->image.max_soft_tokens;
    int64_t at = 0;
    if (!g4_budget_valid(budget))
        return g4_fail(err, G4_EINPUT, "--image-tokens: %lld, expected 70, 140, 280, 560 or 1120",
                       (long long)budget);
    G4_TRY(alloc_patches(b, &b->p->images, count, budget, &b->proc->image, err));
    for (size_t i = 0; i < b->media_count; i++) {
        if (b->media[i].kind != G4_IMAGE) continue;
        b->items[i].first = at;
        G4_TRY(load_picture(&b->p->images, at++, b->media[i].path, &b->proc->image,
                            &b->items[i].count, err));
    }
    return G4_OK;
}

static g4_status grow_frames(build *b, g4_err *err)
{
    if (b->frame_count < b->frame_capacity) return G4_OK;
    size_t more = b->frame_capacity ? 2 * (size_t)b->frame_capacity : 16, bytes;
    if (__builtin_mul_overflow(more, sizeof *b->frames, &bytes)) return g4_nomem(err, "videos");
    frame *p = realloc(b->frames, bytes);
    if (!p) return g4_nomem(err, "videos");
    b->frames = p;
    b->frame_capacity = (int64_t)more;
    return G4_OK;
}

/* A g4_video_sink: how many frames a video has shows only at its end, so each
 * is made into patches at once and kept apart until all are known. */
static g4_status keep_frame(void *ctx, const g4_image *im, double seconds, g4_err *err)
{
    build *b = ctx;
    const g4_visual *v = &b->proc->video;
    size_t budget = (size_t)v->max_soft_tokens, side = (size_t)g4_visual_side(v);
    G4_TRY(grow_frames(b, err));
    frame *f = &b->frames[b->frame_count++];
    f->seconds = seconds;
    f->pixels = calloc(budget, side * side * 3 * sizeof *f->pixels);
    f->positions = calloc(budget, 2 * sizeof *f->positions);
    if (!f->pixels || !f->positions) return g4_nomem(err, "videos");
    return g4_image_patches(im, v, (int64_t)budget, f->pixels, f->positions, &f->tokens, err);
}

static g4_status read_videos(build *b, int64_t count, g4_err *err)
{
    int64_t k = 0;
    b->p->videos = count;
    b->p->num_frames_per_video =
        g4_arena_alloc(b->arena, (size_t)count, sizeof *b->p->num_frames_per_video);
    if (!b->p->num_frames_per_video) return g4_nomem(err, "videos");
    for (size_t i = 0; i < b->media_count; i++) {
        g4_video_info info;
        const char *path = b->media[i].path;
        int64_t first = b->frame_count;
        if (b->media[i].kind != G4_VIDEO) continue;
        G4_TRY(g4_video_read(path, &b->r->sampling, keep_frame, b, &info, err));
        G4_TRY(note(b, &b->p->video, path, info.note, err));
        if (info.warning[0]) G4_TRY(add_line(b, &b->warning, path, info.warning, err));
        b->items[i] = (item){ .first = first, .count = b->frame_count - first };
        b->p->num_frames_per_video[k++] = (int32_t)b->items[i].count;
    }
    return G4_OK;
}

static void free_frame(frame *f)
{
    free(f->pixels);
    free(f->positions);
    f->pixels = NULL;
    f->positions = NULL;
}

static g4_status load_videos(build *b, int64_t count, g4_err *err)
{
    g4_patches *to = &b->p->frames;
    if (count == 0) return G4_OK;
    G4_TRY(read_videos(b, count, err));
    G4_TRY(alloc_patches(b, to, b->frame_count, b->proc->video.max_soft_tokens, &b->proc->video,
                         err));
    for (int64_t i = 0; i < b->frame_count; i++) {
        frame *f = &b->frames[i];
        size_t row = (size_t)(to->budget * to->patch);
        memcpy(to->pixels + (size_t)i * row, f->pixels, row * sizeof *f->pixels);
        memcpy(to->positions + i * to->budget * 2, f->positions,
               (size_t)to->budget * 2 * sizeof *f->positions);
        free_frame(f);
    }
    return G4_OK;
}

/* Samples that --audio-limit, or else the model's count of frames, allows. */
static g4_status sample_limit(const build *b, int64_t *samples, g4_err *err)
{
    double limit = b->r->audio_limit;
    *samples = b->proc->audio_seq_length * b->proc->audio_samples_per_token;
    if (limit < 0) return G4_OK;
    if (!(limit <= MAX_LIMIT) || limit * (double)b->proc->sampling_rate < 1)
        return g4_fail(err, G4_EINPUT, "--audio-limit: %g seconds, expected at most %d and at"
                       " least one sample", limit, (int)MAX_LIMIT);
    *samples = (int64_t)(limit * (double)b->proc->sampling_rate);
    return G4_OK;
}

/* All clips, padded to the longest: [clips][clip_frames][A] and the mask. */
static g4_status stack_clips(build *b, int64_t count, g4_err *err)
{
    g4_prompt *p = b->p;
    int64_t a = b->proc->audio_samples_per_token, most = 0, at = 0;
    size_t bytes;
    for (size_t i = 0; i < b->media_count; i++) {
        if (b->media[i].kind != G4_AUDIO) continue;
        b->items[i].first = at++;
        b->items[i].count = (b->clips[i].count - 1) / a + 1;
        if (b->items[i].count > most) most = b->items[i].count;
    }
    p->clips = count;
    p->clip_frames = most;
    p->frame = a;
    if (__builtin_mul_overflow((size_t)most, (size_t)a * sizeof(float), &bytes))
        return g4_nomem(err, "audio");
    p->input_features = g4_arena_alloc(b->arena, (size_t)count, bytes);
    p->input_features_mask = g4_arena_alloc(b->arena, (size_t)count, (size_t)most);
    if (!p->input_features || !p->input_features_mask) return g4_nomem(err, "audio");
    for (size_t i = 0; i < b->media_count; i++) {
        if (b->media[i].kind != G4_AUDIO) continue;
        float *to = p->input_features + b->items[i].first * most * a;
        /* The clip's own last frame ends in zeros (the arena's), frames behind
         * it in padding_value; the mask leaves the latter out. */
        memcpy(to, b->clips[i].samples, (size_t)b->clips[i].count * sizeof *to);
        for (int64_t k = b->items[i].count * a; k < most * a; k++)
            to[k] = (float)b->proc->padding_value;
        memset(p->input_features_mask + b->items[i].first * most, 1, (size_t)b->items[i].count);
    }
    return G4_OK;
}

/* Says what was cut off, by us or by whoever made the file. */
static g4_status warn_clip(build *b, const char *path, const g4_clip *c, g4_err *err)
{
    char text[120];
    double rate = (double)b->proc->sampling_rate;
    if (c->count < c->total && c->total < INT64_MAX) {
        snprintf(text, sizeof text, "%.2f s long, cut to the first %.2f s",
                 (double)c->total / rate, (double)c->count / rate);
        G4_TRY(add_line(b, &b->warning, path, text, err));
    } else if (c->count < c->total) {
        snprintf(text, sizeof text, "cut to the first %.2f s", (double)c->count / rate);
        G4_TRY(add_line(b, &b->warning, path, text, err));
    }
    if (!c->incomplete) return G4_OK;
    return add_line(b, &b->warning, path, "ends before the end that it announces", err);
}

static g4_status load_audio(build *b, int64_t count, g4_err *err)
{
    int64_t limit, rate = b->proc->sampling_rate;
    if (count == 0) return G4_OK;
    G4_TRY(sample_limit(b, &limit, err));
    for (size_t i = 0; i < b->media_count; i++) {
        const char *path = b->media[i].path;
        g4_clip *c = &b->clips[i];
        if (b->media[i].kind != G4_AUDIO) continue;
        G4_TRY(g4_audio_read(c, path, rate, limit, err));
        G4_TRY(note(b, &b->p->audio, path, c->note, err));
        G4_TRY(warn_clip(b, path, c, err));
    }
    return stack_clips(b, count, err);
}

static g4_status load_media(build *b, g4_err *err)
{
    int64_t count[KINDS] = { 0 };
    size_t n = b->media_count;
    for (size_t i = 0; i < n; i++) {
        int kind = b->media[i].kind;
        int known = kind == G4_AUDIO ? b->proc->has_audio : b->proc->has_vision;
        if (!known)
            return g4_fail(err, G4_EINPUT, "%s: the model takes no %s (config.json has no %s)",
                           b->media[i].path, option[kind] + 2,
                           kind == G4_AUDIO ? "audio_config" : "vision_config");
        count[kind]++;
    }
    b->items = g4_arena_alloc(b->arena, n, sizeof *b->items);
    b->clips = g4_arena_alloc(b->arena, n, sizeof *b->clips);
    if (!b->items || !b->clips) return g4_nomem(err, "media");
    G4_TRY(load_images(b, count[G4_IMAGE], err));
    G4_TRY(load_videos(b, count[G4_VIDEO], err));
    return load_audio(b, count[G4_AUDIO], err);
}

/* --------------------------------------------------------------- the text */

static g4_status put(build *b, const char *s, size_t len, g4_err *err)
{
    size_t need;
    if (len == 0) return G4_OK;
    if (__builtin_add_overflow(b->len, len, &need)) return g4_nomem(err, "the prompt");
    if (need > b->capacity) {
        size_t more;
        if (__builtin_mul_overflow(need, (size_t)2, &more)) return g4_nomem(err, "the prompt");
        char *p = realloc(b->text, more);
        if (!p) return g4_nomem(err, "the prompt");
        b->text = p;
        b->capacity = more;
    }
    memcpy(b->text + b->len, s, len);
    b->len = need;
    return G4_OK;
}

/* The token of an id, n times; ids are config.json's, spellings tokenizer.json's. */
static g4_status put_token(build *b, int64_t id, int64_t n, g4_err *err)
{
    size_t len = 0;
    const char *s = id <= INT32_MAX ? g4_tokenizer_text(b->t, (int32_t)id, &len) : NULL;
    if (!s || len == 0)
        return g4_fail(err, G4_EINPUT, "tokenizer.json: no token %lld, which config.json uses for"
                       " media", (long long)id);
    for (int64_t i = 0; i < n; i++) G4_TRY(put(b, s, len, err));
    return G4_OK;
}

static g4_status put_video(build *b, size_t i, g4_err *err)
{
    const g4_processor *c = b->proc;
    for (int64_t k = 0; k < b->items[i].count; k++) {
        const frame *f = &b->frames[b->items[i].first + k];
        int minutes = (int)floor(f->seconds / 60);
        int seconds = (int)fmod(f->seconds, 60);
        const char *time = g4_arena_printf(b->arena, "%s%02d:%02d ", k ? " " : "", minutes,
                                           seconds);
        if (!time) return g4_nomem(err, "the prompt");
        G4_TRY(put(b, time, strlen(time), err));
        G4_TRY(put_token(b, c->boi_token_id, 1, err));
        G4_TRY(put_token(b, c->video_token_id, f->tokens, err));
        G4_TRY(put_token(b, c->eoi_token_id, 1, err));
    }
    return G4_OK;
}

static g4_status put_media(build *b, size_t i, g4_err *err)
{
    const g4_processor *c = b->proc;
    int kind = b->media[i].kind;
    if (kind == G4_VIDEO) return put_video(b, i, err);
    int audio = kind == G4_AUDIO;
    G4_TRY(put_token(b, audio ? c->boa_token_id : c->boi_token_id, 1, err));
    G4_TRY(put_token(b, audio ? c->audio_token_id : c->image_token_id, b->items[i].count, err));
    return put_token(b, audio ? c->eoa_token_id : c->eoi_token_id, 1, err);
}

/* Index of the kind's next medium from i on; media_count: none. */
static size_t next_of_kind(const build *b, size_t i, int kind)
{
    while (i < b->media_count && b->media[i].kind != kind) i++;
    return i;
}

/* Media that found no placeholder, behind a leading <bos>. */
static g4_status put_unplaced(build *b, size_t *skip, g4_err *err)
{
    const g4_request *r = b->r;
    size_t bos_len = 0;
    int32_t bos_id = g4_tokenizer_bos(b->t);
    const char *bos = bos_id >= 0 ? g4_tokenizer_text(b->t, bos_id, &bos_len) : NULL;
    *skip = bos && r->len >= bos_len && memcmp(r->text, bos, bos_len) == 0 ? bos_len : 0;
    G4_TRY(put(b, r->text, *skip, err));
    for (size_t i = 0; i < b->unplaced; i++) G4_TRY(put_media(b, i, err));
    return G4_OK;
}

static const char *name_of(const g4_request *r) { return r->name ? r->name : "prompt"; }

static g4_status expand(build *b, g4_err *err)
{
    const g4_request *r = b->r;
    size_t at, from, next[KINDS];
    for (int k = 0; k < KINDS; k++) next[k] = b->unplaced;
    G4_TRY(put_unplaced(b, &at, err));
    for (from = at; at < r->len;) {
        int kind = placeholder_at(r->text + at, r->len - at);
        if (!kind) {
            at++;
            continue;
        }
        size_t i = next_of_kind(b, next[kind], kind);
        if (i == b->media_count)
            return g4_fail(err, G4_EINPUT, "%s: %zu %s in the text, more than there are %s",
                           name_of(r), g4_prompt_placeholders(r->text, r->len, kind),
                           placeholder[kind], option[kind]);
        next[kind] = i + 1;
        G4_TRY(put(b, r->text + from, at - from, err));
        G4_TRY(put_media(b, i, err));
        from = at += strlen(placeholder[kind]);
    }
    return put(b, r->text + from, r->len - from, err);
}

/* ------------------------------------------------------------- the tokens */

static g4_status fill_tokens(build *b, const g4_ids *ids, g4_err *err)
{
    g4_prompt *p = b->p;
    size_t n = ids->count;
    if (n > INT32_MAX) return g4_fail(err, G4_EINPUT, "%s: %zu tokens", name_of(b->r), n);
    p->n = (int64_t)n;
    p->ids = g4_arena_alloc(b->arena, n, sizeof *p->ids);
    p->positions = g4_arena_alloc(b->arena, n, sizeof *p->positions);
    p->types = g4_arena_alloc(b->arena, n, sizeof *p->types);
    if (!p->ids || !p->positions || !p->types) return g4_nomem(err, "the prompt");
    for (size_t t = 0; t < n; t++) {
        int32_t id = ids->ids[t];
        p->ids[t] = id;
        p->positions[t] = (int32_t)t;
        p->types[t] = id == b->proc->image_token_id   ? G4_IMAGE
                      : id == b->proc->video_token_id ? G4_VIDEO
                      : id == b->proc->audio_token_id ? G4_AUDIO
                                                      : G4_TEXT;
    }
    return G4_OK;
}

static g4_status run(build *b, g4_err *err)
{
    g4_ids ids = { NULL, 0, 0 };
    int64_t side = g4_visual_side(&b->proc->image);
    G4_TRY(order_media(b, err));
    G4_TRY(load_media(b, err));
    G4_TRY(expand(b, err));
    g4_status s = g4_tokenizer_encode_bos(b->t, b->text ? b->text : "", b->len, b->r->bos, &ids,
                                          err);
    if (s == G4_OK) s = fill_tokens(b, &ids, err);
    g4_ids_free(&ids);
    G4_TRY(s);
    return g4_prompt_check(b->p, name_of(b->r), b->proc->vocab_size, b->proc->mm_posemb_size,
                           side * side * 3, b->proc->audio_samples_per_token, err);
}

g4_status g4_prompt_build(g4_prompt *p, const g4_request *r, const g4_processor *proc,
                          const g4_tokenizer *t, g4_arena *arena, const char **warning,
                          g4_err *err)
{
    build b = { .r = r, .proc = proc, .t = t, .arena = arena, .p = p };
    memset(p, 0, sizeof *p);
    g4_status s = run(&b, err);
    free(b.text);
    for (int64_t i = 0; i < b.frame_count; i++) free_frame(&b.frames[i]);
    free(b.frames);
    for (size_t i = 0; b.clips && i < r->media_count; i++) g4_clip_free(&b.clips[i]);
    if (warning) *warning = b.warning;
    return s;
}
