/* SPDX-License-Identifier: Apache-2.0
 * Whole commands whose file operations fail, one after the other: each open, stat,
 * map, read, write, sync, close and rename of each command, in our code and in the
 * libraries (preload/io_fault.c), with each error that the call can give; and killed at
 * each of them.  Wanted every time: the same result as without the fault, or exit 2 and
 * one line that names the file, the old output untouched, nothing temporary left.
 * `sample` is a few of these for `make check`; `every` and `killed` are all of them. */
#include "harness/check/preload/io_fault.h"
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "ref/base/map.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_iofault(void);

#define SMALL "golden/tiny/small/"
#define MINI "golden/tiny/mini/"
#define GENERATE "generate --model " SMALL "model --threads 1 --max-tokens 2 "
#define MEDIA "harness/check/data/media/"

enum { OUTS = 4 };

static const struct {
    const char *command;
    const char *out[OUTS];     /* files that it writes, in the test's folder */
    int tree;                  /* out[0] is a folder, which must not be there before */
    int gguf;                  /* reads m.gguf, which is made for it */
} commands[] = {
    { .command = "dump --model " MINI "model --ids 2,3,4 --threads 1 --out %d/o.h5",
      .out = { "o.h5" } },
    { .command = "dump --model " SMALL "model --inputs " SMALL "mixed.h5 --detail output "
      "--threads 1 --out %d/o.h5", .out = { "o.h5" } },
    { .command = "dump --model " MINI "model --ids 2,3,4 --detail mtp --threads 1 --out %d/o.h5",
      .out = { "o.h5" } },
    { .command = "compare " MINI "mtp_short.h5 " MINI "mtp_short.h5 --plot %d/p.svg",
      .out = { "p.dat", "p.gp", "p.svg" } },
    { .command = "synth --shape " MINI "model/config.json --type bf16 --threads 1 --out %d/x",
      .out = { "x", "x/config.json", "x/model.safetensors", "x/assistant/model.safetensors" },
      .tree = 1 },
    { .command = "quantize --model " MINI "model --type q4_0 --threads 1 --out %d/o.gguf",
      .out = { "o.gguf" } },
    { .command = "quantize --model " SMALL "model --type bf16 --threads 1 --mmproj %d/o.gguf",
      .out = { "o.gguf" } },
    { .command = "imatrix --model " MINI "model --data %d/chat.json --ctx 8 --threads 1 "
      "--out %d/o.gguf", .out = { "o.gguf" } },
    /* from here on: those that write nothing (info without --memory: that is a measure) */
    { .command = "info --model " SMALL "model --draft " SMALL "model/assistant" },
    { .command = "tokens --model " SMALL "model --text hello" },
    { .command = "tokens --model " SMALL "model --chat %d/chat.json" },
    { .command = "compare " MINI "mtp_short.h5 " MINI "mtp_short.h5" },
    { .command = "compare harness/check/data/dump harness/check/data/dump/both.safetensors" },
    { .command = "verify --model " MINI "model " MINI "mtp_short.h5 --threads 1" },
    { .command = GENERATE "--ids 2,17 --draft " SMALL "model/assistant" },
    { .command = GENERATE "--prompt <|image|> --image " SMALL "image1.png" },
    { .command = GENERATE "--prompt <|image|> --image " MEDIA "formats/420.jpg" },
    { .command = GENERATE "--prompt <|image|> --image " MEDIA "formats/lossy.webp" },
    { .command = GENERATE "--prompt <|audio|> --audio " SMALL "audio1.wav" },
    { .command = GENERATE "--prompt <|audio|> --audio " MEDIA "sound8.flac" },
    { .command = GENERATE "--prompt <|video|> --video " SMALL "video1" },
    { .command = GENERATE "--prompt <|video|> --video " MEDIA "three.mp4" },
    { .command = GENERATE "--chat %d/chat.json" },
    { .command = "generate --model %d/m.gguf --prompt ab --threads 1 --max-tokens 2", .gguf = 1 },
};

