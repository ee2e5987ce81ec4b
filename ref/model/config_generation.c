/* SPDX-License-Identifier: Apache-2.0
 * generation_config.json: how Transformers' generate would sample from this
 * model (generation/configuration_utils.py, 5.20.2). */
#include "ref/model/config.h"

#include "ref/file/document.h"

#include <string.h>

enum { MAX_CONFIG_BYTES = 1 << 20, MAX_TOP_K = 1 << 24 };

g4_status g4_token_ids_read(const g4_json *j, const char *key, int64_t vocab, int64_t *ids,
                            int max, int *count, g4_err *err)
{
    const json_t *v = json_object_get(j->root, key);
    if (!v) return G4_OK;
    size_t n = json_is_null(v) ? 0 : json_is_array(v) ? json_array_size(v) : 1;
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

/* Settings of Transformers' generate that this sampler does not have: nothing but
 * their neutral value (or null) will do. */
static g4_status only_neutral(const g4_json *j, g4_err *err)
{
    static const struct {
        const char *key;
        double neutral;
    } numbers[] = {
        { "repetition_penalty", 1.0 },   { "encoder_repetition_penalty", 1.0 },
        { "min_p", 0.0 },                { "typical_p", 1.0 },
        { "epsilon_cutoff", 0.0 },       { "eta_cutoff", 0.0 },
        { "no_repeat_ngram_size", 0.0 }, { "encoder_no_repeat_ngram_size", 0.0 },
        { "min_length", 0.0 },           { "min_new_tokens", 0.0 },
        { "num_beams", 1.0 },            { "guidance_scale", 1.0 },
        { "diversity_penalty", 0.0 },
    };
    static const char *const others[] = {
        "top_h", "bad_words_ids", "sequence_bias", "begin_suppress_tokens", "forced_bos_token_id",
        "forced_eos_token_id", "force_words_ids", "exponential_decay_length_penalty",
        "watermarking_config", "penalty_alpha", "dola_layers", "constraints", "stop_strings",
    };
    double got;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        G4_TRY(g4_json_opt_num(j, numbers[i].key, numbers[i].neutral, numbers[i].neutral, &got,
                               err));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (g4_json_has(j, others[i]))
            return g4_fail(err, G4_EINPUT, "%s: %s is not known here", j->file, others[i]);
    return G4_OK;
}

g4_status g4_generation_parse(g4_generation *g, const g4_json *j, const g4_config *c, g4_err *err)
{
    *g = (g4_generation){ .eos_count = c->eos_count, .temperature = 1.0, .top_p = 1.0,
                          .top_k = 50 };
    memcpy(g->eos, c->eos, sizeof g->eos);
    if (!j->root) return G4_OK;
    G4_TRY(only_neutral(j, err));
    G4_TRY(g4_token_ids_read(j, "eos_token_id", c->vocab_size, g->eos, 16, &g->eos_count, err));
    G4_TRY(g4_token_ids_read(j, "suppress_tokens", c->vocab_size, g->suppress, 64,
                             &g->suppress_count, err));
    G4_TRY(g4_json_opt_bool(j, "do_sample", &g->do_sample, err));
    G4_TRY(g4_json_opt_num(j, "temperature", 0.0, 1e6, &g->temperature, err));
    G4_TRY(g4_json_opt_num(j, "top_p", 0.0, 1.0, &g->top_p, err));
    G4_TRY(g4_json_opt_int(j, "top_k", 0, MAX_TOP_K, &g->top_k, err));
    return g4_json_opt_int(j, "num_assistant_tokens", 0, 1024, &g->num_assistant_tokens, err);
}

g4_status g4_generation_load(g4_generation *g, const char *dir, const g4_config *c, g4_err *err)
{
    g4_arena arena = { NULL };
    g4_json j = { .root = NULL };
    g4_status s = g4_document_load(&j, &arena, dir, "generation_config.json", 0,
                                   MAX_CONFIG_BYTES, err);
    if (s == G4_OK) s = g4_generation_parse(g, &j, c, err);
    g4_json_free(&j);
    g4_arena_free(&arena);
    return s;
}
