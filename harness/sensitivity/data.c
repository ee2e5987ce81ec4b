/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/sensitivity/sensitivity.h"

#include <stdlib.h>
#include <string.h>

typedef struct loader {
    g4_sens_data *d;
    const g4_options *o;
    const g4_model *m;
    const g4_tokenizer *tokenizer;
    g4_processor processor;
    const char *folder;          /* of --data, with its slash */
    g4_ids ids;                  /* of what is at hand */
} loader;

static g4_status encode(loader *l, const char *text, g4_err *err)
{
    l->ids.count = 0;
    return g4_tokenizer_encode_bos(l->tokenizer, text, strlen(text), G4_BOS_OFF, &l->ids, err);
}

/* `more` ids behind the prompt's. */
static g4_status extend(loader *l, g4_prompt *p, const int32_t *more, int64_t n, g4_err *err)
{
    g4_arena *a = &l->d->arena;
    g4_prompt q = *p;
    size_t all = (size_t)(p->n + n);
    q.ids = g4_arena_alloc(a, all, sizeof *q.ids);
    q.positions = g4_arena_alloc(a, all, sizeof *q.positions);
    q.types = g4_arena_alloc(a, all, sizeof *q.types);
    if (!q.ids || !q.positions || !q.types) return g4_nomem(err, l->o->data);
    memcpy(q.ids, p->ids, (size_t)p->n * sizeof *q.ids);
    memcpy(q.positions, p->positions, (size_t)p->n * sizeof *q.positions);
    memcpy(q.types, p->types, (size_t)p->n * sizeof *q.types);
    memcpy(q.ids + p->n, more, (size_t)n * sizeof *q.ids);
    for (int64_t i = 0; i < n; i++)
        q.positions[p->n + i] = q.positions[p->n - 1] + 1 + (int32_t)i;
    q.n += n;
    *p = q;
    return G4_OK;
}

/* The last token is predicted, not read: rows are one fewer than tokens. */
static void score_last(g4_sens_doc *doc, int64_t n)
{
    doc->scored = n;
    doc->next = doc->prompt.ids + doc->prompt.n - n;
    doc->prompt.n--;
}

static g4_status build(loader *l, const g4_json *j, const char *text, g4_prompt *p, g4_err *err)
{
    const g4_options *o = l->o;
    g4_request r = { .name = j->file, .text = text, .len = strlen(text),
                     .image_tokens = o->image_tokens, .audio_limit = o->audio_limit };
    G4_TRY(g4_bos_parse(&r.bos, o->bos ? o->bos : "auto", err));
    G4_TRY(g4_jsonl_media(j, l->folder, &r.media, &r.media_count, &l->d->arena, err));
    G4_TRY(g4_prompt_build(p, &r, &l->processor, l->tokenizer, &l->d->arena, NULL, err));
    return p->n ? G4_OK : g4_fail(err, G4_EINPUT, "%s: no tokens", j->file);
}

/* The first token of each choice. */
static g4_status load_choices(loader *l, const g4_json *j, g4_sens_doc *doc, g4_err *err)
{
    g4_json array;
    json_t *v;
    size_t i;
    G4_TRY(g4_json_array(j, "choices", 1, &array, err));
    size_t n = json_array_size(array.root);
    if (n < 2 || n > 64) return g4_fail(err, G4_EINPUT, "%s: choices: %zu, expected 2 to 64",
                                        j->file, n);
    G4_TRY(g4_json_req_int(j, "answer", 0, (int64_t)n - 1, &doc->answer, err));
    int32_t *ids = g4_arena_alloc(&l->d->arena, n, sizeof *ids);
    if (!ids) return g4_nomem(err, j->file);
    json_array_foreach(array.root, i, v) {
        if (!json_is_string(v)) return g4_fail(err, G4_EINPUT, "%s: choices: not texts", j->file);
        G4_TRY(encode(l, json_string_value(v), err));
        if (!l->ids.count) return g4_fail(err, G4_EINPUT, "%s: choice %zu is empty", j->file, i);
        ids[i] = l->ids.ids[0];
        for (size_t k = 0; k < i; k++)
            if (ids[k] == ids[i])
                return g4_fail(err, G4_EINPUT, "%s: choices %zu and %zu begin with the same token",
                               j->file, k, i);
    }
    doc->choices = ids;
    doc->choice_count = (int64_t)n;
    l->d->questions++;
    G4_TRY(extend(l, &doc->prompt, &ids[doc->answer], 1, err));
    score_last(doc, 1);
    return G4_OK;
}

static g4_status load_target(loader *l, const char *target, g4_sens_doc *doc, g4_err *err)
{
    G4_TRY(encode(l, target, err));
    if (!l->ids.count) return g4_fail(err, G4_EINPUT, "%s: an empty target", l->o->data);
    G4_TRY(extend(l, &doc->prompt, l->ids.ids, (int64_t)l->ids.count, err));
    score_last(doc, (int64_t)l->ids.count);
    return G4_OK;
}

