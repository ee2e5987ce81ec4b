/* SPDX-License-Identifier: Apache-2.0
 * ref/input/tokenizer: the cases that the tokenizers library made
 * (golden/check_tokenizer.py --write), streaming against whole decoding, the
 * rule for BOS, long texts, and failing allocations.  Bad files are in
 * check_tokenizer_bad.c. */
#include "harness/check/fault.h"
#include "ref/base/json.h"
#include "ref/base/map.h"
#include "ref/base/rng.h"
#include "ref/input/tokenizer.h"
#include "ref/input/utf8.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_tokenizer(void);

#define DATA "harness/check/data/tokenizer/"

static const char *const variants[] = { "base", "shipped", "prepend", "unk", "unk_each",
                                        "unk_none", "added" };
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static g4_tokenizer *load(const char *variant)
{
    char dir[256];
    g4_err err = { 0 };
    g4_tokenizer *t;
    snprintf(dir, sizeof dir, DATA "%s", variant);
    ck_assert_msg(g4_tokenizer_load(&t, dir, &err) == G4_OK, "%s", err.msg);
    return t;
}

static g4_ids encode(const g4_tokenizer *t, const char *text, size_t len, int add_special)
{
    g4_ids ids = { 0 };
    g4_err err = { 0 };
    ck_assert_msg(g4_tokenizer_encode(t, text, len, add_special, &ids, &err) == G4_OK, "%s",
                  err.msg);
    return ids;
}

static void ids_are(const g4_ids *ids, const json_t *want, const char *what)
{
    ck_assert_msg(ids->count == json_array_size(want), "%s: %zu ids, expected %zu", what,
                  ids->count, json_array_size(want));
    for (size_t i = 0; i < ids->count; i++) {
        json_int_t w = json_integer_value(json_array_get(want, i));
        ck_assert_msg(ids->ids[i] == w, "%s: id %zu is %d, expected %d", what, i,
                      (int)ids->ids[i], (int)w);
    }
}

static g4_ids ids_of(const json_t *list)
{
    g4_ids ids = { 0 };
    for (size_t i = 0; i < json_array_size(list); i++)
        ck_assert_int_eq(g4_ids_push(&ids, (int32_t)json_integer_value(json_array_get(list, i)),
                                     NULL), G4_OK);
    return ids;
}

/* cases.json; texts in it may hold NUL, which g4_json_load refuses. */
static json_t *cases(const char *variant, const char *part, json_t **root)
{
    char path[256];
    json_error_t je;
    snprintf(path, sizeof path, DATA "%s/cases.json", variant);
    *root = json_load_file(path, JSON_ALLOW_NUL, &je);
    ck_assert_msg(*root != NULL, "%s: %s", path, je.text);
    json_t *list = json_object_get(*root, part);
    ck_assert_uint_gt(json_array_size(list), 40);
    return list;
}

START_TEST(encodes_as_the_library)
{
    g4_tokenizer *t = load(variants[_i]);
    json_t *root, *list = cases(variants[_i], "encode", &root);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *c = json_array_get(list, i), *text = json_object_get(c, "text");
        const char *s = json_string_value(text);
        size_t len = json_string_length(text);
        g4_ids with = encode(t, s, len, 1), without = encode(t, s, len, 0);
        ids_are(&with, json_object_get(c, "ids"), s);
        ids_are(&without, json_object_get(c, "ids_without_special"), s);
        g4_ids_free(&with);
        g4_ids_free(&without);
    }
    json_decref(root);
    g4_tokenizer_free(t);
}
END_TEST

