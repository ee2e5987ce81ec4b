/* SPDX-License-Identifier: Apache-2.0
 * config.json and generation_config.json: each field that changes a number is
 * read, has Transformers' default or none, and an unknown value of it is an
 * error that names it.  Tables of one change each to a good file. */
#include "harness/check/fault.h"
#include "harness/check/tempdir.h"
#include "ref/model/config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Suite *check_config(void);

#define SMALL "golden/tiny/small/model"
#define DATA "harness/check/data/config/"

/* One change: what stands at path becomes value (JSON; NULL: goes away). */
typedef struct change {
    const char *path, *value, *says;   /* says: part of the message; NULL: accepted */
} change;

static json_t *read_json(const char *path)
{
    json_error_t e;
    json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    ck_assert_msg(j != NULL, "%s: %s", path, e.text);
    return j;
}

/* "a/b/c": object members; the last one is set or deleted. */
static void apply(json_t *root, const change *ch)
{
    char part[64];
    json_t *at = root;
    const char *p = ch->path;
    for (const char *slash; (slash = strchr(p, '/')) != NULL; p = slash + 1) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - p), p);
        at = json_object_get(at, part);
        ck_assert_msg(at != NULL, "no %s", ch->path);
    }
    if (!ch->value) {
        ck_assert_msg(json_object_del(at, p) == 0, "no %s", ch->path);
        return;
    }
    json_t *v = json_loads(ch->value, JSON_DECODE_ANY, NULL);
    ck_assert_msg(v != NULL, "bad row: %s", ch->value);
    ck_assert_int_eq(json_object_set_new(at, p, v), 0);
}

static g4_status parse(g4_config *c, json_t *root, g4_arena *arena, g4_err *err)
{
    const g4_json j = { .root = root, .file = "dir/config.json" };
    return g4_config_parse(c, &j, arena, err);
}

static void check_change(const char *file, const change *ch)
{
    g4_arena arena = { NULL };
    g4_config c;
    g4_err err = { G4_OK, "" };
    json_t *root = read_json(file);
    apply(root, ch);
    g4_status s = parse(&c, root, &arena, &err);
    if (ch->says) {
        ck_assert_msg(s == G4_EINPUT, "%s = %s was taken", ch->path, ch->value);
        ck_assert_msg(strncmp(err.msg, "dir/config.json: ", 17) == 0, "%s", err.msg);
        ck_assert_msg(strstr(err.msg, ch->says) != NULL, "%s = %s: %s", ch->path, ch->value,
                      err.msg);
    } else {
        ck_assert_msg(s == G4_OK, "%s = %s: %s", ch->path, ch->value, err.msg);
    }
    json_decref(root);
    g4_arena_free(&arena);
}

#define T "text_config/"
#define R T "rope_parameters/"
#define FULL R "full_attention/"
#define SLIDING R "sliding_attention/"
#define V "vision_config/"
#define A "audio_config/"

