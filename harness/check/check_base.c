/* SPDX-License-Identifier: Apache-2.0
 * ref/base: arena, messages, byte cursor, JSON face, files, thread pool, 16-bit
 * floats, random numbers. */
#include "harness/check/fault.h"
#include "ref/base/arena.h"
#include "ref/base/bytes.h"
#include "ref/base/half.h"
#include "ref/base/json.h"
#include "ref/base/map.h"
#include "ref/base/par.h"
#include "ref/base/rng.h"
#include "ref/input/utf8.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_base(void);

/* ---- arena ---- */

static int all_bytes(const unsigned char *p, size_t n, unsigned char want)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != want) return 0;
    return 1;
}

START_TEST(arena_zeroed_and_aligned)
{
    g4_arena a = { NULL };
    static const size_t sizes[] = { 1, 63, 64, 65, 1000, 16384, 65536, 1 << 20, 7, 0 };
    unsigned char *p[10];
    for (int i = 0; i < 10; i++) {
        p[i] = g4_arena_alloc(&a, sizes[i], 1);
        ck_assert_ptr_nonnull(p[i]);
        ck_assert_uint_eq((uintptr_t)p[i] % 64, 0);
        ck_assert(all_bytes(p[i], sizes[i], 0));
        memset(p[i], i + 1, sizes[i]);
    }
    /* Nothing overlaps: each still holds its own mark. */
    for (int i = 0; i < 10; i++) ck_assert(all_bytes(p[i], sizes[i], (unsigned char)(i + 1)));
    ck_assert_uint_ge(g4_arena_bytes(&a), 1 << 20);
    g4_arena_free(&a);
    ck_assert_uint_eq(g4_arena_bytes(&a), 0);
}
END_TEST

