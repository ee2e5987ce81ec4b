/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/config.h"

#include "ref/base/json.h"
#include "ref/base/map.h"

#include <string.h>

enum { MAX_CONFIG_BYTES = 1 << 20, MAX_DIM = 1 << 24, MAX_LAYERS = 4096 };

/* A string that must be `want` where it is given. */
static g4_status only_str(const g4_json *j, const char *key, const char *want, g4_err *err)
{
    const char *got = want;
    G4_TRY(g4_json_opt_str(j, key, &got, err));
    if (strcmp(got, want) == 0) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: %s is \"%s\"; only \"%s\" is known", j->file, key, got,
                   want);
}

/* A flag that must be `want` where it is given. */
static g4_status only_bool(const g4_json *j, const char *key, int want, g4_err *err)
{
    int got = want;
    G4_TRY(g4_json_opt_bool(j, key, &got, err));
    if (got == want) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: %s is %s, which this model does not have", j->file, key,
                   got ? "true" : "false");
}

/* A number that must be 0 (or absent) for the arithmetic here to be right. */
static g4_status only_zero(const g4_json *j, const char *key, g4_err *err)
{
    int64_t got = 0;
    return g4_json_opt_int(j, key, 0, 0, &got, err);
}

static g4_status dim(const g4_json *j, const char *key, int64_t *out, g4_err *err)
{
    return g4_json_req_int(j, key, 1, MAX_DIM, out, err);
}

static g4_status load_rope(const g4_json *text, const char *type, g4_rope_config *r, g4_err *err)
{
    int full = strcmp(type, "full_attention") == 0;
    const char *want = full ? "proportional" : "default";
    g4_json all, one;
    /* Gemma4TextConfig's own defaults */
    *r = (g4_rope_config){ full ? 1e6 : 1e4, 1.0, full ? 0.25 : 1.0 };
    if (g4_json_has(text, "rope_scaling"))
        return g4_fail(err, G4_EINPUT, "%s: rope_scaling is not known here", text->file);
    G4_TRY(g4_json_object(text, "rope_parameters", 0, &all, err));
    if (!all.root) return G4_OK;
    G4_TRY(g4_json_object(&all, type, 1, &one, err));
    G4_TRY(only_str(&one, "rope_type", want, err));
    if (!g4_json_has(&one, "rope_theta"))
        return g4_fail(err, G4_EINPUT, "%s: rope_theta of %s is missing", text->file, type);
    r->partial_rotary_factor = 1.0;
    G4_TRY(g4_json_opt_num(&one, "rope_theta", 1.0, 1e12, &r->theta, err));
    if (full) G4_TRY(g4_json_opt_num(&one, "factor", 1e-3, 1e6, &r->factor, err));
    return g4_json_opt_num(&one, "partial_rotary_factor", full ? 0.0 : 1.0, 1.0,
                           &r->partial_rotary_factor, err);
}

/* layer_types, or Transformers' default (every sixth full); the last is always full. */
static g4_status load_layers(g4_config *c, const g4_json *text, g4_arena *arena, g4_err *err)
{
    g4_json types;
    G4_TRY(g4_json_req_int(text, "num_hidden_layers", 1, MAX_LAYERS, &c->num_hidden_layers, err));
    c->layer_kind = g4_arena_alloc(arena, (size_t)c->num_hidden_layers, 1);
    if (!c->layer_kind) return g4_nomem(err, text->file);
    G4_TRY(g4_json_array(text, "layer_types", 0, &types, err));
    if (types.root && json_array_size(types.root) != (size_t)c->num_hidden_layers)
        return g4_fail(err, G4_EINPUT, "%s: layer_types has %zu entries for %lld layers",
                       text->file, json_array_size(types.root), (long long)c->num_hidden_layers);
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        c->layer_kind[l] = (l + 1) % 6 == 0 ? G4_FULL : G4_SLIDING;
        if (!types.root) continue;
        const char *t = json_string_value(json_array_get(types.root, (size_t)l));
        if (t && strcmp(t, "full_attention") == 0) c->layer_kind[l] = G4_FULL;
        else if (t && strcmp(t, "sliding_attention") == 0) c->layer_kind[l] = G4_SLIDING;
        else
            return g4_fail(err, G4_EINPUT, "%s: layer_types[%lld] is %s", text->file, (long long)l,
                           t ? t : "no string");
    }
    c->layer_kind[c->num_hidden_layers - 1] = G4_FULL;
    return G4_OK;
}

