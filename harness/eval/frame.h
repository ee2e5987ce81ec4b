/* SPDX-License-Identifier: Apache-2.0
 * From a question, its examples and its description to a prompt. */
#ifndef G4_HARNESS_EVAL_FRAME_H
#define G4_HARNESS_EVAL_FRAME_H

#include "harness/eval/eval.h"

/* --chat-template, --system, --thinking, --fewshot-as-multiturn; the model says which edition
 * of the template. */
g4_status g4_frame_choose(g4_eval_frame *f, const g4_options *o, g4_err *err);
/* As a journal's settings keep it (NULL: no memory), and back; 0: it is none.  Texts are the
 * object's. */
json_t *g4_frame_json(const g4_eval_frame *f);
int g4_frame_read(g4_eval_frame *f, const json_t *v);

typedef struct g4_shot {
    const char *question, *answer;
} g4_shot;

/* What stands before a question. */
typedef struct g4_before {
    const char *description;     /* NULL: none */
    const g4_shot *shots;        /* [count] */
    size_t count;
} g4_before;

/* The prompt as e->frame says, in the arena. */
g4_status g4_frame_text(g4_eval *e, const g4_before *b, const char *question, const char **text,
                        g4_err *err);
/* A choice as what continues a prompt: behind a blank, or a turn begins with it.  NULL: no
 * memory. */
const char *g4_frame_choice(const g4_eval *e, g4_arena *a, const char *choice);

#endif
