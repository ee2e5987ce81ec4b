/* SPDX-License-Identifier: Apache-2.0
 * The memory that a run will take, line by line, before it takes it.  Work buffers
 * and caches are sums over the tables that allocate them; what opening the model and
 * the request takes (program, libraries, vocabulary, pixels) is not modelled but
 * measured: the planning process has opened both just as the run does. */
#ifndef G4_HARNESS_MEMORY_H
#define G4_HARNESS_MEMORY_H

#include "harness/options.h"
#include "ref/model/engine.h"

typedef struct g4_memory {
    g4_engine_plan plan;
    int threads, cases;            /* cases: prompts prefilled together; 0 counts as 1 */
    int64_t layers[2], slots[2];   /* by layer kind */
    uint64_t weights;              /* mapped: pages of the file, shared and evictable */
    /* anonymous memory: */
    uint64_t base;                 /* this process by now, small weights as float32 included */
    uint64_t cache_sliding, cache_full, cache;
    uint64_t panels;               /* weights in the form that fast kernels read, both models */
    uint64_t work;                 /* the engine's buffers */
    uint64_t media;                /* soft tokens */
    uint64_t results;              /* last logits and hidden row of each prompt */
    uint64_t sampling;             /* generate: rows of logits, distributions */
    uint64_t passing;              /* the largest of what comes and goes while running */
    uint64_t drafter_weights;      /* mapped; 0: no drafter */
    uint64_t drafter_work;
    uint64_t anonymous, total;     /* total: with the weights */
} g4_memory;

/* Fills in all but plan, threads, cases, base, media, sampling and passing, which are given. */
void g4_memory_plan(g4_memory *p, const g4_model *m, const g4_model *drafter, const g4_ops *ops);

/* --for dump, verify or generate with that command's own request: of all its passes the
 * one that takes most.  p->threads is given. */
g4_status g4_memory_request(g4_memory *p, const g4_options *o, g4_model *m, g4_model *drafter,
                            const g4_ops *ops, g4_err *err);

/* Soft tokens of a prompt; *work: what the embedders need besides, while they run. */
uint64_t g4_memory_soft(const g4_config *c, const g4_prompt *p, uint64_t *work);

/* Anonymous memory (RssAnon) of this process; 0 where the system does not tell. */
uint64_t g4_memory_now(void);

#endif