static g4_status load_heads(g4_config *c, const g4_json *text, g4_err *err)
{
    G4_TRY(dim(text, "num_attention_heads", &c->num_attention_heads, err));
    G4_TRY(dim(text, "num_key_value_heads", &c->kv_heads[G4_SLIDING], err));
    G4_TRY(dim(text, "head_dim", &c->head_dim[G4_SLIDING], err));
    c->head_dim[G4_FULL] = 512;   /* Gemma4TextConfig's default */
    G4_TRY(g4_json_opt_int(text, "global_head_dim", 1, MAX_DIM, &c->head_dim[G4_FULL], err));
    G4_TRY(g4_json_opt_bool(text, "attention_k_eq_v", &c->attention_k_eq_v, err));
    c->kv_heads[G4_FULL] = c->kv_heads[G4_SLIDING];
    if (c->attention_k_eq_v)
        G4_TRY(g4_json_opt_int(text, "num_global_key_value_heads", 1, MAX_DIM,
                               &c->kv_heads[G4_FULL], err));
    for (int kind = 0; kind < 2; kind++) {
        if (c->num_attention_heads % c->kv_heads[kind] != 0)
            return g4_fail(err, G4_EINPUT,
                           "%s: %lld query heads do not divide by %lld key/value heads", text->file,
                           (long long)c->num_attention_heads, (long long)c->kv_heads[kind]);
        if (c->head_dim[kind] % 2 != 0 || c->num_attention_heads * c->head_dim[kind] > MAX_DIM)
            return g4_fail(err, G4_EINPUT, "%s: head dim %lld is odd or too large", text->file,
                           (long long)c->head_dim[kind]);
    }
    return G4_OK;
}

/* One id or a list of them. */
static g4_status load_ids(const g4_json *j, const char *key, int64_t vocab, int64_t *ids, int max,
                          int *count, g4_err *err)
{
    const json_t *v = json_object_get(j->root, key);
    if (!v || json_is_null(v)) return G4_OK;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > (size_t)max)
        return g4_fail(err, G4_EINPUT, "%s: %s has %zu entries, at most %d are read", j->file, key,
                       n, max);
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(e) || json_integer_value(e) < 0 || json_integer_value(e) >= vocab)
            return g4_fail(err, G4_EINPUT, "%s: %s[%zu] is no token id below %lld", j->file, key, i,
                           (long long)vocab);
        ids[i] = json_integer_value(e);
    }
    *count = (int)n;
    return G4_OK;
}

static g4_status load_text(g4_config *c, const g4_json *text, g4_arena *arena, g4_err *err)
{
    const char *bidirectional = "";
    G4_TRY(only_str(text, "model_type", "gemma4_unified_text", err));
    G4_TRY(dim(text, "vocab_size", &c->vocab_size, err));
    G4_TRY(dim(text, "hidden_size", &c->hidden_size, err));
    G4_TRY(dim(text, "intermediate_size", &c->intermediate_size, err));
    G4_TRY(load_layers(c, text, arena, err));
    G4_TRY(load_heads(c, text, err));
    G4_TRY(only_str(text, "hidden_activation", "gelu_pytorch_tanh", err));
    c->max_position_embeddings = 262144;
    G4_TRY(g4_json_opt_int(text, "max_position_embeddings", 1, G4_MAX_POSITION,
                           &c->max_position_embeddings, err));
    c->rms_norm_eps = 1e-6;
    G4_TRY(g4_json_opt_num(text, "rms_norm_eps", 0.0, 1.0, &c->rms_norm_eps, err));
    c->sliding_window = 1024;
    G4_TRY(g4_json_opt_int(text, "sliding_window", 1, MAX_DIM, &c->sliding_window, err));
    G4_TRY(g4_json_opt_num(text, "final_logit_softcapping", 1e-6, 1e9,
                           &c->final_logit_softcapping, err));
    if (!json_object_get(text->root, "use_bidirectional_attention")) bidirectional = "vision";
    G4_TRY(g4_json_opt_str(text, "use_bidirectional_attention", &bidirectional, err));
    c->bidirectional_vision = strcmp(bidirectional, "vision") == 0;
    if (!c->bidirectional_vision && *bidirectional)
        return g4_fail(err, G4_EINPUT,
                       "%s: use_bidirectional_attention is \"%s\"; known: \"vision\", null",
                       text->file, bidirectional);
    G4_TRY(load_rope(text, "sliding_attention", &c->rope[G4_SLIDING], err));
    G4_TRY(load_rope(text, "full_attention", &c->rope[G4_FULL], err));
    /* parts of the Gemma 4 family that this model has not */
    G4_TRY(only_bool(text, "attention_bias", 0, err));
    G4_TRY(only_bool(text, "use_double_wide_mlp", 0, err));
    G4_TRY(only_bool(text, "enable_moe_block", 0, err));
    G4_TRY(only_bool(text, "tie_word_embeddings", 1, err));
    G4_TRY(only_zero(text, "hidden_size_per_layer_input", err));
    G4_TRY(only_zero(text, "num_experts", err));
    if (g4_json_has(text, "per_layer_config"))
        return g4_fail(err, G4_EINPUT, "%s: per_layer_config is not known here", text->file);
    int64_t shared = c->is_drafter ? c->num_hidden_layers : 0, most = shared;
    G4_TRY(g4_json_opt_int(text, "num_kv_shared_layers", 0, most, &shared, err));
    c->pad_token_id = 0;
    c->bos_token_id = 2;
    c->eos[0] = 1;
    c->eos_count = 1;
    G4_TRY(g4_json_opt_int(text, "pad_token_id", 0, c->vocab_size - 1, &c->pad_token_id, err));
    G4_TRY(g4_json_opt_int(text, "bos_token_id", 0, c->vocab_size - 1, &c->bos_token_id, err));
    return load_ids(text, "eos_token_id", c->vocab_size, c->eos, 16, &c->eos_count, err);
}

