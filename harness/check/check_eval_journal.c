/* SPDX-License-Identifier: Apache-2.0
 * gemma4 eval's journals: killed at any moment, cut off at any byte, split among
 * processes, the report is the same bytes; a changed bit or another run's settings are
 * refused. */
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/eval/eval.h"
#include "ref/base/map.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

Suite *check_eval_journal(void);

#define DATA "harness/check/data/eval"
#define MODEL "golden/tiny/mini/model"
#define VIDEO "golden/miniature/eval/media/video_change_001"
#define FOLDER "golden__tiny__mini__model"
#define MMLU "eval --model " MODEL " --threads 1 --task mmlu --data " DATA " --shots 1 "
#define REQUESTS "eval --model " MODEL " --threads 1 --task requests --data " DATA " "

static const char *const runs[] = { MMLU, REQUESTS };
static const char *const journals[] = { "journal_mmlu.jsonl", "journal_requests.jsonl" };

static char dir[TEMPDIR_MAX];
static program_result r;

static void setup(void)
{
    tempdir_make(dir);
    setenv("SOURCE_DATE_EPOCH", "0", 1);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

static void run(const char *first, const char *rest)
{
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    char line[1024];
    snprintf(line, sizeof line, "%s%s", first, rest);
    program_run(&r, line, places, NULL, RLIM_INFINITY);
}

/* Run it well; 0: gemma4 cannot be run here. */
static int good(const char *first, const char *rest)
{
    run(first, rest);
    if (!program_runnable(&r, "eval_journal")) return 0;
    ck_assert_msg(r.code == 0, "%s%s: %s", first, rest, r.err);
    return 1;
}

static uint8_t *load(const char *name, size_t *size)
{
    char path[TEMPDIR_MAX];
    uint8_t *data;
    g4_err err = { 0 };
    tempdir_path(path, dir, name);
    ck_assert_msg(g4_file_read(path, 1 << 22, &data, size, &err) == G4_OK, "%s", err.msg);
    return data;
}

static void same_file(const char *a, const char *b)
{
    size_t na, nb;
    uint8_t *x = load(a, &na), *y = load(b, &nb);
    ck_assert_msg(na == nb && memcmp(x, y, na) == 0, "%s and %s differ", a, b);
    free(x);
    free(y);
}

/* Those of the report's files in folder a that b has, too, with the same bytes; a killed
 * run may leave its temporary file. */
static int same_files(const char *a, const char *b)
{
    char path[TEMPDIR_MAX], x[600], y[600];
    int files = 0;
    snprintf(x, sizeof x, "%s/" FOLDER, a);
    tempdir_path(path, dir, x);
    DIR *d = opendir(path);
    ck_assert_msg(d != NULL, "%s", path);
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.' || (n > 4 && strcmp(e->d_name + n - 4, ".tmp") == 0)) continue;
        snprintf(x, sizeof x, "%s/" FOLDER "/%.255s", a, e->d_name);
        snprintf(y, sizeof y, "%s/" FOLDER "/%.255s", b, e->d_name);
        same_file(x, y);
        files++;
    }
    closedir(d);
    return files;
}

/* Results and samples below both folders: the same names, the same bytes. */
static void same_report(const char *a, const char *b)
{
    int files = same_files(a, b);
    ck_assert_int_ge(files, 2);
    ck_assert_int_eq(same_files(b, a), files);
}

/* ---- killed ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Goes on with the evaluation below k for so long; nonzero: that killed it, it had not ended. */
static int start_and_kill(const char *command, unsigned us)
{
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    char line[1024], space[PROGRAM_WORDS][TEMPDIR_MAX], *argv[PROGRAM_WORDS];
    snprintf(line, sizeof line, "%s--resume --out %%d/k", command);
    program_split(line, places, argv, space);
    int null = open("/dev/null", O_WRONLY);
    pid_t pid = program_start(argv, null, null, RLIM_INFINITY);
    close(null);
    usleep(us);
    kill(pid, SIGKILL);
    int code = program_finish(pid);
    ck_assert_msg(code == 0 || code == 1000 + SIGKILL, "exit %d after %u us", code, us);
    return code != 0;
}

/* Bytes of the journal's whole lines; 0 where there is none. */
static size_t whole_lines(const char *name, uint8_t **data)
{
    char path[TEMPDIR_MAX];
    size_t n = 0;
    *data = NULL;
    tempdir_path(path, dir, name);
    if (g4_path_kind(path) != 1) return 0;
    *data = load(name, &n);
    while (n && (*data)[n - 1] != '\n') n--;
    return n;
}

static void forget(const char *name)
{
    char path[TEMPDIR_MAX];
    tempdir_path(path, dir, name);
    tempdir_remove(path);
}

