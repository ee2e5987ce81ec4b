/* SPDX-License-Identifier: Apache-2.0
 * What perplexity and kl have in common: all but a check of options. */
#ifndef G4_HARNESS_KL_COMMAND_H
#define G4_HARNESS_KL_COMMAND_H

#include "harness/kl/kl.h"

/* The command's exit code. */
int g4_kl_command(const g4_options *o, g4_err *err);

#endif
