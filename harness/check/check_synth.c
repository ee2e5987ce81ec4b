/* SPDX-License-Identifier: Apache-2.0
 * Synthetic checkpoints: what is written is what the loader binds, its values
 * have the spread that was meant and depend on seed and name alone, and no
 * failure leaves a trace. */
#include "harness/check/fault.h"
#include "harness/check/tempdir.h"
#include "harness/shape.h"
#include "harness/synth.h"
#include "ref/base/half.h"
#include "ref/base/map.h"
#include "ref/input/tokenizer.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Suite *check_synth(void);

/* A small backbone with all parts, and a drafter with the centroid head. */
#define TEXT_CONFIG(hidden, layers)                                                              \
    "\"text_config\":{\"vocab_size\":512,\"hidden_size\":" hidden ",\"intermediate_size\":48,"    \
    "\"num_hidden_layers\":" layers ",\"num_attention_heads\":4,\"num_key_value_heads\":2,"      \
    "\"head_dim\":16,\"global_head_dim\":32,\"num_global_key_value_heads\":1,"                   \
    "\"sliding_window\":16,\"attention_k_eq_v\":true,\"eos_token_id\":[1,7]}"

static const char backbone[] =
    "{\"architectures\":[\"Gemma4UnifiedForConditionalGeneration\"],"
    "\"model_type\":\"gemma4_unified\",\"boi_token_id\":17,\"eoi_token_id\":21,"
    "\"image_token_id\":19,\"video_token_id\":23,\"boa_token_id\":18,\"eoa_token_index\":22,"
    "\"audio_token_id\":20," TEXT_CONFIG("32", "6") ","
    "\"vision_config\":{\"patch_size\":4,\"pooling_kernel_size\":3,\"mm_embed_dim\":24,"
    "\"mm_posemb_size\":128},\"audio_config\":{\"audio_embed_dim\":80}}";

static const char drafter[] =
    "{\"architectures\":[\"Gemma4UnifiedAssistantForCausalLM\"],"
    "\"model_type\":\"gemma4_unified_assistant\",\"backbone_hidden_size\":32,"
    "\"use_ordered_embeddings\":true,\"num_centroids\":64,\"centroid_intermediate_top_k\":8,"
    TEXT_CONFIG("16", "6") "}";

static char dir[TEMPDIR_MAX], shape[TEMPDIR_MAX], lone[TEMPDIR_MAX];
static g4_err err;

static void setup(void)
{
    char sub[TEMPDIR_MAX];
    tempdir_make(dir);
    tempdir_path(sub, dir, "src");
    ck_assert_int_eq(mkdir(sub, 0777), 0);
    tempdir_write(sub, "config.json", backbone, strlen(backbone));
    tempdir_path(shape, sub, "config.json");
    tempdir_path(lone, dir, "lone.json");
    tempdir_write(dir, "lone.json", backbone, strlen(backbone));
    tempdir_path(sub, dir, "src/assistant");
    ck_assert_int_eq(mkdir(sub, 0777), 0);
    tempdir_write(sub, "config.json", drafter, strlen(drafter));
}

static void teardown(void)
{
    tempdir_remove(dir);
}

/* Writes dir/name; 0 threads: one. */
static g4_status synth(const char *from, const char *type, const char *name, uint64_t seed,
                       int threads, uint64_t shard_bytes)
{
    char out[TEMPDIR_MAX + 64];   /* no asserts here: it runs within fault windows */
    g4_synth_result r;
    snprintf(out, sizeof out, "%s/%s", dir, name);
    g4_synth s = { .shape = from, .type = type, .seed = seed, .out = out, .threads = threads,
                   .shard_bytes = shard_bytes };
    err = (g4_err){ G4_OK, "" };
    return g4_synth_write(&s, &r, &err);
}

static void must(g4_status s)
{
    if (s != G4_OK) ck_abort_msg("%s", err.msg);
}

static g4_model *open_model(const char *name)
{
    char path[TEMPDIR_MAX];
    g4_model *m;
    tempdir_path(path, dir, name);
    must(g4_model_open(&m, path, &err));
    return m;
}

