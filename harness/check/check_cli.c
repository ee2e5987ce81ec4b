/* SPDX-License-Identifier: Apache-2.0
 * The program as a user meets it: exit codes, one line on stderr for an error
 * and nothing a terminal would obey, results on stdout and nowhere else, signals
 * and full disks. */
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/check/tempdir.h"
#include "harness/check/tiny_config.h"
#include "harness/options.h"
#include "harness/sigbus.h"
#include "ref/base/map.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

Suite *check_cli(void);

enum { CAPTURE = PROGRAM_CAPTURE };

static char dir[TEMPDIR_MAX], model[TEMPDIR_MAX];
static program_result r;

static void run_to(const char *command, const char *to, rlim_t file_limit)
{
    const program_place places[] = { { "%m", model }, { "%d", dir }, { NULL, NULL } };
    program_run(&r, command, places, to, file_limit);
}

static void run(const char *command)
{
    run_to(command, NULL, RLIM_INFINITY);
}

static void expect_error(const char *says)
{
    program_expect_error(&r, says);
}

static int runnable(void)
{
    return program_runnable(&r, "cli");
}

static void setup(void)
{
    tempdir_make(dir);
    tempdir_path(model, dir, "model");
    tempdir_write(dir, "tiny.json", tiny, strlen(tiny));
    run("synth --shape %d/tiny.json --type bf16 --seed 3 --out %m");
    if (r.code == PROGRAM_CANNOT_EXEC) return;   /* runnable() says so in each test */
    ck_assert_msg(r.code == 0, "synth: exit %d: %s", r.code, r.err);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

static const struct {
    const char *command, *says;
} bad[] = {
    { "", "usage: gemma4 COMMAND" },
    { "frobnicate", "frobnicate: no such command" },
    { "--json", "--json: the command comes first" },
    { "help frobnicate", "frobnicate: no such command" },
    { "help a b", "b: one argument too many" },
    { "info", "info: --model MODEL is missing" },
    { "info --model", "--model: its value (MODEL) is missing" },
    { "info --model ~", "--model '': expected" },
    { "info --model %m extra", "extra: one argument too many" },
    { "info --model %m --threads 0", "--threads 0: expected" },
    { "info --model %m --ctx 0", "--ctx 0: expected" },
    { "info --model %m --ctx 262145", "--ctx 262145: " },
    { "info --model %m --kv q4", "--kv q4: expected f32|f16|q8_0" },
    { "dump --model %m --ids 2 --engine ref --bf16 pair --out %d/x.h5", "--bf16 pair: the" },
    { "info --model %m --json --json", "--json: given twice" },
    { "info --model %m --temperature 1", "--temperature: not an option of info" },
    { "info --model %d/none", "none: no such model folder" },
    { "info --model %m/config.json", "config.json: neither a model folder nor a GGUF file" },
    { "info --model %d", "config.json: cannot open: No such file or directory" },
    { "info --model /dev/null", "/dev/null: no such model folder" },
    { "info --model a\x1b[2J\xc2\x9b" "31m\x07", "no such model folder" },
    { "info --\x1b]0;x\x07", "no such option" },
    { "a\x1b[31m\xff\x7f", "no such command" },
    { "info --model %m --draft %m", "is no drafter" },
    { "synth --shape 12b --type bf16", "synth: --out PATH is missing" },
    { "synth --shape 12b --type q4_0 --out %d/x", "--type q4_0: not available" },
    { "synth --shape 12b --type bf16 --seed -1 --out %d/x", "--seed -1: expected" },
    { "synth --shape 12b --type bf16 --seed 1e3 --out %d/x", "--seed 1e3: expected" },
    { "synth --shape 12b --type bf16 --out %m", "exists and is not an empty folder" },
    { "synth --shape %m/model.safetensors --type bf16 --out %d/x", "model.safetensors: " },
};

START_TEST(errors)
{
    if (!runnable()) return;
    run(bad[_i].command);
    expect_error(bad[_i].says);
    ck_assert_str_eq(r.out, "");
    ck_assert_int_eq(tempdir_count(dir), 2);   /* nothing but the model and tiny.json */
}
END_TEST

/* Commands of the format document that have no row yet say so. */
START_TEST(planned_commands)
{
    static const char *const names[] = {
        "info", "tokens", "dump", "compare", "verify", "generate", "quantize", "imatrix", "mtp",
        "sensitivity", "perplexity", "kl", "eval", "bench", "serve", "synth",
    };
    if (!runnable()) return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const g4_command_row *row;
        char line[64];
        if (g4_command_find(&row, names[i], NULL) == G4_OK) continue;
        run(names[i]);
        snprintf(line, sizeof line, "%s: not built yet", names[i]);
        expect_error(line);
    }
}
END_TEST

