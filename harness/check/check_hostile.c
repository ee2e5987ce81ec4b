/* SPDX-License-Identifier: Apache-2.0
 * Whole commands on hostile input: the tiny model with one thing wrong in it,
 * golden files with one dataset wrong, options at and past their limits, NaN
 * weights, signals.  What each must give stands in a table.  (Damaged bytes of
 * each format are the business of its own suite and of the fuzzers.) */
#include "golden/golden.h"
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "ref/base/json.h"
#include "ref/base/map.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_hostile(void);

#define SMALL "golden/tiny/small/"
#define MODEL SMALL "model"

static char dir[TEMPDIR_MAX], *root;   /* root: the repository, absolute */
static program_result r;

static void run(const char *command)
{
    const program_place places[] = { { "%m", MODEL }, { "%s", SMALL }, { "%d", dir },
                                     { NULL, NULL } };
    program_run(&r, command, places, NULL, RLIM_INFINITY);
}

static int runnable(void)   /* behind a run */
{
    return program_runnable(&r, "hostile");
}

static void expect(int code, const char *says)
{
    if (code == 2) program_expect_error(&r, says);
    else if (r.code != code) ck_abort_msg("exit %d, expected %d; stderr: %s", r.code, code, r.err);
}

static void setup(void)
{
    tempdir_make(dir);
    root = realpath(".", NULL);
    ck_assert_ptr_nonnull(root);
}

static void teardown(void)
{
    tempdir_remove(dir);
    free(root);
}

/* ---- the model with one file changed ---- */

static void join(char path[TEMPDIR_MAX], const char *a, const char *b, const char *c,
                 const char *d)
{
    ck_assert_int_lt(snprintf(path, TEMPDIR_MAX, "%s%s%s/%s", a, b, c, d), TEMPDIR_MAX);
}

static void link_all(const char *sub)
{
    static const char *const names[] = { "config.json", "generation_config.json",
        "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json" };
    char from[TEMPDIR_MAX], to[TEMPDIR_MAX];
    join(to, dir, "/m", sub, "");
    ck_assert_int_eq(mkdir(to, 0777), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        join(from, root, "/" MODEL, sub, names[i]);
        join(to, dir, "/m", sub, names[i]);
        if (access(from, R_OK) == 0) ck_assert_int_eq(symlink(from, to), 0);
    }
}

/* %d/m: links to the tiny model, but file `name` replaced. */
static void model_with(const char *name, const void *data, size_t size)
{
    char path[TEMPDIR_MAX];
    link_all("");
    link_all("/assistant");
    join(path, dir, "/m", "", name);
    ck_assert_int_eq(unlink(path), 0);
    tempdir_write(dir, path + strlen(dir) + 1, data, size);
}

#define GENERATE "generate --model %d/m --ids 2,17,30 --max-tokens 2 --threads 1"
#define DRAFTED GENERATE " --draft %d/m/assistant"
#define PICTURE "generate --model %d/m --prompt <|image|> --image %simage1.png --max-tokens 1"