/* All pieces of a streaming decode joined; each must be whole characters. */
static char *streamed(const g4_tokenizer *t, const g4_ids *ids, int skip, size_t *len)
{
    g4_detok d;
    char *all = NULL;
    FILE *f = open_memstream(&all, len);
    ck_assert_ptr_nonnull(f);
    g4_detok_init(&d, t, skip);
    for (size_t i = 0; i <= ids->count; i++) {
        const char *piece;
        size_t n;
        g4_status s = i < ids->count ? g4_detok_push(&d, ids->ids[i], &piece, &n, NULL)
                                     : g4_detok_end(&d, &piece, &n, NULL);
        ck_assert_int_eq(s, G4_OK);
        ck_assert_uint_eq(g4_utf8_check(piece, n), n);
        fwrite(piece, 1, n, f);
    }
    g4_detok_free(&d);
    ck_assert_int_eq(fclose(f), 0);
    return all;
}

/* Decodes in both ways, checks that they agree, gives the text. */
static char *decoded(const g4_tokenizer *t, const g4_ids *ids, int skip, size_t *len)
{
    char *whole;
    size_t n;
    ck_assert_int_eq(g4_tokenizer_decode(t, ids->ids, ids->count, skip, &whole, len, NULL), G4_OK);
    char *pieces = streamed(t, ids, skip, &n);
    ck_assert_uint_eq(n, *len);
    ck_assert_mem_eq(pieces, whole, n);
    ck_assert_int_eq(whole[*len], 0);
    free(pieces);
    return whole;
}

START_TEST(decodes_as_the_library)
{
    g4_tokenizer *t = load(variants[_i]);
    json_t *root, *list = cases(variants[_i], "decode", &root);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *c = json_array_get(list, i);
        g4_ids ids = ids_of(json_object_get(c, "ids"));
        for (int skip = 0; skip < 2; skip++) {
            json_t *want = json_object_get(c, skip ? "decoded_without_special" : "decoded");
            size_t len;
            char *text = decoded(t, &ids, skip, &len);
            ck_assert_msg(len == json_string_length(want) &&
                          memcmp(text, json_string_value(want), len) == 0,
                          "case %zu: \"%s\", expected \"%s\"", i, text, json_string_value(want));
            free(text);
        }
        g4_ids_free(&ids);
    }
    json_decref(root);
    g4_tokenizer_free(t);
}
END_TEST

/* Random ids, byte tokens among them as often as not, and ids that do not exist. */
START_TEST(streaming_is_whole_decoding)
{
    g4_tokenizer *t = load(variants[_i]);
    int32_t size = g4_tokenizer_size(t), byte = g4_tokenizer_id(t, "<0x00>");
    for (uint64_t run = 0; run < 3000; run++) {
        g4_ids ids = { 0 };
        uint64_t n = g4_rng_u64(11, run, 0) % 16;
        for (uint64_t i = 1; i <= n; i++) {
            uint64_t r = g4_rng_u64(11, run, i);
            int32_t id = (int32_t)((r >> 8) % (uint64_t)(size + 4)) - 2;
            /* Lead and continuation bytes of 2 and 3, so that many runs are text. */
            static const uint8_t likely[] = { 0xc3, 0xa9, 0xe2, 0x96, 0x81, 0xf0, 0x9f, 0x41 };
            if (byte >= 0 && (r & 1)) id = byte + likely[(r >> 1) % 8];
            ck_assert_int_eq(g4_ids_push(&ids, id, NULL), G4_OK);
        }
        size_t len;
        free(decoded(t, &ids, 0, &len));
        free(decoded(t, &ids, 1, &len));
        g4_ids_free(&ids);
    }
    g4_tokenizer_free(t);
}
END_TEST