enum { COMMANDS = sizeof commands / sizeof *commands, WRITERS = 8 };

static char dir[TEMPDIR_MAX], library[4096];
static io_page *page;
static program_result r;
static struct {
    char *out, *file[OUTS];    /* what the command gives undisturbed */
    size_t size[OUTS];
} right;

/* The page is not in the folder: its own calls do not count. */
static void setup(void)
{
    char name[] = "/tmp/g4fault.XXXXXX", real[PATH_MAX], *slash;
    int fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, sizeof *page), 0);
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert(page != MAP_FAILED);
    close(fd);
    tempdir_make(dir);
    ck_assert_ptr_nonnull(realpath(dir, real));
    snprintf(page->folder, IO_PATH, "%.1000s", real);
    ck_assert_ptr_nonnull(realpath("golden/..", real));
    ck_assert_int_lt(snprintf(page->root, IO_PATH, "%.1000s/golden", real), IO_PATH);
    tempdir_write(dir, "chat.json", "[{\"role\":\"user\",\"content\":\"hi\"}]", 32);
    ck_assert_ptr_nonnull(realpath(program_path(), library));
    slash = strrchr(library, '/');
    strcpy(slash, "/io_fault.so");
    if (access(library, R_OK) != 0) ck_abort_msg("%s is not built", library);
    setenv(IO_FAULT_ENV, name, 1);
    memset(&right, 0, sizeof right);
}

static void teardown(void)
{
    unlink(getenv(IO_FAULT_ENV));
    unsetenv(IO_FAULT_ENV);
    munmap(page, sizeof *page);
    tempdir_remove(dir);
    free(right.out);
    for (int i = 0; i < OUTS; i++) free(right.file[i]);
}

/* libhdf5 1.10 keeps its record of a file whose last write failed (H5Fclose gives an
 * error and frees nothing); elsewhere its leaks are ours and count. */
static const char leaks[] = "print_suppressions=0:suppressions=harness/check/data/lsan_hdf5.txt";

/* The library is not for the test itself, nor for a program that must run undisturbed. */
static void run(int c, long at, int error, int persistent)
{
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    page->main = 0;
    page->at = at;
    page->error = error;
    page->persistent = persistent;
    page->count = page->fired = 0;
    page->path[0] = 0;
    setenv("LD_PRELOAD", library, 1);
    setenv("LSAN_OPTIONS", leaks, 1);
    program_run(&r, commands[c].command, places, NULL, RLIM_INFINITY);
    unsetenv("LSAN_OPTIONS");
    unsetenv("LD_PRELOAD");
}

static char *slurp(const char *name, size_t *size)
{
    char path[TEMPDIR_MAX];
    uint8_t *data;
    tempdir_path(path, dir, name);
    if (g4_path_kind(path) != 1) return NULL;
    ck_assert_int_eq(g4_file_read(path, 1 << 30, &data, size, NULL), G4_OK);
    return (char *)data;
}

/* The model in Q8_0, made once. */
static void put_gguf(void)
{
    static char *data;
    static size_t size;
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    if (!data) {
        program_run(&r, "quantize --model " MINI "model --type q8_0 --out %d/m.gguf", places,
                    NULL, RLIM_INFINITY);
        data = slurp("m.gguf", &size);
    }
    if (data) tempdir_write(dir, "m.gguf", data, size);
}

/* Old output, or none for a folder, and nothing else. */
static void prepare(int c)
{
    char path[TEMPDIR_MAX];
    if (tempdir_count(dir) > 1) {
        tempdir_remove(dir);
        ck_assert_int_eq(mkdir(dir, 0777), 0);
        tempdir_write(dir, "chat.json", "[{\"role\":\"user\",\"content\":\"hi\"}]", 32);
    }
    if (commands[c].gguf) put_gguf();
    for (int i = 0; !commands[c].tree && i < OUTS && commands[c].out[i]; i++)
        tempdir_write(dir, commands[c].out[i], "old\n", 4);
    tempdir_path(path, dir, "chat.json");
    ck_assert_int_eq(access(path, R_OK), 0);
}