static g4_status load_vision(g4_config *c, const g4_json *root, g4_err *err)
{
    g4_json v;
    int64_t out = c->hidden_size;
    G4_TRY(g4_json_object(root, "vision_config", 0, &v, err));
    if (!v.root) return G4_OK;
    G4_TRY(only_str(&v, "model_type", "gemma4_unified_vision", err));
    c->patch_size = 16;   /* defaults of Gemma4UnifiedVisionConfig */
    c->pooling_kernel_size = 3;
    c->mm_embed_dim = 3840;
    c->mm_posemb_size = 1120;
    c->vision_eps = 1e-6;
    G4_TRY(g4_json_opt_int(&v, "patch_size", 1, 256, &c->patch_size, err));
    G4_TRY(g4_json_opt_int(&v, "pooling_kernel_size", 1, 16, &c->pooling_kernel_size, err));
    G4_TRY(g4_json_opt_int(&v, "mm_embed_dim", 1, MAX_DIM, &c->mm_embed_dim, err));
    G4_TRY(g4_json_opt_int(&v, "mm_posemb_size", 1, MAX_DIM, &c->mm_posemb_size, err));
    G4_TRY(g4_json_opt_num(&v, "rms_norm_eps", 0.0, 1.0, &c->vision_eps, err));
    return g4_json_opt_int(&v, "output_proj_dims", 1, MAX_DIM, &out, err);
}

static g4_status load_audio(g4_config *c, const g4_json *root, g4_err *err)
{
    g4_json a;
    G4_TRY(g4_json_object(root, "audio_config", 0, &a, err));
    if (!a.root) return G4_OK;
    G4_TRY(only_str(&a, "model_type", "gemma4_unified_audio", err));
    c->audio_embed_dim = 640;
    c->audio_eps = 1e-6;
    G4_TRY(g4_json_opt_int(&a, "audio_embed_dim", 1, MAX_DIM, &c->audio_embed_dim, err));
    return g4_json_opt_num(&a, "rms_norm_eps", 0.0, 1.0, &c->audio_eps, err);
}

static g4_status load_media_ids(g4_config *c, const g4_json *root, g4_err *err)
{
    const struct {
        const char *key;
        int64_t *id, preset;   /* preset: Gemma4Config's default */
    } ids[] = {
        { "boi_token_id", &c->boi_token_id, 255999 },
        { "eoi_token_id", &c->eoi_token_id, 258882 },
        { "image_token_id", &c->image_token_id, 258880 },
        { "video_token_id", &c->video_token_id, 258884 },
        { "boa_token_id", &c->boa_token_id, 256000 },
        { "eoa_token_index", &c->eoa_token_id, 258883 },
        { "audio_token_id", &c->audio_token_id, 258881 },
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        *ids[i].id = ids[i].preset < c->vocab_size ? ids[i].preset : -1;
        G4_TRY(g4_json_opt_int(root, ids[i].key, 0, c->vocab_size - 1, ids[i].id, err));
    }
    return G4_OK;
}

