/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/config.h"

#include "ref/base/json.h"
#include "ref/base/map.h"
#include "ref/file/document.h"

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

/* The typed getters take null for absent, but where Transformers knows no null it
 * refuses the file: nothing says which value was meant. */
static g4_status no_nulls(const g4_json *j, const char *const *keys, g4_err *err)
{
    for (; *keys; keys++)
        if (json_is_null(json_object_get(j->root, *keys)))
            return g4_fail(err, G4_EINPUT, "%s: %s is null", j->file, *keys);
    return G4_OK;
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
    static const char *const elsewhere[] = { "rope_scaling", "rope_theta",
                                             "partial_rotary_factor" };
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (g4_json_has(text, elsewhere[i]))
            return g4_fail(err, G4_EINPUT, "%s: %s is not known here, only in rope_parameters",
                           text->file, elsewhere[i]);
    G4_TRY(g4_json_object(text, "rope_parameters", 0, &all, err));
    if (!all.root) return G4_OK;
    G4_TRY(g4_json_object(&all, type, 1, &one, err));
    const char *got = "default";   /* Transformers' standardize_rope_params: rope_type, else type */
    G4_TRY(g4_json_opt_str(&one, "type", &got, err));
    G4_TRY(g4_json_opt_str(&one, "rope_type", &got, err));
    if (strcmp(got, want) != 0)
        return g4_fail(err, G4_EINPUT, "%s: rope_type of %s is \"%s\"; only \"%s\" is known",
                       text->file, type, got, want);
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

/* "05" -> 5 */
static g4_status layer_index(const g4_config *c, const g4_json *all, const char *key, int64_t *l,
                             g4_err *err)
{
    size_t n = strlen(key);
    *l = 0;
    for (size_t i = 0; i < n && i < 9; i++) *l = *l * 10 + (key[i] - '0');
    if (n == 0 || n > 9 || strspn(key, "0123456789") != n || *l >= c->num_hidden_layers)
        return g4_fail(err, G4_EINPUT, "%s: per_layer_config has \"%s\", expected layers 0 to %lld",
                       all->file, key, (long long)c->num_hidden_layers - 1);
    return G4_OK;
}

typedef struct layer_heads {
    int64_t head_dim, kv_heads;
    int given;
} layer_heads;

static g4_status load_override(const g4_json *all, const char *key, json_t *value, layer_heads *h,
                               g4_err *err)
{
    g4_json one = { .root = value, .file = all->file };
    const char *field;
    json_t *unused;
    if (!json_is_object(value) || h->given)
        return g4_fail(err, G4_EINPUT, "%s: per_layer_config \"%s\" is %s", all->file, key,
                       h->given ? "there twice" : "no object");
    h->given = 1;
    json_object_foreach(value, field, unused) {
        int64_t *to = strcmp(field, "head_dim") == 0              ? &h->head_dim
                      : strcmp(field, "num_key_value_heads") == 0 ? &h->kv_heads
                                                                  : NULL;
        if (!to)
            return g4_fail(err, G4_EINPUT, "%s: %s of per_layer_config \"%s\" is not known here",
                           all->file, field, key);
        G4_TRY(dim(&one, field, to, err));
    }
    return G4_OK;
}

/* What Transformers' save_pretrained writes for the global_* fields
 * (5.20.2, integrations/heterogeneity/configuration_utils.py):
 *   "per_layer_config": {"05": {"head_dim": 512, "num_key_value_heads": 1}, ...}
 * for layers that differ from head_dim and num_key_value_heads.  Layers of one
 * kind must agree: they share the RoPE table, and the drafter the cache. */
static g4_status load_per_layer(g4_config *c, const g4_json *all, g4_arena *arena, g4_err *err)
{
    const layer_heads base = { c->head_dim[G4_SLIDING], c->kv_heads[G4_SLIDING], 0 };
    const char *key;
    json_t *value;
    layer_heads *h = g4_arena_alloc(arena, (size_t)c->num_hidden_layers, sizeof *h);
    if (!h) return g4_nomem(err, all->file);
    for (int64_t l = 0; l < c->num_hidden_layers; l++) h[l] = base;
    json_object_foreach(all->root, key, value) {
        int64_t l;
        G4_TRY(layer_index(c, all, key, &l, err));
        G4_TRY(load_override(all, key, value, &h[l], err));
    }
    int64_t first[2] = { -1, -1 };
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        int kind = c->layer_kind[l];
        if (first[kind] < 0) first[kind] = l;
        const layer_heads *f = &h[first[kind]];
        if (f->head_dim != h[l].head_dim || f->kv_heads != h[l].kv_heads)
            return g4_fail(err, G4_EINPUT, "%s: per_layer_config: layers %lld and %lld are of one "
                           "type, but differ", all->file, (long long)first[kind], (long long)l);
        c->head_dim[kind] = f->head_dim;
        c->kv_heads[kind] = f->kv_heads;
    }
    return G4_OK;
}

