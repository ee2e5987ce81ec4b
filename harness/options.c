/* SPDX-License-Identifier: Apache-2.0
 * The command line: one table of options (type, range, where it is stored,
 * what help says), one of commands (cmd.def).  A value is checked when it is
 * read, so a command finds only sane numbers in g4_options.  Numbers are
 * parsed by hand or under the C locale: "1,5" is never 1.5. */
#include "harness/options.h"

#include "ref/input/video.h"
#include "ref/model/generate.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    FLAG,        /* int = 1 */
    TEXT,        /* const char *, may be empty */
    PATH,        /* const char *, not empty */
    LIST,        /* const char *, comma list of names */
    IDS,         /* const char *, comma list of token ids */
    CHOICE,      /* const char *, one of value's */
    INT_CHOICE,  /* int64_t, one of value's */
    ONOFF,       /* int 0 or 1 */
    INT,         /* int64_t in [min, max] */
    UINT64,      /* uint64_t, all of it */
    REAL,        /* double in [min, max] */
    IMAGE, VIDEO, AUDIO,   /* appended to media */
    WORDS,       /* appended to tensor_types */
};

#define INT_MAX_31 2147483647.0
#define AT(field) offsetof(g4_options, field)

static const g4_option table[] = {
    { "model", PATH, 0, 0, "MODEL", AT(model),
      "checkpoint folder in Hugging Face's layout, or a GGUF file (of one in parts: the first)" },
    { "draft", PATH, 0, 0, "MODEL", AT(draft),
      "drafter's folder or GGUF (default: MODEL/assistant where the command needs one)" },
    { "mmproj", PATH, 0, 0, "F.gguf", AT(mmproj),
      "projector file: media tensors that belong to a GGUF model; quantize writes it" },
    { "inputs", PATH, 0, 0, "CASE.h5", AT(inputs),
      "take ids and media tensors from a golden file instead of --prompt and media files" },
    { "prompt", TEXT, 0, 0, "T", AT(prompt),
      "raw text, no template; <|image|>, <|audio|>, <|video|> in it say where the media go, "
      "in command-line order; media without a placeholder come before the text" },
    { "chat", PATH, 0, 0, "F", AT(chat),
      "messages as JSON, put through the chat template; - is standard input" },
    { "ids", IDS, 0, 0, "2,17,...", AT(ids), "token ids instead of a text" },
    { "text", TEXT, 0, 0, "T", AT(text), "the text (default: standard input)" },
    { "image", IMAGE, 0, 0, "F", AT(media), "an image file; may be repeated" },
    { "audio", AUDIO, 0, 0, "F", AT(media), "an audio file; may be repeated" },
    { "video", VIDEO, 0, 0, "F", AT(media), "a video; may be repeated" },
    { "image-tokens", INT_CHOICE, 0, 0, "70|140|280|560|1120", AT(image_tokens),
      "soft tokens an image may take (default: processor_config.json's)" },
    { "audio-limit", REAL, 0.001, 86400, "S", AT(audio_limit),
      "seconds of an audio clip that are used (default: processor_config.json's)" },
    { "video-fps", REAL, 0.001, 1000, "X", AT(video_fps),
      "frames of a video taken a second, at most 60 in all (default 1); of a folder: how many "
      "frames of it are a second" },
    { "video-frames", INT, 1, G4_VIDEO_MOST, "N", AT(video_frames),
      "take N frames, evenly over the whole video, instead" },
    { "thinking", ONOFF, 0, 0, "on|off", AT(thinking), "the template's thinking switch" },
    { "chat-template", FLAG, 0, 0, NULL, AT(chat_template),
      "put each question through the model's chat template (lm-eval's apply_chat_template)" },
    { "fewshot-as-multiturn", ONOFF, 0, 0, "on|off", AT(fewshot_as_multiturn),
      "with --chat-template: examples as turns of their own (default), or all in one turn" },
    { "system", TEXT, 0, 0, "T", AT(system),
      "a text before all else (lm-eval's system_instruction)" },
    { "tools", PATH, 0, 0, "F.json", AT(tools), "tool declarations for the template" },
    { "bos", CHOICE, 0, 0, "auto|on|off", AT(bos),
      "<bos> in front: auto (default) once, never doubled; tokens without it does as "
      "tokenizer.json says" },
    { "no-special", FLAG, 0, 0, NULL, AT(no_special),
      "add no special tokens to the ids, leave them out of the decoded text" },
    { "mask", CHOICE, 0, 0, "official|hf-helper|hf-forward|causal", AT(mask),
      "which engine's attention mask (default: the case's own, else official)" },
    { "engine", CHOICE, 0, 0, "ref|opt", AT(engine), "float32 reference or optimised kernels" },
    { "bf16", CHOICE, 0, 0, "exact|pair", AT(bf16),
      "multiply BF16 weights by float32 activations (default), or by activations rounded to "
      "bf16: twice as fast where the CPU has dot products of such pairs, and less exact" },
    { "isa", LIST, 0, 0, "LIST", AT(isa),
      "kernels that may be used, comma list; c: plain definitions only (default: all this "
      "CPU has)" },
    { "threads", INT, 1, 1024, "N", AT(threads),
      "worker threads (default: the CPUs this process may use); results do not depend on it" },
    { "chunk", INT, 1, INT_MAX_31, "N", AT(chunk),
      "prefill at most N tokens at once; extended to the end of an image it would split" },
    { "ctx", INT, 1, INT_MAX_31, "N", AT(ctx), "context: tokens that the cache can hold; "
      "perplexity, kl: tokens of a window (default 512); eval --task wikitext: lm-eval's "
      "max_length (default: the model's positions)" },
    { "kv", CHOICE, 0, 0, "f32|f16|q8_0", AT(kv), "number format of the cache" },
    { "detail", CHOICE, 0, 0, "all|layer|output|mtp|generate", AT(detail),
      "which activations are kept: all; every module of the first and last layer and outputs "
      "of the others; outputs only; the drafter's; or ids generated without and with it "
      "(default: the last two of golden files that hold such, all of others)" },
    { "max-tokens", INT, 0, INT_MAX_31, "N", AT(max_tokens), "generate at most N tokens" },
    { "temperature", REAL, 0, 1000, "X", AT(temperature), "0: greedy" },
    { "top-k", INT, 0, INT_MAX_31, "N", AT(top_k), "sample among the N likeliest; 0: all" },
    { "top-p", REAL, 0, 1, "X", AT(top_p),
      "sample among the likeliest whose probabilities reach X" },
    { "seed", UINT64, 0, 0, "N", AT(seed), "seed of all random numbers (default 0)" },
    { "ignore-eos", FLAG, 0, 0, NULL, AT(ignore_eos), "go on behind a stop token" },
    { "max-draft", INT, 0, G4_MAX_DRAFT, "K", AT(max_draft),
      "tokens drafted a round (default of generate and mtp: as many as pay, up to 8)" },
    { "emulate", CHOICE, 0, 0, "hf|llama.cpp|vllm", AT(emulate),
      "draft and accept as that engine does, and print what it would report" },
    { "accept", PATH, 0, 0, "X,...", AT(accept),
      "accept draft i with probability X_i whatever it is: speed alone is measured" },
    { "teacher-forced", FLAG, 0, 0, NULL, AT(teacher_forced),
      "score drafts at every position of the given texts instead of generating" },
    { "memory", FLAG, 0, 0, NULL, AT(memory), "memory plan for --ctx and --kv" },
    { "for", CHOICE, 0, 0, "dump|verify|generate", AT(purpose),
      "plan for this command with its own request and options; the request is read" },
    { "kernels", FLAG, 0, 0, NULL, AT(kernels), "every kernel of the table by itself" },
    { "fill-random", FLAG, 0, 0, NULL, AT(fill_random),
      "the context of -d: random keys and values, instead of a prefill" },
    { "resume", FLAG, 0, 0, NULL, AT(resume), "go on where an interrupted run stopped" },
    { "shape", PATH, 0, 0, "12b|FILE", AT(shape), "the real model's shape, or a config.json's" },
    { "type", PATH, 0, 0, "TYPE", AT(type), "number format of the weights" },
    { "recipe", PATH, 0, 0, "F", AT(recipe),
      "words PATTERN=TYPE, # comments: tensors that get a format of their own; the first match "
      "wins, token_embd=q8_0 is one (llama.cpp's --tensor-type-file)" },
    { "tensor-type", WORDS, 0, 0, "PATTERN=TYPE", AT(tensor_types),
      "one such word; may be repeated, goes before the file's" },
    { "imatrix", PATH, 0, 0, "F", AT(imatrix),
      "importance of each column, GGUF or .dat: what counts most is packed best" },
    { "dry-run", FLAG, 0, 0, NULL, AT(dry_run), "list tensors and formats, write nothing" },
    { "task", PATH, 0, 0, "NAME", AT(task), "what is evaluated: mmlu, mmlu_anatomy, mmlu_pro, "
      "gpqa_diamond_zeroshot, gpqa_diamond_cot_zeroshot, hellaswag, arc_easy, arc_challenge, "
      "winogrande, piqa, boolq, gsm8k, wikitext, requests" },
    { "data", PATH, 0, 0, "PATH", AT(data),
      "eval: folder of the task's published files; mtp: file of prompts, a JSON object a line; "
      "imatrix: a text; "
      "perplexity, kl: a text, or F.jsonl with text or ids, perhaps prompt, a line; "
      "sensitivity: F.jsonl with text, or prompt (perhaps media) and target, or prompt, choices "
      "and answer (from 0), perhaps domain, a line" },
    { "reference", PATH, 0, 0, "MODEL|F", AT(reference),
      "what the candidate is held against: a model, a file that --save wrote, or llama.cpp's "
      "(--kl-divergence-base)" },
    { "reference-engine", CHOICE, 0, 0, "ref|opt", AT(reference_engine),
      "engine of a reference that is a model (default ref)" },
    { "protocol", CHOICE, 0, 0, "raw|framed|self", AT(protocol),
      "raw: the text behind <bos> (default; for base models); framed: as the model's turn of a "
      "chat; self: the reference's own greedy answers to prompts (a plain text: one a line)" },
    { "windows", CHOICE, 0, 0, "rolling|halves|lm-eval", AT(windows),
      "rolling (default): every token once, behind <bos> and what comes before it; lm-eval: the "
      "same with <bos> in the first window alone; halves: llama.cpp's, the second half of each "
      "piece" },
    { "stride", INT, 1, INT_MAX_31, "N", AT(stride),
      "tokens that a rolling window predicts (default: half of --ctx; lm-eval: all)" },
    { "save", PATH, 0, 0, "F.h5|F.dat", AT(save),
      "write what --model says as a later run's reference: F.h5 the likeliest tokens and the "
      "mass of the rest; any other name llama.cpp's format (--windows halves)" },
    { "keep", INT, 5, 1 << 20, "N", AT(keep),
      "likeliest tokens that F.h5 holds of each place (default 512)" },
    { "types", LIST, 0, 0, "LIST", AT(types),
      "what is rounded to: formats that can be packed; simulated widths, s4b32 (4 bits, blocks "
      "of 32, symmetric) to a8b0 (with an offset, a block a row); mixes as q4_k_m, which are "
      "points by themselves" },
    { "by", LIST, 0, 0, "model,kind,layer,tensor,random", AT(by),
      "what is rounded at a time (default model); random: 20 mixes of the types" },
    { "of", LIST, 0, 0, "weights,activations,kv,both", AT(of),
      "what of it (default weights); activations: what meets matrices; both: these two" },
    { "leave", LIST, 0, 0, "in,out", AT(leave),
      "in (default): that alone is rounded; out: all but that" },
    { "only", PATH, 0, 0, "PATTERN,...", AT(only),
      "of --by kind, layer and tensor those alone whose names match: ffn_down, 47, 'blk.3.*'" },
    { "depth", INT, 1, INT_MAX_31, "N", AT(depth),
      "run N layers from the first that changes: errors of their outputs, no KL where the last "
      "layer is not reached" },
    { "budget", PATH, 0, 0, "6.5GB|4.5bpw,...", AT(budget),
      "choose a type for each tensor, of the least KL in so many bytes, from --by tensor; "
      "written as recipe_<budget>.txt" },
    { "shots", INT, 0, 1000, "N", AT(shots),
      "examples before each question (default: the task's)" },
    { "limit", INT, 1, INT_MAX_31, "N", AT(limit),
      "only the first N questions of each subject; imatrix: only N chunks; "
      "perplexity, kl: windows; sensitivity: lines of --data" },
    { "shard", PATH, 0, 0, "i/n", AT(shard),
      "only every n-th question, beginning with question i of 0 to n-1; the journals of all n "
      "are merged afterwards" },
    { "merge", FLAG, 0, 0, NULL, AT(merge),
      "write the report of finished journals, those in the folders DIR..." },
    { "plot", PATH, 0, 0, "F.svg", AT(plot), "picture of error against depth" },
    { "out", PATH, 0, 0, "PATH", AT(out), "what is written" },
    { "p", IDS, 0, 0, "N,...", AT(bench_p), "prefill N tokens (default 512; 0: not)" },
    { "n", IDS, 0, 0, "N,...", AT(bench_n), "decode N tokens (default 128; 0: not)" },
    { "d", IDS, 0, 0, "N,...", AT(bench_d), "behind N tokens of context (default 0)" },
    { "repeat", INT, 1, 99, "N", AT(repeat), "measure N times (default 3)" },
    { "peers", PATH, 0, 0, "DIR", AT(peers),
      "in turns with other engines' llama-bench: DIR/llama-bench, and in each FOLDER of DIR the "
      "first of FOLDER/llama-bench, FOLDER/bin/llama-bench, FOLDER/build/bin/llama-bench; called "
      "by its folder's name.  Each gets a process of its own each round; --out writes a CSV; "
      "the cache is f16 unless --kv says otherwise" },
    { "peer-args", TEXT, 0, 0, "NAME=ARGS;...", AT(peer_args),
      "arguments of the peer of that name, instead of -fa 1 and -rtr 1 -mmp 0, which each gets "
      "as far as its -h knows them" },
    { "timeout", INT, 1, 86400, "S", AT(timeout),
      "seconds after which a peer counts as hanging (default 3600)" },
    { "port", INT, 0, 65535, "N", AT(port),
      "port to listen at (default 8080); 0: any that is free, said on standard output" },
    { "bos-ids", FLAG, 0, 0, NULL, AT(bos_ids),
      "prompts that come as ids get a <bos> in front, too, where they have none; echo does not "
      "show it (lm-eval's ids have none with Gemma's own tokenizer)" },
    { "host", PATH, 0, 0, "ADDRESS", AT(host),
      "address in numbers to listen at (default 127.0.0.1: this machine only; there are no "
      "passwords and no encryption)" },
    { "o", CHOICE, 0, 0, "md|csv|json", AT(format), "form of the table" },
    { "json", FLAG, 0, 0, NULL, AT(json), "one JSON object on standard output" },
};