static const struct {
    const char *file, *field, *value, *command;
    int code;
    const char *says;
} fields[] = {
    { "config.json", "model_type", "\"gemma3\"", GENERATE, 2, "config.json: model_type" },
    { "config.json", "image_token_id", "8", GENERATE, 2,
      "image_token_id and audio_token_id are both 8" },
    { "config.json", "text_config.vocab_size", "16777217", GENERATE, 2, "vocab_size is 16777217" },
    { "config.json", "text_config.vocab_size", "641", GENERATE, 2, "config.json asks for [641," },
    { "config.json", "text_config.hidden_size", "61", GENERATE, 2, "config.json asks for [640," },
    { "config.json", "text_config.hidden_size", "9223372036854775807", GENERATE, 2, "hidden_size" },
    { "config.json", "text_config.hidden_size", "null", GENERATE, 2, "hidden_size" },
    { "config.json", "text_config.num_hidden_layers", "1000000", GENERATE, 2, "num_hidden_layers" },
    { "config.json", "text_config.num_hidden_layers", "13", GENERATE, 2, "layers.12." },
    { "config.json", "text_config.num_attention_heads", "5", GENERATE, 2, "num_attention_heads 5" },
    { "config.json", "text_config.head_dim", "11", GENERATE, 2, "head_dim 11" },
    { "config.json", "text_config.sliding_window", "0", GENERATE, 2, "sliding_window is 0" },
    { "config.json", "text_config.sliding_window", "1", GENERATE, 0, "" },
    { "config.json", "text_config.rms_norm_eps", "\"NaN\"", GENERATE, 2, "rms_norm_eps" },
    { "config.json", "text_config.rms_norm_eps", "-1e-6", GENERATE, 2, "rms_norm_eps" },
    { "config.json", "text_config.final_logit_softcapping", "0", GENERATE, 2, "softcapping" },
    { "config.json", "text_config.final_logit_softcapping", "null", GENERATE, 0, "" },
    { "config.json", "text_config.hidden_activation", "\"a\\u001b[2J\"", GENERATE, 2,
      "a\\x1b[2J" },
    { "config.json", "text_config.rope_parameters.full_attention.rope_type", "\"yarn\"", GENERATE,
      2, "yarn" },
    { "config.json", "text_config.rope_parameters.full_attention.rope_theta", "0", GENERATE, 2,
      "rope_theta" },
    { "config.json", "vision_config.patch_size", "0", GENERATE, 2, "patch_size" },
    { "config.json", "vision_config.mm_posemb_size", "16777216", GENERATE, 2, "pos_embedding" },
    { "generation_config.json", "eos_token_id", "640", GENERATE, 2, "eos_token_id" },
    { "generation_config.json", "suppress_tokens", "[-1]", GENERATE, 2, "suppress_tokens" },
    { "generation_config.json", "top_k", "16777217", GENERATE, 2, "top_k is 16777217" },
    { "processor_config.json", "image_processor.max_soft_tokens", "71", PICTURE, 2,
      "max_soft_tokens is 71" },
    { "processor_config.json", "image_processor.patch_size", "15", PICTURE, 2, "patches of 45" },
    { "assistant/config.json", "model_type", "\"gemma4_unified\"", DRAFTED, 2, "assistant" },
    { "assistant/config.json", "backbone_hidden_size", "61", DRAFTED, 2, "assistant" },
    { "assistant/config.json", "text_config.sliding_window", "25", DRAFTED, 2, "sliding window" },
    { "assistant/generation_config.json", "num_assistant_tokens", "1024", DRAFTED, 0, "" },
};

START_TEST(one_field)
{
    char path[TEMPDIR_MAX], key[128];
    g4_json j;
    g4_err err;
    join(path, MODEL, "", "", fields[_i].file);
    ck_assert_msg(g4_json_load(&j, path, 1 << 20, &err) == G4_OK, "%s", err.msg);
    json_t *at = j.root, *value = json_loads(fields[_i].value, JSON_DECODE_ANY, NULL);
    const char *rest = fields[_i].field, *dot;
    for (; (dot = strchr(rest, '.')) != NULL; rest = dot + 1) {
        snprintf(key, sizeof key, "%.*s", (int)(dot - rest), rest);
        at = json_object_get(at, key);
    }
    ck_assert_int_eq(json_object_set_new(at, rest, value), 0);
    char *text = json_dumps(j.root, 0);
    model_with(fields[_i].file, text, strlen(text));
    free(text);
    g4_json_free(&j);
    run(fields[_i].command);
    if (!runnable()) return;
    expect(fields[_i].code, fields[_i].says);
}
END_TEST

/* 216 is the likeliest token behind mtp_short's prompt, and 578 the first three drafted:
 * Transformers' drafting gives them whatever generation_config.json says of texts [N30]. */