START_TEST(arena_refuses_overflow)
{
    g4_arena a = { NULL };
    static const size_t bad[][2] = {
        { SIZE_MAX, 2 }, { SIZE_MAX / 2 + 1, 2 }, { SIZE_MAX, 1 }, { SIZE_MAX - 32, 1 },
        { SIZE_MAX - 63, 1 }, { (size_t)1 << 33, (size_t)1 << 33 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_ptr_null(g4_arena_alloc(&a, bad[i][0], bad[i][1]));
    ck_assert_ptr_null(g4_arena_strndup(&a, "x", SIZE_MAX));
    ck_assert_ptr_nonnull(g4_arena_alloc(&a, 3, 5));   /* and it still works */
    g4_arena_free(&a);
}
END_TEST

START_TEST(arena_strings)
{
    g4_arena a = { NULL };
    ck_assert_str_eq(g4_arena_strndup(&a, "abcdef", 3), "abc");
    ck_assert_str_eq(g4_arena_strndup(&a, "", 0), "");
    ck_assert_str_eq(g4_arena_printf(&a, "%s-%d", "layer", 17), "layer-17");
    char *wide = g4_arena_printf(&a, "%100000d", 7);
    ck_assert_uint_eq(strlen(wide), 100000);
    g4_arena_free(&a);
}
END_TEST

START_TEST(arena_out_of_memory)
{
    g4_arena a = { NULL };
    fault_alloc_arm(2, 1);
    void *first = g4_arena_alloc(&a, 1, 100);
    void *second = g4_arena_alloc(&a, 1, 1 << 20);
    void *third = g4_arena_alloc(&a, 1, 100);   /* fits in the first block */
    fault_end();
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(third);
    ck_assert_str_eq(fault_what(), "malloc");
    g4_arena_free(&a);
    ck_assert_int_eq(fault_live(), 0);
}
END_TEST

/* ---- messages ---- */

START_TEST(err_escapes_control_bytes)
{
    g4_err e;
    ck_assert_int_eq(g4_fail(&e, G4_EINPUT, "%s: bad", "a\x1b[31m\n\x7f\xc3\xa9"), G4_EINPUT);
    ck_assert_str_eq(e.msg, "a\\x1b[31m\\x0a\\x7f\xc3\xa9: bad");
    ck_assert_int_eq(e.code, G4_EINPUT);
    ck_assert_int_eq(g4_fail(NULL, G4_EIO, "x"), G4_EIO);
    ck_assert_int_eq(g4_nomem(&e, "cache"), G4_ENOMEM);
    ck_assert_str_eq(e.msg, "out of memory (cache)");
}
END_TEST

START_TEST(err_cuts_long_messages)
{
    struct {
        g4_err e;
        char canary[8];
    } box = { .canary = "intact" };
    char wild[2000];
    memset(wild, 1, sizeof wild);   /* every byte needs four */
    wild[sizeof wild - 1] = 0;
    g4_fail(&box.e, G4_EINPUT, "%s", wild);
    ck_assert_uint_lt(strlen(box.e.msg), sizeof box.e.msg);
    ck_assert_uint_eq((strlen(box.e.msg) - 3) % 4, 0);   /* no escape is cut in half */
    ck_assert_str_eq(box.canary, "intact");
    memset(wild, 'a', sizeof wild - 1);   /* a path that leaves no room for the fault */
    g4_fail(&box.e, G4_EINPUT, "/%s\xc3\xa9.h5: is empty", wild);
    ck_assert_int_eq(strncmp(box.e.msg, "/aaa", 4), 0);
    ck_assert_ptr_nonnull(strstr(box.e.msg, "a...a"));
    ck_assert_ptr_nonnull(strstr(box.e.msg, "a\xc3\xa9.h5: is empty"));
    ck_assert_uint_ge(strlen(box.e.msg), sizeof box.e.msg - 8);
    for (size_t i = 0; i < 4; i++) {   /* no character is cut in half, wherever the cut falls */
        for (size_t k = 0; k + 1 < sizeof wild; k++)
            wild[k] = k < i ? 'a' : k % 2 == i % 2 ? '\xc3' : '\xa9';
        wild[sizeof wild - 1 - (sizeof wild - 1 - i) % 2] = 0;
        g4_fail(&box.e, G4_EINPUT, "%s%.*s", wild, (int)i, "bbb");
        ck_assert_uint_eq(g4_utf8_check(box.e.msg, strlen(box.e.msg)), strlen(box.e.msg));
    }
}
END_TEST

START_TEST(bytes_cursor)
{
    static const uint8_t d[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    g4_bytes b = { .data = d, .size = sizeof d };
    ck_assert_uint_eq(g4_bytes_uint(&b, 2), 0x0201);
    ck_assert_uint_eq(g4_bytes_uint(&b, 4), 0x06050403);
    ck_assert_uint_eq(g4_bytes_uint(&b, 0), 0);
    ck_assert_ptr_null(g4_bytes_take(&b, SIZE_MAX));
    ck_assert_int_eq(b.bad, 1);
    ck_assert_uint_eq(g4_bytes_uint(&b, 1), 0);   /* bad stays bad */
    b = (g4_bytes){ .data = d, .size = sizeof d };
    ck_assert_uint_eq(g4_bytes_uint(&b, 8), 0x0807060504030201u);
    ck_assert_uint_eq(g4_bytes_uint(&b, 2), 0);
    ck_assert_int_eq(b.bad, 1);
}
END_TEST

/* ---- JSON ---- */

static const struct {
    const char *text, *says;   /* says: a part of the message */
} bad_json[] = {
    { "", "not valid JSON" },
    { "{", "not valid JSON" },
    { "{\"a\":1,}", "not valid JSON" },
    { "{\"a\":1} x", "end of file expected" },
    { "{\"a\":1,\"a\":2}", "duplicate" },
    { "{\"a\":\"\xff\"}", "unable to decode byte" },
    { "{\"a\":\"\xc0\x80\"}", "unable to decode byte" },
    { "{\"a\":\"\xed\xa0\x80\"}", "unable to decode byte" },
    { "{\"a\\u0000b\":1}", "NUL" },
    { "{\"a\":\"\\u0000\"}", "\\u0000" },
    { "{\"a\":99999999999999999999}", "too big" },
    { "{\"a\":1e999}", "overflow" },
    { "{\"a\":NaN}", "not valid JSON" },
    { "{'a':1}", "not valid JSON" },
    { "// no comments\n{}", "not valid JSON" },
};

START_TEST(json_refuses)
{
    g4_json j;
    g4_err e;
    const char *text = bad_json[_i].text;
    ck_assert_int_eq(g4_json_parse(&j, "dir/config.json", text, strlen(text), &e), G4_EINPUT);
    ck_assert_msg(strncmp(e.msg, "dir/config.json: ", 17) == 0, "%s", e.msg);
    ck_assert_msg(strstr(e.msg, bad_json[_i].says) != NULL, "%s", e.msg);
    ck_assert_ptr_null(j.root);
}
END_TEST

START_TEST(json_depth)
{
    char text[512];
    g4_json j;
    g4_err e;
    for (int depth = 63; depth <= 66; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        g4_status s = g4_json_parse(&j, "f", text, 2 * (size_t)depth, &e);
        ck_assert_int_eq(s, depth <= 64 ? G4_OK : G4_EINPUT);
        g4_json_free(&j);
    }
    /* Brackets in strings do not count, escaped quotes do not end a string. */
    char deep[400] = "[\"\\\"";
    memset(deep + 4, '[', 200);
    memcpy(deep + 204, "\"]", 3);
    ck_assert_int_eq(g4_json_parse(&j, "f", deep, strlen(deep), &e), G4_OK);
    g4_json_free(&j);
    /* A hundred thousand open brackets must not recurse. */
    char *many = malloc(100000);
    memset(many, '[', 100000);
    ck_assert_int_eq(g4_json_parse(&j, "f", many, 100000, &e), G4_EINPUT);
    free(many);
}
END_TEST

static const char typed[] =
    "{\"i\":7,\"big\":9007199254740993,\"x\":1.5,\"s\":\"text\",\"b\":true,"
    "\"n\":null,\"o\":{\"k\":1},\"l\":[1]}";

START_TEST(json_getters)
{
    g4_json j, m;
    g4_err e;
    int64_t i = -1;
    double x = -1;
    int b = -1;
    const char *s = NULL;
    ck_assert_int_eq(g4_json_parse(&j, "f", typed, sizeof typed - 1, &e), G4_OK);
    ck_assert_int_eq(g4_json_req_int(&j, "i", 0, 7, &i, &e), G4_OK);
    ck_assert_int_eq(i, 7);
    ck_assert_int_eq(g4_json_req_int(&j, "big", 0, INT64_MAX, &i, &e), G4_OK);
    ck_assert_int_eq(i, 9007199254740993);   /* 2^53 + 1: not through a double */
    ck_assert_int_eq(g4_json_opt_num(&j, "x", 0, 2, &x, &e), G4_OK);
    ck_assert(x == 1.5);
    ck_assert_int_eq(g4_json_opt_num(&j, "i", 0, 9, &x, &e), G4_OK);
    ck_assert(x == 7);
    ck_assert_int_eq(g4_json_opt_bool(&j, "b", &b, &e), G4_OK);
    ck_assert_int_eq(b, 1);
    ck_assert_int_eq(g4_json_opt_str(&j, "s", &s, &e), G4_OK);
    ck_assert_str_eq(s, "text");
    ck_assert_int_eq(g4_json_object(&j, "o", 1, &m, &e), G4_OK);
    ck_assert_int_eq(g4_json_req_int(&m, "k", 1, 1, &i, &e), G4_OK);
    ck_assert_int_eq(g4_json_array(&j, "l", 1, &m, &e), G4_OK);
    ck_assert_uint_eq(json_array_size(m.root), 1);
    /* Absent and null leave the value alone. */
    i = 42;
    ck_assert_int_eq(g4_json_opt_int(&j, "n", 0, 9, &i, &e), G4_OK);
    ck_assert_int_eq(g4_json_opt_int(&j, "none", 0, 9, &i, &e), G4_OK);
    ck_assert_int_eq(i, 42);
    ck_assert(!g4_json_has(&j, "n") && !g4_json_has(&j, "none") && g4_json_has(&j, "i"));
    ck_assert_int_eq(g4_json_object(&j, "none", 0, &m, &e), G4_OK);
    ck_assert_ptr_null(m.root);
    g4_json_free(&j);
}
END_TEST

START_TEST(json_getters_name_the_fault)
{
    g4_json j, m;
    g4_err e;
    int64_t i;
    double x;
    int b;
    const char *s;
    ck_assert_int_eq(g4_json_parse(&j, "f", typed, sizeof typed - 1, &e), G4_OK);
    ck_assert_int_eq(g4_json_req_int(&j, "gone", 0, 9, &i, &e), G4_EINPUT);
    ck_assert_str_eq(e.msg, "f: gone is missing");
    ck_assert_int_eq(g4_json_req_int(&j, "i", 8, 9, &i, &e), G4_EINPUT);
    ck_assert_str_eq(e.msg, "f: i is 7, expected 8 to 9");
    ck_assert_int_eq(g4_json_opt_int(&j, "x", 0, 9, &i, &e), G4_EINPUT);
    ck_assert_str_eq(e.msg, "f: x is 1.5, expected an integer");
    ck_assert_int_eq(g4_json_opt_int(&j, "s", 0, 9, &i, &e), G4_EINPUT);
    ck_assert_int_eq(g4_json_opt_num(&j, "x", 2, 3, &x, &e), G4_EINPUT);
    ck_assert_int_eq(g4_json_opt_num(&j, "b", 0, 3, &x, &e), G4_EINPUT);
    ck_assert_int_eq(g4_json_opt_bool(&j, "i", &b, &e), G4_EINPUT);
    ck_assert_int_eq(g4_json_opt_str(&j, "o", &s, &e), G4_EINPUT);
    ck_assert_str_eq(e.msg, "f: o is {\"k\":1}, expected a string");
    ck_assert_int_eq(g4_json_object(&j, "l", 1, &m, &e), G4_EINPUT);
    ck_assert_int_eq(g4_json_array(&j, "gone", 1, &m, &e), G4_EINPUT);
    g4_json_free(&j);
}
END_TEST

/* ---- files ---- */

static char folder[] = "/tmp/g4-check-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

static int files_in_folder(void)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void folder_make(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void folder_remove(void)
{
    char path[PATH_MAX];
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (unlink(path) != 0) rmdir(path);
    }
    closedir(d);
    rmdir(folder);
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);   /* for CK_FORK=no */
}

START_TEST(file_read_and_map)
{
    g4_err e;
    g4_map m;
    uint8_t *data;
    size_t size;
    put(in_folder("f"), "hello");
    ck_assert_int_eq(g4_file_read(in_folder("f"), 5, &data, &size, &e), G4_OK);
    ck_assert_uint_eq(size, 5);
    ck_assert_str_eq((char *)data, "hello");   /* the NUL behind it */
    free(data);
    ck_assert_int_eq(g4_file_read(in_folder("f"), 4, &data, &size, &e), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(e.msg, "f: 5 bytes, more than the 4 allowed"));
    ck_assert_ptr_null(data);
    ck_assert_int_eq(g4_map_open(&m, in_folder("f"), &e), G4_OK);
    ck_assert_mem_eq(m.data, "hello", 5);
    g4_map_close(&m);
    put(in_folder("empty"), "");
    ck_assert_int_eq(g4_map_open(&m, in_folder("empty"), &e), G4_OK);
    ck_assert_uint_eq(m.size, 0);
    g4_map_close(&m);
    ck_assert_int_eq(g4_path_kind(in_folder("f")), 1);
    ck_assert_int_eq(g4_path_kind(folder), 2);
    ck_assert_int_eq(g4_path_kind(in_folder("gone")), 0);
}
END_TEST

/* A pipe without a writer would block forever; a folder opens but does not read. */
START_TEST(file_refuses_what_is_no_file)
{
    g4_err e;
    g4_map m;
    uint8_t *data;
    size_t size;
    ck_assert_int_eq(mkfifo(in_folder("pipe"), 0600), 0);
    const char *bad[] = { in_folder("pipe"), folder, "/dev/zero" };
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(g4_map_open(&m, bad[i], &e), G4_EINPUT);
        ck_assert_ptr_nonnull(strstr(e.msg, bad[i]));
        ck_assert_ptr_nonnull(strstr(e.msg, "not a regular file"));
        ck_assert_int_eq(g4_file_read(bad[i], 100, &data, &size, &e), G4_EINPUT);
    }
    g4_out o;
    ck_assert_int_eq(g4_out_open(&o, in_folder("pipe"), &e), G4_EINPUT);
    g4_out_abort(&o);
    ck_assert_int_eq(g4_map_open(&m, in_folder("gone"), &e), G4_EIO);
}
END_TEST

static g4_status write_file(const char *path, const char *text, g4_err *e)
{
    g4_out o;
    g4_status s = g4_out_open(&o, path, e);
    if (s == G4_OK) s = g4_out_write(&o, text, strlen(text), e);
    if (s == G4_OK) s = g4_out_printf(&o, e, "%d\n", 5);
    if (s == G4_OK) s = g4_out_commit(&o, e);
    g4_out_abort(&o);
    return s;
}

static void ck_assert_holds(const char *path, const char *text)
{
    uint8_t *data;
    size_t size;
    ck_assert_int_eq(g4_file_read(path, 1 << 24, &data, &size, NULL), G4_OK);
    ck_assert_str_eq((char *)data, text);
    free(data);
}

START_TEST(out_replaces_when_whole)
{
    g4_err e;
    g4_out o;
    const char *path = in_folder("out");
    put(path, "old");
    ck_assert_int_eq(g4_out_open(&o, path, &e), G4_OK);
    ck_assert_int_eq(g4_out_write(&o, "half", 4, &e), G4_OK);
    ck_assert_holds(path, "old");   /* not before the commit */
    g4_out_abort(&o);
    g4_out_abort(&o);
    ck_assert_holds(path, "old");
    ck_assert_int_eq(files_in_folder(), 1);
    ck_assert_int_eq(write_file(path, "new", &e), G4_OK);
    ck_assert_holds(path, "new5\n");
    ck_assert_int_eq(files_in_folder(), 1);
}
END_TEST

/* More than the buffer, in odd pieces, comes out in order. */
START_TEST(out_large)
{
    enum { PIECE = 99991, PIECES = 60 };
    g4_out o;
    uint8_t *piece = malloc(PIECE), *data;
    size_t size;
    ck_assert_int_eq(g4_out_open(&o, in_folder("out"), NULL), G4_OK);
    for (int i = 0; i < PIECES; i++) {
        memset(piece, i, PIECE);
        ck_assert_int_eq(g4_out_write(&o, piece, i % 7 ? PIECE : 3, NULL), G4_OK);
    }
    uint64_t written = o.written;
    ck_assert_int_eq(g4_out_commit(&o, NULL), G4_OK);
    ck_assert_int_eq(g4_file_read(in_folder("out"), 1 << 24, &data, &size, NULL), G4_OK);
    ck_assert_uint_eq(size, written);
    size_t at = 0;
    for (int i = 0; i < PIECES; i++) {
        size_t n = i % 7 ? PIECE : 3;
        memset(piece, i, n);
        ck_assert_mem_eq(data + at, piece, n);
        at += n;
    }
    ck_assert_uint_eq(at, size);
    free(data);
    free(piece);
}
END_TEST

static const int io_errors[] = { EIO, ENOSPC, EINTR, FAULT_SHORT };

/* Whatever file operation fails: the old text or the new one, never a part, and
 * no temporary file stays.  A short or interrupted write is simply continued. */
START_TEST(out_survives_io_faults)
{
    const char *path = in_folder("out");
    int error = io_errors[_i / 2], persistent = _i % 2;
    if (error == EINTR && persistent) return;   /* would rightly be tried for ever */
    for (long n = 1;; n++) {
        g4_err e = { .msg = "" };
        put(path, "old");
        fault_io_arm(n, persistent, error);
        g4_status s = write_file(path, "new", &e);
        fault_end();
        int fired = fault_fired();
        ck_assert_int_eq(fault_live(), 0);
        if (!fired) {
            ck_assert_int_eq(s, G4_OK);
            ck_assert_int_ge(n, 5);   /* mkstemps, write, close, fsync, rename, ... */
            return;
        }
        uint8_t *data;
        size_t size;
        ck_assert_int_eq(g4_file_read(path, 100, &data, &size, NULL), G4_OK);
        int is_new = strcmp((char *)data, "new5\n") == 0;
        ck_assert(is_new || strcmp((char *)data, "old") == 0);
        free(data);
        if (s == G4_OK) ck_assert(is_new);
        else ck_assert_msg(strstr(e.msg, path) != NULL, "%s", e.msg);
        ck_assert_int_eq(files_in_folder(), 1);
    }
}
END_TEST

START_TEST(read_survives_io_faults)
{
    const char *path = in_folder("f");
    int error = io_errors[_i / 2], persistent = _i % 2;
    if (error == EINTR && persistent) return;
    put(path, "some text");
    for (long n = 1;; n++) {
        g4_err e = { .msg = "" };
        uint8_t *data;
        size_t size;
        fault_io_arm(n, persistent, error);
        g4_status s = g4_file_read(path, 100, &data, &size, &e);
        fault_end();
        if (s == G4_OK) {
            ck_assert_uint_eq(size, 9);
            ck_assert_str_eq((char *)data, "some text");
            free(data);
        } else {
            ck_assert_msg(strstr(e.msg, path) != NULL, "%s", e.msg);
            ck_assert_ptr_null(data);
        }
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
    }
}
END_TEST

START_TEST(files_survive_out_of_memory)
{
    const char *path = in_folder("out");
    for (int persistent = 0; persistent < 2; persistent++)
        for (long n = 1;; n++) {
            g4_json j;
            g4_err e;
            put(path, "{\"a\":1}");
            fault_alloc_arm(n, persistent);
            g4_status s = g4_json_load(&j, path, 100, &e);
            if (s == G4_OK) g4_json_free(&j);
            if (s == G4_OK) s = write_file(path, "new", &e);
            fault_end();
            ck_assert_int_eq(fault_live(), 0);
            ck_assert_int_eq(files_in_folder(), 1);
            if (!fault_fired()) break;
            /* The last one serves the folder's fsync: the file is there by then. */
            ck_assert_int_eq(s, G4_ENOMEM);
        }
}
END_TEST

/* ---- thread pool ---- */

typedef struct tally {
    int64_t n, grain;
    int threads;
    int *hits;   /* [n] */
    int bad;
} tally;

static void count_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    tally *t = ctx;
    /* The pieces depend on n and grain alone. */
    int fits = begin % t->grain == 0 && end > begin && end <= t->n &&
               (end - begin == t->grain || end == t->n) && worker >= 0 && worker < t->threads;
    if (!fits) __atomic_store_n(&t->bad, 1, __ATOMIC_RELAXED);
    else
        for (int64_t i = begin; i < end; i++) t->hits[i]++;
}