START_TEST(help_shows_all_there_is)
{
    const g4_command_row *row;
    const g4_option *opt;
    static char index[CAPTURE];
    char line[128];
    if (!runnable()) return;
    run("--help");
    strcpy(index, r.out);
    run("help");
    ck_assert_int_eq(r.code, 0);
    ck_assert_str_eq(r.err, "");
    ck_assert_str_eq(r.out, index);
    for (size_t c = 0; (row = g4_command_at(c)) != NULL; c++) {
        snprintf(line, sizeof line, "\n  %s ", row->name);
        ck_assert_msg(strstr(index, line) != NULL, "%s is not in help", row->name);
        snprintf(line, sizeof line, "help %s", row->name);
        run(line);
        ck_assert_int_eq(r.code, 0);
        ck_assert_str_eq(r.err, "");
        for (size_t i = 0; (opt = g4_option_at(i)) != NULL; i++) {
            snprintf(line, sizeof line, "\n  %s%s%c", g4_option_dashes(opt), opt->name,
                     opt->value ? ' ' : '\0');
            if (g4_command_takes(row, opt->name))
                ck_assert_msg(strstr(r.out, line) != NULL, "help %s lacks %s", row->name, line);
        }
    }
}
END_TEST

/* Every test that was asked for, in llama-bench's names, with a rate that can be. */
START_TEST(bench_of_a_model)
{
    static const char *const tests[] = { "pp5", "pp1", "tg2", "pp5 @ d600", "pp1 @ d600",
                                         "tg2 @ d600" };
    static const char *const fills[] = { "", " --fill-random --kv f16", " --engine ref" };
    if (!runnable()) return;
    for (int f = 0; f < 3; f++) {
        char line[200];
        json_error_t je;
        snprintf(line, sizeof line, "bench --model %%m -p 5,1,0 -n 2 -d 0,600 --threads 1 "
                 "-o json%s", fills[f]);
        run(line);
        ck_assert_msg(r.code == 0, "%s", r.err);
        json_t *root = json_loads(r.out, 0, &je);
        ck_assert_msg(root != NULL, "%s: %s", r.out, je.text);
        ck_assert_uint_eq(json_array_size(root), sizeof tests / sizeof *tests);
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
            const json_t *t = json_array_get(root, i);
            ck_assert_str_eq(json_string_value(json_object_get(t, "test")), tests[i]);
            ck_assert(json_number_value(json_object_get(t, "avg_ts")) > 0);
            ck_assert(json_number_value(json_object_get(t, "read_gb_s")) > 0);
            ck_assert_str_eq(json_string_value(json_object_get(t, "engine")),
                             f < 2 ? "opt" : "ref");
        }
        json_decref(root);
    }
    run("bench --model %m -p 0 -n 0");
    expect_error("bench: nothing to measure");
    run("bench --model %m --kernels");
    expect_error("bench --kernels: needs no --model");
    run("bench --model %m -p 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17");
    expect_error("at most 16 numbers");
    run("bench --model %m -n 10 -d 699999");
    expect_error("bench: at most 699999 tokens");
}
END_TEST

