/* SPDX-License-Identifier: Apache-2.0
 * A conversation that goes on: its messages, and a session whose cache is kept
 * between turns.  A turn renders the whole conversation again and prefills what
 * differs from what is cached.  A row's bits do not depend on the rows that came
 * with it, so the answer is the same as to the whole conversation at once. */
#ifndef G4_HARNESS_CHAT_SESSION_H
#define G4_HARNESS_CHAT_SESSION_H

#include "harness/reply.h"
#include "ref/input/prompt_build.h"

#include <signal.h>

enum { G4_CHAT_CONTEXT = 8192, G4_CHAT_TOKENS = 1024 };   /* without --ctx, --max-tokens */

typedef enum g4_turn_end {
    G4_TURN_STOP,          /* the model ended it */
    G4_TURN_LENGTH,        /* --max-tokens */
    G4_TURN_FULL,          /* no room in the context */
    G4_TURN_INTERRUPTED,   /* *stop */
} g4_turn_end;

typedef struct g4_turn {
    g4_turn_end end;
    int remembered;             /* 0: interrupted before anything came; the message is gone */
    int64_t prompt, kept, made; /* tokens: of the conversation, of those cached before, answered */
    double seconds;             /* of the answer */
} g4_turn;

typedef struct g4_chat_session {
    const g4_options *o;
    const volatile sig_atomic_t *stop;   /* not 0: the running answer ends */
    g4_runtime rt;
    g4_processor proc;
    g4_tokenizer *tokenizer;
    g4_chat_options chat;
    uint8_t *tools;             /* malloc'ed text of --tools; NULL: none */
    size_t tools_size;
    g4_generate_options opt;
    g4_pace pace;
    int64_t chunk;
    g4_engine *engine;
    g4_session *session;
    g4_drafter *drafter;
    g4_arena arena;             /* owns logits, hidden */
    float *logits, *hidden;
    json_t *messages;
    uint64_t turns;
    /* What the session's tokens are: the last prompt's, then those made. */
    g4_prompt prompt;
    g4_arena prompt_arena;
    g4_soft soft;
    g4_ids made;
} g4_chat_session;

/* s is filled with zeros first: g4_chat_session_close is right in any case. */
g4_status g4_chat_session_open(g4_chat_session *s, const g4_options *o,
                               const volatile sig_atomic_t *stop, g4_err *err);
void g4_chat_session_close(g4_chat_session *s);

/* Forgets all messages but the system's. */
void g4_chat_session_reset(g4_chat_session *s);
/* "": none. */
g4_status g4_chat_session_system(g4_chat_session *s, const char *text, g4_err *err);
/* Reads a media file as a turn will: *tokens it takes, *warning as
 * g4_prompt_build (in arena). */
g4_status g4_chat_session_try(const g4_chat_session *s, const g4_media *media, int64_t *tokens,
                              g4_arena *arena, const char **warning, g4_err *err);
/* Says a message (the reference is taken over) and shows the answer on out.
 * With an error the message is out of the conversation again. */
g4_status g4_chat_session_say(g4_chat_session *s, json_t *message, FILE *out, g4_turn *turn,
                              g4_err *err);
/* Writes messages.json. */
g4_status g4_chat_session_save(const g4_chat_session *s, const char *path, g4_err *err);

#endif