START_TEST(drafts_are_the_likeliest)
{
    static const char *const settings[] = { "{\"suppress_tokens\": [216, 578]}",
                                            "{\"suppress_tokens\": [578]}" };
    model_with("generation_config.json", settings[_i], strlen(settings[_i]));
    run("verify --model %d/m %smtp_short.h5 --threads 1");
    if (!runnable()) return;
    expect(0, "");
    run("dump --model %d/m --inputs %smtp_short.h5 --detail mtp --threads 1 --out %d/o.h5");
    expect(0, "");
    run("compare %smtp_short.h5 %d/o.h5");
    expect(0, "");
}
END_TEST

/* Without --detail a golden file is dumped as it is itself, in any company. */
START_TEST(dumped_as_they_are)
{
    static const char *const names[] = { "text", "mtp_long", "greedy", "mtp_image" };
    char command[128];
    run("dump --model %m %stext.h5 %smtp_long.h5 %sgreedy.h5 %smtp_image.h5 --threads 1 --out %d");
    if (!runnable()) return;
    expect(0, "");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(command, sizeof command, "compare %%s%s.h5 %%d/%s.h5", names[i], names[i]);
        run(command);
        expect(0, "");
    }
}
END_TEST

/* ---- NaN in the weights: text comes out all the same, but nothing holds ---- */

START_TEST(nan_weights)
{
    static const char *const tensors[] = { "model.language_model.norm.weight",
        "model.language_model.embed_tokens.weight",
        "model.language_model.layers.5.self_attn.q_proj.weight" };
    static const char *const runs[] = { GENERATE " --temperature 0", GENERATE " --temperature 1",
        DRAFTED " --temperature 0", DRAFTED " --temperature 1 --top-k 3 --top-p 0.5" };
    uint8_t *data;
    size_t size;
    g4_json j;
    g4_err err;
    ck_assert_int_eq(g4_file_read(MODEL "/model.safetensors", 1 << 30, &data, &size, &err), G4_OK);
    size_t header = data[0] + 256u * data[1] + 65536u * data[2];
    ck_assert_int_eq(g4_json_parse(&j, "header", data + 8, header, &err), G4_OK);
    const json_t *range = json_object_get(json_object_get(j.root, tensors[_i]), "data_offsets");
    ck_assert_uint_eq(json_array_size(range), 2);
    size_t begin = (size_t)json_integer_value(json_array_get(range, 0));
    size_t end = (size_t)json_integer_value(json_array_get(range, 1));
    g4_json_free(&j);
    for (size_t i = begin; i + 1 < end; i += 2) memcpy(data + 8 + header + i, "\xc0\x7f", 2);
    model_with("model.safetensors", data, size);
    free(data);
    run("verify --model %d/m %stext.h5 %smtp_short.h5 --json");
    if (!runnable()) return;
    expect(1, "");
    ck_assert_ptr_nonnull(strstr(r.out, "\"held\":false"));
    for (size_t k = 0; k < sizeof runs / sizeof *runs; k++) {
        run(runs[k]);
        expect(0, "");
    }
}
END_TEST

/* ---- golden files with one dataset changed ---- */

enum change { SET, LONGER, SHORTER, DROP, MOVE };