static const change backbone[] = {
    { "model_type", NULL, "model_type is \"\"" },
    { "model_type", "\"gemma4\"", "model_type is \"gemma4\"; known" },
    { "model_type", "7", "model_type is 7" },
    { "quantization_config", "{}", "quantization_config" },
    { "quantization_config", "null", NULL },
    { "tie_word_embeddings", "false", "tie_word_embeddings is false" },
    { "tie_word_embeddings", "null", "tie_word_embeddings is null" },
    { "tie_word_embeddings", NULL, NULL },
    { "text_config", NULL, "text_config is missing" },
    { "text_config", "[]", "text_config is []" },
    { "architectures", "[\"Whatever\"]", NULL },
    { "dtype", "\"float16\"", NULL },
    { "initializer_range", "0.5", NULL },

    { T "model_type", "\"gemma3_text\"", "model_type is \"gemma3_text\"; only" },
    { T "vocab_size", NULL, "vocab_size is missing" },
    { T "vocab_size", "0", "vocab_size is 0" },
    { T "vocab_size", "-640", "vocab_size is -640" },
    { T "vocab_size", "640.0", "vocab_size is 640.0" },
    { T "vocab_size", "\"640\"", "vocab_size is \"640\"" },
    { T "vocab_size", "9223372036854775807", "vocab_size is 9223372036854775807" },
    { T "hidden_size", NULL, "hidden_size is missing" },
    { T "hidden_size", "null", "hidden_size is missing" },
    { T "hidden_size", "true", "hidden_size is true" },
    { T "hidden_size", "16777217", "hidden_size is 16777217" },
    { T "intermediate_size", NULL, "intermediate_size is missing" },
    { T "intermediate_size", "[136]", "intermediate_size is [136]" },
    { T "num_hidden_layers", NULL, "num_hidden_layers is missing" },
    { T "num_hidden_layers", "0", "num_hidden_layers is 0" },
    { T "num_hidden_layers", "4097", "num_hidden_layers is 4097" },
    { T "num_attention_heads", NULL, "num_attention_heads is missing" },
    { T "num_attention_heads", "0", "num_attention_heads is 0" },
    { T "num_attention_heads", "7", "num_attention_heads 7 is no multiple of 3" },
    { T "num_attention_heads", "9", "num_attention_heads 9 is no multiple of 2" },
    { T "num_attention_heads", "12000000", "head_dim 12 is odd or too large" },
    { T "num_key_value_heads", NULL, "num_key_value_heads is missing" },
    { T "num_key_value_heads", "0", "num_key_value_heads is 0" },
    { T "num_key_value_heads", "4", "is no multiple of 4" },
    { T "head_dim", NULL, "head_dim is missing" },
    { T "head_dim", "13", "head_dim 13 is odd" },
    { T "head_dim", "-2", "head_dim is -2" },
    { T "global_head_dim", "25", "head_dim 25 is odd" },
    { T "global_head_dim", "0", "global_head_dim is 0" },
    { T "global_head_dim", "null", "global_head_dim is null" },
    { T "global_head_dim", "24.5", "global_head_dim is 24.5" },
    { T "num_global_key_value_heads", "4", "is no multiple of 4" },
    { T "num_global_key_value_heads", "0", "num_global_key_value_heads is 0" },
    { T "num_global_key_value_heads", "null", NULL },
    { T "attention_k_eq_v", "1", "attention_k_eq_v is 1" },
    { T "attention_k_eq_v", "null", "attention_k_eq_v is null" },
    { T "hidden_activation", "\"gelu\"", "hidden_activation is \"gelu\"; only" },
    { T "hidden_activation", "null", "hidden_activation is null" },
    { T "hidden_activation", NULL, NULL },
    { T "max_position_embeddings", "0", "max_position_embeddings is 0" },
    { T "max_position_embeddings", "700001", "max_position_embeddings is 700001" },
    { T "max_position_embeddings", "null", "max_position_embeddings is null" },
    { T "rms_norm_eps", "-1e-6", "rms_norm_eps is -1e-06" },
    { T "rms_norm_eps", "2", "rms_norm_eps is 2" },
    { T "rms_norm_eps", "\"1e-6\"", "rms_norm_eps is \"1e-6\"" },
    { T "rms_norm_eps", "null", "rms_norm_eps is null" },
    { T "sliding_window", "0", "sliding_window is 0" },
    { T "sliding_window", "null", "sliding_window is null" },
    { T "final_logit_softcapping", "0", "final_logit_softcapping is 0" },
    { T "final_logit_softcapping", "-30.0", "final_logit_softcapping is -30" },
    { T "final_logit_softcapping", "true", "final_logit_softcapping is true" },
    { T "use_bidirectional_attention", "\"all\"", "use_bidirectional_attention is \"all\"" },
    { T "use_bidirectional_attention", "false", "use_bidirectional_attention is false" },
    { T "attention_bias", "true", "attention_bias is true" },
    { T "attention_bias", "0", "attention_bias is 0" },
    { T "use_double_wide_mlp", "true", "use_double_wide_mlp is true" },
    { T "enable_moe_block", "true", "enable_moe_block is true" },
    { T "tie_word_embeddings", "false", "tie_word_embeddings is false" },
    { T "hidden_size_per_layer_input", "256", "hidden_size_per_layer_input is 256" },
    { T "hidden_size_per_layer_input", "0", NULL },
    { T "num_experts", "8", "num_experts is 8" },
    { T "num_experts", "null", NULL },
    { T "num_kv_shared_layers", "2", "num_kv_shared_layers is 2" },
    { T "num_kv_shared_layers", "12", "num_kv_shared_layers is 12" },
    { T "num_kv_shared_layers", "-1", "num_kv_shared_layers is -1" },
    { T "pad_token_id", "640", "pad_token_id is 640" },
    { T "bos_token_id", "-1", "bos_token_id is -1" },
    { T "eos_token_id", "640", "eos_token_id[0] is no token id" },
    { T "eos_token_id", "[1, -1]", "eos_token_id[1] is no token id" },
    { T "eos_token_id", "[1, \"2\"]", "eos_token_id[1] is no token id" },
    { T "eos_token_id", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "eos_token_id has 17" },
    { T "eos_token_id", "[1, 15]", NULL },

    { R "sliding_attention", NULL, "sliding_attention is missing" },
    { R "full_attention", "null", "full_attention is missing" },
    { R "full_attention", "3", "full_attention is 3" },
    { T "rope_parameters", "[]", "rope_parameters is []" },
    { T "rope_scaling", "{\"factor\": 8}", "rope_scaling is not known" },
    { T "rope_theta", "1e4", "rope_theta is not known here" },
    { T "partial_rotary_factor", "0.5", "partial_rotary_factor is not known here" },
    { SLIDING "rope_type", "\"linear\"", "rope_type of sliding_attention is \"linear\"" },
    { SLIDING "rope_type", NULL, NULL },
    { SLIDING "rope_theta", NULL, "rope_theta of sliding_attention is missing" },
    { SLIDING "rope_theta", "0.5", "rope_theta is 0.5" },
    { SLIDING "rope_theta", "\"1e4\"", "rope_theta is \"1e4\"" },
    { SLIDING "partial_rotary_factor", "0.5", "partial_rotary_factor is 0.5" },
    { FULL "rope_type", NULL, "rope_type of full_attention is \"default\"" },
    { FULL "rope_type", "\"yarn\"", "rope_type of full_attention is \"yarn\"" },
    { FULL "rope_type", "1", "rope_type is 1" },
    { FULL "rope_theta", NULL, "rope_theta of full_attention is missing" },
    { FULL "rope_theta", "1e13", "rope_theta is 1e+13" },
    { FULL "partial_rotary_factor", "1.5", "partial_rotary_factor is 1.5" },
    { FULL "partial_rotary_factor", "-0.1", "partial_rotary_factor is -0.1" },
    { FULL "factor", "0", "factor is 0" },
    { FULL "factor", "\"8\"", "factor is \"8\"" },

    { V "model_type", "\"siglip\"", "model_type is \"siglip\"; only" },
    { V "patch_size", "0", "patch_size is 0" },
    { V "patch_size", "257", "patch_size is 257" },
    { V "patch_size", "null", "patch_size is null" },
    { V "pooling_kernel_size", "17", "pooling_kernel_size is 17" },
    { V "pooling_kernel_size", "\"3\"", "pooling_kernel_size is \"3\"" },
    { V "mm_embed_dim", "0", "mm_embed_dim is 0" },
    { V "mm_posemb_size", "-1", "mm_posemb_size is -1" },
    { V "rms_norm_eps", "null", "rms_norm_eps is null" },
    { V "output_proj_dims", "41", "output_proj_dims is 41, expected 40" },
    { V "model_patch_size", "16", "model_patch_size is 16, expected 48" },
    { V "model_patch_size", "48", NULL },
    { "vision_config", "[]", "vision_config is []" },
    { "vision_config", "null", NULL },
    { "vision_config", NULL, NULL },
    { A "model_type", "\"gemma4_audio\"", "model_type is \"gemma4_audio\"; only" },
    { A "audio_embed_dim", "0", "audio_embed_dim is 0" },
    { A "audio_embed_dim", "null", "audio_embed_dim is null" },
    { A "hidden_size", "1024", "hidden_size is 1024, expected 640" },
    { A "audio_samples_per_token", "640", NULL },
    { A "rms_norm_eps", "1.5", "rms_norm_eps is 1.5" },
    { "audio_config", "3", "audio_config is 3" },
    { "audio_config", NULL, NULL },
    { "boi_token_id", "640", "boi_token_id is 640" },
    { "eoi_token_id", "-1", "eoi_token_id is -1" },
    { "image_token_id", "\"7\"", "image_token_id is \"7\"" },
    { "video_token_id", "700", "video_token_id is 700" },
    { "boa_token_id", "6.0", "boa_token_id is 6.0" },
    { "eoa_token_index", "640", "eoa_token_index is 640" },
    { "audio_token_id", "[8]", "audio_token_id is [8]" },
    { "image_token_id", "null", NULL },
};

