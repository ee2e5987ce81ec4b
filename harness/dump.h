/* SPDX-License-Identifier: Apache-2.0
 * One request's activations on their way into a golden file; cmd_dump.c runs the
 * model for one or more of them.  --detail:
 *   all       every activation        layer     every module of the first and last
 *   output    embeddings, layer                 layer, `output` of the others
 *             outputs, norm, logits   mtp       what a drafter starts from, its steps
 *   generate  greedy text without and with the drafter */
#ifndef G4_HARNESS_DUMP_H
#define G4_HARNESS_DUMP_H

#include "harness/request.h"
#include "harness/runtime.h"
#include "ref/model/mtp.h"

typedef enum g4_dump_detail {
    G4_DUMP_ALL, G4_DUMP_LAYER, G4_DUMP_OUTPUT, G4_DUMP_MTP, G4_DUMP_GENERATE
} g4_dump_detail;

typedef struct g4_dump {
    const g4_options *o;         /* out is this request's file */
    const g4_runtime *rt;
    g4_asked asked;
    g4_dump_detail detail;
    int64_t tokens, steps;       /* generated behind the prompt; drafted a round */
    g4_mask mask;
    g4_engine *engine;           /* these four by the pass */
    g4_session *session;
    const float *logits, *hidden;   /* of the last token */
    g4_drafter *drafter;         /* owned; NULL: none */
    g4_golden_writer *w;
    g4_arena arena;
    void (*let_end)(void *job);  /* called now and then: may end the process */
    void *job;
    g4_status status;            /* first error inside the observer */
    g4_err *err;
} g4_dump;

g4_status g4_dump_detail_parse(g4_dump_detail *d, const char *name, g4_err *err);

/* In this order: the file with attributes and inputs; the prefill, of which
 * g4_dump_observe is the tap; all that comes behind it, and the file's real name. */
g4_status g4_dump_begin(g4_dump *d);
void g4_dump_observe(void *ctx, const g4_tap_at *at, const float *data);
g4_status g4_dump_finish(g4_dump *d);
void g4_dump_close(g4_dump *d);

#endif
