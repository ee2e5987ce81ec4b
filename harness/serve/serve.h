/* SPDX-License-Identifier: Apache-2.0
 * gemma4 serve: OpenAI's completions over HTTP, as lm-eval and other clients ask for them.
 *
 *   http.c     connections, addresses, limits; libmicrohttpd, a thread a connection
 *   ask.c      a body -> a checked request        ask_chat.c  its messages and media
 *   desk.c     requests wait for the one thread that computes
 *   answer.c   a request -> prompt, text, log-probabilities; the cache that stays
 *   score.c    log-probabilities of a prompt's own tokens
 *   tell.c     answers as JSON, whole or event by event */
#ifndef G4_HARNESS_SERVE_H
#define G4_HARNESS_SERVE_H

#include "harness/serve/desk.h"
#include "harness/timeline.h"
#include "ref/input/prompt_build.h"

/* What is loaded once and asked by all threads. */
typedef struct g4_served {
    const g4_options *o;
    g4_runtime rt;
    g4_processor processor;
    g4_tokenizer *tokenizer;
    g4_ask_model model;
    g4_bos bos;
    g4_generate_options sampling;   /* where a request says nothing */
    int64_t ctx;
    char name[256];                 /* of the model: its file's or folder's */
    char *chat_template;            /* malloc'ed; NULL: it has none */
    int64_t created;                /* seconds since 1970 */
    g4_desk desk;
} g4_served;

/* ---- log-probabilities ---- */

/* Of a place in a text: the token that came, and the likeliest ones, best first. */
typedef struct g4_place {
    double logprob;
    int32_t top_ids[G4_ASK_TOP];
    double top[G4_ASK_TOP];
} g4_place;

/* The top likeliest of a row of logits; what eval scores by, bit for bit. */
void g4_place_of(g4_place *p, const float *row, int64_t vocab, int32_t id, int64_t top);

/* Places of the text that was scored last: what the next one begins with need not be
 * scored again. */
typedef struct g4_scores {
    int32_t *ids;                   /* malloc'ed [n] */
    g4_place *places;               /* malloc'ed [n]; that of ids[0] says nothing */
    int64_t n, capacity, top;
} g4_scores;

/* Reads the prompt (all text) as g4_timeline_begin and g4_timeline_read do, and scores it. */
g4_status g4_scores_read(g4_scores *s, g4_timeline *t, const g4_prompt *p, g4_arena *arena,
                         int64_t top, int64_t *kept, g4_stop_fn *stop, void *ctx, g4_err *err);
void g4_scores_free(g4_scores *s);

/* ---- answers ---- */

typedef struct g4_answerer {
    g4_served *served;
    g4_timeline line;
    g4_pace pace;
    g4_scores scores;
    uint64_t count;                 /* answers so far: the luck of the next */
    int (*ending)(void);            /* is the program to end? */
} g4_answerer;

g4_status g4_answerer_open(g4_answerer *a, g4_served *s, g4_err *err);
void g4_answerer_close(g4_answerer *a);
/* Writes the answer, or an error, and ends the job. */
void g4_answer_job(g4_answerer *a, g4_job *j);

/* An answer as it grows. */
typedef struct g4_tale {
    g4_served *served;
    g4_job *job;
    const g4_ask *ask;
    int64_t number;                 /* the answer's, for its id */
    int64_t index;                  /* of the choice */
    const char *finish;             /* NULL: not finished */
    g4_reply reply;                 /* chat: how it is taken apart */
    g4_detok detok;                 /* completion */
    g4_reply_text text;             /* completion: with echo the prompt, too */
    size_t from;                    /* of text (or of the chat's): where the answer begins */
    size_t told, thought_told;      /* bytes that went out as events */
    int stopped, begun;             /* a stop text came; the first event is out */
    g4_ids ids;                     /* of places, echoed ones first */
    g4_place *places;               /* malloc'ed [capacity] */
    size_t capacity, ids_told, offset_told;
    int first_unknown;              /* places[0] says nothing: no token stood before */
    json_t *choices;                /* finished ones, where nothing is streamed */
    int64_t prompt_tokens, cached, made;
} g4_tale;

void g4_tale_begin(g4_tale *t);     /* the next choice */
/* The prompt, its ids [n] and their places; NULL: none are wanted. */
g4_status g4_tale_echo(g4_tale *t, const char *text, size_t len, const g4_place *places,
                       const int32_t *ids, int64_t n, g4_err *err);
/* A token; row: the logits it was chosen from.  *end: a stop text is complete. */
g4_status g4_tale_token(g4_tale *t, int32_t id, const float *row, int *end, g4_err *err);
/* The choice is whole. */
g4_status g4_tale_finish(g4_tale *t, const char *why, g4_err *err);
/* All choices are. */
g4_status g4_tale_end(g4_tale *t, g4_err *err);
void g4_tale_free(g4_tale *t);

/* ---- the rest ---- */

/* JSON of an error in OpenAI's layout; malloc'ed, NULL: no memory. */
char *g4_error_text(int status, const char *message, const char *field, const char *code);
int g4_error_status(g4_status s);

/* Small requests, answered by the connection's thread; malloc'ed, NULL: no memory or *err. */
char *g4_small_answer(g4_served *s, const g4_ask *a, g4_err *err);
char *g4_tokenizer_info(const g4_served *s);
char *g4_model_list(const g4_served *s);
char *g4_metrics_text(g4_served *s);

typedef struct g4_http g4_http;
/* Listens; port 0: any that is free.  *url is the address, malloc'ed. */
g4_status g4_http_open(g4_http **h, g4_served *s, const char *host, int port, char **url,
                       g4_err *err);
void g4_http_close(g4_http *h);

#endif
