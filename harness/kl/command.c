/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/kl/command.h"

#include "harness/interrupt.h"
#include "ref/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct job {
    const g4_options *o;
    g4_options *other;           /* --reference as a model of its own; malloc'ed */
    g4_runtime rt, reference;
    g4_tokenizer *tokenizer;
    g4_kl_text text;
    g4_kl_source *source;
    g4_kl_sink *sink;
    g4_kl_token *tokens;
    g4_mask mask;
} job;

/* The reference defines: float32 and exact, unless --reference-engine opt. */
static g4_status open_reference(job *j, g4_err *err)
{
    const g4_options *o = j->o;
    if (!(j->other = malloc(sizeof *j->other))) return g4_nomem(err, o->reference);
    *j->other = *o;
    j->other->model = o->reference;
    j->other->mmproj = j->other->bf16 = j->other->kv = NULL;
    j->other->engine = o->reference_engine ? o->reference_engine : "ref";
    G4_TRY(g4_runtime_open(&j->reference, j->other, G4_DRAFT_NONE, err));
    int64_t a = j->rt.model->config.vocab_size, b = j->reference.model->config.vocab_size;
    if (a == b) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: a vocabulary of %lld tokens, where %s has %lld",
                   o->reference, (long long)b, o->model, (long long)a);
}

static g4_status open_all(job *j, g4_err *err)
{
    const g4_options *o = j->o;
    int from_model = o->reference && g4_kl_is_model(o->reference);
    if (!o->data && (!o->reference || from_model))
        return g4_fail(err, G4_EINPUT, "%s: --data F is missing", o->command);
    G4_TRY(g4_mask_by_name(&j->mask, o->mask ? o->mask : "official", err));
    G4_TRY(g4_runtime_open(&j->rt, o, G4_DRAFT_NONE, err));
    G4_TRY(g4_tokenizer_load(&j->tokenizer, o->model, err));
    int64_t V = j->rt.model->config.vocab_size;
    if (o->reference && !from_model)
        return g4_kl_source_open(&j->source, &j->text, o->reference, V, j->tokenizer, err);
    if (from_model) G4_TRY(open_reference(j, err));
    G4_TRY(g4_kl_text_open(&j->text, o, from_model ? &j->reference : &j->rt, j->tokenizer, err));
    if (!o->save) return G4_OK;
    return g4_kl_sink_open(&j->sink, &j->text, o->save, V, o->keep, o->model, err);
}

static const char *engine_of(const g4_runtime *rt)
{
    return rt->plan.stream ? "opt" : "ref";
}

static g4_status report(const job *j, const g4_kl_stats *stats, double seconds, g4_err *err)
{
    const g4_options *o = j->o;
    g4_kl_result r = { .o = o, .text = &j->text, .stats = stats, .source = j->source,
                       .reference = o->reference, .engine = engine_of(&j->rt),
                       .reference_engine = engine_of(&j->reference), .seconds = seconds };
    if (o->out && mkdir(o->out, 0777) != 0 && g4_path_kind(o->out) != 2)
        return g4_fail(err, G4_EIO, "%s: cannot make this folder: %s", o->out, strerror(errno));
    if (o->out) G4_TRY(g4_kl_write(&r, j->tokens, o->out, err));
    if (!o->json) {
        g4_kl_print(&r);
        return G4_OK;
    }
    json_t *root = g4_kl_json(&r);
    if (!root) return g4_nomem(err, "JSON");
    int bad = json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17)) != 0;
    json_decref(root);
    if (bad || putchar('\n') == EOF)
        return g4_fail(err, G4_EIO, "standard output: cannot write");
    return G4_OK;
}

static g4_status work(job *j, g4_err *err)
{
    g4_kl_stats stats;
    double start = g4_seconds();
    G4_TRY(open_all(j, err));
    if (!(j->tokens = calloc((size_t)j->text.scored, sizeof *j->tokens)))
        return g4_nomem(err, "tokens");
    g4_kl_run r = { .text = &j->text, .rt = &j->rt, .reference = j->other ? &j->reference : NULL,
                    .source = j->source, .sink = j->sink, .mask = j->mask, .chunk = j->o->chunk,
                    .tokens = j->tokens };
    G4_TRY(g4_kl_run_all(&r, err));
    if (j->sink) G4_TRY(j->sink->commit(j->sink, err));
    G4_TRY(g4_kl_stats_of(&stats, &j->text, j->tokens, err));
    return report(j, &stats, g4_seconds() - start, err);
}

int g4_kl_command(const g4_options *o, g4_err *err)
{
    sigset_t before;
    job *j = calloc(1, sizeof *j);
    if (!j) {
        g4_nomem(err, o->command);
        return 2;
    }
    j->o = o;
    if (o->save) g4_interrupt_hold(&before);
    g4_status s = work(j, err);
    if (j->sink) j->sink->close(j->sink);
    if (o->save) g4_interrupt_release(&before);
    if (j->source) j->source->close(j->source);
    g4_kl_text_free(&j->text);
    g4_tokenizer_free(j->tokenizer);
    g4_runtime_close(&j->reference);
    g4_runtime_close(&j->rt);
    free(j->other);
    free(j->tokens);
    free(j);
    return s != G4_OK ? 2 : 0;
}