START_TEST(loader_takes_it)
{
    must(synth(shape, "bf16", "m", 1, 2, 0));
    g4_model *m = open_model("m"), *d = open_model("m/assistant");
    must(g4_model_check_pair(m, d, &err));
    ck_assert_int_eq(m->config.vocab_size, 512);
    ck_assert_int_eq(m->generation.eos_count, 3);        /* config's two and <turn|> */
    ck_assert_int_eq(m->generation.eos[1], 7);
    ck_assert_int_eq(m->generation.eos[2], 106);
    ck_assert_int_eq(m->generation.suppress_count, 2);
    ck_assert_int_eq(m->generation.suppress[0], 21);
    ck_assert_int_eq(m->generation.suppress[1], 22);
    ck_assert_int_eq(d->generation.num_assistant_tokens, 4);
    ck_assert_ptr_nonnull(d->token_ordering);             /* the loader checked the permutation */
    int moved = 0;
    for (int i = 0; i < 512; i++) moved += d->token_ordering[i] != i;
    ck_assert_int_gt(moved, 0);
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++) {
        ck_assert(m->layers[l].layer_scalar[0] >= 0.5f && m->layers[l].layer_scalar[0] <= 1.0f);
        ck_assert(m->layers[l].layer_scalar[0] != m->layers[(l + 1) % 6].layer_scalar[0]);
    }
    g4_model_close(m);
    g4_model_close(d);
}
END_TEST

/* Mean and mean square of n values of a law with mean mu and deviation sigma: both lie
 * within 6 standard errors (sigma / sqrt(n), sigma^2 * sqrt(2 / n), a little less for
 * Irwin-Hall), of which one in 10^9 draws fails; the seed is fixed, so it never flakes. */
static void check_law(const char *what, const float *v, int64_t n, double mu, double sigma)
{
    double sum = 0, square = 0, least = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double x = v[i] - mu;
        sum += x;
        square += x * x;
        least = fmin(least, v[i]);
    }
    double mean = sum / (double)n, var = square / (double)n;
    if (!(fabs(mean) <= 6 * sigma / sqrt((double)n)) ||
        !(fabs(var - sigma * sigma) <= 6 * sigma * sigma * sqrt(2.0 / (double)n)))
        ck_abort_msg("%s: mean off by %g, variance %g, meant %g", what, mean, var, sigma * sigma);
    /* four uniform numbers cannot add up to more than 2 sqrt(3) sigma from the middle */
    ck_assert(least >= mu - 2 * sqrt(3.0) * sigma * (1 + 1e-6));
}

START_TEST(values_have_their_spread)
{
    must(synth(shape, "f32", "m", 5, 1, 0));
    g4_model *m = open_model("m");
    const g4_layer *l = &m->layers[2];
    check_law("up_proj", l->up_proj.data, 48 * 32, 0, 1 / sqrt(32));
    check_law("down_proj", l->down_proj.data, 48 * 32, 0, 1 / sqrt(48));
    check_law("embed_tokens", m->embed_tokens.data, 512 * 32, 0, 1.6 / sqrt(32));
    check_law("pos_embedding", m->pos_embedding.data, 128 * 2 * 24, 0, 0.3);
    check_law("patch_ln1 weight", m->patch_ln1_weight, 432, 1, 0.25);
    check_law("patch_ln1 bias", m->patch_ln1_bias, 432, 0, 0.1);
    for (int i = 0; i < 432; i++) ck_assert(m->patch_ln1_weight[i] > 0);
    g4_model_close(m);
}
END_TEST

/* The same tensors, whatever the container; 16-bit types round the float32 ones. */
START_TEST(values_depend_on_seed_and_name_alone)
{
    must(synth(lone, "f32", "a", 9, 1, 0));
    must(synth(lone, "f32", "b", 9, 3, 30000));
    must(synth(lone, "bf16", "c", 9, 1, 0));
    must(synth(lone, "f16", "d", 9, 1, 0));
    must(synth(lone, "f32", "e", 10, 1, 0));
    char path[TEMPDIR_MAX];
    g4_store *s[5];
    for (int i = 0; i < 5; i++) {
        const char name[2] = { (char)('a' + i), 0 };
        tempdir_path(path, dir, name);
        must(g4_store_open(&s[i], path, &err));
        ck_assert_uint_eq(g4_store_count(s[i]), g4_store_count(s[0]));
    }
    tempdir_path(path, dir, "b/model.safetensors.index.json");
    ck_assert_int_eq(g4_path_kind(path), 1);
    tempdir_path(path, dir, "b/model.safetensors");
    ck_assert_int_eq(g4_path_kind(path), 0);
    for (size_t i = 0; i < g4_store_count(s[0]); i++) {
        const g4_tensor *t[5];
        for (int k = 0; k < 5; k++) t[k] = g4_store_at(s[k], i);
        ck_assert_uint_eq(t[0]->bytes, t[1]->bytes);
        ck_assert_msg(memcmp(t[0]->data, t[1]->data, t[0]->bytes) == 0, "%s", t[0]->name);
        ck_assert_msg(memcmp(t[0]->data, t[4]->data, t[0]->bytes) != 0, "%s", t[0]->name);
        for (size_t v = 0; v < t[0]->bytes / 4; v++) {
            float x;
            memcpy(&x, t[0]->data + 4 * v, 4);
            ck_assert_uint_eq(g4_load_u16(t[2]->data + 2 * v), g4_f32_to_bf16(x));
            ck_assert_uint_eq(g4_load_u16(t[3]->data + 2 * v), g4_f32_to_f16(x));
        }
    }
    /* Two tensors of one shape differ: the name is in the stream. */
    const g4_tensor *x = g4_store_find(s[0], "model.language_model.layers.0.mlp.up_proj.weight"),
                    *y = g4_store_find(s[0], "model.language_model.layers.1.mlp.up_proj.weight");
    ck_assert(memcmp(x->data, y->data, x->bytes) != 0);
    for (int i = 0; i < 5; i++) g4_store_close(s[i]);
}
END_TEST

