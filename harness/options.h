/* SPDX-License-Identifier: Apache-2.0
 * The command line, parsed once: options of all commands (golden-format.md §2),
 * checked for type and range; each command says in cmd.def which it takes. */
#ifndef G4_HARNESS_OPTIONS_H
#define G4_HARNESS_OPTIONS_H

#include "ref/base/arena.h"
#include "ref/base/err.h"

#include <stdint.h>
#include <stdio.h>

enum { G4_MAX_MEDIA = 256, G4_MAX_ARGS = 1024 };

typedef enum g4_media_kind { G4_MEDIA_IMAGE = 1, G4_MEDIA_VIDEO, G4_MEDIA_AUDIO } g4_media_kind;

typedef struct g4_media_file {
    g4_media_kind kind;
    const char *path;
} g4_media_file;

typedef struct g4_options {
    const char *command;
    const char *model, *draft, *mmproj;       /* NULL: not given */
    const char *mask;                         /* official|hf-helper|hf-forward|causal; NULL: default */
    const char *bos;                          /* auto|on|off */
    const char *engine;                       /* ref|opt */
    const char *isa;                          /* comma list; NULL: all this CPU has */
    const char *kv;                           /* f32|f16|q8_0 */
    const char *prompt, *text, *chat, *tools, *ids;
    int thinking;                             /* -1 not given, 0 off, 1 on */
    int64_t image_tokens;                     /* 0: processor_config.json's */
    int64_t threads, chunk, ctx;              /* 0: default */
    double audio_limit;                       /* seconds; < 0: default */
    g4_media_file media[G4_MAX_MEDIA];        /* --image/--audio/--video in command-line order */
    int media_count;
    const char *inputs, *out, *detail, *plot; /* dump, compare */
    int json, memory, no_special, ignore_eos, kernels, fill_random, resume;
    int64_t max_tokens;                       /* -1: not given */
    double temperature, top_p;                /* < 0: not given */
    int64_t top_k;                            /* -1: not given */
    uint64_t seed;
    int64_t max_draft;                        /* --max-draft; 0: default */
    const char *shape, *type;                 /* synth */
    const char *format;                       /* -o md|csv|json */
    const char *args[G4_MAX_ARGS];            /* positional */
    int arg_count;
} g4_options;

/* Fills o from argv[1..]; strings point into argv.  Errors: G4_EINPUT naming the option. */
g4_status g4_options_parse(g4_options *o, int argc, char **argv, g4_err *err);

/* A command: returns the exit code 0 or 1, or fills err and returns 2. */
typedef int g4_command(const g4_options *o, g4_err *err);

#define G4_CMD(name, usage, options, summary) g4_command cmd_##name;
#include "harness/cmd.def"
#undef G4_CMD

#endif
