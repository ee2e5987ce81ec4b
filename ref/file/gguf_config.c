/* SPDX-License-Identifier: Apache-2.0
 * config.json, generation_config.json and processor_config.json from a GGUF's keys, as
 * llama.cpp's converter writes them (conversion/gemma.py), for arch gemma4, gemma4-assistant
 * and, beside it, clip.  Types are checked here,
 * with the key's name; ranges by whoever reads the document.  What only tensors tell: the
 * vocabulary's size, whether full layers have a v_proj, how many dimensions rotate. */
#include "ref/file/document.h"

#include "ref/dtype/dtype.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct build {
    const g4_gguf *g, *media;
    const char *arch;
    int drafter;
    int64_t layers, head_dim[2];    /* head_dim: sliding, full */
    json_t *root, *text;            /* text: root's text_config */
    const char *file;
    g4_err *err;
} build;

enum { MAX_LAYERS = 4096, KEY_NAME = 128 };

static g4_status put(build *b, json_t *to, const char *key, json_t *value)
{
    return json_object_set_new(to, key, value) == 0 ? G4_OK : g4_nomem(b->err, b->file);
}

/* The key "<arch>.<suffix>", or NULL; name for messages. */
static const g4_gguf_key *key_of(const build *b, const char *suffix, char name[KEY_NAME])
{
    snprintf(name, KEY_NAME, "%s.%s", b->arch, suffix);
    return g4_gguf_find(b->g, name);
}

static g4_status missing(const build *b, const char *name)
{
    return g4_fail(b->err, G4_EINPUT, "%s: key %s is missing", b->file, name);
}

/* One integer, or one for each layer that are all the same.  A missing key: *out stays. */
static g4_status get_int(const build *b, const char *suffix, int required, int64_t *out)
{
    char name[KEY_NAME];
    const g4_gguf_key *k = key_of(b, suffix, name);
    if (!k) return required ? missing(b, name) : G4_OK;
    if (!g4_gguf_is_int(k) || k->type == G4_GGUF_BOOL || k->count == 0)
        return g4_fail(b->err, G4_EINPUT, "%s: key %s is no integer", b->file, name);
    *out = g4_gguf_int(k, 0);
    for (uint64_t i = 1; i < k->count; i++)
        if (g4_gguf_int(k, i) != *out)
            return g4_fail(b->err, G4_EINPUT, "%s: key %s differs between layers, which is not "
                           "known here", b->file, name);
    return G4_OK;
}