enum { TABLE_SIZE = sizeof table / sizeof table[0] };

static const g4_command_row commands[] = {
#define G4_CMD(name, usage, options, summary) { #name, usage, options, summary, cmd_##name },
#include "harness/cmd.def"
#undef G4_CMD
    { NULL, NULL, NULL, NULL, NULL },
};

/* Commands of the format document; those without a row yet get a message of their own. */
static const char *const planned[] = {
    "info", "tokens", "dump", "compare", "verify", "generate", "quantize", "imatrix", "mtp",
    "sensitivity", "perplexity", "kl", "eval", "bench", "serve", "synth",
};

const g4_option *g4_option_at(size_t i)
{
    return i < TABLE_SIZE ? &table[i] : NULL;
}

const char *g4_option_dashes(const g4_option *opt)
{
    return opt->name[1] ? "--" : "-";
}

const g4_command_row *g4_command_at(size_t i)
{
    return i + 1 < sizeof commands / sizeof commands[0] ? &commands[i] : NULL;
}

g4_status g4_command_find(const g4_command_row **row, const char *name, g4_err *err)
{
    for (size_t i = 0; (*row = g4_command_at(i)) != NULL; i++)
        if (strcmp((*row)->name, name) == 0) return G4_OK;
    for (size_t i = 0; i < sizeof planned / sizeof planned[0]; i++)
        if (strcmp(planned[i], name) == 0)
            return g4_fail(err, G4_EINPUT, "%s: not built yet (gemma4 help lists what is)", name);
    return g4_fail(err, G4_EINPUT, "%.60s: no such command (gemma4 help lists them)", name);
}