#define TYPES(a, b, c, d, e, f) "[\"" a "\",\"" b "\",\"" c "\",\"" d "\",\"" e "\",\"" f "\"]"
#define S "sliding_attention"
#define F "full_attention"

/* Over the config that Transformers saved, which names each layer. */
static const change saved[] = {
    { T "layer_types", "[]", "layer_types has 0 entries for 12 layers" },
    { T "layer_types", TYPES(S, S, S, S, S, F), "layer_types has 6 entries for 12 layers" },
    { T "layer_types", "\"full_attention\"", "layer_types is \"full_attention\"" },
    { T "num_hidden_layers", "11", "layer_types has 12 entries for 11 layers" },
    { T "per_layer_config", "[]", "per_layer_config is []" },
    { T "per_layer_config", "null", "per_layer_config is null" },
    { T "per_layer_config/05", NULL, "layers 5 and 11 are of one type, but differ" },
    { T "per_layer_config/11", "3", "per_layer_config \"11\" is no object" },
    { T "per_layer_config/11", "{}", "layers 5 and 11 are of one type, but differ" },
    { T "per_layer_config/5", "{\"head_dim\": 24}", "per_layer_config \"5\" is there twice" },
    { T "per_layer_config/04", "{\"head_dim\": 24}", "layers 0 and 4 are of one type" },
    { T "per_layer_config/04", "{\"head_dim\": 12, \"num_key_value_heads\": 3}", NULL },
    { T "per_layer_config/12", "{\"head_dim\": 24}", "has \"12\", expected layers 0 to 11" },
    { T "per_layer_config/-1", "{\"head_dim\": 24}", "has \"-1\", expected layers" },
    { T "per_layer_config/", "{\"head_dim\": 24}", "has \"\", expected layers" },
    { T "per_layer_config/5x", "{\"head_dim\": 24}", "has \"5x\", expected layers" },
    { T "per_layer_config/0000000005", "{}", "has \"0000000005\", expected layers" },
    { T "per_layer_config/05/head_dim", "null", "head_dim is missing" },
    { T "per_layer_config/05/head_dim", "0", "head_dim is 0" },
    { T "per_layer_config/05/head_dim", "32", "layers 5 and 11 are of one type, but differ" },
    { T "per_layer_config/11/num_key_value_heads", "3", "layers 5 and 11 are of one type" },
    { T "per_layer_config/11/intermediate_size", "999",
      "intermediate_size of per_layer_config \"11\" is not known" },
    { T "per_layer_config/11/skip", "[\"mlp\"]", "skip of per_layer_config \"11\" is not known" },
    { T "global_head_dim", "32", "global_head_dim is 32, expected 24 to 24" },
    { T "global_head_dim", "24", NULL },
    { T "num_global_key_value_heads", "3", "num_global_key_value_heads is 3, expected 2 to 2" },
    { T "use_cache", "false", NULL },
};

