/* SPDX-License-Identifier: Apache-2.0
 * gemma4 perplexity and kl: rows against sums by hand, windows that predict every token once,
 * references that went through a file, files that lie. */
#include "golden/golden.h"
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/check/tempdir.h"
#include "harness/kl/windows.h"
#include "ref/base/rng.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *check_kl(void);

#define EVEN "golden/tiny/even/model"
#define SMALL "golden/tiny/small/model"
enum { V = 512, PLACES = 37 };

static char dir[TEMPDIR_MAX];
static program_result r;

static void run(const char *command)
{
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    program_run(&r, command, places, NULL, RLIM_INFINITY);
}

/* ---- a row ---- */

static void random_logits(float *z, uint64_t seed)
{
    for (uint64_t i = 0; i < V; i++) z[i] = (float)(8.0 * g4_rng_unit(seed, 0, i) - 4.0);
}

/* KL by libm in long double. */
static double plain_kl(const float *p, const float *q)
{
    long double zp = 0, zq = 0, kl = 0;
    for (int i = 0; i < V; i++) zp += expl(p[i]), zq += expl(q[i]);
    for (int i = 0; i < V; i++)
        kl += expl(p[i]) / zp * ((p[i] - logl(zp)) - (q[i] - logl(zq)));
    return (double)kl;
}

START_TEST(rows_by_hand)
{
    static float p[V], q[V], lp[V], best[V];
    static int32_t ids[V];
    static uint8_t mark[V];
    g4_kl_token whole, top;
    random_logits(p, 1);
    random_logits(q, 2);
    p[9] = p[3];   /* of equals the lower id is the better */
    g4_kl_ref ref = { .kind = G4_KL_LOGITS, .logits = p };
    g4_kl_row(&whole, q, V, 7, &ref, mark);
    double want = plain_kl(p, q), log_p = g4_kl_log_sum(p, V);
    /* g4_exp is right to 1e-14; V terms of at most 8 nats each */
    ck_assert_double_eq_tol(whole.kl, want, V * 8 * 1e-14);
    ck_assert_double_eq_tol(whole.nll_ref, log_p - (double)p[7], 1e-15);
    ck_assert_double_eq_tol(whole.dp, exp(-whole.nll) - exp(-whole.nll_ref), 1e-13);

    g4_kl_best(p, V, V, ids, best);
    for (int i = 1; i < V; i++)
        ck_assert(best[i] < best[i - 1] || (best[i] == best[i - 1] && ids[i] > ids[i - 1]));
    double before = 0.0;
    for (int k = 5; k <= V; k = k < 20 ? k + 5 : k == V ? V + 1 : V) {
        double rest = 0.0;
        for (int i = 0; i < V; i++) lp[i] = (float)((double)best[i] - log_p);
        for (int i = k; i < V; i++) rest += exp((double)best[i] - log_p);
        ref = (g4_kl_ref){ .kind = G4_KL_TOP, .ids = ids, .logprobs = lp, .k = k,
                           .rest = (float)rest, .token = (float)((double)p[7] - log_p) };
        g4_kl_row(&top, q, V, 7, &ref, mark);
        /* float32 log-probabilities of at most 16: each term strays by 2^-21 */
        ck_assert(top.kl >= before - 0x1p-20 && top.kl <= want + 0x1p-20);
        if (k == V) ck_assert_double_eq_tol(top.kl, want, 0x1p-20);
        ck_assert_int_eq(top.top1, whole.top1);
        ck_assert_int_eq(top.top5, whole.top5);
        before = top.kl;
        for (int i = 0; i < V; i++) ck_assert_int_eq(mark[i], 0);
    }
    g4_kl_row(&whole, p, V, 7, &(g4_kl_ref){ .kind = G4_KL_LOGITS, .logits = p }, mark);
    ck_assert(whole.kl == 0.0 && whole.dp == 0.0 && whole.top1 == 1 && whole.top5 == 5);
}
END_TEST

/* ---- windows ---- */

