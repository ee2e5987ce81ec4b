/* SPDX-License-Identifier: Apache-2.0
 * A process that lets a library read foreign bytes for us.  It is forked, gives
 * up the right to open anything, and answers over a socket until it is done or
 * stopped.  Whatever happens to it - a crash inside the library, an endless
 * loop, too much memory - becomes an error message in the parent.
 *
 *   child -> parent   frames: {int32 status, uint32 bytes} and the bytes; a
 *                     status other than G4_OK carries a message.
 *
 * The caller's thread must outlive the child, which dies with it. */
#ifndef G4_BASE_CHILD_H
#define G4_BASE_CHILD_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct g4_child {
    pid_t pid;             /* 0: none (any more) */
    int fd;
    int seconds;           /* patience for one answer, before its bytes count */
    const char *path;      /* for messages; must outlive the child */
    const char *library;   /* "the HDF5 library": what may crash in there */
} g4_child;

/* Runs body(fd, ctx) in a child that is limited (memory, no writing, stderr
 * to /dev/null) but not yet sealed; when body returns the child ends. */
typedef void g4_child_body(int fd, void *ctx);
g4_status g4_child_fork(g4_child *c, const char *path, const char *library, g4_child_body *body,
                        void *ctx, g4_err *err);
/* When patience for an answer of so many bytes ends. */
int64_t g4_child_deadline(const g4_child *c, uint64_t bytes);
/* Exactly size bytes before the deadline. */
g4_status g4_child_take(g4_child *c, void *out, size_t size, int64_t deadline, g4_err *err);
/* A frame's head; an error frame is turned into the error it carries. */
g4_status g4_child_head(g4_child *c, uint32_t most, uint32_t *bytes, int64_t deadline,
                        g4_err *err);
/* Exactly size bytes that come in any number of frames. */
g4_status g4_child_frames(g4_child *c, void *out, uint64_t size, int64_t deadline, g4_err *err);
/* Sends bytes to the child. */
g4_status g4_child_ask(g4_child *c, const void *data, size_t size, g4_err *err);
/* The child may have been overrun: its answers are checked, and refused so. */
g4_status g4_child_nonsense(const g4_child *c, g4_err *err);
void g4_child_stop(g4_child *c);   /* harmless when repeated */

/* In the child: from now on no system call that opens, connects, starts or
 * executes anything. */
void g4_child_seal(void);
/* In the child: as frames of at most 1 MiB; an empty one for no bytes.  Ends
 * the child when the parent is gone. */
void g4_child_send(int fd, const void *data, size_t size);
void g4_child_send_error(int fd, const g4_err *err);

#endif
