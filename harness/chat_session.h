/* SPDX-License-Identifier: Apache-2.0
 * A conversation that goes on: its messages, and a session whose cache is kept
 * between turns (timeline.h).  A turn renders the whole conversation again and
 * prefills what differs from what is cached. */
#ifndef G4_HARNESS_CHAT_SESSION_H
#define G4_HARNESS_CHAT_SESSION_H

#include "harness/timeline.h"
#include "ref/input/prompt_build.h"

#include <signal.h>

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
    g4_timeline line;
    json_t *messages;
    uint64_t turns;
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
