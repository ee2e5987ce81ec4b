/* SPDX-License-Identifier: Apache-2.0
 * Status codes and the one-line message that goes with them.  Everything that
 * touches a file or user input returns g4_status and fills an optional g4_err;
 * the message starts with the file name and ends with what is wrong with it; a
 * long one loses its middle.
 * Control bytes that came from a file are written as \xNN, so that a message
 * can be shown in a terminal.  Called by everybody; prints nothing itself. */
#ifndef G4_BASE_ERR_H
#define G4_BASE_ERR_H

typedef enum g4_status {
    G4_OK = 0,
    G4_EINPUT,   /* a file's or a user's fault: bad content, bad option */
    G4_EIO,      /* the operating system refused a read or a write */
    G4_ENOMEM,   /* an allocation failed */
} g4_status;

typedef struct g4_err {
    g4_status code;
    char msg[480];
} g4_err;

/* Fills err (which may be NULL) and returns code, so: return g4_fail(...). */
g4_status g4_fail(g4_err *err, g4_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "out of memory (what)" */
g4_status g4_nomem(g4_err *err, const char *what);

#define G4_TRY(expr)                             \
    do {                                         \
        g4_status g4_try_status_ = (expr);       \
        if (g4_try_status_ != G4_OK) return g4_try_status_; \
    } while (0)

#endif