static g4_status name_domain(loader *l, g4_sens_doc *doc, g4_err *err)
{
    g4_sens_data *d = l->d;
    for (size_t i = 0; i < d->domains; i++)
        if (strcmp(d->domain[i], doc->domain) == 0) {
            doc->domain_id = (int)i;
            return G4_OK;
        }
    if (strlen(doc->domain) > 32 || doc->domain[strcspn(doc->domain, ",\"\n")])
        return g4_fail(err, G4_EINPUT, "%s: line %zu: domain: at most 32 bytes, no commas, quotes",
                       l->o->data, doc->line + 1);
    doc->domain_id = (int)d->domains;
    d->domain[d->domains++] = doc->domain;
    return G4_OK;
}

static void most(int64_t *of, int64_t n)
{
    if (n > *of) *of = n;
}

/* A drafter's step wants a token before the last known one, and text alone (mtp.h). */
static void look_at_media(g4_sens_data *d, g4_sens_doc *doc)
{
    const g4_prompt *p = &doc->prompt;
    int pictures = p->images.count || p->frames.count;
    d->pictures |= pictures;
    d->sounds |= p->clips > 0;
    most(&d->media_rows, p->images.budget);
    most(&d->media_rows, p->frames.budget);
    most(&d->media_rows, p->clips * p->clip_frames);
    doc->drafted = pictures || p->clips ? 0 : doc->scored < p->n ? doc->scored : p->n - 1;
}

static g4_status load_doc(loader *l, size_t line, g4_sens_doc *doc, g4_err *err)
{
    const g4_json *j = &l->d->file.lines[line];
    const char *text = NULL, *prompt = NULL, *target = NULL;
    const g4_config *c = &l->m->config;
    doc->domain = "all";
    doc->line = line;
    G4_TRY(g4_json_opt_str(j, "domain", &doc->domain, err));
    G4_TRY(g4_json_opt_str(j, "text", &text, err));
    G4_TRY(g4_json_opt_str(j, "prompt", &prompt, err));
    G4_TRY(g4_json_opt_str(j, "target", &target, err));
    int choices = g4_json_has(j, "choices");
    if (!text == !prompt || (prompt && !target == !choices))
        return g4_fail(err, G4_EINPUT, "%s: expected a text, or a prompt with target or choices",
                       j->file);
    G4_TRY(name_domain(l, doc, err));
    G4_TRY(build(l, j, text ? text : prompt, &doc->prompt, err));
    if (choices) G4_TRY(load_choices(l, j, doc, err));
    else if (target) G4_TRY(load_target(l, target, doc, err));
    else if (doc->prompt.n < 2) return g4_fail(err, G4_EINPUT, "%s: too short", j->file);
    else score_last(doc, doc->prompt.n - 1);
    if (l->o->ctx && doc->prompt.n > l->o->ctx)
        return g4_fail(err, G4_EINPUT, "%s: %lld tokens, --ctx says %lld", j->file,
                       (long long)doc->prompt.n, (long long)l->o->ctx);
    G4_TRY(g4_prompt_check(&doc->prompt, j->file, c->vocab_size, c->mm_posemb_size,
                           c->patch_size ? g4_patch_values(c) : 0, c->audio_embed_dim, err));
    doc->blocks = g4_arena_alloc(&l->d->arena, (size_t)doc->prompt.n, sizeof *doc->blocks);
    if (!doc->blocks) return g4_nomem(err, j->file);
    g4_blocks(doc->blocks, doc->prompt.types, doc->prompt.n);
    look_at_media(l->d, doc);
    return G4_OK;
}

static g4_status load(loader *l, g4_err *err)
{
    g4_sens_data *d = l->d;
    const char *path = l->o->data, *slash = strrchr(path, '/');
    G4_TRY(g4_jsonl_load(&d->file, path, err));
    G4_TRY(g4_processor_load(&l->processor, l->o->model, err));
    size_t n = d->file.count;
    if (l->o->limit > 0 && (size_t)l->o->limit < n) n = (size_t)l->o->limit;
    if (!n) return g4_fail(err, G4_EINPUT, "%s: no lines", path);
    l->folder = g4_arena_strndup(&d->arena, path, slash ? (size_t)(slash - path) + 1 : 0);
    d->docs = g4_arena_alloc(&d->arena, n, sizeof *d->docs);
    d->domain = g4_arena_alloc(&d->arena, n, sizeof *d->domain);
    if (!l->folder || !d->docs || !d->domain) return g4_nomem(err, path);
    for (; d->count < n; d->count++) {
        g4_sens_doc *doc = &d->docs[d->count];
        G4_TRY(load_doc(l, d->count, doc, err));
        doc->first = d->rows;
        doc->score_first = d->scored;
        d->rows += doc->prompt.n;
        d->scored += doc->scored;
        d->drafted += doc->drafted;
        if (doc->prompt.n > d->longest) d->longest = doc->prompt.n;
    }
    return G4_OK;
}

g4_status g4_sens_data_open(g4_sens_data *d, const g4_options *o, const g4_model *m,
                            const g4_tokenizer *tokenizer, g4_err *err)
{
    loader l = { .d = d, .o = o, .m = m, .tokenizer = tokenizer };
    *d = (g4_sens_data){ 0 };
    g4_status s = load(&l, err);
    g4_ids_free(&l.ids);
    return s;
}

void g4_sens_data_close(g4_sens_data *d)
{
    for (size_t i = 0; i < d->count; i++) g4_soft_free(&d->docs[i].soft);
    g4_jsonl_free(&d->file);
    g4_arena_free(&d->arena);
    *d = (g4_sens_data){ 0 };
}