static void cut(g4_kl_text *t, int how, int64_t prefix_n, int64_t n, int64_t ctx, int64_t stride)
{
    static const int32_t prefix[] = { 2, 300, 301 };
    static int32_t tokens[PLACES], scratch[PLACES + 8];
    for (int i = 0; i < PLACES; i++) tokens[i] = 100 + i;
    g4_kl_cut c = { .text = t, .prefix = prefix, .prefix_n = prefix_n, .tokens = tokens, .n = n,
                    .ctx = ctx, .stride = stride, .scratch = scratch };
    *t = (g4_kl_text){ 0 };
    ck_assert_int_eq(how == 2 ? g4_kl_cut_halves(&c, NULL) : g4_kl_cut_rolling(&c, how, NULL),
                     G4_OK);
}

START_TEST(every_token_once)
{
    g4_kl_text t;
    for (int64_t p = 0; p <= 3; p++)
        for (int64_t ctx = 4; ctx <= 20; ctx++)
            for (int64_t stride = 1; stride <= ctx - p; stride += 3)
                for (int64_t n = 1; n <= PLACES; n += 4) {
                    int32_t next = p ? 100 : 101;   /* nothing stands before the first */
                    cut(&t, 0, p, n, ctx, stride);
                    for (size_t i = 0; i < t.count; i++) {
                        const g4_kl_window *w = &t.windows[i];
                        const int32_t *ids = t.ids.ids + w->first;
                        ck_assert_int_le(w->n - 1, ctx);
                        ck_assert_int_lt(w->scored, w->n);
                        if (p) ck_assert_int_eq(ids[0], 2);
                        for (int32_t k = w->n - w->scored; k < w->n; k++)
                            ck_assert_int_eq(ids[k], next++);
                        if (i) ck_assert(w->scored <= stride && w->n == ctx + 1);
                    }
                    ck_assert_int_eq(next, 100 + n);
                    g4_kl_text_free(&t);
                }
}
END_TEST

/* lm-eval's get_rolling_token_windows(range(100, 110), prefix 2, max_seq_len 4, context_len 1),
 * and llama-perplexity's chunks of the same. */
START_TEST(windows_of_others)
{
    static const struct { int32_t scored; int32_t ids[5]; } rolling[] = {
        { 4, { 2, 100, 101, 102, 103 } }, { 4, { 103, 104, 105, 106, 107 } },
        { 2, { 105, 106, 107, 108, 109 } },
    };
    g4_kl_text t;
    cut(&t, 1, 1, 10, 4, 4);
    ck_assert_uint_eq(t.count, 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(t.windows[i].scored, rolling[i].scored);
        ck_assert_int_eq(t.windows[i].n, 5);
        ck_assert_int_eq(memcmp(t.ids.ids + t.windows[i].first, rolling[i].ids, 20), 0);
    }
    g4_kl_text_free(&t);
    cut(&t, 2, 1, 10, 5, 1);   /* 2 100 .. 103 | 104 .. 108, 109 left over */
    ck_assert_uint_eq(t.count, 2);
    ck_assert_int_eq(t.scored, 2 * (5 - 1 - 2));
    ck_assert_int_eq(t.ids.ids[5], 2);
    ck_assert_int_eq(t.windows[1].lead, 104);
    ck_assert_int_eq(t.ids.ids[6], 105);
    g4_kl_text_free(&t);
}
END_TEST

/* ---- figures ---- */

START_TEST(figures_by_hand)
{
    g4_kl_window windows[] = { { .n = 3, .scored = 2 }, { .n = 4, .scored = 2 } };
    g4_kl_text t = { .windows = windows, .count = 2, .scored = 4 };
    const g4_kl_token k[] = {
        { .nll = 1, .nll_ref = 2, .kl = 0.0, .dp = 0.1, .top1 = 1, .top5 = 5 },
        { .nll = 2, .nll_ref = 2, .kl = 1.0, .dp = -0.3, .top1 = 0, .top5 = 0 },
        { .nll = 3, .nll_ref = 3, .kl = 4.0, .dp = 0.0, .top1 = 1, .top5 = 5 },
        { .nll = 6, .nll_ref = 1, .kl = 3.0, .dp = 0.0, .top1 = 1, .top5 = 5 },
    };
    g4_kl_stats s;
    ck_assert_int_eq(g4_kl_stats_of(&s, &t, k, NULL), G4_OK);
    /* nll: mean 3, squares 4 + 1 + 0 + 9 = 14; windows -3 and 3 */
    ck_assert(s.nll.value == 3.0 && s.nll.se == sqrt(14.0 / 3.0 / 4.0));
    ck_assert(s.nll.se_windows == sqrt((9.0 + 9.0) * 2.0) / 4.0);
    ck_assert(s.log_ratio.value == 1.0 && s.kl.value == 2.0 && s.kl_max == 4.0);
    ck_assert(s.top1.value == 0.75 && s.top1.se == sqrt(0.75 * 0.25 / 3.0));
    ck_assert_double_eq_tol(s.dp2.value, 0.1 / 4.0, 1e-17);
    ck_assert(s.quantiles[0].value == 2.0);   /* of 0 1 3 4 */
    /* 0.5 +- 0.25: 0.25 and 0.75 of the way: 0.75 and 3.25 */
    ck_assert(s.quantiles[0].se == 1.25);
    ck_assert(isnan(s.quantiles[0].se_windows));
    g4_kl_mean m = g4_kl_through((g4_kl_mean){ 2.0, 0.5, 0.25 }, 7.0, -2.0);
    ck_assert(m.value == 7.0 && m.se == 1.0 && m.se_windows == 0.5);
}
END_TEST

