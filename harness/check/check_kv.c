/* SPDX-License-Identifier: Apache-2.0
 * The cache of one layer: ring and linear, in each number format, hold the same
 * rows; what is read back is what packing leaves of a row. */
#include "harness/check/fault.h"
#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"
#include "ref/model/kv.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *check_kv(void);

enum { WIDTH = 64, SLOTS = 7, TOKENS = 40 };

/* Token t's row; purpose 0: key, 1: value, 2 and 3: another key and value. */
static void make_row(float *row, int64_t t, int purpose)
{
    for (int i = 0; i < WIDTH; i++)
        row[i] = (float)(g4_rng_unit(3, (uint64_t)purpose, (uint64_t)(t * WIDTH + i)) * 6 - 3);
}

static void put(g4_kv *kv, int64_t t, int purpose)
{
    float key[WIDTH], value[WIDTH];
    make_row(key, t, purpose);
    make_row(value, t, purpose + 1);
    g4_kv_put(kv, t, key, value);
}

static void expect_row(const g4_kv *kv, const float *got, int64_t t, int purpose)
{
    float row[WIDTH], want[WIDTH];
    unsigned char packed[4 * WIDTH];
    const g4_dtype_info *info = g4_dtype_get(kv->dtype);
    make_row(row, t, purpose);
    info->pack(packed, row, NULL, WIDTH);
    info->unpack(want, packed, WIDTH);
    ck_assert_mem_eq(got, want, sizeof want);
}

static void expect(const g4_kv *kv, int64_t lo, int64_t hi, int purpose)
{
    /* exactly as large as promised, so that ASan sees a float too far */
    int64_t floats = 2 * (hi - lo) * WIDTH;
    float *scratch = malloc(floats ? (size_t)floats * sizeof *scratch : 1);
    ck_assert_ptr_nonnull(scratch);
    g4_kv_view v = g4_kv_read(kv, lo, hi, scratch);
    ck_assert_int_eq(v.width, WIDTH);
    for (int64_t t = lo; t < hi; t++) {
        expect_row(kv, v.key + t % v.slots * v.width, t, purpose);
        expect_row(kv, v.value + t % v.slots * v.width, t, purpose + 1);
    }
    free(scratch);
}

START_TEST(ring_and_linear)   /* _i: the number format */
{
    g4_arena arena = { NULL };
    g4_kv ring, linear;
    ck_assert_int_eq(g4_kv_init(&ring, (g4_dtype)_i, SLOTS, WIDTH, 0, &arena, NULL), G4_OK);
    ck_assert_int_eq(g4_kv_init(&linear, (g4_dtype)_i, TOKENS, WIDTH, 0, &arena, NULL), G4_OK);
    ck_assert_uint_eq(ring.row_bytes, g4_dtype_row_bytes((g4_dtype)_i, WIDTH));
    for (int64_t t = 0; t < TOKENS; t++) {
        put(&ring, t, 0);
        put(&linear, t, 0);
        for (int64_t n = 0; n <= SLOTS && n <= t + 1; n++) {
            expect(&ring, t + 1 - n, t + 1, 0);
            expect(&linear, t + 1 - n, t + 1, 0);
        }
        expect(&linear, 0, t + 1, 0);
    }
    g4_arena_free(&arena);
}
END_TEST

/* A rejected draft's rows are replaced; older ones stay. */
START_TEST(rows_are_replaced)
{
    g4_arena arena = { NULL };
    g4_kv kv;
    ck_assert_int_eq(g4_kv_init(&kv, (g4_dtype)_i, SLOTS, WIDTH, 0, &arena, NULL), G4_OK);
    for (int64_t t = 0; t < 20; t++) put(&kv, t, 0);
    for (int64_t t = 18; t < 20; t++) put(&kv, t, 2);
    expect(&kv, 13, 18, 0);
    expect(&kv, 18, 20, 2);
    g4_arena_free(&arena);
}
END_TEST

START_TEST(widths_that_do_not_fit)
{
    static const int64_t widths[] = { 1, 31, 33, 36 };
    g4_arena arena = { NULL };
    g4_kv kv;
    g4_err err;
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(g4_kv_init(&kv, G4_Q8_0, 4, widths[i], 0, &arena, &err), G4_EINPUT);
        ck_assert_msg(strstr(err.msg, "--kv q8_0 needs key rows in blocks of 32") != NULL, "%s",
                      err.msg);
        ck_assert_int_eq(g4_kv_init(&kv, G4_F16, 4, widths[i], 0, &arena, &err), G4_OK);
    }
    g4_arena_free(&arena);
}
END_TEST

START_TEST(memory_that_is_not_there)
{
    g4_arena arena = { NULL };
    g4_kv kv;
    g4_err err;
    /* 2^62 rows of 256 bytes wrap around 2^64 */
    ck_assert_int_eq(g4_kv_init(&kv, G4_F32, (int64_t)1 << 62, 64, 0, &arena, &err), G4_ENOMEM);
    for (long n = 1; n <= 2; n++) {
        fault_alloc_arm(n, 0);
        g4_status s = g4_kv_init(&kv, G4_F16, 4096, WIDTH, 0, &arena, &err);
        g4_arena_free(&arena);
        fault_end();
        ck_assert_int_eq(s, G4_ENOMEM);
        ck_assert_int_eq(fault_live(), 0);
    }
}
END_TEST

Suite *check_kv(void)
{
    Suite *s = suite_create("kv");
    TCase *t = tcase_create("cache");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, ring_and_linear, G4_F32, G4_Q8_0 + 1);
    tcase_add_loop_test(t, rows_are_replaced, G4_F32, G4_Q8_0 + 1);
    tcase_add_test(t, widths_that_do_not_fit);
    tcase_add_test(t, memory_that_is_not_there);
    suite_add_tcase(s, t);
    return s;
}