/* Full layers' own sizes, in either spelling; both must not contradict each other. */
static g4_status load_full_heads(g4_config *c, const g4_json *text, g4_arena *arena, g4_err *err)
{
    g4_json all;
    int64_t min[2] = { 1, 1 }, max[2] = { MAX_DIM, MAX_DIM };
    G4_TRY(g4_json_object(text, "per_layer_config", 0, &all, err));
    c->head_dim[G4_FULL] = 512;   /* Gemma4UnifiedTextConfig's default */
    c->kv_heads[G4_FULL] = c->kv_heads[G4_SLIDING];
    if (all.root) {
        G4_TRY(load_per_layer(c, &all, arena, err));
        min[0] = max[0] = c->head_dim[G4_FULL];
        min[1] = max[1] = c->kv_heads[G4_FULL];
    }
    G4_TRY(g4_json_opt_int(text, "global_head_dim", min[0], max[0], &c->head_dim[G4_FULL], err));
    if (!c->attention_k_eq_v) return G4_OK;
    return g4_json_opt_int(text, "num_global_key_value_heads", min[1], max[1],
                           &c->kv_heads[G4_FULL], err);
}

static g4_status load_heads(g4_config *c, const g4_json *text, g4_arena *arena, g4_err *err)
{
    G4_TRY(dim(text, "num_attention_heads", &c->num_attention_heads, err));
    G4_TRY(dim(text, "num_key_value_heads", &c->kv_heads[G4_SLIDING], err));
    G4_TRY(dim(text, "head_dim", &c->head_dim[G4_SLIDING], err));
    G4_TRY(g4_json_opt_bool(text, "attention_k_eq_v", &c->attention_k_eq_v, err));
    G4_TRY(load_full_heads(c, text, arena, err));
    for (int kind = 0; kind < 2; kind++) {
        if (c->num_attention_heads % c->kv_heads[kind] != 0)
            return g4_fail(err, G4_EINPUT,
                           "%s: num_attention_heads %lld is no multiple of %lld key/value heads",
                           text->file, (long long)c->num_attention_heads,
                           (long long)c->kv_heads[kind]);
        if (c->head_dim[kind] % 2 != 0 || c->num_attention_heads * c->head_dim[kind] > MAX_DIM)
            return g4_fail(err, G4_EINPUT, "%s: head_dim %lld is odd or too large", text->file,
                           (long long)c->head_dim[kind]);
    }
    return G4_OK;
}

/* None of the backbone's layers takes keys from another, all of a drafter's do
 * (0 stands for all there, as in Gemma4UnifiedAssistantConfig). */
static g4_status load_shared(const g4_config *c, const g4_json *text, g4_err *err)
{
    int64_t shared = 0;
    G4_TRY(g4_json_opt_int(text, "num_kv_shared_layers", 0, MAX_LAYERS, &shared, err));
    if (shared == 0 || (c->is_drafter && shared == c->num_hidden_layers)) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: num_kv_shared_layers is %lld; known: 0, and in a drafter "
                   "all of its layers", text->file, (long long)shared);
}

static g4_status load_text(g4_config *c, const g4_json *text, g4_arena *arena, g4_err *err)
{
    static const char *const never_null[] = {
        "hidden_activation", "max_position_embeddings", "rms_norm_eps", "sliding_window",
        "attention_k_eq_v", "attention_bias", "use_double_wide_mlp", "num_kv_shared_layers",
        "tie_word_embeddings", "global_head_dim", "per_layer_config", NULL };
    const char *bidirectional = "";
    G4_TRY(only_str(text, "model_type", "gemma4_unified_text", err));
    G4_TRY(no_nulls(text, never_null, err));
    G4_TRY(dim(text, "vocab_size", &c->vocab_size, err));
    G4_TRY(dim(text, "hidden_size", &c->hidden_size, err));
    G4_TRY(dim(text, "intermediate_size", &c->intermediate_size, err));
    G4_TRY(load_layers(c, text, arena, err));
    G4_TRY(load_heads(c, text, arena, err));
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
    G4_TRY(load_shared(c, text, err));
    c->pad_token_id = 0;
    c->bos_token_id = 2;
    c->eos[0] = 1;
    c->eos_count = 1;
    G4_TRY(g4_json_opt_int(text, "pad_token_id", 0, c->vocab_size - 1, &c->pad_token_id, err));
    G4_TRY(g4_json_opt_int(text, "bos_token_id", 0, c->vocab_size - 1, &c->bos_token_id, err));
    return g4_token_ids_read(text, "eos_token_id", c->vocab_size, c->eos, 16, &c->eos_count, err);
}

