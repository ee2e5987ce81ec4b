/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/st_file.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void put_length(uint8_t *p, uint64_t n)
{
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(n >> (8 * i));
}

static json_t *entry(const st_tensor *t, size_t at)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->rank; i++) json_array_append_new(shape, json_integer(t->shape[i]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", t->dtype, "shape", shape, "data_offsets",
                     (json_int_t)at, (json_int_t)(at + t->bytes));
}

uint8_t *st_file_make(const st_tensor *t, size_t n, size_t pad, size_t *size)
{
    size_t at = 0;
    json_t *root = json_object();
    for (size_t i = 0; i < n; i++, at += t[i - 1].bytes)
        ck_assert_int_eq(json_object_set_new(root, t[i].name, entry(&t[i], at)), 0);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    ck_assert_ptr_nonnull(text);
    size_t len = strlen(text);
    *size = 8 + len + pad + at;
    uint8_t *file = malloc(*size), *p = file + 8 + len + pad;
    ck_assert_ptr_nonnull(file);
    put_length(file, len + pad);
    memcpy(file + 8, text, len);
    memset(file + 8 + len, ' ', pad);
    for (size_t i = 0; i < n; p += t[i++].bytes)
        if (t[i].bytes) memcpy(p, t[i].data, t[i].bytes);
    free(text);
    return file;
}

uint8_t *st_file_raw(const char *header, size_t header_bytes, int64_t claim, size_t data_bytes,
                     size_t *size)
{
    *size = 8 + header_bytes + data_bytes;
    uint8_t *file = malloc(*size);
    ck_assert_ptr_nonnull(file);
    put_length(file, claim < 0 ? header_bytes : (uint64_t)claim);
    memcpy(file + 8, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++) file[8 + header_bytes + i] = (uint8_t)i;
    return file;
}