/* ---- the commands ---- */

static void setup(void)
{
    char line[2048] = "{\"ids\":[2";
    tempdir_make(dir);
    for (int i = 0; i < 90; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), ",%d", 20 + (i * 37) % 400);
    strcat(line, "]}\n{\"ids\":[2,40,41,300,77,20]}\n");
    tempdir_write(dir, "d.jsonl", line, strlen(line));
    run("quantize --model " EVEN " --type q8_0 --out %d/c.gguf");
}

static void teardown(void)
{
    tempdir_remove(dir);
}

static json_t *result(const char *command)
{
    run(command);
    ck_assert_msg(r.code == 0, "%s: %s", command, r.err);
    json_t *j = json_loads(r.out, 0, NULL);
    ck_assert_ptr_nonnull(j);
    json_object_del(j, "seconds");
    return j;
}

/* "kl.mean.value" */
static double number(const json_t *j, const char *path)
{
    char key[64];
    for (size_t n; *path; path += n + (path[n] == '.')) {
        n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        j = json_object_get(j, key);
        ck_assert_msg(j != NULL, "no %s", key);
    }
    return json_number_value(j);
}

#define KL "kl --model %d/c.gguf --threads 1 --json "
#define TEXT "--data %d/d.jsonl --ctx 16 "

/* What another engine, chunk and number of threads may not change, and a model against itself. */
START_TEST(in_lockstep)
{
    if (!program_runnable(&r, "kl")) return;
    json_t *a = result(KL "--reference " EVEN " " TEXT);
    json_t *b = result("kl --model %d/c.gguf --threads 2 --chunk 7 --json "
                       "--reference " EVEN " " TEXT);
    ck_assert(json_equal(a, b));
    ck_assert_int_eq(json_integer_value(json_object_get(a, "tokens")), 90 + 5);
    double kl = number(a, "kl.mean.value");
    ck_assert(kl > 0.0 && kl < 0.1);
    ck_assert_double_eq_tol(number(a, "perplexity_ratio.value"),
                            number(a, "token_perplexity.value") /
                            number(a, "reference_perplexity.value"), 1e-9);
    json_t *p = result("perplexity --model %d/c.gguf --json " TEXT);
    ck_assert(number(p, "nll.value") == number(a, "nll.value"));
    json_t *self = result("kl --model " EVEN " --engine ref --json --reference " EVEN " " TEXT);
    ck_assert(number(self, "kl.max") == 0.0 && number(self, "rms_dp.value") == 0.0);
    ck_assert(number(self, "top5_agreement.value") == 1.0);
    json_decref(a);
    json_decref(b);
    json_decref(p);
    json_decref(self);
}
END_TEST