static g4_status load_drafter(g4_config *c, const g4_json *root, g4_err *err)
{
    c->backbone_hidden_size = 3840;   /* defaults of Gemma4UnifiedAssistantConfig */
    c->num_centroids = 2048;
    c->centroid_intermediate_top_k = 32;
    G4_TRY(
        g4_json_opt_int(root, "backbone_hidden_size", 1, MAX_DIM, &c->backbone_hidden_size, err));
    G4_TRY(g4_json_opt_bool(root, "use_ordered_embeddings", &c->use_ordered_embeddings, err));
    G4_TRY(g4_json_opt_int(root, "num_centroids", 1, MAX_DIM, &c->num_centroids, err));
    G4_TRY(g4_json_opt_int(root, "centroid_intermediate_top_k", 1, MAX_DIM,
                           &c->centroid_intermediate_top_k, err));
    if (c->use_ordered_embeddings && (c->vocab_size % c->num_centroids != 0 ||
                                      c->centroid_intermediate_top_k > c->num_centroids))
        return g4_fail(err, G4_EINPUT,
                       "%s: num_centroids %lld fits neither vocab_size %lld nor top_k %lld",
                       root->file, (long long)c->num_centroids, (long long)c->vocab_size,
                       (long long)c->centroid_intermediate_top_k);
    return G4_OK;
}

g4_status g4_config_parse(g4_config *c, const g4_json *root, g4_arena *arena, g4_err *err)
{
    const char *type = "";
    g4_json text;
    *c = (g4_config){ 0 };
    G4_TRY(g4_json_opt_str(root, "model_type", &type, err));
    c->is_drafter = strcmp(type, "gemma4_unified_assistant") == 0;
    if (!c->is_drafter && strcmp(type, "gemma4_unified") != 0)
        return g4_fail(err, G4_EINPUT, "%s: model_type is \"%s\"; known: gemma4_unified, "
                       "gemma4_unified_assistant", root->file, type);
    if (g4_json_has(root, "quantization_config"))
        return g4_fail(err, G4_EINPUT, "%s: quantization_config is not known here", root->file);
    G4_TRY(only_bool(root, "tie_word_embeddings", 1, err));
    G4_TRY(g4_json_object(root, "text_config", 1, &text, err));
    G4_TRY(load_text(c, &text, arena, err));
    if (c->is_drafter) return load_drafter(c, root, err);
    G4_TRY(load_media_ids(c, root, err));
    G4_TRY(load_vision(c, root, err));
    return load_audio(c, root, err);
}

g4_status g4_config_load(g4_config *c, const char *dir, g4_arena *arena, g4_err *err)
{
    g4_json j;
    int kind = g4_path_kind(dir);
    if (kind == 1)
        return g4_fail(err, G4_EINPUT, "%s: a file, expected a model folder (GGUF files are not "
                       "read yet)", dir);
    if (kind != 2) return g4_fail(err, G4_EINPUT, "%s: no such model folder", dir);
    char *path = g4_arena_printf(arena, "%s/config.json", dir);
    if (!path) return g4_nomem(err, dir);
    G4_TRY(g4_json_load(&j, path, MAX_CONFIG_BYTES, err));
    g4_status s = g4_config_parse(c, &j, arena, err);
    g4_json_free(&j);
    return s;
}

static g4_status load_generation(g4_generation *g, const g4_json *j, const g4_config *c,
                                 g4_err *err)
{
    G4_TRY(load_ids(j, "eos_token_id", c->vocab_size, g->eos, 16, &g->eos_count, err));
    G4_TRY(load_ids(j, "suppress_tokens", c->vocab_size, g->suppress, 64, &g->suppress_count, err));
    G4_TRY(g4_json_opt_bool(j, "do_sample", &g->do_sample, err));
    G4_TRY(g4_json_opt_num(j, "temperature", 0.0, 1e6, &g->temperature, err));
    G4_TRY(g4_json_opt_num(j, "top_p", 0.0, 1.0, &g->top_p, err));
    G4_TRY(g4_json_opt_int(j, "top_k", 0, MAX_DIM, &g->top_k, err));
    return g4_json_opt_int(j, "num_assistant_tokens", 0, 1024, &g->num_assistant_tokens, err);
}

g4_status g4_generation_load(g4_generation *g, const char *dir, const g4_config *c, g4_err *err)
{
    g4_arena arena = { NULL };
    g4_json j;
    *g = (g4_generation){ .eos_count = c->eos_count, .temperature = 1.0, .top_p = 1.0 };
    memcpy(g->eos, c->eos, sizeof g->eos);
    char *path = g4_arena_printf(&arena, "%s/generation_config.json", dir);
    if (!path) return g4_nomem(err, dir);
    g4_status s = G4_OK;
    if (g4_path_kind(path) != 0) {
        s = g4_json_load(&j, path, MAX_CONFIG_BYTES, err);
        if (s == G4_OK) {
            s = load_generation(g, &j, c, err);
            g4_json_free(&j);
        }
    }
    g4_arena_free(&arena);
    return s;
}
