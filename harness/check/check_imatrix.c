/* SPDX-License-Identifier: Apache-2.0
 * Importance matrices: the sums are those of the activations that a dump shows, do not depend on
 * threads or on where a run stopped, are read back from both formats, and make packing better. */
#include "golden/golden.h"
#include "harness/check/program.h"
#include "ref/base/map.h"
#include "ref/dtype/dtype.h"
#include "ref/file/imatrix.h"
#include "ref/file/store.h"
#include "ref/input/tokenizer.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *check_imatrix(void);

#define MODEL "golden/tiny/even/model"
#define IMATRIX "imatrix --model " MODEL " --data %d/text --ctx 12 "

static char dir[TEMPDIR_MAX];
static program_result run;
static g4_err err;

static void gemma4(const char *line)
{
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    program_run(&run, line, places, NULL, RLIM_INFINITY);
}

static void must(const char *line)
{
    gemma4(line);
    ck_assert_msg(run.code == 0, "%s: %s", line, run.err);
}

static void setup(void)
{
    static const char text[] = "the cat sat on the mat and a dog ran far from it; then some more "
                               "words came, of no great sense, until there were enough of them";
    tempdir_make(dir);
    tempdir_write(dir, "text", text, sizeof text - 1);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

static g4_imatrix *read_back(const char *name)
{
    char path[TEMPDIR_MAX];
    g4_imatrix *im;
    tempdir_path(path, dir, name);
    ck_assert_msg(g4_imatrix_open(&im, path, &err) == G4_OK, "%s", err.msg);
    return im;
}

static void same_bytes(const char *a, const char *b)
{
    char path[TEMPDIR_MAX];
    uint8_t *x, *y;
    size_t n, m;
    tempdir_path(path, dir, a);
    ck_assert(g4_file_read(path, 1 << 24, &x, &n, &err) == G4_OK);
    tempdir_path(path, dir, b);
    ck_assert(g4_file_read(path, 1 << 24, &y, &m, &err) == G4_OK);
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    free(x);
    free(y);
}

/* ---- sums ---- */

enum { CHUNK = 12 };

/* A dump's rows of one dataset. */
static float *rows_of(g4_golden *g, int layer, const char *name)
{
    char path[G4_GOLDEN_PATH];
    snprintf(path, sizeof path, "activations/layers/%02d/%s", layer, name);
    const g4_golden_set *s = g4_golden_find(g, path);
    ck_assert_msg(s != NULL && s->type == G4_GOLDEN_F32, "%s", path);
    float *v = malloc((size_t)g4_golden_values(s) * sizeof *v);
    ck_assert_ptr_nonnull(v);
    ck_assert_msg(g4_golden_read(g, s, v, &err) == G4_OK, "%s", err.msg);
    return v;
}

/* What is added by a chunk: of one is NULL, the only one. */
typedef struct pair {
    const g4_imatrix *one, *two;
} pair;

/* x [CHUNK][columns] is what meets the matrix.  Squares and their sums are float64 on both
 * sides, each file's are rounded once; more: relative error that x itself may have. */
static void expect_sums(const pair *p, int layer, const char *matrix, const float *x, double more)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, matrix);
    const g4_importance *e = g4_imatrix_find(p->two, name);
    const g4_importance *less = p->one ? g4_imatrix_find(p->one, name) : NULL;
    ck_assert_msg(e != NULL && (!p->one || less), "%s", name);
    ck_assert(e->count - (less ? less->count : 0) == CHUNK);
    for (int64_t i = 0; i < e->cols; i++) {
        double sum = 0, got = (double)e->sum[i] - (less ? (double)less->sum[i] : 0);
        for (int64_t t = 0; t < CHUNK; t++)
            sum += (double)x[t * e->cols + i] * (double)x[t * e->cols + i];
        ck_assert_msg(fabs(got - sum) <= 0x1p-23 * (double)e->sum[i] + 2 * more * sum,
                      "%s [%lld]: %.9g, not %.9g", name, (long long)i, got, sum);
    }
}

static float gelu(double x)
{
    return (float)(0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))));
}