/* What went through a file says what the model itself says, to the file's own rounding. */
START_TEST(stored_references)
{
    if (!program_runnable(&r, "kl")) return;
    json_t *live = result(KL "--reference " EVEN " " TEXT);
    json_decref(result("kl --model " EVEN " --engine ref --save %d/all.h5 --json " TEXT
                       "--keep 512"));
    json_decref(result("kl --model " EVEN " --engine ref --save %d/five.h5 --json " TEXT
                       "--keep 5"));
    json_t *all = result(KL "--reference %d/all.h5"), *five = result(KL "--reference %d/five.h5");
    double kl = number(live, "kl.mean.value");
    /* float32 log-probabilities of less than 16: 2^-21 nats */
    ck_assert_double_eq_tol(number(all, "kl.mean.value"), kl, 0x1p-21);
    ck_assert_double_eq_tol(number(all, "kl.max"), number(live, "kl.max"), 0x1p-21);
    ck_assert(number(five, "kl.mean.value") <= kl + 0x1p-21);
    static const char *const same[] = { "top1_agreement.value", "top5_agreement.value",
                                        "nll.value" };
    for (int i = 0; i < 3; i++) {
        ck_assert(number(all, same[i]) == number(live, same[i]));
        ck_assert(number(five, same[i]) == number(live, same[i]));
    }
    ck_assert_double_eq_tol(number(five, "rms_dp.value"), number(live, "rms_dp.value"), 0x1p-21);
    json_decref(live);
    live = result(KL "--windows halves --reference " EVEN " " TEXT);
    json_decref(result("kl --model " EVEN " --engine ref --save %d/b.dat --json --windows halves "
                       TEXT));
    json_t *dat = result(KL "--reference %d/b.dat");
    /* Codes are steps of at most 16 / 65535 nats, off by half of one. */
    ck_assert_double_eq_tol(number(dat, "kl.mean.value"), number(live, "kl.mean.value"),
                            8.0 / 65535.0);
    ck_assert_double_eq_tol(number(dat, "reference_perplexity.value"),
                            number(live, "reference_perplexity.value"),
                            number(live, "reference_perplexity.value") * 8.0 / 65535.0);
    ck_assert(number(dat, "tokens") == number(live, "tokens"));
    json_decref(live);
    json_decref(all);
    json_decref(five);
    json_decref(dat);
}
END_TEST

/* ---- protocols with a prompt: the trained miniature, whose tokens have turns ---- */

#define TRAINED "golden/miniature"
#define QUESTION "[{\"role\":\"user\",\"content\":\"What color is the sky?\"}]"
#define THOUGHTLESS "<bos><|turn>model\n<|channel>thought\n<channel|>"

/* Member ids of what a command prints, added to those in line. */
static void add_ids(char *line, size_t room, const char *command)
{
    run(command);
    ck_assert_msg(r.code == 0, "%s: %s", command, r.err);
    json_t *j = json_loads(r.out, 0, NULL), *v;
    size_t i;
    ck_assert_uint_gt(json_array_size(json_object_get(j, "ids")), 0);
    json_array_foreach(json_object_get(j, "ids"), i, v) {
        size_t n = strlen(line);
        snprintf(line + n, room - n, "%s%lld", line[n - 1] == '[' ? "" : ",",
                 (long long)json_integer_value(v));
    }
    json_decref(j);
}

/* "place,id,nll" of each line of a window in tokens.csv, from a place on. */
static void rows_from(char *out, size_t room, const char *name, int window, int place)
{
    char path[TEMPDIR_MAX], line[200];
    int w, at;
    tempdir_path(path, dir, name);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    for (*out = 0; fgets(line, sizeof line, f);) {
        if (sscanf(line, "%d,%d,", &w, &at) != 2 || w != window || at < place) continue;
        size_t n = strlen(out);
        snprintf(out + n, room - n, "%s", strchr(line, ',') + 1);
    }
    fclose(f);
}

/* Window w of what `command` leaves in %d/p, against all of `ids` as a raw text: what is
 * predicted there from `place` on, to the last digit that is written. */
static void same_as_raw(const char *command, int w, int place, const char *ids)
{
    static char line[4096], theirs[4096], ours[4096];
    run(command);
    ck_assert_msg(r.code == 0, "%s: %s", command, r.err);
    snprintf(line, sizeof line, "{\"ids\":[%s]}\n", ids);
    tempdir_write(dir, "raw.jsonl", line, strlen(line));
    json_decref(result("perplexity --model " TRAINED " --data %d/raw.jsonl --out %d/r --json"));
    rows_from(ours, sizeof ours, "p/tokens.csv", w, 0);
    rows_from(theirs, sizeof theirs, "r/tokens.csv", 0, place);
    ck_assert_str_ne(ours, "");
    ck_assert_str_eq(ours, theirs);
}

static int commas(const char *text)
{
    int n = 0;
    for (; *text; text++) n += *text == ',';
    return n;
}

