/* SPDX-License-Identifier: Apache-2.0
 * Dumps of other programs: .npy headers good and bad, names, shapes, number
 * types, folders, safetensors, and `compare` over them. */
#include "golden/array.h"
#include "golden/foreign.h"
#include "harness/check/program.h"
#include "harness/check/st_file.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Suite *check_foreign(void);

static g4_err err;
static char dir[TEMPDIR_MAX];

static void setup(void) { tempdir_make(dir); }
static void teardown(void) { tempdir_remove(dir); }

/* The bytes of a .npy of any header text and claimed length (-1: its own), malloc'ed. */
static uint8_t *npy_raw(const char *header, int major, long claim, const void *data, size_t bytes,
                        size_t *size)
{
    size_t n = strlen(header), wide = major == 1 ? 2 : 4, head = 8 + wide + n;
    unsigned long say = claim < 0 ? n : (unsigned long)claim;
    uint8_t *out = malloc(head + bytes);
    ck_assert_ptr_nonnull(out);
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (uint8_t)major;
    out[7] = 0;
    for (size_t i = 0; i < wide; i++) out[8 + i] = (uint8_t)(say >> (8 * i));
    memcpy(out + 8 + wide, header, n);
    if (bytes) memcpy(out + head, data, bytes);
    *size = head + bytes;
    return out;
}

static void npy_write(const char *folder, const char *name, const char *descr, const char *shape,
                      const void *data, size_t bytes)
{
    char header[200];
    size_t size;
    snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n",
             descr, shape);
    uint8_t *file = npy_raw(header, 1, -1, data, bytes, &size);
    tempdir_write(folder, name, file, size);
    free(file);
}

/* ---- headers ---- */

static const float six[6] = { 1, -2, 3, 0.5f, 5, 6 };

START_TEST(reads_headers_of_all_versions)
{
    static const struct {
        const char *header;
        int major, rank;
        int64_t dims[2];
    } good[] = {
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }      \n", 1, 2, { 2, 3 } },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 2, 2, { 2, 3 } },
        { "{ \"shape\":(6,),\t\"fortran_order\":False,\"descr\":\"<f4\"}\n", 3, 1, { 6, 0 } },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 1,)}", 1, 2, { 6, 1 } },
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t size;
        g4_array a = { .name = "x" };
        float out[6];
        uint8_t *file = npy_raw(good[i].header, good[i].major, -1, six, sizeof six, &size);
        ck_assert_msg(g4_npy_parse(&a, "f", file, size, &err) == G4_OK, "%s", err.msg);
        ck_assert(a.rank == good[i].rank && a.kind == 'f' && a.size == 4);
        ck_assert_mem_eq(a.dims, good[i].dims, (size_t)a.rank * sizeof *a.dims);
        ck_assert_int_eq(g4_array_read(&a, G4_GOLDEN_F32, 6, out, &err), G4_OK);
        ck_assert_mem_eq(out, six, sizeof six);
        free(file);
    }
}
END_TEST

#define HEAD(descr, order, shape) \
    "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }"

