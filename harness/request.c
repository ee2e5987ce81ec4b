/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/request.h"

#include "ref/base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STDIN = 256 << 20, MAX_TOOLS = 16 << 20 };

static const char stdin_name[] = "standard input";

g4_status g4_asked_mask(g4_mask *mask, const g4_options *o, const g4_golden *golden, g4_err *err)
{
    const char *name = o->mask;
    if (!name && golden) name = g4_golden_text(golden, "mask");
    *mask = G4_MASK_OFFICIAL;
    return name ? g4_mask_by_name(mask, name, err) : G4_OK;
}

g4_status g4_stdin_read(char **text, size_t *len, g4_err *err)
{
    size_t capacity = 1 << 16;
    g4_status s = G4_OK;
    *len = 0;
    *text = malloc(capacity);
    if (!*text) return g4_nomem(err, stdin_name);
    for (;;) {
        *len += fread(*text + *len, 1, capacity - *len, stdin);
        if (*len < capacity) break;
        if (capacity >= MAX_STDIN)
            s = g4_fail(err, G4_EINPUT, "%s: more than %d bytes", stdin_name, (int)MAX_STDIN);
        char *p = s == G4_OK ? realloc(*text, capacity *= 2) : NULL;
        if (s == G4_OK && !p) s = g4_nomem(err, stdin_name);
        if (s != G4_OK) break;
        *text = p;
    }
    if (s == G4_OK && ferror(stdin))
        s = g4_fail(err, G4_EIO, "%s: cannot read: %s", stdin_name, strerror(errno));
    if (s == G4_OK) return G4_OK;
    free(*text);
    *text = NULL;
    return s;
}

static g4_status join_media(g4_asked *a, const g4_media *media, size_t n, g4_err *err)
{
    a->media = "";
    for (size_t i = 0; i < n; i++) {
        const char *slash = strrchr(media[i].path, '/');
        a->media = g4_arena_printf(&a->arena, "%s%s%s", a->media, i ? "\n" : "",
                                   slash ? slash + 1 : media[i].path);
        if (!a->media) return g4_nomem(err, "media");
    }
    return G4_OK;
}

static g4_status build(g4_asked *a, const g4_options *o, const g4_media *media, size_t n,
                       g4_err *err)
{
    g4_processor proc;
    const char *warning = NULL;
    g4_request r = { .text = a->text, .len = strlen(a->text), .media = media, .media_count = n,
                     .image_tokens = o->image_tokens, .audio_limit = o->audio_limit,
                     .sampling = { o->video_fps, o->video_frames } };
    if (o->video_fps > 0 && o->video_frames > 0)
        return g4_fail(err, G4_EINPUT, "--video-fps and --video-frames exclude each other");
    G4_TRY(g4_bos_parse(&r.bos, o->bos ? o->bos : "auto", err));
    G4_TRY(g4_processor_load(&proc, o->model, err));
    G4_TRY(g4_tokenizer_load(&a->tokenizer, o->model, err));
    G4_TRY(join_media(a, media, n, err));
    G4_TRY(g4_prompt_build(&a->prompt, &r, &proc, a->tokenizer, &a->arena, &warning, err));
    if (warning) fprintf(stderr, "warning: %s\n", warning);
    return G4_OK;
}

static int kind_of(g4_media_kind kind)
{
    return kind == G4_MEDIA_IMAGE ? G4_IMAGE : kind == G4_MEDIA_VIDEO ? G4_VIDEO : G4_AUDIO;
}

static g4_status from_prompt(g4_asked *a, const g4_options *o, g4_err *err)
{
    g4_media media[G4_MAX_MEDIA];
    for (int i = 0; i < o->media_count; i++)
        media[i] = (g4_media){ kind_of(o->media[i].kind), o->media[i].path };
    a->text = o->prompt;
    return build(a, o, media, (size_t)o->media_count, err);
}

static const char *chat_name(const char *path)
{
    return strcmp(path, "-") == 0 ? stdin_name : path;
}

g4_status g4_chat_open(g4_chat **chat, const char *path, const char *tools, g4_err *err)
{
    char *text = NULL;
    uint8_t *data = NULL;
    size_t len = 0;
    *chat = NULL;
    if (strcmp(path, "-") != 0) return g4_chat_load(chat, path, tools, err);
    G4_TRY(g4_stdin_read(&text, &len, err));
    g4_status s = g4_chat_parse(chat, stdin_name, text, len, err);
    free(text);
    if (s != G4_OK || !tools) return s;
    s = g4_file_read(tools, MAX_TOOLS, &data, &len, err);
    if (s == G4_OK) s = g4_chat_set_tools(*chat, tools, data, len, err);
    free(data);
    if (s != G4_OK) {
        g4_chat_free(*chat);
        *chat = NULL;
    }
    return s;
}

g4_status g4_chat_write(g4_chat_text *text, const g4_chat *chat, const g4_chat_options *o,
                        const char *name, g4_err *err)
{
    G4_TRY(g4_chat_render(chat, o, text, err));
    g4_status s = G4_OK;
    if (text->stray)
        s = g4_fail(err, G4_EINPUT, "%s: message text holds a media placeholder at byte %zu of the "
                    "prompt; use a media part", name, text->stray_offset);
    else if (strlen(text->text) != text->len)
        s = g4_fail(err, G4_EINPUT, "%s: message text holds a NUL", name);
    if (s != G4_OK) g4_chat_text_free(text);
    return s;
}