static const struct {
    const char *file, *path;
    enum change change;
    int64_t at;
    double value;
    int code;
    const char *says;   /* MOVE: the new name */
} sets[] = {
    { "text.h5", "inputs/input_ids", SET, 0, 640, 2, "id 640" },
    { "text.h5", "inputs/input_ids", SET, 1, -1, 2, "id -1" },
    { "text.h5", "inputs/input_ids", LONGER, 0, 0, 2, "position_ids" },
    { "text.h5", "inputs/input_ids", DROP, 0, 0, 2, "inputs/input_ids" },
    { "text.h5", "inputs/position_ids", SET, 0, -1, 2, "position_ids: -1" },
    { "text.h5", "inputs/position_ids", SET, 1, 700001, 2, "g.h5: token 1 has position 700001" },
    { "text.h5", "inputs/mm_token_type_ids", SET, 0, 1, 2, "1 image soft tokens" },
    { "text.h5", "inputs/mm_token_type_ids", SET, 0, 4, 2, "mm_token_type_ids: 4" },
    { "text.h5", "activations/embeddings", LONGER, 0, 0, 2, "g.h5: activations/embeddings: is" },
    { "text.h5", "activations/logits", LONGER, 0, 0, 2, "g.h5: activations/logits: is" },
    { "text.h5", "activations/norm", SHORTER, 0, 0, 2, "g.h5: activations/norm: is" },
    { "text.h5", "activations/masks/full_attention", LONGER, 0, 0, 2, "full_attention: is" },
    { "text.h5", "activations/norm", SET, 7, NAN, 1, "" },
    { "text.h5", "activations/norm", SET, 7, INFINITY, 1, "" },
    { "text.h5", "activations/norm", SET, 7, 1e30, 1, "" },
    { "mixed.h5", "inputs/pixel_values", SET, 9, NAN, 2, "pixel_values[9] is not a finite" },
    { "mixed.h5", "inputs/image_position_ids", SET, 0, 144, 2, "the table has 144" },
    { "mixed.h5", "inputs/image_position_ids", SET, 0, -1, 2, "(-1," },
    { "mixed.h5", "inputs/num_frames_per_video", SET, 0, 2147483647, 2, "num_frames_per_video" },
    { "mixed.h5", "inputs/input_features_mask", SET, 0, 0, 2, "audio soft tokens" },
    { "mixed.h5", "inputs/video_position_ids", DROP, 0, 0, 2, "pixel_values_videos without" },
    { "mtp_short.h5", "inputs/drafted", SET, 0, 2147483647, 2, "inputs/drafted: id 2147483647" },
    { "mtp_short.h5", "inputs/drafted", SET, 1, -1, 2, "inputs/drafted: id -1" },
    { "mtp_short.h5", "inputs/drafted", SET, 0, 0, 1, "" },
    { "mtp_short.h5", "inputs/next_token", SET, 0, -5, 1, "" },
    { "mtp_short.h5", "activations/mtp/step1/inputs_embeds", DROP, 0, 0, 2, "step1/inputs_embeds" },
    { "mtp_short.h5", "activations/mtp/step1/inputs_embeds", SHORTER, 0, 0, 2, "inputs_embeds" },
    { "mtp_short.h5", "activations/mtp/step1/inputs_embeds", SET, 100, NAN, 1, "" },
    /* the model makes no such thing */
    { "text.h5", "activations/layers/00/output", MOVE, 0, 0, 1, "activations/layers/12/output" },
    { "text.h5", "activations/norm", MOVE, 0, 0, 1, "activations/vision/soft_tokens" },
    { "mtp_short.h5", "activations/mtp/step1/hidden", MOVE, 0, 0, 1,
      "activations/mtp/step9/hidden" },
    { "text.h5", "activations/norm", MOVE, 0, 0, 0, "activations/norms" },   /* unknown */
    { "greedy.h5", "inputs/generated", SET, 0, -1, 1, "" },
    { "greedy.h5", "inputs/assisted", SET, 3, 2147483647, 1, "" },
};

static void set_value(g4_golden_type type, void *data, int64_t at, double value)
{
    if (type == G4_GOLDEN_I8 || type == G4_GOLDEN_U8) ((int8_t *)data)[at] = (int8_t)value;
    else if (type == G4_GOLDEN_I32) ((int32_t *)data)[at] = (int32_t)value;
    else ((float *)data)[at] = (float)value;
}

/* Writes one dataset, changed as row i says if it is that row's. */
static void copy_set(g4_golden *from, const g4_golden_set *s, g4_golden_writer *w, int i)
{
    int64_t dims[G4_GOLDEN_RANK], row = s->rank ? g4_golden_values(s) / s->dims[0] : 1;
    size_t bytes = (size_t)g4_golden_values(s) * g4_golden_size(s->type);
    g4_err err;
    char *data = calloc(bytes + (size_t)row * 8, 1);   /* room for one row more */
    const char *name = s->path;
    memcpy(dims, s->dims, sizeof dims);
    ck_assert_msg(g4_golden_read(from, s, data, &err) == G4_OK, "%s", err.msg);
    if (strcmp(s->path, sets[i].path) == 0) {
        if (sets[i].change == SET) set_value(s->type, data, sets[i].at, sets[i].value);
        dims[0] += (sets[i].change == LONGER) - (sets[i].change == SHORTER);
        if (sets[i].change == MOVE) name = sets[i].says;
        if (sets[i].change == DROP) {
            free(data);
            return;
        }
    }
    g4_status st = g4_golden_write(w, name, s->type, s->rank, dims, data, &err);
    ck_assert_msg(st == G4_OK, "%s", err.msg);
    free(data);
}