/* The item of a row's option list that is called name; *len without its "!". */
static const char *list_item(const char *list, const char *name, size_t name_len)
{
    while (*list) {
        size_t len = strcspn(list, ",");
        if (len >= name_len && strncmp(list, name, name_len) == 0 &&
            (len == name_len || list[name_len] == '!' || list[name_len] == ':'))
            return list;
        list += len + (list[len] == ',');
    }
    return NULL;
}

int g4_command_takes(const g4_command_row *row, const char *option)
{
    size_t len = strlen(option);
    const char *item = list_item(row->options, option, len);
    return !item ? 0 : item[len] == '!' ? 2 : 1;
}

/* Positional arguments a command takes: "args:1+" -> 1 to G4_MAX_ARGS. */
static void arg_range(const g4_command_row *row, int *min, int *max)
{
    const char *item = list_item(row->options, "args", 4);
    *min = 0;
    *max = item ? G4_MAX_ARGS : 0;
    if (!item || item[4] != ':') return;
    char *end;
    *min = (int)strtol(item + 5, &end, 10);
    *max = *end == '+' ? G4_MAX_ARGS : *end == '-' ? (int)strtol(end + 1, NULL, 10) : *min;
}

/* Decimal digits only, no sign, no blank.  1: fine, 0: not such a number. */
static int parse_u64(const char *s, size_t len, uint64_t *out)
{
    uint64_t v = 0;
    if (len == 0) return 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9') return 0;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
            return 0;
    }
    *out = v;
    return 1;
}

