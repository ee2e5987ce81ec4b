/* SPDX-License-Identifier: Apache-2.0
 * Between tokenizer_load.c, tokenizer_components.c and tokenizer_gguf*.c. */
#ifndef G4_INPUT_TOKENIZER_LOAD_H
#define G4_INPUT_TOKENIZER_LOAD_H

#include "ref/input/tokenizer_parts.h"

/* Everything of tokenizer.json but vocab and merges, which are in t already. */
g4_status g4_tokenizer_components(g4_tokenizer *t, const g4_json *root, g4_err *err);

/* Everything, from the keys of a GGUF; messages name its file. */
g4_status g4_tokenizer_from_gguf(g4_tokenizer *t, const char *model, g4_err *err);

/* Values of tokenizer.ggml.token_type: llama.cpp's enum. */
enum { G4_TOKEN_NORMAL = 1, G4_TOKEN_UNKNOWN, G4_TOKEN_CONTROL, G4_TOKEN_USER_DEFINED,
       G4_TOKEN_UNUSED, G4_TOKEN_BYTE };

/* Is it a special token that a GGUF has as USER_DEFINED? */
int g4_token_shown(const char *text, size_t len);

#endif
