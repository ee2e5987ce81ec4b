/* SPDX-License-Identifier: Apache-2.0
 * The keys of a GGUF from a folder's documents: what ref/file/gguf_config.c reads back. */
#include "harness/gguf_out.h"

#include "ref/file/document.h"
#include "ref/file/gguf_write.h"
#include "ref/file/imatrix.h"
#include "ref/input/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TEMPLATE = 16 << 20 };

typedef struct keys {
    g4_gguf_writer *w;
    const char *arch;
    char name[96];
} keys;

static const char *arch_key(keys *k, const char *suffix)
{
    snprintf(k->name, sizeof k->name, "%s.%s", k->arch, suffix);
    return k->name;
}

static void put_int(keys *k, const char *suffix, int64_t v)
{
    g4_gguf_put_u32(k->w, arch_key(k, suffix), (uint32_t)v);
}

static void put_layers(keys *k, const g4_config *c)
{
    int64_t n = c->num_hidden_layers;
    g4_gguf_put_array(k->w, arch_key(k, "attention.head_count_kv"), G4_GGUF_I32, (uint64_t)n);
    for (int64_t l = 0; l < n; l++)
        g4_gguf_item_int(k->w, G4_GGUF_I32, c->kv_heads[c->layer_kind[l]]);
    g4_gguf_put_array(k->w, arch_key(k, "attention.sliding_window_pattern"), G4_GGUF_BOOL,
                      (uint64_t)n);
    for (int64_t l = 0; l < n; l++)
        g4_gguf_item_int(k->w, G4_GGUF_BOOL, c->layer_kind[l] == G4_SLIDING);
}

static void put_config(keys *k, const g4_config *c)
{
    put_int(k, "block_count", c->num_hidden_layers);
    put_int(k, "context_length", c->max_position_embeddings);
    put_int(k, "embedding_length", c->hidden_size);
    put_int(k, "feed_forward_length", c->intermediate_size);
    put_int(k, "attention.head_count", c->num_attention_heads);
    put_layers(k, c);
    g4_gguf_put_f32(k->w, arch_key(k, "rope.freq_base"), c->rope[G4_FULL].theta);
    g4_gguf_put_f32(k->w, arch_key(k, "rope.freq_base_swa"), c->rope[G4_SLIDING].theta);
    g4_gguf_put_f32(k->w, arch_key(k, "attention.layer_norm_rms_epsilon"), c->rms_norm_eps);
    put_int(k, "attention.key_length", c->head_dim[G4_FULL]);
    put_int(k, "attention.value_length", c->head_dim[G4_FULL]);
    put_int(k, "attention.key_length_swa", c->head_dim[G4_SLIDING]);
    put_int(k, "attention.value_length_swa", c->head_dim[G4_SLIDING]);
    put_int(k, "rope.dimension_count", c->head_dim[G4_FULL]);
    put_int(k, "rope.dimension_count_swa", c->head_dim[G4_SLIDING]);
    if (c->final_logit_softcapping > 0)
        g4_gguf_put_f32(k->w, arch_key(k, "final_logit_softcapping"), c->final_logit_softcapping);
    put_int(k, "attention.sliding_window", c->sliding_window);
    put_int(k, "attention.shared_kv_layers", c->is_drafter ? c->num_hidden_layers : 0);
    put_int(k, "embedding_length_per_layer_input", 0);
    if (!c->is_drafter) return;
    put_int(k, "embedding_length_out", c->backbone_hidden_size);
    put_int(k, "nextn_predict_layers", c->num_hidden_layers);
}

/* Stop tokens beyond the first two have no key of their own but end of message. */
static g4_status put_generation(keys *k, const char *dir, const g4_config *c, g4_err *err)
{
    static const char *const stops[] = { "tokenizer.ggml.eos_token_id",
                                         "tokenizer.ggml.eot_token_id",
                                         "tokenizer.ggml.eom_token_id" };
    g4_generation g;
    G4_TRY(g4_generation_load(&g, dir, c, err));
    if (g.eos_count > 3)
        return g4_fail(err, G4_EINPUT, "%s: %d stop tokens; a GGUF can say three", dir,
                       g.eos_count);
    for (int i = 0; i < g.eos_count; i++)
        g4_gguf_put_u32(k->w, stops[i], (uint32_t)g.eos[i]);
    g4_gguf_put_u32(k->w, "tokenizer.ggml.bos_token_id", (uint32_t)c->bos_token_id);
    g4_gguf_put_u32(k->w, "tokenizer.ggml.padding_token_id", (uint32_t)c->pad_token_id);
    if (g.suppress_count)
        g4_gguf_put_array(k->w, "tokenizer.ggml.suppress_tokens", G4_GGUF_I32,
                          (uint64_t)g.suppress_count);
    for (int i = 0; i < g.suppress_count; i++)
        g4_gguf_item_int(k->w, G4_GGUF_I32, g.suppress[i]);
    if (!g.do_sample) return G4_OK;
    g4_gguf_put_i32(k->w, "general.sampling.top_k", (int32_t)g.top_k);
    g4_gguf_put_f32(k->w, "general.sampling.top_p", g.top_p);
    g4_gguf_put_f32(k->w, "general.sampling.temp", g.temperature);
    return G4_OK;
}

