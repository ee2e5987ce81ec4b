/* SPDX-License-Identifier: Apache-2.0
 * OUT/journal_<task>.jsonl (harness/journal.h): a line a finished question.  A report is made
 * of journals and the task's files alone, so it does not depend on how often a run was killed
 * nor on how it was split. */
#ifndef G4_HARNESS_EVAL_JOURNAL_H
#define G4_HARNESS_EVAL_JOURNAL_H

#include "harness/eval/eval.h"
#include "harness/journal.h"

/* The settings of a run, besides its questions. */
typedef struct g4_eval_how {
    const char *model_sum;       /* g4_model_sum's */
    const char *date;            /* ISO time, part of the results' names */
    json_t *config;              /* what results call config */
    int64_t shard, shards;       /* of them */
} g4_eval_how;
g4_status g4_eval_header(json_t **header, const g4_eval *e, const g4_eval_source *src,
                         const g4_eval_how *how, g4_err *err);

/* Of all documents with their prompts and answers: other data or another template differ. */
g4_status g4_eval_sum(const g4_eval *e, char hex[G4_SHA256_HEX], g4_err *err);

/* In folder dir. */
g4_status g4_eval_journal_open(g4_journal *j, g4_eval *e, const char *dir,
                               const json_t *header, int resume, g4_err *err);
g4_status g4_eval_journal_add(const g4_journal *j, const g4_leaf *leaf, size_t doc, g4_err *err);
/* Its line, to be released; taken over by the question that has none yet.  0: not such a line. */
g4_status g4_eval_answer(json_t **line, const g4_leaf *leaf, size_t doc, g4_err *err);
int g4_eval_answer_take(g4_eval *e, const json_t *line, g4_leaf **leaf, size_t *doc);

/* For merging.  The journals of these folders, in the order of their names. */
g4_status g4_eval_journals(const char *const *dirs, int count, g4_arena *a, char ***paths,
                           size_t *n, g4_err *err);
/* Only the header; or all answers of one with that header, whatever its shard. */
g4_status g4_eval_journal_header(const char *path, json_t **header, g4_err *err);
g4_status g4_eval_journal_take(g4_eval *e, const char *path, const json_t *header, g4_err *err);

#endif
