/* SPDX-License-Identifier: Apache-2.0
 * A model's documents, whatever it is stored as.  A model is named by a folder, by a GGUF
 * file, or by two as "MODEL.gguf,MEDIA.gguf" (what --mmproj makes of its two).  Folders have
 * config.json, generation_config.json and so on; for a GGUF the same documents are made from
 * its keys, so that one reader checks both; what a GGUF does not know has Transformers' default. */
#ifndef G4_FILE_DOCUMENT_H
#define G4_FILE_DOCUMENT_H

#include "ref/base/arena.h"
#include "ref/base/json.h"
#include "ref/file/gguf.h"

/* The files of a model that is no folder.  media may be the same as main. */
typedef struct g4_gguf_pair {
    g4_gguf *main, *media;        /* media NULL: text only */
} g4_gguf_pair;

int g4_gguf_named(const char *model);   /* is model one of the two GGUF forms? */
g4_status g4_gguf_open_model(g4_gguf_pair *p, const char *model, g4_err *err);
void g4_gguf_close_model(g4_gguf_pair *p);

/* Reads model's document `name` of at most max_bytes.  Where it is not required, j->root NULL
 * says that there is none.  j->file lives in arena, j->root until g4_json_free. */
g4_status g4_document_load(g4_json *j, g4_arena *arena, const char *model, const char *name,
                           int required, size_t max_bytes, g4_err *err);

/* The documents made from keys (gguf_config.c); *out is the caller's. */
g4_status g4_gguf_config(json_t **out, const g4_gguf_pair *p, g4_err *err);
g4_status g4_gguf_generation(json_t **out, const g4_gguf_pair *p, g4_err *err);
g4_status g4_gguf_processor(json_t **out, const g4_gguf_pair *p, g4_err *err);

#endif
