/* SPDX-License-Identifier: Apache-2.0
 * The page through which a test steers io_fault.c inside the program that it runs:
 * a file, mapped by both, so that it outlives a killed program and counts over forked
 * children and what they execute. */
#ifndef G4_CHECK_IO_FAULT_H
#define G4_CHECK_IO_FAULT_H

#define IO_FAULT_ENV "G4_IO_FAULT"   /* names the file */

typedef enum io_kind {
    IO_OPEN, IO_CREATE, IO_STAT, IO_MAP, IO_READ, IO_WRITE, IO_SYNC, IO_CLOSE, IO_RENAME,
} io_kind;

/* Instead of an errno value: a read or write moves half; or the program is killed (at a
 * write: behind half of it; else in front of the call). */
enum { IO_SHORT = -1, IO_KILL = -2 };
enum { IO_TRACE = 1 << 16, IO_PATH = 1024 };

typedef struct io_page {
    long at;                      /* which call fails, from 1; 0: none */
    int persistent;               /* and all that follow, too */
    int error;                    /* errno value, IO_SHORT or IO_KILL */
    char folder[IO_PATH], root[IO_PATH];   /* calls on files below these count */
    /* what came of it */
    int main;                     /* process id of the program */
    long count, fired;
    io_kind kind[IO_TRACE];       /* of the calls, from 0 */
    char path[IO_PATH];           /* of the first that failed */
} io_page;

#endif
