/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/request.h"

#include "ref/input/chat.h"

#include <stdlib.h>
#include <string.h>

g4_status g4_asked_mask(g4_mask *mask, const g4_options *o, const g4_golden *golden, g4_err *err)
{
    const char *name = o->mask;
    if (!name && golden) name = g4_golden_text(golden, "mask");
    *mask = G4_MASK_OFFICIAL;
    return name ? g4_mask_by_name(mask, name, err) : G4_OK;
}

static g4_status join_media(g4_asked *a, const g4_media *media, size_t n, g4_err *err)
{
    a->media = "";
    for (size_t i = 0; i < n; i++) {
        const char *slash = strrchr(media[i].path, '/');
        a->media = g4_arena_printf(&a->arena, "%s%s%s", a->media, i ? ", " : "",
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
                     .image_tokens = o->image_tokens, .audio_limit = o->audio_limit };
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

/* Where a part of the conversation names no file, the command line's next one of
 * its kind is taken; all of those must find a part. */
static g4_status chat_media(const g4_chat_text *text, const g4_options *o, g4_media *media,
                            size_t *count, g4_err *err)
{
    unsigned char used[G4_MAX_MEDIA] = { 0 };
    if (text->media_count > G4_MAX_MEDIA)
        return g4_fail(err, G4_EINPUT, "%s: %zu media files, at most %d", o->chat,
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
                           "%s: media part %zu names no file and no option gives one", o->chat,
                           i + 1);
    }
    for (int k = 0; k < o->media_count; k++)
        if (!used[k])
            return g4_fail(err, G4_EINPUT, "%s: has no part for %s", o->chat, o->media[k].path);
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
    G4_TRY(g4_chat_load(&chat, o->chat, o->tools, err));
    g4_status s = g4_chat_render(chat, &opt, &text, err);
    if (s == G4_OK && text.stray)
        s = g4_fail(err, G4_EINPUT, "%s: message text holds a media placeholder at byte %zu of the "
                    "prompt; use a media part", o->chat, text.stray_offset);
    if (s == G4_OK && strlen(text.text) != text.len)
        s = g4_fail(err, G4_EINPUT, "%s: message text holds a NUL", o->chat);
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
    const char *name = o->inputs ? o->inputs : o->chat ? o->chat : "request";
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
