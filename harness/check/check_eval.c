/* SPDX-License-Identifier: Apache-2.0
 * Evaluation: readers of published files and their faults, prompts by lm-eval's own
 * hashes, scores against each request run by itself, statistics by hand, the command.
 * The files of data/eval are small but awkward: quotes, line ends, Unicode spaces. */
#include "harness/eval/batch.h"
#include "harness/eval/csv.h"
#include "harness/eval/eval.h"
#include "harness/eval/jsonl.h"
#include "harness/eval/pyrandom.h"
#include "harness/eval/pystr.h"

#include "harness/check/program.h"
#include "harness/greedy.h"
#include "ref/base/map.h"
#include "ref/model/forward.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *check_eval(void);

#define DATA "harness/check/data/eval"

static g4_err err;

/* ---- readers ---- */

static g4_csv csv;
static g4_arena arena;

static g4_status read_csv(const char *text, size_t size)
{
    char dir[TEMPDIR_MAX], path[TEMPDIR_MAX];
    tempdir_make(dir);
    tempdir_write(dir, "f.csv", text, size);
    tempdir_path(path, dir, "f.csv");
    g4_status s = g4_csv_load(&csv, path, 2, &arena, &err);
    tempdir_remove(dir);
    return s;
}

START_TEST(csv_fields)
{
    static const char text[] = "a,b\r\n\"c,\"\"d\"\"\",\"e\nf\"\n,\n\xc3\xa9,\"\"";
    static const char *const want[] = { "a", "b", "c,\"d\"", "e\nf", "", "", "\xc3\xa9", "" };
    ck_assert_int_eq(read_csv(text, sizeof text - 1), G4_OK);
    ck_assert_uint_eq(csv.rows, 4);
    for (int i = 0; i < 8; i++) ck_assert_str_eq(csv.cells[i], want[i]);
    ck_assert_int_eq(read_csv("", 0), G4_OK);
    ck_assert_uint_eq(csv.rows, 0);
    g4_arena_free(&arena);
}
END_TEST

