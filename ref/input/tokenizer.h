/* SPDX-License-Identifier: Apache-2.0
 * Text to token ids and back, exactly as the `tokenizers` library does it for
 * the kind of tokenizer.json that Gemma ships: BPE with byte fallback, added
 * tokens matched first, normaliser Replace/Prepend, template post-processor.
 * A component outside that kind is an error that names it, never a guess.
 * A g4_tokenizer is immutable after loading; threads may share it.
 *
 * Text is UTF-8 and may contain NUL; invalid UTF-8 is G4_EINPUT with the byte
 * offset.  Ids handed in may be any int32: one that names no token decodes to
 * nothing, as in the library. */
#ifndef G4_INPUT_TOKENIZER_H
#define G4_INPUT_TOKENIZER_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct g4_tokenizer g4_tokenizer;

/* A growing list of ids, malloc'ed; {NULL, 0, 0} is an empty one. */
typedef struct g4_ids {
    int32_t *ids;
    size_t count, capacity;
} g4_ids;

g4_status g4_ids_push(g4_ids *l, int32_t id, g4_err *err);
void g4_ids_free(g4_ids *l);

/* Reads dir/tokenizer.json, and the id of the BOS token from config.json or,
 * where that has none, generation_config.json or tokenizer_config.json; or the
 * keys of a GGUF (ref/file/document.h: how a model is named). */
g4_status g4_tokenizer_load(g4_tokenizer **t, const char *dir, g4_err *err);
/* The text of a tokenizer.json; file is for messages.  BOS is then the token
 * that the post-processor writes first, if any. */
g4_status g4_tokenizer_parse(g4_tokenizer **t, const char *file, const void *json, size_t size,
                             g4_err *err);
void g4_tokenizer_free(g4_tokenizer *t);

/* As the keys tokenizer.ggml.* of a GGUF for a vocabulary of that size; file is for messages. */
struct g4_gguf_writer;
g4_status g4_tokenizer_to_gguf(const g4_tokenizer *t, const char *file, int64_t vocab,
                               struct g4_gguf_writer *w, g4_err *err);

/* Appends to out.  add_special: run the post-processor (the test models: <bos>
 * in front; the shipped tokenizer: nothing). */
g4_status g4_tokenizer_encode(const g4_tokenizer *t, const char *text, size_t len,
                              int add_special, g4_ids *out, g4_err *err);

/* --bos: what stands in front of the ids.  FILE: what tokenizer.json says;
 * AUTO: exactly one BOS; ON: one, in front of whatever the text holds (a text
 * that starts with "<bos>" then has two); OFF: none that is not in the text. */
typedef enum g4_bos { G4_BOS_FILE, G4_BOS_AUTO, G4_BOS_ON, G4_BOS_OFF } g4_bos;

/* name: auto, on, off; NULL gives FILE. */
g4_status g4_bos_parse(g4_bos *bos, const char *name, g4_err *err);
g4_status g4_tokenizer_encode_bos(const g4_tokenizer *t, const char *text, size_t len,
                                  g4_bos bos, g4_ids *out, g4_err *err);

/* *text is malloc'ed, *len bytes of valid UTF-8 and a NUL behind them. */
g4_status g4_tokenizer_decode(const g4_tokenizer *t, const int32_t *ids, size_t n,
                              int skip_special, char **text, size_t *len, g4_err *err);

/* Streaming decode.  A piece is always whole UTF-8 characters, and the pieces
 * joined are what g4_tokenizer_decode gives.  A run of byte tokens is held
 * until a token that is not one follows, or the end: the library judges a run
 * as a whole (one bad byte turns every byte of it into U+FFFD), so its first
 * character is not known to be one before its last byte is. */
typedef struct g4_detok {
    const g4_tokenizer *t;
    int skip_special, begun;        /* begun: a token has come */
    uint8_t *run;                   /* malloc'ed: bytes of the open run */
    size_t run_size, run_capacity;
    char *buf;                      /* malloc'ed: what the last call gave */
    size_t size, capacity;
} g4_detok;

void g4_detok_init(g4_detok *d, const g4_tokenizer *t, int skip_special);
/* *text: *len bytes, perhaps 0, valid until the next call for d. */
g4_status g4_detok_push(g4_detok *d, int32_t id, const char **text, size_t *len, g4_err *err);
g4_status g4_detok_end(g4_detok *d, const char **text, size_t *len, g4_err *err);
void g4_detok_free(g4_detok *d);

/* The id of a token by its exact text ("<|image|>"), -1: none. */
int32_t g4_tokenizer_id(const g4_tokenizer *t, const char *token);
int32_t g4_tokenizer_bos(const g4_tokenizer *t);    /* -1: none known */
int32_t g4_tokenizer_size(const g4_tokenizer *t);   /* largest id + 1 */
int g4_tokenizer_is_special(const g4_tokenizer *t, int32_t id);
/* A token's text as the file writes it (not NUL-terminated); NULL: no such id. */
const char *g4_tokenizer_text(const g4_tokenizer *t, int32_t id, size_t *len);

#endif