/* What a reader of a stream sees, call by call. */
START_TEST(streaming_holds_byte_runs)
{
    g4_tokenizer *t = load("base");
    g4_detok d;
    const char *s;
    size_t n;
    int32_t b = g4_tokenizer_id(t, "<0x00>"), a = g4_tokenizer_id(t, "a");
    g4_detok_init(&d, t, 1);
    struct { int32_t id; const char *text; } steps[] = {
        { a, "a" }, { b + 0xc3, "" }, { b + 0xa9, "" }, { a, "\xc3\xa9" "a" },   /* a whole one */
        { b + 0xc3, "" }, { g4_tokenizer_id(t, "<turn|>"), "" }, { b + 0xa9, "" },
        { a, "\xc3\xa9" "a" },                                   /* a skipped token inside */
        { b + 0xc3, "" }, { a, "\xef\xbf\xbd" "a" },              /* half of one */
        { b + 0x41, "" }, { b + 0xff, "" }, { -1, "" },           /* as the library: both lost */
        { a, "\xef\xbf\xbd\xef\xbf\xbd" "a" }, { b + 0x41, "" },
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        ck_assert_int_eq(g4_detok_push(&d, steps[i].id, &s, &n, NULL), G4_OK);
        ck_assert_msg(n == strlen(steps[i].text) && memcmp(s, steps[i].text, n) == 0, "step %zu",
                      i);
    }
    ck_assert_int_eq(g4_detok_end(&d, &s, &n, NULL), G4_OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(s[0], 'A');
    g4_detok_free(&d);
    g4_tokenizer_free(t);
}
END_TEST

START_TEST(bos_rule)
{
    static const struct { const char *variant, *text; g4_bos bos; int count; } rows[] = {
        /* count: BOS tokens at the start */
        { "base", "a", G4_BOS_FILE, 1 },            { "shipped", "a", G4_BOS_FILE, 0 },
        { "base", "<bos>a", G4_BOS_FILE, 2 },       { "shipped", "<bos>a", G4_BOS_FILE, 1 },
        { "base", "a", G4_BOS_AUTO, 1 },            { "shipped", "a", G4_BOS_AUTO, 1 },
        { "base", "<bos>a", G4_BOS_AUTO, 1 },       { "shipped", "<bos>a", G4_BOS_AUTO, 1 },
        { "base", "<bos><bos>a", G4_BOS_AUTO, 1 },  { "base", "a", G4_BOS_ON, 1 },
        { "shipped", "a", G4_BOS_ON, 1 },           { "base", "<bos>a", G4_BOS_ON, 2 },
        { "base", "a", G4_BOS_OFF, 0 },             { "shipped", "a", G4_BOS_OFF, 0 },
        { "base", "<bos>a", G4_BOS_OFF, 1 },        { "prepend", "a", G4_BOS_OFF, 0 },
    };
    char dir[] = "/tmp/g4-bos-XXXXXX", path[64], command[256];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        g4_tokenizer *t;
        g4_ids ids = { 0 };
        g4_err err = { 0 };
        snprintf(command, sizeof command, "cp " DATA "%s/tokenizer.json %s/", rows[i].variant, dir);
        ck_assert_int_eq(system(command), 0);
        snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
        FILE *f = fopen(path, "w");
        ck_assert_ptr_nonnull(f);
        fputs(i & 1 ? "{\"bos_token\": \"<bos>\"}" : "{\"bos_token\": {\"content\": \"<bos>\"}}",
              f);
        ck_assert_int_eq(fclose(f), 0);
        ck_assert_msg(g4_tokenizer_load(&t, dir, &err) == G4_OK, "%s", err.msg);
        int32_t bos = g4_tokenizer_id(t, "<bos>");
        ck_assert_int_eq(g4_tokenizer_bos(t), bos);
        ck_assert_int_eq(g4_tokenizer_encode_bos(t, rows[i].text, strlen(rows[i].text),
                                                 rows[i].bos, &ids, &err), G4_OK);
        int count = 0;
        while ((size_t)count < ids.count && ids.ids[count] == bos) count++;
        ck_assert_msg(count == rows[i].count, "row %zu: %d, expected %d", i, count, rows[i].count);
        ck_assert_uint_gt(ids.count, (size_t)count);   /* the text is still there */
        g4_ids_free(&ids);
        g4_tokenizer_free(t);
        ck_assert_int_eq(unlink(path), 0);
        snprintf(path, sizeof path, "%s/tokenizer.json", dir);
        ck_assert_int_eq(unlink(path), 0);
    }
    ck_assert_int_eq(rmdir(dir), 0);
    g4_bos bos;
    ck_assert_int_eq(g4_bos_parse(&bos, NULL, NULL), G4_OK);
    ck_assert_int_eq(bos, G4_BOS_FILE);
    ck_assert_int_eq(g4_bos_parse(&bos, "auto", NULL), G4_OK);
    ck_assert_int_eq(bos, G4_BOS_AUTO);
    ck_assert_int_eq(g4_bos_parse(&bos, "yes", NULL), G4_EINPUT);
}
END_TEST

