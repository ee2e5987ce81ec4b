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

enum { G4_MAX_PATH = 4096 };

typedef struct g4_options {
    const char *command;
    const char *model, *draft, *mmproj;       /* NULL: not given; with mmproj, model is pair */
    char pair[2 * G4_MAX_PATH];               /* "MODEL.gguf,MEDIA.gguf" (ref/file/document.h) */
    const char *mask;                         /* official|hf-helper|...; NULL: default */
    const char *bos;                          /* auto|on|off */
    const char *engine;                       /* ref|opt */
    const char *bf16;                         /* exact|pair; NULL: exact */
    const char *isa;                          /* comma list; NULL: all this CPU has */
    const char *kv;                           /* f32|f16|q8_0 */
    const char *prompt, *text, *chat, *tools, *ids;
    int thinking;                             /* -1 not given, 0 off, 1 on */
    int64_t image_tokens;                     /* 0: processor_config.json's */
    int64_t threads, chunk, ctx;              /* 0: default */
    double audio_limit;                       /* seconds; < 0: default */
    double video_fps;                         /* 0: default */
    int64_t video_frames;                     /* 0: default */
    g4_media_file media[G4_MAX_MEDIA];        /* --image/--audio/--video in command-line order */
    int media_count;
    const char *inputs, *out, *detail, *plot; /* dump, compare */
    const char *purpose;                      /* --for dump|verify|generate; NULL */
    int json, memory, no_special, ignore_eos, kernels, fill_random, resume;
    int64_t max_tokens;                       /* -1: not given */
    double temperature, top_p;                /* < 0: not given */
    int64_t top_k;                            /* -1: not given */
    uint64_t seed;
    int64_t max_draft;                        /* --max-draft; -1: default */
    const char *emulate, *accept;             /* mtp */
    int teacher_forced;
    const char *shape, *type;                 /* synth, quantize */
    const char *recipe, *imatrix;             /* quantize */
    const char *tensor_types[G4_MAX_MEDIA];   /* --tensor-type, as often as given */
    int tensor_type_count, dry_run;
    const char *task, *data;                  /* eval */
    const char *reference, *reference_engine; /* kl */
    const char *protocol, *windows, *save;    /* perplexity, kl */
    int64_t stride, keep;                     /* 0: default */
    const char *types, *by, *of, *leave, *only, *budget;   /* sensitivity: lists */
    int64_t depth;                            /* 0: all */
    const char *bench_p, *bench_n, *bench_d;  /* lists */
    int64_t shots, limit;                     /* -1, 0: not given */
    const char *shard;                        /* i/n */
    int merge, chat_template;
    int fewshot_as_multiturn;                 /* -1 not given, 0 off, 1 on */
    const char *system;
    const char *peers, *peer_args;            /* bench: folder of llama-bench binaries */
    int64_t repeat, timeout;                  /* 0: not given */
    const char *format;                       /* -o md|csv|json */
    const char *host;                         /* serve; NULL: 127.0.0.1 */
    int64_t port;                             /* -1: not given */
    int bos_ids;
    const char *args[G4_MAX_ARGS];            /* positional */
    int arg_count;
} g4_options;

/* Fills o from argv[1..]; strings point into argv.  Errors: G4_EINPUT naming the option.
 * `gemma4 --help`, `gemma4 CMD --help` and -h come out as the command help. */
g4_status g4_options_parse(g4_options *o, int argc, char **argv, g4_err *err);

/* The words behind the command, for a given row; g4_options_parse's second half. */
typedef struct g4_command_row g4_command_row;
g4_status g4_options_parse_row(g4_options *o, const g4_command_row *row, int argc, char **argv,
                               g4_err *err);

/* "2,17,..." -> ids in the arena; each in [0, 2^31). */
g4_status g4_ids_parse(const char *text, g4_arena *arena, int32_t **ids, int64_t *count,
                       g4_err *err);

/* A command: returns the exit code 0 or 1, or fills err and returns 2. */
typedef int g4_command(const g4_options *o, g4_err *err);

#define G4_CMD(name, usage, options, summary) g4_command cmd_##name;
#include "harness/cmd.def"
#undef G4_CMD

/* One row of the option table; what help prints and the parser checks. */
typedef struct g4_option {
    const char *name;      /* no dashes; a single letter has one dash: -o */
    int kind;              /* options.c */
    double min, max;       /* numbers */
    const char *value;     /* placeholder in help, or the choices "a|b|c"; NULL: a flag */
    size_t at;             /* where in g4_options */
    const char *help;
} g4_option;

const g4_option *g4_option_at(size_t i);                  /* NULL past the end */
const char *g4_option_dashes(const g4_option *opt);       /* "-" or "--" */

/* One row of cmd.def. */
struct g4_command_row {
    const char *name, *usage, *options, *summary;
    g4_command *run;
};

const g4_command_row *g4_command_at(size_t i);            /* NULL past the end */
/* Errors: G4_EINPUT, "not built yet" for names the format document plans. */
g4_status g4_command_find(const g4_command_row **row, const char *name, g4_err *err);
/* 0: not this command's, 1: may be given, 2: must be given. */
int g4_command_takes(const g4_command_row *row, const char *option);

#endif
