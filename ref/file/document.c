/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/file/document.h"

#include "ref/base/map.h"

#include <errno.h>
#include <string.h>

/* Behind the comma of "MODEL.gguf,MEDIA.gguf", or NULL. */
static const char *second_of(const char *model)
{
    const char *at = strstr(model, ".gguf,");
    return at ? at + strlen(".gguf,") : NULL;
}

int g4_gguf_named(const char *model)
{
    size_t len = strlen(model);
    int kind = g4_path_kind(model);
    int unknown = kind > 3 && len > 5 && strcmp(model + len - 5, ".gguf") == 0;
    return second_of(model) != NULL || kind == 1 || unknown;   /* opening it says what is wrong */
}

static g4_status open_kind(g4_gguf **g, const char *path, int media, g4_err *err)
{
    g4_gguf_kind kind;
    G4_TRY(g4_gguf_open(g, path, err));
    G4_TRY(g4_gguf_kind_of(*g, &kind, err));
    if ((kind == G4_GGUF_MEDIA) == media) return G4_OK;
    return g4_fail(err, G4_EINPUT, media ? "%s: no media tensors for --mmproj (it is a model)"
                                         : "%s: holds media tensors only; it goes with --mmproj",
                   path);
}

g4_status g4_gguf_open_model(g4_gguf_pair *p, const char *model, g4_err *err)
{
    const char *second = second_of(model);
    g4_arena a = { NULL };
    *p = (g4_gguf_pair){ NULL, NULL };
    size_t len = second ? (size_t)(second - model) - 1 : strlen(model);
    char *first = g4_arena_strndup(&a, model, len);
    g4_status s = first ? open_kind(&p->main, first, 0, err) : g4_nomem(err, model);
    if (s == G4_OK && second) s = open_kind(&p->media, second, 1, err);
    if (s == G4_OK && !second && (g4_gguf_tensor(p->main, "v.patch_embd.weight") ||
                                  g4_gguf_tensor(p->main, "mm.a.input_projection.weight")))
        p->media = p->main;
    g4_arena_free(&a);
    if (s != G4_OK) g4_gguf_close_model(p);
    return s;
}

void g4_gguf_close_model(g4_gguf_pair *p)
{
    if (p->media != p->main) g4_gguf_close(p->media);
    g4_gguf_close(p->main);
    *p = (g4_gguf_pair){ NULL, NULL };
}

static g4_status from_gguf(g4_json *j, const char *model, const char *name, g4_err *err)
{
    g4_gguf_pair p;
    G4_TRY(g4_gguf_open_model(&p, model, err));
    g4_status s = G4_OK;
    if (strcmp(name, "config.json") == 0) s = g4_gguf_config(&j->root, &p, err);
    if (strcmp(name, "generation_config.json") == 0) s = g4_gguf_generation(&j->root, &p, err);
    if (strcmp(name, "processor_config.json") == 0) s = g4_gguf_processor(&j->root, &p, err);
    g4_gguf_close_model(&p);
    return s;
}

g4_status g4_document_load(g4_json *j, g4_arena *arena, const char *model, const char *name,
                           int required, size_t max_bytes, g4_err *err)
{
    *j = (g4_json){ NULL, NULL };
    int kind = second_of(model) ? 1 : g4_path_kind(model);
    if (kind > 3)   /* else it would pass for a folder without that document */
        return g4_fail(err, G4_EIO, "%s: cannot stat: %s", model, strerror(errno));
    if (kind == 1) {
        j->file = g4_arena_strndup(arena, model, strlen(model));
        return j->file ? from_gguf(j, model, name, err) : g4_nomem(err, model);
    }
    j->file = g4_arena_printf(arena, "%s/%s", model, name);
    if (!j->file) return g4_nomem(err, model);
    if (!required && g4_path_kind(j->file) == 0) return G4_OK;
    return g4_json_load(j, j->file, max_bytes, err);
}
