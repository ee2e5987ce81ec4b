/* SPDX-License-Identifier: Apache-2.0
 * The same bits whatever the circumstances: threads, chunks, token by token,
 * batches, instruction sets.  Every activation of every layer counts. */
#include "harness/check/model_run.h"
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "kernels_opt/kernels.h"
#include "ref/base/rng.h"
#include "ref/model/forward.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *check_invariance(void);

static model_run plain(int i, char dir[256])
{
    const char *file = model_run_cases[i];
    return (model_run){ .model = model_run_dir(dir, file), .inputs = file, .threads = 1,
                        .mask = -1 };
}

static void same(const char *bits, const model_run *b, const char *what)
{
    char other[G4_SHA256_HEX];
    model_run_digest(b, other);
    ck_assert_msg(strcmp(bits, other) == 0, "%s: other bits with %s", b->inputs, what);
}

START_TEST(threads)
{
    static const int counts[] = { 2, 3, 8 };
    char dir[256], bits[G4_SHA256_HEX];
    model_run b = plain(_i, dir);
    model_run_digest(&b, bits);
    for (int i = 0; i < 3; i++) {
        b.threads = counts[i];
        same(bits, &b, "other threads");
    }
}
END_TEST

/* A chunk that would split an image block is extended to its end. */
START_TEST(chunks)
{
    static const int64_t sizes[] = { 1, 7, 64 };
    char dir[256], bits[G4_SHA256_HEX];
    model_run b = plain(_i, dir);
    model_run_digest(&b, bits);
    for (int i = 0; i < 3; i++) {
        b.chunk = sizes[i];
        same(bits, &b, "chunks");
    }
}
END_TEST

static const char *const isa_names[] = { "avx2", "avxvnni", "avx512", "vnni", "avx512bf16",
                                         "amx", "neon", "dotprod" };

enum { ISAS = sizeof isa_names / sizeof *isa_names };

static int has_isa(int i)
{
    unsigned isas;
    return g4_isa_parse(&isas, isa_names[i], NULL) == G4_OK;
}

/* The definitions against the instruction sets that have kernels for these models' formats;
 * the others are quantized weights' (panels) and BF16 pairs'. */
START_TEST(instruction_sets)
{
    static const char *const names[] = { "avx2", "avx512", "neon" };
    char dir[256], bits[G4_SHA256_HEX];
    model_run b = plain(_i, dir);
    b.isa = "c";
    model_run_digest(&b, bits);
    for (int i = 0; i < 3; i++) {
        unsigned isas;
        if (g4_isa_parse(&isas, names[i], NULL) != G4_OK) {
            if (_i == 0) check_skip(names[i], "this CPU has it not");
            continue;
        }
        b.isa = names[i];
        same(bits, &b, names[i]);
    }
}
END_TEST

/* ---- quantized weights ---- */

static char folder[TEMPDIR_MAX], gguf[TEMPDIR_MAX];

/* A model of all formats that have panels, a matrix of a layer each. */
static void make_gguf(void)
{
    static program_result r;
    tempdir_make(folder);
    tempdir_path(gguf, folder, "m.gguf");
    const program_place places[] = { { "%o", gguf }, { NULL, NULL } };
    program_run(&r, "quantize --model golden/tiny/even/model --type q4_0 --out %o "
                "--tensor-type attn_q=q8_0 --tensor-type attn_k=q4_k --tensor-type "
                "attn_output=q5_k --tensor-type ffn_gate=q6_k --tensor-type ffn_up=iq4_nl "
                "--tensor-type ffn_down=iq4_xs", places, NULL, RLIM_INFINITY);
    ck_assert_msg(r.code == 0, "%s", r.err);
}

static void remove_gguf(void)
{
    tempdir_remove(folder);
}

/* Other bits than those of float32 times unpacked weights, but always the same. */
START_TEST(panels)
{
    char exact[G4_SHA256_HEX], rounded[G4_SHA256_HEX];
    model_run a = { .model = gguf, .inputs = "golden/tiny/even/text.h5", .threads = 1, .mask = -1,
                    .stream = 1 }, b;
    model_run_digest(&a, exact);
    a.panels = 1;
    a.isa = "c";
    model_run_digest(&a, rounded);
    ck_assert_str_ne(exact, rounded);
    b = a;
    b.threads = 2;
    b.chunk = 7;
    for (int i = 0; i < ISAS; i++) {
        if (!has_isa(i)) continue;
        b.isa = isa_names[i];
        same(rounded, &b, isa_names[i]);
    }
    b.isa = NULL;
    b.threads = 3;
    b.chunk = 0;
    same(rounded, &b, "other threads and kernels");
    b.chunk = 1;
    b.threads = 1;
    same(rounded, &b, "token by token");
}
END_TEST