/* A document is what the model's turn says, unasked and asked; nothing before it is counted. */
START_TEST(framed_text_is_the_models_turn)
{
    static const char data[] = "{\"text\":\"red.\"}\n{\"prompt\":\"What color is the sky?\","
                               "\"text\":\"It_is_blue.\"}\n";
    char ids[2048] = "[";
    if (!program_runnable(&r, "kl")) return;
    tempdir_write(dir, "f.jsonl", data, sizeof data - 1);
    tempdir_write(dir, "q.json", QUESTION, sizeof QUESTION - 1);
    add_ids(ids, sizeof ids, "tokens --model " TRAINED " --json --bos auto --text " THOUGHTLESS);
    int place = commas(ids) + 1;
    add_ids(ids, sizeof ids, "tokens --model " TRAINED " --json --bos off --text red.");
    same_as_raw("perplexity --model " TRAINED " --protocol framed --data %d/f.jsonl --out %d/p", 0,
                place, ids + 1);
    strcpy(ids, "[");
    add_ids(ids, sizeof ids, "tokens --model " TRAINED " --json --chat %d/q.json");
    place = commas(ids) + 1;
    add_ids(ids, sizeof ids, "tokens --model " TRAINED " --json --bos off --text It_is_blue.");
    same_as_raw("perplexity --model " TRAINED " --protocol framed --data %d/f.jsonl --out %d/p", 1,
                place, ids + 1);
}
END_TEST

/* What the reference answers, here to a plain text's second line, is what generate writes, its
 * stop token included; the candidate predicts that. */
START_TEST(own_answers_are_generates)
{
    static const char data[] = "Name a color.\n\nWhat color is the sky?\n";
    char ids[2048] = "[";
    if (!program_runnable(&r, "kl")) return;
    tempdir_write(dir, "q.txt", data, sizeof data - 1);
    tempdir_write(dir, "q.json", QUESTION, sizeof QUESTION - 1);
    add_ids(ids, sizeof ids, "tokens --model " TRAINED " --json --chat %d/q.json");
    int place = commas(ids) + 1;
    add_ids(ids, sizeof ids, "generate --model " TRAINED " --json --chat %d/q.json --temperature 0 "
                             "--max-tokens 20");
    same_as_raw("perplexity --model " TRAINED " --protocol self --data %d/q.txt --out %d/p "
                "--max-tokens 20", 1, place, ids + 1);
    run("quantize --model " TRAINED " --type q4_0 --out %d/t.gguf");
    json_t *a = result("kl --model %d/t.gguf --reference " TRAINED " --reference-engine opt "
                       "--protocol self --data %d/q.txt --max-tokens 20 --json");
    json_t *b = result("perplexity --model " TRAINED " --protocol self --data %d/q.txt "
                       "--max-tokens 20 --json");
    ck_assert(number(a, "tokens") == number(b, "tokens"));
    ck_assert_double_eq_tol(number(a, "reference_perplexity.value"),
                            number(b, "token_perplexity.value"), 1e-12);
    ck_assert(number(a, "kl.mean.value") > 0.0);
    json_decref(a);
    json_decref(b);
}
END_TEST

/* ---- files that lie ---- */

/* A base file of one piece of 4 tokens, one of them scored; fault: which byte is another. */
static void write_dat(const char *name, size_t size, size_t fault, uint8_t value)
{
    static uint8_t data[20 + 16 + 8 + 2 * V + 1];
    memset(data, 0, sizeof data);
    memcpy(data, "_logits_\4\0\0\0\0\2\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5", 33);
    float head[2] = { 0.0f, -6.2383f };   /* ln 512: all the same */
    memcpy(data + 36, head, sizeof head);
    if (fault < sizeof data) data[fault] = value;
    tempdir_write(dir, name, data, size);
}

