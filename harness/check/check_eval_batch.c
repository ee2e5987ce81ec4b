/* SPDX-License-Identifier: Apache-2.0
 * Requests that share what they begin with: how many tokens are read for them, by hand, and
 * the same bits as of each request by itself. */
#include "harness/eval/batch.h"
#include "ref/input/prompt_build.h"
#include "ref/base/rng.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *check_eval_batch(void);

enum { LONGEST = 120, JOBS = 24, ROWS = 3, MADE = 4 };

static g4_err err;
static g4_runtime rt;
static g4_options options;
static g4_batch_job jobs[JOBS];
static int32_t ids[JOBS][LONGEST];
static float *seen[JOBS];        /* [rows][V] */
static int32_t made[JOBS][MADE];
static int64_t made_n[JOBS];

/* NULL: opt, whose full layers keep values alone; those of ref keep keys, too. */
static void open_model(const char *engine)
{
    options = (g4_options){ .model = "golden/tiny/mini/model", .threads = 1, .engine = engine };
    ck_assert_msg(g4_runtime_open(&rt, &options, G4_DRAFT_NONE, &err) == G4_OK, "%s", err.msg);
    for (int i = 0; i < JOBS; i++)
        seen[i] = calloc((size_t)(ROWS * rt.model->config.vocab_size), sizeof *seen[i]);
    memset(made_n, 0, sizeof made_n);
}

static void close_model(void)
{
    for (int i = 0; i < JOBS; i++) free(seen[i]);
    g4_runtime_close(&rt);
}

/* ctx: the number of the first job. */
static g4_status look(void *ctx, size_t job, const float *logits, g4_err *e)
{
    size_t i = *(const size_t *)ctx + job;
    (void)e;
    memcpy(seen[i], logits,
           (size_t)(jobs[i].rows * rt.model->config.vocab_size) * sizeof *logits);
    return G4_OK;
}

static g4_status token(void *ctx, size_t job, int32_t id, int *end, g4_err *e)
{
    size_t i = *(const size_t *)ctx + job;
    (void)end;
    (void)e;
    made[i][made_n[i]++] = id;
    return G4_OK;
}

/* How many tokens jobs from `first` on take. */
static int64_t tokens_of(size_t first, size_t count, int64_t chunk)
{
    int64_t n = 0;
    const g4_batch b = { .rt = &rt, .chunk = chunk, .jobs = jobs + first, .count = count,
                         .scored = look, .token = token, .ctx = &first, .computed = &n };
    ck_assert_msg(g4_batch_run(&b, &err) == G4_OK, "%s", err.msg);
    return n;
}

/* Random ids, [from, to) of job i, which another seed never begins with. */
static void put(int i, int64_t from, int64_t to, int seed)
{
    for (int64_t k = from; k < to; k++)
        ids[i][k] = (int32_t)(20 + g4_rng_u64((uint64_t)seed, 0, (uint64_t)k) % 500);
    ids[i][from] = 520 + seed % 100;
}

/* All jobs at once take `want` tokens, whose answers are those to each by itself.  Where chunks
 * end just before the end of what is shared, fewer than 8 tokens a job are not waited for. */
static void check_all(int count, int64_t chunk, int64_t want)
{
    size_t V = (size_t)rt.model->config.vocab_size;
    float *shared[JOBS];
    int32_t text[JOBS][MADE];
    for (int i = 0; i < count; i++) jobs[i].ids = ids[i];
    int64_t n = tokens_of(0, (size_t)count, chunk);
    ck_assert_int_ge(n, want);
    ck_assert_int_le(n, chunk == 7 ? want + 7 * count : want);
    memcpy(shared, seen, sizeof shared);
    memcpy(text, made, sizeof text);
    memset(made_n, 0, sizeof made_n);
    for (int i = 0; i < JOBS; i++) seen[i] = calloc(ROWS * V, sizeof *seen[i]);
    for (int i = 0; i < count; i++) {
        int64_t wrote = jobs[i].max_tokens ? jobs[i].max_tokens - 1 : 0;
        ck_assert_int_eq(tokens_of((size_t)i, 1, 0), jobs[i].n + wrote);
        if (wrote) ck_assert_mem_eq(text[i], made[i], sizeof text[i]);
        else ck_assert_mem_eq(shared[i], seen[i], (size_t)jobs[i].rows * V * sizeof *seen[i]);
    }
    for (int i = 0; i < JOBS; i++) free(shared[i]);
}

static const struct { int64_t chunk; const char *engine; } ways[] = {
    { 0, NULL }, { 7, NULL }, { 64, NULL }, { 0, "ref" },
};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* 60 tokens in front of all: longer than the ring of a window of 40.  The last job is nothing
 * else, of which one token is read for its logits. */
START_TEST(examples_are_read_once)   /* _i: way */
{
    int64_t want = 60;
    open_model(ways[_i].engine);
    for (int i = 0; i < JOBS; i++) {
        int64_t own = i == JOBS - 1 ? 0 : 5 + i % 7;
        put(i, 0, 60, 1);
        if (own) put(i, 60, 60 + own, 2 + i);
        jobs[i] = (g4_batch_job){ .n = 60 + own, .rows = 1 };
        want += own ? own : 1;
    }
    check_all(JOBS, ways[_i].chunk, want);
    close_model();
}
END_TEST

/* Questions with nothing in common, each with four endings of three tokens, all of which are
 * predicted: the last one is not read, so a question's last token is, for each. */