/* Killed again and again, it goes on each time, and begins anew when it is done.  No answer
 * that was there is lost or asked for twice: the journal begins with what it held before, and
 * ends in the same report. */
static void kill_and_resume(int which, int kills, double took)
{
    char name[64];
    unsigned seed = 99991u + (unsigned)which;
    uint8_t *before = NULL, *after;
    size_t n = 0, m;
    snprintf(name, sizeof name, "k/%s", journals[which]);
    for (int killed = 0; killed < kills; n = m, before = after) {
        seed = seed * 1664525u + 1013904223u;
        int hit = start_and_kill(runs[which], (unsigned)((seed >> 8) / 16777216.0 * took * 1.1e6));
        killed += hit;
        m = whole_lines(name, &after);
        ck_assert_msg(m >= n && (n == 0 || memcmp(before, after, n) == 0), "kill %d", killed);
        free(before);
        if (hit) continue;
        same_report("ref", "k");
        forget("k");
        free(after);
        after = NULL;
        m = 0;
    }
    free(before);
    ck_assert(good(runs[which], "--resume --out %d/k"));
    same_report("ref", "k");
    forget("k");
}

static void killed_times(int kills)
{
    for (int which = 0; which < 2; which++) {
        double begin = now();
        if (!good(runs[which], "--out %d/ref")) return;
        kill_and_resume(which, kills / 2, now() - begin);
        forget("ref");
    }
}

START_TEST(killed_and_resumed)
{
    killed_times(4);
}
END_TEST

START_TEST(killed_two_hundred_times)
{
    killed_times(200);
}
END_TEST

/* ---- damaged ---- */

START_TEST(cut_off_anywhere)
{
    size_t size;
    char name[64];
    for (int which = 0; which < 2; which++) {
        if (!good(runs[which], "--out %d/ref") || !good(runs[which], "--out %d/k")) return;
        snprintf(name, sizeof name, "k/%s", journals[which]);
        uint8_t *data = load(name, &size);
        for (size_t cut = 0; cut <= size; cut += size / 4) {
            tempdir_write(dir, name, (char *)data, cut);
            ck_assert(good(runs[which], "--resume --out %d/k"));
            same_report("ref", "k");
        }
        free(data);
        forget("ref");
        forget("k");
    }
}
END_TEST

/* One bit of any line but the end of the last: refused with the line's number. */
START_TEST(flipped_bits)
{
    size_t size;
    unsigned seed = 4711;
    if (!good(MMLU, "--limit 2 --out %d/k")) return;
    uint8_t *data = load("k/journal_mmlu.jsonl", &size);
    for (int i = 0; i < 6; i++) {
        char says[80];
        size_t line = 1;
        seed = seed * 1664525u + 1013904223u;
        size_t at = i == 0 ? (size_t)((uint8_t *)memchr(data, '\n', size) - data)
                           : (seed >> 8) % (size - 1);
        uint8_t bit = (uint8_t)(1u << (seed >> 5) % 8);
        for (size_t k = 0; k < at; k++) line += data[k] == '\n';
        data[at] ^= bit;
        tempdir_write(dir, "k/journal_mmlu.jsonl", (char *)data, size);
        data[at] ^= bit;
        run(MMLU, "--limit 2 --resume --out %d/k");
        snprintf(says, sizeof says, "journal_mmlu.jsonl: line %zu: ", line);
        program_expect_error(&r, says);
    }
    free(data);
}
END_TEST

/* ---- other settings ---- */