/* strtod without blanks, hexadecimal, nan and inf. */
static int parse_real(const char *s, double *out)
{
    char *end;
    if (!*s || s[strspn(s, "0123456789.eE+-")]) return 0;
    *out = strtod(s, &end);
    return *end == 0 && isfinite(*out);
}

g4_status g4_ids_parse(const char *text, g4_arena *arena, int32_t **ids, int64_t *count,
                       g4_err *err)
{
    size_t n = 1;
    for (const char *p = text; *p; p++) n += *p == ',';
    if (arena && !(*ids = g4_arena_alloc(arena, n, sizeof **ids))) return g4_nomem(err, "--ids");
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(text, ",");
        uint64_t v;
        if (!parse_u64(text, len, &v) || v > INT32_MAX)
            return g4_fail(err, G4_EINPUT, "--ids: item %zu is '%.*s', expected a token id", i + 1,
                           (int)(len < 40 ? len : 40), text);
        if (arena) (*ids)[i] = (int32_t)v;
        text += len + 1;
    }
    *count = (int64_t)n;
    return G4_OK;
}

static g4_status bad_value(const g4_option *opt, const char *v, const char *want, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s%s %.60s: expected %s", g4_option_dashes(opt), opt->name,
                   *v ? v : "''", want);
}

static g4_status check_list(const g4_option *opt, const char *v, g4_err *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    for (const char *p = v;; p++) {
        size_t len = strspn(p, allowed);
        if (len == 0 || (p[len] && p[len] != ',')) break;
        p += len;
        if (!*p) return G4_OK;
    }
    return bad_value(opt, v, "names separated by commas", err);
}

