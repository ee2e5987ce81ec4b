/* SPDX-License-Identifier: Apache-2.0
 * gemma4 help [COMMAND]; also where --help and -h lead. */
#include "harness/help.h"

int cmd_help(const g4_options *o, g4_err *err)
{
    const g4_command_row *row;
    if (o->arg_count == 0) {
        g4_help_index(stdout);
        return 0;
    }
    if (g4_command_find(&row, o->args[0], err) != G4_OK) return 2;
    g4_help_command(stdout, row);
    return 0;
}