/* What went into each matrix, as a dump of the same ids shows it. */
static void expect_layer(const pair *p, g4_golden *g, int layer)
{
    float *in = rows_of(g, layer, "input_layernorm"), *up = rows_of(g, layer, "mlp/up_proj");
    float *context = rows_of(g, layer, "self_attn/context");
    float *feed = rows_of(g, layer, "pre_feedforward_layernorm");
    float *gate = rows_of(g, layer, "mlp/gate_proj");
    int64_t n = CHUNK * g4_imatrix_find(p->two, "blk.0.ffn_down.weight")->cols;
    for (int64_t i = 0; i < n; i++) gate[i] = gelu((double)gate[i]) * up[i];
    expect_sums(p, layer, "attn_q", in, 0);
    expect_sums(p, layer, "attn_k", in, 0);
    if (layer == 0) expect_sums(p, layer, "attn_v", in, 0);
    expect_sums(p, layer, "attn_output", context, 0);
    expect_sums(p, layer, "ffn_gate", feed, 0);
    expect_sums(p, layer, "ffn_up", feed, 0);
    /* gelu(gate) * up is rounded twice here, and near -1 tanh cancels: 1e-5 of the sum */
    expect_sums(p, layer, "ffn_down", gate, 5e-6);
    free(in);
    free(up);
    free(context);
    free(feed);
    free(gate);
}

/* The text's ids, BOS in front. */
static void read_ids(g4_ids *ids)
{
    char path[TEMPDIR_MAX];
    uint8_t *text;
    size_t size;
    g4_tokenizer *t;
    tempdir_path(path, dir, "text");
    ck_assert(g4_file_read(path, 4096, &text, &size, &err) == G4_OK);
    ck_assert(g4_tokenizer_load(&t, MODEL, &err) == G4_OK);
    ck_assert(g4_tokenizer_encode_bos(t, (char *)text, size, G4_BOS_ON, ids, &err) == G4_OK);
    ck_assert(ids->count > 3 * CHUNK);
    g4_tokenizer_free(t);
    free(text);
}

/* Chunk 0 and chunk 1, whose first token makes way for BOS. */
START_TEST(sums_of_a_dump)
{
    char line[512], path[TEMPDIR_MAX];
    g4_golden *g;
    g4_ids ids = { 0 };
    read_ids(&ids);
    int at = snprintf(line, sizeof line,
                      "dump --model " MODEL " --engine ref --out %%d/d.h5 --ids ");
    for (int i = 0; i < CHUNK; i++)
        at += snprintf(line + at, sizeof line - (size_t)at, "%s%d", i ? "," : "",
                       i ? ids.ids[_i * CHUNK + i] : ids.ids[0]);
    g4_ids_free(&ids);
    must(line);
    must(IMATRIX "--engine ref --limit 1 --out %d/one.gguf");
    must(IMATRIX "--engine ref --limit 2 --out %d/two.gguf");
    g4_imatrix *one = read_back("one.gguf"), *two = read_back("two.gguf");
    ck_assert(two->count == 2 * 7 - 1 && two->chunks == 2 && two->chunk_size == CHUNK);
    tempdir_path(path, dir, "d.h5");
    ck_assert_msg(g4_golden_open(&g, path, 0, &err) == G4_OK, "%s", err.msg);
    const pair p = { _i ? one : NULL, _i ? two : one };
    for (int layer = 0; layer < 2; layer++) expect_layer(&p, g, layer);
    g4_imatrix_close(one);
    g4_imatrix_close(two);
    g4_golden_close(g);
}
END_TEST

START_TEST(same_whatever_happens)
{
    must(IMATRIX "--threads 1 --out %d/a.gguf");
    must(IMATRIX "--threads 3 --out %d/b.gguf");
    same_bytes("a.gguf", "b.gguf");
    must(IMATRIX "--limit 1 --out %d/c.gguf");
    must(IMATRIX "--resume --out %d/c.gguf");
    same_bytes("a.gguf", "c.gguf");
    must(IMATRIX "--resume --out %d/c.gguf");   /* nothing is left to do */
    same_bytes("a.gguf", "c.gguf");
    ck_assert_int_eq(tempdir_count(dir), 4);
}
END_TEST

/* The older format says the same, but for the order of a division and a product. */
START_TEST(older_format)
{
    must(IMATRIX "--out %d/a.gguf");
    must(IMATRIX "--out %d/a.dat");
    g4_imatrix *a = read_back("a.gguf"), *b = read_back("a.dat");
    ck_assert(!a->old && b->old && a->count == b->count && a->chunks == b->chunks);
    ck_assert_str_eq(a->dataset, b->dataset);
    for (size_t i = 0; i < a->count; i++) {
        const g4_importance *x = &a->list[i], *y = &b->list[i];
        ck_assert_str_eq(x->name, y->name);
        ck_assert(x->cols == y->cols && y->count == b->chunks);
        for (int64_t k = 0; k < x->cols; k++) {
            double mean = (double)x->sum[k] / x->count;
            ck_assert(fabs((double)y->sum[k] / y->count - mean) <= 0x1p-22 * mean);
        }
    }
    g4_imatrix_close(a);
    g4_imatrix_close(b);
}
END_TEST

