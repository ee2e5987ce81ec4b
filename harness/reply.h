/* SPDX-License-Identifier: Apache-2.0
 * An answer in a conversation: how it is sampled, what ends it, how it is shown
 * while it comes, and what it says when it is there. */
#ifndef G4_HARNESS_REPLY_H
#define G4_HARNESS_REPLY_H

#include "harness/runtime.h"
#include "ref/input/chat.h"
#include "ref/input/prompt.h"
#include "ref/input/tokenizer.h"
#include "ref/model/generate.h"

#include <stdio.h>

/* generation_config.json's sampling and stops, overridden by the command line;
 * tokens: the most where --max-tokens is not given. */
void g4_sampling_choose(g4_generate_options *opt, const g4_options *o, const g4_runtime *rt,
                        int64_t tokens);

/* With a drafter and without --max-draft, rounds are as long as pays (ref/model/pace.h). */
void g4_pace_choose(g4_generate_options *opt, g4_pace *pace, const g4_options *o,
                    const g4_runtime *rt);

/* The stops of a conversation: the checkpoint's, <turn|> in any case, and
 * <|tool_response> where the prompt speaks of tools (a call then waits for its
 * result).  opt->stop points into stops; left alone with --ignore-eos. */
enum { G4_MAX_STOPS = 18 };   /* of generation_config.json at most 16 */
void g4_stops_choose(g4_generate_options *opt, int64_t stops[G4_MAX_STOPS], const g4_options *o,
                     const g4_tokenizer *t, const g4_prompt *p);

typedef struct g4_reply_text {
    char *data;                  /* malloc'ed, NUL behind it; NULL: empty */
    size_t len, capacity;
} g4_reply_text;
g4_status g4_reply_append(g4_reply_text *b, const char *text, size_t len, g4_err *err);

/* What is shown: text as it is, thinking (dimmed on a terminal), no special
 * tokens, and no calls of tools before the end.  On a terminal, control
 * characters come out as \xNN. */
typedef struct g4_reply {
    const g4_tokenizer *t;
    FILE *out;                   /* NULL: nothing is shown */
    int terminal, colour;        /* is out one?  may it be told to dim? */
    int state, in_thought, dimmed, open_line;
    size_t header;               /* bytes of "thought\n" seen and not shown */
    g4_detok detok;
    g4_reply_text raw;           /* all of it, special tokens included */
    g4_reply_text said;          /* what was shown as the answer, without thinking */
    g4_reply_text thought;       /* what was shown as thinking */
    g4_answer answer;            /* filled by g4_reply_end */
} g4_reply;

/* in_thought: the prompt ended inside an open thought channel. */
void g4_reply_init(g4_reply *r, const g4_tokenizer *t, FILE *out, int in_thought);
g4_status g4_reply_push(g4_reply *r, int32_t id, g4_err *err);
/* Shows the rest, ends the line, takes the answer apart and prints the calls of
 * tools, one line of JSON each. */
g4_status g4_reply_end(g4_reply *r, g4_err *err);
/* What in the answer follows no syntax: one line each on standard error. */
void g4_reply_report(const g4_reply *r);
/* {"role", "content", "reasoning_content", "tool_calls", "errors"}; NULL: no memory. */
json_t *g4_reply_message(const g4_reply *r);
void g4_reply_free(g4_reply *r);

/* Did this prompt's text end inside an open thought channel? */
int g4_reply_in_thought(const char *prompt_text);

#endif
