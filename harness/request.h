/* SPDX-License-Identifier: Apache-2.0
 * From the command line to a g4_prompt: --prompt, --chat or --ids with media
 * files, or the inputs of a golden file (--inputs). */
#ifndef G4_HARNESS_REQUEST_H
#define G4_HARNESS_REQUEST_H

#include "golden/golden.h"
#include "harness/options.h"
#include "ref/input/prompt_build.h"
#include "ref/model/mask.h"
#include "ref/model/weights.h"

typedef struct g4_asked {
    g4_prompt prompt;
    g4_arena arena;              /* owns the prompt */
    g4_tokenizer *tokenizer;     /* NULL where none was needed (--ids, --inputs) */
    g4_golden *golden;           /* --inputs; else NULL */
    const char *text;            /* what was tokenised; NULL: ids were given */
    char *chat_text;             /* malloc'ed behind text, or NULL */
    const char *media;           /* file names in order, joined by ", "; "" for none */
} g4_asked;

/* Exactly one of --prompt, --chat, --ids, --inputs must be there.  Warnings (sound
 * that was cut) go to stderr. */
g4_status g4_asked_open(g4_asked *a, const g4_options *o, const g4_model *m, g4_err *err);
void g4_asked_close(g4_asked *a);

/* --mask, else the golden's own, else official. */
g4_status g4_asked_mask(g4_mask *mask, const g4_options *o, const g4_golden *golden, g4_err *err);

#endif
