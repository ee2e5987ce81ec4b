/* SPDX-License-Identifier: Apache-2.0
 * Requests that were written elsewhere, with or without media: DIR/requests.jsonl.
 *   prompt    text; <|image|>, <|audio|>, <|video|> say where the media go
 *   media     [["image", FILE], ...], files below DIR; may be missing
 *   choices   texts that may follow, and gold, the right one's index; or else
 *   target    the text that must follow; until [texts that end it]; max_tokens;
 *             special: true where special tokens are part of it
 *   name      documents of one name are counted together as requests_<name> */
#include "harness/eval/eval.h"
#include "harness/eval/jsonl.h"

#include <string.h>

enum { MAX_CHOICES = 64, MAX_NEW_TOKENS = 1 << 20 };

static g4_status texts(const g4_json *j, const char *key, const char *const **list, size_t *n,
                       g4_arena *a, g4_err *err)
{
    g4_json array;
    const char **copy;
    json_t *v;
    size_t i;
    *n = 0;
    G4_TRY(g4_json_array(j, key, 0, &array, err));
    copy = g4_arena_alloc(a, json_array_size(array.root) + 1, sizeof *copy);
    if (!copy) return g4_nomem(err, j->file);
    json_array_foreach(array.root, i, v) {
        const char *s = json_string_value(v);
        if (!s) return g4_fail(err, G4_EINPUT, "%s: %s holds something not a text", j->file, key);
        if (!(copy[(*n)++] = g4_arena_printf(a, "%s", s))) return g4_nomem(err, j->file);
    }
    *list = copy;
    return G4_OK;
}

static g4_status text(const g4_json *j, const char *key, const char **to, g4_arena *a,
                      g4_err *err)
{
    const char *s = NULL;
    G4_TRY(g4_json_opt_str(j, key, &s, err));
    if (!s) return g4_fail(err, G4_EINPUT, "%s: %s is missing", j->file, key);
    *to = g4_arena_printf(a, "%s", s);
    return *to ? G4_OK : g4_nomem(err, j->file);
}

static g4_status doc_load(g4_doc *d, const g4_json *j, const char *dir, g4_arena *a, g4_err *err)
{
    size_t n;
    int64_t gold = -1;
    d->doc = json_incref(j->root);
    G4_TRY(text(j, "prompt", &d->context, a, err));
    const char *prefix = g4_arena_printf(a, "%s/", dir);
    if (!prefix) return g4_nomem(err, j->file);
    G4_TRY(g4_jsonl_media(j, prefix, &d->media, &d->media_count, a, err));
    G4_TRY(texts(j, "choices", &d->choices, &n, a, err));
    d->choice_count = (int)n;
    if (n == 1 || n > MAX_CHOICES)
        return g4_fail(err, G4_EINPUT, "%s: %zu choices, expected 2 to %d", j->file, n,
                       (int)MAX_CHOICES);
    if (n) {
        G4_TRY(g4_json_req_int(j, "gold", 0, (int64_t)n - 1, &gold, err));
        d->gold = (int)gold;
        d->target = g4_arena_printf(a, "%d", d->gold);
        return d->target ? G4_OK : g4_nomem(err, j->file);
    }
    G4_TRY(g4_json_opt_bool(j, "special", &d->special, err));
    G4_TRY(texts(j, "until", &d->until, &n, a, err));
    G4_TRY(g4_json_req_int(j, "max_tokens", 1, MAX_NEW_TOKENS, &d->max_tokens, err));
    return text(j, "target", &d->target, a, err);
}

static const char *name_of(const g4_json *j)
{
    const char *s = json_string_value(json_object_get(j->root, "name"));
    return s ? s : "all";
}

static g4_status leaf_load(g4_eval *e, const g4_jsonl *f, size_t first, const g4_eval_source *src,
                           g4_err *err)
{
    const char *own = name_of(&f->lines[first]);
    char *name = g4_arena_printf(&e->arena, "requests_%s", own);
    size_t n = 0, k = 0;
    if (!name) return g4_nomem(err, f->file);
    if (!g4_eval_wants(src, name)) return G4_OK;
    g4_leaf *leaf = &e->leaves[e->count++];
    *leaf = (g4_leaf){ .name = name, .alias = name + 9 };
    for (size_t i = first; i < f->count; i++) n += strcmp(name_of(&f->lines[i]), own) == 0;
    G4_TRY(g4_leaf_init(leaf, e, n, src, err));
    for (size_t i = first; i < f->count && k < leaf->count; i++)
        if (strcmp(name_of(&f->lines[i]), own) == 0)
            G4_TRY(doc_load(&leaf->docs[k++], &f->lines[i], src->dir, &e->arena, err));
    return G4_OK;
}

static g4_status leaves_load(g4_eval *e, const g4_jsonl *f, const g4_eval_source *src, g4_err *err)
{
    e->leaves = g4_arena_alloc(&e->arena, f->count + 1, sizeof *e->leaves);
    if (!e->leaves) return g4_nomem(err, f->file);
    for (size_t i = 0; i < f->count; i++) {
        size_t k = 0;
        while (strcmp(name_of(&f->lines[k]), name_of(&f->lines[i])) != 0) k++;
        if (k == i) G4_TRY(leaf_load(e, f, i, src, err));
    }
    return G4_OK;
}

g4_status g4_task_requests(g4_eval *e, const g4_eval_source *src, g4_err *err)
{
    g4_jsonl f = { 0 };
    const char *path = g4_arena_printf(&e->arena, "%s/requests.jsonl", src->dir);
    if (!path) return g4_nomem(err, src->dir);
    if (src->shots || e->frame.turns || e->frame.system)
        return g4_fail(err, G4_EINPUT, "--shots, --chat-template, --system: requests are already "
                       "whole");
    g4_status s = g4_jsonl_load(&f, path, err);
    if (s == G4_OK) s = leaves_load(e, &f, src, err);
    g4_jsonl_free(&f);
    return s;
}
