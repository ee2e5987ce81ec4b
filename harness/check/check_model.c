/* SPDX-License-Identifier: Apache-2.0
 * Opening checkpoints: every layout and dtype that may come gives the same bits;
 * a tensor that is missing, extra, misshapen or of a wrong dtype is named.
 * Changed copies of golden/tiny/mini are written into a folder of the test. */
#include "harness/check/fault.h"
#include "harness/check/model_run.h"
#include "harness/check/st_file.h"
#include "harness/check/tempdir.h"
#include "ref/base/half.h"
#include "ref/base/map.h"
#include "ref/model/weights.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *check_model(void);

#define MINI "golden/tiny/mini/model"
#define SMALL "golden/tiny/small/model"
#define CASE "golden/tiny/mini/demo.h5"   /* text, image and sound in one prompt */

enum { MAX_TENSORS = 256 };

static char dir[TEMPDIR_MAX];

/* A checkpoint's tensors, to be changed and written again. */
typedef struct copy {
    g4_store *store;
    st_tensor t[MAX_TENSORS];
    size_t n;
    g4_arena arena;       /* changed values */
} copy;

static copy source;

static void folder_make(void)
{
    tempdir_make(dir);
}

static void folder_remove(void)
{
    tempdir_remove(dir);
}

static void copy_file(const char *from, const char *name)
{
    char path[TEMPDIR_MAX];
    uint8_t *data;
    size_t size;
    tempdir_path(path, from, name);
    ck_assert_int_eq(g4_file_read(path, 1 << 20, &data, &size, NULL), G4_OK);
    tempdir_write(dir, name, data, size);
    free(data);
}

static void copy_open(copy *c, const char *from)
{
    g4_err err = { G4_OK, "" };
    *c = (copy){ .store = NULL };
    ck_assert_msg(g4_store_open(&c->store, from, &err) == G4_OK, "%s", err.msg);
    c->n = g4_store_count(c->store);
    ck_assert_uint_lt(c->n, MAX_TENSORS - 1);
    for (size_t i = 0; i < c->n; i++) {
        const g4_tensor *t = g4_store_at(c->store, i);
        c->t[i] = (st_tensor){ t->name, t->type_name, t->rank, { 0 }, t->data, t->bytes };
        memcpy(c->t[i].shape, t->shape, (size_t)t->rank * sizeof *t->shape);
    }
    copy_file(from, "config.json");
    copy_file(from, "generation_config.json");
}

static void copy_write(const copy *c, size_t pad)
{
    size_t size;
    uint8_t *file = st_file_make(c->t, c->n, pad, &size);
    tempdir_write(dir, "model.safetensors", file, size);
    free(file);
}

static void copy_close(copy *c)
{
    g4_store_close(c->store);
    g4_arena_free(&c->arena);
}

static st_tensor *tensor(copy *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->t[i].name, name) == 0) return &c->t[i];
    ck_abort_msg("no tensor %s", name);
    return NULL;
}

/* The written folder must be refused, with both texts in one message. */
static void refused(const char *says, const char *and)
{
    g4_model *m;
    g4_err err = { G4_OK, "" };
    g4_status s = g4_model_open(&m, dir, &err);
    ck_assert_msg(s == G4_EINPUT, "taken, or %d: %s (wanted: %s)", (int)s, err.msg, says);
    ck_assert_ptr_null(m);
    ck_assert_msg(strncmp(err.msg, dir, strlen(dir)) == 0, "%s", err.msg);
    ck_assert_msg(strstr(err.msg, says) && strstr(err.msg, and), "%s (wanted: %s, %s)", err.msg,
                  says, and);
}

static void digest(const char *model, char hex[G4_SHA256_HEX])
{
    const model_run r = { .model = model, .inputs = CASE, .threads = 1, .mask = -1 };
    model_run_digest(&r, hex);
}

static void same_as_mini(const char *model)
{
    char want[G4_SHA256_HEX], got[G4_SHA256_HEX];
    digest(MINI, want);
    digest(model, got);
    ck_assert_str_eq(got, want);
}

/* ---- good ones ---- */

/* Transformers' in-memory names for the vision part; several files. */
START_TEST(layouts_give_the_same_bits)
{
    static const char *const others[] = { "golden/tiny/mini_names", "golden/tiny/mini_sharded" };
    same_as_mini(others[_i]);
}
END_TEST

