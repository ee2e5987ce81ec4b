/* SPDX-License-Identifier: Apache-2.0
 * gemma4 bench --peers with peers that are shell scripts: good ones of both kinds, and each way
 * in which one can fail. */
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/check/tempdir.h"
#include "harness/check/tiny_config.h"
#include "ref/base/map.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_bench(void);

static char dir[TEMPDIR_MAX], model[TEMPDIR_MAX], peers[TEMPDIR_MAX];
static program_result r;

/* What llama.cpp's takes and prints: every test at every depth; a log line among them. */
#define HELP "case \"$1\" in -h) echo '  -m, --model <f>'; echo '  -n, --n-gen <n>'; " \
             "echo '  -ctk, --cache-type-k <t>'; echo '  -fa, --flash-attn <on>'; "
static const char whole[] =
    "#!/bin/sh\n" HELP "echo '  -d, --n-depth <n>'; exit 0;; esac\n"
    "echo \"$@\" >> \"$0.args\"; echo 'loading {\"a\": [ 5'; echo loaded >&2\n"
    "for d in 0 40; do echo \"{\\\"n_prompt\\\": 5, \\\"n_gen\\\": 0, \\\"n_depth\\\": $d, "
    "\\\"avg_ts\\\": 1000.5}, log {\\\"n_prompt\\\": 0, \\\"n_gen\\\": 2, \\\"n_depth\\\": $d, "
    "\\\"avg_ts\\\": 40}\"; done\n";
/* And ik_llama.cpp's: no -d. */
static const char repacking[] =
    "#!/bin/sh\n" HELP "echo '  -rtr, --run-time-repack <0|1>'; echo '  -mmp, --mmap <0|1>'; "
    "exit 0;; esac\n"
    "echo \"$@\" > \"$0.args\"\n"
    "echo '[ {\"n_prompt\": 5, \"n_gen\": 0, \"avg_ts\": 500}, {\"n_prompt\": 0, \"n_gen\": 2, "
    "\"avg_ts\": 50},'\n"
    "echo '{\"n_prompt\": 40, \"n_gen\": 2, \"avg_ts\": 20.25} ]'\n";

/* peers/<folder>/llama-bench */
static void put(const char *folder, const char *script)
{
    char path[TEMPDIR_MAX], file[TEMPDIR_MAX], whole_path[TEMPDIR_MAX];
    tempdir_path(path, peers, folder);
    for (char *c = path + strlen(peers) + 1; (c = strchr(c, '/')) != NULL; *c++ = '/') {
        *c = 0;
        ck_assert(mkdir(path, 0700) == 0 || errno == EEXIST);
    }
    ck_assert(mkdir(path, 0700) == 0 || errno == EEXIST);
    tempdir_path(file, path, "llama-bench");
    snprintf(whole_path, sizeof whole_path, "%s/llama-bench", folder);
    tempdir_write(peers, whole_path, script, strlen(script));
    ck_assert_int_eq(chmod(file, 0755), 0);
}