static void write_h5(const char *name, int fault)
{
    char path[TEMPDIR_MAX];
    g4_golden_writer *w;
    int32_t ids[] = { 2, 30, 31, 32 }, tokens[] = { 4 }, scored[] = { fault == 1 ? 4 : 2 };
    int32_t lead[] = { 2 }, top[2 * V];
    float lp[2 * V], rest[] = { 0.5f, 0.5f }, token[] = { -9.0f, -9.0f };
    const int k = fault == 12 ? V : 5;
    for (int i = 0; i < 2 * k; i++) {
        top[i] = k == V ? i % V : 1 + i;
        lp[i] = logf(k == V ? 1.0f / V : 0.1f);
    }
    if (fault == 12) rest[0] = rest[1] = 1e-6f;
    if (fault == 12) token[0] = token[1] = lp[0];
    if (fault == 2) top[7] = V;
    if (fault == 3) top[7] = top[6];
    if (fault == 4) rest[1] = 0.4f;
    if (fault == 5) lp[3] = NAN;
    if (fault == 6) lp[9] = -0.1f;
    if (fault == 7) token[0] = 0.5f;
    const int64_t d4[] = { 4 }, d1[] = { 1 }, d2[] = { 2 }, wide[] = { fault == 8 ? 1 : 2, k };
    tempdir_path(path, dir, name);
    ck_assert_int_eq(g4_golden_create(&w, path, NULL), G4_OK);
    g4_golden_put_text(w, "dtype", "float32", NULL);
    g4_golden_put_text(w, "protocol", fault == 9 ? "cooked" : "raw", NULL);
    g4_golden_put_text(w, "cut", "rolling", NULL);
    g4_golden_put_int(w, "ctx", 16, NULL);
    g4_golden_put_int(w, "vocab_size", fault == 10 ? V + 1 : V, NULL);
    g4_golden_write(w, "windows/ids", G4_GOLDEN_I32, 1, d4, ids, NULL);
    g4_golden_write(w, "windows/tokens", G4_GOLDEN_I32, 1, d1, tokens, NULL);
    g4_golden_write(w, "windows/scored", G4_GOLDEN_I32, 1, d1, scored, NULL);
    g4_golden_write(w, "windows/lead", G4_GOLDEN_I32, 1, d1, lead, NULL);
    g4_golden_write(w, "distributions/000/top_ids", G4_GOLDEN_I32, 2, wide, top, NULL);
    g4_golden_write(w, "distributions/000/top_logprobs", G4_GOLDEN_F32, 2, wide, lp, NULL);
    if (fault != 11) g4_golden_write(w, "distributions/000/rest", G4_GOLDEN_F32, 1, d2, rest, NULL);
    g4_golden_write(w, "distributions/000/token_logprobs", G4_GOLDEN_F32, 1, d2, token, NULL);
    ck_assert_int_eq(g4_golden_commit(w, NULL), G4_OK);
}

static const struct {
    size_t size, fault;
    uint8_t value;
    const char *says;
} bad_dat[] = {
    { 10, 9999, 0, "does not begin as llama.cpp's" },
    { 1068, 0, 'L', "does not begin as llama.cpp's" },
    { 1067, 9999, 0, "1067 bytes, which 1 pieces of 4 tokens do not take" },
    { 1069, 9999, 0, "1069 bytes" },
    { 1068, 8, 5, "1068 bytes, which 1 pieces of 5 tokens" },
    { 1068, 11, 0x7f, "pieces of 2130706436 tokens" },
    { 1068, 13, 1, "a vocabulary of 256 tokens, where the model has 512" },
    { 1068, 19, 0x80, "pieces of 4 tokens" },
    { 1068, 29, 3, "token 2 is 772, of a vocabulary of 512" },
    { 1068, 39, 0x7f, "token 0: scale" },
    { 1068, 43, 0x40, "token 0: scale" },
};

static const char *const bad_h5[] = {
    "number 0 does not fit the ids", "an id that is no token", "an id twice",
    "probabilities that do not sum to 1", "a log-probability out of range",
    "log-probabilities that do not fall", "a log-probability out of range",
    "is not 2 rows of 5", "attribute 'protocol' is missing or unknown",
    "a vocabulary of 513 tokens, where the model has 512", "rest: is not in the file",
    "a rest behind every token",
};

START_TEST(files_that_lie)
{
    if (!program_runnable(&r, "kl")) return;
    write_dat("x", 1068, 9999, 0);
    run(KL "--reference %d/x");
    ck_assert_msg(r.code == 0, "%s", r.err);
    for (size_t i = 0; i < sizeof bad_dat / sizeof *bad_dat; i++) {
        write_dat("x", bad_dat[i].size, bad_dat[i].fault, bad_dat[i].value);
        run(KL "--reference %d/x");
        program_expect_error(&r, bad_dat[i].says);
    }
    write_h5("x.h5", 0);
    run(KL "--reference %d/x.h5");
    ck_assert_msg(r.code == 0, "%s", r.err);
    for (size_t i = 0; i < sizeof bad_h5 / sizeof *bad_h5; i++) {
        write_h5("x.h5", (int)i + 1);
        run(KL "--reference %d/x.h5");
        program_expect_error(&r, bad_h5[i]);
    }
}
END_TEST