static void copy_golden(int i)
{
    char path[TEMPDIR_MAX];
    g4_golden *from;
    g4_golden_writer *w;
    g4_err err;
    join(path, SMALL, "", "", sets[i].file);
    ck_assert_msg(g4_golden_open(&from, path, 0, &err) == G4_OK, "%s", err.msg);
    ck_assert_ptr_nonnull(g4_golden_find(from, sets[i].path));
    tempdir_path(path, dir, "g.h5");
    ck_assert_msg(g4_golden_create(&w, path, &err) == G4_OK, "%s", err.msg);
    for (size_t k = 0; k < g4_golden_attrs(from); k++) {
        const g4_golden_attr *a = g4_golden_attr_at(from, k);
        if (!a->is_number) ck_assert_int_eq(g4_golden_put_text(w, a->name, a->text, &err), G4_OK);
    }
    for (size_t k = 0; k < g4_golden_count(from); k++)
        copy_set(from, g4_golden_at(from, k), w, i);
    ck_assert_msg(g4_golden_commit(w, &err) == G4_OK, "%s", err.msg);
    g4_golden_close(from);
}

START_TEST(one_dataset)
{
    copy_golden(_i);
    run("verify --model %m %d/g.h5 --threads 1");
    if (!runnable()) return;
    expect(sets[_i].code, sets[_i].says);
    if (sets[_i].change == MOVE && sets[_i].code == 1) {
        char line[256];
        snprintf(line, sizeof line, "not made by the model: %s\n", sets[_i].says);
        ck_assert_msg(strstr(r.out, line) != NULL, "%s", r.out);
    }
    ck_assert_int_eq(tempdir_count(dir), 1);
}
END_TEST

/* ---- options ---- */

#define DUMP "dump --model %m --ids 2,3 --threads 1 --out %d/o.h5 "

static const struct {
    const char *command;
    int code;
    const char *says;
} options[] = {
    { DUMP "--detail mtp --max-draft 33", 2, "--max-draft 33: expected" },
    { DUMP "--detail mtp --max-draft 32", 0, "" },
    { DUMP "--detail generate --max-draft 32 --max-tokens 9", 0, "" },
    { DUMP "--detail generate --max-tokens 2147483647", 2, "a context of 21474" },
    { "dump --model %m --ids 2 --out %d", 2, "exists and is not a regular file" },
    { "dump --model %m --ids 2 --out /dev/full", 2, "/dev/full: exists and is not" },
    { "dump --model %m --ids 2 --out %d/none/o.h5", 2, "none/o.h5: cannot create" },
    { "dump --model %m --inputs %m/config.json --out %d/o.h5", 2, "config.json" },
    { "dump --model %m --inputs /dev/zero --out %d/o.h5", 2, "/dev/zero: not a regular file" },
    { "verify --model %m %stext.h5 --kv q8_0", 2, "--kv q8_0" },
    { "verify --model %m/assistant %stext.h5", 2, "assistant: is a drafter" },
    { "verify --model %m %stext.h5 --draft %m", 2, "is no drafter" },
    { "compare %stext.h5 %saudio.h5", 2, "has another shape" },
    { "generate --model %m --draft %m --ids 2", 2, "is no drafter" },
    { "generate --model %m --ids 2,640", 2, "id 640" },
    { "generate --model %m --ids 2,3,4 --ctx 2", 2, "the prompt alone has 3 tokens" },
    { "generate --model %m --ids 2 --ctx 2147483647", 2, "a context of 2147483647" },
    { "generate --model %m --prompt <|audio|>", 2, "<|audio|>" },
    { "generate --model %m --prompt x --image %d", 2, "not a regular file" },
    { "generate --model %m --ids 2,7,8,11 --max-tokens 2", 0, "" },
    { "generate --model %m --ids 2 --max-tokens 0 --json", 0, "" },
    { "generate --model %m --ids 2,17 --threads 1024 --max-tokens 3", 0, "" },
    { "generate --model %m --ids 2,17,30 --isa c,sse9", 2, "unknown name 'sse9'" },
};

