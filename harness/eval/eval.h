/* SPDX-License-Identifier: Apache-2.0
 * Evaluation as lm-evaluation-harness defines it [N49]: a task reads its published
 * files and writes prompts; a prompt wants one of two things, the log-likelihood of
 * some continuations or a greedy text; the rest is counting.
 *
 *   tasks.def, task_*.c   files -> leaves of documents with prompts (frame.c)
 *   score.c               documents -> token ids -> batch.c -> answers and scores
 *   rolling.c             documents that are predicted whole -> log-likelihoods
 *   journal.c             answers kept as they come, read again; identity.c: of what
 *   eval_write.c          results_<time>.json and samples_<task>_<time>.jsonl */
#ifndef G4_HARNESS_EVAL_H
#define G4_HARNESS_EVAL_H

#include "harness/options.h"
#include "harness/runtime.h"
#include "ref/base/sha256.h"
#include "ref/input/chat.h"
#include "ref/input/prompt_build.h"

#include <jansson.h>

enum { G4_METRICS = 3 };         /* of a task, at most */

/* One question: of several continuations the likeliest one is the answer, or, where
 * there are none, a text is generated; or its own text is predicted. */
typedef struct g4_doc {
    json_t *doc;                 /* as lm-eval has it, keys in its order */
    const char *context;         /* the prompt */
    const char *const *contexts; /* [choice_count] one for each choice; NULL: that one for all */
    const char *target;          /* str() of the right answer */
    const char *const *choices;  /* [choice_count] continuations */
    int choice_count, gold;      /* gold: the right one's index */
    const char *const *options;  /* [choice_count] whose lengths acc_norm divides by; NULL: of
                                  * choices */
    const char *const *until;    /* generate: texts that end the answer, NULL behind the last */
    int64_t max_tokens;
    int rolling;                 /* the context itself is what is predicted */
    double words, bytes;         /* rolling: what its log-likelihood is divided by */
    int special;                 /* special tokens are part of the text */
    const g4_media *media;       /* [media_count] files behind the context's placeholders */
    size_t media_count;
    /* filled by g4_eval_score */
    double *loglik;              /* [choice_count] */
    unsigned char *greedy;       /* [choice_count] every token was the likeliest */
    const char *response;        /* generated text, cut at `until` */
    const char *filtered[G4_METRICS];   /* the answer in it, by each metric's filter */
    double score[G4_METRICS];    /* 1 or 0; rolling: the metric of this document alone */
    int64_t tokens, thought;     /* read and written for it; written before the answer */
    double seconds;              /* since the question that was finished before it */
    int done, other;             /* has its answers; belongs to another shard */
} g4_doc;

/* How many log-likelihoods answer it; 0: a text does. */
static inline int g4_doc_numbers(const g4_doc *d)
{
    return d->rolling ? 1 : d->choice_count;
}

/* What lm-eval calls a task: mmlu_anatomy. */
typedef struct g4_leaf {
    const char *name, *alias;
    const char *group;           /* a group within the task's own; NULL: none */
    int64_t shots;
    g4_doc *docs;                /* [count] */
    size_t count, all;           /* all: without --limit */
    double mean[G4_METRICS];
    double stderr_[G4_METRICS];  /* NaN below two documents */
} g4_leaf;

typedef struct g4_task g4_task;

/* How a question becomes a prompt (frame.c); all zero: as plain text. */
typedef struct g4_eval_frame {
    int turns;                   /* as turns of the chat template */
    int multiturn;               /* examples are turns of their own */
    const char *system;          /* a text before all; NULL: none */
    g4_chat_options chat;
} g4_eval_frame;

typedef struct g4_eval {
    const g4_task *task;
    g4_leaf *leaves;             /* [count] */
    size_t count;
    g4_arena arena;              /* owns all texts */
    g4_eval_frame frame;
    /* Tokens that the model read since g4_eval_open, and those that it would have read for
     * each continuation by itself. */
    int64_t computed, alone;
} g4_eval;

/* What a task's reader is given. */
typedef struct g4_eval_source {
    const char *name;            /* --task: the task, or one leaf of it */
    const char *dir;             /* --data */
    int64_t shots, limit;        /* limit 0: all documents */
    int64_t max_tokens;          /* most of a generated text; < 0: as many as the task says */
    g4_eval_frame frame;
} g4_eval_source;

typedef struct g4_metric {
    const char *name, *filter;   /* as in results: "acc,none" */
    int normed;                  /* log-likelihoods count by the character */
    enum { G4_SHARE, G4_PER_WORD, G4_PER_BYTE, G4_BITS } of;   /* rolling: perplexities, bits */
    /* Of a generated text: the answer in it, in the arena (NULL: out of memory), and whether
     * it is the target. */
    const char *(*extract)(g4_arena *arena, const g4_doc *d);
    int (*same)(const char *answer, const char *target);
} g4_metric;

