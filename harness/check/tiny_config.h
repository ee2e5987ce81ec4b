/* SPDX-License-Identifier: Apache-2.0
 * A config.json of the whole architecture that takes no time to make a model of. */
#ifndef G4_HARNESS_CHECK_TINY_CONFIG_H
#define G4_HARNESS_CHECK_TINY_CONFIG_H

static const char tiny[] =
    "{\"architectures\":[\"Gemma4UnifiedForConditionalGeneration\"],"
    "\"model_type\":\"gemma4_unified\",\"boi_token_id\":17,\"eoi_token_id\":21,"
    "\"image_token_id\":19,\"video_token_id\":23,\"boa_token_id\":18,\"eoa_token_index\":22,"
    "\"audio_token_id\":20,\"text_config\":{\"vocab_size\":512,\"hidden_size\":32,"
    "\"intermediate_size\":48,\"num_hidden_layers\":6,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"head_dim\":16,\"global_head_dim\":32,"
    "\"num_global_key_value_heads\":1,\"sliding_window\":16,\"attention_k_eq_v\":true},"
    "\"vision_config\":{\"patch_size\":4,\"pooling_kernel_size\":3,\"mm_embed_dim\":24,"
    "\"mm_posemb_size\":128},\"audio_config\":{\"audio_embed_dim\":80}}";

#endif