static const change drafter[] = {
    { "text_config/num_kv_shared_layers", "3", "num_kv_shared_layers is 3" },
    { "text_config/num_kv_shared_layers", "5", "num_kv_shared_layers is 5" },
    { "text_config/num_kv_shared_layers", "0", NULL },
    { "text_config/num_kv_shared_layers", NULL, NULL },
    { "backbone_hidden_size", "0", "backbone_hidden_size is 0" },
    { "backbone_hidden_size", "null", "backbone_hidden_size is null" },
    { "use_ordered_embeddings", "1", "use_ordered_embeddings is 1" },
    { "use_ordered_embeddings", "null", "use_ordered_embeddings is null" },
    { "num_centroids", "33", "num_centroids 33" },
    { "num_centroids", "0", "num_centroids is 0" },
    { "num_centroids", "4", "num_centroids 4" },   /* fewer than top_k 5 */
    { "centroid_intermediate_top_k", "33", "top_k 33" },
    { "centroid_intermediate_top_k", "0", "centroid_intermediate_top_k is 0" },
    { "model_type", "\"gemma4_assistant\"", "model_type is \"gemma4_assistant\"; known" },
    { "tie_word_embeddings", "false", "tie_word_embeddings is false" },
    { "text_config/hidden_activation", "\"silu\"", "hidden_activation is \"silu\"" },
};

#define COUNT(rows) ((int)(sizeof rows / sizeof *rows))

START_TEST(backbone_changes)
{
    check_change(SMALL "/config.json", &backbone[_i]);
}
END_TEST

START_TEST(saved_changes)
{
    check_change(DATA "saved_small.json", &saved[_i]);
}
END_TEST

START_TEST(drafter_changes)
{
    check_change(DATA "saved_drafter.json", &drafter[_i]);
}
END_TEST

/* ---- what is read ---- */

static void load(g4_config *c, const char *file, const change *changes, g4_arena *arena)
{
    g4_err err = { G4_OK, "" };
    json_t *root = read_json(file);
    for (; changes && changes->path; changes++) apply(root, changes);
    ck_assert_msg(parse(c, root, arena, &err) == G4_OK, "%s", err.msg);
    json_decref(root);
}

/* Equal but for the arrays, which are compared by themselves. */
static void same_config(const g4_config *a, const g4_config *b)
{
    g4_config x = *a, y = *b;
    ck_assert_mem_eq(x.layer_kind, y.layer_kind, (size_t)x.num_hidden_layers);
    x.layer_kind = y.layer_kind = NULL;
    ck_assert_mem_eq(&x, &y, sizeof x);
}

/* save_pretrained of Transformers 5.20.2: every default spelled out, the full layers'
 * sizes in per_layer_config.  It means the same. */