static int outs(int c)
{
    int n = 0;
    while (n < OUTS && commands[c].out[n]) n++;
    return commands[c].tree ? 1 : n;
}

/* How many file operations the command has; 0: it cannot run here. */
static long learn(int c)
{
    prepare(c);
    run(c, 0, 0, 0);
    if (!program_runnable(&r, "iofault")) return 0;
    if (strstr(r.err, "gnuplot, which is not installed") || strstr(r.err, "without libav")) {
        check_skip("iofault", r.err);
        return 0;
    }
    ck_assert_msg(r.code == 0, "%s: exit %d: %s", commands[c].command, r.code, r.err);
    ck_assert_int_gt(page->count, 8);
    ck_assert_int_lt(page->count, IO_TRACE);
    right.out = strdup(r.out);
    for (int i = 0; i < OUTS && commands[c].out[i]; i++)
        right.file[i] = slurp(commands[c].out[i], &right.size[i]);
    return page->count;
}

/* Is output i as it should be: 1 new, 0 old (a folder: not there), -1 neither. */
static int state(int c, int i)
{
    size_t size = 0;
    char path[TEMPDIR_MAX], *data = slurp(commands[c].out[i], &size);
    tempdir_path(path, dir, commands[c].out[i]);
    int is = -1;
    if (commands[c].tree && i == 0) is = g4_path_kind(path) == 2 ? 1 : 0;
    else if (!data) is = commands[c].tree ? 0 : -1;
    else if (size == 4 && memcmp(data, "old\n", 4) == 0) is = 0;
    else if (size == right.size[i] && memcmp(data, right.file[i], size) == 0) is = 1;
    free(data);
    return is;
}

