/* SPDX-License-Identifier: Apache-2.0
 * A line of --data:
 *   prompt   text; <|image|>, <|audio|>, <|video|> say where the media go; or
 *   ids      the prompt's tokens
 *   media    [["image", FILE], ...], files below the folder of --data; may be missing
 *   domain   what the prompt is counted under; "all" where it is missing */
#include "harness/mtp/mtp.h"

#include "ref/model/config.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PROMPT_IDS = 1 << 22 };

/* What kinds of media there are: one, or several. */
static const char *modality_of(const g4_mtp_prompt *p)
{
    const char *all = "text";
    for (size_t i = 0; i < p->media_count; i++) {
        int kind = p->media[i].kind;
        const char *name = kind == G4_IMAGE ? "image" : kind == G4_AUDIO ? "audio" : "video";
        all = i && strcmp(all, name) != 0 ? "mixed" : name;
    }
    return all;
}

static g4_status load_media(g4_mtp_prompt *p, const g4_json *j, const char *data, g4_arena *a,
                            g4_err *err)
{
    const char *slash = strrchr(data, '/');
    const char *prefix = g4_arena_strndup(a, data, slash ? (size_t)(slash - data) + 1 : 0);
    if (!prefix) return g4_nomem(err, j->file);
    G4_TRY(g4_jsonl_media(j, prefix, &p->media, &p->media_count, a, err));
    p->modality = modality_of(p);
    return G4_OK;
}

static g4_status load_ids(g4_mtp_prompt *p, const g4_json *j, int64_t vocab, g4_arena *a,
                          g4_err *err)
{
    g4_json array;
    json_t *v;
    size_t i;
    G4_TRY(g4_json_array(j, "ids", 1, &array, err));
    p->n = (int64_t)json_array_size(array.root);
    if (p->n < 1 || p->n > MAX_PROMPT_IDS)
        return g4_fail(err, G4_EINPUT, "%s: ids: %lld, expected 1 to %d", j->file, (long long)p->n,
                       (int)MAX_PROMPT_IDS);
    int32_t *ids = g4_arena_alloc(a, (size_t)p->n, sizeof *ids);
    if (!ids) return g4_nomem(err, j->file);
    json_array_foreach(array.root, i, v) {
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= vocab)
            return g4_fail(err, G4_EINPUT, "%s: ids: number %zu is no token", j->file, i + 1);
        ids[i] = (int32_t)id;
    }
    p->ids = ids;
    return G4_OK;
}

static g4_status load_prompt(g4_mtp_study *s, const g4_json *j, g4_mtp_prompt *p, g4_err *err)
{
    p->name = j->file;
    p->domain = "all";
    G4_TRY(g4_json_opt_str(j, "domain", &p->domain, err));
    G4_TRY(g4_json_opt_str(j, "prompt", &p->text, err));
    if (!!p->text == g4_json_has(j, "ids"))
        return g4_fail(err, G4_EINPUT, "%s: expected a prompt or ids", j->file);
    G4_TRY(load_media(p, j, s->o->data, &s->arena, err));
    if (!p->text && p->media_count)
        return g4_fail(err, G4_EINPUT, "%s: media go with a prompt", j->file);
    return p->text ? G4_OK : load_ids(p, j, s->rt.model->config.vocab_size, &s->arena, err);
}

g4_status g4_mtp_data(g4_mtp_study *s, g4_err *err)
{
    G4_TRY(g4_jsonl_load(&s->file, s->o->data, err));
    s->count = s->file.count;
    if (s->o->limit > 0 && (size_t)s->o->limit < s->count) s->count = (size_t)s->o->limit;
    if (!s->count) return g4_fail(err, G4_EINPUT, "%s: no prompts", s->o->data);
    s->prompts = g4_arena_alloc(&s->arena, s->count, sizeof *s->prompts);
    s->texts = g4_arena_alloc(&s->arena, s->count, sizeof *s->texts);
    if (!s->prompts || !s->texts) return g4_nomem(err, s->o->data);
    for (size_t i = 0; i < s->count; i++)
        G4_TRY(load_prompt(s, &s->file.lines[i], &s->prompts[i], err));
    return G4_OK;
}

static g4_status from_ids(const g4_mtp_prompt *q, g4_prompt *p, g4_arena *arena, g4_err *err)
{
    size_t n = (size_t)q->n;
    p->n = q->n;
    p->ids = g4_arena_alloc(arena, n, sizeof *p->ids);
    p->positions = g4_arena_alloc(arena, n, sizeof *p->positions);
    p->types = g4_arena_alloc(arena, n, sizeof *p->types);
    if (!p->ids || !p->positions || !p->types) return g4_nomem(err, "ids");
    memcpy(p->ids, q->ids, n * sizeof *p->ids);
    for (int64_t i = 0; i < q->n; i++) p->positions[i] = (int32_t)i;
    return G4_OK;
}

g4_status g4_mtp_prompt_build(const g4_mtp_study *s, const g4_mtp_prompt *q, g4_prompt *p,
                              g4_arena *arena, g4_err *err)
{
    const g4_options *o = s->o;
    const g4_config *c = &s->rt.model->config;
    memset(p, 0, sizeof *p);
    if (!q->text) return from_ids(q, p, arena, err);
    g4_request r = { .name = q->name, .text = q->text, .len = strlen(q->text), .media = q->media,
                     .media_count = q->media_count, .image_tokens = o->image_tokens,
                     .audio_limit = o->audio_limit };
    G4_TRY(g4_bos_parse(&r.bos, o->bos ? o->bos : "auto", err));
    G4_TRY(g4_prompt_build(p, &r, &s->processor, s->tokenizer, arena, NULL, err));
    if (p->n < 1) return g4_fail(err, G4_EINPUT, "%s: a prompt without tokens", o->data);
    return g4_prompt_check(p, o->data, c->vocab_size, c->mm_posemb_size,
                           c->patch_size ? g4_patch_values(c) : 0, c->audio_embed_dim, err);
}
