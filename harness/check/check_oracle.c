/* SPDX-License-Identifier: Apache-2.0
 * The tokenizer against tokens.json files: what the `tokenizers` library made of
 * many texts.  Looks at <folder>/<model>/tokens.json beside <folder>/<model>/model;
 * the folder is $G4_ORACLE (make check-oracle), else golden/tiny. */
#include "harness/check/suite.h"
#include "ref/base/map.h"
#include "ref/input/tokenizer.h"

#include <check.h>
#include <dirent.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *check_oracle(void);

enum { MAX_MODELS = 64 };

static char folder[MAX_MODELS][PATH_MAX];   /* of the models that have a tokens.json */
static int models;

static void find_models(void)
{
    const char *dir = getenv("G4_ORACLE");
    struct dirent **entry;
    char path[PATH_MAX + 16];
    if (!dir || !*dir) dir = "golden/tiny";
    models = 0;
    int n = scandir(dir, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (entry[i]->d_name[0] != '.' && models < MAX_MODELS) {
            int len = snprintf(folder[models], PATH_MAX, "%s/%s", dir, entry[i]->d_name);
            snprintf(path, sizeof path, "%s/tokens.json", folder[models]);
            if (len > 0 && len < PATH_MAX && g4_path_kind(path) == 1) models++;
        }
        free(entry[i]);
    }
    if (n >= 0) free(entry);
}

static int same_ids(const json_t *want, const g4_ids *have)
{
    if (json_array_size(want) != have->count) return 0;
    for (size_t i = 0; i < have->count; i++)
        if (json_integer_value(json_array_get(want, i)) != have->ids[i]) return 0;
    return 1;
}

/* Pieces of the streaming decode, joined, are the whole decode; none is cut. */
static int streams(const g4_tokenizer *t, const g4_ids *ids, int skip, const char *whole,
                   size_t len)
{
    g4_detok d;
    size_t at = 0;
    int good = 1;
    g4_detok_init(&d, t, skip);
    for (size_t i = 0; i <= ids->count; i++) {
        const char *piece;
        size_t n;
        g4_status s = i < ids->count ? g4_detok_push(&d, ids->ids[i], &piece, &n, NULL)
                                     : g4_detok_end(&d, &piece, &n, NULL);
        if (s != G4_OK || n > len - at || memcmp(whole + at, piece, n) != 0) good = 0;
        if (good && n && ((unsigned char)piece[0] & 0xc0) == 0x80) good = 0;
        if (!good) break;
        at += n;
    }
    g4_detok_free(&d);
    return good && at == len;
}

static int encodes(const g4_tokenizer *t, const json_t *text, int special, const json_t *want,
                   g4_ids *ids)
{
    *ids = (g4_ids){ NULL, 0, 0 };
    return g4_tokenizer_encode(t, json_string_value(text), json_string_length(text), special, ids,
                               NULL) == G4_OK &&
           same_ids(want, ids);
}

static int decodes(const g4_tokenizer *t, const g4_ids *ids, int skip, const json_t *want)
{
    char *text = NULL;
    size_t len = 0;
    int good = g4_tokenizer_decode(t, ids->ids, ids->count, skip, &text, &len, NULL) == G4_OK &&
               len == json_string_length(want) &&
               memcmp(text, json_string_value(want), len) == 0 &&
               streams(t, ids, skip, text, len);
    free(text);
    return good;
}

/* "ids": with the post-processor's tokens; "decoded...": those ids as text, with
 * and without special tokens. */
static int text_holds(const g4_tokenizer *t, const json_t *row)
{
    const json_t *text = json_object_get(row, "text");
    g4_ids ids, plain;
    int good = encodes(t, text, 1, json_object_get(row, "ids"), &ids);
    good &= encodes(t, text, 0, json_object_get(row, "ids_without_special"), &plain);
    good = good && decodes(t, &ids, 0, json_object_get(row, "decoded")) &&
           decodes(t, &ids, 1, json_object_get(row, "decoded_without_special"));
    g4_ids_free(&ids);
    g4_ids_free(&plain);
    return good;
}

START_TEST(tokens_equal_the_library)
{
    char path[PATH_MAX + 16];
    size_t i;
    g4_err err;
    json_error_t je;
    g4_tokenizer *t;
    json_t *row;
    snprintf(path, sizeof path, "%s/model", folder[_i]);
    ck_assert_msg(g4_tokenizer_load(&t, path, &err) == G4_OK, "%s", err.msg);
    snprintf(path, sizeof path, "%s/tokens.json", folder[_i]);
    json_t *rows = json_load_file(path, JSON_ALLOW_NUL, &je);   /* texts may hold NUL */
    ck_assert_msg(rows != NULL, "%s: %s", path, je.text);
    ck_assert(json_is_array(rows) && json_array_size(rows) > 0);
    json_array_foreach(rows, i, row)
        ck_assert_msg(text_holds(t, row), "%s: text %zu: \"%.200s\"", path, i,
                      json_string_value(json_object_get(row, "text")));
    json_decref(rows);
    g4_tokenizer_free(t);
}
END_TEST

START_TEST(no_tokens)
{
    check_skip("oracle", "no <model>/tokens.json in G4_ORACLE or golden/tiny");
}
END_TEST

Suite *check_oracle(void)
{
    Suite *s = suite_create("oracle");
    TCase *t = tcase_create("tokens");
    tcase_set_tags(t, "golden");
    find_models();
    if (models) tcase_add_loop_test(t, tokens_equal_the_library, 0, models);
    else tcase_add_test(t, no_tokens);
    suite_add_tcase(s, t);
    return s;
}
