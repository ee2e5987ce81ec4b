/* SPDX-License-Identifier: Apache-2.0
 * The keys of a projector file, as llama.cpp's converter writes them (ecosystem of the format:
 * architecture clip).  Three of them say nothing here and are written because llama.cpp's
 * loader asks for them: image_size, block counts, num_mel_bins. */
#include "harness/gguf_out.h"

#include "ref/file/gguf_write.h"
#include "ref/input/processor.h"

#include <math.h>
#include <string.h>

static void put_text(g4_gguf_writer *w, const char *key, const char *text)
{
    g4_gguf_put_string(w, key, text, strlen(text));
}

static void put_three(g4_gguf_writer *w, const char *key, const double *v, double neutral)
{
    g4_gguf_put_array(w, key, G4_GGUF_F32, 3);
    for (int i = 0; i < 3; i++) g4_gguf_item_f32(w, v ? v[i] : neutral);
}

static void put_vision(g4_gguf_writer *w, const g4_config *c, const g4_visual *v)
{
    g4_gguf_put_bool(w, "clip.has_vision_encoder", 1);
    g4_gguf_put_u32(w, "clip.vision.projection_dim", (uint32_t)c->hidden_size);
    g4_gguf_put_u32(w, "clip.vision.image_size", 224);
    g4_gguf_put_u32(w, "clip.vision.patch_size", (uint32_t)c->patch_size);
    g4_gguf_put_u32(w, "clip.vision.embedding_length", (uint32_t)c->mm_embed_dim);
    g4_gguf_put_u32(w, "clip.vision.feed_forward_length", 0);
    g4_gguf_put_u32(w, "clip.vision.block_count", 0);
    g4_gguf_put_u32(w, "clip.vision.attention.head_count", 0);
    put_three(w, "clip.vision.image_mean", v->do_normalize ? v->image_mean : NULL, 0);
    put_three(w, "clip.vision.image_std", v->do_normalize ? v->image_std : NULL, 1);
    put_text(w, "clip.vision.projector_type", "gemma4uv");
    g4_gguf_put_f32(w, "clip.vision.attention.layer_norm_epsilon", c->vision_eps);
}

static void put_audio(g4_gguf_writer *w, const g4_config *c)
{
    g4_gguf_put_bool(w, "clip.has_audio_encoder", 1);
    g4_gguf_put_u32(w, "clip.audio.projection_dim", (uint32_t)c->hidden_size);
    g4_gguf_put_u32(w, "clip.audio.embedding_length", (uint32_t)c->audio_embed_dim);
    g4_gguf_put_u32(w, "clip.audio.feed_forward_length", 0);
    g4_gguf_put_u32(w, "clip.audio.block_count", 0);
    g4_gguf_put_u32(w, "clip.audio.attention.head_count", 0);
    put_text(w, "clip.audio.projector_type", "gemma4ua");
    g4_gguf_put_u32(w, "clip.audio.num_mel_bins", 128);
    g4_gguf_put_f32(w, "clip.audio.attention.layer_norm_epsilon", c->audio_eps);
}

g4_status g4_gguf_media_keys(g4_gguf_writer *w, const g4_gguf_job *job, const g4_config *c,
                             uint32_t file_type, g4_err *err)
{
    g4_processor p = { 0 };
    if (c->patch_size || c->audio_embed_dim) G4_TRY(g4_processor_load(&p, job->dir, err));
    if (c->patch_size && fabs(p.image.rescale_factor * 255 - 1) > 1e-6)
        return g4_fail(err, G4_EINPUT, "%s: rescale_factor %g: a projector file knows 1/255 only",
                       job->dir, p.image.rescale_factor);
    put_text(w, "general.architecture", "clip");
    put_text(w, "general.type", "mmproj");
    put_text(w, "general.name", job->name);
    g4_gguf_put_u32(w, "general.file_type", file_type);
    g4_gguf_put_u32(w, "general.quantization_version", 2);
    if (c->patch_size) put_vision(w, c, &p.image);
    if (c->audio_embed_dim) put_audio(w, c);
    return G4_OK;
}
