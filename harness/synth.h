/* SPDX-License-Identifier: Apache-2.0
 * Random checkpoints of a given shape, to measure speed and memory without the
 * real weights.  A whole Hugging Face folder is written as a stream, a few MB in
 * memory.  Every value is a pure function of (seed, tensor name, index), so
 * neither threads nor shard size change a byte of a tensor. */
#ifndef G4_HARNESS_SYNTH_H
#define G4_HARNESS_SYNTH_H

#include "harness/gguf_out.h"
#include "harness/shape.h"
#include "ref/base/par.h"

#include <stdio.h>

typedef struct g4_synth {
    const char *shape;        /* "12b" or the path of a config.json */
    const char *type;         /* bf16, f16, f32; for a GGUF: gguf_out.h */
    uint64_t seed;
    const char *out;          /* folder, absent or empty; or a file's name that ends in .gguf */
    int threads;              /* 0: the CPUs this process may use */
    uint64_t shard_bytes;     /* start another file above it; 0: 5 GB */
    FILE *progress;           /* a line every ten seconds; NULL: none */
} g4_synth;

typedef struct g4_synth_result {
    size_t tensors;
    uint64_t parameters, bytes;   /* of the tensors, drafter's included */
    int drafter;                  /* has the folder an assistant/ ? */
} g4_synth_result;

/* The folder appears under its name only when it is whole; a failure (disk full,
 * Ctrl-C) leaves nothing behind. */
g4_status g4_synth_write(const g4_synth *s, g4_synth_result *result, g4_err *err);

/* The parts, for synth.c. */
typedef struct g4_synth_type {
    const char *name, *safetensors, *torch;   /* bf16, BF16, bfloat16 */
    size_t bytes;
} g4_synth_type;

/* Which random stream a tensor has. */
uint64_t g4_synth_stream(const char *name);

/* synth_gguf.c: the model of the folder dir, which needs no weights, into the file out. */
g4_status g4_synth_gguf(const g4_synth *s, const char *dir, const char *out, g4_par *par,
                        g4_gguf_result *result, g4_err *err);

/* Values [begin, end) of a tensor, in the type (ORDER: int64), to dst. */
void g4_synth_fill(void *dst, const g4_shape_tensor *t, const g4_synth_type *type, uint64_t seed,
                   int64_t begin, int64_t end);

/* tokenizer.json for a vocabulary of c's size, with c's special ids; *end_of_turn
 * is the id that <turn|> got.  source is for messages. */
g4_status g4_synth_tokenizer(const char *path, const g4_config *c, const char *source,
                             int64_t *end_of_turn, g4_err *err);

/* One file of text or JSON; everything beside config.json and the weights. */
g4_status g4_synth_text(const char *dir, const char *name, const char *text, g4_err *err);
g4_status g4_synth_json(const char *dir, const char *name, json_t *root, g4_err *err);
g4_status g4_synth_side_files(const char *dir, const g4_config *c, const char *source,
                              g4_err *err);

#endif
