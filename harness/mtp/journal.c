/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/mtp/mtp.h"

#include "harness/model_sum.h"
#include "ref/base/map.h"

#include <stdlib.h>
#include <string.h>

const char *g4_mtp_way_name(g4_draft_way way)
{
    static const char *const names[] = { "none", "hf", "llama.cpp", "vllm" };
    return names[way];
}

static g4_status data_sum(const char *path, char hex[G4_SHA256_HEX], g4_err *err)
{
    uint8_t *data;
    size_t size;
    g4_sha256 sum;
    G4_TRY(g4_file_read(path, 256 << 20, &data, &size, err));
    g4_sha256_begin(&sum);
    g4_sha256_add(&sum, data, size);
    g4_sha256_end(&sum, hex);
    free(data);
    return G4_OK;
}

/* What two runs must have in common for their texts to go together. */
static g4_status settings(const g4_mtp_study *s, json_t **out, g4_err *err)
{
    const g4_options *o = s->o;
    const g4_sampler *p = &s->opt.sampler;
    char data[G4_SHA256_HEX], model[G4_SHA256_HEX], draft[G4_SHA256_HEX];
    G4_TRY(data_sum(o->data, data, err));
    G4_TRY(g4_model_sum(o->model, model, err));
    G4_TRY(g4_model_sum(s->rt.draft->dir, draft, err));
    *out = json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:b, s:I, s:s, s:f, s:I, s:f, s:I, s:b, s:s,"
                     " s:s, s:s, s:s, s:s}",
                     "format", "gemma4-mtp", "format_version", 1, "model", model, "draft", draft,
                     "data", data, "max_draft", (json_int_t)s->opt.max_draft, "paced",
                     s->opt.pace != NULL, "max_tokens", (json_int_t)s->opt.max_tokens, "emulate",
                     g4_mtp_way_name(s->opt.way), "temperature", p->temperature, "top_k",
                     (json_int_t)p->top_k, "top_p", p->top_p, "seed", (json_int_t)p->seed,
                     "ignore_eos", o->ignore_eos, "engine", o->engine ? o->engine : "opt", "bf16",
                     o->bf16 ? o->bf16 : "exact", "kv", o->kv ? o->kv : "f32", "mask",
                     o->mask ? o->mask : "official", "accept", o->accept ? o->accept : "");
    return *out ? G4_OK : g4_nomem(err, "journal");
}

/* ---- writing ---- */

g4_status g4_mtp_journal_add(const g4_journal *j, const g4_mtp_study *s, size_t prompt,
                             size_t first_round, g4_err *err)
{
    const g4_mtp_text *t = &s->texts[prompt];
    json_t *ids = json_array(), *rounds = json_array(), *places = json_array();
    for (int64_t i = 0; i < t->tokens; i++)
        json_array_append_new(ids, json_integer(s->ids[t->first_id + (size_t)i]));
    for (size_t i = first_round; i < s->round_count; i++) {
        const g4_mtp_round *r = &s->rounds[i];
        json_array_append_new(rounds, json_pack("[i,i,i,i,i,i,f,f]", r->cached, r->k, r->matched,
                                                r->taken, r->written, r->next, r->draft_s,
                                                r->verify_s));
        for (int k = 0; k < r->k; k++) {
            const g4_mtp_place *p = &s->places[r->first + (size_t)k];
            json_array_append_new(places, json_pack("[i,f,f,f,f]", p->id, p->draft_p, p->target_p,
                                                    p->tv, p->entropy));
        }
    }
    json_t *line = json_pack("{s:I, s:I, s:f, s:f, s:o, s:o, s:o}", "prompt", (json_int_t)prompt,
                             "prompt_tokens", (json_int_t)t->prompt_tokens, "prefill_s",
                             t->prefill_s, "decode_s", t->decode_s, "ids", ids, "rounds", rounds,
                             "places", places);
    return g4_journal_add(j, line, err);
}

/* ---- reading ---- */

static int read_round(g4_mtp_study *s, size_t prompt, const json_t *v, size_t *place,
                      const json_t *places)
{
    g4_mtp_round *r = g4_mtp_add_round(s);
    int x[6];
    if (!r || json_unpack((json_t *)v, "[i,i,i,i,i,i,F,F]", &x[0], &x[1], &x[2], &x[3], &x[4],
                          &x[5], &r->draft_s, &r->verify_s) != 0)
        return 0;
    r->prompt = (int32_t)prompt;
    r->cached = x[0];
    r->k = x[1];
    r->matched = x[2];
    r->taken = x[3];
    r->written = x[4];
    r->next = x[5];
    if (r->k < 0 || r->k > G4_MAX_DRAFT || r->matched < 0 || r->matched > r->k || r->taken < 0 ||
        r->taken > r->matched || r->written < 0 || r->written > r->matched + 1 || r->cached < 0)
        return 0;
    for (int i = 0; i < r->k; i++) {
        g4_mtp_place *p = g4_mtp_add_place(s);
        if (!p || json_unpack(json_array_get(places, (*place)++), "[i,F,F,F,F]", &p->id,
                              &p->draft_p, &p->target_p, &p->tv, &p->entropy) != 0)
            return 0;
    }
    return 1;
}

static int read_text(void *ctx, const json_t *line)
{
    g4_mtp_study *s = ctx;
    json_int_t prompt = -1, tokens = 0;
    json_t *ids, *rounds, *places, *v;
    g4_mtp_text t = { .done = 1, .first_id = s->id_count };
    size_t i, place = 0;
    if (json_unpack((json_t *)line, "{s:I, s:I, s:F, s:F, s:o, s:o, s:o}", "prompt", &prompt,
                    "prompt_tokens", &tokens, "prefill_s", &t.prefill_s, "decode_s", &t.decode_s,
                    "ids", &ids, "rounds", &rounds, "places", &places) != 0)
        return 0;
    if (prompt < 0 || (size_t)prompt >= s->count || s->texts[prompt].done) return 0;
    t.prompt_tokens = tokens;
    t.tokens = (int64_t)json_array_size(ids);
    json_array_foreach(ids, i, v)
        if (!g4_mtp_add_id(s, (int32_t)json_integer_value(v))) return 0;
    json_array_foreach(rounds, i, v)
        if (!read_round(s, (size_t)prompt, v, &place, places)) return 0;
    s->texts[prompt] = t;
    return 1;
}

static int is_header(const json_t *v)
{
    const char *format = json_string_value(json_object_get(v, "format"));
    return format && strcmp(format, "gemma4-mtp") == 0 &&
           json_integer_value(json_object_get(v, "format_version")) == 1;
}

g4_status g4_mtp_journal_open(g4_journal *j, g4_mtp_study *s, g4_err *err)
{
    static const char *const own_keys[] = { NULL };
    static const g4_journal_kind kind = {
        is_header, "is not the settings of a study of drafts", own_keys, read_text,
        "is no text of these prompts, or one that has been",
    };
    json_t *own = NULL;
    size_t n = strlen(s->o->out) + sizeof "/rounds.jsonl";
    char *path = malloc(n);
    if (!path) return g4_nomem(err, s->o->out);
    snprintf(path, n, "%s/rounds.jsonl", s->o->out);
    g4_status st = settings(s, &own, err);
    if (st == G4_OK) st = g4_journal_open(j, path, own, s->o->resume, &kind, s, err);
    json_decref(own);
    free(path);
    return st;
}