/* A cache in 16 or 8 bits changes the numbers, but not with the chunk. */
START_TEST(narrow_cache)
{
    char dir[256], bits[G4_SHA256_HEX];
    model_run b = plain(_i, dir);
    b.kv = G4_F16;
    model_run_digest(&b, bits);
    b.chunk = 7;
    b.threads = 3;
    same(bits, &b, "an F16 cache in chunks");
}
END_TEST

/* bits: a's, which is by the definitions, on one thread, at once. */
static void same_everywhere(const char *bits, const model_run *a)
{
    model_run b = *a;
    b.isa = NULL;
    b.threads = 3;
    b.chunk = 7;
    same(bits, &b, "other threads, chunks and kernels");
    b.chunk = 1;
    b.threads = 1;
    same(bits, &b, "token by token");
}

/* Attention as a stream: other bits than the reference's, but always the same. */
START_TEST(stream)
{
    static const g4_dtype caches[] = { G4_F32, G4_F16 };
    char dir[256], draft[300], bits[G4_SHA256_HEX];
    model_run a = plain(_i, dir);
    snprintf(draft, sizeof draft, "%s/assistant", dir);
    for (int i = 0; i < 2; i++) {
        a.stream = 1;
        a.kv = caches[i];
        a.isa = "c";
        a.draft = draft;
        model_run_digest(&a, bits);
        same_everywhere(bits, &a);
    }
}
END_TEST

/* BF16 weights times x in BF16: other numbers than without, but always the same. */
START_TEST(pairs)
{
    char dir[256], exact[G4_SHA256_HEX], rounded[G4_SHA256_HEX];
    model_run a = plain(_i, dir);
    a.stream = 1;
    model_run_digest(&a, exact);
    a.pair = 1;
    a.isa = "c";
    model_run_digest(&a, rounded);
    ck_assert_str_ne(exact, rounded);
    same_everywhere(rounded, &a);
}
END_TEST

START_TEST(all_masks)
{
    char dir[256], bits[G4_SHA256_HEX];
    model_run b = plain(4, dir);
    b.mask = _i;
    model_run_digest(&b, bits);
    b.chunk = 7;
    b.threads = 2;
    same(bits, &b, "chunks");
}
END_TEST

START_TEST(drafter)
{
    char dir[256], draft[300], bits[G4_SHA256_HEX];
    model_run b = plain(_i, dir);
    snprintf(draft, sizeof draft, "%s/assistant", dir);
    b.draft = draft;
    b.isa = "c";
    model_run_digest(&b, bits);
    b.isa = NULL;
    b.threads = 3;
    b.chunk = 7;
    same(bits, &b, "other threads, chunks and kernels");
}
END_TEST

/* ---- several sequences in one call ---- */

enum { SEQUENCES = 3, LONGEST = 40 };

typedef struct batch {
    g4_model *model;
    g4_par *par;
    g4_engine *engine;
    int64_t n[SEQUENCES];
    int32_t ids[SEQUENCES][LONGEST], positions[LONGEST];
} batch;

/* In panels where the model has such. */
static void open_batch(batch *b, const char *model)
{
    g4_err err = { G4_OK, "" };
    g4_ops ops;
    ck_assert_int_eq(g4_model_open(&b->model, model, &err), G4_OK);
    ck_assert_int_eq(g4_ops_select(&ops, g4_cpu_isas(), &err), G4_OK);
    ck_assert_int_eq(g4_par_open(&b->par, 2, &err), G4_OK);
    ck_assert_int_eq(g4_model_pack(b->model, &ops, b->par, &err), G4_OK);
    g4_engine_plan plan = { .rows = SEQUENCES * LONGEST, .logit_rows = 1, .ctx = LONGEST,
                            .panels = b->model->panels != NULL };
    ck_assert_int_eq(g4_engine_open(&b->engine, b->model, &ops, b->par, &plan, &err), G4_OK);
    for (int s = 0; s < SEQUENCES; s++) {
        b->n[s] = LONGEST - 9 * s;   /* of different lengths */
        for (int64_t t = 0; t < b->n[s]; t++)
            b->ids[s][t] = (int32_t)(g4_rng_u64(7, (uint64_t)s, (uint64_t)t) %
                                     (uint64_t)b->model->config.vocab_size);
    }
    for (int t = 0; t < LONGEST; t++) b->positions[t] = t;
}

