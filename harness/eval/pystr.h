/* SPDX-License-Identifier: Apache-2.0
 * What lm-eval does to strings, as Python does it: its sample files hold hashes of
 * texts that Python made, so these must agree byte for byte. */
#ifndef G4_HARNESS_EVAL_PYSTR_H
#define G4_HARNESS_EVAL_PYSTR_H

#include "ref/base/arena.h"
#include "ref/base/err.h"
#include "ref/base/sha256.h"

#include <jansson.h>

/* str.strip(): the text without the white space (Unicode's) at both ends. */
const char *g4_py_strip(g4_arena *arena, const char *text);   /* NULL: out of memory */

/* text.replace(what, by); text NULL: NULL. */
const char *g4_py_replace(g4_arena *arena, const char *text, const char *what, const char *by);

/* text.capitalize(), for letters that become one letter in the other case (not "ß") and
 * without the final sigma's rule. */
const char *g4_py_capitalize(g4_arena *arena, const char *text);

/* text.lower() (letters as capitalize's) without characters of Unicode's category P. */
const char *g4_py_lower_bare(g4_arena *arena, const char *text);

/* Is the character that text [len > 0] begins with white space, as \s means it?  *step: its
 * bytes; 1 where they are not UTF-8. */
int g4_py_space(const char *text, size_t len, size_t *step);

/* What texts are appended to: a text as it is, or json.dumps(value, ensure_ascii=False) with
 * indent=2 (indent 1) or on one line (indent 0). */
typedef struct g4_buffer {
    char *data;                /* malloc'ed; NUL behind the last byte; NULL while empty */
    size_t size, capacity;
    int failed;                /* an allocation did; data stays what it was */
} g4_buffer;
void g4_py_put(g4_buffer *b, const char *text);
void g4_py_json(g4_buffer *b, const json_t *value, int indent);

/* sha256(text in UTF-8).hexdigest() */
void g4_py_hash(const char *text, char hex[G4_SHA256_HEX]);

#endif