START_TEST(other_runs_are_refused)
{
    static const char *const rows[][2] = {
        { MMLU "--limit 2 ", "is there already; --resume" },
        { MMLU "--limit 3 --resume ", "another limit" },
        { "eval --model " MODEL " --task mmlu --data " DATA " --limit 2 --shots 2 --resume ",
          "another shots" },
        { MMLU "--limit 2 --kv f16 --resume ", "another kv" },
        { MMLU "--limit 2 --bos off --resume ", "another bos" },
        { MMLU "--limit 2 --mask causal --resume ", "another mask" },
        { "eval --model golden/tiny/small/model --task mmlu --data " DATA " --limit 2 --shots 1 "
          "--resume ", "another model" },
        { "eval --model " MODEL " --task mmlu --data %d/data --limit 2 --shots 1 --resume ",
          "another documents" },
        { "eval --model " MODEL " --task mmlu --data %d/hollow --shots 0 ",
          "empty_test.csv: holds no questions" },
        { MMLU "--limit 2 --shard 2/2 ", "--shard 2/2: expected i/n" },
        { MMLU "--limit 2 --shard 0 ", "--shard 0: expected i/n" },
        { MMLU "%d ", "only --merge takes folders" },
        { "eval --task mmlu --data " DATA " ", "eval needs --model" },
        { "eval --merge ", "takes DIR" },
        { "eval --merge %d/none ", "none: cannot open" },
        { "eval --merge %d/data ", "data: holds no journal" },
        { "eval --merge %d/k --data %d/data ", "not the questions that the journals answer" },
        { "eval --merge %d/k %d/k ", "line 2: answers no question of this task" },
    };
    static const char other[] = "question,a,b,c,d,A\n";
    char path[TEMPDIR_MAX];
    g4_err err = { 0 };
    if (!good(MMLU, "--limit 2 --out %d/k")) return;
    for (int i = 0; i < 5; i++) {
        static const char *const folders[] = { "data", "data/dev", "data/test", "hollow",
                                               "hollow/test" };
        tempdir_path(path, dir, folders[i]);
        ck_assert_int_eq(g4_make_folder(path, &err), G4_OK);
    }
    tempdir_write(dir, "data/dev/made_up_dev.csv", other, strlen(other));
    tempdir_write(dir, "data/test/made_up_test.csv", other, strlen(other));
    tempdir_write(dir, "hollow/test/empty_test.csv", "", 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        run(rows[i][0], "--out %d/k");
        program_expect_error(&r, rows[i][1]);
    }
    tempdir_path(path, dir, "k/journal_mmlu.jsonl");
    int fd = open(path, O_RDWR);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    run(MMLU, "--limit 2 --resume --out %d/k");
    program_expect_error(&r, "another run is writing it");
    close(fd);
}
END_TEST

/* A video may be a folder of frames; another frame is another question. */
START_TEST(frames_of_a_video_are_looked_at)
{
    static const char line[] = "{\"prompt\": \"<|video|>a\", \"media\": [[\"video\", \"v\"]], "
                               "\"target\": \"b\", \"max_tokens\": 1}\n";
    static const char answer[] = "eval --model " MODEL " --threads 1 --task requests --data %d ";
    static const char *const frames[] = { "v/frame0.png", "v/frame1.png" };
    uint8_t *data[2];
    size_t size[2];
    char path[TEMPDIR_MAX];
    g4_err err = { 0 };
    tempdir_path(path, dir, "v");
    ck_assert_int_eq(g4_make_folder(path, &err), G4_OK);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, VIDEO "/frame%d.png", 2 * i);
        ck_assert_msg(g4_file_read(path, 1 << 22, &data[i], &size[i], &err) == G4_OK, "%s",
                      err.msg);
        tempdir_write(dir, frames[i], data[i], size[i]);
    }
    tempdir_write(dir, "requests.jsonl", line, strlen(line));
    if (good(answer, "--out %d/k")) {
        ck_assert(good(answer, "--resume --out %d/k"));
        tempdir_write(dir, frames[1], data[0], size[0]);
        run(answer, "--resume --out %d/k");
        program_expect_error(&r, "another documents");
    }
    free(data[0]);
    free(data[1]);
}
END_TEST

/* ---- split ---- */

START_TEST(splits_merge_to_the_same_report)
{
    for (int which = 0; which < 2; which++) {
        if (!good(runs[which], "--out %d/ref")) return;
        ck_assert(good("eval --merge %d/ref ", "--out %d/one"));
        same_report("ref", "one");
        ck_assert(good(runs[which], "--shard 2/3 --out %d/a"));
        ck_assert(good(runs[which], "--shard 0/3 --out %d/a"));
        run("eval --merge %d/a ", "--out %d/x");
        program_expect_error(&r, "questions have no answer yet");
        ck_assert(good(runs[which], "--shard 1/3 --out %d/b"));
        ck_assert(good("eval --merge %d/a %d/b ", "--out %d/ab"));
        ck_assert(good("eval --merge %d/b %d/a ", "--out %d/ba"));
        same_report("ref", "ab");
        same_report("ref", "ba");
        for (int i = 0; i < 6; i++) {
            static const char *const made[] = { "ref", "one", "a", "b", "ab", "ba" };
            forget(made[i]);
        }
    }
}
END_TEST

Suite *check_eval_journal(void)
{
    Suite *s = suite_create("eval_journal");
    TCase *t = tcase_create("journal"), *slow = tcase_create("killed");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, killed_and_resumed);
    tcase_add_test(t, cut_off_anywhere);
    tcase_add_test(t, flipped_bits);
    tcase_add_test(t, other_runs_are_refused);
    tcase_add_test(t, frames_of_a_video_are_looked_at);
    tcase_add_test(t, splits_merge_to_the_same_report);
    suite_add_tcase(s, t);
    tcase_set_tags(slow, "slow");
    tcase_set_timeout(slow, 1200);
    tcase_add_checked_fixture(slow, setup, teardown);
    tcase_add_test(slow, killed_two_hundred_times);
    suite_add_tcase(s, slow);
    return s;
}
