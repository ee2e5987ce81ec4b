/* SPDX-License-Identifier: Apache-2.0
 * What `gemma4 info` says about a checkpoint: layer patterns, sums over tensors,
 * the memory plan against what opening then takes from malloc. */
#include "harness/check/fault.h"
#include "harness/check/tempdir.h"
#include "harness/info.h"
#include "harness/memory.h"
#include "harness/synth.h"
#include "ref/model/session.h"

#include <check.h>
#include <math.h>
#include <string.h>

Suite *check_info(void);

static const char config[] =
    "{\"architectures\":[\"Gemma4UnifiedForConditionalGeneration\"],"
    "\"model_type\":\"gemma4_unified\",\"boi_token_id\":17,\"eoi_token_id\":21,"
    "\"image_token_id\":19,\"video_token_id\":23,\"boa_token_id\":18,\"eoa_token_index\":22,"
    "\"audio_token_id\":20,\"text_config\":{\"vocab_size\":512,\"hidden_size\":32,"
    "\"intermediate_size\":64,\"num_hidden_layers\":12,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"head_dim\":16,\"global_head_dim\":32,"
    "\"num_global_key_value_heads\":1,\"sliding_window\":16,\"attention_k_eq_v\":true}}";

static char dir[TEMPDIR_MAX], path[TEMPDIR_MAX];
static g4_err err;
static g4_model *model;

static void must(g4_status s)
{
    if (s != G4_OK) ck_abort_msg("%s", err.msg);
}

static void setup(void)
{
    char shape[TEMPDIR_MAX];
    g4_synth_result r;
    tempdir_make(dir);
    tempdir_path(shape, dir, "config.json");
    tempdir_path(path, dir, "m");
    tempdir_write(dir, "config.json", config, strlen(config));
    g4_synth s = { .shape = shape, .type = "f16", .out = path, .threads = 1 };
    must(g4_synth_write(&s, &r, &err));
    must(g4_model_open(&model, path, &err));
}

static void teardown(void)
{
    g4_model_close(model);
    tempdir_remove(dir);
}

START_TEST(patterns)
{
    static const struct {
        const char *kinds, *says;   /* s sliding, f full */
    } t[] = {
        { "f", "1 full" },
        { "ff", "(1 full) x 2" },
        { "sf", "1 sliding + 1 full" },
        { "sfsf", "(1 sliding + 1 full) x 2" },
        { "sssf", "3 sliding + 1 full" },
        { "sssssfsssssf", "(5 sliding + 1 full) x 2" },
        { "ssfssfsf", "2 sliding + 1 full + 2 sliding + 1 full + 1 sliding + 1 full" },
    };
    g4_arena a = { NULL };
    uint8_t kind[16];
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        g4_config c = { .num_hidden_layers = (int64_t)strlen(t[i].kinds), .layer_kind = kind };
        for (size_t l = 0; t[i].kinds[l]; l++)
            kind[l] = t[i].kinds[l] == 'f' ? G4_FULL : G4_SLIDING;
        ck_assert_str_eq(g4_info_pattern(&c, &a), t[i].says);
    }
    g4_arena_free(&a);
}
END_TEST

START_TEST(sums)
{
    g4_info info;
    g4_arena a = { NULL };
    uint64_t tensors = 0, bytes = 0;
    must(g4_info_gather(&info, model, &a, &err));
    ck_assert_str_eq(info.architecture, "Gemma4UnifiedForConditionalGeneration");
    ck_assert_uint_eq(info.tensors, 2 + 10 * 14 + 2 * 13);
    ck_assert_int_eq(info.formats, 1);
    ck_assert_str_eq(info.format[0].name, "f16");
    ck_assert_uint_eq(info.format[0].values, info.parameters);
    ck_assert_uint_eq(info.bytes, 2 * info.parameters);
    for (size_t i = 0; i < info.groups; i++) {
        tensors += info.group[i].tensors;
        bytes += info.group[i].bytes;
    }
    ck_assert_uint_eq(tensors, info.tensors);
    ck_assert_uint_eq(bytes, info.bytes);
    /* 14 names a sliding layer; q_proj, k_proj, o_proj, q_norm, k_norm differ in full ones
     * where the shapes do: k_proj has 2 x 16 rows in one kind and 1 x 32 in the other. */
    ck_assert_uint_eq(info.groups, 2 + 14 + 4);
    g4_arena_free(&a);
}
END_TEST

/* Within 5 %, and the 64 KiB block that an arena takes for whatever is small. */
static void expect_near(const char *what, uint64_t planned, double taken)
{
    if (!(fabs((double)planned - taken) <= 0.05 * taken + 65536))
        ck_abort_msg("%s: planned %llu, taken %.0f", what, (unsigned long long)planned, taken);
}

/* A plan is what opening really takes from malloc. */
START_TEST(plan_is_what_a_run_takes)
{
    static const g4_dtype kv[] = { G4_F32, G4_F16, G4_Q8_0 };
    g4_ops ops = g4_ops_ref();
    g4_par *par;
    must(g4_par_open(&par, 2, &err));
    g4_memory p = {
        .plan = { .rows = 64, .logit_rows = 1, .ctx = 1000, .kv = kv[_i],
                  .mask = G4_MASK_OFFICIAL },
        .threads = 2, .base = 1000, .media = 200, .passing = 30,
    };
    g4_engine *e;
    g4_session *s;
    g4_memory_plan(&p, model, NULL, &ops);
    ck_assert_int_eq(p.cases, 1);
    ck_assert_int_eq(p.layers[G4_SLIDING], 10);
    ck_assert_int_eq(p.layers[G4_FULL], 2);
    ck_assert_int_eq(p.slots[G4_FULL], 1000);
    ck_assert_uint_eq(p.cache, p.cache_full + p.cache_sliding);
    ck_assert_uint_eq(p.anonymous, 1230 + p.cache + p.work + p.results);
    ck_assert_uint_eq(p.total, p.weights + p.anonymous);
    must(g4_engine_open(&e, model, &ops, par, &p.plan, &err));
    must(g4_session_open(&s, e, &err));
    double work = (double)g4_arena_bytes(&e->arena), cache = (double)g4_arena_bytes(&s->arena);
    expect_near("work buffers", p.work, work);
    expect_near("cache", p.cache, cache);
    uint64_t one = p.cache;
    p.cases = 3;   /* prompts have caches of their own, and share the buffers */
    g4_memory_plan(&p, model, NULL, &ops);
    ck_assert_uint_eq(p.cache, 3 * one);
    expect_near("work buffers", p.work, work);
    g4_session_close(s);
    g4_engine_close(e);
    g4_par_close(par);
}
END_TEST

START_TEST(nth_allocation_fails)
{
    int fired;
    long n = 1;
    do {
        g4_info info;
        g4_arena a = { NULL };
        err = (g4_err){ G4_OK, "" };
        fault_alloc_arm(n++, 0);
        g4_status s = g4_info_gather(&info, model, &a, &err);
        g4_arena_free(&a);
        fault_end();
        fired = fault_fired();
        ck_assert_int_eq(fault_live(), 0);
        ck_assert_int_eq(s, fired ? G4_ENOMEM : G4_OK);
    } while (fired);
    ck_assert_int_gt(n, 2);
}
END_TEST

Suite *check_info(void)
{
    Suite *s = suite_create("info");
    TCase *t = tcase_create("info");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, patterns);
    tcase_add_test(t, sums);
    tcase_add_loop_test(t, plan_is_what_a_run_takes, 0, 3);
    tcase_add_test(t, nth_allocation_fails);
    suite_add_tcase(s, t);
    return s;
}
