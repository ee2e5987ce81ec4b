/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a config.json and, behind the first NUL, a generation_config.json.
 * What is accepted has sizes that the model code can compute with. */
#include "ref/dtype/dtype.h"
#include "ref/model/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

static void check_config(const g4_config *c)
{
    enum { MAX_DIM = 1 << 24 };
    require(c->vocab_size > 0 && c->vocab_size <= MAX_DIM);
    require(c->hidden_size > 0 && c->hidden_size <= MAX_DIM && c->intermediate_size > 0);
    require(c->sliding_window > 0 && c->rms_norm_eps >= 0 && c->final_logit_softcapping >= 0);
    for (int k = 0; k < 2; k++) {
        require(c->head_dim[k] > 0 && c->head_dim[k] % 2 == 0 && c->kv_heads[k] > 0);
        require(c->num_attention_heads % c->kv_heads[k] == 0);
        require(c->num_attention_heads * c->head_dim[k] <= MAX_DIM);
        require(c->rope[k].theta >= 1 && c->rope[k].factor > 0);
        require(c->rope[k].partial_rotary_factor >= 0 && c->rope[k].partial_rotary_factor <= 1);
        require(g4_dtype_row_bytes(G4_F32, c->kv_heads[k] * c->head_dim[k]) > 0);
    }
    for (int64_t l = 0; l < c->num_hidden_layers; l++) require(c->layer_kind[l] <= G4_FULL);
    require(c->layer_kind[c->num_hidden_layers - 1] == G4_FULL);
    require(c->eos_count >= 0 && c->eos_count <= 16 && c->pad_token_id < c->vocab_size);
    require(c->image_token_id < c->vocab_size && c->image_token_id >= (c->is_drafter ? 0 : -1));
    if (c->patch_size) require(g4_patch_values(c) > 0 && c->mm_embed_dim > 0);
    if (c->use_ordered_embeddings)
        require(c->vocab_size % c->num_centroids == 0 &&
                c->centroid_intermediate_top_k <= c->num_centroids);
}

static void generation(const g4_config *c, const uint8_t *data, size_t size)
{
    g4_json j;
    g4_generation g;
    g4_err err = { 0 };
    if (g4_json_parse(&j, "fuzz", data, size, &err) != G4_OK) return;
    if (json_is_object(j.root)) {
        if (g4_generation_parse(&g, &j, c, &err) != G4_OK)
            require(strncmp(err.msg, "fuzz: ", 6) == 0);
        else
            for (int i = 0; i < g.suppress_count; i++)
                require(g.suppress[i] >= 0 && g.suppress[i] < c->vocab_size);
    }
    g4_json_free(&j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t first = nul ? (size_t)(nul - data) : size;
    g4_arena arena = { NULL };
    g4_json j;
    g4_config c;
    g4_err err = { 0 };
    if (g4_json_parse(&j, "fuzz", data, first, &err) != G4_OK) return 0;
    if (json_is_object(j.root)) {
        if (g4_config_parse(&c, &j, &arena, &err) != G4_OK) {
            require(strncmp(err.msg, "fuzz: ", 6) == 0);
        } else {
            check_config(&c);
            if (nul) generation(&c, nul + 1, size - first - 1);
        }
    }
    g4_json_free(&j);
    g4_arena_free(&arena);
    return 0;
}
