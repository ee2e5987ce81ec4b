/* SPDX-License-Identifier: Apache-2.0
 * Runs gemma4 (environment G4_BIN, else the one beside the check binary) by fork
 * and exec, without a shell, for the suites that test it as a user meets it. */
#ifndef G4_HARNESS_CHECK_PROGRAM_H
#define G4_HARNESS_CHECK_PROGRAM_H

#include "harness/check/tempdir.h"

#include <sys/resource.h>
#include <sys/types.h>

enum { PROGRAM_WORDS = 64, PROGRAM_CAPTURE = 1 << 20, PROGRAM_CANNOT_EXEC = 126 };

/* What a run gave. */
typedef struct program_result {
    int code;                 /* exit code, or 1000 + signal */
    char out[PROGRAM_CAPTURE], err[PROGRAM_CAPTURE];
} program_result;

/* A word that begins with mark ("%m") begins with path instead. */
typedef struct program_place {
    const char *mark, *path;  /* mark NULL ends a list */
} program_place;

/* The program under test; aborts the test if there is none. */
const char *program_path(void);

/* "info --model %m" into argv[1 ..]; argv[0] is free for program_start.  line is cut
 * at its blanks; a word "~" is empty.  space keeps the words with a place. */
int program_split(char *line, const program_place *places, char *argv[PROGRAM_WORDS],
                  char space[PROGRAM_WORDS][TEMPDIR_MAX]);

/* Starts gemma4 with stdout and stderr going to the given descriptors. */
pid_t program_start(char **argv, int out, int err, rlim_t file_limit);
int program_finish(pid_t pid);
/* Reads both pipes until they end. */
void program_capture(program_result *r, int out, int err);

/* All of that; stdout goes to the file `to` unless NULL. */
void program_run(program_result *r, const char *command, const program_place *places,
                 const char *to, rlim_t file_limit);

/* Exit 2, one line on stderr, all of it printable, "gemma4: " in front. */
void program_expect_error(const program_result *r, const char *says);

/* An emulated check binary (qemu-user) cannot exec another foreign one: 0 then, and
 * the test is counted as skipped. */
int program_runnable(const program_result *r, const char *suite);

#endif
