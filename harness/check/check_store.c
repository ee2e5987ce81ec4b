/* SPDX-License-Identifier: Apache-2.0
 * ref/file: safetensors and sharded folders, good ones and hostile ones.  Each
 * bad file gives G4_EINPUT and a message that names the file and the fault;
 * nothing of it stays allocated. */
#include "harness/check/fault.h"
#include "harness/check/st_file.h"
#include "harness/check/tempdir.h"
#include "ref/file/store.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_store(void);

/* Parses a copy of exactly this size, so that ASan sees a byte too far. */
static g4_status parse(const uint8_t *data, size_t size, g4_err *err)
{
    g4_store *s;
    uint8_t *exact = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, data, size);
    *err = (g4_err){ G4_OK, "" };
    fault_begin();
    g4_status st = g4_store_parse(&s, "dir/m.safetensors", exact, size, err);
    if (st == G4_OK) g4_store_close(s);
    fault_end();
    ck_assert_int_eq(fault_live(), 0);
    ck_assert(st == G4_OK || s == NULL);
    free(exact);
    return st;
}

static void refused(g4_status st, const g4_err *err, const char *starts, const char *says)
{
    ck_assert_msg(st == G4_EINPUT, "taken, or %d: %s (wanted: %s)", (int)st, err->msg, says);
    ck_assert_msg(strncmp(err->msg, starts, strlen(starts)) == 0, "%s", err->msg);
    ck_assert_msg(strstr(err->msg, says) != NULL, "%s (wanted: %s)", err->msg, says);
    for (const char *p = err->msg; *p; p++) ck_assert_msg((unsigned char)*p >= 32, "raw byte");
}

#define ENTRY(dtype, shape, from, to) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
#define ONE(dtype, shape, from, to) "{\"x\":" ENTRY(dtype, shape, from, to) "}"
#define TWO(a, b) "{\"a\":" a ",\"b\":" b "}"
#define EIGHT(e) e "," e "," e "," e "," e "," e "," e "," e