START_TEST(saved_means_the_same)
{
    static const char *const pairs[][2] = {
        { SMALL "/config.json", DATA "saved_small.json" },
        { SMALL "/assistant_centroid/config.json", DATA "saved_drafter.json" },
        { "golden/tiny/mini/model/config.json", DATA "saved_mini.json" },
    };
    g4_arena arena = { NULL };
    g4_config a, b;
    load(&a, pairs[_i][0], NULL, &arena);
    load(&b, pairs[_i][1], NULL, &arena);
    same_config(&a, &b);
    ck_assert_int_ne(a.head_dim[G4_FULL], a.head_dim[G4_SLIDING]);
    g4_arena_free(&arena);
}
END_TEST

START_TEST(small_as_written)
{
    g4_arena arena = { NULL };
    g4_config c;
    load(&c, SMALL "/config.json", NULL, &arena);
    ck_assert(!c.is_drafter && c.attention_k_eq_v && c.bidirectional_vision);
    ck_assert(c.vocab_size == 640 && c.hidden_size == 60 && c.intermediate_size == 136);
    ck_assert(c.num_hidden_layers == 12 && c.num_attention_heads == 6);
    ck_assert(c.kv_heads[0] == 3 && c.kv_heads[1] == 2);
    ck_assert(c.head_dim[0] == 12 && c.head_dim[1] == 24);
    ck_assert(c.rope[0].theta == 1e4 && c.rope[0].partial_rotary_factor == 1.0);
    ck_assert(c.rope[1].theta == 1e6 && c.rope[1].partial_rotary_factor == 0.25);
    ck_assert(c.rope[0].factor == 1.0 && c.rope[1].factor == 1.0);
    ck_assert(c.sliding_window == 24 && c.max_position_embeddings == 262144);
    ck_assert(c.rms_norm_eps == 1e-6 && c.final_logit_softcapping == 30.0);
    for (int l = 0; l < 12; l++) ck_assert_int_eq(c.layer_kind[l], l == 5 || l == 11);
    ck_assert(c.boi_token_id == 5 && c.eoi_token_id == 9 && c.image_token_id == 7);
    ck_assert(c.boa_token_id == 6 && c.eoa_token_id == 10 && c.audio_token_id == 8);
    ck_assert(c.video_token_id == 11 && c.eos_count == 1 && c.eos[0] == 1);
    ck_assert(c.patch_size == 16 && c.pooling_kernel_size == 3 && c.mm_embed_dim == 40);
    ck_assert(c.mm_posemb_size == 144 && c.vision_eps == 1e-6);
    ck_assert(c.audio_embed_dim == 640 && c.audio_eps == 1e-6);
    ck_assert_int_eq(g4_patch_values(&c), 6912);
    ck_assert(g4_layer_has_v(&c, 0) && !g4_layer_has_v(&c, 5));
    g4_arena_free(&arena);
}
END_TEST

/* Gemma4UnifiedTextConfig's and its fellows' own defaults where a field is missing. */
START_TEST(defaults_are_transformers)
{
    static const change gone[] = {
        { T "global_head_dim", NULL, NULL }, { T "num_global_key_value_heads", NULL, NULL },
        { T "attention_k_eq_v", NULL, NULL }, { T "max_position_embeddings", NULL, NULL },
        { T "rms_norm_eps", NULL, NULL }, { T "sliding_window", NULL, NULL },
        { T "final_logit_softcapping", NULL, NULL },
        { T "use_bidirectional_attention", NULL, NULL },
        { T "rope_parameters", NULL, NULL }, { T "eos_token_id", NULL, NULL },
        { T "pad_token_id", NULL, NULL }, { T "vocab_size", "262144", NULL },
        { "vision_config", "{}", NULL }, { "audio_config", "{}", NULL },
        { "boi_token_id", NULL, NULL }, { "eoi_token_id", NULL, NULL },
        { "image_token_id", NULL, NULL }, { "video_token_id", NULL, NULL },
        { "boa_token_id", NULL, NULL }, { "eoa_token_index", NULL, NULL },
        { "audio_token_id", "null", NULL }, { NULL, NULL, NULL },
    };
    g4_arena arena = { NULL };
    g4_config c;
    load(&c, SMALL "/config.json", gone, &arena);
    ck_assert(c.head_dim[G4_FULL] == 512 && c.kv_heads[G4_FULL] == 3 && !c.attention_k_eq_v);
    ck_assert(g4_layer_has_v(&c, 5));
    ck_assert(c.max_position_embeddings == 262144 && c.rms_norm_eps == 1e-6);
    ck_assert(c.sliding_window == 1024 && c.final_logit_softcapping == 0.0);
    ck_assert(c.bidirectional_vision && c.eos_count == 1 && c.eos[0] == 1 && c.pad_token_id == 0);
    ck_assert(c.rope[0].theta == 1e4 && c.rope[0].partial_rotary_factor == 1.0);
    ck_assert(c.rope[1].theta == 1e6 && c.rope[1].partial_rotary_factor == 0.25);
    ck_assert(c.patch_size == 16 && c.pooling_kernel_size == 3 && c.mm_embed_dim == 3840);
    ck_assert(c.mm_posemb_size == 1120 && c.vision_eps == 1e-6);
    ck_assert(c.audio_embed_dim == 640 && c.audio_eps == 1e-6);
    ck_assert(c.boi_token_id == 255999 && c.eoi_token_id == 258882);
    ck_assert(c.image_token_id == 258880 && c.video_token_id == 258884);
    ck_assert(c.boa_token_id == 256000 && c.eoa_token_id == 258883);
    ck_assert_int_eq(c.audio_token_id, -1);   /* null: none */
    g4_arena_free(&arena);
}
END_TEST

