/* SPDX-License-Identifier: Apache-2.0
 * SIGINT, SIGTERM and SIGHUP while a temporary file exists: held back, and asked
 * for between blocks of work, so that the file can be removed before they end the
 * process.  No handler, no global flag. */
#ifndef G4_HARNESS_INTERRUPT_H
#define G4_HARNESS_INTERRUPT_H

#include <signal.h>

/* Before any thread starts: threads inherit the mask, and one without it would
 * take the signal.  before: for g4_interrupt_release. */
void g4_interrupt_hold(sigset_t *before);
/* Has one of them come? */
int g4_interrupt_pending(void);
/* Those that came are done with: the program ends well, as it was told to. */
void g4_interrupt_take(void);
/* A signal that was held back ends the process here. */
void g4_interrupt_release(const sigset_t *before);

#endif
