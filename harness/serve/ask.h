/* SPDX-License-Identifier: Apache-2.0
 * A request's body, checked as a file is: every field's type and range, names that are not
 * known refused, fields that would change an answer and are not built accepted only where
 * they change nothing [N95].  Nothing of a client's is opened: media come inside the body
 * (data: addresses), and a part of a message that names a file is refused. */
#ifndef G4_HARNESS_ASK_H
#define G4_HARNESS_ASK_H

#include "ref/base/arena.h"
#include "ref/base/json.h"
#include "ref/input/chat.h"
#include "ref/input/tokenizer.h"

enum {
    G4_ASK_BODY = 1 << 20,       /* bytes of a body */
    G4_ASK_MEDIA = 48 << 20,     /* of one with media inside, media included */
    G4_ASK_STOPS = 16, G4_ASK_TOP = 20, G4_ASK_PROMPTS = 1024, G4_ASK_CHOICES = 128,
};

typedef enum g4_ask_kind {
    G4_ASK_COMPLETION = 1, G4_ASK_CHAT = 2, G4_ASK_TOKENIZE = 4, G4_ASK_DETOKENIZE = 8
} g4_ask_kind;

typedef struct g4_ask_prompt {
    const char *text;            /* NULL: ids */
    int32_t *ids;                /* [n] */
    int64_t n;
} g4_ask_prompt;

typedef struct g4_ask_media {    /* a file that came in the body */
    uint8_t *data;               /* malloc'ed */
    size_t size;
} g4_ask_media;

/* What a body is checked against. */
typedef struct g4_ask_model {
    int64_t vocab;
    g4_chat_options chat;
} g4_ask_model;

typedef struct g4_ask {
    g4_ask_kind kind;
    json_t *root;                /* owns the texts */
    g4_ask_prompt *prompts;      /* [prompt_count] */
    size_t prompt_count;
    int64_t max_tokens;          /* -1: not given */
    int64_t n;                   /* answers to each prompt */
    int64_t top_k;               /* -1: the checkpoint's */
    double temperature, top_p;   /* < 0: the checkpoint's */
    int seeded;
    uint64_t seed;
    const char *stop[G4_ASK_STOPS];
    int stop_count;
    int64_t logprobs;            /* likeliest tokens told with each; -1: no log-probabilities */
    int echo, stream, usage, ignore_eos;
    int special;                 /* tokenize: as a prompt is */
    g4_chat_text text;           /* chat: what the template made */
    int in_thought;              /* it ends inside an open thought */
    g4_ask_media *media;         /* [media_count] */
    size_t media_count;
    size_t *media_order;         /* [text.media_count] the n-th placeholder's */
    g4_arena arena;
} g4_ask;

/* With an error, too, g4_ask_free is right.  field [64]: the name that is wrong, "" if none is
 * to blame. */
g4_status g4_ask_parse(g4_ask *a, g4_ask_kind kind, const g4_ask_model *m, const void *json,
                       size_t size, char field[64], g4_err *err);
void g4_ask_free(g4_ask *a);

/* The conversation of a chat (ask_chat.c). */
g4_status g4_ask_messages(g4_ask *a, const g4_ask_model *m, g4_err *err);

/* RFC 4648 with padding, nothing else in it; *data is malloc'ed.  0: not so; -1: no memory. */
int g4_base64_decode(const char *text, size_t len, uint8_t **data, size_t *size);

#endif