/* rope_parameters that give no partial factor rotate all; a factor is read. */
START_TEST(rope_of_full_layers)
{
    static const change rows[] = {
        { FULL "partial_rotary_factor", NULL, NULL }, { FULL "factor", "8", NULL },
        { T "use_bidirectional_attention", "null", NULL }, { T "eos_token_id", "null", NULL },
        { NULL, NULL, NULL },
    };
    g4_arena arena = { NULL };
    g4_config c;
    load(&c, SMALL "/config.json", rows, &arena);
    ck_assert(c.rope[1].partial_rotary_factor == 1.0 && c.rope[1].factor == 8.0);
    ck_assert(c.rope[0].factor == 1.0 && !c.bidirectional_vision && c.eos_count == 0);
    g4_arena_free(&arena);
}
END_TEST

START_TEST(layer_types)
{
    static const struct {
        const char *types, *kinds;
    } rows[] = {
        { TYPES(S, S, S, S, S, F), "000001" }, { TYPES(F, S, F, S, S, F), "101001" },
        { TYPES(F, F, F, F, F, F), "111111" },
        { TYPES(S, S, S, S, S, S), "000001" },   /* Transformers forces the last one */
        { TYPES(F, F, F, S, S, S), "111001" },
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        const change ch[] = { { T "num_hidden_layers", "6", NULL },
                              { T "layer_types", rows[r].types, NULL }, { NULL, NULL, NULL } };
        g4_arena arena = { NULL };
        g4_config c;
        load(&c, SMALL "/config.json", ch, &arena);
        for (int l = 0; l < 6; l++) ck_assert_int_eq(c.layer_kind[l], rows[r].kinds[l] - '0');
        g4_arena_free(&arena);
    }
    static const change bad[] = {
        { T "layer_types", TYPES(S, S, "full", S, S, F), "layer_types[2] is full" },
        { T "layer_types", "[1,2,3,4,5,6]", "layer_types[0] is no string" },
        { T "layer_types", "[\"full_attention\",null,1,1,1,1]", "layer_types[1] is no string" },
    };
    for (int i = 0; i < COUNT(bad); i++) {
        json_t *root = read_json(SMALL "/config.json");
        g4_arena arena = { NULL };
        g4_config c;
        g4_err err;
        apply(root, &(change){ T "num_hidden_layers", "6", NULL });
        apply(root, &bad[i]);
        ck_assert_int_eq(parse(&c, root, &arena, &err), G4_EINPUT);
        ck_assert_msg(strstr(err.msg, bad[i].says) != NULL, "%s", err.msg);
        json_decref(root);
        g4_arena_free(&arena);
    }
}
END_TEST

START_TEST(drafter_as_written)
{
    static const change capped[] = { { "text_config/final_logit_softcapping", "30.0", NULL },
                                     { NULL, NULL, NULL } };
    static const change bare[] = {
        { "backbone_hidden_size", NULL, NULL }, { "use_ordered_embeddings", NULL, NULL },
        { "num_centroids", NULL, NULL }, { "centroid_intermediate_top_k", NULL, NULL },
        { NULL, NULL, NULL } };
    g4_arena arena = { NULL };
    g4_config c;
    load(&c, DATA "saved_drafter.json", capped, &arena);
    ck_assert(c.is_drafter && c.backbone_hidden_size == 60 && c.use_ordered_embeddings);
    ck_assert(c.num_centroids == 32 && c.centroid_intermediate_top_k == 5);
    ck_assert(c.patch_size == 0 && c.audio_embed_dim == 0);
    ck_assert(c.final_logit_softcapping == 0.0);   /* a drafter's logits are raw */
    load(&c, DATA "saved_drafter.json", bare, &arena);
    ck_assert(c.backbone_hidden_size == 3840 && !c.use_ordered_embeddings);
    ck_assert(c.num_centroids == 2048 && c.centroid_intermediate_top_k == 32);
    g4_arena_free(&arena);
}
END_TEST

