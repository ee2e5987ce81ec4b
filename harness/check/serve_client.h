/* SPDX-License-Identifier: Apache-2.0
 * For suite serve: a server as a child on a free port, and a client of it, which checks
 * what it hears as little as a test needs. */
#ifndef G4_HARNESS_CHECK_SERVE_CLIENT_H
#define G4_HARNESS_CHECK_SERVE_CLIENT_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

enum { SERVE_BODY = 4 << 20 };

extern pid_t serve_pid;
extern char serve_body[SERVE_BODY];   /* of the last answer, NUL behind it */

void serve_start(const char *model);
/* By SIGTERM; it must end with 0. */
void serve_stop(void);
/* 0: this machine cannot run it; the test is counted as skipped. */
int serve_runnable(void);

/* A connection; a request; its answer, whose status is returned (-1: none came). */
int serve_dial(void);
void serve_put(int fd, const char *data, size_t size);
void serve_ask(int fd, const char *method, const char *path, const char *headers,
               const char *data, size_t size);
int serve_hear(int fd);
/* All of that. */
int serve_request(const char *method, const char *path, const char *headers, const char *data,
                  size_t size);
int serve_post(const char *path, const char *data);
/* Of a request that must be good. */
json_t *serve_answer(const char *path, const char *data);

/* "choices.0.text", which must be there. */
json_t *serve_at(json_t *j, const char *path);
const char *serve_text(json_t *j, const char *path);
/* What the event stream in serve_body says (which is changed), joined: of a member of
 * choices[0] or of its delta. */
void serve_join(char *out, size_t size, const char *member);

#endif
