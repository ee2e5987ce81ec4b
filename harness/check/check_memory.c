/* SPDX-License-Identifier: Apache-2.0
 * `info --for COMMAND`, which plans a run's memory, against the anonymous memory that
 * the same command then really has: within 5 %.  That is looked at now and then; what
 * only passes may be missed, so the plan may be larger by as much.  What `sensitivity` says of
 * itself, likewise.  And what an evaluation holds of its media. */
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/memory.h"
#include "ref/base/map.h"

#include <check.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Suite *check_memory(void);

/* Their shadows and red zones are memory that no plan speaks of. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define PHOTO "--image notebooks_data/media/grace_hopper.png --prompt Hello "

/* A vocabulary that makes logits count, as they do in the 12B. */
static const char config[] =
    "{\"architectures\":[\"Gemma4UnifiedForConditionalGeneration\"],"
    "\"model_type\":\"gemma4_unified\",\"boi_token_id\":17,\"eoi_token_id\":21,"
    "\"image_token_id\":19,\"video_token_id\":23,\"boa_token_id\":18,\"eoa_token_index\":22,"
    "\"audio_token_id\":20,\"text_config\":{\"vocab_size\":65536,\"hidden_size\":256,"
    "\"intermediate_size\":1024,\"num_hidden_layers\":12,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"head_dim\":128,\"global_head_dim\":256,"
    "\"num_global_key_value_heads\":1,\"sliding_window\":1024,\"attention_k_eq_v\":true},"
    "\"vision_config\":{\"patch_size\":16,\"pooling_kernel_size\":3,\"mm_embed_dim\":256,"
    "\"mm_posemb_size\":1120},\"audio_config\":{\"audio_embed_dim\":640}}";

static char dir[TEMPDIR_MAX], model[TEMPDIR_MAX];
static program_result r;

static const program_place *places(void)
{
    static program_place list[3];
    list[0] = (program_place){ "%m", model };
    list[1] = (program_place){ "%d", dir };
    return list;
}

static void run(const char *command)
{
    program_run(&r, command, places(), NULL, RLIM_INFINITY);
}

/* Largest RssAnon of a run, in bytes: the kernel keeps no such peak, so it is looked at
 * while the run lasts.  What it says goes to the file "said". */
static double largest_anonymous(const char *command)
{
    char line[512], space[PROGRAM_WORDS][TEMPDIR_MAX], path[TEMPDIR_MAX], *argv[PROGRAM_WORDS];
    unsigned long long most = 0, now;
    siginfo_t end = { 0 };
    snprintf(line, sizeof line, "%s", command);
    program_split(line, places(), argv, space);
    tempdir_path(path, dir, "said");
    int said = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t pid = program_start(argv, said, said, RLIM_INFINITY);
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    while (waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == 0) {
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof line, f))
            if (sscanf(line, "RssAnon: %llu", &now) == 1 && now > most) most = now;
        if (f) fclose(f);
        usleep(500);
    }
    close(said);
    ck_assert_int_eq(program_finish(pid), 0);
    return 1024.0 * (double)most;
}

/* *passing: of the plan, what may come and go between two looks. */
static double planned(const char *command, double *passing)
{
    run(command);
    ck_assert_msg(r.code == 0, "%s: %s", command, r.err);
    json_t *root = json_loads(r.out, 0, NULL);
    json_t *memory = json_object_get(root, "memory");
    double bytes = (double)json_integer_value(json_object_get(memory, "anonymous"));
    *passing = (double)json_integer_value(json_object_get(memory, "passing"));
    json_decref(root);
    return bytes;
}

/* The model, and two goldens: 17 and more tokens, a picture of 70. */
static int make_model(void)
{
    tempdir_make(dir);
    tempdir_path(model, dir, "model");
    tempdir_write(dir, "c.json", config, strlen(config));
    run("synth --shape %d/c.json --type bf16 --seed 3 --out %m");
    if (!program_runnable(&r, "memory")) return 0;
    ck_assert_msg(r.code == 0, "%s", r.err);
    run("dump --model %m --ids 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16 --detail output --out %d/t.h5");
    ck_assert_msg(r.code == 0, "%s", r.err);
    run("dump --model %m " PHOTO "--image-tokens 70 --detail output --out %d/p.h5");
    ck_assert_msg(r.code == 0, "%s", r.err);
    return 1;
}

START_TEST(planned_and_taken)
{
    static const struct {
        const char *command, *request, *only;   /* only: what info has no use for */
    } runs[] = {
        { "dump", "--inputs %d/t.h5 --detail output", "--out %d/o.h5" },
        { "dump", PHOTO "--image-tokens 140 --detail output", "--out %d/o.h5" },
        { "dump", PHOTO "--image-tokens 70 --detail output --chunk 8", "--out %d/o.h5" },
        { "verify", "%d/t.h5", "" },
        { "verify", "%d/p.h5", "" },
        { "verify", "%d/t.h5 %d/t.h5 %d/p.h5 %d/t.h5", "" },
        { "verify", "--chunk 7 %d/p.h5", "" },
        { "generate", "--prompt Hello --max-tokens 3 --ctx 3000", "" },
        { "generate", "--ids 2,3,4 --max-tokens 3 --ctx 300", "" },
        { "generate", PHOTO "--image-tokens 70 --max-tokens 3 --kv f16", "" },
    };
    int bad = 0;
    if (SANITIZED) {
        check_skip("memory", "a sanitizer takes memory of its own");
        return;
    }
    if (make_model())
        for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
            char command[256];
            snprintf(command, sizeof command, "info --json --threads 2 --model %%m --for %s %s",
                     runs[i].command, runs[i].request);
            double passing, plan = planned(command, &passing);
            snprintf(command, sizeof command, "%s --threads 2 --model %%m %s %s", runs[i].command,
                     runs[i].request, runs[i].only);
            double taken = largest_anonymous(command);
            printf("%5.1f %% %s\n", 100 * (plan / taken - 1), command);
            bad += !(plan >= 0.95 * taken && plan - passing <= 1.05 * taken);
        }
    tempdir_remove(dir);
    ck_assert_msg(bad == 0, "%d plans are off by more than 5 %%", bad);
}
END_TEST