/* A drafter's folder may lack the tokenizer: it has that of the folder above. */
static g4_status put_tokenizer(keys *k, const char *dir, const g4_config *c, g4_arena *a,
                               g4_err *err)
{
    g4_tokenizer *t;
    char *path = g4_arena_printf(a, "%s/tokenizer.json", dir);
    if (!path) return g4_nomem(err, dir);
    if (c->is_drafter && g4_path_kind(path) == 0) {
        dir = g4_arena_printf(a, "%s/..", dir);
        path = dir ? g4_arena_printf(a, "%s/tokenizer.json", dir) : NULL;
        if (!path) return g4_nomem(err, "tokenizer.json");
    }
    G4_TRY(g4_tokenizer_load(&t, dir, err));
    g4_status s = g4_tokenizer_to_gguf(t, path, c->vocab_size, k->w, err);
    g4_tokenizer_free(t);
    return s;
}

/* chat_template.jinja, or tokenizer_config.json's. */
static g4_status put_template(keys *k, const char *dir, g4_arena *a, g4_err *err)
{
    g4_json j;
    uint8_t *data;
    size_t size;
    const char *text = NULL;
    char *path = g4_arena_printf(a, "%s/chat_template.jinja", dir);
    if (!path) return g4_nomem(err, dir);
    if (g4_path_kind(path) != 0) {
        G4_TRY(g4_file_read(path, MAX_TEMPLATE, &data, &size, err));
        g4_gguf_put_string(k->w, "tokenizer.chat_template", (const char *)data, size);
        free(data);
        return G4_OK;
    }
    G4_TRY(g4_document_load(&j, a, dir, "tokenizer_config.json", 0, MAX_TEMPLATE, err));
    g4_status s = j.root ? g4_json_opt_str(&j, "chat_template", &text, err) : G4_OK;
    if (text) g4_gguf_put_string(k->w, "tokenizer.chat_template", text, strlen(text));
    g4_json_free(&j);
    return s;
}

/* llama-quantize's, with its limit of strings. */
static void put_imatrix(g4_gguf_writer *w, const char *file, const g4_imatrix *im)
{
    enum { MOST = 127 };
    g4_gguf_put_string(w, "quantize.imatrix.file", file, strnlen(file, MOST));
    if (*im->dataset)
        g4_gguf_put_string(w, "quantize.imatrix.dataset", im->dataset,
                           strnlen(im->dataset, MOST));
    g4_gguf_put_u32(w, "quantize.imatrix.entries_count", (uint32_t)im->count);
    if (im->chunks) g4_gguf_put_u32(w, "quantize.imatrix.chunks_count", im->chunks);
}

g4_status g4_gguf_keys(g4_gguf_writer *w, const g4_gguf_job *job, const g4_config *c,
                       uint32_t file_type, g4_err *err)
{
    keys k = { .w = w, .arch = c->is_drafter ? "gemma4-assistant" : "gemma4" };
    g4_arena a = { NULL };
    g4_gguf_put_string(w, "general.architecture", k.arch, strlen(k.arch));
    g4_gguf_put_string(w, "general.type", "model", 5);
    g4_gguf_put_string(w, "general.name", job->name, strlen(job->name));
    g4_gguf_put_u32(w, "general.file_type", file_type);
    g4_gguf_put_u32(w, "general.quantization_version", 2);
    put_config(&k, c);
    g4_status s = put_generation(&k, job->dir, c, err);
    if (s == G4_OK) s = put_tokenizer(&k, job->dir, c, &a, err);
    if (s == G4_OK) s = put_template(&k, job->dir, &a, err);
    g4_arena_free(&a);
    if (job->imatrix) put_imatrix(w, job->imatrix_file, job->imatrix);
    return s;
}