START_TEST(all_of_them_open)
{
    static const char *const pairs[][2] = {
        { SMALL, SMALL "/assistant" }, { SMALL, SMALL "/assistant_centroid" },
        { MINI, MINI "/assistant" },
        { "golden/tiny/even/model", "golden/tiny/even/model/assistant" },
    };
    g4_model *m, *d;
    g4_err err = { G4_OK, "" };
    ck_assert_msg(g4_model_open(&m, pairs[_i][0], &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_model_open(&d, pairs[_i][1], &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_model_check_pair(m, d, &err) == G4_OK, "%s", err.msg);
    ck_assert_str_eq(m->dir, pairs[_i][0]);
    ck_assert(m->embed_tokens.rows == m->config.vocab_size && !m->centroids.data);
    ck_assert((d->token_ordering != NULL) == d->config.use_ordered_embeddings);
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++)
        ck_assert((m->layers[l].v_proj.data != NULL) == g4_layer_has_v(&m->config, l));
    for (int64_t l = 0; l < d->config.num_hidden_layers; l++)
        ck_assert(!d->layers[l].k_proj.data && !d->layers[l].k_norm);
    g4_model_close(d);
    g4_model_close(m);
    g4_model_close(NULL);
}
END_TEST

/* bf16 widened to f32 is the same number, so every activation keeps its bits.  The
 * values of an f16 copy may be rounded, but then a f32 copy of those is the same. */
static void convert(copy *c, const char *to)
{
    for (size_t i = 0; i < c->n; i++) {
        st_tensor *t = &c->t[i];
        size_t n = t->bytes / 2;
        int wide = strcmp(to, "F32") == 0, from_bf16 = strcmp(t->dtype, "BF16") == 0;
        unsigned char *out = g4_arena_alloc(&c->arena, n, 4);
        ck_assert_ptr_nonnull(out);
        for (size_t k = 0; k < n; k++) {
            uint16_t h = g4_load_u16((const unsigned char *)t->data + 2 * k);
            float f = from_bf16 ? g4_bf16_to_f32(h) : g4_f16_to_f32(h);
            uint16_t half = g4_f32_to_f16(f);
            if (wide) memcpy(out + 4 * k, &f, 4);
            else memcpy(out + 2 * k, &half, 2);
        }
        t->data = out;
        t->dtype = to;
        t->bytes = n * (wide ? 4 : 2);
    }
    copy_write(c, 0);
}

START_TEST(other_float_types)
{
    char half[G4_SHA256_HEX], wide[G4_SHA256_HEX];
    g4_model *m;
    copy_open(&source, MINI);
    convert(&source, "F32");
    ck_assert_int_eq(g4_model_open(&m, dir, NULL), G4_OK);
    ck_assert(m->embed_tokens.dtype == G4_F32 && m->layers[0].q_proj.dtype == G4_F32);
    g4_model_close(m);
    same_as_mini(dir);
    copy_close(&source);
    copy_open(&source, MINI);
    convert(&source, "F16");
    digest(dir, half);
    convert(&source, "F32");
    digest(dir, wide);
    ck_assert_str_eq(half, wide);
    copy_close(&source);
}
END_TEST

/* Tensors may begin at any byte of the file. */
START_TEST(odd_offsets)
{
    g4_model *m;
    copy_open(&source, MINI);
    copy_write(&source, (size_t)_i);
    ck_assert_int_eq(g4_model_open(&m, dir, NULL), G4_OK);
    int odd = (int)((uintptr_t)m->embed_tokens.data & 1);
    g4_model_close(m);
    same_as_mini(dir);
    copy_close(&source);
    /* Of two neighbours one is odd: header lengths differ by one. */
    copy_open(&source, MINI);
    copy_write(&source, (size_t)_i + 1);
    ck_assert_int_eq(g4_model_open(&m, dir, NULL), G4_OK);
    ck_assert_int_eq((int)((uintptr_t)m->embed_tokens.data & 1), !odd);
    g4_model_close(m);
    same_as_mini(dir);
    copy_close(&source);
}
END_TEST

START_TEST(order_in_the_file_does_not_matter)
{
    copy_open(&source, MINI);
    for (size_t i = 0; i < source.n / 2; i++) {
        st_tensor t = source.t[i];
        source.t[i] = source.t[source.n - 1 - i];
        source.t[source.n - 1 - i] = t;
    }
    copy_write(&source, 0);
    same_as_mini(dir);
    copy_close(&source);
}
END_TEST

/* ---- bad ones: every tensor of the backbone and of the centroid drafter ---- */

static const char *const victims[] = { MINI, SMALL "/assistant_centroid" };

START_TEST(missing)
{
    copy_open(&source, victims[_i]);
    size_t n = --source.n;
    st_tensor gone = source.t[n];   /* the place behind the end holds the one left out */
    for (size_t i = n + 1; i-- > 0;) {
        copy_write(&source, 0);
        refused(gone.name, "is missing");
        if (i == 0) break;
        st_tensor t = source.t[i - 1];
        source.t[i - 1] = gone;
        gone = t;
    }
    copy_close(&source);
}
END_TEST

START_TEST(misshapen)
{
    copy_open(&source, victims[_i]);
    for (size_t i = 0; i < source.n; i++) {
        const st_tensor was = source.t[i];
        st_tensor *t = &source.t[i];
        t->shape[t->rank++] = 1;   /* a dimension more */
        copy_write(&source, 0);
        refused(was.name, "config.json asks for [");
        *t = was;
        if (was.shape[0] > 1) {   /* a row less */
            t->shape[0]--;
            t->bytes -= was.bytes / (size_t)was.shape[0];
            copy_write(&source, 0);
            refused(was.name, "has shape [");
            *t = was;
        }
        if (was.rank == 2 && was.shape[0] != was.shape[1]) {   /* transposed */
            t->shape[0] = was.shape[1];
            t->shape[1] = was.shape[0];
            copy_write(&source, 0);
            refused(was.name, "has shape [");
            *t = was;
        }
    }
    copy_close(&source);
}
END_TEST

START_TEST(wrong_dtype)
{
    copy_open(&source, victims[_i]);
    for (size_t i = 0; i < source.n; i++) {
        const st_tensor was = source.t[i];
        int order = strcmp(was.dtype, "I64") == 0;
        source.t[i].dtype = order ? "F64" : "I16";   /* of the same size */
        copy_write(&source, 0);
        refused(was.name, order ? "has dtype F64, expected I64" : "has dtype I16; F32, F16 and");
        source.t[i] = was;
    }
    copy_close(&source);
}
END_TEST

START_TEST(extra)
{
    static const char *const names[] = {
        "lm_head.weight", "model.language_model.layers.6.layer_scalar",
        "model.language_model.layers.5.self_attn.v_proj.weight", "\x1b[2J",
        "model.embed_vision.patch_dense.bias",   /* the other name of one that is there */
    };
    copy_open(&source, MINI);
    st_tensor more = source.t[0];
    more.name = names[_i];
    source.t[source.n++] = more;
    copy_write(&source, 0);
    refused(_i == 3 ? "tensor \\x1b[2J is not part" : names[_i], "is not part of this model");
    copy_close(&source);
}
END_TEST

/* Config and weights disagree: the tensor and both shapes are told. */
START_TEST(config_of_another_model)
{
    char path[TEMPDIR_MAX];
    copy_open(&source, MINI);
    copy_write(&source, 0);
    copy_file(SMALL, "config.json");
    refused("embed_tokens.weight has shape [640,48]", "asks for [640,60]");
    copy_file(MINI "/assistant", "config.json");
    refused("tensor model.embed_tokens.weight is missing", dir);
    copy_file(MINI, "config.json");
    tempdir_path(path, dir, "generation_config.json");
    ck_assert_int_eq(unlink(path), 0);
    g4_model *m;
    ck_assert_int_eq(g4_model_open(&m, dir, NULL), G4_OK);   /* it is optional */
    ck_assert_int_eq(m->generation.suppress_count, 0);
    g4_model_close(m);
    copy_close(&source);
}
END_TEST

START_TEST(no_permutation)
{
    static const struct {
        int64_t at, value;
        const char *says;
    } rows[] = {
        { 5, -1, "at entry 5 (-1)" },
        { 0, 640, "at entry 0 (640)" },
        { 639, INT64_MAX, "at entry 639 (9223372036854775807)" },
        { 7, INT64_MIN, "at entry 7 (-9223372036854775808)" },
        { 3, (int64_t)1 << 32, "at entry 3 (4294967296)" },   /* 0 if cut to 32 bits */
        { -1, 0, "is no permutation" },                       /* the second entry repeated */
    };
    copy_open(&source, SMALL "/assistant_centroid");
    st_tensor *t = tensor(&source, "masked_embedding.token_ordering");
    int64_t *ids = g4_arena_alloc(&source.arena, (size_t)t->shape[0], sizeof *ids);
    ck_assert_ptr_nonnull(ids);
    memcpy(ids, t->data, t->bytes);
    t->data = ids;
    if (rows[_i].at < 0) ids[0] = ids[1];
    else ids[rows[_i].at] = rows[_i].value;
    copy_write(&source, 0);
    refused("token_ordering is no permutation", rows[_i].says);
    copy_close(&source);
}
END_TEST

/* ---- pairs ---- */

START_TEST(drafters_that_do_not_fit)
{
    g4_model *m, *d, *other;
    g4_err err;
    ck_assert_int_eq(g4_model_open(&m, MINI, NULL), G4_OK);
    ck_assert_int_eq(g4_model_open(&d, MINI "/assistant", NULL), G4_OK);
    ck_assert_int_eq(g4_model_open(&other, SMALL "/assistant", NULL), G4_OK);
    ck_assert_int_eq(g4_model_check_pair(m, other, &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, SMALL "/assistant: does not fit " MINI ": ") != NULL, "%s",
                  err.msg);
    ck_assert_int_eq(g4_model_check_pair(m, m, &err), G4_EINPUT);
    ck_assert_str_eq(err.msg, MINI ": is no drafter (model_type)");
    ck_assert_int_eq(g4_model_check_pair(d, d, &err), G4_EINPUT);
    ck_assert_str_eq(err.msg, MINI "/assistant: is a drafter, not a model");
    static const struct {
        size_t field;
        const char *says;
    } rows[] = {
        { offsetof(g4_config, vocab_size), "vocab_size 640 against 641" },
        { offsetof(g4_config, backbone_hidden_size), "backbone_hidden_size 48 against 49" },
        { offsetof(g4_config, sliding_window), "sliding window 40 against 41" },
        { offsetof(g4_config, head_dim), "sliding head_dim 16 against 17" },
        { offsetof(g4_config, head_dim) + 8, "full head_dim 32 against 33" },
        { offsetof(g4_config, kv_heads), "sliding key/value heads 1 against 2" },
        { offsetof(g4_config, kv_heads) + 8, "full key/value heads 1 against 2" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        g4_model changed = *d;
        ++*(int64_t *)(void *)((char *)&changed.config + rows[i].field);
        ck_assert_int_eq(g4_model_check_pair(m, &changed, &err), G4_EINPUT);
        ck_assert_msg(strstr(err.msg, rows[i].says) != NULL, "%s", err.msg);
    }
    uint8_t all_full[64];
    g4_model changed = *m;
    memset(all_full, G4_FULL, sizeof all_full);
    changed.config.layer_kind = all_full;
    ck_assert_int_eq(g4_model_check_pair(&changed, d, &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, "layer 0 finds no layer of its kind") != NULL, "%s", err.msg);
    changed = *d;   /* one without sliding layers reads nothing that they are made of */
    changed.config.layer_kind = all_full;
    changed.config.kv_heads[G4_SLIDING]++;
    changed.config.sliding_window++;
    ck_assert_msg(g4_model_check_pair(m, &changed, &err) == G4_OK, "%s", err.msg);
    g4_model_close(other);
    g4_model_close(d);
    g4_model_close(m);
}
END_TEST

/* ---- failing calls ---- */

START_TEST(nth_allocation_fails)
{
    static const char *const models[] = { MINI, SMALL "/assistant_centroid" };
    for (long n = 1;; n++) {
        g4_model *m;
        fault_alloc_arm(n, _i / 2);
        g4_status s = g4_model_open(&m, models[_i % 2], NULL);
        g4_model_close(m);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
        ck_assert_int_eq(s, G4_ENOMEM);
        ck_assert_int_lt(n, 1000);
    }
}
END_TEST

START_TEST(nth_file_call_fails)
{
    for (long n = 1;; n++) {
        g4_model *m;
        fault_io_arm(n, 0, EIO);
        g4_status s = g4_model_open(&m, "golden/tiny/mini_sharded", NULL);
        g4_model_close(m);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
        ck_assert_int_eq(s, strcmp(fault_what(), "close") == 0 ? G4_OK : G4_EIO);
        ck_assert_int_lt(n, 1000);
    }
}
END_TEST

Suite *check_model(void)
{
    Suite *s = suite_create("model");
    TCase *t = tcase_create("good");
    tcase_set_tags(t, "tiny");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, folder_make, folder_remove);
    tcase_add_loop_test(t, layouts_give_the_same_bits, 0, 2);
    tcase_add_loop_test(t, all_of_them_open, 0, 4);
    tcase_add_test(t, other_float_types);
    tcase_add_loop_test(t, odd_offsets, 0, 2);
    tcase_add_test(t, order_in_the_file_does_not_matter);
    suite_add_tcase(s, t);
    t = tcase_create("bad");
    tcase_set_tags(t, "tiny");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, folder_make, folder_remove);
    tcase_add_loop_test(t, missing, 0, 2);
    tcase_add_loop_test(t, misshapen, 0, 2);
    tcase_add_loop_test(t, wrong_dtype, 0, 2);
    tcase_add_loop_test(t, extra, 0, 5);
    tcase_add_test(t, config_of_another_model);
    tcase_add_loop_test(t, no_permutation, 0, 6);
    tcase_add_test(t, drafters_that_do_not_fit);
    suite_add_tcase(s, t);
    t = tcase_create("faults");
    tcase_set_tags(t, "tiny");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, nth_allocation_fails, 0, 4);
    tcase_add_test(t, nth_file_call_fails);
    suite_add_tcase(s, t);
    return s;
}