START_TEST(endings_share_their_question)
{
    int64_t want = 0;
    open_model(ways[_i].engine);
    for (int i = 0; i < JOBS; i++) {
        int64_t n = 30 + 5 * (i / 4);
        put(i, 0, n, i / 4);
        put(i, n, n + 2, 10 + i);
        jobs[i] = (g4_batch_job){ .n = n + 2, .rows = ROWS };
        want += i % 4 ? ROWS : n + 2;
    }
    check_all(JOBS, ways[_i].chunk, want);
    close_model();
}
END_TEST

/* Texts are written behind what is shared, some of which others wait for meanwhile. */
START_TEST(texts_share_examples)
{
    int64_t want = 0;
    open_model(ways[_i].engine);
    for (int i = 0; i < JOBS; i++) {
        put(i, 0, 50, i / 12);
        put(i, 50, 60, 10 + i);
        jobs[i] = (g4_batch_job){ .n = 60, .rows = 1, .max_tokens = MADE };
        want += (i % 12 ? 10 : 60) + MADE - 1;
    }
    check_all(JOBS, ways[_i].chunk, want);
    close_model();
}
END_TEST

/* Pages of addresses that this process has, while a text is written. */
static int64_t pages_now(void)
{
    long long n = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    ck_assert(f != NULL && fscanf(f, "%lld", &n) == 1);
    fclose(f);
    return n;
}

static g4_status ends_soon(void *ctx, size_t job, int32_t id, int *end, g4_err *e)
{
    int64_t n = pages_now(), *most = ctx;
    if (n > *most) *most = n;
    *end = made_n[job] == MADE - 1;
    return token(&(size_t){ 0 }, job, id, end, e);
}

/* Texts that may become long: sliding layers keep their window, not all that may be written, and
 * what the questions begin with is still read once. */
START_TEST(long_texts_take_little)
{
    enum { MOST = 300000, COUNT = 3 };
    int64_t n = 0, most = 0, full = 0, lane;
    open_model(ways[_i].engine);
    const g4_config *c = &rt.model->config;
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        if (c->layer_kind[l] == G4_FULL)
            full += 2 * 4 * c->kv_heads[G4_FULL] * c->head_dim[G4_FULL];
    for (int i = 0; i < COUNT; i++) {
        put(i, 0, 50, 1);
        put(i, 50, 60, 10 + i);
        jobs[i] = (g4_batch_job){ .ids = ids[i], .n = 60, .rows = 1, .max_tokens = MOST };
    }
    const g4_batch b = { .rt = &rt, .chunk = ways[_i].chunk, .jobs = jobs, .count = COUNT,
                         .scored = look, .token = ends_soon, .ctx = &most, .computed = &n };
    int64_t before = pages_now();
    ck_assert_msg(g4_batch_run(&b, &err) == G4_OK, "%s", err.msg);
    /* A lane each, and one for what they share: a token's keys and values in full layers, its
     * angles, and 32 bytes of ids and the like. */
    lane = MOST * (full + 4 * c->head_dim[G4_FULL] + 32);
    ck_assert_int_lt((most - before) * sysconf(_SC_PAGESIZE), (COUNT + 1) * lane + (64 << 20));
    ck_assert_int_eq(n, 50 + COUNT * (10 + MADE - 1));
    close_model();
}
END_TEST

/* "<|image|>" and a text, as the program makes them. */
static void ask_picture(g4_prompt *p, const char *text, g4_arena *a)
{
    const g4_media picture[] = { { G4_IMAGE, "golden/tiny/mini/row.png" } };
    const g4_request q = { .text = text, .len = strlen(text), .media = picture, .media_count = 1,
                           .audio_limit = -1, .bos = G4_BOS_AUTO };
    g4_tokenizer *t = NULL;
    g4_processor proc;
    ck_assert_int_eq(g4_tokenizer_load(&t, options.model, &err), G4_OK);
    ck_assert_int_eq(g4_processor_load(&proc, options.model, &err), G4_OK);
    ck_assert_msg(g4_prompt_build(p, &q, &proc, t, a, NULL, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_lt(p->n, LONGEST - 4);
    g4_tokenizer_free(t);
}

/* A picture and its question are read once for all endings; but again of another prompt, and
 * where logits are wanted from within the picture on, whose tokens are read together. */
START_TEST(endings_share_their_picture)
{
    static const char *const texts[] = { "<|image|>What is it? It is", "<|image|>What is it? It is",
                                         "Here it is:<|image|>" };
    int64_t want = 0;
    g4_arena a = { NULL };
    g4_prompt p[3];
    open_model(ways[_i].engine);
    for (int i = 0; i < 12; i++) {
        g4_prompt *q = &p[i / 4];
        if (i % 4 == 0) ask_picture(q, texts[i / 4], &a);
        memcpy(ids[i], q->ids, (size_t)q->n * sizeof *q->ids);
        int64_t n = q->n + (i < 8 ? 2 : 1);
        put(i, q->n, n, 10 + i);
        jobs[i] = (g4_batch_job){ .n = n, .rows = ROWS, .media = q };
        want += i % 4 && i < 8 ? ROWS : n;
    }
    check_all(12, ways[_i].chunk, want);
    g4_arena_free(&a);
    close_model();
}
END_TEST

Suite *check_eval_batch(void)
{
    Suite *s = suite_create("eval_batch");
    TCase *t = tcase_create("shared");
    tcase_add_loop_test(t, examples_are_read_once, 0, WAYS);
    tcase_add_loop_test(t, endings_share_their_question, 0, WAYS);
    tcase_add_loop_test(t, texts_share_examples, 0, WAYS);
    tcase_add_loop_test(t, long_texts_take_little, 0, WAYS);
    tcase_add_loop_test(t, endings_share_their_picture, 0, WAYS);
    suite_add_tcase(s, t);
    return s;
}
