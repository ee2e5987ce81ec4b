/* SPDX-License-Identifier: Apache-2.0
 * gemma4 serve: answers HTTP requests until SIGINT, SIGTERM or SIGHUP; exit 0 then.  The
 * address stands on standard output once connections are taken. */
#include "harness/interrupt.h"
#include "harness/serve/serve.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PORT = 8080, LOOK_MS = 100 };

static const char loopback[] = "127.0.0.1";

/* The last part of the model's path: a client need not know where it lies. */
static void name_model(g4_served *s)
{
    char path[sizeof s->o->pair];
    snprintf(path, sizeof path, "%s", s->o->model);
    path[strcspn(path, ",")] = 0;   /* MODEL.gguf,MEDIA.gguf */
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') path[--n] = 0;
    const char *slash = strrchr(path, '/');
    snprintf(s->name, sizeof s->name, "%s", slash && slash[1] ? slash + 1 : path);
}

static g4_status load(g4_served *s, g4_err *err)
{
    const g4_options *o = s->o;
    G4_TRY(g4_runtime_open(&s->rt, o, G4_DRAFT_IF_GIVEN, err));
    G4_TRY(g4_tokenizer_load(&s->tokenizer, o->model, err));
    G4_TRY(g4_processor_load(&s->processor, o->model, err));
    G4_TRY(g4_bos_parse(&s->bos, o->bos ? o->bos : "auto", err));
    s->model = (g4_ask_model){ s->rt.model->config.vocab_size, g4_chat_defaults() };
    if (o->thinking >= 0) s->model.chat.thinking = o->thinking;
    G4_TRY(g4_chat_template_dir(&s->chat_template, &s->model.chat, o->model, err));
    g4_sampling_choose(&s->sampling, o, &s->rt, G4_CHAT_TOKENS);
    name_model(s);
    s->created = (int64_t)time(NULL);
    return G4_OK;
}

static int ending(void)
{
    return g4_interrupt_pending();
}

static g4_status serve(g4_served *s, g4_answerer *a, g4_err *err)
{
    g4_http *http = NULL;
    char *url = NULL;
    g4_job *job;
    const char *host = s->o->host ? s->o->host : loopback;
    g4_status st = g4_http_open(&http, s, host, s->o->port >= 0 ? (int)s->o->port : PORT, &url,
                                err);
    if (st == G4_OK) {
        printf("%s\n", url);
        if (fflush(stdout) != 0) st = g4_fail(err, G4_EIO, "standard output: cannot write");
    }
    while (st == G4_OK && !ending())
        if ((job = g4_desk_next(&s->desk, LOOK_MS)) != NULL) g4_answer_job(a, job);
    g4_desk_shut(&s->desk);
    g4_http_close(http);
    free(url);
    return st;
}

int cmd_serve(const g4_options *o, g4_err *err)
{
    g4_served s = { .o = o };
    g4_answerer a = { .served = &s };
    sigset_t before;
    g4_interrupt_hold(&before);
    g4_status st = load(&s, err);
    if (st == G4_OK) st = g4_answerer_open(&a, &s, err);
    a.ending = ending;
    if (st == G4_OK) st = g4_desk_open(&s.desk, err);
    if (st == G4_OK) {
        st = serve(&s, &a, err);
        g4_desk_close(&s.desk);
        if (st == G4_OK) g4_interrupt_take();
    }
    g4_answerer_close(&a);
    g4_tokenizer_free(s.tokenizer);
    free(s.chat_template);
    g4_runtime_close(&s.rt);
    g4_interrupt_release(&before);
    return st == G4_OK ? 0 : 2;
}