/* ---- generation_config.json ---- */

static const change generation[] = {
    { "eos_token_id", "640", "eos_token_id[0] is no token id below 640" },
    { "eos_token_id", "[1, 640]", "eos_token_id[1] is no token id" },
    { "eos_token_id", "{}", "eos_token_id[0] is no token id" },
    { "suppress_tokens", "[-1]", "suppress_tokens[0] is no token id" },
    { "suppress_tokens", "[1, 2.0]", "suppress_tokens[1] is no token id" },
    { "suppress_tokens", "null", NULL },
    { "do_sample", "1", "do_sample is 1" },
    { "temperature", "-1", "temperature is -1" },
    { "temperature", "\"1\"", "temperature is \"1\"" },
    { "top_p", "1.5", "top_p is 1.5" },
    { "top_k", "-1", "top_k is -1" },
    { "top_k", "64.0", "top_k is 64.0" },
    { "num_assistant_tokens", "1025", "num_assistant_tokens is 1025" },
    { "repetition_penalty", "1.1", "repetition_penalty is 1.1" },
    { "repetition_penalty", "1.0", NULL },
    { "min_p", "0.05", "min_p is 0.05" },
    { "typical_p", "0.9", "typical_p is 0.9" },
    { "no_repeat_ngram_size", "3", "no_repeat_ngram_size is 3" },
    { "num_beams", "4", "num_beams is 4" },
    { "num_beams", "1", NULL },
    { "min_new_tokens", "5", "min_new_tokens is 5" },
    { "bad_words_ids", "[[5]]", "bad_words_ids is not known" },
    { "begin_suppress_tokens", "[5]", "begin_suppress_tokens is not known" },
    { "forced_eos_token_id", "1", "forced_eos_token_id is not known" },
    { "forced_eos_token_id", "null", NULL },
    { "cache_implementation", "\"hybrid\"", NULL },
    { "transformers_version", "\"5.20.2\"", NULL },
};

static char dir[TEMPDIR_MAX];

static void folder_make(void)
{
    tempdir_make(dir);
}

static void folder_remove(void)
{
    tempdir_remove(dir);
}

static g4_status load_generation(g4_generation *g, const char *text, g4_err *err)
{
    g4_arena arena = { NULL };
    g4_config c;
    load(&c, SMALL "/config.json", NULL, &arena);
    if (text) tempdir_write(dir, "generation_config.json", text, strlen(text));
    g4_status s = g4_generation_load(g, dir, &c, err);
    g4_arena_free(&arena);
    return s;
}

START_TEST(generation_changes)
{
    const change *ch = &generation[_i];
    g4_generation g;
    g4_err err = { G4_OK, "" };
    json_t *root = read_json(SMALL "/generation_config.json");
    apply(root, ch);
    char *text = json_dumps(root, 0);
    g4_status s = load_generation(&g, text, &err);
    if (ch->says) {
        ck_assert_msg(s == G4_EINPUT, "%s = %s was taken", ch->path, ch->value);
        ck_assert_msg(strstr(err.msg, "/generation_config.json: ") != NULL, "%s", err.msg);
        ck_assert_msg(strstr(err.msg, ch->says) != NULL, "%s", err.msg);
    } else {
        ck_assert_msg(s == G4_OK, "%s", err.msg);
    }
    free(text);
    json_decref(root);
}
END_TEST

START_TEST(generation_as_written)
{
    g4_generation g;
    g4_err err = { G4_OK, "" };
    ck_assert_int_eq(load_generation(&g, NULL, &err), G4_OK);   /* no file: config's, greedy */
    ck_assert(g.eos_count == 1 && g.eos[0] == 1 && g.suppress_count == 0 && !g.do_sample);
    ck_assert(g.temperature == 1.0 && g.top_p == 1.0 && g.top_k == 50);
    ck_assert_int_eq(g.num_assistant_tokens, 0);
    ck_assert_int_eq(load_generation(&g, "{\"do_sample\": true}", &err), G4_OK);
    ck_assert(g.do_sample && g.top_k == 50 && g.eos_count == 1);
    ck_assert_int_eq(load_generation(&g, "{\"eos_token_id\": null, \"top_k\": 0}", &err), G4_OK);
    ck_assert(g.eos_count == 0 && g.top_k == 0);
    ck_assert_int_eq(load_generation(&g,
                                     "{\"eos_token_id\": [1, 15], \"suppress_tokens\": [10, 9],"
                                     "\"temperature\": 0.5, \"top_p\": 0.95, \"top_k\": 64,"
                                     "\"num_assistant_tokens\": 4}", &err), G4_OK);
    ck_assert(g.eos_count == 2 && g.eos[1] == 15 && g.suppress_count == 2 && g.suppress[0] == 10);
    ck_assert(g.temperature == 0.5 && g.top_p == 0.95 && g.top_k == 64);
    ck_assert_int_eq(g.num_assistant_tokens, 4);
}
END_TEST