struct g4_task {
    const char *name;
    const g4_metric *metrics;    /* [metric_count]; those of one filter together */
    int metric_count;
    int64_t shots;               /* where --shots says nothing; -1: must be said */
    double version;
    g4_status (*load)(g4_eval *e, const g4_eval_source *src, g4_err *err);
};

/* Reads --task's files.  Errors name the file and line.  g4_eval_close is right after
 * an error, too. */
g4_status g4_eval_open(g4_eval *e, const g4_eval_source *src, g4_err *err);
void g4_eval_close(g4_eval *e);

/* For readers: a leaf's documents, zeroed; does src ask for the leaf? */
g4_status g4_leaf_init(g4_leaf *leaf, g4_eval *e, size_t docs, const g4_eval_source *src,
                       g4_err *err);
int g4_eval_wants(const g4_eval_source *src, const char *leaf);

typedef struct g4_eval_run {
    const g4_runtime *rt;
    const g4_options *o;         /* model folder, bos, mask, chunk, media options */
    const g4_tokenizer *tokenizer;
    const g4_processor *processor;
    double (*clock)(void);       /* seconds; NULL: not wanted */
    /* After each question, which has its answers and its score; NULL: nobody asked. */
    g4_status (*finished)(void *ctx, const g4_leaf *leaf, size_t doc, g4_err *err);
    void *ctx;
} g4_eval_run;

/* Answers to a leaf's questions that are not done and belong to this shard. */
g4_status g4_eval_score(g4_eval *e, g4_leaf *leaf, const g4_eval_run *r, g4_err *err);

/* The score of a question that is done; those of all that are, and their mean. */
g4_status g4_doc_score(g4_eval *e, g4_doc *d, g4_err *err);
g4_status g4_leaf_score(g4_eval *e, g4_leaf *leaf, g4_err *err);

/* Leaves this shard of `shards` its questions: each shards-th of them all. */
void g4_eval_shard(g4_eval *e, int64_t shard, int64_t shards);

/* The mean of leaves (of one group; NULL: all) weighted by size, and its pooled
 * standard error, as lm-eval's api/metrics.py has them. */
typedef struct g4_pooled {
    double mean, stderr_;
    size_t docs, leaves;
} g4_pooled;
g4_pooled g4_eval_pool(const g4_eval *e, const char *group, int metric);

/* What lm-eval calls results: means, groups, versions, hashes, how it was run. */
typedef struct g4_eval_report {
    const json_t *header;        /* a journal's first line: how it was run */
    double seconds;
    int64_t memory;              /* kB that other processes of this run held, at most */
} g4_eval_report;
json_t *g4_eval_results(const g4_eval *e, const g4_eval_report *r);   /* NULL: no memory */
/* One document of a samples file, as the filter of metric m sees it; hashes [3]: document's,
 * prompt's, target's. */
json_t *g4_eval_sample(const g4_eval *e, const g4_doc *d, size_t id, int m,
                       char hashes[3][G4_SHA256_HEX]);
/* Is metric m the first one of its filter? */
int g4_opens_filter(const g4_task *t, int m);
/* --model as the name of a folder; malloc'ed, NULL: no memory. */
char *g4_eval_model_name(const g4_eval_report *r);
/* DIR/<model>/results_<date>.json and samples_<leaf>_<date>.jsonl */
g4_status g4_make_folder(const char *path, g4_err *err);
g4_status g4_eval_write(const g4_eval *e, const g4_eval_report *r, const char *dir, g4_err *err);

/* Readers of tasks.def. */
g4_status g4_task_mmlu(g4_eval *e, const g4_eval_source *src, g4_err *err);
g4_status g4_task_mmlu_pro(g4_eval *e, const g4_eval_source *src, g4_err *err);
g4_status g4_task_gpqa(g4_eval *e, const g4_eval_source *src, g4_err *err);
g4_status g4_task_wikitext(g4_eval *e, const g4_eval_source *src, g4_err *err);
g4_status g4_task_requests(g4_eval *e, const g4_eval_source *src, g4_err *err);
g4_status g4_task_lines(g4_eval *e, const g4_eval_source *src, g4_err *err);

const char *g4_extract_text(g4_arena *arena, const g4_doc *d);
const char *g4_extract_letter(g4_arena *arena, const g4_doc *d);
const char *g4_extract_marked_number(g4_arena *arena, const g4_doc *d);
const char *g4_extract_last_number(g4_arena *arena, const g4_doc *d);
const char *g4_extract_sentence(g4_arena *arena, const g4_doc *d);
const char *g4_extract_choice(g4_arena *arena, const g4_doc *d);
int g4_same_text(const char *answer, const char *target);
int g4_same_number(const char *answer, const char *target);

#endif