static g4_status store_number(const g4_option *opt, void *to, const char *v, g4_err *err)
{
    char want[96];
    uint64_t u;
    double d;
    if (opt->kind == UINT64) {
        if (!parse_u64(v, strlen(v), &u))
            return bad_value(opt, v, "a whole number, 0 to 18446744073709551615", err);
        memcpy(to, &u, sizeof u);
    } else if (opt->kind == INT) {
        snprintf(want, sizeof want, "a whole number, %.0f to %.0f", opt->min, opt->max);
        if (!parse_u64(v, strlen(v), &u) || u < (uint64_t)opt->min || u > (uint64_t)opt->max)
            return bad_value(opt, v, want, err);
        int64_t i = (int64_t)u;
        memcpy(to, &i, sizeof i);
    } else {
        snprintf(want, sizeof want, "a number, %g to %g", opt->min, opt->max);
        if (!parse_real(v, &d) || !(d >= opt->min && d <= opt->max))
            return bad_value(opt, v, want, err);
        memcpy(to, &d, sizeof d);
    }
    return G4_OK;
}

static g4_status store_media(g4_options *o, const g4_option *opt, const char *v, g4_err *err)
{
    if (o->media_count == G4_MAX_MEDIA)
        return g4_fail(err, G4_EINPUT, "--%s %.60s: more than %d media files", opt->name, v,
                       (int)G4_MAX_MEDIA);
    o->media[o->media_count++] = (g4_media_file){
        .kind = opt->kind == IMAGE ? G4_MEDIA_IMAGE
              : opt->kind == VIDEO ? G4_MEDIA_VIDEO : G4_MEDIA_AUDIO,
        .path = v,
    };
    return G4_OK;
}

