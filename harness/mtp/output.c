/* SPDX-License-Identifier: Apache-2.0
 * rounds.h5.  [R] rounds, [M] drafts of all rounds in order, [P] prompts, [I] tokens:
 *   rounds/{prompt,cached,drafted,matched,taken,written,next,first} [R] int32
 *   rounds/{draft_s,verify_s}                                       [R] float64
 *   drafts/id [M] int32;  drafts/{draft_p,target_p,total_variation,entropy} [M] float64
 *   texts/{prompt_tokens,tokens,first} [P] int32, texts/ids [I] int32
 *   texts/{prefill_s,decode_s} [P] float64;  attribute domains: a JSON array [P] */
#include "golden/golden.h"
#include "harness/mtp/mtp.h"

#include <stdlib.h>

typedef struct column {
    const char *path;
    size_t at;                   /* in the element */
    int kind;                    /* 0 int32, 1 double, 2 size_t, 3 int64 */
} column;

#define COL(type, path, field, kind) { path, offsetof(type, field), kind }

static const column round_columns[] = {
    COL(g4_mtp_round, "rounds/prompt", prompt, 0), COL(g4_mtp_round, "rounds/cached", cached, 0),
    COL(g4_mtp_round, "rounds/drafted", k, 0), COL(g4_mtp_round, "rounds/matched", matched, 0),
    COL(g4_mtp_round, "rounds/taken", taken, 0), COL(g4_mtp_round, "rounds/written", written, 0),
    COL(g4_mtp_round, "rounds/next", next, 0), COL(g4_mtp_round, "rounds/first", first, 2),
    COL(g4_mtp_round, "rounds/draft_s", draft_s, 1),
    COL(g4_mtp_round, "rounds/verify_s", verify_s, 1),
};

static const column place_columns[] = {
    COL(g4_mtp_place, "drafts/id", id, 0), COL(g4_mtp_place, "drafts/draft_p", draft_p, 1),
    COL(g4_mtp_place, "drafts/target_p", target_p, 1),
    COL(g4_mtp_place, "drafts/total_variation", tv, 1),
    COL(g4_mtp_place, "drafts/entropy", entropy, 1),
};

static const column text_columns[] = {
    COL(g4_mtp_text, "texts/prompt_tokens", prompt_tokens, 3),
    COL(g4_mtp_text, "texts/tokens", tokens, 3), COL(g4_mtp_text, "texts/first", first_id, 2),
    COL(g4_mtp_text, "texts/prefill_s", prefill_s, 1),
    COL(g4_mtp_text, "texts/decode_s", decode_s, 1),
};

static g4_status put_column(g4_golden_writer *w, const column *c, const void *data, size_t count,
                            size_t size, g4_err *err)
{
    const int64_t dims[1] = { (int64_t)count };
    int real = c->kind == 1;
    double *reals = real ? malloc(count * sizeof *reals) : NULL;
    int32_t *ints = real ? NULL : malloc(count * sizeof *ints);
    if (!reals && !ints) return g4_nomem(err, c->path);
    for (size_t i = 0; i < count; i++) {
        const char *p = (const char *)data + i * size + c->at;
        if (c->kind == 0) ints[i] = *(const int32_t *)p;
        if (c->kind == 1) reals[i] = *(const double *)p;
        if (c->kind == 2) ints[i] = (int32_t)*(const size_t *)p;
        if (c->kind == 3) ints[i] = (int32_t)*(const int64_t *)p;
    }
    g4_status s = g4_golden_write(w, c->path, real ? G4_GOLDEN_F64 : G4_GOLDEN_I32, 1, dims,
                                  real ? (void *)reals : (void *)ints, err);
    free(reals);
    free(ints);
    return s;
}

static g4_status put_table(g4_golden_writer *w, const column *c, size_t columns, const void *data,
                           size_t count, size_t size, g4_err *err)
{
    for (size_t i = 0; i < columns && count; i++)
        G4_TRY(put_column(w, &c[i], data, count, size, err));
    return G4_OK;
}

static g4_status put_attributes(g4_golden_writer *w, const g4_mtp_study *s, g4_err *err)
{
    const g4_options *o = s->o;
    json_t *domains = json_array();
    for (size_t i = 0; i < s->count; i++)
        json_array_append_new(domains, json_string(s->prompts[i].domain));
    char *text = domains ? json_dumps(domains, JSON_COMPACT) : NULL;
    json_decref(domains);
    g4_status st = text ? g4_golden_put_text(w, "domains", text, err) : g4_nomem(err, "domains");
    free(text);
    G4_TRY(st);
    G4_TRY(g4_golden_put_text(w, "format", "gemma4-mtp", err));
    G4_TRY(g4_golden_put_text(w, "model", o->model, err));
    G4_TRY(g4_golden_put_text(w, "emulate", g4_mtp_way_name(s->opt.way), err));
    G4_TRY(g4_golden_put_int(w, "max_draft", s->opt.max_draft, err));
    return g4_golden_put_int(w, "paced", s->opt.pace != NULL, err);
}

static g4_status put_all(g4_golden_writer *w, const g4_mtp_study *s, g4_err *err)
{
#define TABLE(columns, data, count) \
    put_table(w, columns, sizeof columns / sizeof *columns, data, count, sizeof *(data), err)
    const int64_t ids[1] = { (int64_t)s->id_count };
    G4_TRY(put_attributes(w, s, err));
    G4_TRY(TABLE(round_columns, s->rounds, s->round_count));
    G4_TRY(TABLE(place_columns, s->places, s->place_count));
    G4_TRY(TABLE(text_columns, s->texts, s->count));
    if (!s->id_count) return G4_OK;
    return g4_golden_write(w, "texts/ids", G4_GOLDEN_I32, 1, ids, s->ids, err);
}

g4_status g4_mtp_write_rounds(const g4_mtp_study *s, const char *path, g4_err *err)
{
    g4_golden_writer *w;
    G4_TRY(g4_golden_create(&w, path, err));
    g4_status st = put_all(w, s, err);
    if (st == G4_OK) return g4_golden_commit(w, err);
    g4_golden_abort(w);
    return st;
}