/* What the last run said before it began: "memory beside the mapped model 21.90 MB, ...". */
static double said_memory(void)
{
    char path[TEMPDIR_MAX], unit = 0;
    uint8_t *text;
    size_t size;
    double value = 0.0;
    tempdir_path(path, dir, "said");
    ck_assert_int_eq(g4_file_read(path, 1 << 20, &text, &size, NULL), G4_OK);
    int found = sscanf((char *)text, "memory beside the mapped model %lf %cB", &value, &unit);
    ck_assert_msg(found == 2 && unit == 'M', "%.*s", (int)size, (char *)text);
    free(text);
    return 1e6 * value;
}

/* A study says what it takes: of single matrices; of all of the model, inputs, too;
 * of a recipe, which may round all. */
START_TEST(studies)
{
    static const char lines[] =
        "{\"text\": \"Hello Hello Hello Hello\"}\n"
        "{\"prompt\": \"<|image|>\", \"target\": \"Hello\", \"media\": [[\"image\", \"p.png\"]]}\n";
    static const struct {
        const char *words;
        double passing;          /* 85 matrices' choices, a byte for each of 2^17 units */
    } runs[] = {
        { "--types q4_k --by tensor --only blk.11.ffn*", 0.0 },
        { "--types s4b32 --of both", 0.0 },
        { "--types q8_0 --by tensor --budget 36MB --limit 1", 85.0 * 0x1p17 },
    };
    uint8_t *picture;
    size_t size;
    int bad = 0;
    if (SANITIZED) {
        check_skip("memory", "a sanitizer takes memory of its own");
        return;
    }
    if (!make_model()) return;
    ck_assert_int_eq(g4_file_read("golden/tiny/mini/wide.png", 1 << 20, &picture, &size, NULL),
                     G4_OK);
    tempdir_write(dir, "p.png", picture, size);
    tempdir_write(dir, "d.jsonl", lines, sizeof lines - 1);
    free(picture);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        char command[256];
        snprintf(command, sizeof command, "sensitivity --threads 2 --model %%m --image-tokens 70 "
                 "--data %%d/d.jsonl --out %%d/out%zu %s", i, runs[i].words);
        double taken = largest_anonymous(command), plan = said_memory();
        printf("%5.1f %% %s\n", 100 * (plan / taken - 1), command);
        bad += !(plan >= 0.95 * taken && plan - runs[i].passing <= 1.05 * taken);
    }
    tempdir_remove(dir);
    ck_assert_msg(bad == 0, "%d plans are off by more than 5 %%", bad);
}
END_TEST

START_TEST(a_plan_needs_a_command)
{
    if (!make_model()) return;
    run("info --model %m --prompt Hello");
    program_expect_error(&r, "--prompt: goes with --for");
    run("info --model %m %d/t.h5");
    program_expect_error(&r, "t.h5: one argument too many");
    run("info --model %m --for verify");
    program_expect_error(&r, "golden files are missing");
    run("info --model %m --for generate %d/t.h5");
    program_expect_error(&r, "t.h5: one argument too many");
    run("info --model %m --for dump");
    program_expect_error(&r, "a request is missing");
    tempdir_remove(dir);
}
END_TEST

/* An evaluation asks about some pictures at a time: these have 2 MB of pixels each. */
START_TEST(pictures_are_let_go)
{
    static const char line[] = "{\"prompt\": \"<|image|>\", \"media\": [[\"image\", \"p.png\"]], "
                               "\"choices\": [\"a\", \"b\"], \"gold\": 0}\n";
    enum { LINES = 150 };
    static char text[LINES * sizeof line];
    uint8_t *picture;
    size_t size, n = 0;
    if (SANITIZED) {
        check_skip("memory", "a sanitizer takes memory of its own");
        return;
    }
    tempdir_make(dir);
    ck_assert_int_eq(g4_file_read("golden/tiny/mini/wide.png", 1 << 20, &picture, &size, NULL),
                     G4_OK);
    tempdir_write(dir, "p.png", picture, size);
    for (int i = 0; i < LINES; i++) n += (size_t)snprintf(text + n, sizeof text - n, "%s", line);
    tempdir_write(dir, "requests.jsonl", text, n);
    run("help");
    if (program_runnable(&r, "memory"))
        ck_assert_double_lt(largest_anonymous("eval --model golden/tiny/mini/model --threads 1 "
                                              "--task requests --data %d --out %d/out"), 130e6);
    tempdir_remove(dir);
    free(picture);
}
END_TEST

Suite *check_memory(void)
{
    Suite *s = suite_create("memory");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 600);   /* 20 s where nothing else runs */
    tcase_add_test(t, planned_and_taken);
    tcase_add_test(t, studies);
    tcase_add_test(t, a_plan_needs_a_command);
    tcase_add_test(t, pictures_are_let_go);
    suite_add_tcase(s, t);
    return s;
}