static g4_status store_word(g4_options *o, const g4_option *opt, const char *v, g4_err *err)
{
    if (o->tensor_type_count == G4_MAX_MEDIA)
        return g4_fail(err, G4_EINPUT, "--%s %.60s: more than %d of them", opt->name, v,
                       (int)G4_MAX_MEDIA);
    o->tensor_types[o->tensor_type_count++] = v;
    return G4_OK;
}

/* Is v one of "a|b|c"? */
static int one_of(const char *choices, const char *v)
{
    size_t n = strlen(v);
    for (const char *p = choices;; p++) {
        size_t len = strcspn(p, "|");
        if (len == n && strncmp(p, v, n) == 0) return 1;
        p += len;
        if (!*p) return 0;
    }
}

static g4_status store(g4_options *o, const g4_option *opt, const char *v, g4_err *err)
{
    void *to = (char *)o + opt->at;
    int64_t count;
    uint64_t u = 0;
    int on;
    switch ((enum kind)opt->kind) {
    case FLAG:
        on = 1;
        memcpy(to, &on, sizeof on);
        return G4_OK;
    case CHOICE:
    case INT_CHOICE:
    case ONOFF:
        if (!one_of(opt->value, v)) return bad_value(opt, v, opt->value, err);
        if (opt->kind == CHOICE) break;
        on = strcmp(v, "on") == 0;
        if (opt->kind == ONOFF) {
            memcpy(to, &on, sizeof on);
        } else {
            (void)parse_u64(v, strlen(v), &u);
            memcpy(to, &u, sizeof u);
        }
        return G4_OK;
    case INT:
    case UINT64:
    case REAL:
        return store_number(opt, to, v, err);
    case LIST:
        G4_TRY(check_list(opt, v, err));
        break;
    case IDS:
        G4_TRY(g4_ids_parse(v, NULL, NULL, &count, err));
        break;
    case PATH:
    case IMAGE:
    case VIDEO:
    case AUDIO:
        if (!*v) return bad_value(opt, v, opt->value, err);
        if (opt->kind != PATH) return store_media(o, opt, v, err);
        break;
    case WORDS:
        return store_word(o, opt, v, err);
    case TEXT:
        break;
    }
    memcpy(to, &v, sizeof v);
    return G4_OK;
}

/* "--name", "--name=value", "-o"; *value: behind "=" or NULL. */
static const g4_option *option_find(const char *arg, const char **value)
{
    size_t dashes = arg[1] == '-' ? 2 : 1;
    const char *name = arg + dashes;
    size_t len = strcspn(name, "=");
    *value = name[len] == '=' ? name + len + 1 : NULL;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if (strlen(table[i].name) == len && strncmp(table[i].name, name, len) == 0 &&
            (len == 1) == (dashes == 1))
            return &table[i];
    return NULL;
}

/* One option at argv[*i]; *i is left on its last word. */
static g4_status parse_option(g4_options *o, const g4_command_row *row, int argc, char **argv,
                              int *i, uint8_t *seen, g4_err *err)
{
    const char *arg = argv[*i], *value, *ignore;
    const g4_option *opt = option_find(arg, &value);
    if (!opt) return g4_fail(err, G4_EINPUT, "%.60s: no such option (gemma4 help %s lists them)",
                             arg, row->name);
    const char *dashes = g4_option_dashes(opt);
    if (!g4_command_takes(row, opt->name))
        return g4_fail(err, G4_EINPUT, "%s%s: not an option of %s (gemma4 help %s lists them)",
                       dashes, opt->name, row->name, row->name);
    int many = opt->kind == IMAGE || opt->kind == VIDEO || opt->kind == AUDIO ||
               opt->kind == WORDS;
    if (seen[opt - table] && !many)
        return g4_fail(err, G4_EINPUT, "%s%s: given twice", dashes, opt->name);
    seen[opt - table] = 1;
    if (!opt->value) {
        if (value) return g4_fail(err, G4_EINPUT, "%.60s: takes no value", arg);
        return store(o, opt, NULL, err);
    }
    if (!value) {
        /* `--model --json` is a forgotten value, not a folder called --json. */
        const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
        if (!next || (strncmp(next, "--", 2) == 0 && option_find(next, &ignore)))
            return g4_fail(err, G4_EINPUT, "%s%s: its value (%s) is missing", dashes, opt->name,
                           opt->value);
        value = next;
        ++*i;
    }
    return store(o, opt, value, err);
}

