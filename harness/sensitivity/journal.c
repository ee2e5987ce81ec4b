/* SPDX-License-Identifier: Apache-2.0
 * DIR/points.jsonl: a line a point (harness/journal.h).  Points of earlier runs stay, also
 * such as this run does not ask for: a study grows. */
#include "harness/model_sum.h"
#include "harness/sensitivity/sensitivity.h"

#include <stdlib.h>
#include <string.h>

/* What two runs must have in common for their points to be compared. */
static g4_status settings(const g4_sens_study *s, json_t **out, g4_err *err)
{
    const g4_options *o = s->o;
    char model[G4_SHA256_HEX], data[G4_SHA256_HEX];
    g4_sha256 sha;
    G4_TRY(g4_model_sum(o->model, model, err));
    g4_sha256_begin(&sha);
    G4_TRY(g4_sum_path(&sha, o->data, err));
    g4_sha256_end(&sha, data);
    *out = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:I}", "format",
                     "gemma4-sensitivity", "format_version", 1, "model", model, "data", data,
                     "mask", o->mask ? o->mask : "official", "bos", o->bos ? o->bos : "auto",
                     "limit", (json_int_t)o->limit, "image_tokens", (json_int_t)o->image_tokens,
                     "audio_limit", o->audio_limit, "seed", (json_int_t)o->seed);
    if (!*out) return g4_nomem(err, "journal");
    if (!o->draft) return G4_OK;
    G4_TRY(g4_model_sum(o->draft, model, err));
    return json_object_set_new(*out, "draft", json_string(model)) == 0 ? G4_OK
                                                                      : g4_nomem(err, "journal");
}

static int is_header(const json_t *v)
{
    const char *format = json_string_value(json_object_get(v, "format"));
    return format && strcmp(format, "gemma4-sensitivity") == 0 &&
           json_integer_value(json_object_get(v, "format_version")) == 1;
}

static int take(void *ctx, const json_t *line)
{
    g4_sens_study *s = ctx;
    const char *name = json_string_value(json_object_get(line, "point"));
    size_t L = (size_t)s->candidate.config.num_hidden_layers;
    if (!name || g4_sens_result(s, name) ||
        json_array_size(json_object_get(line, "layers")) > L ||
        json_array_size(json_object_get(line, "document_kl")) != s->data.count ||
        !json_is_object(json_object_get(line, "domains")))
        return 0;
    return json_array_append_new(s->results, json_deep_copy(line)) == 0;
}

g4_status g4_sens_journal_open(g4_sens_study *s, g4_err *err)
{
    static const char *const own_keys[] = { NULL };
    static const g4_journal_kind kind = {
        is_header, "is not the settings of a study of sensitivity", own_keys, take,
        "is no point of this model and data, or one that has been",
    };
    json_t *own = NULL;
    char *path = g4_arena_printf(&s->arena, "%s/points.jsonl", s->o->out);
    if (!path) return g4_nomem(err, s->o->out);
    g4_status st = settings(s, &own, err);
    if (st == G4_OK) st = g4_journal_open(&s->journal, path, own, s->o->resume, &kind, s, err);
    json_decref(own);
    return st;
}

const json_t *g4_sens_result(const g4_sens_study *s, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach(s->results, i, v) {
        const char *has = json_string_value(json_object_get(v, "point"));
        if (has && strcmp(has, name) == 0) return v;
    }
    return NULL;
}
