/* SPDX-License-Identifier: Apache-2.0
 * One JSON object a line; blank lines are passed over. */
#ifndef G4_HARNESS_EVAL_JSONL_H
#define G4_HARNESS_EVAL_JSONL_H

#include "ref/base/arena.h"
#include "ref/base/json.h"
#include "ref/input/prompt_build.h"

typedef struct g4_jsonl {
    const char *file;
    g4_json *lines;          /* [count]; each one's file says "path: line 12" */
    size_t count;
    g4_arena arena;
} g4_jsonl;                  /* {0} is an empty one */

/* path must outlive it.  g4_jsonl_free is right after an error, too. */
g4_status g4_jsonl_load(g4_jsonl *j, const char *path, g4_err *err);
void g4_jsonl_free(g4_jsonl *j);

/* A line's member "media", which may be missing: [["image", FILE], ...]; prefix goes in front
 * of every FILE. */
g4_status g4_jsonl_media(const g4_json *line, const char *prefix, const g4_media **media,
                         size_t *count, g4_arena *a, g4_err *err);

#endif
