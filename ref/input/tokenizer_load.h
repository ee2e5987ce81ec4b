/* SPDX-License-Identifier: Apache-2.0
 * Between tokenizer_load.c and tokenizer_components.c. */
#ifndef G4_INPUT_TOKENIZER_LOAD_H
#define G4_INPUT_TOKENIZER_LOAD_H

#include "ref/input/tokenizer_parts.h"

/* Everything of tokenizer.json but vocab and merges, which are in t already. */
g4_status g4_tokenizer_components(g4_tokenizer *t, const g4_json *root, g4_err *err);

#endif