static void setup(void)
{
    const program_place places[] = { { "%m", model }, { "%d", dir }, { NULL, NULL } };
    tempdir_make(dir);
    tempdir_path(model, dir, "model");
    tempdir_path(peers, dir, "peers");
    ck_assert_int_eq(mkdir(peers, 0700), 0);
    tempdir_write(dir, "tiny.json", tiny, strlen(tiny));
    program_run(&r, "synth --shape %d/tiny.json --type bf16 --out %m", places, NULL,
                RLIM_INFINITY);
    if (r.code != PROGRAM_CANNOT_EXEC) ck_assert_msg(r.code == 0, "synth: %s", r.err);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

static int run(const char *arguments)
{
    char line[512];
    const program_place places[] = { { "%m", model }, { "%p", peers }, { "%d", dir },
                                     { NULL, NULL } };
    snprintf(line, sizeof line, "bench --model %%m --peers %%p -p 5 -n 2 --threads 1 %s",
             arguments);
    program_run(&r, line, places, NULL, RLIM_INFINITY);
    return program_runnable(&r, "bench");
}

static void expect_words(const char *folder, const char *words)
{
    char path[TEMPDIR_MAX], full[TEMPDIR_MAX + 512];
    uint8_t *text;
    size_t size;
    tempdir_path(path, peers, folder);
    snprintf(full, sizeof full, "%s/llama-bench.args", path);
    ck_assert_int_eq(g4_file_read(full, 1 << 16, &text, &size, NULL), G4_OK);
    snprintf(full, sizeof full, words, model);
    ck_assert_str_eq((char *)text, full);
    free(text);
}

static const json_t *find(const json_t *table, const char *engine, const char *test)
{
    for (size_t i = 0; i < json_array_size(table); i++) {
        const json_t *row = json_array_get(table, i);
        if (strcmp(json_string_value(json_object_get(row, "engine")), engine) == 0 &&
            strcmp(json_string_value(json_object_get(row, "test")), test) == 0)
            return row;
    }
    return NULL;
}

static double number(const json_t *row, const char *key)
{
    ck_assert_msg(row != NULL, "no row for %s: %s", key, r.out);
    ck_assert(json_is_number(json_object_get(row, key)));
    return json_number_value(json_object_get(row, key));
}

START_TEST(both_kinds)
{
    char path[TEMPDIR_MAX];
    json_error_t je;
    uint8_t *csv;
    size_t size;
    put("whole", whole);
    put("ik/build/bin", repacking);
    if (!run("-d 0,40 --repeat 1 -o json --out %d/o.csv")) return;
    ck_assert_msg(r.code == 0, "exit %d: %s", r.code, r.err);
    ck_assert_str_eq(r.err, "");
    json_t *table = json_loads(r.out, 0, &je);
    ck_assert_msg(table != NULL, "%s: %s", je.text, r.out);
    ck_assert_uint_eq(json_array_size(table), 11);   /* ik has no prompt behind a context */
    ck_assert_ptr_null(find(table, "ik", "pp5 @ d40"));
    static const struct {
        const char *engine, *test;
        double rate, ratio;
    } rows[] = {
        { "whole", "pp5", 1000.5, 1 },       { "whole", "tg2", 40, 0.8 },
        { "whole", "pp5 @ d40", 1000.5, 1 }, { "whole", "tg2 @ d40", 40, 1 },
        { "ik", "pp5", 500, 0.5 },           { "ik", "tg2", 50, 1 },
        { "ik", "tg2 @ d40", 20.25, 0.506 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const json_t *row = find(table, rows[i].engine, rows[i].test);
        ck_assert_double_eq(number(row, "median_ts"), rows[i].rate);
        ck_assert_double_eq_tol(number(row, "to_best_peer"), rows[i].ratio, 0.0011);
    }
    const json_t *self = find(table, "gemma4", "tg2 @ d40");
    ck_assert(number(self, "median_ts") > 0 && number(self, "bound_ts") > 0);
    ck_assert(number(self, "low_ts") <= number(self, "median_ts"));
    ck_assert_double_eq_tol(number(self, "to_best_peer"), number(self, "median_ts") / 40, 0.001);
    json_decref(table);
    expect_words("whole", "-r 1 -o json -ctk f16 -ctv f16 -t 1 -fa 1 -d 0,40 -m %s -p 5 -n 2\n");
    expect_words("ik/build/bin", "-r 1 -o json -ctk f16 -ctv f16 -t 1 -fa 1 -rtr 1 -mmp 0 -p 5 "
                 "-n 2 -gp 40,2 -m %s\n");
    tempdir_path(path, dir, "o.csv");
    ck_assert_int_eq(g4_file_read(path, 1 << 20, &csv, &size, NULL), G4_OK);
    ck_assert_ptr_nonnull(strstr((char *)csv, ",model,,ik,tg2 @ d40,rate,20.2500,tokens/s\n"));
    ck_assert_ptr_nonnull(strstr((char *)csv, ",model,,opt,pp5,share,"));
    free(csv);
}
END_TEST

START_TEST(arguments_given)
{
    put("whole", whole);
    put("ik", repacking);
    if (!run("--repeat 1 --kv q8_0 --peer-args ik=-rtr;whole=-fa -o csv")) return;
    ck_assert_msg(r.code == 0, "exit %d: %s", r.code, r.err);
    expect_words("ik", "-r 1 -o json -ctk q8_0 -ctv q8_0 -t 1 -rtr -p 5 -n 2 -m %s\n");
    expect_words("whole", "-r 1 -o json -ctk q8_0 -ctv q8_0 -t 1 -fa -d 0 -m %s -p 5 -n 2\n");
}
END_TEST

#define TAKES "#!/bin/sh\n" HELP "exit 0;; esac\n"

static const struct {
    const char *script, *says;
} faults[] = {
    { "#!/bin/sh\nexit 3\n", "its -h is not llama-bench's" },
    { "#!/no/such/shell\n", "cannot be started" },
    { TAKES "echo one >&2; printf 'out of\\033 luck\\n' >&2; exit 7\n",
      "exit 7: out of\\x1b luck" },
    { TAKES "kill -9 $$\n", "was ended by signal 9" },
    { TAKES "echo '[ { {{\"n_prompt\": [ } garbage'\n", "printed no rate of pp5" },
    { TAKES "echo '{\"n_prompt\": 5, \"n_gen\": 0, \"avg_ts\": 5} {\"n_prompt\": 0, "
      "\"n_gen\": 2, \"avg_ts\": -1}'\n", "printed no rate of tg2" },
    { TAKES "sleep 1000 & sleep 1000\n", "not done after 3 s" },
    { TAKES "yes\n", "writes more than 1048576 bytes" },
};

/* Each of the bad ones gets its line, and the good one its rows. */
START_TEST(bad_among_good)
{
    char name[16], line[128], path[TEMPDIR_MAX];
    size_t lines = 0;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        snprintf(name, sizeof name, "bad%zu", i);
        put(name, faults[i].script);
    }
    put("good", whole);
    tempdir_path(path, peers, "not-built");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    if (!run("--repeat 1 --timeout 3 -o csv")) return;
    ck_assert_msg(r.code == 0, "exit %d: %s", r.code, r.err);
    for (const char *c = r.err; *c; c++) lines += *c == '\n';
    ck_assert_uint_eq(lines, 1 + sizeof faults / sizeof *faults);
    ck_assert_ptr_nonnull(strstr(r.err, "not-built: no llama-bench in it"));
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        snprintf(line, sizeof line, "bad%zu/llama-bench: %s", i, faults[i].says);
        ck_assert_msg(strstr(r.err, line) != NULL, "said %s, not %s", r.err, line);
    }
    ck_assert_ptr_nonnull(strstr(r.out, "model,good,f16,1,tg2,40.000"));
    ck_assert_ptr_null(strstr(r.out, "bad"));
}
END_TEST

