/* SPDX-License-Identifier: Apache-2.0
 * Hyper-parameters: everything in config.json that changes a number.  Source:
 * transformers models/gemma4_unified/configuration_gemma4_unified.py (5.20.2).
 * Field names are config.json's.  No field has a built-in size: a missing one
 * takes Transformers' default only where Transformers has one, an unknown value
 * is an error.
 *
 * Letters, used in every shape comment:
 *   T tokens of this call   S keys in the cache   D hidden_size   V vocab_size
 *   N query heads           K key/value heads     H head dim      F intermediate_size
 *   L layers                W sliding window      B soft-token budget of an image
 *   P values of a patch (48 x 48 x 3 = 6912)      A values of an audio frame (640) */
#ifndef G4_MODEL_CONFIG_H
#define G4_MODEL_CONFIG_H

#include "ref/base/arena.h"
#include "ref/base/err.h"
#include "ref/base/json.h"
#include "ref/input/prompt.h"

#include <stdint.h>

typedef struct g4_rope_config {
    double theta, factor;           /* factor 1: none */
    double partial_rotary_factor;   /* of the head dim that rotates ("proportional") */
} g4_rope_config;

/* kind 0: sliding_attention, 1: full_attention; index of kv_heads, head_dim, rope. */
enum { G4_SLIDING = 0, G4_FULL = 1 };

typedef struct g4_config {
    int is_drafter;                 /* model_type gemma4_unified_assistant */
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
    int64_t num_attention_heads;
    int64_t kv_heads[2];            /* num_key_value_heads, num_global_key_value_heads */
    int64_t head_dim[2];            /* head_dim, global_head_dim */
    g4_rope_config rope[2];
    int64_t sliding_window, max_position_embeddings;
    double rms_norm_eps, final_logit_softcapping;   /* softcapping 0: none (a drafter never) */
    int attention_k_eq_v;           /* full layers: V comes from k_proj's output */
    int bidirectional_vision;       /* use_bidirectional_attention "vision": image blocks */
    uint8_t *layer_kind;            /* [L] G4_SLIDING or G4_FULL */
    int64_t pad_token_id, bos_token_id;
    int64_t eos[16];                /* eos_token_id, used where no generation_config.json is */
    int eos_count;
    int64_t boi_token_id, eoi_token_id, image_token_id, video_token_id;   /* -1: none */
    int64_t boa_token_id, eoa_token_id, audio_token_id;
    /* vision_config; 0 where the checkpoint has no such part (a drafter) */
    int64_t patch_size, pooling_kernel_size, mm_embed_dim, mm_posemb_size;
    double vision_eps;
    /* audio_config */
    int64_t audio_embed_dim;
    double audio_eps;
    /* drafter only */
    int64_t backbone_hidden_size;
    int use_ordered_embeddings;
    int64_t num_centroids, centroid_intermediate_top_k;
} g4_config;

/* Values of one model patch: (patch_size * pooling_kernel_size)^2 * 3. */
static inline int64_t g4_patch_values(const g4_config *c)
{
    int64_t side = c->patch_size * c->pooling_kernel_size;
    return side * side * 3;
}

/* Does layer l project its own values (v_proj)? */
static inline int g4_layer_has_v(const g4_config *c, int64_t l)
{
    return !(c->attention_k_eq_v && c->layer_kind[l] == G4_FULL);
}

/* Reads the config.json of a model (how one is named: ref/file/document.h).  Errors:
 * G4_EINPUT naming the field. */
g4_status g4_config_load(g4_config *c, const char *dir, g4_arena *arena, g4_err *err);
/* The same from a config.json that is in memory. */
g4_status g4_config_parse(g4_config *c, const g4_json *root, g4_arena *arena, g4_err *err);

/* One token id or a list of at most max; null is none.  A missing key leaves ids alone. */
g4_status g4_token_ids_read(const g4_json *j, const char *key, int64_t vocab, int64_t *ids,
                            int max, int *count, g4_err *err);

/* What generation_config.json says; all optional in it. */
typedef struct g4_generation {
    int64_t eos[16], suppress[64];   /* token ids */
    int eos_count, suppress_count;
    int do_sample;
    double temperature, top_p;       /* 1 and 1: off */
    int64_t top_k;                   /* 0: off */
    int64_t num_assistant_tokens;    /* drafter's folder; 0 where not given */
} g4_generation;

/* A missing file gives the defaults: eos from config.json, nothing suppressed, greedy;
 * for who samples nevertheless, Transformers' temperature 1, top_k 50, top_p 1. */
g4_status g4_generation_load(g4_generation *g, const char *dir, const g4_config *c, g4_err *err);
/* The same from memory; j->root NULL: no file. */
g4_status g4_generation_parse(g4_generation *g, const g4_json *j, const g4_config *c,
                              g4_err *err);

#endif
