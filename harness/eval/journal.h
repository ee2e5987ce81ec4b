/* SPDX-License-Identifier: Apache-2.0
 * OUT/journal_<task>.jsonl: the settings in its first line, then a line a finished question,
 * each with a checksum and on the disk before the next one.  A report is made of journals
 * and the task's files alone, so it does not depend on how often a run was killed nor on
 * how it was split.
 *
 *   {"sum":"<first 16 digits of the SHA-256 of the rest>","task":"mmlu_anatomy","doc":3,...}
 *
 * A last line without its line end was cut off: it is dropped and its question asked again.
 * Anything else that does not agree with its checksum is an error with its line number. */
#ifndef G4_HARNESS_EVAL_JOURNAL_H
#define G4_HARNESS_EVAL_JOURNAL_H

#include "harness/eval/eval.h"

typedef struct g4_eval_journal {
    char *path;
    int fd;
    json_t *header;              /* the file's, once it is open */
} g4_eval_journal;               /* G4_EVAL_JOURNAL_NONE before it is opened */

#define G4_EVAL_JOURNAL_NONE { .fd = -1 }

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

/* Of a model's files: their sizes, the whole of small ones, the first 64 KiB and 256 pages
 * of 4 KiB all over a large one (reading 24 GB would take minutes). */
g4_status g4_model_sum(const char *path, char hex[G4_SHA256_HEX], g4_err *err);

/* Creates the journal of this header in folder dir, or with `resume` goes on with one whose
 * settings are the same: its answers are taken over.  Another process that has it open is
 * an error. */
g4_status g4_eval_journal_open(g4_eval_journal *j, g4_eval *e, const char *dir,
                               const json_t *header, int resume, g4_err *err);
g4_status g4_eval_journal_add(g4_eval_journal *j, const g4_leaf *leaf, size_t doc, g4_err *err);
void g4_eval_journal_close(g4_eval_journal *j);

/* For merging.  The journals of these folders, in the order of their names. */
g4_status g4_eval_journals(const char *const *dirs, int count, g4_arena *a, char ***paths,
                           size_t *n, g4_err *err);
/* Only the header; g4_eval_journal_take reads the answers, too. */
g4_status g4_eval_journal_header(const char *path, json_t **header, g4_err *err);
g4_status g4_eval_journal_take(g4_eval_journal *j, g4_eval *e, const char *path,
                               const json_t *header, g4_err *err);

#endif