START_TEST(refuses_hostile_headers)
{
    static const struct {
        const char *header;
        int major;
        long claim;
        size_t bytes;
        const char *says;
    } bad[] = {
        { HEAD("<f4", "False", "(2, 3)"), 1, -1, 23, "needs 24 bytes, and 23 follow" },
        { HEAD("<f4", "False", "(2, 3)"), 1, -1, 25, "needs 24 bytes, and 25 follow" },
        { HEAD("<f4", "False", "(2, 3)"), 4, -1, 24, "version 4.0 is unknown" },
        { HEAD("<f4", "False", "(2, 3)"), 0, -1, 24, "version 0.0 is unknown" },
        { HEAD("<f4", "False", "(2, 3)"), 1, 9999, 24, "a header of 9999 bytes in a file of" },
        { HEAD("<f4", "False", "(2, 3)"), 2, 0x7fffffff, 24, "a header of 2147483647 bytes" },
        { HEAD("<f4", "False", "(2, 3)"), 1, 0, 24, "its header is not" },
        { HEAD("<f4", "False", "(2, 3)"), 1, 30, 24, "its header is not" },
        { HEAD("<f4", "True", "(2, 3)"), 1, -1, 24, "in Fortran order" },
        { HEAD("<f4", "Maybe", "(2, 3)"), 1, -1, 24, "its header is not" },
        { HEAD(">f4", "False", "(2, 3)"), 1, -1, 24, "type '>f4' is none of" },
        { HEAD("<V2", "False", "(2, 3)"), 1, -1, 12, "type '<V2' is none of" },
        { HEAD("|O", "False", "(2, 3)"), 1, -1, 24, "type '|O' is none of" },
        { HEAD("<c8", "False", "(2, 3)"), 1, -1, 48, "type '<c8' is none of" },
        { HEAD("<f4', '<f4", "False", "(2, 3)"), 1, -1, 24, "its header is not" },
        { HEAD("<f44444444", "False", "(2, 3)"), 1, -1, 24, "not that of plain numbers" },
        { "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }", 1, -1, 24,
          "not that of plain numbers" },
        { HEAD("<f4", "False", "(-2, 3)"), 1, -1, 24, "not a tuple of at most 8 sizes" },
        { HEAD("<f4", "False", "(2 3)"), 1, -1, 24, "not a tuple of at most 8 sizes" },
        { HEAD("<f4", "False", "(6)"), 1, -1, 24, "not a tuple of at most 8 sizes" },
        { HEAD("<f4", "False", "6"), 1, -1, 24, "not a tuple of at most 8 sizes" },
        { HEAD("<f4", "False", "(1,1,1,1,1,1,1,1,6)"), 1, -1, 24, "at most 8 sizes" },
        { HEAD("<f4", "False", "(99999999999999999999,)"), 1, -1, 24, "at most 8 sizes" },
        { HEAD("<f4", "False", "(4611686018427387904, 4)"), 1, -1, 0, "has too many values" },
        { HEAD("<f4", "False", "(9223372036854775807, 3)"), 1, -1, 0, "has too many values" },
        { HEAD("<f4", "False", "(6,)") " trailing", 1, -1, 24, "its header is not" },
        { HEAD("<f4", "False", "(6,), 'shape': (6,)"), 1, -1, 24, "its header is not" },
        { HEAD("<f4", "False", "(6,), 'more': 1"), 1, -1, 24, "its header is not" },
        { "{'descr': '<f4', 'shape': (6,), }", 1, -1, 24, "its header is not" },
        { "{'descr': '<f4", 1, -1, 24, "not that of plain numbers" },
        { "__import__('os').abort()", 1, -1, 24, "its header is not" },
        { "{", 1, -1, 24, "its header is not" },
        { "", 1, -1, 24, "its header is not" },
    };
    static const uint8_t zeros[64];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t size;
        g4_array a = { .name = "x" };
        uint8_t *file = npy_raw(bad[i].header, bad[i].major, bad[i].claim, zeros, bad[i].bytes,
                                &size);
        ck_assert_msg(g4_npy_parse(&a, "f.npy", file, size, &err) == G4_EINPUT, "%zu accepted", i);
        ck_assert_msg(strncmp(err.msg, "f.npy: ", 7) == 0 && strstr(err.msg, bad[i].says),
                      "%zu: '%s' lacks '%s'", i, err.msg, bad[i].says);
        free(file);
    }
}
END_TEST

/* Every shorter file is refused: each prefix lies in memory of exactly its size. */
START_TEST(refuses_every_prefix)
{
    size_t size;
    uint8_t *file = npy_raw(HEAD("<f4", "False", "(2, 3)"), 1, -1, six, sizeof six, &size);
    for (size_t n = 0; n < size; n++) {
        g4_array a = { .name = "x" };
        uint8_t *part = malloc(n + 1);
        ck_assert_ptr_nonnull(part);
        uint8_t *exact = part + 1;   /* reading behind it is reading behind the block */
        memcpy(exact, file, n);
        ck_assert_int_eq(g4_npy_parse(&a, "f", exact, n, &err), G4_EINPUT);
        free(part);
    }
    free(file);
}
END_TEST

