/* SPDX-License-Identifier: Apache-2.0
 * What most commands open first: model, perhaps a drafter, threads, op table,
 * as the common options say. */
#ifndef G4_HARNESS_RUNTIME_H
#define G4_HARNESS_RUNTIME_H

#include "harness/options.h"
#include "ref/model/engine.h"

typedef enum g4_draft_need {
    G4_DRAFT_NONE,       /* --draft is not for this command */
    G4_DRAFT_IF_GIVEN,   /* only where --draft names one */
    G4_DRAFT_IF_THERE,   /* --draft, else MODEL/assistant if there is one */
    G4_DRAFT_MUST,       /* --draft, else MODEL/assistant must be there */
} g4_draft_need;

typedef struct g4_runtime {
    g4_model *model, *draft;     /* draft NULL: none */
    g4_par *par;
    g4_ops ops;
    unsigned isas;
    const g4_command_row *command;   /* NULL: no command line */
    g4_engine_plan plan;         /* kv, panels, stream: where engines' plans begin */
} g4_runtime;

/* rt is filled with zeros first, so that g4_runtime_close is right in any case. */
g4_status g4_runtime_open(g4_runtime *rt, const g4_options *o, g4_draft_need need, g4_err *err);
void g4_runtime_close(g4_runtime *rt);

/* What --engine and --kv say of plans, but for panels, which depend on the model. */
g4_status g4_runtime_plan(g4_engine_plan *plan, const g4_options *o, g4_err *err);

#endif
