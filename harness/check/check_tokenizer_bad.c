/* SPDX-License-Identifier: Apache-2.0
 * tokenizer.json files that must be refused: a good one with one thing changed,
 * and what the message has to say; then every prefix and thousands of byte
 * flips, of which nothing is asked but an answer. */
#include "ref/base/map.h"
#include "ref/base/rng.h"
#include "ref/input/tokenizer.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_tokenizer_bad(void);

#define DATA "harness/check/data/tokenizer/"
#define NAME "dir/tokenizer.json"

typedef struct row {
    const char *find, *put, *say;   /* the first find becomes put; say NULL: still good */
} row;

#define NORM "\"normalizer\": {\"type\": \"Replace\""
#define PRE "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \" \"}"
#define POST "\"post_processor\": {\"type\": \"TemplateProcessing\""
#define DEC "\"decoder\": {\"type\": \"Sequence\""
#define DEEP16 "[[[[[[[[[[[[[[[["

static const row rows[] = {
    { "x", "x", NULL },
    /* ids */
    { "\"<eos>\": 1,", "\"<eos>\": 0,", "\"<pad>\" and \"<eos>\" both have id 0" },
    { "\"<eos>\": 1,", "\"<eos>\": 440,", "\"<eos>\" has id 440, but there are 440 tokens" },
    { "\"<eos>\": 1,", "\"<eos>\": 2147483647,", "has id 2147483647, but" },
    { "\"<eos>\": 1,", "\"<eos>\": 2147483648,", "token \"<eos>\" is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\": 99999999999999999999999,", "is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\": -1,", "is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\": 1.0,", "is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\": 1e0,", "is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\": 01,", "is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\": NaN,", "is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\": null,", "is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\": \"1\",", "is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\": [1],", "is not an integer" },
    { "\"<eos>\": 1,", "\"<eos>\" 1,", "expected a colon" },
    { "\"<eos>\": 1,", "\"<eos>\": 1, 3,", "expected a string" },
    /* tokens */
    { "\"<pad>\": 0,", "\"<pad>\": 0, \"<pad>\": 0,", "\"<pad>\" is in model.vocab twice" },
    { "\"<pad>\": 0,", "\"<pad>\": 0, \"\\u003cpad>\": 0,", "\"<pad>\" is in model.vocab twice" },
    { "\"<eos>\": 1,", "\"<eos>\": 1, \"\\u00e9\\u20AC\\ud83d\\uDE00\": 1,", "\"é€😀\"" },
    { "\"<pad>\": 0,", "\"\": 0,", "empty token" },
    { "\"<pad>\": 0,", "\"\xff\": 0,", "not UTF-8" },
    { "\"<pad>\": 0,", "\"\\ud800\": 0,", "bad \\u escape" },
    { "\"<pad>\": 0,", "\"\\udc00\\ud800\": 0,", "bad \\u escape" },
    { "\"<pad>\": 0,", "\"\\q\": 0,", "bad escape" },
    { "\"<pad>\": 0,", "\"a\nb\": 0,", "control byte" },
    { "\"<0x41>\"", "\"<0x-1>\"", "\"<0x-1>\" (id 76) is a malformed byte token" },
    { "\"<0x41>\"", "\"<0x 1>\"", "malformed byte token" },
    { "\"<0x41>\"", "\"<0x+1>\"", "malformed byte token" },
    { "\"<0x41>\"", "\"<0xABC>\"", "token <0x41> is missing" },
    { "\"vocab\": {", "\"vocab\": {}, \"old\": {", "model.vocab is empty" },
    { "\"vocab\": {", "\"vocab\": [], \"old\": {", "model.vocab is not an object" },
    { "\"vocab\": {", "\"vocab\": " DEEP16 DEEP16 DEEP16 DEEP16 "[", "deeper than 64" },
    { "\"vocab\": {", "\"words\": {", "model.vocab is missing" },
    { "\"vocab\": {", "\"vocab\": {\"a\": 0}, \"vocab\": {", "twice" },
    { "\"model\": {", "\"modem\": {", "model.vocab is missing" },
    { "\"model\": {", "\"model\": [], \"modem\": {", "model.vocab is missing" },
    { "\"model\": {", "\"model\": {}, \"model\": {", "not valid JSON" },
    /* merges */
    { "\"merges\": [", "\"merges\": [[\"\", \"a\"], ", "merge 0 has an empty half" },
    { "\"merges\": [", "\"merges\": [[\"a\", \"\"], ", "merge 0 has an empty half" },
    { "\"merges\": [", "\"merges\": [[\"a\", \"QQ\"], ", "names \"QQ\", which is no" },
    { "\"merges\": [", "\"merges\": [[\"<\", \"a\"], ", "merge 0 names" },
    { "\"merges\": [", "\"merges\": [[\"<pad>\", \"<eos>\"], ", "names \"<pad><eos>\"" },
    { "\"merges\": [", "\"merges\": [[\"a\"], ", "not a pair" },
    { "\"merges\": [", "\"merges\": [[\"a\", \"b\", \"c\"], ", "not a pair" },
    { "\"merges\": [", "\"merges\": [[1, 2], ", "expected a string" },
    { "\"merges\": [", "\"merges\": [7, ", "neither like the first nor a pair" },
    { "\"merges\": [", "\"merges\": [\"e ▁\", ", "expected a string" },
    { "\"merges\": [", "\"merges\": [\"t  h\"], \"old\": [", "one space between" },
    { "\"merges\": [", "\"merges\": [\"th\"], \"old\": [", "one space between" },
    { "\"merges\": [", "\"merges\": [\" h\"], \"old\": [", "empty half" },
    { "\"merges\": [", "\"merges\": {}, \"old\": [", "model.merges is not an array" },
    { "\"merges\": [", "\"merges\": [], \"old\": [", NULL },
    { "\"merges\": [", "\"merged\": [", "model.merges is missing" },
    /* added tokens */
    { "\"content\": \"<eos>\"", "\"content\": \"\"", "entry 1: content has 0 bytes" },
    { "\"content\": \"<eos>\"", "\"content\": 5", "content is 5" },
    { "\"content\": \"<eos>\"", "\"content\": \"a\\u0000\"", "not valid JSON" },
    { "\"content\": \"<eos>\"", "\"content\": \"<pad>\"", "\"<pad>\" has id 1, but in the voc" },
    { "\"content\": \"<eos>\"", "\"content\": \"new\"", "\"new\" has id 1, but the next" },
    { "\"id\": 1, \"content\": \"<eos>\"", "\"id\": 0, \"content\": \"<pad>\"", "is there twice" },
    { "\"added_tokens\": [", "\"added_tokens\": [{\"id\": 0, \"content\": \"<pad>\", "
      "\"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": true, "
      "\"special\": true}, ", "entry 1: id 0 is there twice" },
    { "\"id\": 1,", "\"id\": 440,", "\"<eos>\" has id 440, but in the vocabulary it has 1" },
    { "\"id\": 1,", "\"id\": -1,", "id is -1" },
    { "\"id\": 1,", "\"id\": 1.5,", "id is 1.5" },
    { "\"id\": 1,", "", "id is missing" },
    { "\"single_word\": false", "\"single_word\": true", "single_word" },
    { "\"special\": true", "\"Special\": true", "entry 0: special is missing" },
    { "\"normalized\": false", "\"normalized\": 3", "normalized is 3" },
    { "\"added_tokens\": [", "\"added_tokens\": [7, ", "is missing" },
    { "\"added_tokens\": [", "\"added_tokens\": {}, \"old\": [", "added_tokens is {}" },
    { "\"added_tokens\": [", "\"old\": " DEEP16 DEEP16 DEEP16 DEEP16, "deeper than 64" },
    /* components */
    { NORM, "\"normalizer\": {\"type\": \"NFC\"", "normalizer of type \"NFC\"" },
    { NORM, "\"normalizer\": {\"kind\": \"Replace\"", "normalizer: type is missing" },
    { NORM, "\"normalizer\": {\"type\": \"Sequence\"", "normalizers is missing" },
    { NORM, "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}]",
      "normalizer of type \"Lowercase\"" },
    { NORM, "\"normalizer\": \"NFC\", \"old\": {\"type\": \"Replace\"", "normalizer is \"NFC\"" },
    { NORM ", \"pattern\": {\"String\": \" \"}", NORM ", \"pattern\": {\"Regex\": \" \"}",
      "a pattern other than" },
    { NORM ", \"pattern\": {\"String\": \" \"}", NORM ", \"pattern\": {\"String\": \"\"}",
      "the pattern is empty" },
    { NORM ", \"pattern\": {\"String\": \" \"}", NORM ", \"pattern\": {\"String\": \"x\"}",
      "pre_tokenizer: a Split whose pattern" },
    { PRE, "\"pre_tokenizer\": {\"type\": \"ByteLevel\"", "pre_tokenizer of type \"ByteLevel\"" },
    { PRE, "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \"a\"}",
      "pre_tokenizer: a Split whose pattern" },
    { "\"invert\": false", "\"invert\": true", "pre_tokenizer: a Split whose pattern" },
    { POST, "\"post_processor\": {\"type\": \"BertProcessing\"", "\"BertProcessing\"" },
    { "\"single\": [", "\"single\": [{\"Sequence\": {\"id\": \"B\"}}, ", "Sequence A once" },
    { "\"single\": [", "\"single\": [{\"Sequence\": {\"id\": \"A\"}}, ", "Sequence A once" },
    { "\"single\": [", "\"single\": [], \"old\": [", "no Sequence A" },
    { "\"single\": [", "\"single\": [{}, ", "neither SpecialToken" },
    { "\"single\": [", "\"single\": [{\"SpecialToken\": {}}, ", "has no id" },
    { "\"single\": [", "\"single\": [{\"SpecialToken\": {\"id\": \"<q>\"}}, ",
      "\"<q>\" is not in special_tokens" },
    { "\"ids\": [2]", "\"ids\": [440]", "entry 0 is not an id from 0 to 439" },
    { "\"ids\": [2]", "\"ids\": [-1]", "entry 0 is not an id" },
    { "\"ids\": [2]", "\"ids\": [\"<bos>\"]", "entry 0 is not an id" },
    { DEC, "\"decoder\": {\"type\": \"Metaspace\"", "decoder of type \"Metaspace\"" },
    { "{\"type\": \"ByteFallback\"}, ", "{\"type\": \"Fuse\"}, {\"type\": \"ByteFallback\"}, ",
      "only the order" },
    { "{\"type\": \"ByteFallback\"}", "{\"type\": \"Strip\", \"content\": \" \"}", "\"Strip\"" },
    { "\"type\": \"BPE\"", "\"type\": \"Unigram\"", "model of type \"Unigram\"" },
    { "\"dropout\": null", "\"dropout\": 0.5", "dropout" },
    { "\"dropout\": null", "\"dropout\": NaN", "not valid JSON" },
    { "\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"##\"", "prefix" },
    { "\"unk_token\": \"<unk>\"", "\"unk_token\": \"<none>\"", "unk_token \"<none>\" is not in" },
    { "\"byte_fallback\": true", "\"byte_fallback\": 1", "byte_fallback is 1" },
    { "\"version\": \"1.0\"", "\"version\": \"2.0\"", "version of type \"2.0\"" },
    { "\"truncation\": null", "\"truncation\": {\"max_length\": 5}", "truncation" },
    { "\"padding\": null", "\"padding\": {\"strategy\": {\"Fixed\": 8}}", "padding" },
    { "\"padding\": null", "\"padding\": {\"strategy\": \"BatchLongest\"}", NULL },
};

static char *good(size_t *size)
{
    uint8_t *data;
    ck_assert_int_eq(g4_file_read(DATA "base/tokenizer.json", 1 << 20, &data, size, NULL), G4_OK);
    return (char *)data;
}

/* An exact-size copy of what goes in: ASan then sees one byte too far. */
static g4_status parse(g4_tokenizer **t, const char *json, size_t size, g4_err *err)
{
    char *copy = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, json, size);
    g4_status s = g4_tokenizer_parse(t, NAME, copy, size, err);
    free(copy);
    return s;
}