/* ---- values ---- */

START_TEST(converts_values_exactly)
{
    static const uint16_t half[] = { 0x3c00, 0xc000, 0x0001 };     /* 1, -2, 2^-24 */
    static const uint16_t brain[] = { 0x3f80, 0xc000, 0x7f80 };    /* 1, -2, inf */
    static const double wide[] = { 1, -2, 0x1p-60 };
    float f[3];
    double d[3];
    const g4_array h = { "f", "h", 'f', 2, 1, { 3 }, (const uint8_t *)half };
    const g4_array b = { "f", "b", 'B', 2, 1, { 3 }, (const uint8_t *)brain };
    const g4_array w = { "f", "w", 'f', 8, 1, { 3 }, (const uint8_t *)wide };
    ck_assert_int_eq(g4_array_read(&h, G4_GOLDEN_F32, 3, f, &err), G4_OK);
    ck_assert(f[0] == 1 && f[1] == -2 && f[2] == 0x1p-24f);
    ck_assert_int_eq(g4_array_read(&b, G4_GOLDEN_F32, 3, f, &err), G4_OK);
    ck_assert(f[0] == 1 && f[1] == -2 && f[2] > 3e38f);
    ck_assert_int_eq(g4_array_read(&w, G4_GOLDEN_F64, 3, d, &err), G4_OK);
    ck_assert_mem_eq(d, wide, sizeof d);
}
END_TEST

START_TEST(holds_integers_to_their_range)
{
    static const int64_t wide[] = { 5, -7, INT32_MAX, INT32_MIN, (int64_t)INT32_MAX + 1 };
    static const uint64_t huge[] = { UINT64_MAX };
    static const int8_t small[] = { -1, 127 };
    int32_t i32[5];
    uint8_t u8[2];
    int8_t i8[2];
    g4_array a = { "f", "a", 'i', 8, 1, { 5 }, (const uint8_t *)wide };
    ck_assert_int_eq(g4_array_read(&a, G4_GOLDEN_I32, 4, i32, &err), G4_OK);
    ck_assert(i32[0] == 5 && i32[1] == -7 && i32[2] == INT32_MAX && i32[3] == INT32_MIN);
    ck_assert_int_eq(g4_array_read(&a, G4_GOLDEN_I32, 5, i32, &err), G4_EINPUT);
    ck_assert_str_eq(err.msg, "f: a: value 4 does not fit int32");
    ck_assert_int_eq(g4_array_read(&a, G4_GOLDEN_U8, 2, u8, &err), G4_EINPUT);
    a = (g4_array){ "f", "a", 'u', 8, 1, { 1 }, (const uint8_t *)huge };
    ck_assert_int_eq(g4_array_read(&a, G4_GOLDEN_I32, 1, i32, &err), G4_EINPUT);
    a = (g4_array){ "f", "a", 'i', 1, 1, { 2 }, (const uint8_t *)small };
    ck_assert_int_eq(g4_array_read(&a, G4_GOLDEN_I8, 2, i8, &err), G4_OK);
    ck_assert_mem_eq(i8, small, 2);
    ck_assert_int_eq(g4_array_read(&a, G4_GOLDEN_U8, 2, u8, &err), G4_EINPUT);
}
END_TEST

/* ---- names and shapes ---- */

