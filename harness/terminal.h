/* SPDX-License-Identifier: Apache-2.0
 * generate --chat - in a terminal: a talk with the model.  Answers go to standard
 * output, all else (prompt, notes, faults) to standard error, so that an output
 * file holds answers only. */
#ifndef G4_HARNESS_TERMINAL_H
#define G4_HARNESS_TERMINAL_H

#include "harness/options.h"

/* As a command: 0, or 2 and err filled. */
int g4_terminal(const g4_options *o, g4_err *err);

#endif
