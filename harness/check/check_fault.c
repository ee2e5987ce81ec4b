/* SPDX-License-Identifier: Apache-2.0
 * verify of a small case with the n-th allocation failing, for every n, once and
 * from there on: an error each time, nothing leaked, and the run that no failure
 * reaches holds.  The same for each other command, whole, with its words.  Our own
 * allocations only (see fault.h). */
#include "harness/check/fault.h"
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/verify.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

Suite *check_fault(void);

typedef struct small_case {
    const char *model, *draft, *file;
} small_case;

static const small_case small_cases[] = {
    {"golden/tiny/mini/model", "golden/tiny/mini/model/assistant", "golden/tiny/mini/mtp_short.h5"},
    {"golden/tiny/mini/model", "golden/tiny/mini/model/assistant", "golden/tiny/mini/greedy.h5"},
    {"golden/tiny/small/model", "golden/tiny/small/model/assistant", "golden/tiny/small/mixed.h5"},
};

/* The whole command, library by library: open, run, compare, close.  No ck_assert in
 * here: libcheck's own allocations would fail, too. */
static g4_status whole(const small_case *c, int *held, g4_err *error)
{
    g4_err err = { G4_OK, "" };
    g4_runtime rt;
    g4_compare *cmp = NULL;
    int n;
    g4_options o = { .model = c->model, .draft = c->draft, .isa = NULL, .threads = 1 };
    g4_verify_options v = { .golden_flags = G4_GOLDEN_DIRECT, .chunk = 16 };
    g4_status s = g4_runtime_open(&rt, &o, G4_DRAFT_IF_THERE, &err);
    if (s == G4_OK) s = g4_verify(&cmp, &n, &rt, &c->file, 1, &v, &err);
    *held = s == G4_OK && g4_compare_finish(cmp).held;
    g4_compare_close(cmp);
    g4_runtime_close(&rt);
    *error = err;
    return s;
}

static void every_allocation(const small_case *c, int persistent, long step)
{
    int held;
    g4_err err;
    /* libraries fill their own caches first */
    ck_assert_msg(whole(c, &held, &err) == G4_OK, "%s", err.msg);
    for (long n = 1;; n += step) {
        fault_alloc_arm(n, persistent);
        g4_status s = whole(c, &held, &err);
        fault_end();
        ck_assert_msg(s == G4_OK || err.msg[0], "allocation %ld: an error without a message", n);
        ck_assert_msg(fault_live() == 0, "allocation %ld: something leaked", n);
        if (!fault_fired()) {
            ck_assert_int_eq(s, G4_OK);
            ck_assert(held);
            ck_assert_int_gt(n, 20);
            return;
        }
        ck_assert_msg(s == G4_ENOMEM, "allocation %ld (%s): status %d", n, fault_what(), (int)s);
    }
}

START_TEST(small_once)
{
    every_allocation(&small_cases[_i], 0, 1);
}
END_TEST

START_TEST(small_from_there_on)
{
    every_allocation(&small_cases[_i], 1, 1);
}
END_TEST

/* A file operation that fails or moves fewer bytes: an error or the same result,
 * never a wrong one. */
static void every_io(const small_case *c, int error)
{
    int held;
    g4_err err;
    for (long n = 1;; n++) {
        fault_io_arm(n, 0, error);
        g4_status s = whole(c, &held, &err);
        fault_end();
        ck_assert_msg(s == G4_OK || err.msg[0], "file operation %ld: no message", n);
        ck_assert_msg(fault_live() == 0, "file operation %ld: something leaked", n);
        ck_assert_msg(s != G4_OK || held, "file operation %ld (%s): a wrong result", n,
                      fault_what());
        if (!fault_fired()) return;
    }
}

START_TEST(file_errors)
{
    static const int errors[] = { 5 /* EIO */, 4 /* EINTR */, 28 /* ENOSPC */, FAULT_SHORT };
    every_io(&small_cases[0], errors[_i]);
}
END_TEST

/* ---- commands, from their words to their end ---- */

#define GENERATE "generate --model golden/tiny/small/model --threads 1 --max-tokens 2 "
#define MEDIA "harness/check/data/media/"

static const char *const commands[] = {
    "info --model golden/tiny/small/model --memory --json",
    "tokens --model golden/tiny/small/model --text hello",
    "tokens --model golden/tiny/small/model --chat %d/chat.json --json",
    "dump --model golden/tiny/mini/model --ids 2,3,4 --threads 1 --out %d/o.h5",
    "dump --model golden/tiny/mini/model --ids 2,3,4 --detail mtp --threads 1 --out %d/o.h5",
    "compare golden/tiny/mini/mtp_short.h5 golden/tiny/mini/mtp_short.h5 --json",
    "compare golden/tiny/mini/mtp_short.h5 golden/tiny/mini/mtp_short.h5 --plot %d/p.svg",
    "compare harness/check/data/dump harness/check/data/dump/both.safetensors --json",
    GENERATE "--ids 2,17 --draft golden/tiny/small/model/assistant --json",
    GENERATE "--prompt <|image|> --image golden/tiny/small/image1.png",
    GENERATE "--prompt <|image|> --image " MEDIA "formats/420.jpg",
    GENERATE "--prompt <|image|> --image " MEDIA "formats/lossy.webp",
    GENERATE "--prompt <|audio|> --audio golden/tiny/small/audio1.wav",
    GENERATE "--prompt <|video|> --video golden/tiny/small/video1",
    GENERATE "--chat %d/chat.json",
    "quantize --model golden/tiny/mini/model --type q4_0 --threads 1 --out %d/o.gguf",
    "quantize --model golden/tiny/small/model --type bf16 --threads 1 --mmproj %d/o.gguf",
    "quantize --model golden/tiny/mini/model --type q4_0 --threads 1 --recipe %d/recipe --dry-run",
    "imatrix --model golden/tiny/mini/model --data %d/chat.json --ctx 8 --threads 1 "
    "--out %d/o.gguf",
    "quantize --model golden/tiny/mini/model --type q4_0 --threads 1 --imatrix %d/o.gguf "
    "--out %d/q.gguf",
    "generate --model %d/m.gguf --prompt ab --threads 1 --max-tokens 2",
};