static g4_status put_ints(build *b)
{
    static const struct { const char *suffix, *name; int required; } rows[] = {
        { "context_length", "max_position_embeddings", 0 },
        { "embedding_length", "hidden_size", 1 },
        { "feed_forward_length", "intermediate_size", 1 },
        { "attention.head_count", "num_attention_heads", 1 },
        { "attention.sliding_window", "sliding_window", 1 },
        { "attention.shared_kv_layers", "num_kv_shared_layers", 0 },
        { "embedding_length_per_layer_input", "hidden_size_per_layer_input", 0 },
        { "expert_count", "num_experts", 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t v = INT64_MIN;
        G4_TRY(get_int(b, rows[i].suffix, rows[i].required, &v));
        if (v != INT64_MIN) G4_TRY(put(b, b->text, rows[i].name, json_integer(v)));
    }
    return put(b, b->text, "num_hidden_layers", json_integer(b->layers));
}

/* A number; a missing one stays missing in the document. */
static g4_status put_real(build *b, json_t *to, const char *suffix, const char *name,
                          int required)
{
    char full[KEY_NAME];
    const g4_gguf_key *k = key_of(b, suffix, full);
    if (!k) return required ? missing(b, full) : G4_OK;
    json_t *v = k->is_array ? NULL : g4_gguf_value(k, 0);
    if (!json_is_number(v)) {
        json_decref(v);
        return g4_fail(b->err, G4_EINPUT, "%s: key %s is no finite number", b->file, full);
    }
    return put(b, to, name, v);
}

/* Keys that say once more what others say. */
static g4_status check_equal(const build *b)
{
    static const struct { const char *suffix; int full; } rows[] = {
        { "attention.value_length", 1 },     { "rope.dimension_count", 1 },
        { "attention.value_length_swa", 0 }, { "rope.dimension_count_swa", 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t want = b->head_dim[rows[i].full], v = want;
        G4_TRY(get_int(b, rows[i].suffix, 0, &v));
        if (v != want)
            return g4_fail(b->err, G4_EINPUT, "%s: key %s.%s is %lld, expected %lld as "
                           "attention.key_length%s", b->file, b->arch, rows[i].suffix,
                           (long long)v, (long long)want, rows[i].full ? "" : "_swa");
    }
    return G4_OK;
}

/* ---- layers ---- */

static g4_status layer_types(build *b, const g4_gguf_key **pattern)
{
    char name[KEY_NAME];
    const g4_gguf_key *k = *pattern = key_of(b, "attention.sliding_window_pattern", name);
    if (!k) return missing(b, name);
    if (!k->is_array || !g4_gguf_is_int(k) || k->count != (uint64_t)b->layers ||
        g4_gguf_int(k, k->count - 1) != 0)
        return g4_fail(b->err, G4_EINPUT, "%s: key %s is no array of a flag for each of %lld "
                       "layers, the last of them 0", b->file, name, (long long)b->layers);
    json_t *types = json_array();
    for (int64_t l = 0; l < b->layers; l++)
        if (json_array_append_new(types, json_string(g4_gguf_int(k, (uint64_t)l)
                                                         ? "sliding_attention"
                                                         : "full_attention")) != 0) {
            json_decref(types);
            return g4_nomem(b->err, b->file);
        }
    return put(b, b->text, "layer_types", types);
}

/* Head sizes layer by layer, in the spelling that names layers: config.c checks that those of
 * one kind agree. */
static g4_status layer_heads(build *b, const g4_gguf_key *pattern)
{
    char name[KEY_NAME], index[24];
    const g4_gguf_key *k = key_of(b, "attention.head_count_kv", name);
    if (!k) return missing(b, name);
    if (!g4_gguf_is_int(k) || (k->is_array && k->count != (uint64_t)b->layers))
        return g4_fail(b->err, G4_EINPUT, "%s: key %s is neither an integer nor one for each "
                       "layer", b->file, name);
    json_t *all = json_object();
    G4_TRY(put(b, b->text, "per_layer_config", all));
    int64_t sliding = g4_gguf_int(k, 0);
    for (int64_t l = b->layers - 1; l >= 0; l--) {
        int64_t kv = g4_gguf_int(k, k->is_array ? (uint64_t)l : 0);
        int full = g4_gguf_int(pattern, (uint64_t)l) == 0;
        if (!full) sliding = kv;
        snprintf(index, sizeof index, "%lld", (long long)l);
        G4_TRY(put(b, all, index, json_pack("{s:I, s:I}", "head_dim",
                                            (json_int_t)b->head_dim[full],
                                            "num_key_value_heads", (json_int_t)kv)));
    }
    G4_TRY(put(b, b->text, "head_dim", json_integer(b->head_dim[0])));
    return put(b, b->text, "num_key_value_heads", json_integer(sliding));
}

/* Full layers have a v_proj of their own all or none. */
static g4_status value_projection(build *b, const g4_gguf_key *pattern)
{
    int64_t full = 0, with = 0;
    char name[KEY_NAME];
    for (int64_t l = 0; l < b->layers && !b->drafter; l++) {
        if (g4_gguf_int(pattern, (uint64_t)l)) continue;
        snprintf(name, sizeof name, "blk.%lld.attn_v.weight", (long long)l);
        full++;
        with += g4_gguf_tensor(b->g, name) != NULL;
    }
    if (with != 0 && with != full)
        return g4_fail(b->err, G4_EINPUT, "%s: %lld of %lld full layers have a tensor attn_v",
                       b->file, (long long)with, (long long)full);
    return put(b, b->text, "attention_k_eq_v", json_boolean(with == 0));
}

/* ---- rotation ---- */

/* rope_freqs: what a full layer's frequencies are divided by, 1e30 for the pairs that do not
 * turn.  *turning of them, all divided by *factor. */
static g4_status read_freqs(const build *b, int64_t *turning, float *factor)
{
    const g4_tensor *t = g4_gguf_tensor(b->g, "rope_freqs.weight");
    if (!t) return g4_fail(b->err, G4_EINPUT, "%s: tensor rope_freqs.weight is missing", b->file);
    int64_t half = b->head_dim[1] / 2;
    if (t->rank != 1 || t->dtype != G4_F32 || t->shape[0] != half)
        return g4_fail(b->err, G4_EINPUT, "%s: tensor rope_freqs.weight is not F32 of %lld "
                       "values", b->file, (long long)half);
    *turning = 0;
    *factor = 1.0f;
    for (int64_t i = 0; i < half; i++) {
        float v;
        memcpy(&v, t->data + 4 * i, sizeof v);
        if (i == 0 && v < 1e20f) *factor = v;
        if (*turning == i && v == *factor && v > 0) ++*turning;
        else if (!(v >= 1e20f))
            return g4_fail(b->err, G4_EINPUT, "%s: tensor rope_freqs.weight is not one factor and "
                           "then 1e30, at entry %lld", b->file, (long long)i);
    }
    return G4_OK;
}

static g4_status rope(build *b)
{
    char name[KEY_NAME];
    size_t len;
    int64_t turning = 0;
    float factor = 1.0f;
    const g4_gguf_key *k = key_of(b, "rope.scaling.type", name);
    const char *type = g4_gguf_string(k, &len);
    if (k && !(type && len == 4 && memcmp(type, "none", 4) == 0))
        return g4_fail(b->err, G4_EINPUT, "%s: key %s is not \"none\"", b->file, name);
    G4_TRY(read_freqs(b, &turning, &factor));
    /* the share that gives `turning` again when it is multiplied and cut (rope.c) */
    double size = (double)b->head_dim[1], share = (double)(2 * turning) / size;
    while ((int64_t)(share * size) / 2 < turning) share = nextafter(share, 2.0);
    json_t *full = json_pack("{s:s, s:f, s:f}", "rope_type", "proportional",
                             "partial_rotary_factor", share, "factor", (double)factor);
    json_t *sliding = json_pack("{s:s, s:f}", "rope_type", "default", "rope_theta", 10000.0);
    json_t *both = json_pack("{s:o, s:o}", "full_attention", full, "sliding_attention", sliding);
    G4_TRY(put(b, b->text, "rope_parameters", both));
    G4_TRY(put_real(b, full, "rope.freq_base", "rope_theta", 1));
    return put_real(b, sliding, "rope.freq_base_swa", "rope_theta", 0);
}

/* ---- ids ---- */

/* Ids of tokens by their text, -1: none. */
static void find_tokens(const g4_gguf *g, const char *const *texts, int64_t *ids, size_t n)
{
    const g4_gguf_key *k = g4_gguf_find(g, "tokenizer.ggml.tokens");
    size_t at = 0, len;
    const char *s;
    for (size_t i = 0; i < n; i++) ids[i] = -1;
    for (int64_t id = 0; k && (s = g4_gguf_next(k, &at, &len)) != NULL; id++)
        for (size_t i = 0; len > 0 && s[0] == '<' && i < n; i++)
            if (len == strlen(texts[i]) && memcmp(s, texts[i], len) == 0 && ids[i] < 0)
                ids[i] = id;
}

static g4_status put_media_ids(build *b)
{
    static const char *const names[] = { "boi_token_id", "eoi_token_id", "image_token_id",
                                         "video_token_id", "boa_token_id", "eoa_token_index",
                                         "audio_token_id" };
    static const char *const texts[] = { "<|image>", "<image|>", "<|image|>", "<|video|>",
                                         "<|audio>", "<audio|>", "<|audio|>" };
    enum { N = sizeof names / sizeof *names };
    int64_t ids[N];
    find_tokens(b->g, texts, ids, N);
    for (int i = 0; i < N; i++)
        G4_TRY(put(b, b->root, names[i], ids[i] < 0 ? json_null() : json_integer(ids[i])));
    return G4_OK;
}

/* tokenizer.ggml.<name>_token_id, -1 where it is not there. */
static g4_status token_key(const build *b, const char *which, int64_t *id)
{
    char name[KEY_NAME];
    snprintf(name, sizeof name, "tokenizer.ggml.%s_token_id", which);
    const g4_gguf_key *k = g4_gguf_find(b->g, name);
    *id = -1;
    if (!k) return G4_OK;
    if (!g4_gguf_is_int(k) || k->is_array || g4_gguf_int(k, 0) < 0)
        return g4_fail(b->err, G4_EINPUT, "%s: key %s is no token id", b->file, name);
    *id = g4_gguf_int(k, 0);
    return G4_OK;
}

static g4_status put_text_ids(build *b)
{
    static const struct { const char *which, *name; } rows[] = {
        { "bos", "bos_token_id" }, { "eos", "eos_token_id" }, { "padding", "pad_token_id" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t id;
        G4_TRY(token_key(b, rows[i].which, &id));
        if (id >= 0) G4_TRY(put(b, b->text, rows[i].name, json_integer(id)));
    }
    return G4_OK;
}

/* ---- media: the keys of a clip file, with what its tensors say themselves ---- */

static g4_status expect_projector(const build *b, const char *key, const char *want)
{
    size_t len = 0;
    const char *type = g4_gguf_string(g4_gguf_find(b->media, key), &len);
    if (type && len == strlen(want) && memcmp(type, want, len) == 0) return G4_OK;
    return g4_fail(b->err, G4_EINPUT, "%s: key %s is not \"%s\"", g4_gguf_file(b->media), key,
                   want);
}

/* Reads the keys under arch out of the media file for one call. */
static g4_status media_eps(build *b, json_t *to, const char *arch)
{
    build media = *b;
    media.g = b->media;
    media.arch = arch;
    media.file = g4_gguf_file(b->media);
    return put_real(&media, to, "attention.layer_norm_epsilon", "rms_norm_eps", 0);
}

/* Patches are as long as their matrix is wide; the key says how long a pooled part is. */
static g4_status fill_vision(build *b, const g4_tensor *dense)
{
    const g4_tensor *place = g4_gguf_tensor(b->media, "v.position_embd.weight");
    const g4_gguf_key *k = g4_gguf_find(b->media, "clip.vision.patch_size");
    int64_t patch = k && g4_gguf_is_int(k) && !k->is_array ? g4_gguf_int(k, 0) : 0, side = 0;
    G4_TRY(expect_projector(b, "clip.vision.projector_type", "gemma4uv"));
    while (dense->rank == 2 && side * side * 3 < dense->shape[1]) side++;
    if (dense->rank != 2 || side * side * 3 != dense->shape[1] || patch < 1 || side % patch != 0 ||
        !place || place->rank != 3)
        return g4_fail(b->err, G4_EINPUT, "%s: v.patch_embd, v.position_embd and "
                       "clip.vision.patch_size do not fit each other", g4_gguf_file(b->media));
    json_t *v = json_pack("{s:s, s:I, s:I, s:I, s:I}", "model_type", "gemma4_unified_vision",
                          "patch_size", (json_int_t)patch, "pooling_kernel_size",
                          (json_int_t)(side / patch), "mm_embed_dim",
                          (json_int_t)dense->shape[0], "mm_posemb_size",
                          (json_int_t)place->shape[1]);
    G4_TRY(put(b, b->root, "vision_config", v));
    return media_eps(b, v, "clip.vision");
}

static g4_status fill_audio(build *b, const g4_tensor *projection)
{
    G4_TRY(expect_projector(b, "clip.audio.projector_type", "gemma4ua"));
    json_t *a = json_pack("{s:s, s:I}", "model_type", "gemma4_unified_audio", "audio_embed_dim",
                          (json_int_t)projection->shape[projection->rank - 1]);
    G4_TRY(put(b, b->root, "audio_config", a));
    return media_eps(b, a, "clip.audio");
}

static g4_status fill_media(build *b)
{
    if (!b->media) return G4_OK;
    const g4_tensor *dense = g4_gguf_tensor(b->media, "v.patch_embd.weight");
    const g4_tensor *audio = g4_gguf_tensor(b->media, "mm.a.input_projection.weight");
    if (!dense && !audio)
        return g4_fail(b->err, G4_EINPUT, "%s: neither tensor v.patch_embd.weight nor "
                       "mm.a.input_projection.weight", g4_gguf_file(b->media));
    if (dense) G4_TRY(fill_vision(b, dense));
    return audio ? fill_audio(b, audio) : G4_OK;
}

/* ---- the documents ---- */

static g4_status start(build *b, const g4_gguf_pair *p, g4_err *err)
{
    g4_gguf_kind kind;
    *b = (build){ .g = p->main, .media = p->media, .file = g4_gguf_file(p->main), .err = err };
    G4_TRY(g4_gguf_kind_of(p->main, &kind, err));
    b->drafter = kind == G4_GGUF_DRAFTER;
    b->arch = b->drafter ? "gemma4-assistant" : "gemma4";
    b->root = json_object();
    return b->root ? G4_OK : g4_nomem(err, b->file);
}

static g4_status fill_text(build *b)
{
    const g4_gguf_key *pattern;
    const g4_tensor *embd = g4_gguf_tensor(b->g, "token_embd.weight");
    if (!embd || embd->rank != 2)
        return g4_fail(b->err, G4_EINPUT, "%s: tensor token_embd.weight is missing", b->file);
    G4_TRY(get_int(b, "block_count", 1, &b->layers));
    if (b->layers < 1 || b->layers > MAX_LAYERS)
        return g4_fail(b->err, G4_EINPUT, "%s: key %s.block_count is %lld", b->file, b->arch,
                       (long long)b->layers);
    G4_TRY(get_int(b, "attention.key_length", 1, &b->head_dim[1]));
    G4_TRY(get_int(b, "attention.key_length_swa", 1, &b->head_dim[0]));
    G4_TRY(check_equal(b));
    G4_TRY(put(b, b->text, "vocab_size", json_integer(embd->shape[0])));
    G4_TRY(put_ints(b));
    G4_TRY(put_real(b, b->text, "attention.layer_norm_rms_epsilon", "rms_norm_eps", 1));
    G4_TRY(put_real(b, b->text, "final_logit_softcapping", "final_logit_softcapping", 0));
    G4_TRY(layer_types(b, &pattern));
    G4_TRY(layer_heads(b, pattern));
    G4_TRY(value_projection(b, pattern));
    G4_TRY(rope(b));
    return put_text_ids(b);
}

static g4_status fill_config(build *b)
{
    b->text = json_object();
    G4_TRY(put(b, b->root, "text_config", b->text));
    G4_TRY(put(b, b->root, "model_type", json_string(b->drafter ? "gemma4_unified_assistant"
                                                                : "gemma4_unified")));
    G4_TRY(fill_text(b));
    if (b->drafter) {
        int64_t width = 0;
        G4_TRY(get_int(b, "embedding_length_out", 1, &width));
        G4_TRY(put(b, b->root, "backbone_hidden_size", json_integer(width)));
        return put(b, b->root, "use_ordered_embeddings", json_false());
    }
    G4_TRY(put_media_ids(b));
    return fill_media(b);
}

static g4_status finish(build *b, g4_status s, json_t **out)
{
    *out = s == G4_OK ? b->root : NULL;
    if (s != G4_OK) json_decref(b->root);
    return s;
}

g4_status g4_gguf_config(json_t **out, const g4_gguf_pair *p, g4_err *err)
{
    build b;
    *out = NULL;
    G4_TRY(start(&b, p, err));
    return finish(&b, fill_config(&b), out);
}

/* Stop tokens: eos, and what the file names as end of turn and of message; where it names no
 * end of turn, the tokens that llama.cpp takes for one by their text. */
static g4_status fill_eos(build *b)
{
    static const char *const which[] = { "eos", "eot", "eom" };
    static const char *const texts[] = { "<turn|>", "<|tool_response>" };
    int64_t ids[5] = { -1, -1, -1, -1, -1 };
    for (int i = 0; i < 3; i++) G4_TRY(token_key(b, which[i], &ids[i]));
    if (ids[1] < 0) find_tokens(b->g, texts, ids + 3, 2);
    json_t *list = json_array();
    G4_TRY(put(b, b->root, "eos_token_id", list));
    for (int i = 0; i < 5; i++)
        if (ids[i] >= 0 && json_array_append_new(list, json_integer(ids[i])) != 0)
            return g4_nomem(b->err, b->file);
    return G4_OK;
}

static g4_status fill_suppress(build *b)
{
    const g4_gguf_key *k = g4_gguf_find(b->g, "tokenizer.ggml.suppress_tokens");
    if (!k) return G4_OK;
    if (!k->is_array || !g4_gguf_is_int(k) || k->count > 65536)
        return g4_fail(b->err, G4_EINPUT, "%s: key tokenizer.ggml.suppress_tokens is no list of "
                       "token ids", b->file);
    json_t *list = json_array();
    G4_TRY(put(b, b->root, "suppress_tokens", list));
    for (uint64_t i = 0; i < k->count; i++)
        if (json_array_append_new(list, g4_gguf_value(k, i)) != 0)
            return g4_nomem(b->err, b->file);
    return G4_OK;
}

static g4_status fill_generation(build *b)
{
    static const struct { const char *suffix, *name; } rows[] = {
        { "sampling.temp", "temperature" }, { "sampling.top_p", "top_p" },
        { "sampling.top_k", "top_k" },
    };
    G4_TRY(fill_eos(b));
    G4_TRY(fill_suppress(b));
    b->arch = "general";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        G4_TRY(put_real(b, b->root, rows[i].suffix, rows[i].name, 0));
    int sampled = json_object_get(b->root, "temperature") || json_object_get(b->root, "top_k");
    return put(b, b->root, "do_sample", json_boolean(sampled));
}

g4_status g4_gguf_generation(json_t **out, const g4_gguf_pair *p, g4_err *err)
{
    build b;
    *out = NULL;
    G4_TRY(start(&b, p, err));
    return finish(&b, fill_generation(&b), out);
}

/* processor_config.json: the sizes again, and what pixels are taken off and divided by where
 * that is not the model's own 0 and 1. */
static g4_status fill_channels(build *b, json_t *visual)
{
    static const struct { const char *key, *name; double neutral; } rows[] = {
        { "clip.vision.image_mean", "image_mean", 0.0 },
        { "clip.vision.image_std", "image_std", 1.0 },
    };
    for (size_t i = 0; i < 2; i++) {
        const g4_gguf_key *k = g4_gguf_find(b->media, rows[i].key);
        json_t *list = json_array();
        G4_TRY(put(b, visual, rows[i].name, list));
        for (uint64_t c = 0; c < 3; c++) {
            json_t *v = !k ? json_real(rows[i].neutral)
                           : k->is_array && k->count == 3 ? g4_gguf_value(k, c) : NULL;
            if (!json_is_number(v)) {
                json_decref(v);
                return g4_fail(b->err, G4_EINPUT, "%s: key %s is no array of three numbers",
                               g4_gguf_file(b->media), rows[i].key);
            }
            if (json_number_value(v) != rows[i].neutral)
                G4_TRY(put(b, visual, "do_normalize", json_true()));
            if (json_array_append_new(list, v) != 0) return g4_nomem(b->err, b->file);
        }
    }
    return G4_OK;
}

static g4_status fill_processor(build *b)
{
    json_t *visual = json_object();
    json_t *vision = json_object_get(b->root, "vision_config");
    json_t *audio = json_object_get(b->root, "audio_config");
    G4_TRY(put(b, b->root, "image_processor", visual));
    if (vision) {
        G4_TRY(put(b, visual, "patch_size", json_incref(json_object_get(vision, "patch_size"))));
        G4_TRY(put(b, visual, "pooling_kernel_size",
                   json_incref(json_object_get(vision, "pooling_kernel_size"))));
        G4_TRY(fill_channels(b, visual));
    }
    G4_TRY(put(b, b->root, "video_processor", json_copy(visual)));
    if (!audio) return G4_OK;
    int64_t width = json_integer_value(json_object_get(audio, "audio_embed_dim"));
    return put(b, b->root, "feature_extractor",
               json_pack("{s:I, s:I}", "audio_samples_per_token", (json_int_t)width,
                         "feature_size", (json_int_t)width));
}

g4_status g4_gguf_processor(json_t **out, const g4_gguf_pair *p, g4_err *err)
{
    build b;
    *out = NULL;
    if (!p->media) return G4_OK;
    G4_TRY(start(&b, p, err));
    g4_status s = fill_media(&b);
    if (s == G4_OK) s = fill_processor(&b);
    return finish(&b, s, out);
}