START_TEST(one_option)
{
    run(options[_i].command);
    if (!runnable()) return;
    expect(options[_i].code, options[_i].says);
    int dumped = options[_i].code == 0 && strstr(options[_i].command, DUMP);
    ck_assert_int_eq(tempdir_count(dir), dumped);
}
END_TEST

/* A drafter, a context of any size, any cut of the rounds: the same greedy text. */
START_TEST(text_near_the_end_of_the_context)
{
    static char alone[PROGRAM_CAPTURE];
    char command[256];
    for (int ctx = 4; ctx < 32; ctx += 6)
        for (int k = -1; k <= 32; k += 11) {   /* -1: without drafter */
            int n = snprintf(command, sizeof command, "generate --model %%m --ids 2,17,30,44 "
                             "--json --temperature 0 --ignore-eos --threads 1 --ctx %d", ctx);
            if (k > 0)
                snprintf(command + n, sizeof command - (size_t)n, " --draft %%m/assistant "
                         "--max-draft %d", k);
            run(command);
            if (!runnable()) return;
            expect(0, "");
            *strstr(r.out, "],") = 0;   /* {"ids":[..., before the timings */
            if (k < 0) strcpy(alone, r.out);
            ck_assert_str_eq(r.out, alone);
        }
}
END_TEST

/* ---- an ended dump: the old file, nothing beside it ---- */

START_TEST(ended_dump)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGKILL };
    char ids[4096] = "2", out[TEMPDIR_MAX];
    char *argv[] = { NULL, (char[]){ "dump" }, (char[]){ "--model" }, (char[]){ MODEL },
                     (char[]){ "--ids" }, ids, (char[]){ "--out" }, out, NULL };
    struct stat st;
    run("help");
    if (!runnable()) return;
    for (int i = 1; i < 2000; i++) strcat(ids, ",3");
    tempdir_path(out, dir, "o.h5");
    tempdir_write(dir, "o.h5", "old", 3);
    pid_t pid = program_start(argv, 1, 2, RLIM_INFINITY);
    for (int i = 0; i < 3000 && tempdir_count(dir) < 2; i++) usleep(10000);
    ck_assert_int_eq(tempdir_count(dir), 2);   /* the old file and the temporary one */
    kill(pid, signals[_i]);
    ck_assert_int_eq(program_finish(pid), 1000 + signals[_i]);
    ck_assert_int_eq(tempdir_count(dir), signals[_i] == SIGKILL ? 2 : 1);
    ck_assert_int_eq(stat(out, &st), 0);
    ck_assert_int_eq(st.st_size, 3);
}
END_TEST

#define ROWS(table) ((int)(sizeof table / sizeof *table))

Suite *check_hostile(void)
{
    Suite *s = suite_create("hostile");
    TCase *t = tcase_create("hostile");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, one_field, 0, ROWS(fields));
    tcase_add_loop_test(t, drafts_are_the_likeliest, 0, 2);
    tcase_add_test(t, dumped_as_they_are);
    tcase_add_loop_test(t, nan_weights, 0, 3);
    tcase_add_loop_test(t, one_dataset, 0, ROWS(sets));
    tcase_add_loop_test(t, one_option, 0, ROWS(options));
    tcase_add_test(t, text_near_the_end_of_the_context);
    tcase_add_loop_test(t, ended_dump, 0, 4);
    suite_add_tcase(s, t);
    return s;
}
