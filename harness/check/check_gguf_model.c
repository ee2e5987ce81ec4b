/* SPDX-License-Identifier: Apache-2.0
 * A model as a GGUF: what quantize writes of a folder reads back as that folder (weights bit
 * for bit, config, generation defaults, tokenizer); packed formats stay within their step; a
 * key that is missing or wrong is refused by its name. */
#include "harness/check/program.h"
#include "ref/base/map.h"
#include "ref/dtype/dtype.h"
#include "ref/input/tokenizer.h"
#include "ref/model/weights.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *check_gguf_model(void);

static char dir[TEMPDIR_MAX], path[TEMPDIR_MAX];
static program_result run;
static g4_err err;

/* gemma4 quantize --model from --type type; the file's name is then in path. */
static void quantize(const char *from, const char *type)
{
    char line[256];
    tempdir_path(path, dir, "m.gguf");
    const program_place places[] = { { "%o", path }, { "%m", from }, { NULL, NULL } };
    snprintf(line, sizeof line, "quantize --model %%m --type %s --out %%o", type);
    program_run(&run, line, places, NULL, RLIM_INFINITY);
    ck_assert_msg(run.code == 0, "%s", run.err);
}

static void setup(void)
{
    tempdir_make(dir);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

static float *values_of(const g4_tensor *t, int64_t *n)
{
    *n = 1;
    for (int i = 0; i < t->rank; i++) *n *= t->shape[i];
    float *v = malloc((size_t)*n * sizeof *v);
    ck_assert_ptr_nonnull(v);
    g4_dtype_get(t->dtype)->unpack(v, t->data, *n);
    return v;
}

static int is_media(const char *name)
{
    return strstr(name, "vision") != NULL || strstr(name, "audio") != NULL;
}

/* Every text tensor of the folder, with the same values. */
static void same_weights(const g4_model *a, const g4_model *b)
{
    size_t found = 0;
    for (size_t i = 0; i < g4_store_count(a->store); i++) {
        const g4_tensor *t = g4_store_at(a->store, i);
        if (is_media(t->name)) continue;
        const g4_tensor *u = g4_store_find(b->store, t->name);
        ck_assert_msg(u != NULL, "%s", t->name);
        int64_t n, m;
        float *x = values_of(t, &n), *y = values_of(u, &m);
        ck_assert_msg(n == m && memcmp(x, y, (size_t)n * sizeof *x) == 0, "%s", t->name);
        free(x);
        free(y);
        found++;
    }
    ck_assert_uint_eq(found, g4_store_count(b->store));
}

static void same_config(const g4_config *a, const g4_config *b)
{
    g4_config x = *a, y = *b;
    ck_assert_mem_eq(a->layer_kind, b->layer_kind, (size_t)a->num_hidden_layers);
    for (int k = 0; k < 2; k++) {   /* the share may differ where the turning pairs do not */
        ck_assert_int_eq((int64_t)(a->rope[k].partial_rotary_factor * (double)a->head_dim[k]) / 2,
                         (int64_t)(b->rope[k].partial_rotary_factor * (double)b->head_dim[k]) / 2);
        x.rope[k].partial_rotary_factor = y.rope[k].partial_rotary_factor = 0;
    }
    x.layer_kind = y.layer_kind = NULL;
    /* not in a text GGUF */
    x.patch_size = x.pooling_kernel_size = x.mm_embed_dim = x.mm_posemb_size = 0;
    x.audio_embed_dim = 0;
    x.vision_eps = x.audio_eps = 0;
    x.num_centroids = y.num_centroids = x.centroid_intermediate_top_k = 0;
    y.centroid_intermediate_top_k = 0;
    ck_assert_mem_eq(&x, &y, sizeof x);
}

static const char *const folders[] = { "golden/tiny/mini/model", "golden/tiny/small/model",
                                       "golden/tiny/even/model",
                                       "golden/tiny/even/model/assistant" };

START_TEST(same_model)
{
    g4_model *a, *b;
    quantize(folders[_i], _i % 2 ? "f32" : "bf16");
    ck_assert_msg(g4_model_open(&a, folders[_i], &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_model_open(&b, path, &err) == G4_OK, "%s", err.msg);
    same_weights(a, b);
    same_config(&a->config, &b->config);
    const g4_generation *g = &a->generation, *h = &b->generation;
    if (!a->config.is_drafter) {
        ck_assert(g->eos_count == h->eos_count && g->suppress_count == h->suppress_count);
        ck_assert_mem_eq(g->eos, h->eos, (size_t)g->eos_count * sizeof *g->eos);
        ck_assert_mem_eq(g->suppress, h->suppress, (size_t)g->suppress_count * sizeof *g->eos);
        ck_assert(g->do_sample == h->do_sample && g->top_k == h->top_k);
        ck_assert(g->temperature == h->temperature && g->top_p == h->top_p);
    }
    ck_assert_mem_eq(a->inv_freq[1], b->inv_freq[1],
                     (size_t)(a->config.head_dim[1] / 2) * sizeof(float));
    g4_model_close(a);
    g4_model_close(b);
}
END_TEST

START_TEST(same_tokenizer)
{
    static const char *const texts[] = { "the cat sat", " two  blanks ",
                                         "<|turn>user\nh\xc3\xa9<turn|>",
                                         "\xe4\xbd\xa0\xe2\x96\x81<|\"|>x", "", "<bos><|image|>" };
    g4_tokenizer *a, *b;
    quantize(folders[1], "bf16");
    ck_assert_msg(g4_tokenizer_load(&a, folders[1], &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_tokenizer_load(&b, path, &err) == G4_OK, "%s", err.msg);
    ck_assert(g4_tokenizer_size(a) == g4_tokenizer_size(b));
    ck_assert(g4_tokenizer_bos(a) == g4_tokenizer_bos(b));
    for (int32_t id = 0; id < g4_tokenizer_size(a); id++)
        ck_assert_msg(g4_tokenizer_is_special(a, id) == g4_tokenizer_is_special(b, id), "%d", id);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (int special = 0; special < 2; special++) {
            g4_ids x = { 0 }, y = { 0 };
            size_t n = strlen(texts[i]);
            ck_assert(g4_tokenizer_encode(a, texts[i], n, special, &x, &err) == G4_OK);
            ck_assert(g4_tokenizer_encode(b, texts[i], n, special, &y, &err) == G4_OK);
            ck_assert_msg(x.count == y.count, "%s", texts[i]);
            if (x.count) ck_assert_mem_eq(x.ids, y.ids, x.count * sizeof *x.ids);
            g4_ids_free(&x);
            g4_ids_free(&y);
        }
    g4_tokenizer_free(a);
    g4_tokenizer_free(b);
}
END_TEST

/* What each type makes of even's matrices (256 and 512 columns): the format that it says, the
 * embedding with more bits, norms in F32.  Plain rounding is within a step of the block's
 * largest value everywhere; packing minimises the mean square, so that is no larger. */
static const struct { const char *type; g4_dtype matrix, embed; double within; } packed[] = {
    { "q8_0", G4_Q8_0, G4_Q8_0, 1.0 / 127 },   { "q4_0", G4_Q4_0, G4_Q6_K, 1.0 / 8 },
    { "q4_k_m", G4_Q4_K, G4_Q6_K, 1.0 / 7 },   { "f16", G4_F16, G4_F16, 1.0 / 1024 },
};

START_TEST(packed_types)
{
    g4_model *a, *b;
    quantize(folders[2], packed[_i].type);
    ck_assert_msg(g4_model_open(&a, folders[2], &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_model_open(&b, path, &err) == G4_OK, "%s", err.msg);
    ck_assert(b->embed_tokens.dtype == packed[_i].embed);
    ck_assert(b->layers[0].q_proj.dtype == packed[_i].matrix);
    for (size_t i = 0; i < g4_store_count(b->store); i++) {
        const g4_tensor *t = g4_store_at(b->store, i), *u = g4_store_find(a->store, t->name);
        int64_t n, m;
        if (t->rank == 1) ck_assert(t->dtype == G4_F32);
        float *x = values_of(u, &n), *y = values_of(t, &m), most = 0;
        for (int64_t k = 0; k < n; k++) most = fmaxf(most, fabsf(x[k]));
        double sum = 0;
        for (int64_t k = 0; k < n; k++) sum += pow((double)x[k] - (double)y[k], 2);
        ck_assert_msg(sqrt(sum / (double)n) <= packed[_i].within * (double)most, "%s", t->name);
        free(x);
        free(y);
    }
    g4_model_close(a);
    g4_model_close(b);
}
END_TEST

/* The bytes at `at` behind a key's name (its type: 0 to 3, then the value) are replaced; at -1
 * spoils the name itself, so that the key is missing. */
static const struct { const char *key; int at; const char *bytes; int size; const char *says; }
bad[] = {
    { "general.architecture", -1, NULL, 0, "general.architecture is \"\"" },
    { "gemma4.block_count", -1, NULL, 0, "key gemma4.block_count is missing" },
    { "gemma4.block_count", 0, "\6", 1, "key gemma4.block_count is no integer" },
    { "gemma4.block_count", 4, "\0\0\0\0", 4, "key gemma4.block_count is 0" },
    { "gemma4.block_count", 4, "\xff\xff\xff\xff", 4, "block_count is 4294967295" },
    { "gemma4.block_count", 4, "\7", 1, "key gemma4.attention.sliding_window_pattern" },
    { "gemma4.embedding_length", -1, NULL, 0, "key gemma4.embedding_length is missing" },
    { "gemma4.embedding_length", 4, "\0", 1, "hidden_size" },
    { "gemma4.embedding_length", 4, "\x31", 1, "asks for" },
    { "gemma4.attention.head_count", 4, "\0", 1, "num_attention_heads" },
    { "gemma4.attention.head_count_kv", -1, NULL, 0, "head_count_kv is missing" },
    { "gemma4.attention.head_count_kv", 4, "\6", 1, "head_count_kv is neither" },
    { "gemma4.attention.head_count_kv", 16, "\5", 1, "per_layer_config: layers 0 and 1" },
    { "gemma4.attention.key_length", 4, "\x22", 1, "expected 34 as attention.key_length" },
    { "gemma4.attention.value_length_swa", 4, "\x22", 1, "value_length_swa is 34, expected 16" },
    { "gemma4.rope.dimension_count", 4, "\1", 1, "rope.dimension_count is 1, expected 32" },
    { "gemma4.attention.sliding_window_pattern", -1, NULL, 0, "pattern is missing" },
    { "gemma4.attention.sliding_window_pattern", 21, "\1", 1, "the last of them 0" },
    { "gemma4.attention.layer_norm_rms_epsilon", -1, NULL, 0, "rms_epsilon is missing" },
    { "gemma4.attention.layer_norm_rms_epsilon", 4, "\0\0\xc0\x7f", 4, "is no finite number" },
    { "gemma4.rope.freq_base", -1, NULL, 0, "key gemma4.rope.freq_base is missing" },
    { "gemma4.attention.shared_kv_layers", 4, "\2", 1, "num_kv_shared_layers is 2" },
    { "gemma4.embedding_length_per_layer_input", 4, "\2", 1, "hidden_size_per_layer_input" },
    { "rope_freqs.weight", -1, NULL, 0, "tensor rope_freqs.weight is missing" },
    { "token_embd.weight", -1, NULL, 0, "tensor token_embd.weight is missing" },
    { "blk.0.attn_q.weight", -1, NULL, 0, "self_attn.q_proj.weight is missing" },
    { "tokenizer.ggml.bos_token_id", 4, "\xff\xff", 2, "bos_token_id" },
    { "tokenizer.ggml.eos_token_id", 0, "\6", 1, "key tokenizer.ggml.eos_token_id is no token" },
    { "tokenizer.ggml.suppress_tokens", 4, "\6", 1, "suppress_tokens is no list of token ids" },
    { "tokenizer.ggml.suppress_tokens", 16, "\xff\xff", 2, "suppress_tokens[0] is no token id" },
    { "tokenizer.ggml.model", 12, "llama!", 6, "key tokenizer.ggml.model is not \"gemma4\"" },
    { "tokenizer.ggml.tokens", -1, NULL, 0, "key tokenizer.ggml.tokens is no array of strings" },
    { "tokenizer.ggml.merges", -1, NULL, 0, "key tokenizer.ggml.merges is no array of strings" },
    { "tokenizer.ggml.token_type", 16, "\7", 1, "token 0 has type 7" },
    { "tokenizer.ggml.token_type", -1, NULL, 0, "key tokenizer.ggml.token_type is no array" },
    { "tokenizer.ggml.tokens", 24, "<eos>", 5, "token 1 \"<eos>\" is there twice" },
    { "tokenizer.ggml.merges", 25, "x", 1, "merge 0 is not two tokens" },
    { "tokenizer.ggml.merges", 24, "\1", 1, "merge 0 names what is no token" },
    { "tokenizer.ggml.unknown_token_id", 4, "\xff\xff", 2, "unknown_token_id is no token id" },
};

/* The whole way that a command takes with a model. */
static g4_status open_all(const char *file)
{
    g4_model *m;
    g4_tokenizer *t;
    G4_TRY(g4_model_open(&m, file, &err));
    g4_model_close(m);
    G4_TRY(g4_tokenizer_load(&t, file, &err));
    g4_tokenizer_free(t);
    return G4_OK;
}

static uint8_t *find_key(uint8_t *data, size_t size, const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i + len + 8 < size; i++)
        if (data[i] == len && memcmp(data + i + 1, "\0\0\0\0\0\0\0", 7) == 0 &&
            memcmp(data + i + 8, key, len) == 0)
            return data + i + 8 + len;
    ck_abort_msg("%s: not in the file", key);
    return NULL;
}

START_TEST(bad_keys)
{
    uint8_t *data;
    size_t size;
    quantize(folders[0], "bf16");
    ck_assert_msg(open_all(path) == G4_OK, "%s", err.msg);
    ck_assert(g4_file_read(path, 1 << 24, &data, &size, &err) == G4_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t *copy = malloc(size), *at;
        memcpy(copy, data, size);
        at = find_key(copy, size, bad[i].key);
        if (bad[i].at < 0) at[-1] = 'X';
        else memcpy(at + bad[i].at, bad[i].bytes, (size_t)bad[i].size);
        tempdir_write(dir, "bad.gguf", copy, size);
        free(copy);
        char name[TEMPDIR_MAX];
        tempdir_path(name, dir, "bad.gguf");
        g4_status s = open_all(name);
        ck_assert_msg(s == G4_EINPUT, "%s (wanted: %s)", bad[i].key, bad[i].says);
        ck_assert_msg(strncmp(err.msg, name, strlen(name)) == 0, "%s", err.msg);
        ck_assert_msg(strstr(err.msg, bad[i].says), "%s (wanted: %s)", err.msg, bad[i].says);
    }
    free(data);
}
END_TEST

/* mini's projector, whichever of their two names its tensors have (the folder's own name
 * stands in the file, so both are called model). */
START_TEST(same_projector)
{
    static const char *const lines[] = {
        "quantize --model golden/tiny/mini/model --type f16 --mmproj %d/a.gguf",
        "quantize --model %d/model --type f16 --mmproj %d/b.gguf" };
    static const char *const names[] = { "a.gguf", "b.gguf" };
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    uint8_t *data[2];
    size_t size[2];
    char *folder = realpath("golden/tiny/mini_names", NULL);
    ck_assert_ptr_nonnull(folder);
    tempdir_path(path, dir, "model");
    ck_assert_int_eq(symlink(folder, path), 0);
    free(folder);
    for (int i = 0; i < 2; i++) {
        program_run(&run, lines[i], places, NULL, RLIM_INFINITY);
        ck_assert_msg(run.code == 0, "%s", run.err);
        tempdir_path(path, dir, names[i]);
        ck_assert(g4_file_read(path, 1 << 24, &data[i], &size[i], &err) == G4_OK);
    }
    ck_assert_uint_eq(size[0], size[1]);
    ck_assert_int_eq(memcmp(data[0], data[1], size[0]), 0);
    free(data[0]);
    free(data[1]);
}
END_TEST

static const struct { const char *line, *says; } bad_lines[] = {
    { "quantize --model golden/tiny/mini/model --type q9 --out %o", "--type q9: not available" },
    { "quantize --model %o --type q8_0 --out %o", "is a GGUF already" },
    { "quantize --model golden/tiny/mini/model --type q8_0 --out %d", "exists and is not a" },
    { "quantize --model golden/tiny/mini/model --type q8_0 --out %d/no/x", "cannot create" },
    { "synth --shape golden/tiny/mini/model/config.json --type q9 --out %d/x.gguf", "q9" },
    { "generate --model golden/tiny/mini/model --mmproj %o --prompt x", "ends in .gguf" },
    { "generate --model %o --mmproj %o --prompt x", "it is a model" },
    { "generate --model %d/none.gguf --mmproj %o --prompt x", "none.gguf" },
};

START_TEST(bad_commands)
{
    quantize(folders[0], "bf16");
    const program_place places[] = { { "%o", path }, { "%d", dir }, { NULL, NULL } };
    for (size_t i = 0; i < sizeof bad_lines / sizeof *bad_lines; i++) {
        program_run(&run, bad_lines[i].line, places, NULL, RLIM_INFINITY);
        program_expect_error(&run, bad_lines[i].says);
    }
    ck_assert_int_eq(tempdir_count(dir), 1);   /* m.gguf: nothing else was left */
}
END_TEST

/* The same bytes whatever the threads, and a model that runs. */
START_TEST(synth)
{
    uint8_t *one, *three;
    size_t size, other;
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    program_run(&run, "synth --shape golden/tiny/even/model/config.json --type q4_0 --seed 5 "
                "--threads 1 --out %d/one.gguf", places, NULL, RLIM_INFINITY);
    ck_assert_msg(run.code == 0, "%s", run.err);
    program_run(&run, "synth --shape golden/tiny/even/model/config.json --type q4_0 --seed 5 "
                "--threads 3 --out %d/three.gguf", places, NULL, RLIM_INFINITY);
    ck_assert_msg(run.code == 0, "%s", run.err);
    ck_assert_int_eq(tempdir_count(dir), 2);
    tempdir_path(path, dir, "one.gguf");
    ck_assert(g4_file_read(path, 1 << 24, &one, &size, &err) == G4_OK);
    tempdir_path(path, dir, "three.gguf");
    ck_assert(g4_file_read(path, 1 << 24, &three, &other, &err) == G4_OK);
    ck_assert(size == other && memcmp(one, three, size) == 0);
    free(one);
    free(three);
    program_run(&run, "generate --model %d/one.gguf --prompt ab --max-tokens 2", places, NULL,
                RLIM_INFINITY);
    ck_assert_msg(run.code == 0, "%s", run.err);
}
END_TEST

Suite *check_gguf_model(void)
{
    Suite *s = suite_create("gguf_model");
    TCase *tc = tcase_create("gguf_model");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, same_model, 0, sizeof folders / sizeof *folders);
    tcase_add_test(tc, same_tokenizer);
    tcase_add_loop_test(tc, packed_types, 0, sizeof packed / sizeof *packed);
    tcase_add_test(tc, same_projector);
    tcase_add_test(tc, bad_keys);
    tcase_add_test(tc, bad_commands);
    tcase_add_test(tc, synth);
    suite_add_tcase(s, tc);
    return s;
}