START_TEST(refuses)
{
    const row *r = &rows[_i];
    size_t size;
    char *json = good(&size), *at = strstr(json, r->find);
    if (_i == 0) at = json + size;
    ck_assert_msg(at != NULL, "%s: not in the good file", r->find);
    size_t find = _i ? strlen(r->find) : 0, put = _i ? strlen(r->put) : 0;
    size_t head = (size_t)(at - json);
    char *bad = malloc(size - find + put + 1);
    ck_assert_ptr_nonnull(bad);
    memcpy(bad, json, head);
    memcpy(bad + head, r->put, put);
    memcpy(bad + head + put, at + find, size - head - find + 1);
    g4_tokenizer *t;
    g4_err err = { 0 };
    g4_status s = parse(&t, bad, size - find + put, &err);
    if (!r->say) {
        ck_assert_msg(s == G4_OK, "%s", err.msg);
        g4_tokenizer_free(t);
    } else {
        ck_assert_int_eq(s, G4_EINPUT);
        ck_assert_ptr_null(t);
        ck_assert_msg(strncmp(err.msg, NAME ": ", strlen(NAME) + 2) == 0, "%s", err.msg);
        ck_assert_msg(strstr(err.msg, r->say) != NULL, "\"%s\" does not say \"%s\"", err.msg,
                      r->say);
    }
    free(bad);
    free(json);
}
END_TEST

