/* SPDX-License-Identifier: Apache-2.0
 * ref/file/gguf_split: a model in parts is the model that it was cut from; parts that are
 * missing, cut short, of another file or in another place are refused, each by its name. */
#include "harness/check/fault.h"
#include "harness/check/gguf_file.h"
#include "harness/check/program.h"
#include "harness/model_sum.h"
#include "ref/file/store.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *check_gguf_split(void);

enum { PARTS = 3 };

static char dir[TEMPDIR_MAX], first[TEMPDIR_MAX];
static g4_err err;

static void name_of(char name[64], int no, int count)
{
    snprintf(name, 64, "m-%05d-of-%05d.gguf", no + 1, count);
}

static void setup(void)
{
    char name[64];
    tempdir_make(dir);
    name_of(name, 0, PARTS);
    tempdir_path(first, dir, name);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

/* ---- a whole model ---- */

static program_result run;

/* What the program says of a model that is dir/name. */
static void say(const char *name)
{
    char path[TEMPDIR_MAX];
    tempdir_path(path, dir, name);
    const program_place places[] = { { "%m", path }, { NULL, NULL } };
    program_run(&run, "generate --model %m --prompt ab --max-tokens 4 --threads 1", places, NULL,
                RLIM_INFINITY);
    ck_assert_msg(run.code == 0, "%s", run.err);
}

static void same_tensors(const char *a, const char *b)
{
    g4_store *x, *y;
    ck_assert_msg(g4_store_open(&x, a, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_store_open(&y, b, &err) == G4_OK, "%s", err.msg);
    ck_assert_uint_eq(g4_store_count(x), g4_store_count(y));
    for (size_t i = 0; i < g4_store_count(x); i++) {
        const g4_tensor *t = g4_store_at(x, i), *u = g4_store_at(y, i);
        ck_assert_str_eq(t->name, u->name);
        ck_assert_msg(t->bytes == u->bytes && memcmp(t->data, u->data, t->bytes) == 0, "%s",
                      t->name);
    }
    g4_store_close(x);
    g4_store_close(y);
}

/* _i: are all tensors in the later parts? */
START_TEST(same_model)
{
    char whole[TEMPDIR_MAX], name[64], text[sizeof run.out], sum[2][G4_SHA256_HEX];
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    g4_gguf *g;
    program_run(&run, "quantize --model golden/tiny/mini/model --type q8_0 --out %d/m.gguf", places,
                NULL, RLIM_INFINITY);
    ck_assert_msg(run.code == 0, "%s", run.err);
    tempdir_path(whole, dir, "m.gguf");
    ck_assert_msg(g4_gguf_open(&g, whole, &err) == G4_OK, "%s", err.msg);
    ck_assert_uint_eq(g4_gguf_parts(g), 1);
    gguf_file last;
    for (int i = 0; i < PARTS; i++) {
        gguf_file f = gguf_part(g, i, PARTS, _i);
        name_of(name, i, PARTS);
        tempdir_write(dir, name, f.data, f.size);
        if (i + 1 < PARTS) free(f.data);
        else last = f;
    }
    g4_gguf_close(g);
    same_tensors(whole, first);
    say("m.gguf");
    memcpy(text, run.out, sizeof text);
    name_of(name, 0, PARTS);
    say(name);
    ck_assert_str_eq(run.out, text);
    /* what tells a journal that the model has changed sees the last part, too */
    ck_assert_msg(g4_model_sum(first, sum[0], &err) == G4_OK, "%s", err.msg);
    last.data[last.size - 64] ^= 1;
    name_of(name, PARTS - 1, PARTS);
    tempdir_write(dir, name, last.data, last.size);
    ck_assert_msg(g4_model_sum(first, sum[1], &err) == G4_OK, "%s", err.msg);
    ck_assert_str_ne(sum[0], sum[1]);
    free(last.data);
}
END_TEST

/* ---- parts with one thing wrong ---- */

enum { NO, COUNT, TENSORS, FIELDS };                 /* the three keys */
enum { LEFT_OUT = -1, AS_TEXT = -2 };                /* instead of a number */
enum { FILE_GONE = FIELDS, FILE_EMPTY, FILE_CUT, TENSOR_TWICE, OTHER_KEY, OPENED, ALL = PARTS };

/* In part `part`, `what` has that value; the message begins with the path of part `named`. */
typedef struct wrong {
    int part, what, named;
    int64_t value;
    const char *says;
} wrong;

static const wrong bad[] = {
    { 0, NO, 0, 1, "is part 2 of 3; a model is named by its first part" },
    { 0, NO, 0, LEFT_OUT, "no key split.no, as a part of a file has" },
    { 0, NO, 0, AS_TEXT, "key split.no is no number" },
    { 0, COUNT, 0, 4, "the first of 4 parts, but its name does not end in -00001-of-00004.gguf" },
    { 0, COUNT, 0, 2, "the first of 2 parts, but its name does not end in -00001-of-00002.gguf" },
    { 0, COUNT, 0, 1 << 16, "key split.count is no number from 0 to 65535" },
    { 0, COUNT, 0, AS_TEXT, "key split.count is no number" },
    { 0, TENSORS, 0, LEFT_OUT, "no key split.tensors.count" },
    { 0, TENSORS, 0, 1 << 30, "key split.tensors.count is no number" },
    { 0, TENSORS, 1, 4, "key split.tensors.count is not as in " },
    { ALL, TENSORS, 0, 4, "3 tensors in 3 parts, and key split.tensors.count is 4" },
    { ALL, TENSORS, 0, 2, "3 tensors in 3 parts, and key split.tensors.count is 2" },
    { 1, NO, 1, 2, "is part 3 by its keys" },
    { 1, NO, 1, 0, "is part 1 by its keys" },
    { 2, NO, 2, LEFT_OUT, "no key split.no" },
    { 2, COUNT, 2, 4, "key split.count is not as in " },
    { 1, COUNT, 1, LEFT_OUT, "no key split.count" },
    { 1, TENSORS, 1, LEFT_OUT, "no key split.tensors.count" },
    { 1, OTHER_KEY, 1, 0, "key general.architecture is not as in " },
    { 2, TENSOR_TWICE, 2, 0, "tensor t0 is there twice, also in " },
    { 1, FILE_GONE, 1, 0, "cannot open: No such file" },
    { 2, FILE_EMPTY, 2, 0, "neither a model folder nor a GGUF file" },
    { 2, FILE_CUT, 2, 0, "lie outside" },
    { 1, OPENED, 1, 0, "is part 2 of 3; a model is named by its first part" },
};

static void put_field(gguf_file *f, const char *key, int64_t value)
{
    if (value == AS_TEXT) gguf_key_text(f, key, "3");
    else if (value != LEFT_OUT) gguf_key_uint(f, key, G4_GGUF_I32, (uint64_t)value, 4);
}

/* Part i: one tensor "t0", "t1", "t2" of 8 bytes. */
static gguf_file part(int i, const wrong *w)
{
    static const char *const keys[FIELDS] = { "split.no", "split.count", "split.tensors.count" };
    int mine = w->part == i || w->part == ALL;
    int named = i == 0 || (mine && w->what == OTHER_KEY), fields = 0;
    int64_t value[FIELDS] = { i, PARTS, PARTS };
    gguf_file f = { 0 };
    char tensor[8];
    if (mine && w->what < FIELDS) value[w->what] = w->value;
    for (int k = 0; k < FIELDS; k++) fields += value[k] != LEFT_OUT;
    gguf_head(&f, 1, (uint64_t)(named + fields));
    if (named) gguf_key_text(&f, "general.architecture", i ? "gemma3" : "gemma4");
    for (int k = 0; k < FIELDS; k++) put_field(&f, keys[k], value[k]);
    snprintf(tensor, sizeof tensor, "t%d", mine && w->what == TENSOR_TWICE ? 0 : i);
    gguf_tensor(&f, tensor, 1, (const uint64_t[]){ 2 }, 0, 0);
    gguf_pad(&f, 32);
    gguf_uint(&f, (uint64_t)i, 8);
    if (mine && w->what == FILE_EMPTY) f.size = 0;
    if (mine && w->what == FILE_CUT) f.size -= 4;
    return f;
}

static void write_parts(const wrong *w)
{
    char name[64];
    for (int i = 0; i < PARTS; i++) {
        gguf_file f = part(i, w);
        name_of(name, i, PARTS);
        if (w->part != i || w->what != FILE_GONE) tempdir_write(dir, name, f.data, f.size);
        free(f.data);
    }
}

static const wrong nothing = { .part = -1 };

START_TEST(bad_parts)
{
    const wrong *w = &bad[_i];
    char path[TEMPDIR_MAX], name[64];
    g4_gguf *g;
    write_parts(w);
    name_of(name, w->named, PARTS);
    tempdir_path(path, dir, name);
    fault_begin();
    g4_status s = g4_gguf_open(&g, w->what == OPENED ? path : first, &err);
    fault_end();
    ck_assert_int_eq(fault_live(), 0);
    ck_assert_msg(s == (w->what == FILE_GONE ? G4_EIO : G4_EINPUT) && !g, "%d: %s", (int)s,
                  err.msg);
    ck_assert_msg(strncmp(err.msg, path, strlen(path)) == 0 && strstr(err.msg, w->says),
                  "%s (wanted: %s: %s)", err.msg, path, w->says);
}
END_TEST

START_TEST(other_name)
{
    char path[TEMPDIR_MAX];
    g4_gguf *g;
    write_parts(&nothing);
    ck_assert_msg(g4_gguf_open(&g, first, &err) == G4_OK, "%s", err.msg);
    ck_assert_uint_eq(g4_gguf_parts(g), PARTS);
    ck_assert_uint_eq(g4_gguf_tensors(g), PARTS);
    ck_assert_str_eq(g4_gguf_part(g, 0), first);
    ck_assert_ptr_null(g4_gguf_part(g, PARTS));
    g4_gguf_close(g);
    tempdir_path(path, dir, "x.gguf");
    ck_assert_int_eq(rename(first, path), 0);
    ck_assert_int_eq(g4_gguf_open(&g, path, &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, "name does not end in"), "%s", err.msg);
    /* from memory there is nothing beside it */
    gguf_file f = part(0, &nothing);
    ck_assert_int_eq(g4_gguf_parse(&g, "m", f.data, f.size, &err), G4_EINPUT);
    ck_assert_str_eq(err.msg, "m: is one of 3 parts");
    free(f.data);
}
END_TEST

/* What remains of the keys when parts are merged is no reason to look for others. */
START_TEST(one_part)
{
    for (int64_t count = 0; count < 2; count++) {
        const wrong w = { .part = 0, .what = COUNT, .value = count };
        gguf_file f = part(0, &w);
        g4_gguf *g;
        ck_assert_msg(g4_gguf_parse(&g, "m", f.data, f.size, &err) == G4_OK, "%s", err.msg);
        g4_gguf_close(g);
        free(f.data);
    }
}
END_TEST

/* Every allocation and every file operation fails once. */
START_TEST(faults)
{
    write_parts(&nothing);
    for (int io = 0; io < 2; io++)
        for (long n = 1;; n++) {
            g4_gguf *g;
            if (io) fault_io_arm(n, 0, EIO);
            else fault_alloc_arm(n, 0);
            g4_status s = g4_gguf_open(&g, first, &err);
            if (s == G4_OK) g4_gguf_close(g);
            fault_end();
            ck_assert_int_eq(fault_live(), 0);
            if (!fault_fired()) {
                ck_assert_int_eq(s, G4_OK);
                break;
            }
            /* a close that fails after reading costs nothing */
            ck_assert_msg(s == (io ? G4_EIO : G4_ENOMEM) ||
                          (s == G4_OK && strcmp(fault_what(), "close") == 0),
                          "%s: %ld: %s", fault_what(), n, err.msg);
        }
}
END_TEST

Suite *check_gguf_split(void)
{
    Suite *s = suite_create("gguf_split");
    TCase *tc = tcase_create("gguf_split");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, same_model, 0, 2);
    tcase_add_loop_test(tc, bad_parts, 0, sizeof bad / sizeof *bad);
    tcase_add_test(tc, other_name);
    tcase_add_test(tc, one_part);
    tcase_add_test(tc, faults);
    suite_add_tcase(s, tc);
    return s;
}