/* A tokenizer without a BOS anywhere cannot be told to write one. */
START_TEST(bos_unknown)
{
    g4_tokenizer *t = load("shipped");
    g4_ids ids = { 0 };
    g4_err err = { 0 };
    ck_assert_int_eq(g4_tokenizer_bos(t), -1);
    ck_assert_int_eq(g4_tokenizer_encode_bos(t, "a", 1, G4_BOS_AUTO, &ids, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "BOS"));
    g4_ids_free(&ids);
    g4_tokenizer_free(t);
}
END_TEST

START_TEST(small_questions)
{
    g4_tokenizer *t = load("added");
    size_t len;
    int32_t image = g4_tokenizer_id(t, "<|image|>"), left = g4_tokenizer_id(t, "[left]");
    ck_assert_int_ge(image, 0);
    ck_assert_int_eq(g4_tokenizer_id(t, "<|nothing|>"), -1);
    ck_assert_int_eq(g4_tokenizer_id(t, ""), -1);
    ck_assert_int_eq(g4_tokenizer_is_special(t, image), 1);
    ck_assert_int_eq(g4_tokenizer_is_special(t, left), 0);
    ck_assert_int_eq(g4_tokenizer_is_special(t, -1), 0);
    ck_assert_int_eq(g4_tokenizer_is_special(t, INT32_MAX), 0);
    const char *text = g4_tokenizer_text(t, left, &len);
    ck_assert_uint_eq(len, 6);
    ck_assert_mem_eq(text, "[left]", 6);
    ck_assert_ptr_null(g4_tokenizer_text(t, g4_tokenizer_size(t), &len));
    ck_assert_ptr_null(g4_tokenizer_text(t, -1, &len));
    g4_tokenizer_free(t);
}
END_TEST

/* Every way a text can fail to be UTF-8, and where. */
START_TEST(bad_utf8_is_an_error)
{
    static const struct { const char *text; size_t len; const char *at; } rows[] = {
        { "\x80", 1, "byte 0" },          { "ab\xc3", 3, "byte 2" },
        { "a\xc0\xaf", 3, "byte 1" },     { "\xe0\x9f\xbf", 3, "byte 0" },
        { "\xed\xa0\x80", 3, "byte 0" },  { "\xf4\x90\x80\x80", 4, "byte 0" },
        { "\xf0\x8f\xbf\xbf", 4, "byte 0" }, { "x\0\xff", 3, "byte 2" },
        { "\xe2\x96", 2, "byte 0" },      { "\xf5\x80\x80\x80", 4, "byte 0" },
    };
    g4_tokenizer *t = load("base");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        g4_ids ids = { 0 };
        g4_err err = { 0 };
        ck_assert_int_eq(g4_tokenizer_encode(t, rows[i].text, rows[i].len, 0, &ids, &err),
                         G4_EINPUT);
        ck_assert_msg(strstr(err.msg, rows[i].at) != NULL, "row %zu: %s", i, err.msg);
        g4_ids_free(&ids);
    }
    g4_tokenizer_free(t);
}
END_TEST

/* 1 MB, which a quadratic encoder would chew on past the test's time limit: one
 * merge run over all of it, many added tokens, many that almost are. */