/* Where a part of the conversation names no file, the command line's next one of
 * its kind is taken; all of those must find a part. */
static g4_status chat_media(const g4_chat_text *text, const g4_options *o, g4_media *media,
                            size_t *count, g4_err *err)
{
    const char *name = chat_name(o->chat);
    unsigned char used[G4_MAX_MEDIA] = { 0 };
    if (text->media_count > G4_MAX_MEDIA)
        return g4_fail(err, G4_EINPUT, "%s: %zu media files, at most %d", name,
                       text->media_count, (int)G4_MAX_MEDIA);
    for (size_t i = 0; i < text->media_count; i++) {
        const g4_chat_media *m = &text->media[i];
        media[i] = (g4_media){ m->kind, m->path };
        for (int k = 0; !media[i].path && k < o->media_count; k++)
            if (!used[k] && kind_of(o->media[k].kind) == m->kind) {
                media[i].path = o->media[k].path;
                used[k] = 1;
            }
        if (!media[i].path)
            return g4_fail(err, G4_EINPUT,
                           "%s: media part %zu names no file and no option gives one", name,
                           i + 1);
    }
    for (int k = 0; k < o->media_count; k++)
        if (!used[k])
            return g4_fail(err, G4_EINPUT, "%s: has no part for %s", name, o->media[k].path);
    *count = text->media_count;
    return G4_OK;
}

static g4_status from_chat(g4_asked *a, const g4_options *o, g4_err *err)
{
    g4_chat_options opt = g4_chat_defaults();
    g4_chat_text text = { 0 };
    g4_chat *chat = NULL;
    g4_media media[G4_MAX_MEDIA];
    size_t n = 0;
    if (o->thinking >= 0) opt.thinking = o->thinking;
    G4_TRY(g4_chat_detect_dir(&opt, o->model, err));
    G4_TRY(g4_chat_open(&chat, o->chat, o->tools, err));
    g4_status s = g4_chat_write(&text, chat, &opt, chat_name(o->chat), err);
    if (s == G4_OK) s = chat_media(&text, o, media, &n, err);
    if (s == G4_OK) {
        a->chat_text = text.text;
        a->text = text.text;
        text.text = NULL;
        s = build(a, o, media, n, err);
    }
    g4_chat_text_free(&text);
    g4_chat_free(chat);
    return s;
}

static g4_status from_ids(g4_asked *a, const g4_options *o, g4_err *err)
{
    g4_prompt *p = &a->prompt;
    G4_TRY(g4_ids_parse(o->ids, &a->arena, &p->ids, &p->n, err));
    p->positions = g4_arena_alloc(&a->arena, (size_t)p->n, sizeof *p->positions);
    p->types = g4_arena_alloc(&a->arena, (size_t)p->n, sizeof *p->types);
    if (!p->positions || !p->types) return g4_nomem(err, "--ids");
    for (int64_t i = 0; i < p->n; i++) p->positions[i] = (int32_t)i;
    return G4_OK;
}

static g4_status from_golden(g4_asked *a, const g4_options *o, g4_err *err)
{
    G4_TRY(g4_golden_open(&a->golden, o->inputs, 0, err));
    return g4_golden_prompt(a->golden, &a->prompt, &a->arena, err);
}

static g4_status open_one(g4_asked *a, const g4_options *o, const g4_model *m, g4_err *err)
{
    const g4_config *c = &m->config;
    int given = !!o->prompt + !!o->chat + !!o->ids + !!o->inputs;
    if (given != 1)
        return g4_fail(err, G4_EINPUT, "%s", given ? "--prompt, --chat, --ids and --inputs exclude "
                       "each other" : "a request is missing: --prompt, --chat, --ids or --inputs");
    if ((o->ids || o->inputs) && o->media_count)
        return g4_fail(err, G4_EINPUT, "%s: media files go with --prompt or --chat",
                       o->media[0].path);
    if (o->prompt) G4_TRY(from_prompt(a, o, err));
    if (o->chat) G4_TRY(from_chat(a, o, err));
    if (o->ids) G4_TRY(from_ids(a, o, err));
    if (o->inputs) G4_TRY(from_golden(a, o, err));
    const char *name = o->inputs ? o->inputs : o->chat ? chat_name(o->chat) : "request";
    if (a->prompt.n < 1) return g4_fail(err, G4_EINPUT, "%s: no tokens", name);
    return g4_prompt_check(&a->prompt, name, c->vocab_size, c->mm_posemb_size,
                           c->patch_size ? g4_patch_values(c) : 0, c->audio_embed_dim, err);
}

g4_status g4_asked_open(g4_asked *a, const g4_options *o, const g4_model *m, g4_err *err)
{
    memset(a, 0, sizeof *a);
    a->media = "";
    return open_one(a, o, m, err);
}

void g4_asked_close(g4_asked *a)
{
    g4_tokenizer_free(a->tokenizer);
    g4_golden_close(a->golden);
    g4_arena_free(&a->arena);
    free(a->chat_text);
    memset(a, 0, sizeof *a);
}