START_TEST(tokenizer_works)
{
    static const char *const texts[] = {
        "the cat sat on the mat", " two  blanks ", "a\n\nb", "caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd",
        "<|turn>user\nhi<turn|>", "<|image|>\\\"{}[]<|\"|>", "",
    };
    char path[TEMPDIR_MAX];
    g4_tokenizer *t;
    must(synth(lone, "bf16", "m", 1, 1, 0));
    tempdir_path(path, dir, "m");
    must(g4_tokenizer_load(&t, path, &err));
    ck_assert_int_eq(g4_tokenizer_size(t), 512);
    ck_assert_int_eq(g4_tokenizer_id(t, "<|image|>"), 19);   /* config.json's */
    ck_assert_int_eq(g4_tokenizer_id(t, "<audio|>"), 22);
    ck_assert_int_eq(g4_tokenizer_id(t, "<turn|>"), 106);    /* the real vocabulary's */
    ck_assert_int_eq(g4_tokenizer_id(t, "<unk>"), 3);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        g4_ids ids = { NULL, 0, 0 };
        char *back;
        size_t len;
        must(g4_tokenizer_encode(t, texts[i], strlen(texts[i]), 1, &ids, &err));
        must(g4_tokenizer_decode(t, ids.ids, ids.count, 0, &back, &len, &err));
        ck_assert_str_eq(back, texts[i]);
        free(back);
        g4_ids_free(&ids);
    }
    g4_tokenizer_free(t);
}
END_TEST

/* The 12B by its own arithmetic: 14 tensors a sliding layer, 13 a full one, 11 for media. */
START_TEST(shape_12b)
{
    const char *text[2];
    g4_arena a = { NULL };
    g4_json j;
    g4_config c;
    g4_shape s;
    ck_assert_int_eq(g4_shape_named("12b", &text[0], &text[1]), 1);
    must(g4_json_parse(&j, "12b", text[0], strlen(text[0]), &err));
    must(g4_config_parse(&c, &j, &a, &err));
    must(g4_shape_list(&s, &c, 2, &a, "12b", &err));
    ck_assert_uint_eq(s.count, 2 + 40 * 14 + 8 * 13 + 11);
    const uint64_t d = 3840, f = 15360, v = 262144;
    uint64_t each = 3 * d * f + 4 * d + 1;   /* feed-forward, four norms, the scalar */
    uint64_t sliding = each + 2 * d * 4096 + 2 * d * 2048 + 2 * 256;
    uint64_t full = each + 2 * d * 8192 + d * 512 + 2 * 512;
    uint64_t vision = 2 * 6912 + d * 6912 + d + 2 * d + 1120 * 2 * d + 2 * d + d * d;
    ck_assert_uint_eq(s.bytes, 2 * (v * d + d + 40 * sliding + 8 * full + vision + d * 640));
    g4_json_free(&j);
    must(g4_json_parse(&j, "12b", text[1], strlen(text[1]), &err));
    must(g4_config_parse(&c, &j, &a, &err));
    ck_assert_int_eq(c.is_drafter, 1);
    must(g4_shape_list(&s, &c, 2, &a, "12b", &err));
    ck_assert_uint_eq(s.count, 2 + 2 + 4 * 11);
    g4_json_free(&j);
    g4_arena_free(&a);
    ck_assert_int_eq(g4_shape_named("13b", &text[0], &text[1]), 0);
}
END_TEST

static void refuse(g4_status got, g4_status want, const char *says)
{
    ck_assert_int_eq(got, want);
    if (!strstr(err.msg, says)) ck_abort_msg("said '%s', expected '%s'", err.msg, says);
}