static const struct {
    const char *header;
    int64_t claim;       /* length in the file; -1: the true one */
    size_t data;         /* bytes behind the header */
    const char *says;
} bad[] = {
    /* the length */
    { "{}", 3, 0, "header of 3 bytes in a file of 10" },
    { "{}", 100000001, 0, "header of 100000001 bytes in a file of 10" },
    { "{}", INT64_MAX, 0, "header of 9223372036854775807 bytes" },
    { "{}", 1, 1, "not valid JSON" },
    { "{}", 0, 0, "header does not begin with {" },
    /* the header */
    { " {}", -1, 0, "header does not begin with {" },
    { "[]", -1, 0, "header does not begin with {" },
    { "null", -1, 0, "header does not begin with {" },
    { "\xef\xbb\xbf{}", -1, 0, "header does not begin with {" },
    { "{", -1, 0, "not valid JSON" },
    { "{}x", -1, 0, "not valid JSON" },
    { "{}\n{}", -1, 0, "not valid JSON" },
    { "{\"x\":" ENTRY("F32", "[1]", "0", "4") ",}", -1, 4, "not valid JSON" },
    { "{\"\xff\xfe\":" ENTRY("F32", "[1]", "0", "4") "}", -1, 4, "not valid JSON" },
    { "{\"a\\u0000b\":" ENTRY("F32", "[1]", "0", "4") "}", -1, 4, "NUL" },
    { "{\"x\":" ENTRY("F32", "[1]", "0", "4") ",\"x\":" ENTRY("F32", "[1]", "4", "8") "}", -1, 8,
      "duplicate" },
    { "{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4,
      "duplicate" },
    { "{\"__metadata__\":5}", -1, 0, "__metadata__ is no map of strings" },
    { "{\"__metadata__\":{\"format\":1}}", -1, 0, "__metadata__ is no map of strings" },
    { "{\"x\":[]}", -1, 0, "header entry x is no object" },
    { "{\"x\":null}", -1, 0, "header entry x is no object" },
    { "{\"x\\u001b[31m\":7}", -1, 0, "header entry x\\x1b[31m is no object" },
    /* dtype */
    { "{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4, "tensor x has dtype (none)" },
    { "{\"x\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4, "x has dtype (none)" },
    { ONE("f32", "[1]", "0", "4"), -1, 4, "tensor x has dtype f32, which is unknown" },
    { ONE("F128", "[1]", "0", "16"), -1, 16, "tensor x has dtype F128" },
    { ONE("", "[1]", "0", "4"), -1, 4, "tensor x has dtype , which" },
    /* shape */
    { "{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", -1, 4, "tensor x has no shape" },
    { ONE("F32", "4", "0", "4"), -1, 4, "tensor x has no shape" },
    { ONE("F32", "[-1]", "0", "4"), -1, 4, "tensor x: bad shape at dimension 0" },
    { ONE("F32", "[1,\"1\"]", "0", "4"), -1, 4, "tensor x: bad shape at dimension 1" },
    { ONE("F32", "[1.0]", "0", "4"), -1, 4, "tensor x: bad shape at dimension 0" },
    { ONE("F32", "[true]", "0", "4"), -1, 4, "tensor x: bad shape at dimension 0" },
    { ONE("F32", "[4611686018427387905]", "0", "4"), -1, 4, "bad shape at dimension 0" },
    { ONE("F32", "[4294967296,4294967296]", "0", "0"), -1, 0, "bad shape at dimension 1" },
    { ONE("U8", "[9223372036854775807,2,2]", "0", "0"), -1, 0, "bad shape at dimension 2" },
    { ONE("F32", "[18446744073709551616]", "0", "0"), -1, 0, "too big" },
    { ONE("F32", "[" EIGHT("1") ",1]", "0", "4"), -1, 4, "tensor x has 9 dimensions" },
    { ONE("F32", "[2]", "0", "4"), -1, 4, "tensor x: shape needs 8 bytes, not the 4 given" },
    { ONE("BF16", "[]", "0", "4"), -1, 4, "tensor x: shape needs 2 bytes, not the 4 given" },
    { ONE("F32", "[0]", "0", "4"), -1, 4, "tensor x: shape needs 0 bytes, not the 4 given" },
    /* data_offsets */
    { "{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", -1, 4, "data_offsets is no pair" },
    { "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", -1, 4, "no pair" },
    { "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", -1, 4, "no pair" },
    { "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{}}}", -1, 4, "no pair" },
    { ONE("F32", "[1]", "0", "4.0"), -1, 4, "tensor x: data_offsets is no pair of integers" },
    { ONE("F32", "[1]", "\"0\"", "4"), -1, 4, "tensor x: data_offsets is no pair" },
    { ONE("F32", "[1]", "-4", "0"), -1, 4, "tensor x: bytes -4 to 0 lie outside 4" },
    { ONE("F32", "[1]", "0", "-4"), -1, 4, "tensor x: bytes 0 to -4 lie outside" },
    { ONE("F32", "[1]", "4", "0"), -1, 4, "tensor x: bytes 4 to 0 lie outside" },
    { ONE("F32", "[2]", "0", "8"), -1, 4, "tensor x: bytes 0 to 8 lie outside 4" },
    { ONE("F32", "[1]", "9223372036854775803", "9223372036854775807"), -1, 4, "lie outside 4" },
    { ONE("F32", "[1]", "-9223372036854775808", "-9223372036854775804"), -1, 4, "lie outside 4" },
    /* how ranges lie */
    { "{}", -1, 1, "1 bytes behind the last tensor" },
    { ONE("F32", "[1]", "0", "4"), -1, 5, "1 bytes behind the last tensor" },
    { ONE("F32", "[1]", "1", "5"), -1, 5, "tensor x begins at byte 1, not at 0" },
    { TWO(ENTRY("F32", "[1]", "0", "4"), ENTRY("F32", "[1]", "5", "9")), -1, 9,
      "tensor b begins at byte 5, not at 4" },
    { TWO(ENTRY("F32", "[2]", "0", "8"), ENTRY("F32", "[1]", "4", "8")), -1, 8,
      "tensor b begins at byte 4, not at 8" },
    { TWO(ENTRY("F32", "[1]", "0", "4"), ENTRY("F32", "[1]", "0", "4")), -1, 4,
      "begins at byte 0, not at 4" },
    { TWO(ENTRY("F32", "[2]", "0", "8"), ENTRY("F32", "[0]", "4", "4")), -1, 8,
      "tensor b begins at byte 4, not at 8" },
};

enum { BAD = sizeof bad / sizeof *bad };

START_TEST(bad_headers)
{
    size_t size;
    g4_err err;
    uint8_t *file = st_file_raw(bad[_i].header, strlen(bad[_i].header), bad[_i].claim, bad[_i].data,
                                &size);
    g4_status st = parse(file, size, &err);
    refused(st, &err, "dir/m.safetensors: ", bad[_i].says);
    free(file);
}
END_TEST

/* Ranges out of the names' order are fine: only their places count. */
static const char good_header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":" ENTRY("BF16", "[2,3]", "0", "12") ",\"empty\":" ENTRY("F32", "[0,5]", "12", "12")
    ",\"a\":" ENTRY("F32", "[]", "15", "19") ",\"odd\":" ENTRY("I8", "[3]", "12", "15")
    ",\"\":" ENTRY("I64", "[1,1,1,1,1,1,1,1]", "19", "27") "}   ";
enum { GOOD_DATA = 27 };

START_TEST(good_file)
{
    size_t size, header = strlen(good_header);
    uint8_t *file = st_file_raw(good_header, header, -1, GOOD_DATA, &size);
    g4_store *s;
    g4_err err = { G4_OK, "" };
    ck_assert_msg(g4_store_parse(&s, "f", file, size, &err) == G4_OK, "%s", err.msg);
    ck_assert_uint_eq(g4_store_count(s), 5);
    ck_assert_uint_eq(g4_store_bytes(s), GOOD_DATA);
    static const char *const order[] = { "", "a", "b", "empty", "odd" };
    for (size_t i = 0; i < 5; i++) ck_assert_str_eq(g4_store_at(s, i)->name, order[i]);
    ck_assert_ptr_null(g4_store_at(s, 5));
    ck_assert_ptr_null(g4_store_find(s, "c"));
    ck_assert_ptr_null(g4_store_find(s, "__metadata__"));
    const g4_tensor *b = g4_store_find(s, "b"), *a = g4_store_find(s, "a");
    ck_assert(b->type == G4_ST_DTYPE && b->dtype == G4_BF16);
    ck_assert(b->rank == 2 && b->shape[0] == 2 && b->shape[1] == 3);
    ck_assert(b->bytes == 12 && b->data == file + 8 + header);
    ck_assert_str_eq(b->type_name, "BF16");
    ck_assert_str_eq(b->file, "f");
    ck_assert(a->type == G4_ST_DTYPE && a->dtype == G4_F32);
    ck_assert(a->rank == 0 && a->bytes == 4 && a->data[0] == 15);
    ck_assert(g4_store_find(s, "empty")->bytes == 0);
    ck_assert(g4_store_find(s, "odd")->type == G4_ST_OTHER);
    ck_assert(g4_store_find(s, "")->rank == 8 && g4_store_find(s, "")->type == G4_ST_I64);
    g4_store_close(s);
    g4_store_close(NULL);
    free(file);
}
END_TEST

START_TEST(truncated_anywhere)
{
    size_t size;
    g4_err err;
    uint8_t *file = st_file_raw(good_header, strlen(good_header), -1, GOOD_DATA, &size);
    ck_assert_int_eq(parse(file, size, &err), G4_OK);
    for (size_t n = 0; n < size; n++)
        refused(parse(file, n, &err), &err, "dir/m.safetensors: ", "");
    free(file);
}
END_TEST

/* Every bit of length and header flipped: an error or another good file. */
START_TEST(flipped_bits)
{
    size_t size, header = strlen(good_header);
    g4_err err;
    uint8_t *file = st_file_raw(good_header, header, -1, GOOD_DATA, &size);
    int taken = 0;
    for (size_t i = 0; i < 8 * (8 + header); i++) {
        file[i / 8] ^= (uint8_t)(1 << i % 8);
        g4_status st = parse(file, size, &err);
        if (st == G4_OK) taken++;
        else refused(st, &err, "dir/m.safetensors: ", "");
        file[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    /* A bit of a name or of the metadata may flip, one of a number may not. */
    ck_assert_int_gt(taken, 0);
    ck_assert_int_lt(taken, 600);
    free(file);
}
END_TEST

START_TEST(deep_headers)
{
    enum { DEEP = 100000 };
    char *text = malloc(DEEP + 32);
    size_t size, n = 0;
    g4_err err;
    ck_assert_ptr_nonnull(text);
    n = (size_t)sprintf(text, "{\"x\":");
    memset(text + n, '[', DEEP);
    uint8_t *file = st_file_raw(text, n + DEEP, -1, 0, &size);
    refused(parse(file, size, &err), &err, "dir/m.safetensors: ", "nested deeper than 64");
    free(file);
    free(text);
}
END_TEST

/* A header of the format's own largest size could become 8 GB of values. */
START_TEST(header_of_many_values)
{
    static const char *const values[] = { "{},", "[],", "0,", "\"\"," };
    size_t width = strlen(values[_i]), size, n = 24 << 20;
    char *text = malloc(n + 32);
    g4_err err;
    ck_assert_ptr_nonnull(text);
    size_t at = (size_t)sprintf(text, "{\"x\":[");
    for (; at + width < n; at += width) memcpy(text + at, values[_i], width);
    memcpy(text + at, "0]}", 3);
    uint8_t *file = st_file_raw(text, at + 3, -1, 0, &size);
    refused(parse(file, size, &err), &err, "dir/m.safetensors: ", "JSON of more than");
    free(file);
    free(text);
}
END_TEST

/* As many tensors as a large model has, named out of order. */
START_TEST(many_tensors)
{
    enum { MANY = 20000 };
    st_tensor *t = calloc(MANY, sizeof *t);
    char(*names)[16] = calloc(MANY, sizeof *names);
    uint8_t value[2] = { 1, 2 };
    g4_store *s;
    size_t size;
    ck_assert(t && names);
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof *names, "t%d", (i * 7919) % MANY);
        t[i] = (st_tensor){ names[i], "F16", 1, { 1 }, value, 2 };
    }
    uint8_t *file = st_file_make(t, MANY, 5, &size);
    ck_assert_int_eq(g4_store_parse(&s, "f", file, size, NULL), G4_OK);
    ck_assert_uint_eq(g4_store_count(s), MANY);
    for (int i = 0; i < MANY; i += 97) ck_assert_ptr_nonnull(g4_store_find(s, names[i]));
    g4_store_close(s);
    free(file);
    free(names);
    free(t);
}
END_TEST

/* ---- folders ---- */

static char dir[TEMPDIR_MAX];

static void folder_make(void)
{
    tempdir_make(dir);
}

static void folder_remove(void)
{
    tempdir_remove(dir);
}

static g4_status open_dir(g4_store **s, g4_err *err)
{
    *err = (g4_err){ G4_OK, "" };
    fault_begin();
    g4_status st = g4_store_open(s, dir, err);
    fault_end();
    if (st != G4_OK) {
        ck_assert_ptr_null(*s);
        ck_assert_int_eq(fault_live(), 0);
    }
    return st;
}

static void write_shard(const char *name, const char *tensor, const char *second)
{
    static const float values[2] = { 1, 2 };
    st_tensor t[2] = { { tensor, "F32", 1, { 2 }, values, 8 },
                       { second, "F32", 1, { 1 }, values, 4 } };
    size_t size;
    uint8_t *file = st_file_make(t, second ? 2 : 1, 0, &size);
    tempdir_write(dir, name, file, size);
    free(file);
}

static void write_index(const char *text)
{
    tempdir_write(dir, "model.safetensors.index.json", text, strlen(text));
}

#define INDEX(map) "{\"metadata\":{\"total_size\":20},\"weight_map\":{" map "}}"
#define GOOD_MAP "\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\",\"c\":\"s2.safetensors\""

static void write_good_shards(void)
{
    write_shard("s1.safetensors", "a", NULL);
    write_shard("s2.safetensors", "c", "b");
}

START_TEST(good_shards)
{
    g4_store *s;
    g4_err err;
    char path[TEMPDIR_MAX];
    write_good_shards();
    write_index(INDEX(GOOD_MAP));
    ck_assert_msg(open_dir(&s, &err) == G4_OK, "%s", err.msg);
    ck_assert_uint_eq(g4_store_count(s), 3);
    tempdir_path(path, dir, "s2.safetensors");
    ck_assert_str_eq(g4_store_find(s, "b")->file, path);
    ck_assert_uint_eq(g4_store_bytes(s), 20);
    g4_store_close(s);
    ck_assert_int_eq(fault_live(), 0);
}
END_TEST

/* A downloaded folder holds links into a folder of blobs, the index too. */
START_TEST(links_work)
{
    static const char *const names[] = { "s1.safetensors", "s2.safetensors",
                                         "model.safetensors.index.json" };
    char from[TEMPDIR_MAX], to[TEMPDIR_MAX], blobs[TEMPDIR_MAX];
    g4_store *s;
    g4_err err;
    write_good_shards();
    write_index(INDEX(GOOD_MAP));
    tempdir_path(blobs, dir, "blobs");
    ck_assert_int_eq(mkdir(blobs, 0700), 0);
    for (int i = 0; i < 3; i++) {
        char target[64];
        tempdir_path(from, dir, names[i]);
        tempdir_path(to, blobs, names[i]);
        ck_assert_int_eq(rename(from, to), 0);
        snprintf(target, sizeof target, "blobs/%s", names[i]);
        ck_assert_int_eq(symlink(target, from), 0);
    }
    ck_assert_msg(open_dir(&s, &err) == G4_OK, "%s", err.msg);
    ck_assert_uint_eq(g4_store_count(s), 3);
    g4_store_close(s);
}
END_TEST

/* Transformers looks for model.safetensors first. */
START_TEST(single_file_first)
{
    g4_store *s;
    g4_err err;
    write_shard("model.safetensors", "alone", NULL);
    write_index("not even JSON");
    ck_assert_msg(open_dir(&s, &err) == G4_OK, "%s", err.msg);
    ck_assert_ptr_nonnull(g4_store_find(s, "alone"));
    g4_store_close(s);
}
END_TEST

static const struct {
    const char *index, *says;
} bad_indexes[] = {
    { "", "index.json: not valid JSON" },
    { "[]", "index.json: not a JSON object" },
    { "{}", "index.json: weight_map is missing" },
    { "{\"weight_map\":[]}", "index.json: weight_map is []" },
    { INDEX(""), "index.json: weight_map names 0 shards" },
    { INDEX("\"a\":7"), "index.json: weight_map of a is no plain file name" },
    { INDEX("\"a\":\"\""), "weight_map of a is no plain file name" },
    { INDEX("\"a\":\".\""), "weight_map of a is no plain file name" },
    { INDEX("\"a\":\"..\""), "weight_map of a is no plain file name" },
    { INDEX("\"a\":\"../s1.safetensors\""), "weight_map of a is no plain file name" },
    { INDEX("\"a\":\"/etc/passwd\""), "weight_map of a is no plain file name" },
    { INDEX("\"a\":\"blobs/s1.safetensors\""), "weight_map of a is no plain file name" },
    { INDEX("\"a\":\"s1.safetensors\\u0000\""), "not valid JSON" },
    { INDEX("\"a\":\"s1.safetensors\",\"a\":\"s2.safetensors\""), "duplicate" },
    { INDEX("\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\""),
      "index.json: tensor c of" },
    { INDEX(GOOD_MAP ",\"d\":\"s1.safetensors\""),
      "index.json: tensor d is not in s1.safetensors" },
    { INDEX("\"a\":\"s2.safetensors\",\"b\":\"s2.safetensors\",\"c\":\"s1.safetensors\""),
      "index.json: tensor a is not in s2.safetensors" },
    { INDEX(GOOD_MAP ",\"d\":\"s3.safetensors\""), "s3.safetensors: not a regular file" },
    { INDEX(GOOD_MAP ",\"d\":\"model.safetensors.index.json\""), "index.json: header of" },
    { INDEX(GOOD_MAP ",\"e\":\"s4.safetensors\""), "tensor a is also in" },
};

START_TEST(bad_index)
{
    g4_store *s;
    g4_err err;
    char path[TEMPDIR_MAX];
    write_good_shards();
    write_shard("s4.safetensors", "a", "e");
    tempdir_path(path, dir, "s3.safetensors");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    write_index(bad_indexes[_i].index);
    g4_status st = open_dir(&s, &err);
    refused(st, &err, dir, bad_indexes[_i].says);
}
END_TEST

START_TEST(missing_shard)
{
    g4_store *s;
    g4_err err;
    write_shard("s1.safetensors", "a", NULL);
    write_index(INDEX(GOOD_MAP));
    ck_assert_int_eq(open_dir(&s, &err), G4_EIO);
    ck_assert_msg(strstr(err.msg, "/s2.safetensors: cannot open: No such file") != NULL, "%s",
                  err.msg);
}
END_TEST

static void make_pipe(const char *path)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
}

static void make_folder(const char *path)
{
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void make_device(const char *path)
{
    ck_assert_int_eq(symlink("/dev/zero", path), 0);
}

static void make_empty(const char *path)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    fclose(f);
}

static void make_loop(const char *path)
{
    ck_assert_int_eq(symlink("model.safetensors", path), 0);
}

static void make_nothing(const char *path)
{
    (void)path;
}

static const struct {
    void (*make)(const char *path);
    g4_status status;
    const char *says;
} no_files[] = {
    { make_pipe, G4_EINPUT, "/model.safetensors: not a regular file" },
    { make_folder, G4_EINPUT, "/model.safetensors: not a regular file" },
    { make_device, G4_EINPUT, "/model.safetensors: not a regular file" },
    { make_empty, G4_EINPUT, "/model.safetensors: 0 bytes are no safetensors file" },
    { make_loop, G4_EIO, "/model.safetensors: cannot open" },
    { make_nothing, G4_EIO, "/model.safetensors: cannot open: No such file" },
};

START_TEST(not_files)
{
    g4_store *s;
    g4_err err;
    char path[TEMPDIR_MAX];
    tempdir_path(path, dir, "model.safetensors");
    no_files[_i].make(path);
    ck_assert_int_eq(open_dir(&s, &err), no_files[_i].status);
    ck_assert_msg(strncmp(err.msg, dir, strlen(dir)) == 0, "%s", err.msg);
    ck_assert_msg(strstr(err.msg, no_files[_i].says) != NULL, "%s", err.msg);
}
END_TEST

START_TEST(no_folder)
{
    g4_store *s;
    g4_err err;
    ck_assert_int_eq(g4_store_open(&s, "no/such", &err), G4_EINPUT);
    ck_assert_str_eq(err.msg, "no/such: no such model folder");
    ck_assert_int_eq(g4_store_open(&s, "Makefile", &err), G4_EINPUT);
    ck_assert_ptr_null(s);
}
END_TEST

/* ---- failing calls ---- */

START_TEST(nth_allocation_fails)
{
    for (long n = 1;; n++) {
        g4_store *s;
        g4_err err;
        fault_alloc_arm(n, _i);
        g4_status st = g4_store_open(&s, "golden/tiny/mini_sharded", &err);
        g4_store_close(s);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
        ck_assert_int_eq(st, G4_ENOMEM);
        ck_assert_int_lt(n, 1000);
    }
}
END_TEST

START_TEST(nth_file_call_fails)
{
    static const int errors[] = { EIO, EACCES, FAULT_SHORT };
    for (long n = 1;; n++) {
        g4_store *s;
        g4_err err;
        fault_io_arm(n, 0, errors[_i]);
        g4_status st = g4_store_open(&s, "golden/tiny/mini_sharded", &err);
        int closing = strcmp(fault_what(), "close") == 0;   /* of a file only read: no harm */
        g4_store_close(s);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
        if (closing || errors[_i] == FAULT_SHORT) ck_assert_int_eq(st, G4_OK);
        else ck_assert_int_eq(st, G4_EIO);
        ck_assert_int_lt(n, 1000);
    }
}
END_TEST

Suite *check_store(void)
{
    Suite *s = suite_create("store");
    TCase *t = tcase_create("safetensors");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, bad_headers, 0, BAD);
    tcase_add_test(t, good_file);
    tcase_add_test(t, truncated_anywhere);
    tcase_add_test(t, flipped_bits);
    tcase_add_test(t, deep_headers);
    tcase_add_loop_test(t, header_of_many_values, 0, 4);
    tcase_add_test(t, many_tensors);
    suite_add_tcase(s, t);
    t = tcase_create("folders");
    tcase_set_tags(t, "unit");
    tcase_add_checked_fixture(t, folder_make, folder_remove);
    tcase_add_test(t, good_shards);
    tcase_add_test(t, links_work);
    tcase_add_test(t, single_file_first);
    tcase_add_loop_test(t, bad_index, 0, sizeof bad_indexes / sizeof *bad_indexes);
    tcase_add_test(t, missing_shard);
    tcase_add_loop_test(t, not_files, 0, sizeof no_files / sizeof *no_files);
    tcase_add_test(t, no_folder);
    suite_add_tcase(s, t);
    t = tcase_create("faults");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, nth_allocation_fails, 0, 2);
    tcase_add_loop_test(t, nth_file_call_fails, 0, 3);
    suite_add_tcase(s, t);
    return s;
}