/* The last part of the failed call's path, without a temporary name's tail. */
static const char *failed_name(char name[IO_PATH])
{
    char path[IO_PATH], *tail;
    strcpy(path, page->path);
    if ((tail = strstr(path, ".tmp.")) != NULL) *tail = 0;   /* a folder: x.tmp.XXXXXX/... */
    size_t n = strlen(path);
    if (n > 11 && strcmp(path + n - 4, ".tmp") == 0) path[n - 11] = 0;   /* x.XXXXXX.tmp */
    while ((n = strlen(path)) > 1 && path[n - 1] == '/') path[n - 1] = 0;
    return strcpy(name, strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
}

/* Does the message name the file, or one of the outputs (whose folder is synced)?  Where
 * all calls fail from there on, it may be the next one (a close is of no matter). */
static int is_named(int c, int persistent)
{
    char name[IO_PATH];
    if (strstr(r.err, failed_name(name))) return 1;
    if (persistent && (strstr(r.err, "golden/tiny/") || strstr(r.err, MEDIA) ||
                       strstr(r.err, dir)))
        return 1;
    for (int i = 0; i < outs(c); i++)
        if (strstr(r.err, commands[c].out[i])) return 1;
    return 0;
}

/* Without the time that a command says it took, at the very end: "... in 0.1 s". */
static const char *without_seconds(char *out)
{
    char *at = strstr(out, " in "), *end;
    for (; at; at = strstr(at + 1, " in ")) {
        strtod(at + 4, &end);
        if (end > at + 4 && strcmp(end, " s\n") == 0) *at = 0;
    }
    return out;
}

static void check_one(int c, long n, int error, int persistent, int kind)
{
    char what[300];
    prepare(c);
    int before = tempdir_count(dir), late = kind == IO_SYNC || kind == IO_OPEN || kind == IO_CLOSE;
    run(c, n, error, persistent);
    snprintf(what, sizeof what, "%.180s: operation %ld (kind %d), error %d%s: exit %d",
             commands[c].command, n, kind, error, persistent ? " for good" : "", r.code);
    ck_assert_msg(r.code == 0 || r.code == 2, "%s: %s", what, r.err);
    if (r.code == 2) {
        program_expect_error(&r, "");
        ck_assert_msg(is_named(c, persistent), "%s: %s is not named: %s", what, page->path, r.err);
        ck_assert_msg(!strstr(r.err, ".tmp"), "%s: names a temporary file: %s", what, r.err);
    } else {
        ck_assert_msg(strcmp(without_seconds(r.out), without_seconds(right.out)) == 0,
                      "%s: another result: %.300s", what, r.out);
    }
    int now = 0;
    for (int i = 0; i < OUTS && commands[c].out[i]; i++) {
        int is = state(c, i);
        ck_assert_msg(is >= 0, "%s: %s is damaged; %s", what, commands[c].out[i], r.err);
        now += is;
        /* behind the rename the folder's sync may fail: the new file is there already */
        ck_assert_msg(r.code == 2 || is == 1, "%s: %s is the old one", what, commands[c].out[i]);
        ck_assert_msg(r.code == 0 || is == 0 || late || strstr(r.err, "cannot rename") ||
                      persistent, "%s: %s is replaced: %s", what, commands[c].out[i], r.err);
    }
    /* a folder that cannot be listed cannot be emptied */
    int more = commands[c].tree && now > 0, stuck = commands[c].tree && persistent;
    ck_assert_msg(tempdir_count(dir) == before + more || stuck, "%s: leaves something behind: %s",
                  what, r.err);
}

/* Errors that a call of this kind can give. */
static int errors_of(io_kind kind, int errors[4])
{
    int n = 0;
    errors[n++] = EIO;
    if (kind == IO_WRITE || kind == IO_CREATE || kind == IO_RENAME) errors[n++] = ENOSPC;
    if (kind == IO_READ || kind == IO_WRITE) errors[n++] = IO_SHORT;
    if (kind != IO_STAT && kind != IO_MAP && kind != IO_RENAME) errors[n++] = EINTR;
    return n;
}

/* Each operation fails with EIO and, in turns, in one more way. */
START_TEST(every)
{
    static io_kind kind[IO_TRACE];
    int errors[5];
    long count = learn(_i);
    memcpy(kind, page->kind, sizeof kind);
    for (long n = 1; n <= count; n++) {
        int many = errors_of(kind[n - 1], errors), other = 1 + (int)(n % many);
        check_one(_i, n, errors[0], 0, (int)kind[n - 1]);
        if (other < many) check_one(_i, n, errors[other], 0, (int)kind[n - 1]);
        else check_one(_i, n, EIO, 1, (int)kind[n - 1]);   /* and everything behind it */
    }
}
END_TEST

/* Places spread over the run; the error goes round with them. */
START_TEST(sample)
{
    enum { RUNS = 2 };
    int errors[4];
    long count = learn(_i);
    for (int k = 0; count && k < RUNS; k++) {
        long n = 1 + (count - 1) * (2 * k + _i % 2 + 1) / (2 * RUNS);
        io_kind kind = page->kind[n - 1];
        int many = errors_of(kind, errors), error = errors[(_i + k) % many];
        /* nobody is interrupted for ever: such calls are made again until they are not */
        check_one(_i, n, error, k == 1 && error != EINTR, (int)kind);
    }
}
END_TEST

/* ---- SIGKILL ---- */

/* What a dead program may leave: whole files, old or new, and temporary ones, which do not
 * disturb the next run. */
static void check_killed(int c, const char *what)
{
    for (int i = 0; i < OUTS && commands[c].out[i]; i++)
        ck_assert_msg(state(c, i) >= 0, "%s: %s is damaged", what, commands[c].out[i]);
    for (int i = 1; commands[c].tree && i < OUTS; i++)
        ck_assert_msg(state(c, i) == state(c, 0), "%s: a part of the folder", what);
    if (commands[c].tree && state(c, 0)) return;   /* the next run would refuse to replace it */
    run(c, 0, 0, 0);
    ck_assert_msg(r.code == 0, "%s: the next run: exit %d: %s", what, r.code, r.err);
    for (int i = 0; i < OUTS && commands[c].out[i]; i++)
        ck_assert_msg(state(c, i) == 1, "%s: the next run's %s", what, commands[c].out[i]);
}

static void kill_at(int c, long n)
{
    char what[300];
    prepare(c);
    run(c, n, IO_KILL, 0);
    snprintf(what, sizeof what, "%.180s: killed at operation %ld", commands[c].command, n);
    ck_assert_msg(page->fired > 0 && r.code == 1000 + SIGKILL, "%s: exit %d", what, r.code);
    check_killed(c, what);
}

static int is_writing(io_kind k)
{
    return k == IO_CREATE || k == IO_WRITE || k == IO_SYNC || k == IO_CLOSE || k == IO_RENAME;
}

START_TEST(killed)
{
    static io_kind kind[IO_TRACE];
    ck_assert_int_gt(outs(_i), 0);
    long count = learn(_i);
    memcpy(kind, page->kind, sizeof kind);
    for (long n = 1; n <= count; n++)
        if (is_writing(kind[n - 1])) kill_at(_i, n);
}
END_TEST

/* In front of the last rename, and in front of the folder's sync behind it. */
START_TEST(killed_sample)
{
    ck_assert_int_gt(outs(_i), 0);
    long last = 0, count = learn(_i);
    for (long n = 1; n <= count; n++)
        if (page->kind[n - 1] == IO_RENAME) last = n;
    if (!count) return;
    ck_assert_int_gt(last, 0);
    kill_at(_i, last);
    if (last < count) kill_at(_i, last + 1);
}
END_TEST

/* At any time, whatever it is doing. */
START_TEST(killed_at_random)
{
    enum { KILLS = 20 };
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    unsigned seed = 1234567u + (unsigned)_i;
    ck_assert_int_gt(outs(_i), 0);
    if (!learn(_i)) return;
    for (int k = 0; k < KILLS; k++) {
        char line[1024], what[64], space[PROGRAM_WORDS][TEMPDIR_MAX], *argv[PROGRAM_WORDS];
        seed = seed * 1664525u + 1013904223u;
        unsigned us = (seed >> 8) % 300000;
        snprintf(line, sizeof line, "%s", commands[_i].command);
        program_split(line, places, argv, space);
        prepare(_i);
        int null = open("/dev/null", O_WRONLY);
        pid_t pid = program_start(argv, null, null, RLIM_INFINITY);
        close(null);
        usleep(us);
        kill(pid, SIGKILL);
        r.code = program_finish(pid);
        snprintf(what, sizeof what, "killed after %u us (exit %d)", us, r.code);
        check_killed(_i, what);
    }
}
END_TEST

Suite *check_iofault_part(int part)
{
    Suite *s = suite_create("iofault");
    TCase *t = tcase_create("sample"), *slow = tcase_create("every");
    TCase *dead = tcase_create("killed");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    for (int i = 0; i < COMMANDS; i++) {
        if (i % CHECK_IOFAULT_PARTS != part) continue;
        tcase_add_loop_test(t, sample, i, i + 1);
        tcase_add_loop_test(slow, every, i, i + 1);
    }
    for (int i = 0; i < WRITERS; i++) {
        if (i % CHECK_IOFAULT_PARTS != part) continue;
        tcase_add_loop_test(t, killed_sample, i, i + 1);
        tcase_add_loop_test(dead, killed, i, i + 1);
        tcase_add_loop_test(dead, killed_at_random, i, i + 1);
    }
    suite_add_tcase(s, t);
    tcase_set_tags(slow, "slow");
    tcase_set_timeout(slow, 1800);
    tcase_add_checked_fixture(slow, setup, teardown);
    suite_add_tcase(s, slow);
    tcase_set_tags(dead, "slow");
    tcase_set_timeout(dead, 1800);
    tcase_add_checked_fixture(dead, setup, teardown);
    suite_add_tcase(s, dead);
    return s;
}

/* In the list of suites; main.c runs the parts. */
Suite *check_iofault(void)
{
    return check_iofault_part(0);
}