START_TEST(refuses)
{
    char path[TEMPDIR_MAX];
    int before = tempdir_count(dir);
    refuse(synth(lone, "q4_0", "x", 0, 1, 0), G4_EINPUT,
           "--type q4_0: not available; available: bf16, f16, f32");
    refuse(synth("13b", "bf16", "x", 0, 1, 0), G4_EINPUT,
           "13b: neither a known shape (12b) nor a config.json");
    refuse(synth(lone, "bf16", "none/x", 0, 1, 0), G4_EIO, "none/x: cannot create: No such file");
    tempdir_write(dir, "bad.json", "{\"model_type\":\"gemma3\"}", 23);
    tempdir_path(path, dir, "bad.json");
    refuse(synth(path, "bf16", "x", 0, 1, 0), G4_EINPUT, "bad.json: model_type is \"gemma3\"");
    /* existing: a file, a folder with something in it; an empty folder is fine */
    refuse(synth(lone, "bf16", "bad.json", 0, 1, 0), G4_EINPUT,
           "bad.json: exists and is not an empty folder");
    refuse(synth(lone, "bf16", "src", 0, 1, 0), G4_EINPUT, "src: exists and is not an empty");
    ck_assert_int_eq(tempdir_count(dir), before + 1);
    tempdir_path(path, dir, "empty");
    ck_assert_int_eq(mkdir(path, 0777), 0);
    must(synth(lone, "bf16", "empty//", 0, 1, 0));
    ck_assert_int_eq(tempdir_count(dir), before + 2);
}
END_TEST

/* lone.json with one text replaced. */
static void variant(char path[TEMPDIR_MAX], const char *from, const char *to)
{
    char text[4096];
    const char *at = strstr(backbone, from);
    ck_assert_ptr_nonnull(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - backbone), backbone, to, at + strlen(from));
    tempdir_write(dir, "variant.json", text, strlen(text));
    tempdir_path(path, dir, "variant.json");
}

START_TEST(refuses_a_vocabulary_without_room)
{
    char path[TEMPDIR_MAX];
    variant(path, "\"vocab_size\":512", "\"vocab_size\":279");
    refuse(synth(path, "bf16", "x", 0, 1, 0), G4_EINPUT,
           "variant.json: vocab_size is 279, a tokenizer needs 280");
    variant(path, "\"vocab_size\":512", "\"vocab_size\":280");
    must(synth(path, "bf16", "y", 0, 1, 0));
    variant(path, "\"boi_token_id\":17", "\"boi_token_id\":2");
    refuse(synth(path, "bf16", "x", 0, 1, 0), G4_EINPUT,
           "variant.json: token id 2 is both <bos> and <|image>");
}
END_TEST

/* Every allocation and every file operation fails once: an error that does not
 * name the temporary folder, nothing left behind, nothing leaked. */
static void fail_each(int io, int error)
{
    int before = tempdir_count(dir), fired;
    long n = 1;
    do {
        if (io) fault_io_arm(n, 0, error);
        else fault_alloc_arm(n, 0);
        g4_status s = synth(shape, "bf16", "m", 1, 1, 100000);
        fault_end();
        fired = fault_fired();
        ck_assert_int_eq(fault_live(), 0);
        if (s == G4_OK) {   /* past the last, or one whose failure does no harm */
            char path[TEMPDIR_MAX];
            g4_model_close(open_model("m"));
            g4_model_close(open_model("m/assistant"));
            ck_assert_int_eq(tempdir_count(dir), before + 1);
            tempdir_path(path, dir, "m");
            tempdir_remove(path);
        } else {
            ck_assert_int_eq(fired, 1);
            ck_assert_msg(strstr(err.msg, ".tmp") == NULL, "%s", err.msg);
            ck_assert_msg(tempdir_count(dir) == before, "left behind after %s %ld: %s",
                          fault_what(), n, err.msg);
        }
        n++;
    } while (fired);
    ck_assert_int_gt(n, 20);   /* it did walk */
}

START_TEST(nth_allocation_fails)
{
    fail_each(0, 0);
}
END_TEST

START_TEST(nth_file_operation_fails)
{
    fail_each(1, ENOSPC);
}
END_TEST

START_TEST(short_reads_and_writes_do_no_harm)
{
    fail_each(1, FAULT_SHORT);
}
END_TEST

Suite *check_synth(void)
{
    Suite *s = suite_create("synth");
    TCase *t = tcase_create("synth");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, loader_takes_it);
    tcase_add_test(t, values_have_their_spread);
    tcase_add_test(t, values_depend_on_seed_and_name_alone);
    tcase_add_test(t, tokenizer_works);
    tcase_add_test(t, shape_12b);
    tcase_add_test(t, refuses);
    tcase_add_test(t, refuses_a_vocabulary_without_room);
    tcase_add_test(t, nth_allocation_fails);
    tcase_add_test(t, nth_file_operation_fails);
    tcase_add_test(t, short_reads_and_writes_do_no_harm);
    suite_add_tcase(s, t);
    return s;
}
