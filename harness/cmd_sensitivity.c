/* SPDX-License-Identifier: Apache-2.0
 * gemma4 sensitivity: sweeps of rounded weights, activations and caches against the float32
 * reference (harness/sensitivity/sensitivity.h). */
#include "harness/eval/eval.h"
#include "harness/sensitivity/sensitivity.h"
#include "ref/base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EVERY = 20 };             /* seconds of silence */

static g4_status open_candidate(g4_sens_study *s, g4_err *err)
{
    const g4_model *m = s->rt.model;
    size_t L = (size_t)m->config.num_hidden_layers;
    s->candidate = *m;
    s->candidate.layers = g4_arena_alloc(&s->arena, L, sizeof *s->candidate.layers);
    s->noise = g4_arena_alloc(&s->arena, L, sizeof *s->noise);
    if (!s->candidate.layers || !s->noise) return g4_nomem(err, "layers");
    memcpy(s->candidate.layers, m->layers, L * sizeof *s->candidate.layers);
    if (!s->rt.draft) return g4_sens_slots_open(&s->slots, &s->candidate, NULL, &s->arena, err);
    size_t own = (size_t)s->rt.draft->config.num_hidden_layers;
    s->draft = *s->rt.draft;
    s->draft.layers = g4_arena_alloc(&s->arena, own, sizeof *s->draft.layers);
    if (!s->draft.layers) return g4_nomem(err, "layers");
    memcpy(s->draft.layers, s->rt.draft->layers, own * sizeof *s->draft.layers);
    return g4_sens_slots_open(&s->slots, &s->candidate, &s->draft, &s->arena, err);
}

static g4_status open_study(g4_sens_study *s, g4_err *err)
{
    const g4_options *o = s->o;
    G4_TRY(g4_mask_by_name(&s->mask, o->mask ? o->mask : "official", err));
    G4_TRY(g4_runtime_open(&s->rt, o, G4_DRAFT_IF_GIVEN, err));
    G4_TRY(g4_tokenizer_load(&s->tokenizer, o->model, err));
    G4_TRY(open_candidate(s, err));
    if (o->depth && o->budget)
        return g4_fail(err, G4_EINPUT, "--depth: --budget needs KL, of all layers");
    G4_TRY(g4_sens_data_open(&s->data, o, s->rt.model, s->tokenizer, err));
    G4_TRY(g4_sens_points_open(s, err));
    G4_TRY(g4_sens_budget_check(s, err));
    size_t channels = s->slots.count * G4_SENS_CHANNELS;
    s->channels = g4_arena_alloc(&s->arena, channels, sizeof *s->channels);
    s->reference_choice = g4_arena_alloc(&s->arena, s->data.questions + 1, sizeof(int32_t));
    s->results = json_array();
    if (!s->channels || !s->reference_choice || !s->results) return g4_nomem(err, "sensitivity");
    for (size_t i = 0; i < channels; i++) s->channels[i].column = -1;
    G4_TRY(g4_make_folder(o->out, err));
    return g4_sens_journal_open(s, err);
}

static g4_status measure(g4_sens_study *s, g4_sens_bench *b, const g4_sens_point *p, g4_err *err)
{
    g4_sens_run run;
    G4_TRY(g4_sens_bench_run(b, p, &run, err));
    json_t *line = g4_sens_measure(s, p, &run);
    if (!line || json_array_append(s->results, line) != 0) {
        json_decref(line);
        return g4_nomem(err, p->name);
    }
    return g4_journal_add(&s->journal, line, err);
}

/* A line that is written over on a terminal; elsewhere one now and then. */
static void tell(const g4_sens_study *s, size_t i, size_t done, double start, double *told)
{
    int terminal = isatty(STDERR_FILENO), last = i + 1 == s->points.count;
    double now = g4_seconds(), spent = now - start;
    if (!done || (!terminal && !last && now - *told < EVERY)) return;
    *told = now;
    fprintf(stderr, "%s%zu/%zu points, %.0f s, %.0f s left, %s%s", terminal ? "\r" : "", i + 1,
            s->points.count, spent, spent / (double)done * (double)(s->points.count - i - 1),
            s->points.list[i].name, terminal && !last ? "\x1b[K" : "\n");
}

static g4_status measure_all(g4_sens_study *s, g4_sens_bench *b, size_t from, g4_err *err)
{
    double start = g4_seconds(), told = start;
    size_t done = 0;
    for (size_t i = from; i < s->points.count; i++) {
        const g4_sens_point *p = &s->points.list[i];
        if (g4_sens_result(s, p->name)) continue;
        G4_TRY(measure(s, b, p, err));
        tell(s, i, ++done, start, &told);
    }
    return G4_OK;
}

static g4_status study(g4_sens_study *s, g4_err *err)
{
    g4_sens_bench *b = NULL;
    G4_TRY(open_study(s, err));
    g4_status st = g4_sens_bench_open(&b, s, err);
    if (st == G4_OK) {
        fprintf(stderr, "%zu documents, %lld tokens, %lld predicted; the reference took %.1f s; "
                "%zu points\n", s->data.count, (long long)s->data.rows, (long long)s->data.scored,
                s->reference_seconds, s->points.count);
        st = measure_all(s, b, 0, err);
    }
    size_t recipes = s->points.count;
    if (st == G4_OK) st = g4_sens_recipes(s, err);
    if (st == G4_OK) st = measure_all(s, b, recipes, err);
    g4_sens_bench_close(b);
    return st == G4_OK ? g4_sens_report(s, err) : st;
}

int cmd_sensitivity(const g4_options *o, g4_err *err)
{
    g4_options reference = *o;
    reference.engine = "ref";
    g4_sens_study *s = calloc(1, sizeof *s);
    if (!s) {
        g4_nomem(err, o->command);
        return 2;
    }
    s->o = &reference;
    s->journal = (g4_journal)G4_JOURNAL_NONE;
    g4_status st = study(s, err);
    g4_journal_close(&s->journal);
    g4_sens_data_close(&s->data);
    json_decref(s->results);
    free(s->points.list);
    g4_tokenizer_free(s->tokenizer);
    g4_runtime_close(&s->rt);
    g4_arena_free(&s->arena);
    free(s);
    return st == G4_OK ? 0 : 2;
}