/* ---- packing by it ---- */

/* Sum over a matrix of importance times squared error. */
static double weighted_error(const g4_tensor *t, const g4_tensor *u, const g4_importance *e)
{
    int64_t n = t->shape[0] * e->cols;
    float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
    double sum = 0;
    ck_assert(x && y && t->rank == 2 && t->shape[1] == e->cols);
    g4_dtype_get(t->dtype)->unpack(x, t->data, n);
    g4_dtype_get(u->dtype)->unpack(y, u->data, n);
    for (int64_t i = 0; i < n; i++)
        sum += (double)e->sum[i % e->cols] * pow((double)x[i] - (double)y[i], 2);
    free(x);
    free(y);
    return sum;
}

static g4_store *open_store(const char *name)
{
    char path[TEMPDIR_MAX];
    g4_store *s;
    tempdir_path(path, dir, name);
    ck_assert_msg(g4_store_open(&s, path, &err) == G4_OK, "%s", err.msg);
    return s;
}

START_TEST(packs_better)
{
    static const char *const types[] = { "q4_0", "q4_k_s", "iq4_xs" };
    char line[256], name[128];
    g4_store *from;
    must(IMATRIX "--out %d/im.gguf");
    snprintf(line, sizeof line, "quantize --model " MODEL " --type %s --out %%d/plain.gguf",
             types[_i]);
    must(line);
    snprintf(line, sizeof line, "quantize --model " MODEL " --type %s --imatrix %%d/im.gguf "
             "--out %%d/weighed.gguf", types[_i]);
    must(line);
    ck_assert_str_eq(run.err, "");
    ck_assert(g4_store_open(&from, MODEL, &err) == G4_OK);
    g4_store *plain = open_store("plain.gguf"), *weighed = open_store("weighed.gguf");
    g4_imatrix *im = read_back("im.gguf");
    snprintf(name, sizeof name, "model.language_model.layers.1.mlp.up_proj.weight");
    const g4_importance *e = g4_imatrix_find(im, "blk.1.ffn_up.weight");
    const g4_tensor *t = g4_store_find(from, name);
    double a = weighted_error(t, g4_store_find(plain, name), e);
    double b = weighted_error(t, g4_store_find(weighed, name), e);
    ck_assert_msg(b < a, "%s: %g with, %g without importance", types[_i], b, a);
    g4_imatrix_close(im);
    g4_store_close(plain);
    g4_store_close(weighed);
    g4_store_close(from);
}
END_TEST

/* ---- bad files, bad commands ---- */

static void expect_bad(const void *data, size_t size, const char *says)
{
    g4_imatrix *im;
    g4_status s = g4_imatrix_parse(&im, "F", data, size, &err);
    ck_assert_msg(s == G4_EINPUT && im == NULL, "accepted, wanted: %s", says);
    ck_assert_msg(strncmp(err.msg, "F: ", 3) == 0 && strstr(err.msg, says), "%s (wanted: %s)",
                  err.msg, says);
}

START_TEST(bad_old_files)
{
    static const char good[] = "\1\0\0\0\1\0\0\0x\2\0\0\0\1\0\0\0\0\0\200\77\3\0\0\0\1\0\0\0d";
    static const struct { size_t at; const char *bytes; size_t n; const char *says; } bad[] = {
        { 0, "\0\0\0\0", 4, "0 entries in 30 bytes" },
        { 0, "\xff\xff\xff\xff", 4, "-1 entries" },
        { 0, "\0\0\0\1", 4, "16777216 entries in 30 bytes" },
        { 4, "\0\0\0\0", 4, "entry 0 is broken" },
        { 4, "\xff\xff\xff\x7f", 4, "entry 0 is broken" },
        { 8, "\0", 1, "entry 0 is broken" },
        { 13, "\0\0\0\0", 4, "entry 0 is broken" },
        { 13, "\xff\xff\xff\x7f", 4, "entry 0 is broken" },
        { 17, "\0\0\xc0\x7f", 4, "x: column 0 has nan" },
        { 17, "\0\0\x80\xbf", 4, "x: column 0 has -1, which is no sum of squares" },
        { 25, "\2\0\0\0", 4, "are no dataset" },
        { 25, "\xff\xff\xff\xff", 4, "are no dataset" },
    };
    g4_imatrix *im;
    size_t size = sizeof good - 1;
    ck_assert_msg(g4_imatrix_parse(&im, "F", (const uint8_t *)good, size, &err) == G4_OK, "%s",
                  err.msg);
    ck_assert(im->count == 1 && im->list[0].count == 2 && im->chunks == 3);
    ck_assert_str_eq(im->dataset, "d");
    g4_imatrix_close(im);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char copy[sizeof good];
        memcpy(copy, good, sizeof good);
        memcpy(copy + bad[i].at, bad[i].bytes, bad[i].n);
        expect_bad(copy, size, bad[i].says);
    }
    for (size_t n = 0; n < size; n++) {   /* the tail alone may be missing */
        if (n == 21) continue;
        expect_bad(good, n, n < 21 ? "is no GGUF" : "are no dataset");
    }
}
END_TEST