static void defaults(g4_options *o)
{
    *o = (g4_options){ .thinking = -1, .fewshot_as_multiturn = -1, .audio_limit = -1,
                       .max_tokens = -1, .temperature = -1, .top_p = -1, .top_k = -1, .shots = -1,
                       .max_draft = -1, .port = -1 };
}

/* What a whole command line must have. */
static g4_status check_complete(const g4_options *o, const g4_command_row *row,
                                const uint8_t *seen, g4_err *err)
{
    int min, max;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if (!seen[i] && g4_command_takes(row, table[i].name) == 2)
            return g4_fail(err, G4_EINPUT, "%s: %s%s %s is missing", row->name,
                           g4_option_dashes(&table[i]), table[i].name, table[i].value);
    arg_range(row, &min, &max);
    if (o->arg_count > max)
        return g4_fail(err, G4_EINPUT, "%.60s: one argument too many; usage: gemma4 %s %s",
                       o->args[max], row->name, row->usage);
    if (o->arg_count < min)
        return g4_fail(err, G4_EINPUT, "%s: %d file%s given, %d needed; usage: gemma4 %s %s",
                       row->name, o->arg_count, o->arg_count == 1 ? "" : "s", min, row->name,
                       row->usage);
    return G4_OK;
}

static int is_help(const char *arg)
{
    return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

/* A model in two files has one name from here on. */
static g4_status join_media(g4_options *o, g4_err *err)
{
    size_t len = strlen(o->model);
    if (len < 5 || strcmp(o->model + len - 5, ".gguf") != 0)
        return g4_fail(err, G4_EINPUT, "--mmproj: goes with a --model that ends in .gguf");
    int n = snprintf(o->pair, sizeof o->pair, "%s,%s", o->model, o->mmproj);
    if (n < 0 || (size_t)n >= sizeof o->pair)
        return g4_fail(err, G4_EINPUT, "--mmproj: both names are longer than %zu bytes",
                       sizeof o->pair);
    o->model = o->pair;
    return G4_OK;
}

g4_status g4_options_parse_row(g4_options *o, const g4_command_row *row, int argc, char **argv,
                               g4_err *err)
{
    uint8_t seen[TABLE_SIZE] = { 0 };
    int only_args = 0;
    defaults(o);
    o->command = row->name;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (!only_args && is_help(arg)) {
            defaults(o);
            o->command = "help";
            o->args[o->arg_count++] = row->name;
            return G4_OK;
        }
        if (!only_args && strcmp(arg, "--") == 0) {
            only_args = 1;
        } else if (!only_args && arg[0] == '-' && arg[1]) {
            G4_TRY(parse_option(o, row, argc, argv, &i, seen, err));
        } else {
            if (o->arg_count == G4_MAX_ARGS)
                return g4_fail(err, G4_EINPUT, "%.60s: more than %d arguments", arg,
                               (int)G4_MAX_ARGS);
            o->args[o->arg_count++] = arg;
        }
    }
    G4_TRY(check_complete(o, row, seen, err));
    /* where a model is made, --mmproj is what is written */
    return o->mmproj && !g4_command_takes(row, "recipe") ? join_media(o, err) : G4_OK;
}

g4_status g4_options_parse(g4_options *o, int argc, char **argv, g4_err *err)
{
    const g4_command_row *row;
    defaults(o);
    if (argc < 2)
        return g4_fail(err, G4_EINPUT, "usage: gemma4 COMMAND [options]; gemma4 help lists them");
    if (is_help(argv[1])) {
        o->command = "help";
        return G4_OK;
    }
    if (argv[1][0] == '-')
        return g4_fail(err, G4_EINPUT, "%.60s: the command comes first (gemma4 help)", argv[1]);
    G4_TRY(g4_command_find(&row, argv[1], err));
    return g4_options_parse_row(o, row, argc - 2, argv + 2, err);
}