START_TEST(json_errors_name_the_line_of_the_file)
{
    size_t size;
    char *json = good(&size), *model = strstr(json, "\"model\""), *bad = malloc(size + 64);
    ck_assert_ptr_nonnull(bad);
    ck_assert_ptr_nonnull(model);
    /* Two line ends inside vocab, one behind it, then the fault. */
    char *vocab = strstr(model, "\"vocab\": {") + 10, *end = strrchr(json, '}');
    int n = sprintf(bad, "%.*s\n\n%.*s\n, x}", (int)(vocab - json), json, (int)(end - vocab),
                    vocab);
    g4_tokenizer *t;
    g4_err err = { 0 };
    ck_assert_int_eq(parse(&t, bad, (size_t)n, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, NAME));
    char *where = strstr(err.msg, "byte ");
    ck_assert_msg(where != NULL, "%s", err.msg);
    long byte = strtol(where + 5, NULL, 10);
    ck_assert_msg(labs(byte - (long)n) <= 4, "%s (of %d bytes)", err.msg, n);
    free(bad);
    free(json);
}
END_TEST

/* Uses a tokenizer that some damage has left legal. */
static void use(const g4_tokenizer *t)
{
    static const char text[] = "the cat <|turn> \xf0\x9f\x99\x82 sat<|image|>\n";
    g4_ids ids = { 0 };
    char *back;
    size_t len;
    if (g4_tokenizer_encode(t, text, sizeof text - 1, 1, &ids, NULL) == G4_OK &&
        g4_tokenizer_decode(t, ids.ids, ids.count, 0, &back, &len, NULL) == G4_OK) {
        ck_assert_uint_eq(strnlen(back, len + 1), len);
        free(back);
    }
    for (size_t i = 0; i < ids.count; i++)
        ck_assert(ids.ids[i] >= 0 && ids.ids[i] < g4_tokenizer_size(t));
    g4_ids_free(&ids);
}