START_TEST(bad_ggufs)
{
    static const struct { const char *find; int at; const char *bytes; int n; const char *says; }
    bad[] = {
        { "blk.0.attn_q.weight.counts", -6, "kounts", 6, "are not F32 sums and one count" },
        { "blk.0.attn_q.weight.counts", -9, "u.", 2, "are not F32 sums and one count" },
        { "blk.0.attn_q.weight.in_sum2", -7, "im", 2, "is not of an importance matrix" },
    };
    char path[TEMPDIR_MAX];
    uint8_t *data;
    size_t size;
    g4_imatrix *im;
    must(IMATRIX "--limit 1 --out %d/im.gguf");
    tempdir_path(path, dir, "im.gguf");
    ck_assert(g4_file_read(path, 1 << 24, &data, &size, &err) == G4_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t len = strlen(bad[i].find), k = 0;
        uint8_t *copy = malloc(size);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, data, size);
        while (k + len < size && memcmp(copy + k, bad[i].find, len) != 0) k++;
        ck_assert(k + len < size);
        memcpy(copy + k + len + bad[i].at, bad[i].bytes, (size_t)bad[i].n);
        expect_bad(copy, size, bad[i].says);
        free(copy);
    }
    const float nan = NAN;
    memcpy(data + size - 32, &nan, sizeof nan);   /* the last count */
    expect_bad(data, size, ".counts is nan");
    free(data);
    ck_assert(g4_file_read(MODEL "/config.json", 1 << 20, &data, &size, &err) == G4_OK);
    ck_assert(g4_imatrix_parse(&im, "F", data, size, &err) == G4_EINPUT && !im);
    free(data);
}
END_TEST

START_TEST(bad_commands)
{
    static const struct { const char *line, *says; } lines[] = {
        { "imatrix --model " MODEL " --data %d/none --out %d/x", "none: cannot open" },
        { "imatrix --model " MODEL " --data %d/text --out %d/x", "a chunk has 512" },
        { "imatrix --model " MODEL " --data %d/im.gguf --out %d/x", "im.gguf: not UTF-8 at byte" },
        { IMATRIX "--out %d", "exists and is not a" },
        { IMATRIX "--out %d/x.dat --resume", "--resume: the sums of a .dat are rounded" },
        { "imatrix --model " MODEL " --data %d/text --ctx 13 --resume --out %d/im.gguf",
          "im.gguf: was made of another model, text or --ctx" },
        { IMATRIX "--limit 1 --resume --out %d/im.gguf", "or of more chunks" },
        { IMATRIX "--resume --out %d/text", "text: is no GGUF, nor an importance matrix" },
        { "quantize --model " MODEL " --type q4_0 --imatrix %d/text --out %d/x",
          "text: is no GGUF" },
        { "quantize --model golden/tiny/small/model --type q4_0 --imatrix %d/im.gguf --out %d/x",
          "columns, which the model's has not" },
        { "quantize --model " MODEL "/assistant --type q4_0 --imatrix %d/im.gguf --out %d/x",
          "im.gguf: blk." },
        { "quantize --model " MODEL " --type q4_0 --imatrix %d/other.dat --out %d/x",
          "has none of this model's matrices" },
    };
    must(IMATRIX "--out %d/im.gguf");
    tempdir_write(dir, "other.dat", "\1\0\0\0\1\0\0\0x\2\0\0\0\1\0\0\0\0\0\200\77", 21);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        gemma4(lines[i].line);
        program_expect_error(&run, lines[i].says);
    }
    ck_assert_int_eq(tempdir_count(dir), 3);
}
END_TEST

Suite *check_imatrix(void)
{
    Suite *s = suite_create("imatrix");
    TCase *tc = tcase_create("imatrix");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, sums_of_a_dump, 0, 2);
    tcase_add_test(tc, same_whatever_happens);
    tcase_add_test(tc, older_format);
    tcase_add_loop_test(tc, packs_better, 0, 3);
    tcase_add_test(tc, bad_old_files);
    tcase_add_test(tc, bad_ggufs);
    tcase_add_test(tc, bad_commands);
    suite_add_tcase(s, tc);
    return s;
}
