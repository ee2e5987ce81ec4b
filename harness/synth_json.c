/* SPDX-License-Identifier: Apache-2.0
 * The small JSON files of a synthetic checkpoint: what Transformers and our own
 * loaders want to find beside config.json and the weights. */
#include "harness/synth.h"
#include "ref/base/map.h"

#include <stdlib.h>
#include <string.h>

g4_status g4_synth_text(const char *dir, const char *name, const char *text, g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    g4_arena arena = { NULL };
    char *path = g4_arena_printf(&arena, "%s/%s", dir, name);
    g4_status s = path ? g4_out_open(&out, path, err) : g4_nomem(err, name);
    if (s == G4_OK) s = g4_out_write(&out, text, strlen(text), err);
    if (s == G4_OK) s = g4_out_write(&out, "\n", 1, err);
    if (s == G4_OK) s = g4_out_commit(&out, err);
    g4_out_abort(&out);
    g4_arena_free(&arena);
    return s;
}

g4_status g4_synth_json(const char *dir, const char *name, json_t *root, g4_err *err)
{
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    g4_status s = text ? g4_synth_text(dir, name, text, err) : g4_nomem(err, name);
    free(text);
    return s;
}

static g4_status write_generation(const char *dir, const g4_config *c, int64_t end_of_turn,
                                  g4_err *err)
{
    json_t *eos = json_array(), *suppress = json_array();
    int bad = 0;
    for (int i = 0; i < c->eos_count; i++)
        bad |= json_array_append_new(eos, json_integer(c->eos[i]));
    bad |= json_array_append_new(eos, json_integer(end_of_turn));
    if (c->eoi_token_id >= 0)
        bad |= json_array_append_new(suppress, json_integer(c->eoi_token_id));
    if (c->eoa_token_id >= 0)
        bad |= json_array_append_new(suppress, json_integer(c->eoa_token_id));
    json_t *root = json_pack("{s:I, s:o, s:I, s:b, s:f, s:i, s:f, s:o}", "bos_token_id",
                             (json_int_t)c->bos_token_id, "eos_token_id", eos, "pad_token_id",
                             (json_int_t)c->pad_token_id, "do_sample", 1, "temperature", 1.0,
                             "top_k", 64, "top_p", 0.95, "suppress_tokens", suppress);
    g4_status s = bad ? g4_nomem(err, dir)
                      : g4_synth_json(dir, "generation_config.json", root, err);
    json_decref(root);
    return s;
}

/* Default budget: the real 280, or the largest one that the position table can hold. */
static g4_status write_processor(const char *dir, const g4_config *c, g4_err *err)
{
    int budget = c->mm_posemb_size >= 280 ? 280 : c->mm_posemb_size >= 140 ? 140 : 70;
    int patch = (int)c->patch_size, pool = (int)c->pooling_kernel_size;
    int frame = (int)c->audio_embed_dim;
    json_t *root = json_pack(
        "{s:s, s:i, s:i, s:i,"
        " s:{s:s, s:i, s:i, s:i, s:b, s:b, s:f, s:b, s:[fff], s:[fff], s:i, s:b},"
        " s:{s:s, s:i, s:i, s:i, s:f}, s:{s:s, s:i, s:i, s:i, s:i}}",
        "processor_class", "Gemma4UnifiedProcessor", "image_seq_length", 280,
        "audio_seq_length", 750, "audio_ms_per_token", frame * 1000 / 16000,
        "image_processor", "image_processor_type", "Gemma4UnifiedImageProcessor",
        "patch_size", patch, "pooling_kernel_size", pool, "max_soft_tokens", budget,
        "do_resize", 1, "do_rescale", 1, "rescale_factor", 1.0 / 255, "do_normalize", 0,
        "image_mean", 0.0, 0.0, 0.0, "image_std", 1.0, 1.0, 1.0, "resample", 3,
        "do_convert_rgb", 1,
        "feature_extractor", "feature_extractor_type", "Gemma4UnifiedAudioFeatureExtractor",
        "feature_size", frame, "sampling_rate", 16000, "audio_samples_per_token", frame,
        "padding_value", 0.0,
        "video_processor", "video_processor_type", "Gemma4UnifiedVideoProcessor",
        "patch_size", patch, "pooling_kernel_size", pool, "max_soft_tokens", 70,
        "num_frames", 32);
    g4_status s = g4_synth_json(dir, "processor_config.json", root, err);
    json_decref(root);
    return s;
}

static const char tokenizer_config[] =
    "{\n \"tokenizer_class\": \"GemmaTokenizer\",\n"
    " \"bos_token\": \"<bos>\",\n \"eos_token\": \"<eos>\",\n \"pad_token\": \"<pad>\",\n"
    " \"unk_token\": \"<unk>\",\n \"mask_token\": \"<mask>\",\n \"padding_side\": \"left\",\n"
    " \"add_bos_token\": false,\n \"model_max_length\": 262144,\n"
    " \"processor_class\": \"Gemma4UnifiedProcessor\",\n"
    " \"boi_token\": \"<|image>\",\n \"eoi_token\": \"<image|>\",\n"
    " \"image_token\": \"<|image|>\",\n \"boa_token\": \"<|audio>\",\n"
    " \"eoa_token\": \"<audio|>\",\n \"audio_token\": \"<|audio|>\",\n"
    " \"sot_token\": \"<|turn>\",\n \"eot_token\": \"<turn|>\",\n"
    " \"soc_token\": \"<|channel>\",\n \"eoc_token\": \"<channel|>\",\n"
    " \"think_token\": \"<|think|>\",\n \"escape_token\": \"<|\\\"|>\",\n"
    " \"std_token\": \"<|tool>\",\n \"etd_token\": \"<tool|>\",\n"
    " \"stc_token\": \"<|tool_call>\",\n \"etc_token\": \"<tool_call|>\",\n"
    " \"str_token\": \"<|tool_response>\",\n \"etr_token\": \"<tool_response|>\",\n"
    " \"extra_special_tokens\": [\"<|video|>\"]\n}";

g4_status g4_synth_side_files(const char *dir, const g4_config *c, const char *source,
                              g4_err *err)
{
    if (c->is_drafter)   /* it has the backbone's tokenizer */
        return g4_synth_text(dir, "generation_config.json", "{\"num_assistant_tokens\": 4}", err);
    g4_arena arena = { NULL };
    int64_t end_of_turn = -1;
    char *path = g4_arena_printf(&arena, "%s/tokenizer.json", dir);
    g4_status s = path ? g4_synth_tokenizer(path, c, source, &end_of_turn, err)
                       : g4_nomem(err, dir);
    g4_arena_free(&arena);
    if (s == G4_OK) s = g4_synth_text(dir, "tokenizer_config.json", tokenizer_config, err);
    if (s == G4_OK) s = write_generation(dir, c, end_of_turn, err);
    if (s == G4_OK && c->patch_size && c->audio_embed_dim) s = write_processor(dir, c, err);
    return s;
}