/* Runs sequences [first, last) as one call; logits of their last tokens. */
static void run_batch(batch *b, int first, int last, float *logits)
{
    g4_item items[SEQUENCES] = { { 0 } };
    int64_t V = b->model->config.vocab_size;
    for (int s = first; s < last; s++) {
        g4_session *session;
        ck_assert_int_eq(g4_session_open(&session, b->engine, NULL), G4_OK);
        items[s] = (g4_item){ .session = session, .n = b->n[s], .ids = b->ids[s],
                              .positions = b->positions, .logit_rows = 1,
                              .logits = logits + s * V };
    }
    g4_forward(b->engine, items + first, last - first);
    for (int s = first; s < last; s++) g4_session_close(items[s].session);
}

static void expect_same_batches(const char *model)
{
    batch b = { 0 };
    open_batch(&b, model);
    int64_t V = b.model->config.vocab_size;
    float *together = calloc((size_t)(SEQUENCES * V), sizeof *together);
    float *alone = calloc((size_t)(SEQUENCES * V), sizeof *alone);
    ck_assert(together && alone);
    run_batch(&b, 0, SEQUENCES, together);
    for (int s = 0; s < SEQUENCES; s++) run_batch(&b, s, s + 1, alone);
    ck_assert_mem_eq(together, alone, (size_t)(SEQUENCES * V) * sizeof *alone);
    ck_assert(together[0] != together[V]);
    free(together);
    free(alone);
    g4_engine_close(b.engine);
    g4_model_close(b.model);
    g4_par_close(b.par);
}

START_TEST(batches)
{
    expect_same_batches("golden/tiny/small/model");
}
END_TEST

START_TEST(batches_of_panels)
{
    expect_same_batches(gguf);
}
END_TEST

/* Forgetting tokens and adding them again is as if they had come once. */
START_TEST(rewind_and_replay)
{
    batch b = { 0 };
    open_batch(&b, "golden/tiny/small/model");
    int64_t V = b.model->config.vocab_size;
    float *once = calloc((size_t)V, sizeof *once), *again = calloc((size_t)V, sizeof *again);
    g4_session *s;
    ck_assert(once && again);
    ck_assert_int_eq(g4_session_open(&s, b.engine, NULL), G4_OK);
    g4_item all = { .session = s, .n = LONGEST, .ids = b.ids[0], .positions = b.positions,
                    .logit_rows = 1, .logits = once };
    g4_forward(b.engine, &all, 1);
    g4_session_rewind(s, LONGEST - 6);
    ck_assert_int_eq(s->next_position, LONGEST - 6);
    g4_item wrong = {.session = s, .n = 6, .ids = b.ids[1], .positions = b.positions + LONGEST - 6};
    g4_forward(b.engine, &wrong, 1);
    g4_session_rewind(s, LONGEST - 6);
    g4_item tail = { .session = s, .n = 6, .ids = b.ids[0] + LONGEST - 6,
                     .positions = b.positions + LONGEST - 6, .logit_rows = 1, .logits = again };
    g4_forward(b.engine, &tail, 1);
    ck_assert_mem_eq(once, again, (size_t)V * sizeof *once);
    g4_session_close(s);
    free(once);
    free(again);
    g4_engine_close(b.engine);
    g4_model_close(b.model);
    g4_par_close(b.par);
}
END_TEST

Suite *check_invariance(void)
{
    Suite *s = suite_create("invariance");
    TCase *t = tcase_create("bits");
    int cases = model_run_case_count();
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, threads, 0, cases);
    tcase_add_loop_test(t, chunks, 0, cases);
    tcase_add_loop_test(t, instruction_sets, 0, cases);
    tcase_add_loop_test(t, narrow_cache, 0, cases);
    /* the longest two: every other case; the rest in check-all */
    TCase *more = tcase_create("more bits");
    for (int i = 0; i < cases; i++) {
        tcase_add_loop_test(i % 2 ? more : t, stream, i, i + 1);
        tcase_add_loop_test(i % 2 ? more : t, pairs, i, i + 1);
    }
    tcase_set_timeout(more, 60);
    tcase_set_tags(more, "slow");
    suite_add_tcase(s, more);
    tcase_add_loop_test(t, all_masks, 0, 4);
    tcase_add_loop_test(t, drafter, 0, cases);
    tcase_add_test(t, batches);
    tcase_add_test(t, rewind_and_replay);
    suite_add_tcase(s, t);
    t = tcase_create("quantized");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, make_gguf, remove_gguf);
    tcase_add_test(t, panels);
    tcase_add_test(t, batches_of_panels);
    suite_add_tcase(s, t);
    return s;
}