START_TEST(csv_faults)
{
    static const struct { const char *text, *says; size_t size; } bad[] = {
        { "a,b\n\"c", "line 2: a quote is not closed", 6 },
        { "a,\"b\"c\n", "line 1: text behind a closing quote", 7 },
        { "a,b\"c\n", "line 1: a quote inside a field", 6 },
        { "a,b\na,b,c\n", "line 2: 3 fields, expected 2", 10 },
        { "a,b\n\na,b", "line 2: 1 fields, expected 2", 8 },
        { "a,\xff\n", "not valid UTF-8", 4 },
        { "a,\0\n", "holds a NUL", 4 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(read_csv(bad[i].text, bad[i].size), G4_EINPUT);
        ck_assert_msg(strstr(err.msg, bad[i].says) != NULL, "%zu: %s", i, err.msg);
    }
    g4_arena_free(&arena);
}
END_TEST

START_TEST(jsonl_lines)
{
    char dir[TEMPDIR_MAX], path[TEMPDIR_MAX];
    g4_jsonl j;
    tempdir_make(dir);
    tempdir_path(path, dir, "f");
    tempdir_write(dir, "f", "{\"a\": 1}\n \r\n{\"a\": 2}", 20);
    ck_assert_int_eq(g4_jsonl_load(&j, path, &err), G4_OK);
    ck_assert_uint_eq(j.count, 2);
    ck_assert_int_eq(json_integer_value(json_object_get(j.lines[1].root, "a")), 2);
    ck_assert_msg(strstr(j.lines[1].file, "line 3") != NULL, "%s", j.lines[1].file);
    g4_jsonl_free(&j);
    tempdir_write(dir, "f", "{\"a\": 1}\n[1]\n", 13);
    ck_assert_int_eq(g4_jsonl_load(&j, path, &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, "line 2: not a JSON object") != NULL, "%s", err.msg);
    g4_jsonl_free(&j);
    tempdir_remove(dir);
}
END_TEST

/* Lines, and values in them, without end. */
START_TEST(jsonl_of_too_much)
{
    static const struct { const char *line, *says; size_t size; } bombs[] = {
        { "\n", "f: more than 4194304 lines", 5 << 20 },
        { "{}\n", "JSON of more than 512 MB of values", 8 << 20 },
    };
    char dir[TEMPDIR_MAX], path[TEMPDIR_MAX];
    g4_jsonl j;
    size_t width = strlen(bombs[_i].line), n = 0;
    char *text = malloc(bombs[_i].size);
    ck_assert_ptr_nonnull(text);
    for (; n + width <= bombs[_i].size; n += width) memcpy(text + n, bombs[_i].line, width);
    tempdir_make(dir);
    tempdir_path(path, dir, "f");
    tempdir_write(dir, "f", text, n);
    ck_assert_int_eq(g4_jsonl_load(&j, path, &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, bombs[_i].says) != NULL, "%s", err.msg);
    g4_jsonl_free(&j);
    tempdir_remove(dir);
    free(text);
}
END_TEST

/* ---- strings as Python has them ---- */

START_TEST(python_strings)
{
    g4_buffer b = { 0 };
    char hex[G4_SHA256_HEX];
    ck_assert_str_eq(g4_py_strip(&arena, " \t\x1c\xc2\xa0\xe2\x80\x83" "a b\xe3\x80\x80\n"), "a b");
    ck_assert_str_eq(g4_py_strip(&arena, " \n"), "");
    ck_assert_str_eq(g4_py_strip(&arena, "\xe2\x80\x8b"), "\xe2\x80\x8b");   /* U+200B is none */
    json_t *v = json_pack("{s:s, s:[], s:{}, s:[i, n, b, f, f, f, f, f, f]}", "a",
                          "x\"\\\n\x01\x0b\xc3\xa9/", "b", "c", "d", -3, 1, 0.5, 2.0, 1e-7,
                          1e5, 1.0 / 3.0, 1.5e16);
    g4_py_json(&b, v, 0);
    ck_assert_str_eq(b.data,
                     "{\"a\": \"x\\\"\\\\\\n\\u0001\\u000b\xc3\xa9/\", \"b\": [], \"c\": {}, "
                     "\"d\": [-3, null, true, 0.5, 2.0, 1e-07, 100000.0, 0.3333333333333333, "
                     "1.5e+16]}");
    b.size = 0;
    g4_py_json(&b, json_object_get(v, "b"), 1);
    json_decref(v);
    ck_assert_str_eq(b.data, "[]");
    v = json_pack("{s:[i, i], s:s}", "a", 1, 2, "b", "");
    b.size = 0;
    g4_py_json(&b, v, 1);
    ck_assert_str_eq(b.data, "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": \"\"\n}");
    json_decref(v);
    free(b.data);
    g4_py_hash("abc", hex);   /* FIPS 180-4's own example */
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    g4_arena_free(&arena);
}
END_TEST

static const g4_doc *said(const char *text)
{
    static g4_doc d;
    d.response = text;
    return &d;
}

START_TEST(letters_in_answers)
{
    static const char *const rows[][2] = {
        { "So the answer is (C).", "C" }, { "the answer is D", "D" },
        { "answer is (K), no: the answer is (J)", "J" }, { "answer is: B", "[invalid]" },
        { "answer is ((B", "[invalid]" }, { "", "[invalid]" }, { "answer is ", "[invalid]" },
        { "answer is A, answer is (B)", "A" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_str_eq(g4_extract_letter(&arena, said(rows[i][0])), rows[i][1]);
    g4_arena_free(&arena);
}
END_TEST

/* What lm-eval's two filters of gsm8k find, and its exact_match (lm-eval itself said so). */
START_TEST(numbers_in_answers)
{
    static const char *const found[][3] = {
        { "#### 5", "5", "5" }, { "x #### -1,250.", "-1,250.", "-1,250." },
        { "#### a #### 7", "7", "7" }, { "####  5", "[invalid]", "5" },
        { "so 12 and -3.", "[invalid]", "-3." }, { "$40.", "[invalid]", "$40." },
        { "-", "[invalid]", "[invalid]" }, { "a-7 b", "[invalid]", "-7" },
        { "--12", "[invalid]", "-12" }, { "1.", "[invalid]", "1." }, { "4 . 5", "[invalid]", "5" },
        { "", "[invalid]", "[invalid]" }, { ".,", "[invalid]", ".," }, { "-$", "[invalid]",
        "[invalid]" },
    };
    static const char *const equal[][2] = {
        { "5", "a #### 5" }, { "1,250", "#### 1250." }, { "$40.", "z\n#### 40" }, { "5.", "5" },
        { "5.\n", "5\n" }, { "#### 7", "7" }, { "1.5", "1,.5" }, { "X", "x" }, { "", "#### " },
        { "a##$## 5", "5" }, { "5.$", "5" }, { "5.,\n$", "5\n" },
    };
    static const char *const other[][2] = {
        { "5..", "5." }, { "5.", "5.." }, { "5.\n", "5" }, { "5", "6" }, { "5", "-5" },
    };
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++) {
        ck_assert_str_eq(g4_extract_marked_number(&arena, said(found[i][0])), found[i][1]);
        ck_assert_str_eq(g4_extract_last_number(&arena, said(found[i][0])), found[i][2]);
    }
    for (size_t i = 0; i < sizeof equal / sizeof equal[0]; i++)
        ck_assert_msg(g4_same_number(equal[i][0], equal[i][1]), "%s", equal[i][0]);
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        ck_assert_msg(!g4_same_number(other[i][0], other[i][1]), "%s", other[i][0]);
    g4_arena_free(&arena);
}
END_TEST

/* What lm-eval's filters of GPQA find (lm-eval itself said so). */
START_TEST(choices_in_answers)
{
    static const char *const found[][3] = {
        { "The answer is (B).", "(B)", "(B)" }, { "The answer is (A)", "(A", "(A)" },
        { "(A) no, (C) then (d)", "[invalid]", "(C)" },
        { "The answer is \nThe answer is x\xc3\xa9", "x", "[invalid]" },
        { "The answer is x", "", "[invalid]" }, { "it is RED wine, I say", "[invalid]", "(D)" },
        { "red wine or red!", "[invalid]", "(A)" }, { "so: B", "[invalid]", "(B)" },
        { "so: \n C: x", "[invalid]", "(C)" }, { "\xc3\x89TUDE", "[invalid]", "(C)" },
        { "blue it is", "[invalid]", "(E)" }, { "", "[invalid]", "[invalid]" },
        { "so: F", "[invalid]", "[invalid]" },
    };
    g4_doc d = { .doc = json_pack("{s:[s, s, s, s, s]}", "choices", "Red.", "blue",
                                  "\xc3\xa9tude", "\"red\" wine", "Blue!") };
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++) {
        d.response = found[i][0];
        ck_assert_str_eq(g4_extract_sentence(&arena, &d), found[i][1]);
        ck_assert_str_eq(g4_extract_choice(&arena, &d), found[i][2]);
    }
    json_decref(d.doc);
    g4_arena_free(&arena);
}
END_TEST

/* random.seed(0); random.shuffle and .sample as CPython 3.11 printed them. */
START_TEST(random_numbers_are_pythons)
{
    static const uint32_t shuffled[3][4] = { { 2, 0, 1, 3 }, { 0, 1, 3, 2 }, { 0, 2, 1, 3 } };
    static const uint32_t few[] = { 24, 14, 3 }, small[] = { 7, 0, 19, 18, 11 };
    static const uint32_t many[] = { 1, 23, 149, 8, 171, 177, 21, 25, 196, 90 };
    g4_py_random r;
    uint32_t out[16], scratch[256];
    g4_py_seed(&r, 0);
    for (int i = 0; i < 3; i++) {
        g4_py_shuffle(&r, out, 4);
        ck_assert_mem_eq(out, shuffled[i], sizeof shuffled[i]);
    }
    g4_py_seed(&r, 1234);   /* of 30, 200 (10 > 5: a larger set), 21 (all kept in a list) */
    g4_py_sample(&r, 30, 3, out, scratch);
    ck_assert_mem_eq(out, few, sizeof few);
    g4_py_sample(&r, 200, 10, out, scratch);
    ck_assert_mem_eq(out, many, sizeof many);
    g4_py_sample(&r, 21, 5, out, scratch);
    ck_assert_mem_eq(out, small, sizeof small);
}
END_TEST

/* ---- a model ---- */

static g4_runtime rt;
static g4_tokenizer *tokenizer;
static g4_processor processor;
static g4_options options;
static g4_eval eval;

static void model_open(const char *dir)
{
    options = (g4_options){ .model = dir, .threads = 1, .audio_limit = -1 };
    ck_assert_msg(g4_runtime_open(&rt, &options, G4_DRAFT_NONE, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_tokenizer_load(&tokenizer, dir, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_processor_load(&processor, dir, &err) == G4_OK, "%s", err.msg);
}

static void model_close(void)
{
    g4_eval_close(&eval);
    g4_tokenizer_free(tokenizer);
    g4_runtime_close(&rt);
}

/* Framings as golden/check_eval.py names them. */
static g4_eval_frame frame_of(const char *name)
{
    g4_eval_frame f = { .chat = g4_chat_defaults(), .multiturn = 1 };
    int one = strcmp(name, "one_turn") == 0;
    if (one || strcmp(name, "system") == 0) f.system = "Answer as well as you can.";
    f.turns = strcmp(name, "plain") != 0 && strcmp(name, "system") != 0;
    f.multiturn = !one;
    f.chat.thinking = strcmp(name, "thinking") == 0;
    return f;
}

static void load_framed(const char *task, int64_t shots, int64_t limit, const char *frame)
{
    char own[256];
    snprintf(own, sizeof own, DATA "/%s", task);   /* some have a folder of their own */
    g4_eval_source src = { .name = task, .dir = g4_path_kind(own) == 2 ? own : DATA,
                           .shots = shots, .limit = limit, .max_tokens = 12,
                           .frame = frame_of(frame) };
    ck_assert_msg(g4_eval_open(&eval, &src, &err) == G4_OK, "%s: %s", task, err.msg);
}

static void load(const char *task, int64_t shots, int64_t limit)
{
    load_framed(task, shots, limit, "plain");
}

static void score(int64_t chunk)
{
    g4_eval_run r = { .rt = &rt, .o = &options, .tokenizer = tokenizer, .processor = &processor };
    options.chunk = chunk;
    for (size_t i = 0; i < eval.count; i++)
        ck_assert_msg(g4_eval_score(&eval, &eval.leaves[i], &r, &err) == G4_OK, "%s", err.msg);
}

/* ---- prompts: data/eval/hashes.txt was written by lm-eval (golden/check_eval.py) ---- */

/* What lm-eval's results say as task_hashes. */
static void leaf_sum(const g4_leaf *l, char sum[G4_SHA256_HEX])
{
    char hashes[3][G4_SHA256_HEX];
    g4_sha256 sha;
    g4_sha256_begin(&sha);
    for (int m = 0; m < eval.task->metric_count; m++)
        for (size_t k = 0; g4_opens_filter(eval.task, m) && k < l->count; k++) {
            g4_doc *d = &l->docs[k];
            d->response = d->filtered[0] = d->filtered[1] = "";
            json_decref(g4_eval_sample(&eval, d, k, m, hashes));
            for (int h = 0; h < 3; h++) g4_sha256_add(&sha, hashes[h], 64);
        }
    g4_sha256_end(&sha, sum);
}

START_TEST(prompts_are_lm_evals)
{
    char frame[32], task[32], name[80], want[80], sum[G4_SHA256_HEX], before[200] = "", now[200];
    long long shots;
    int lines = 0;
    FILE *f = fopen(DATA "/hashes.txt", "r");
    ck_assert_ptr_nonnull(f);
    while (fscanf(f, "%31s %31s %lld %79s %79s", frame, task, &shots, name, want) == 5) {
        snprintf(now, sizeof now, "%s %s %lld", frame, task, shots);
        if (strcmp(now, before) != 0) {
            g4_eval_close(&eval);
            load_framed(task, shots, 0, frame);
            strcpy(before, now);
        }
        size_t i = 0;
        while (i < eval.count && strcmp(eval.leaves[i].name, name) != 0) i++;
        ck_assert_msg(i < eval.count, "%s: no %s", now, name);
        leaf_sum(&eval.leaves[i], sum);
        ck_assert_msg(strcmp(sum, want) == 0, "%s: %s", now, name);
        lines++;
    }
    g4_eval_close(&eval);
    fclose(f);
    ck_assert_int_eq(lines, 52);
}
END_TEST

/* ---- scores: each request by itself, prefilled at once ---- */

static double log_softmax(const float *row, int64_t V, int32_t id)
{
    double most = row[0], sum = 0.0;
    for (int64_t i = 1; i < V; i++) most = fmax(most, row[i]);
    for (int64_t i = 0; i < V; i++) sum += exp(row[i] - most);
    return row[id] - most - log(sum);
}

/* One request: the context with its media, then more ids; logits of the last `rows`.
 * Returns how many ids it read before any that text made. */
static int64_t alone(const g4_doc *d, const int32_t *more, int64_t n, int64_t rows, float *logits,
                  g4_greedy_run *text, int32_t *made, int64_t *made_n)
{
    g4_arena a = { NULL };
    g4_prompt p;
    g4_soft soft;
    g4_engine *e;
    g4_session *s;
    g4_request q = { .text = d->context, .len = strlen(d->context), .media = d->media,
                     .media_count = d->media_count, .audio_limit = -1, .bos = G4_BOS_AUTO };
    float *hidden = calloc((size_t)(rt.model->config.hidden_size * rows), sizeof *hidden);
    while (!text && q.len && q.text[q.len - 1] == ' ') q.len--;
    ck_assert_msg(g4_prompt_build(&p, &q, &processor, tokenizer, &a, NULL, &err) == G4_OK, "%s",
                  err.msg);
    int64_t all = p.n + n;
    int32_t *ids = calloc((size_t)all, sizeof *ids), *at = calloc((size_t)all, sizeof *at);
    int8_t *types = calloc((size_t)all, 1);
    g4_span *blocks = calloc((size_t)all, sizeof *blocks);
    memcpy(ids, p.ids, (size_t)p.n * sizeof *ids);
    memcpy(types, p.types, (size_t)p.n);
    if (n) memcpy(ids + p.n, more, (size_t)n * sizeof *ids);
    for (int64_t i = 0; i < all; i++) at[i] = (int32_t)i;
    p.n = all;
    p.ids = ids;
    p.positions = at;
    p.types = types;
    g4_engine_plan plan = rt.plan;
    plan.rows = all;
    plan.logit_rows = rows;
    plan.ctx = all + 16;
    ck_assert_int_eq(g4_engine_open(&e, rt.model, &rt.ops, rt.par, &plan, &err), G4_OK);
    ck_assert_int_eq(g4_session_open(&s, e, &err), G4_OK);
    ck_assert_int_eq(g4_soft_embed(&soft, e, &p, NULL, &err), G4_OK);
    g4_blocks(blocks, types, all);
    g4_item item = { .session = s, .n = all, .ids = ids, .positions = at, .soft = soft.rows,
                     .blocks = blocks, .logit_rows = rows, .logits = logits, .hidden = hidden };
    g4_forward(e, &item, 1);
    if (text) {
        *text = (g4_greedy_run){ .engine = e, .session = s, .logits = logits, .hidden = hidden,
                                 .prompt = all, .tokens = d->max_tokens };
        ck_assert_int_eq(g4_greedy_text(text, made, made_n, &err), G4_OK);
    }
    g4_soft_free(&soft);
    g4_session_close(s);
    g4_engine_close(e);
    g4_arena_free(&a);
    free(ids);
    free(at);
    free(types);
    free(blocks);
    free(hidden);
    return all;
}

static int64_t check_choice(g4_doc one, int k)
{
    const g4_doc *d = &one;
    if (one.contexts) one.context = one.contexts[k];
    g4_ids part = { 0 }, whole = { 0 };
    char text[8192];
    int64_t V = rt.model->config.vocab_size;
    size_t n = strlen(d->context);
    snprintf(text, sizeof text, "%s%s", d->context, d->choices[k]);
    while (n && text[n - 1] == ' ') n--;
    ck_assert_int_eq(g4_tokenizer_encode_bos(tokenizer, text, n, G4_BOS_AUTO, &part, &err), G4_OK);
    ck_assert_int_eq(g4_tokenizer_encode_bos(tokenizer, text, strlen(text), G4_BOS_AUTO, &whole,
                                             &err), G4_OK);
    int64_t tail = (int64_t)(whole.count - part.count);
    ck_assert_int_ge(tail, 1);
    const int32_t *more = whole.ids + part.count;
    float *logits = calloc((size_t)(tail * V), sizeof *logits);
    int64_t all = alone(d, more, tail - 1, tail, logits, NULL, NULL, NULL);
    double sum = 0.0;
    for (int64_t t = 0; t < tail; t++) sum += log_softmax(logits + t * V, V, more[t]);
    ck_assert_msg(sum == d->loglik[k], "%s: %.17g, alone %.17g", d->choices[k], d->loglik[k], sum);
    g4_ids_free(&part);
    g4_ids_free(&whole);
    free(logits);
    return all;
}

static void check_text(const g4_doc *d)
{
    g4_greedy_run run;
    int32_t made[64];
    int64_t n = 0;
    size_t len;
    char *text;
    float *logits = calloc((size_t)rt.model->config.vocab_size, sizeof *logits);
    alone(d, NULL, 0, 1, logits, &run, made, &n);
    for (int64_t i = 0; i < n; i++)   /* the text ends before a stop token */
        for (int k = 0; k < rt.model->generation.eos_count; k++)
            if (made[i] == rt.model->generation.eos[k]) n = i;
    ck_assert_int_eq(g4_tokenizer_decode(tokenizer, made, (size_t)n, !d->special, &text, &len,
                                         &err), G4_OK);
    for (const char *const *u = d->until; u && *u; u++) {
        char *at = strstr(text, *u);
        if (at) *at = 0;
    }
    ck_assert_str_eq(d->response, text);
    free(text);
    free(logits);
}

static const struct { const char *task, *model; int64_t shots, chunk; } scored[] = {
    { "mmlu", "golden/tiny/mini/model", 5, 0 },     { "mmlu", "golden/tiny/small/model", 2, 37 },
    { "mmlu", "golden/tiny/mini/model", 0, 1 },     { "mmlu_pro", "golden/tiny/mini/model", 1, 0 },
    { "requests", "golden/tiny/mini/model", 0, 0 }, { "requests", "golden/tiny/small/model", 0, 3 },
    { "mmlu_anatomy", "golden/tiny/even/model", 1, 0 },
    { "winogrande", "golden/tiny/mini/model", 2, 0 },
    { "hellaswag", "golden/tiny/mini/model", 1, 0 },
};

/* Lanes, kept prefixes and chunks change no bit. */
START_TEST(scores_are_those_of_single_requests)
{
    int64_t tokens = 0;
    model_open(scored[_i].model);
    load(scored[_i].task, scored[_i].shots, 3);
    score(scored[_i].chunk);
    for (size_t i = 0; i < eval.count; i++)
        for (size_t k = 0; k < eval.leaves[i].count; k++) {
            const g4_doc *d = &eval.leaves[i].docs[k];
            int best = 0;
            if (!d->choice_count) check_text(d);
            if (!d->choice_count) tokens += d->tokens - 1;   /* the last one is never read */
            for (int c = 0; c < d->choice_count; c++) {
                tokens += check_choice(*d, c);
                if (d->loglik[c] > d->loglik[best]) best = c;
            }
            if (d->choice_count) ck_assert(d->score[0] == (best == d->gold));
        }
    ck_assert_int_eq(eval.alone, tokens);
    ck_assert_int_le(eval.computed, tokens);
    model_close();
}
END_TEST

/* ---- pages that are predicted whole ---- */

typedef struct predicted {
    const int32_t *ids;          /* [n] */
    int64_t n;
    double sum;
} predicted;

static g4_status add_rows(void *ctx, size_t job, const float *logits, g4_err *e)
{
    predicted *p = ctx;
    int64_t V = rt.model->config.vocab_size;
    (void)e;
    for (int64_t t = 0; job == 0 && t < p->n; t++)
        p->sum += log_softmax(logits + t * V, V, p->ids[t]);
    return G4_OK;
}

/* Every token once, each from <bos> or at least one token before it, at most ctx of them:
 * lm-eval's windows, written down by hand. */
START_TEST(pages_are_rolled_over)
{
    enum { CTX = 20 };
    model_open("golden/tiny/mini/model");
    load("wikitext", 0, 2);
    options.ctx = CTX;
    score(0);
    for (size_t k = 0; k < 2; k++) {
        const g4_doc *d = &eval.leaves[0].docs[k];
        double sum = 0.0;
        g4_ids ids = { 0 };
        ck_assert_int_eq(g4_tokenizer_encode_bos(tokenizer, d->context, strlen(d->context),
                                                 G4_BOS_ON, &ids, &err), G4_OK);
        int64_t n = (int64_t)ids.count - 1;   /* predicted: all but <bos> */
        ck_assert_int_gt(n, 2 * CTX);
        for (int64_t done = 0; done < n;) {
            int64_t end = done + CTX < n ? done + CTX : n, rows = end - done;
            int64_t from = end - CTX < 0 ? 0 : end - CTX;
            const g4_batch_job window = { .ids = ids.ids + from, .n = end - from, .rows = rows };
            predicted p = { ids.ids + done + 1, rows, 0.0 };
            const g4_batch b = { .rt = &rt, .jobs = &window, .count = 1, .scored = add_rows,
                                 .ctx = &p };
            ck_assert_int_eq(g4_batch_run(&b, &err), G4_OK);
            sum += p.sum;
            done = end;
        }
        ck_assert_msg(fabs(sum - d->loglik[0]) <= 1e-9 * fabs(sum), "%.17g, by hand %.17g",
                      d->loglik[0], sum);
        ck_assert(d->score[0] == exp(-d->loglik[0] / d->words));
        g4_ids_free(&ids);
    }
    const g4_leaf *l = eval.leaves;
    double both = l->docs[0].loglik[0] + l->docs[1].loglik[0];
    double bytes = l->docs[0].bytes + l->docs[1].bytes;
    ck_assert(l->mean[1] == exp(-both / bytes) && l->mean[2] == -both / bytes / log(2.0));
    ck_assert(isnan(l->stderr_[0]));
    model_close();
}
END_TEST

/* The published file is cut where lm-eval's data set is; sections are no pages. */
START_TEST(raw_text_is_cut_into_pages)
{
    static const char raw[] = " \n = One = \n \n He ( it ) is . \r\n = = Part = = \n\n"
                              " = Two = \n= not\n = three = = four = ";
    static const char *const want[] = { " = One = \n \n He ( it ) is . \n = = Part = = \n",
                                        " = Two = \n= not", " = three = = four = " };
    char dir[TEMPDIR_MAX];
    tempdir_make(dir);
    tempdir_write(dir, "wiki.test.raw", raw, sizeof raw - 1);
    g4_eval_source src = { .name = "wikitext", .dir = dir, .shots = -1 };
    ck_assert_msg(g4_eval_open(&eval, &src, &err) == G4_OK, "%s", err.msg);
    ck_assert_uint_eq(eval.leaves[0].count, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(json_string_value(json_object_get(eval.leaves[0].docs[i].doc, "page")),
                         want[i]);
    ck_assert_str_eq(eval.leaves[0].docs[0].context, " = One =\n\nHe (it) is.\n== Part ==\n");
    g4_eval_close(&eval);
    tempdir_remove(dir);
}
END_TEST

/* ---- statistics ---- */

/* Three leaves of 4, 2 and 1: means 1/2, 1, 0; by hand. */
START_TEST(means_and_errors)
{
    static const double scores[3][4] = { { 1, 0, 1, 0 }, { 1, 1 }, { 0 } };
    static const size_t count[3] = { 4, 2, 1 };
    static const char *const says[2] = { "yes", "No!" };
    g4_doc docs[3][4];
    g4_leaf leaves[3];
    memset(docs, 0, sizeof docs);
    for (int i = 0; i < 3; i++) {
        leaves[i] = (g4_leaf){ .name = "l", .group = i < 2 ? "g" : NULL, .docs = docs[i],
                               .count = count[i] };
        for (size_t k = 0; k < count[i]; k++) {
            docs[i][k].target = "no";   /* case and punctuation do not count */
            docs[i][k].response = says[(int)scores[i][k]];
            docs[i][k].done = 1;
        }
    }
    g4_eval_source src = { .name = "requests", .dir = DATA, .shots = 0 };
    ck_assert_int_eq(g4_eval_open(&eval, &src, &err), G4_OK);
    g4_eval e = { .task = eval.task, .leaves = leaves, .count = 3 };
    for (int i = 0; i < 3; i++) ck_assert_int_eq(g4_leaf_score(&e, &leaves[i], &err), G4_OK);
    ck_assert(leaves[0].mean[0] == 0.5 && leaves[1].mean[0] == 1.0 && leaves[2].mean[0] == 0.0);
    ck_assert(fabs(leaves[0].stderr_[0] - sqrt(1.0 / 3.0) / 2.0) < 1e-15);
    ck_assert(leaves[1].stderr_[0] == 0.0 && isnan(leaves[2].stderr_[0]));
    g4_pooled p = g4_eval_pool(&e, "g", 0);
    ck_assert_uint_eq(p.docs, 6);
    ck_assert(fabs(p.mean - 4.0 / 6.0) < 1e-15);
    /* sqrt((3 * 4 * (1/12) + 0) / (6 - 2) / 6) */
    ck_assert(fabs(p.stderr_ - sqrt(1.0 / 24.0)) < 1e-15);
    g4_arena_free(&e.arena);
    g4_eval_close(&eval);
}
END_TEST

/* ---- the command ---- */

static program_result result;

START_TEST(writes_results_and_samples)
{
    char dir[TEMPDIR_MAX];
    tempdir_make(dir);
    program_place places[] = { { "%o", dir }, { NULL, NULL } };
    program_run(&result, "eval --model golden/tiny/mini/model --task mmlu --data " DATA
                " --limit 2 --shots 1 --out %o/new --threads 1 --json", places, NULL,
                RLIM_INFINITY);
    if (!program_runnable(&result, "eval")) return;
    ck_assert_msg(result.code == 0, "%s", result.err);
    json_error_t je;
    json_t *r = json_loads(result.out, 0, &je);
    ck_assert_msg(r != NULL, "%s", je.text);
    ck_assert_uint_eq(json_object_size(json_object_get(r, "results")), 5);
    json_t *n = json_object_get(json_object_get(r, "n-samples"), "mmlu_anatomy");
    ck_assert_int_eq(json_integer_value(json_object_get(n, "original")), 9);
    ck_assert_int_eq(json_integer_value(json_object_get(n, "effective")), 2);
    json_t *read = json_object_get(r, "tokens");
    json_int_t once = json_integer_value(json_object_get(read, "computed"));
    ck_assert_int_gt(once, 0);
    ck_assert_int_gt(json_integer_value(json_object_get(read, "alone")), 4 * once);
    json_decref(r);
    char inner[TEMPDIR_MAX];
    tempdir_path(inner, dir, "new/golden__tiny__mini__model");
    ck_assert_int_eq(tempdir_count(inner), 4);   /* results and three subjects */
    tempdir_remove(dir);
}
END_TEST

static const char *const faults[][2] = {
    { "eval --model golden/tiny/mini/model --task arc --data " DATA " --out %o",
      "--task arc: known" },
    { "eval --model golden/tiny/mini/model --task mmlu_law --data " DATA " --out %o",
      "nothing in it is called mmlu_law" },
    { "eval --model golden/tiny/mini/model --task mmlu --data golden --out %o",
      "golden/test: holds no" },
    { "eval --model golden/tiny/mini/model --task mmlu --data " DATA " --shots 6 --out %o",
      "too few for --shots 6" },
    { "eval --model golden/tiny/mini/model --task mmlu_pro --data " DATA " --shots 6 --out %o",
      "too few for --shots 6" },
    { "eval --model golden/tiny/mini/model --task requests --data " DATA " --shots 1 --out %o",
      "requests are already whole" },
    { "eval --model golden/tiny/mini/model --task piqa --data " DATA "/piqa --thinking on --out %o",
      "--thinking: goes with --chat-template" },
    { "eval --model golden/tiny/mini/model --task piqa --data " DATA "/piqa --chat-template "
      "--thinking on --out %o", "asks for likelihoods" },
    { "eval --model golden/tiny/mini/model --task wikitext --data " DATA "/wikitext "
      "--chat-template --out %o", "pages have no examples, turns" },
    { "eval --model golden/tiny/mini/model --task piqa --data " DATA "/piqa --ctx 9 --out %o",
      "has no windows" },
    { "eval --model golden/tiny/mini/model --task gpqa_diamond_zeroshot --data " DATA " --shots 1 "
      "--out %o", "has no examples" },
    { "eval --model golden/tiny/mini/model --task gpqa_diamond_zeroshot --data golden --out %o",
      "golden/gpqa_diamond.csv" },
    { "eval --model golden/tiny/mini/model --task requests --data golden --out %o",
      "golden/requests.jsonl" },
    { "eval --model golden/tiny/mini/model --task mmlu --data " DATA " --limit 1 --out %o/a/b",
      "cannot make this folder" },
    { "eval --model golden/tiny/nothing --task mmlu --data " DATA " --out %o",
      "golden/tiny/nothing" },
};

START_TEST(faults_are_named)
{
    char dir[TEMPDIR_MAX];
    tempdir_make(dir);
    program_place places[] = { { "%o", dir }, { NULL, NULL } };
    program_run(&result, faults[_i][0], places, NULL, RLIM_INFINITY);
    if (program_runnable(&result, "eval")) {
        const char *last = strstr(result.err, "gemma4: ");   /* behind the lines of progress */
        ck_assert_int_eq(result.code, 2);
        ck_assert_msg(last && strstr(last, faults[_i][1]), "%s", result.err);
    }
    tempdir_remove(dir);
}
END_TEST

/* Lines that lack something: each fault names file and line. */
START_TEST(lines_are_checked)
{
    static const char *const bad[][3] = {
        { "piqa", "{\"goal\": \"a\", \"sol1\": \"b\", \"label\": 0}", "line 1: sol2 is missing" },
        { "piqa", "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\", \"label\": 2}",
          "line 1: label is not a number from 0 to 1" },
        { "winogrande", "{\"sentence\": \"a\", \"answer\": \"1\"}", "sentence has no _" },
        { "winogrande", "{\"sentence\": \"_\", \"answer\": \"3\"}", "neither 1 nor 2" },
        { "hellaswag", "{\"activity_label\": \"\", \"ctx_a\": \"\", \"ctx_b\": \"\"}",
          "endings is not a list" },
        { "boolq", "{\"passage\": \"\", \"question\": \"\", \"label\": \"x\"}",
          "label is not a number" },
        { "boolq", "", "holds no questions" },
        { "wikitext", "{\"text\": \"\"}", "page is missing" },
    };
    char dir[TEMPDIR_MAX];
    tempdir_make(dir);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        g4_eval_source src = { .name = bad[i][0], .dir = dir, .shots = -1 };
        tempdir_write(dir, i + 1 < sizeof bad / sizeof bad[0] ? "validation.jsonl" : "test.jsonl",
                      bad[i][1], strlen(bad[i][1]));
        ck_assert_int_eq(g4_eval_open(&eval, &src, &err), G4_EINPUT);
        ck_assert_msg(strstr(err.msg, bad[i][2]) != NULL, "%zu: %s", i, err.msg);
        g4_eval_close(&eval);
    }
    tempdir_remove(dir);
}
END_TEST

/* Requests that lack something: each fault names file and line. */
START_TEST(requests_are_checked)
{
    static const char *const bad[][2] = {
        { "{\"choices\": [\"a\", \"b\"], \"gold\": 0}", "line 1: prompt is missing" },
        { "{\"prompt\": \"a\", \"choices\": [\"a\"], \"gold\": 0}", "1 choices" },
        { "{\"prompt\": \"a\", \"choices\": [\"a\", \"b\"]}", "gold is missing" },
        { "{\"prompt\": \"a\", \"choices\": [\"a\", \"b\"], \"gold\": 2}", "gold is 2" },
        { "{\"prompt\": \"a\", \"choices\": [\"a\", 1], \"gold\": 0}", "not a text" },
        { "{\"prompt\": \"a\", \"target\": \"b\"}", "max_tokens is missing" },
        { "{\"prompt\": \"a\", \"max_tokens\": 3}", "target is missing" },
        { "{\"prompt\": \"a\", \"media\": [[\"smell\", \"f\"]]}", "media 1 is not" },
        { "{\"prompt\": \"a\", \"media\": {}}", "media is {}" },
    };
    char dir[TEMPDIR_MAX];
    tempdir_make(dir);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        g4_eval_source src = { .name = "requests", .dir = dir, .shots = -1 };
        tempdir_write(dir, "requests.jsonl", bad[i][0], strlen(bad[i][0]));
        ck_assert_int_eq(g4_eval_open(&eval, &src, &err), G4_EINPUT);
        ck_assert_msg(strstr(err.msg, bad[i][1]) != NULL, "%zu: %s", i, err.msg);
        g4_eval_close(&eval);
    }
    tempdir_remove(dir);
}
END_TEST

Suite *check_eval(void)
{
    Suite *s = suite_create("eval");
    TCase *t = tcase_create("files");
    tcase_add_test(t, csv_fields);
    tcase_add_test(t, csv_faults);
    tcase_add_test(t, jsonl_lines);
    tcase_add_test(t, python_strings);
    tcase_add_test(t, letters_in_answers);
    tcase_add_test(t, numbers_in_answers);
    tcase_add_test(t, choices_in_answers);
    tcase_add_test(t, random_numbers_are_pythons);
    tcase_add_test(t, lines_are_checked);
    tcase_add_test(t, raw_text_is_cut_into_pages);
    tcase_add_test(t, prompts_are_lm_evals);
    tcase_add_test(t, requests_are_checked);
    tcase_add_test(t, means_and_errors);
    suite_add_tcase(s, t);
    t = tcase_create("too much");
    tcase_set_tags(t, "slow");
    tcase_add_loop_test(t, jsonl_of_too_much, 0, 2);
    suite_add_tcase(s, t);
    t = tcase_create("scores");
    tcase_add_loop_test(t, scores_are_those_of_single_requests, 0,
                        (int)(sizeof scored / sizeof scored[0]));
    tcase_add_test(t, pages_are_rolled_over);
    suite_add_tcase(s, t);
    t = tcase_create("command");
    tcase_add_test(t, writes_results_and_samples);
    tcase_add_loop_test(t, faults_are_named, 0, (int)(sizeof faults / sizeof faults[0]));
    suite_add_tcase(s, t);
    return s;
}
