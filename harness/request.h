/* SPDX-License-Identifier: Apache-2.0
 * From the command line to a g4_prompt: --prompt, --chat or --ids with media
 * files, or the inputs of a golden file (--inputs).  --chat - is messages.json
 * from standard input. */
#ifndef G4_HARNESS_REQUEST_H
#define G4_HARNESS_REQUEST_H

#include "golden/golden.h"
#include "harness/options.h"
#include "ref/input/chat.h"
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

/* All of standard input, NUL bytes included; *text is malloc'ed. */
g4_status g4_stdin_read(char **text, size_t *len, g4_err *err);
/* messages.json, or standard input where path is "-"; tools as g4_chat_load. */
g4_status g4_chat_open(g4_chat **chat, const char *path, const char *tools, g4_err *err);
/* g4_chat_render, for the model: message text must not hold a media placeholder
 * or a NUL.  name is for messages. */
g4_status g4_chat_write(g4_chat_text *text, const g4_chat *chat, const g4_chat_options *o,
                        const char *name, g4_err *err);

/* --mask, else the golden's own, else official. */
g4_status g4_asked_mask(g4_mask *mask, const g4_options *o, const g4_golden *golden, g4_err *err);

#endif