static const int thread_counts[] = { 1, 2, 3, 8 };

START_TEST(par_covers_each_index_once)
{
    static const int64_t cases[][2] = { { 0, 1 }, { 1, 1 }, { 7, 3 }, { 1000, 1 }, { 1000, 7 },
                                        { 1000, 999 }, { 1000, 1000 }, { 1000, 5000 } };
    g4_par *par;
    g4_err e;
    ck_assert_int_eq(g4_par_open(&par, thread_counts[_i], &e), G4_OK);
    ck_assert_int_eq(g4_par_threads(par), thread_counts[_i]);
    for (int round = 0; round < 50; round++)
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            int hits[1000] = { 0 };
            tally t = { .n = cases[c][0], .grain = cases[c][1], .threads = thread_counts[_i],
                        .hits = hits };
            g4_par_for(par, t.n, t.grain, count_piece, &t);
            ck_assert_int_eq(t.bad, 0);
            int wrong = 0;   /* one assert, not a million: each is a write to a pipe */
            for (int64_t i = 0; i < 1000; i++) wrong += hits[i] != (i < t.n);
            ck_assert_int_eq(wrong, 0);
        }
    g4_par_close(par);
}
END_TEST

START_TEST(par_open_faults)
{
    g4_par *par;
    g4_err e;
    ck_assert_int_eq(g4_par_open(&par, 1 << 20, &e), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(e.msg, "1048576"));
    ck_assert_ptr_null(par);
    for (long n = 1; n <= 2; n++) {
        fault_alloc_arm(n, 0);
        g4_status s = g4_par_open(&par, 3, &e);
        fault_end();
        ck_assert_int_eq(s, G4_ENOMEM);
        ck_assert_int_eq(fault_live(), 0);
    }
    ck_assert_int_eq(g4_par_open(&par, 0, &e), G4_OK);   /* all CPUs */
    ck_assert_int_ge(g4_par_threads(par), 1);
    g4_par_close(par);
    g4_par_close(NULL);
}
END_TEST

