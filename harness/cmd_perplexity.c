/* SPDX-License-Identifier: Apache-2.0
 * gemma4 perplexity: how well a model predicts a text (harness/kl/kl.h).  The result names its
 * protocol and windows: figures of two protocols do not compare. */
#include "harness/kl/command.h"

int cmd_perplexity(const g4_options *o, g4_err *err)
{
    return g4_kl_command(o, err);
}