START_TEST(long_texts)
{
    static const struct { const char *variant, *unit; } rows[] = {
        { "base", "s" }, { "base", " " }, { "base", "the" }, { "base", "\xc3\xa9" },
        { "base", "<|turn>" }, { "base", "<|tur" }, { "added", "\n " }, { "added", "[both] " },
        { "added", " " }, { "unk", "\xd0\x96" }, { "prepend", "a <bos>" },
    };
    enum { BYTES = 1000000 };
    g4_tokenizer *t = load(rows[_i].variant);
    size_t unit = strlen(rows[_i].unit), n = BYTES / unit * unit;
    char *text = malloc(n), *back;
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < n; i++) text[i] = rows[_i].unit[i % unit];
    g4_ids ids = encode(t, text, n, 0);
    ck_assert_uint_gt(ids.count, 0);
    size_t len;
    ck_assert_int_eq(g4_tokenizer_decode(t, ids.ids, ids.count, 0, &back, &len, NULL), G4_OK);
    if (strcmp(rows[_i].variant, "base") == 0) {   /* the others lose something on the way */
        ck_assert_uint_eq(len, n);
        ck_assert_mem_eq(back, text, n);
    }
    free(back);
    free(text);
    g4_ids_free(&ids);
    g4_tokenizer_free(t);
}
END_TEST

/* Parse, encode, decode, stream with the n-th allocation failing. */
static g4_status everything(const uint8_t *json, size_t size)
{
    static const char text[] = "the cat [left] \xf0\x9f\x99\x82 <|turn> sat on the mat";
    g4_tokenizer *t = NULL;
    g4_ids ids = { 0 };
    g4_detok d;
    char *back = NULL;
    const char *piece;
    size_t len;
    g4_status s = g4_tokenizer_parse(&t, "tokenizer.json", json, size, NULL);
    if (s != G4_OK) return s;
    g4_detok_init(&d, t, 0);
    s = g4_tokenizer_encode(t, text, sizeof text - 1, 1, &ids, NULL);
    if (s == G4_OK) s = g4_tokenizer_decode(t, ids.ids, ids.count, 0, &back, &len, NULL);
    for (size_t i = 0; i < ids.count && s == G4_OK; i++)
        s = g4_detok_push(&d, ids.ids[i], &piece, &len, NULL);
    if (s == G4_OK) s = g4_detok_end(&d, &piece, &len, NULL);
    g4_detok_free(&d);
    free(back);
    g4_ids_free(&ids);
    g4_tokenizer_free(t);
    return s;
}

START_TEST(survives_failing_allocations)
{
    uint8_t *json;
    size_t size;
    char path[256];
    snprintf(path, sizeof path, DATA "%s/tokenizer.json", _i & 1 ? "added" : "prepend");
    ck_assert_int_eq(g4_file_read(path, 1 << 20, &json, &size, NULL), G4_OK);
    for (long n = 1;; n++) {
        fault_alloc_arm(n, _i >> 1);
        g4_status s = everything(json, size);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) {
            ck_assert_int_eq(s, G4_OK);
            ck_assert_int_gt(n, 20);
            break;
        }
        ck_assert_int_eq(s, G4_ENOMEM);
    }
    free(json);
}
END_TEST

Suite *check_tokenizer(void)
{
    Suite *s = suite_create("tokenizer");
    TCase *c = tcase_create("library");
    tcase_add_loop_test(c, encodes_as_the_library, 0, VARIANTS);
    tcase_add_loop_test(c, decodes_as_the_library, 0, VARIANTS);
    tcase_add_loop_test(c, streaming_is_whole_decoding, 0, VARIANTS);
    tcase_add_test(c, streaming_holds_byte_runs);
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    c = tcase_create("rules");
    tcase_add_test(c, bos_rule);
    tcase_add_test(c, bos_unknown);
    tcase_add_test(c, small_questions);
    tcase_add_test(c, bad_utf8_is_an_error);
    suite_add_tcase(s, c);
    c = tcase_create("limits");
    tcase_add_loop_test(c, long_texts, 0, 11);
    tcase_add_loop_test(c, survives_failing_allocations, 0, 4);
    tcase_set_timeout(c, 120);
    suite_add_tcase(s, c);
    return s;
}