START_TEST(files_that_are_none)
{
    g4_arena arena = { NULL };
    g4_config c;
    g4_generation g;
    g4_err err = { G4_OK, "" };
    ck_assert_int_eq(g4_config_load(&c, dir, &arena, &err), G4_EIO);
    ck_assert_msg(strstr(err.msg, "/config.json: cannot open") != NULL, "%s", err.msg);
    ck_assert_int_eq(g4_config_load(&c, "/no/such", &arena, &err), G4_EINPUT);
    ck_assert_str_eq(err.msg, "/no/such: no such model folder");
    ck_assert_int_eq(g4_config_load(&c, "Makefile", &arena, &err), G4_EINPUT);
    ck_assert_msg(strncmp(err.msg, "Makefile: neither a model folder", 32) == 0, "%s", err.msg);
    tempdir_write(dir, "config.json", "[]", 2);
    ck_assert_int_eq(g4_config_load(&c, dir, &arena, &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, "/config.json: not a JSON object") != NULL, "%s", err.msg);
    char *big = calloc(1, (1 << 20) + 1);
    ck_assert_ptr_nonnull(big);
    memset(big, ' ', (1 << 20) + 1);
    tempdir_write(dir, "config.json", big, (1 << 20) + 1);
    free(big);
    ck_assert_int_eq(g4_config_load(&c, dir, &arena, &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, "/config.json: 1048577 bytes, more than") != NULL, "%s", err.msg);
    ck_assert_int_eq(load_generation(&g, "{\"a\":1,\"a\":2}", &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, "generation_config.json: not valid JSON") != NULL, "%s", err.msg);
    char path[TEMPDIR_MAX];
    tempdir_path(path, dir, "generation_config.json");
    ck_assert_int_eq(remove(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(load_generation(&g, NULL, &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, "generation_config.json: not a regular file") != NULL, "%s",
                  err.msg);
    g4_arena_free(&arena);
}
END_TEST

START_TEST(nth_allocation_fails)
{
    json_t *root = read_json(DATA "saved_small.json");
    for (long n = 1;; n++) {
        g4_arena arena = { NULL };
        g4_config c;
        g4_err err = { G4_OK, "" };
        fault_alloc_arm(n, 0);
        g4_status s = parse(&c, root, &arena, &err);
        g4_arena_free(&arena);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
        ck_assert_int_eq(s, G4_ENOMEM);
    }
    json_decref(root);
    g4_config c;
    g4_arena keep = { NULL };
    load(&c, SMALL "/config.json", NULL, &keep);
    for (long n = 1;; n++) {
        g4_generation g;
        fault_alloc_arm(n, 0);
        g4_status s = g4_generation_load(&g, SMALL, &c, NULL);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
        ck_assert_int_eq(s, G4_ENOMEM);
    }
    g4_arena_free(&keep);
}
END_TEST

Suite *check_config(void)
{
    Suite *s = suite_create("config");
    TCase *t = tcase_create("changes");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, backbone_changes, 0, COUNT(backbone));
    tcase_add_loop_test(t, saved_changes, 0, COUNT(saved));
    tcase_add_loop_test(t, drafter_changes, 0, COUNT(drafter));
    suite_add_tcase(s, t);
    t = tcase_create("values");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, saved_means_the_same, 0, 3);
    tcase_add_test(t, small_as_written);
    tcase_add_test(t, defaults_are_transformers);
    tcase_add_test(t, rope_of_full_layers);
    tcase_add_test(t, layer_types);
    tcase_add_test(t, drafter_as_written);
    suite_add_tcase(s, t);
    t = tcase_create("files");
    tcase_set_tags(t, "unit");
    tcase_add_checked_fixture(t, folder_make, folder_remove);
    tcase_add_loop_test(t, generation_changes, 0, COUNT(generation));
    tcase_add_test(t, generation_as_written);
    tcase_add_test(t, files_that_are_none);
    tcase_add_test(t, nth_allocation_fails);
    suite_add_tcase(s, t);
    return s;
}