/* DIR itself is one peer's folder; another fails once it has given its first figures, which then
 * count for nothing. */
START_TEST(one_alone)
{
    json_error_t je;
    put(".", whole);
    put("late", TAKES "[ -e \"$0.ran\" ] && exit 9; : > \"$0.ran\"\n"
        "echo '[{\"n_prompt\": 5, \"n_gen\": 0, \"avg_ts\": 9e9}, {\"n_prompt\": 0, \"n_gen\": 2, "
        "\"avg_ts\": 9e9}]'\n");
    if (!run("--repeat 2 -o json")) return;
    ck_assert_msg(r.code == 0, "exit %d: %s", r.code, r.err);
    ck_assert_msg(strstr(r.err, "late/llama-bench: exit 9\n") != NULL, "%s", r.err);
    json_t *table = json_loads(r.out, 0, &je);
    ck_assert_msg(table != NULL, "%s: %s", je.text, r.out);
    ck_assert_uint_eq(json_array_size(table), 4);
    ck_assert_double_eq(number(find(table, "peers", "pp5"), "median_ts"), 1000.5);
    ck_assert_double_eq(number(find(table, "peers", "tg2"), "to_best_peer"), 1);
    json_decref(table);
}
END_TEST

START_TEST(nobody_left)
{
    char path[TEMPDIR_MAX];
    if (!run("--repeat 1")) return;
    program_expect_error(&r, "peers: no llama-bench in it");
    put("bad", TAKES "exit 4\n");
    run("--repeat 1 --out %d/o.csv");
    program_expect_error(&r, "bad/llama-bench: exit 4 (no peer is left)");
    ck_assert_str_eq(r.out, "");
    tempdir_path(path, dir, "o.csv");
    ck_assert_int_eq(g4_path_kind(path), 0);
    for (int i = 0; i < 16; i++) {
        snprintf(path, sizeof path, "good%d", i);
        put(path, whole);
    }
    run("--repeat 1");
    program_expect_error(&r, "peers: more than 16 peers");
    run("--kernels");
    program_expect_error(&r, "bench --peers: needs --model");
}
END_TEST

/* Ctrl-C ends the peer, too, though it is in a group of its own. */
START_TEST(interrupt_ends_the_peer)
{
    char path[TEMPDIR_MAX];
    uint8_t *text = NULL;
    size_t size = 0;
    put("slow", TAKES "echo $$ > \"$0.pid\"; exec sleep 1000\n");
    char *argv[] = { NULL, (char[]){ "bench" }, (char[]){ "--model" }, model,
                     (char[]){ "--peers" }, peers, NULL };
    int null = open("/dev/null", O_WRONLY);
    pid_t pid = program_start(argv, null, null, RLIM_INFINITY);
    close(null);
    tempdir_path(path, peers, "slow/llama-bench.pid");
    for (int i = 0; i < 2000 && size == 0; i++) {
        usleep(10000);
        free(text);
        text = NULL;
        if (g4_file_read(path, 100, &text, &size, NULL) != G4_OK) size = 0;
    }
    kill(pid, SIGINT);
    int code = program_finish(pid);
    if (code == PROGRAM_CANNOT_EXEC) return;
    ck_assert_int_eq(code, 1000 + SIGINT);
    ck_assert_uint_gt(size, 0);
    pid_t peer = (pid_t)strtol((char *)text, NULL, 10);
    free(text);
    ck_assert_int_gt(peer, 1);
    ck_assert_int_eq(kill(peer, 0), -1);
    ck_assert_int_eq(errno, ESRCH);
}
END_TEST

Suite *check_bench(void)
{
    Suite *s = suite_create("bench");
    TCase *t = tcase_create("bench");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, both_kinds);
    tcase_add_test(t, bad_among_good);
    tcase_add_test(t, nobody_left);
    tcase_add_test(t, interrupt_ends_the_peer);
    suite_add_tcase(s, t);
    t = tcase_create("bench_slow");
    tcase_set_tags(t, "slow");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, arguments_given);
    tcase_add_test(t, one_alone);
    suite_add_tcase(s, t);
    return s;
}