START_TEST(every_prefix_is_refused)
{
    size_t size;
    char *json = good(&size), *end = strrchr(json, '}');
    for (size_t n = 0; n <= (size_t)(end - json); n++) {
        g4_tokenizer *t;
        g4_err err = { 0 };
        ck_assert_int_eq(parse(&t, json, n, &err), G4_EINPUT);
        ck_assert_msg(strncmp(err.msg, NAME ": ", strlen(NAME) + 2) == 0, "%s", err.msg);
    }
    free(json);
}
END_TEST

START_TEST(flipped_bytes_get_an_answer)
{
    size_t size;
    char *json = good(&size);
    static const char likely[] = "\"{}[],:0\\ a-\xff";
    int ok = 0, refused = 0;
    for (uint64_t i = 0; i < 8000; i++) {
        uint64_t r = g4_rng_u64(5, 1, i);
        size_t at = (size_t)((r >> 16) % size);
        char old = json[at];
        json[at] = r & 1 ? likely[(r >> 1) % (sizeof likely - 1)] : (char)(r >> 8);
        g4_tokenizer *t;
        g4_err err = { 0 };
        if (parse(&t, json, size, &err) == G4_OK) {
            use(t);
            g4_tokenizer_free(t);
            ok++;
        } else {
            ck_assert_msg(strncmp(err.msg, NAME ": ", strlen(NAME) + 2) == 0, "%s", err.msg);
            refused++;
        }
        json[at] = old;
    }
    ck_assert_int_gt(ok, 0);
    ck_assert_int_gt(refused, 1000);
    free(json);
}
END_TEST