START_TEST(knows_names_in_their_spellings)
{
    static const char *const same[][2] = {
        { "activations/logits", "activations/logits" },
        { "logits", "activations/logits" },
        { "activations.layers.07.self_attn.q_proj", "activations/layers/07/self_attn/q_proj" },
        { "model.language_model.layers.7.self_attn.q_proj",
          "activations/layers/07/self_attn/q_proj" },
        { "layers.7", "activations/layers/07/output" },
        { "layers/0007/output", "activations/layers/07/output" },
        { "layers.123.mlp.down_proj", "activations/layers/123/mlp/down_proj" },
        { "mtp.step2.layers.1.output", "activations/mtp/step2/layers/01/output" },
        { "input_ids", "inputs/input_ids" },
        { "inputs.position_ids", "inputs/position_ids" },
    };
    static const char *const none[] = { "", ".", "logit", "layers", "layers.", "layers..output",
        "layers.x.output", "layers.1.q_proj", "activations/inputs/input_ids", "../logits",
        "layers.1.output.", "xlayers.1", "layers.1/../2/output",
        ("layers.0000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "000000000000000000000000000000000001.output") };
    char path[G4_GOLDEN_PATH];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        ck_assert_msg(g4_foreign_path(path, same[i][0]), "%s", same[i][0]);
        ck_assert_str_eq(path, same[i][1]);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ck_assert_msg(!g4_foreign_path(path, none[i]), "%s is %s", none[i], path);
}
END_TEST

static const g4_golden_set *find(const g4_golden *g, const char *path, int64_t rows, int64_t cols)
{
    const g4_golden_set *s = g4_golden_find(g, path);
    ck_assert_msg(s != NULL, "%s", path);
    ck_assert_msg(g4_golden_rows(s) == rows && g4_golden_cols(s) == cols, "%s", path);
    return s;
}

static const int64_t three_ids[] = { 2, 9, 4 };
static const double f64s[3] = { 1, 2, 3 };

START_TEST(lists_a_folder_in_order_of_computation)
{
    g4_golden *g;
    g4_prompt p;
    g4_arena arena = { NULL };
    float f[6];
    static const float heads[] = { 1, 2, 3, 4, 5, 6 };   /* [K 2][T 3][H 1] */
    npy_write(dir, "logits.npy", "<f4", "(1, 3, 2)", six, sizeof six);
    npy_write(dir, "layers.0.self_attn.q_norm.npy", "<f4", "(3, 2)", six, sizeof six);
    npy_write(dir, "layers.0.self_attn.q_proj.npy", "<f4", "(3, 2, 1)", six, sizeof six);
    npy_write(dir, "shared_kv.full_attention.key.npy", "<f4", "(2, 3, 1)", heads, sizeof heads);
    npy_write(dir, "norm.npy", "<f8", "(3, 1)", f64s, sizeof f64s);
    npy_write(dir, "input_ids.npy", "<i8", "(1, 3)", three_ids, sizeof three_ids);
    npy_write(dir, "other.npy", "<f4", "(6,)", six, sizeof six);
    npy_write(dir, ".hidden.npy", "<f4", "(6,)", six, 1);
    tempdir_write(dir, "README", "x", 1);
    ck_assert_msg(g4_golden_open(&g, dir, 0, &err) == G4_OK, "%s", err.msg);
    static const char *const order[] = { "inputs/input_ids",
        "activations/layers/00/self_attn/q_proj", "activations/layers/00/self_attn/q_norm",
        "activations/norm", "activations/logits", "activations/shared_kv/full_attention/key" };
    ck_assert_uint_eq(g4_golden_count(g), 6);
    for (size_t i = 0; i < 6; i++) ck_assert_str_eq(g4_golden_at(g, i)->path, order[i]);
    ck_assert_str_eq(g4_golden_text(g, G4_FOREIGN_UNKNOWN), "other");
    ck_assert_str_eq(g4_golden_text(g, "dtype"), "float32");
    ck_assert(find(g, "activations/norm", 3, 1)->type == G4_GOLDEN_F64);
    ck_assert_int_eq(g4_golden_read(g, find(g, "activations/logits", 3, 2), f, &err), G4_OK);
    ck_assert_mem_eq(f, six, sizeof six);
    find(g, "activations/layers/00/self_attn/q_norm", 3, 2);
    ck_assert_int_eq(g4_golden_read(g, find(g, order[5], 3, 2), f, &err), G4_OK);
    static const float turned[] = { 1, 4, 2, 5, 3, 6 };   /* [T][K][H] */
    ck_assert_mem_eq(f, turned, sizeof turned);
    ck_assert_msg(g4_golden_prompt(g, &p, &arena, &err) == G4_OK, "%s", err.msg);
    ck_assert(p.n == 3 && p.ids[0] == 2 && p.ids[1] == 9 && p.positions[2] == 2);
    g4_arena_free(&arena);
    g4_golden_close(g);
}
END_TEST

START_TEST(reads_safetensors)
{
    static const uint16_t brain[] = { 0x3f80, 0xc000 };
    const st_tensor t[] = {
        { "layers.1", "BF16", 3, { 1, 1, 2 }, brain, sizeof brain },
        { "input_ids", "I64", 1, { 3 }, three_ids, sizeof three_ids },
        { "norm", "F64", 2, { 3, 1 }, f64s, sizeof f64s },
    };
    size_t size;
    float f[2];
    g4_golden *g;
    char path[TEMPDIR_MAX];
    uint8_t *file = st_file_make(t, 3, 1, &size);   /* odd addresses */
    tempdir_write(dir, "d.safetensors", file, size);
    free(file);
    tempdir_path(path, dir, "d.safetensors");
    ck_assert_msg(g4_golden_open(&g, path, 0, &err) == G4_OK, "%s", err.msg);
    ck_assert_uint_eq(g4_golden_count(g), 3);
    const g4_golden_set *s = find(g, "activations/layers/01/output", 1, 2);
    ck_assert_int_eq(g4_golden_read(g, s, f, &err), G4_OK);
    ck_assert(f[0] == 1 && f[1] == -2);
    g4_golden_close(g);
}
END_TEST

/* ---- what a dump must not be ---- */

START_TEST(refuses_misfits)
{
    static const struct {
        const char *name, *descr, *shape;
        const char *says;
    } bad[] = {
        { "logits", "<i4", "(3, 2)", "its values are integers, not real" },
        { "input_ids", "<f4", "(6,)", "its values are real, not integers" },
        { "logits", "<f4", "(6,)", "has 1 dimensions" },
        { "logits", "<f4", "(2, 1, 3, 1)", "has 4 dimensions" },
        { "logits", "<f4", "(0, 6)", "or one of 0" },
        { "layers.1000", "<f4", "(3, 2)", "no model has so many layers or steps" },
        { "mtp.step1000.hidden", "<f4", "(6,)", "no model has so many layers or steps" },
        { "layers.0.q_proj", "<f4", "(3, 2)", "none of its names is one of the golden format" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[80], path[TEMPDIR_MAX];
        g4_golden *g;
        snprintf(name, sizeof name, "%s.npy", bad[i].name);
        npy_write(dir, name, bad[i].descr, bad[i].shape, six,
                  strcmp(bad[i].shape, "(0, 6)") ? sizeof six : 0);
        tempdir_path(path, dir, name);
        ck_assert_msg(g4_golden_open(&g, path, 0, &err) == G4_EINPUT, "%zu accepted", i);
        ck_assert_ptr_null(g);
        ck_assert_msg(strncmp(err.msg, dir, strlen(dir)) == 0 && strstr(err.msg, bad[i].says),
                      "%zu: '%s' lacks '%s'", i, err.msg, bad[i].says);
    }
}
END_TEST

START_TEST(refuses_bad_files_by_name)
{
    static const struct {
        const char *words, *says;
    } bad[] = {
        { "compare %g %d", "a folder without .npy files" },
        { "compare %g %d/none.npy", "none.npy: cannot open: No such file" },
        { "compare %g %d/none.safetensors", "none.safetensors: cannot open: No such file" },
        { "compare %g %d/h5.npy", "h5.npy: is no .npy file" },
        { "compare %g %d/empty.npy", "empty.npy: is no .npy file" },
        { "compare %g %d/two", "a and " },
        { "compare %g %d/fp8.safetensors", "values of type F8_E4M3 are not read" },
        { "compare %g %d/cut.safetensors", "cut.safetensors: 3 bytes are no safetensors file" },
        { "compare %g %d/pipe.npy", "pipe.npy: not a regular file" },
        { "compare %d/wide.npy %d/tall.npy", "wide.npy: activations/logits: is" },
    };
    static program_result r;
    char sub[TEMPDIR_MAX], path[TEMPDIR_MAX];
    const st_tensor fp8 = { "logits", "F8_E4M3", 2, { 1, 1 }, "x", 1 };
    size_t size;
    const program_place places[] = { { "%g", "golden/tiny/mini/demo.h5" }, { "%d", dir },
                                     { NULL, NULL } };
    program_run(&r, bad[0].words, places, NULL, RLIM_INFINITY);   /* the folder is empty yet */
    if (!program_runnable(&r, "foreign")) return;
    program_expect_error(&r, bad[0].says);
    tempdir_write(dir, "h5.npy", "\x89HDF\r\n\x1a\n", 8);
    tempdir_write(dir, "empty.npy", "", 0);
    tempdir_write(dir, "cut.safetensors", "abc", 3);
    uint8_t *file = st_file_make(&fp8, 1, 0, &size);
    tempdir_write(dir, "fp8.safetensors", file, size);
    free(file);
    tempdir_path(sub, dir, "two");
    ck_assert_int_eq(mkdir(sub, 0777), 0);
    npy_write(sub, "logits.npy", "<f4", "(3, 2)", six, sizeof six);
    npy_write(sub, "activations.logits.npy", "<f4", "(3, 2)", six, sizeof six);
    tempdir_path(path, dir, "pipe.npy");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    for (size_t i = 1; i + 1 < sizeof bad / sizeof *bad; i++) {
        program_run(&r, bad[i].words, places, NULL, RLIM_INFINITY);
        program_expect_error(&r, i == 5 ? "are the same dataset" : bad[i].says);
    }
}
END_TEST

/* One cell moved past the bound is found in whatever the two sides are written as. */
START_TEST(compares_dumps_with_dumps)
{
    static const float moved[] = { 1, -2, 3, 0.5f, 5, 6.1f };
    static program_result r;
    char a[TEMPDIR_MAX], b[TEMPDIR_MAX];
    size_t size;
    const st_tensor t[] = { { "logits", "F32", 2, { 3, 2 }, six, sizeof six },
                            { "layers.0", "F32", 2, { 3, 2 }, moved, sizeof moved } };
    const program_place places[] = { { "%a", a }, { "%b", b }, { NULL, NULL } };
    tempdir_path(a, dir, "a");
    tempdir_path(b, dir, "b.safetensors");
    ck_assert_int_eq(mkdir(a, 0777), 0);
    npy_write(a, "logits.npy", "<f4", "(3, 2)", six, sizeof six);
    npy_write(a, "layers.0.npy", "<f4", "(3, 2)", six, sizeof six);
    npy_write(a, "extra.npy", "<f4", "(3, 2)", six, sizeof six);
    uint8_t *file = st_file_make(t, 2, 0, &size);
    tempdir_write(dir, "b.safetensors", file, size);
    free(file);
    program_run(&r, "compare %a %b", places, NULL, RLIM_INFINITY);
    if (!program_runnable(&r, "foreign")) return;
    ck_assert_int_eq(r.code, 1);
    ck_assert_ptr_nonnull(strstr(r.out, "first past its bound: activations/layers/00/output\n"));
    ck_assert_ptr_nonnull(strstr(r.err, "a: names that mean nothing here are left out: extra\n"));
    program_run(&r, "compare %a %a --json", places, NULL, RLIM_INFINITY);
    ck_assert_int_eq(r.code, 0);
    ck_assert_ptr_nonnull(strstr(r.out, "\"compared\":2,"));
}
END_TEST

Suite *check_foreign(void)
{
    Suite *s = suite_create("foreign");
    TCase *t = tcase_create("npy");
    tcase_set_tags(t, "unit");
    tcase_add_test(t, reads_headers_of_all_versions);
    tcase_add_test(t, refuses_hostile_headers);
    tcase_add_test(t, refuses_every_prefix);
    tcase_add_test(t, converts_values_exactly);
    tcase_add_test(t, holds_integers_to_their_range);
    tcase_add_test(t, knows_names_in_their_spellings);
    suite_add_tcase(s, t);
    t = tcase_create("dumps");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, lists_a_folder_in_order_of_computation);
    tcase_add_test(t, reads_safetensors);
    tcase_add_test(t, refuses_misfits);
    tcase_add_test(t, refuses_bad_files_by_name);
    tcase_add_test(t, compares_dumps_with_dumps);
    suite_add_tcase(s, t);
    return s;
}