/* What some of them read, made by others. */
static const struct { const char *file, *make; } made[] = {
    { "--imatrix", "imatrix --model golden/tiny/mini/model --data %d/chat.json --ctx 8 "
      "--out %d/o.gguf" },
    { "m.gguf", "quantize --model golden/tiny/mini/model --type q8_0 --out %d/m.gguf" },
};

static char dir[TEMPDIR_MAX];
static int console;            /* standard output while the commands' goes nowhere */

static void setup(void)
{
    int null = open("/dev/null", O_WRONLY);
    tempdir_make(dir);
    tempdir_write(dir, "chat.json", "[{\"role\":\"user\",\"content\":\"hi\"}]", 32);
    tempdir_write(dir, "recipe", "ffn=q8_0 attn_.=q5_1", 20);
    fflush(stdout);
    console = dup(1);
    ck_assert(null >= 0 && console >= 0 && dup2(null, 1) == 1);
    close(null);
}

static void teardown(void)
{
    fflush(stdout);
    dup2(console, 1);
    close(console);
    tempdir_remove(dir);
}

/* No ck_assert in here either. */
static int whole_command(int argc, char **argv, g4_err *err)
{
    static g4_options o;
    const g4_command_row *row;
    *err = (g4_err){ G4_OK, "" };
    if (g4_options_parse(&o, argc, argv, err) != G4_OK ||
        g4_command_find(&row, o.command, err) != G4_OK)
        return 2;
    return row->run(&o, err);
}

static void every_command(int i, int persistent, long step)
{
    char line[512], space[PROGRAM_WORDS][TEMPDIR_MAX], *argv[PROGRAM_WORDS];
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    g4_err err;
    for (size_t k = 0; k < sizeof made / sizeof *made; k++) {
        static program_result r;
        if (!strstr(commands[i], made[k].file)) continue;
        program_run(&r, made[k].make, places, NULL, RLIM_INFINITY);
        ck_assert_msg(r.code == 0, "%s: %s", made[k].make, r.err);
    }
    strcpy(line, commands[i]);
    int argc = program_split(line, places, argv, space);
    argv[0] = space[0];
    int code = whole_command(argc, argv, &err), files = tempdir_count(dir);
    if (strstr(err.msg, "gnuplot, which is not installed")) {
        check_skip("fault", err.msg);
        return;
    }
    ck_assert_msg(code == 0, "%s: %s", commands[i], err.msg);
    for (long n = 1;; n += step) {
        fault_alloc_arm(n, persistent);
        code = whole_command(argc, argv, &err);
        fault_end();
        ck_assert_msg(fault_live() == 0, "%s: allocation %ld: something leaked", commands[i], n);
        ck_assert_msg(tempdir_count(dir) == files, "%s: allocation %ld: left a file", commands[i],
                      n);
        if (!fault_fired() && code == 0) {   /* nor in a child that reads a golden file */
            ck_assert_int_gt(n, 20);
            return;
        }
        ck_assert_msg(code == 2 && err.code == G4_ENOMEM && err.msg[0],
                      "%s: allocation %ld (%s): exit %d, '%s'", commands[i], n, fault_what(),
                      code, err.msg);
    }
}

START_TEST(command_once)
{
    every_command(_i, 0, 1);
}
END_TEST

START_TEST(command_from_there_on)
{
    every_command(_i, 1, 1);
}
END_TEST

/* One allocation in 41 of each command. */
START_TEST(command_sample)
{
    every_command(_i, _i % 2, 41);
}
END_TEST

Suite *check_fault(void)
{
    Suite *s = suite_create("fault");
    TCase *t = tcase_create("small"), *slow = tcase_create("all");
    int cases = (int)(sizeof small_cases / sizeof *small_cases);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, small_once, 0, 1);
    tcase_add_loop_test(t, file_errors, 0, 2);
    suite_add_tcase(s, t);
    tcase_set_timeout(slow, 900);
    tcase_set_tags(slow, "slow");
    tcase_add_loop_test(slow, file_errors, 2, 4);
    tcase_add_loop_test(slow, small_once, 1, cases);
    tcase_add_loop_test(slow, small_from_there_on, 0, cases);
    suite_add_tcase(s, slow);
    int many = (int)(sizeof commands / sizeof *commands);
    t = tcase_create("commands");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, command_sample, 0, many);
    suite_add_tcase(s, t);
    slow = tcase_create("all commands");
    tcase_set_timeout(slow, 900);
    tcase_set_tags(slow, "slow");
    tcase_add_checked_fixture(slow, setup, teardown);
    tcase_add_loop_test(slow, command_once, 0, many);
    tcase_add_loop_test(slow, command_from_there_on, 0, many);
    suite_add_tcase(s, slow);
    return s;
}
