/* SPDX-License-Identifier: Apache-2.0
 * GGUF, version 2 and 3 (ggml-org/ggml docs/gguf.md), little-endian:
 *
 *   | "GGUF" | version u32 | tensors u64 | keys u64 | keys | tensor infos | pad | data |
 *   key      name, type u32, value            string   length u64, bytes
 *   array    type u32, count u64, values      info     name, rank u32, dimensions u64
 *                                                      (fastest first), type u32, offset u64
 *
 * Offsets count from the first data byte; data and every tensor begin at a multiple of
 * general.alignment (32).  Everything is checked on parsing, as strictly as ggml does and
 * more: counts against the bytes that are left, every product for overflow, duplicate keys
 * and tensors, arrays of arrays, ranges with an overlap or a hole.  Nothing is copied but
 * names: values and tensors stay where the file has them. */
#ifndef G4_FILE_GGUF_H
#define G4_FILE_GGUF_H

#include "ref/file/store.h"

#include <jansson.h>

typedef enum g4_gguf_type {   /* ids as in the file */
    G4_GGUF_U8, G4_GGUF_I8, G4_GGUF_U16, G4_GGUF_I16, G4_GGUF_U32, G4_GGUF_I32, G4_GGUF_F32,
    G4_GGUF_BOOL, G4_GGUF_STRING, G4_GGUF_ARRAY, G4_GGUF_U64, G4_GGUF_I64, G4_GGUF_F64,
    G4_GGUF_TYPES
} g4_gguf_type;

typedef struct g4_gguf_key {
    const char *name;
    g4_gguf_type type;        /* of the value, or of an array's values */
    int is_array;
    uint64_t count;           /* of values; 1 where it is no array */
    const uint8_t *data;      /* the first of them */
    size_t bytes;
} g4_gguf_key;

typedef struct g4_gguf g4_gguf;

/* Of a model in parts: by its first, which then has the tensors of all (gguf_split.c). */
g4_status g4_gguf_open(g4_gguf **g, const char *path, g4_err *err);
/* From memory, one that is whole; file (for messages) and data must outlive it. */
g4_status g4_gguf_parse(g4_gguf **g, const char *file, const uint8_t *data, size_t size,
                        g4_err *err);
void g4_gguf_close(g4_gguf *g);

/* By general.architecture; one that is none of these is refused by its name. */
typedef enum g4_gguf_kind { G4_GGUF_MODEL, G4_GGUF_DRAFTER, G4_GGUF_MEDIA } g4_gguf_kind;

g4_status g4_gguf_kind_of(const g4_gguf *g, g4_gguf_kind *kind, g4_err *err);

const char *g4_gguf_file(const g4_gguf *g);
size_t g4_gguf_parts(const g4_gguf *g);                  /* 1: one file */
const char *g4_gguf_part(const g4_gguf *g, size_t i);    /* that file's path; NULL: no more */
/* NULL: none of that name. */
const g4_gguf_key *g4_gguf_find(const g4_gguf *g, const char *key);
const g4_tensor *g4_gguf_tensor(const g4_gguf *g, const char *name);   /* ggml's name */
size_t g4_gguf_tensors(const g4_gguf *g);
const g4_tensor *g4_gguf_tensor_at(const g4_gguf *g, size_t i);        /* sorted by name */

size_t g4_gguf_width(g4_gguf_type t);   /* bytes of a value; 0: strings */
/* Value i of a key as JSON (owned by the caller).  A float32 becomes the shortest decimal
 * that rounds to it: what a writer had before it rounded.  NULL: no memory, a string that is
 * not UTF-8, or an integer above INT64_MAX. */
json_t *g4_gguf_value(const g4_gguf_key *k, uint64_t i);
/* Is it one integer (or bool), or an array of them? */
int g4_gguf_is_int(const g4_gguf_key *k);
int64_t g4_gguf_int(const g4_gguf_key *k, uint64_t i);   /* of such a key; -1 above INT64_MAX */

/* A string key's text (not NUL-terminated), or NULL. */
const char *g4_gguf_string(const g4_gguf_key *k, size_t *len);
/* The strings of a string key or an array of them, one after the other:
 *   for (size_t at = 0; (s = g4_gguf_next(k, &at, &len)) != NULL;) ... */
const char *g4_gguf_next(const g4_gguf_key *k, size_t *at, size_t *len);

#endif