static const struct {
    const char *command, *says;
} bad[] = {
    { "perplexity --model " EVEN " --data %d/none", "none: cannot open" },
    { "perplexity --model " EVEN " --data %d/empty.txt", "empty.txt: nothing to predict" },
    { "perplexity --model " EVEN " --data %d/latin.txt", "latin.txt: not UTF-8 at byte 1" },
    { "perplexity --model " EVEN " --data %d/both.jsonl", "line 1: expected a text or ids" },
    { "perplexity --model " EVEN " --data %d/far.jsonl", "line 1: ids: number 2 is no token" },
    { "perplexity --model " EVEN " --data %d/asked.jsonl", "a prompt goes with --protocol" },
    { "perplexity --model " EVEN " --data %d/d.jsonl --ctx 3", "--ctx 3: expected 4" },
    { "perplexity --model " EVEN " --data %d/d.jsonl --ctx 8 --stride 8", "--stride 8: of a" },
    { "perplexity --model " EVEN " --data %d/d.jsonl --windows halves --stride 8", "has none" },
    { "perplexity --model " EVEN " --data %d/d.jsonl --windows halves --ctx 400", "nothing to" },
    { "perplexity --model " EVEN " --data %d/d.jsonl --protocol framed --windows halves",
      "--windows halves: --protocol framed" },
    { "perplexity --model " EVEN " --data %d/d.jsonl --protocol self --ctx 8", "leave out" },
    { KL "--data %d/d.jsonl", "kl: needs --reference" },
    { KL "--reference " EVEN, "kl: --data F is missing" },
    { KL "--reference %d/none.h5", "none.h5: no such model, nor" },
    { KL "--reference " EVEN " --save %d/x.h5 --data %d/d.jsonl", "kl: needs --reference" },
    { KL "--reference " EVEN " --keep 5 --data %d/d.jsonl", "--keep: goes with" },
    { KL "--save %d/x.dat --data %d/d.jsonl", "x.dat: llama.cpp's format holds --windows halves" },
    { KL "--save %d/x.dat --keep 5 --data %d/d.jsonl", "--keep: goes with --save F.h5" },
    { KL "--reference " SMALL " --data %d/d.jsonl", "a vocabulary of 640 tokens, where" },
    { KL "--reference %d/d.jsonl --data %d/d.jsonl", "has its own text" },
    { KL "--reference %d/d.jsonl", "does not begin as llama.cpp's base file" },
};

START_TEST(refused)
{
    static const struct { const char *name, *text; } files[] = {
        { "empty.txt", "" }, { "latin.txt", "M\xfc" "hle" },
        { "both.jsonl", "{\"text\":\"x\",\"ids\":[2]}" },
        { "far.jsonl", "{\"ids\":[2,99999]}" },
        { "asked.jsonl", "{\"prompt\":\"x\",\"text\":\"y\"}" },
    };
    if (!program_runnable(&r, "kl")) return;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        tempdir_write(dir, files[i].name, files[i].text, strlen(files[i].text));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int before = tempdir_count(dir);
        run(bad[i].command);
        program_expect_error(&r, bad[i].says);
        ck_assert_int_eq(tempdir_count(dir), before);
    }
}
END_TEST

Suite *check_kl(void)
{
    Suite *s = suite_create("kl");
    TCase *t = tcase_create("kl");
    tcase_set_tags(t, "unit");
    tcase_add_test(t, rows_by_hand);
    tcase_add_test(t, every_token_once);
    tcase_add_test(t, windows_of_others);
    tcase_add_test(t, figures_by_hand);
    suite_add_tcase(s, t);
    t = tcase_create("kl_command");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, in_lockstep);
    tcase_add_test(t, stored_references);
    tcase_add_test(t, framed_text_is_the_models_turn);
    tcase_add_test(t, own_answers_are_generates);
    tcase_add_test(t, files_that_lie);
    tcase_add_test(t, refused);
    suite_add_tcase(s, t);
    return s;
}