START_TEST(info_in_json)
{
    if (!runnable()) return;
    run("info --model %m --json --memory --ctx 100 --kv f16 --chunk 10 --threads 1");
    ck_assert_int_eq(r.code, 0);
    ck_assert_str_eq(r.err, "");
    json_error_t je;
    json_t *root = json_loads(r.out, JSON_REJECT_DUPLICATES, &je);
    ck_assert_msg(root != NULL, "%s", je.text);
    static const struct {
        const char *key;
        json_int_t value;
    } ints[] = {
        { "hidden_size", 32 }, { "num_hidden_layers", 6 }, { "vocab_size", 512 },
        { "tensors", 2 + 5 * 14 + 13 + 11 },
    };
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        ck_assert_int_eq(json_integer_value(json_object_get(root, ints[i].key)), ints[i].value);
    ck_assert_str_eq(json_string_value(json_object_get(root, "architecture")),
                     "Gemma4UnifiedForConditionalGeneration");
    json_int_t parameters = json_integer_value(json_object_get(root, "parameters"));
    ck_assert_int_gt(parameters, 0);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "bytes")), 2 * parameters);
    json_t *bf16 = json_object_get(json_object_get(root, "formats"), "bf16");
    ck_assert_int_eq(json_integer_value(json_object_get(bf16, "values")), parameters);
    /* Cache: 5 sliding layers of at least window + chunk rows, one full layer of ctx
     * rows; keys and values; f16; 2 x 16 and 1 x 32 values a row.  The full one keeps
     * values alone, and 4 cosines and sines a token. */
    json_t *memory = json_object_get(root, "memory");
    ck_assert_int_eq(json_integer_value(json_object_get(memory, "cache_full")),
                     100 * (2 * 32 + 2 * 4 * 4));
    ck_assert_int_ge(json_integer_value(json_object_get(memory, "cache_sliding")),
                     5 * (16 + 10) * 2 * 2 * 32);
    json_decref(root);
}
END_TEST

static void same_files(const char *a, const char *b)
{
    uint8_t *x, *y;
    size_t n, m;
    char path[2][TEMPDIR_MAX];
    tempdir_path(path[0], dir, a);
    tempdir_path(path[1], dir, b);
    ck_assert_int_eq(g4_file_read(path[0], 1 << 26, &x, &n, NULL), G4_OK);
    ck_assert_int_eq(g4_file_read(path[1], 1 << 26, &y, &m, NULL), G4_OK);
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    free(x);
    free(y);
}

/* Several golden files' inputs in one pass: byte for byte the files that each alone gives. */
START_TEST(dump_of_several)
{
    if (!runnable()) return;
    char folder[TEMPDIR_MAX];
    tempdir_path(folder, dir, "out");
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    run("dump --model %m --ids 2,40,41,42,43,44,45,46,47 --out %d/a.h5");
    ck_assert_msg(r.code == 0, "%s", r.err);
    run("dump --model %m --ids 7,400,300,200 --mask causal --out %d/b.h5");   /* its own pass */
    run("dump --model %m --ids 9,8,7,6,5 --out %d/c.h5");
    run("dump --model %m --ids 9,8 --out %d/d.h5");
    static const char *const names[] = { "a.h5", "b.h5", "c.h5", "d.h5" };
    for (int i = 0; i < 4; i++) {
        char command[128];
        snprintf(command, sizeof command, "dump --model %%m --inputs %%d/%s --chunk 4 "
                 "--out %%d/1%s", names[i], names[i]);
        run(command);
        ck_assert_msg(r.code == 0, "%s", r.err);
    }
    run("dump --model %m --chunk 4 --out %d/out %d/a.h5 %d/b.h5 %d/c.h5 %d/d.h5");
    ck_assert_msg(r.code == 0, "%s", r.err);
    ck_assert_int_eq(tempdir_count(folder), 4);
    same_files("1a.h5", "out/a.h5");
    same_files("1b.h5", "out/b.h5");
    same_files("1c.h5", "out/c.h5");
    same_files("1d.h5", "out/d.h5");
    run("dump --model %m --out %d/out %d/a.h5 %d/out/a.h5");
    expect_error("its name is also that of");
    run("dump --model %m --out %d/x.h5 %d/a.h5 %d/b.h5");
    expect_error("x.h5: no folder");
    run("dump --model %m --inputs %d/a.h5 --out %d/out %d/b.h5");
    expect_error("b.h5: golden files exclude --inputs");
}
END_TEST

START_TEST(stdout_that_cannot_be_written)
{
    if (!runnable()) return;
    if (access("/dev/full", W_OK) != 0) {
        check_skip("cli", "no /dev/full");
        return;
    }
    run_to("help", "/dev/full", RLIM_INFINITY);
    expect_error("standard output: cannot write: No space left on device");
    run_to("info --model %m", "/dev/full", RLIM_INFINITY);
    expect_error("standard output: cannot write");
    run_to("info --model %m --json", "/dev/full", RLIM_INFINITY);
    expect_error("standard output: cannot write");
}
END_TEST

