/* SPDX-License-Identifier: Apache-2.0
 * Which number format each tensor of a GGUF gets: llama.cpp's mixes [N60], and a recipe of
 * "pattern=type" words that goes before them, as its --tensor-type and --tensor-type-file. */
#ifndef G4_HARNESS_GGUF_MIX_H
#define G4_HARNESS_GGUF_MIX_H

#include "harness/shape.h"
#include "ref/dtype/mat.h"

/* What --type may say, as a list for messages; case does not matter. */
extern const char g4_mix_names[];

typedef struct g4_mix g4_mix;
g4_status g4_mix_find(const g4_mix **mix, const char *type, g4_err *err);
uint32_t g4_mix_file_type(const g4_mix *mix);   /* general.file_type */
g4_dtype g4_mix_base(const g4_mix *mix);        /* of most matrices */

/* Overrides, the first that matches wins; patterns are extended regular expressions, in lower
 * case, \d as a digit, found anywhere in ggml's name of a tensor. */
typedef struct g4_recipe g4_recipe;
g4_status g4_recipe_open(g4_recipe **recipe, g4_err *err);
/* One word; where: for messages ("--tensor-type", or file and line). */
g4_status g4_recipe_add(g4_recipe *r, const char *where, const char *word, g4_err *err);
/* Words between blanks and line ends; # begins a comment. */
g4_status g4_recipe_read(g4_recipe *r, const char *path, g4_err *err);
/* Overrides that no tensor asked about has matched: their number, and one's text. */
size_t g4_recipe_unused(const g4_recipe *r, const char **word);
/* Says so on stderr where there are any. */
void g4_recipe_note_unused(const g4_recipe *r);
void g4_recipe_close(g4_recipe *r);

typedef struct g4_mix_rules {
    const g4_mix *mix;
    g4_recipe *recipe;        /* NULL: none */
    const g4_config *config;
    int weighed;              /* there is an importance matrix */
    int64_t values, downs;    /* attn_v, ffn_down that the mix has decided so far */
} g4_mix_rules;

/* name: ggml's.  Layers are asked about in order. */
g4_dtype g4_mix_choose(g4_mix_rules *r, const char *name, const g4_shape_tensor *t);

/* Rows that blocks of 256 do not divide get the next format of blocks of 32, others F16. */
g4_dtype g4_mix_fitting(g4_dtype want, int64_t cols);

#endif