/* ---- 16-bit floats: every one of them ---- */

/* The value of an f16 by the book: (-1)^s 2^(e-15) (1 + m/1024), subnormal m 2^-24. */
static double f16_value(unsigned h)
{
    int e = (h >> 10) & 31, m = h & 0x3ff;
    double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

START_TEST(f16_all)
{
    for (unsigned h = 0; h < 65536; h++) {
        float f = g4_f16_to_f32((uint16_t)h);
        double v = f16_value(h);
        unsigned back = g4_f32_to_f16(f);
        int good;
        if (v != v)   /* stays a NaN, and a quiet one */
            good = f != f && (g4_f32_bits(f) & 0x400000) &&
                   (back & 0xfe00) == ((h & 0x8000) | 0x7e00);
        else
            good = (double)f == v && !signbit(f) == !signbit(v) && back == h;
        if (!good) ck_abort_msg("f16 %04x", h);
    }
}
END_TEST

START_TEST(bf16_all)
{
    for (unsigned h = 0; h < 65536; h++) {
        float f = g4_bf16_to_f32((uint16_t)h);
        unsigned back = g4_f32_to_bf16(f);
        if (g4_f32_bits(f) != h << 16 || back != (f != f ? h | 0x40 : h))
            ck_abort_msg("bf16 %04x", h);
    }
}
END_TEST

/* Between two neighbours: below the middle goes down, above goes up, the middle
 * to the even one.  top: the largest finite value's bits; the step after it is
 * where infinity begins. */
static void check_rounding(unsigned top, uint16_t (*narrow)(float), double (*value)(unsigned))
{
    for (unsigned h = 0; h <= top; h++) {
        double lo = value(h), hi = h == top ? 2 * lo - value(h - 1) : value(h + 1);
        double mid = (lo + hi) / 2;
        ck_assert((double)(float)mid == mid);
        float m = (float)mid;
        unsigned even = h & 1 ? h + 1 : h;
        for (unsigned sign = 0; sign <= 0x8000; sign += 0x8000) {
            float s = sign ? -1.0f : 1.0f;
            if (narrow(s * m) != (even | sign) || narrow(s * nextafterf(m, 0)) != (h | sign) ||
                narrow(s * nextafterf(m, INFINITY)) != ((h + 1) | sign))
                ck_abort_msg("middle above %04x", h | sign);
        }
    }
}

static double bf16_value(unsigned h)
{
    return (double)g4_bf16_to_f32((uint16_t)h);
}

START_TEST(half_rounding)
{
    check_rounding(0x7bff, g4_f32_to_f16, f16_value);
    check_rounding(0x7f7f, g4_f32_to_bf16, bf16_value);
    ck_assert_uint_eq(g4_f32_to_f16(FLT_MAX), 0x7c00);
    ck_assert_uint_eq(g4_f32_to_f16(-1e-30f), 0x8000);
    ck_assert_uint_eq(g4_f32_to_bf16(FLT_MAX), 0x7f80);
    ck_assert_uint_eq(g4_f32_to_bf16(-INFINITY), 0xff80);
}
END_TEST

/* ---- random numbers ---- */

START_TEST(rng_is_splitmix)
{
    /* The first outputs of SplitMix64 seeded with 0, as published with the generator. */
    static const uint64_t want[] = { 0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u,
                                     0x06c45d188009454fu };
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_uint_eq(g4_mix64((i + 1) * 0x9e3779b97f4a7c15u), want[i]);
}
END_TEST

START_TEST(rng_streams)
{
    /* The mean of n uniform numbers has deviation 1 / sqrt(12 n); six of them are
     * passed by chance once in 5e8, and the numbers are fixed. */
    enum { COUNT = 65536 };
    double bound = 6 / sqrt(12.0 * COUNT);
    for (uint64_t seed = 0; seed < 4; seed++)
        for (uint64_t stream = 0; stream < 4; stream++) {
            double sum = 0;
            int outside = 0;
            for (uint64_t i = 0; i < COUNT; i++) {
                double u = g4_rng_unit(seed, stream, i);
                sum += u;
                outside += !(u >= 0 && u < 1);
            }
            ck_assert_int_eq(outside, 0);
            ck_assert(fabs(sum / COUNT - 0.5) < bound);
            ck_assert_uint_ne(g4_rng_u64(seed, stream, 0), g4_rng_u64(seed, stream + 1, 0));
            ck_assert_uint_ne(g4_rng_u64(seed, stream, 0), g4_rng_u64(seed + 1, stream, 0));
        }
}
END_TEST

static TCase *group(Suite *s, const char *name)
{
    TCase *t = tcase_create(name);
    tcase_set_tags(t, "unit");
    suite_add_tcase(s, t);
    return t;
}

Suite *check_base(void)
{
    Suite *s = suite_create("base");
    TCase *t = group(s, "arena");
    tcase_add_test(t, arena_zeroed_and_aligned);
    tcase_add_test(t, arena_refuses_overflow);
    tcase_add_test(t, arena_strings);
    tcase_add_test(t, arena_out_of_memory);
    t = group(s, "err");
    tcase_add_test(t, err_escapes_control_bytes);
    tcase_add_test(t, err_cuts_long_messages);
    tcase_add_test(t, bytes_cursor);
    t = group(s, "json");
    tcase_add_loop_test(t, json_refuses, 0, sizeof bad_json / sizeof *bad_json);
    tcase_add_test(t, json_depth);
    tcase_add_test(t, json_getters);
    tcase_add_test(t, json_getters_name_the_fault);
    t = group(s, "files");
    tcase_add_checked_fixture(t, folder_make, folder_remove);
    tcase_add_test(t, file_read_and_map);
    tcase_add_test(t, file_refuses_what_is_no_file);
    tcase_add_test(t, out_replaces_when_whole);
    tcase_add_test(t, out_large);
    tcase_add_loop_test(t, out_survives_io_faults, 0, 8);
    tcase_add_loop_test(t, read_survives_io_faults, 0, 8);
    tcase_add_test(t, files_survive_out_of_memory);
    t = group(s, "par");
    tcase_add_loop_test(t, par_covers_each_index_once, 0, 4);
    tcase_add_test(t, par_open_faults);
    t = group(s, "half");
    tcase_add_test(t, f16_all);
    tcase_add_test(t, bf16_all);
    tcase_add_test(t, half_rounding);
    t = group(s, "rng");
    tcase_add_test(t, rng_is_splitmix);
    tcase_add_test(t, rng_streams);
    return s;
}