/* `gemma4 help | true`: an error message, not a silent death. */
START_TEST(stdout_whose_reader_left)
{
    char *argv[] = { NULL, (char[]){ "help" }, NULL };
    int out[2], err[2];
    if (!runnable()) return;
    ck_assert_int_eq(pipe(out), 0);
    ck_assert_int_eq(pipe(err), 0);
    close(out[0]);
    pid_t pid = program_start(argv, out[1], err[1], RLIM_INFINITY);
    close(out[1]);
    close(err[1]);
    int null = open("/dev/null", O_RDONLY);
    program_capture(&r, null, err[0]);
    close(null);
    close(err[0]);
    r.code = program_finish(pid);
    expect_error("standard output: cannot write: Broken pipe");
}
END_TEST

/* A disk that fills up: the file size limit fails a write in the middle. */
START_TEST(disk_full_leaves_nothing)
{
    if (!runnable()) return;
    run_to("synth --shape %d/tiny.json --type f32 --out %d/x", NULL, 50000);
    expect_error("cannot write");
    ck_assert_ptr_nonnull(strstr(r.err, dir));
    ck_assert_int_eq(tempdir_count(dir), 2);
}
END_TEST

/* Ctrl-C in the middle of a gigabyte: dead by the signal, nothing left. */
START_TEST(interrupt_leaves_nothing)
{
    static const char big[] = "\"vocab_size\":262144,\"hidden_size\":1024";
    char text[4096], out[TEMPDIR_MAX], path[TEMPDIR_MAX];
    struct statvfs fs;
    if (!runnable()) return;
    ck_assert_int_eq(statvfs(dir, &fs), 0);
    if ((uint64_t)fs.f_bavail * fs.f_frsize < 2000000000u) {
        check_skip("cli", "less than 2 GB free for the interrupt test");
        return;
    }
    const char *at = strstr(tiny, "\"vocab_size\""), *end = strstr(tiny, ",\"intermediate_size\"");
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - tiny), tiny, big, end);
    tempdir_write(dir, "big.json", text, strlen(text));
    tempdir_path(path, dir, "big.json");
    tempdir_path(out, dir, "x");
    char *argv[] = { NULL, (char[]){ "synth" }, (char[]){ "--shape" }, path,
                     (char[]){ "--type" }, (char[]){ "f32" }, (char[]){ "--out" }, out, NULL };
    pid_t pid = program_start(argv, 1, 2, RLIM_INFINITY);
    for (int i = 0; i < 1000 && tempdir_count(dir) < 4; i++) usleep(10000);
    ck_assert_int_eq(tempdir_count(dir), 4);   /* model, tiny.json, big.json, x.tmp.?????? */
    kill(pid, SIGINT);
    ck_assert_int_eq(program_finish(pid), 1000 + SIGINT);
    ck_assert_int_eq(tempdir_count(dir), 3);
}
END_TEST

/* The handler of the frame, in a child of its own: a mapped file shrinks. */
START_TEST(shrunken_file_is_named)
{
    char path[TEMPDIR_MAX];
    char page[8192] = { 0 };
    int err[2];
    if (!runnable()) return;
    tempdir_write(dir, "shrinks\x01.bin", page, sizeof page);
    tempdir_path(path, dir, "shrinks\x01.bin");
    ck_assert_int_eq(pipe(err), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(err[1], 2);
        g4_sigbus_install();
        int fd = open(path, O_RDWR);
        const volatile char *p = mmap(NULL, sizeof page, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED || ftruncate(fd, 0) != 0) _exit(3);
        _exit(p[5000] ? 4 : 5);
    }
    close(err[1]);
    int null = open("/dev/null", O_RDONLY);
    program_capture(&r, null, err[0]);
    close(null);
    close(err[0]);
    r.code = program_finish(pid);
    expect_error("shrinks?.bin: shrank or cannot be read any more while it was mapped");
}
END_TEST

Suite *check_cli(void)
{
    Suite *s = suite_create("cli");
    TCase *t = tcase_create("cli");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, errors, 0, (int)(sizeof bad / sizeof *bad));
    tcase_add_test(t, planned_commands);
    tcase_add_test(t, bench_of_a_model);
    tcase_add_test(t, help_shows_all_there_is);
    tcase_add_test(t, info_in_json);
    tcase_add_test(t, dump_of_several);
    tcase_add_test(t, stdout_that_cannot_be_written);
    tcase_add_test(t, stdout_whose_reader_left);
    tcase_add_test(t, disk_full_leaves_nothing);
    tcase_add_test(t, interrupt_leaves_nothing);
    tcase_add_test(t, shrunken_file_is_named);
    suite_add_tcase(s, t);
    return s;
}
