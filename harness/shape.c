/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/shape.h"

#include <string.h>

#define ROPE                                                                               \
    "\"rope_parameters\":{"                                                                \
    "\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":10000.0},"            \
    "\"full_attention\":{\"rope_type\":\"proportional\",\"partial_rotary_factor\":0.25,"   \
    "\"rope_theta\":1000000.0}}"

/* What backbone and drafter of the 12B have in common (head sizes must be equal:
 * the drafter reads the backbone's keys and values). */
#define TEXT_12B                                                                           \
    "\"model_type\":\"gemma4_unified_text\",\"vocab_size\":262144,"                        \
    "\"num_attention_heads\":16,\"num_key_value_heads\":8,\"head_dim\":256,"               \
    "\"global_head_dim\":512,\"num_global_key_value_heads\":1,"                            \
    "\"hidden_activation\":\"gelu_pytorch_tanh\",\"max_position_embeddings\":262144,"      \
    "\"rms_norm_eps\":1e-06,\"sliding_window\":1024,\"attention_k_eq_v\":true,"            \
    "\"use_bidirectional_attention\":\"vision\",\"tie_word_embeddings\":true,"             \
    "\"pad_token_id\":0,\"eos_token_id\":1,\"bos_token_id\":2," ROPE

/* google/gemma-4-12B and its -assistant: PAPER_NOTES.md's model card. */
static const char backbone_12b[] =
    "{\"architectures\":[\"Gemma4UnifiedForConditionalGeneration\"],"
    "\"model_type\":\"gemma4_unified\",\"tie_word_embeddings\":true,"
    "\"boi_token_id\":255999,\"eoi_token_id\":258882,\"image_token_id\":258880,"
    "\"video_token_id\":258884,\"boa_token_id\":256000,\"eoa_token_index\":258883,"
    "\"audio_token_id\":258881,"
    "\"text_config\":{" TEXT_12B ",\"hidden_size\":3840,\"intermediate_size\":15360,"
    "\"num_hidden_layers\":48,\"num_kv_shared_layers\":0,\"final_logit_softcapping\":30.0},"
    "\"vision_config\":{\"model_type\":\"gemma4_unified_vision\",\"patch_size\":16,"
    "\"pooling_kernel_size\":3,\"mm_embed_dim\":3840,\"mm_posemb_size\":1120,"
    "\"output_proj_dims\":3840,\"rms_norm_eps\":1e-06},"
    "\"audio_config\":{\"model_type\":\"gemma4_unified_audio\",\"audio_embed_dim\":640,"
    "\"rms_norm_eps\":1e-06}}";

static const char drafter_12b[] =
    "{\"architectures\":[\"Gemma4UnifiedAssistantForCausalLM\"],"
    "\"model_type\":\"gemma4_unified_assistant\",\"backbone_hidden_size\":3840,"
    "\"use_ordered_embeddings\":false,\"tie_word_embeddings\":true,"
    "\"text_config\":{" TEXT_12B ",\"hidden_size\":1024,\"intermediate_size\":8192,"
    "\"num_hidden_layers\":4,\"num_kv_shared_layers\":4,\"final_logit_softcapping\":null,"
    "\"layer_types\":[\"sliding_attention\",\"sliding_attention\",\"sliding_attention\","
    "\"full_attention\"]}}";

int g4_shape_named(const char *name, const char **backbone, const char **drafter)
{
    if (strcmp(name, "12b") != 0 && strcmp(name, "12B") != 0) return 0;
    *backbone = backbone_12b;
    *drafter = drafter_12b;
    return 1;
}

typedef struct list_ctx {
    g4_shape *shape;
    g4_arena *arena;
    const char *what;
    size_t value_bytes;
    int order;            /* this pass takes: 1 int64 tensors, 0 the others, -1 counts */
} list_ctx;

static g4_status count_values(const list_ctx *x, const g4_weight_spec *spec, uint64_t *values,
                              uint64_t *bytes, g4_err *err)
{
    uint64_t each = spec->role == G4_ROLE_ORDER ? 8 : x->value_bytes;
    *values = 1;
    for (int i = 0; i < spec->rank; i++)
        if (__builtin_mul_overflow(*values, (uint64_t)spec->shape[i], values)) *values = UINT64_MAX;
    if (__builtin_mul_overflow(*values, each, bytes) ||
        __builtin_add_overflow(x->shape->bytes, *bytes, &x->shape->bytes) ||
        x->shape->bytes > INT64_MAX)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s is too large for any file", x->what,
                       spec->name);
    return G4_OK;
}

static g4_status list_one(void *ctx, const g4_weight_spec *spec, void *slot, g4_err *err)
{
    list_ctx *x = ctx;
    g4_shape *s = x->shape;
    (void)slot;
    if (x->order < 0) {
        s->count++;
        return G4_OK;
    }
    if ((spec->role == G4_ROLE_ORDER) != x->order) return G4_OK;
    g4_shape_tensor *t = &s->list[s->count++];
    t->name = g4_arena_strndup(x->arena, spec->name, strlen(spec->name));
    if (spec->alt) t->alt = g4_arena_strndup(x->arena, spec->alt, strlen(spec->alt));
    if (!t->name || (spec->alt && !t->alt)) return g4_nomem(err, x->what);
    t->role = spec->role;
    t->rank = spec->rank;
    memcpy(t->shape, spec->shape, sizeof t->shape);
    return count_values(x, spec, &t->values, &t->bytes, err);
}

g4_status g4_shape_list(g4_shape *s, const g4_config *c, size_t value_bytes, g4_arena *arena,
                        const char *what, g4_err *err)
{
    g4_model model = { .config = *c };   /* layers NULL: a config and nothing else */
    list_ctx x = { s, arena, what, value_bytes, -1 };
    *s = (g4_shape){ NULL, 0, 0 };
    G4_TRY(g4_weights_visit(&model, list_one, &x, err));
    s->list = g4_arena_alloc(arena, s->count, sizeof *s->list);
    if (!s->list) return g4_nomem(err, what);
    s->count = 0;
    for (x.order = 1; x.order >= 0; x.order--) G4_TRY(g4_weights_visit(&model, list_one, &x, err));
    return G4_OK;
}