static g4_status load_vision(g4_config *c, const g4_json *root, g4_err *err)
{
    g4_json v;
    G4_TRY(g4_json_object(root, "vision_config", 0, &v, err));
    if (!v.root) return G4_OK;
    static const char *const never_null[] = { "patch_size", "pooling_kernel_size", "mm_embed_dim",
                                              "mm_posemb_size", "rms_norm_eps", "output_proj_dims",
                                              NULL };
    G4_TRY(only_str(&v, "model_type", "gemma4_unified_vision", err));
    G4_TRY(no_nulls(&v, never_null, err));
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
    /* two more names of what is known: the projection's input, a patch's side */
    int64_t out = c->mm_embed_dim, side = c->patch_size * c->pooling_kernel_size;
    G4_TRY(g4_json_opt_int(&v, "output_proj_dims", out, out, &out, err));
    return g4_json_opt_int(&v, "model_patch_size", side, side, &side, err);
}

static g4_status load_audio(g4_config *c, const g4_json *root, g4_err *err)
{
    g4_json a;
    G4_TRY(g4_json_object(root, "audio_config", 0, &a, err));
    if (!a.root) return G4_OK;
    static const char *const never_null[] = { "audio_embed_dim", "rms_norm_eps", NULL };
    static const char *const aliases[] = { "hidden_size", "output_proj_dims",
                                           "audio_samples_per_token" };
    G4_TRY(only_str(&a, "model_type", "gemma4_unified_audio", err));
    G4_TRY(no_nulls(&a, never_null, err));
    c->audio_embed_dim = 640;
    c->audio_eps = 1e-6;
    G4_TRY(g4_json_opt_int(&a, "audio_embed_dim", 1, MAX_DIM, &c->audio_embed_dim, err));
    int64_t same = c->audio_embed_dim;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        G4_TRY(g4_json_opt_int(&a, aliases[i], same, same, &same, err));
    return g4_json_opt_num(&a, "rms_norm_eps", 0.0, 1.0, &c->audio_eps, err);
}

static g4_status load_media_ids(g4_config *c, const g4_json *root, g4_err *err)
{
    const struct {
        const char *key;
        int64_t *id, preset;   /* preset: Gemma4UnifiedConfig's default */
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
        int null = json_is_null(json_object_get(root->root, ids[i].key));
        *ids[i].id = !null && ids[i].preset < c->vocab_size ? ids[i].preset : -1;
        G4_TRY(g4_json_opt_int(root, ids[i].key, 0, c->vocab_size - 1, ids[i].id, err));
        for (size_t k = 0; k < i; k++)   /* a prompt's ids say what stands where */
            if (*ids[k].id >= 0 && *ids[k].id == *ids[i].id)
                return g4_fail(err, G4_EINPUT, "%s: %s and %s are both %lld", root->file,
                               ids[k].key, ids[i].key, (long long)*ids[i].id);
    }
    return G4_OK;
}

static g4_status load_drafter(g4_config *c, const g4_json *root, g4_err *err)
{
    static const char *const never_null[] = { "backbone_hidden_size", "use_ordered_embeddings",
                                              "num_centroids", "centroid_intermediate_top_k",
                                              NULL };
    G4_TRY(no_nulls(root, never_null, err));
    /* Gemma4UnifiedAssistantForCausalLM gives raw logits, whatever its text_config says. */
    c->final_logit_softcapping = 0.0;
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
    static const char *const never_null[] = { "tie_word_embeddings", NULL };
    G4_TRY(no_nulls(root, never_null, err));
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
    if (!g4_gguf_named(dir) && (kind == 0 || kind == 3))
        return g4_fail(err, G4_EINPUT, "%s: no such model folder", dir);
    if (kind == 4) return g4_fail(err, G4_EIO, "%s: cannot be looked at as a folder", dir);
    G4_TRY(g4_document_load(&j, arena, dir, "config.json", 1, MAX_CONFIG_BYTES, err));
    g4_status s = g4_config_parse(c, &j, arena, err);
    g4_json_free(&j);
    return s;
}
