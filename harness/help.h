/* SPDX-License-Identifier: Apache-2.0
 * Help: printed from the option table and cmd.def, so that it cannot differ
 * from what is parsed. */
#ifndef G4_HARNESS_HELP_H
#define G4_HARNESS_HELP_H

#include "harness/options.h"

void g4_help_index(FILE *out);                              /* all commands */
void g4_help_command(FILE *out, const g4_command_row *row);   /* one, with every option */

#endif