/* Eight steps that each turn a byte into 60: refused before memory is gone. */
START_TEST(growing_normaliser_is_stopped)
{
    enum { STEPS = 8, WIDE = 60 };
    size_t size, n = 0;
    char *json = good(&size), *bad = malloc(size + 4096), a[WIDE + 1];
    ck_assert_ptr_nonnull(bad);
    char *at = strstr(json, NORM), *end = strstr(json, "\"pre_tokenizer\"");
    char *after = strstr(json, "\"post_processor\"");
    ck_assert(at && end && after);
    memset(a, 'a', WIDE);
    a[WIDE] = 0;
    n += (size_t)sprintf(bad, "%.*s\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [",
                         (int)(at - json), json);
    for (int i = 0; i < STEPS; i++)
        n += (size_t)sprintf(bad + n, "%s{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, "
                             "\"content\": \"%s\"}", i ? ", " : "", a);
    n += (size_t)sprintf(bad + n, "]}, %s", after);
    g4_tokenizer *t;
    g4_err err = { 0 };
    ck_assert_msg(parse(&t, bad, n, &err) == G4_OK, "%s", err.msg);
    g4_ids ids = { 0 };
    ck_assert_int_eq(g4_tokenizer_encode(t, "aaa", 3, 0, &ids, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "grows"));
    g4_ids_free(&ids);
    g4_tokenizer_free(t);
    free(bad);
    free(json);
}
END_TEST

/* ---- folders ---- */

static const struct { const char *file, *text, *say; } beside[] = {
    { "config.json", "{\"vocab_size\": 100}", "config.json: vocab_size is 100, but" },
    { "config.json", "{\"text_config\": {\"vocab_size\": 439}}", "vocab_size is 439, but" },
    { "config.json", "{\"text_config\": {\"vocab_size\": 440, \"bos_token_id\": 440}}",
      "config.json: bos_token_id 440 is no token" },
    { "config.json", "{\"bos_token_id\": -1}", "bos_token_id is -1" },
    { "config.json", "{\"bos_token_id\": \"x\"}", "bos_token_id is \"x\"" },
    { "config.json", "[]", "config.json" },
    { "generation_config.json", "{\"bos_token_id\": 500}", "bos_token_id 500 is no token" },
    { "generation_config.json", "{", "generation_config.json" },
    { "tokenizer_config.json", "{\"bos_token\": \"<s>\"}", "bos_token \"<s>\" is no token" },
    { "tokenizer_config.json", "{\"bos_token\": 5}", "bos_token is 5" },
};

START_TEST(files_beside_are_checked)
{
    char dir[] = "/tmp/g4-tokenizer-XXXXXX", path[128], command[256];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(command, sizeof command, "cp " DATA "base/tokenizer.json %s/", dir);
    ck_assert_int_eq(system(command), 0);
    snprintf(path, sizeof path, "%s/%s", dir, beside[_i].file);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(beside[_i].text, f);
    ck_assert_int_eq(fclose(f), 0);
    g4_tokenizer *t;
    g4_err err = { 0 };
    ck_assert_int_eq(g4_tokenizer_load(&t, dir, &err), G4_EINPUT);
    ck_assert_ptr_null(t);
    ck_assert_msg(strstr(err.msg, dir) && strstr(err.msg, beside[_i].say), "%s", err.msg);
    ck_assert_int_eq(unlink(path), 0);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(g4_tokenizer_load(&t, dir, &err), G4_EIO);   /* no tokenizer.json */
    ck_assert_ptr_nonnull(strstr(err.msg, "tokenizer.json"));
    ck_assert_int_eq(rmdir(dir), 0);
    ck_assert_int_eq(g4_tokenizer_load(&t, dir, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "not a model folder"));
}
END_TEST

Suite *check_tokenizer_bad(void)
{
    Suite *s = suite_create("tokenizer_bad");
    TCase *c = tcase_create("rows");
    tcase_add_loop_test(c, refuses, 0, sizeof rows / sizeof rows[0]);
    tcase_add_test(c, json_errors_name_the_line_of_the_file);
    tcase_add_test(c, growing_normaliser_is_stopped);
    tcase_add_loop_test(c, files_beside_are_checked, 0, sizeof beside / sizeof beside[0]);
    suite_add_tcase(s, c);
    c = tcase_create("damage");
    tcase_add_test(c, every_prefix_is_refused);
    tcase_add_test(c, flipped_bytes_get_an_answer);
    tcase_set_timeout(c, 120);
    suite_add_tcase(s, c);
    return s;
}
