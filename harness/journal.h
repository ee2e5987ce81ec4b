/* SPDX-License-Identifier: Apache-2.0
 * A file of JSON lines that survives a kill at any moment: the settings in its first line,
 * then a line a finished piece of work, each with a checksum and on the disk before the next.
 *
 *   {"sum":"<first 16 digits of the SHA-256 of the rest>","task":"mmlu_anatomy","doc":3,...}
 *
 * A last line without its line end was cut off: it is dropped and its work done again.
 * Anything else that does not agree with its checksum is an error with its line number. */
#ifndef G4_HARNESS_JOURNAL_H
#define G4_HARNESS_JOURNAL_H

#include "ref/base/err.h"

#include <jansson.h>

typedef struct g4_journal {
    char *path;
    int fd;
    json_t *header;              /* the file's settings, once it is open */
} g4_journal;

#define G4_JOURNAL_NONE { .fd = -1 }   /* before it is opened */

/* What its owner makes of the lines. */
typedef struct g4_journal_kind {
    /* 0: these are not such settings. */
    int (*is_header)(const json_t *header);
    const char *no_header;       /* then: "is not the settings of an evaluation" */
    /* Settings that two runs may have each their own; NULL at the end. */
    const char *const *own_keys;
    /* Takes one finished piece over; 0: it is none that is wanted. */
    int (*take)(void *ctx, const json_t *line);
    const char *no_line;
} g4_journal_kind;

/* Creates the journal, or with `resume` goes on with one of the same settings, whose lines
 * are taken over.  Another process that has it open is an error. */
g4_status g4_journal_open(g4_journal *j, const char *path, const json_t *header, int resume,
                          const g4_journal_kind *kind, void *ctx, g4_err *err);
/* Takes the line's reference. */
g4_status g4_journal_add(const g4_journal *j, json_t *line, g4_err *err);
void g4_journal_close(g4_journal *j);

/* Only reads: the settings; or all, which must have those settings. */
g4_status g4_journal_header(json_t **header, const char *path, const g4_journal_kind *kind,
                            g4_err *err);
g4_status g4_journal_take(const char *path, const json_t *header, const g4_journal_kind *kind,
                          void *ctx, g4_err *err);

#endif
