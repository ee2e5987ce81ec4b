/* SPDX-License-Identifier: Apache-2.0
 * gemma4 dump: prefills, their activations as golden files.  One request into OUT.h5;
 * or the inputs of several golden files, each into a file of its name in the folder
 * OUT, as many of them at once as go in a pass (harness/pass.h). */
#include "harness/dump.h"
#include "harness/interrupt.h"
#include "harness/pass.h"
#include "harness/verify.h"
#include "ref/base/map.h"
#include "ref/model/generate.h"

#include <string.h>

enum { DEFAULT_STEPS = 5, DEFAULT_TOKENS = 40 };

typedef struct job {
    const g4_options *o;
    g4_runtime rt;
    g4_dump_detail detail;
    g4_options *options;        /* [requests] with inputs and out of their own */
    int requests;
    g4_dump dumps[G4_PASS_CASES];
    g4_pass_case cases[G4_PASS_CASES];
    g4_tap taps[G4_PASS_CASES];
    g4_pass pass;
    int count;                  /* of the pass */
    g4_arena arena;
    sigset_t before;            /* signals let through before OUT's temporary file */
    g4_err *err;
} job;

/* Ends the process if Ctrl-C was pressed, the temporary files removed. */
static void let_end(void *ctx)
{
    job *j = ctx;
    if (!g4_interrupt_pending()) return;
    for (int i = 0; i < j->count; i++) {
        g4_golden_abort(j->dumps[i].w);
        j->dumps[i].w = NULL;
    }
    g4_interrupt_release(&j->before);
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Options as if each of the golden files had been asked for alone. */
static g4_status list_requests(job *j)
{
    const g4_options *o = j->o;
    j->requests = o->arg_count ? o->arg_count : 1;
    if (o->arg_count && g4_path_kind(o->out) != 2)
        return g4_fail(j->err, G4_EINPUT, "--out %s: no folder, which golden files behind the "
                       "options need", o->out);
    j->options = g4_arena_alloc(&j->arena, (size_t)j->requests, sizeof *j->options);
    if (!j->options) return g4_nomem(j->err, "dump");
    for (int i = 0; i < j->requests; i++) {
        j->options[i] = *o;
        if (!o->arg_count) break;
        const char *name = file_name(o->args[i]);
        for (int k = 0; k < i; k++)
            if (strcmp(name, file_name(o->args[k])) == 0)
                return g4_fail(j->err, G4_EINPUT, "%s: its name is also that of %s", o->args[i],
                               o->args[k]);
        if (o->inputs)
            return g4_fail(j->err, G4_EINPUT, "%s: golden files exclude --inputs", o->args[i]);
        j->options[i].inputs = o->args[i];
        j->options[i].out = g4_arena_printf(&j->arena, "%s/%s", o->out, name);
        if (!j->options[i].out) return g4_nomem(j->err, "dump");
    }
    return G4_OK;
}

/* As --detail says; without it a golden file of drafts or of texts as it is itself. */
static g4_dump_detail detail_of(const job *j, const g4_golden *g)
{
    const char *own = g && !j->o->detail ? g4_golden_text(g, "detail") : NULL;
    if (own && strcmp(own, "mtp") == 0) return G4_DUMP_MTP;
    return own && strcmp(own, "generate") == 0 ? G4_DUMP_GENERATE : j->detail;
}

static g4_draft_need need_of(g4_dump_detail detail)
{
    return detail == G4_DUMP_MTP ? G4_DRAFT_MUST :
           detail == G4_DUMP_GENERATE ? G4_DRAFT_IF_THERE : G4_DRAFT_NONE;
}

/* Whether any of the requests wants a drafter, which all share. */
static g4_status drafter_needed(job *j, g4_draft_need *need)
{
    *need = need_of(j->detail);
    for (int i = 0; i < j->requests && !j->o->detail && j->options[i].inputs; i++) {
        g4_golden *g;
        G4_TRY(g4_golden_open(&g, j->options[i].inputs, 0, j->err));
        g4_draft_need own = need_of(detail_of(j, g));
        if (own > *need) *need = own;
        g4_golden_close(g);
    }
    return G4_OK;
}

/* Tokens and drafts as many as asked for, else as the golden file has. */
static void choose_lengths(g4_dump *d)
{
    const g4_golden *g = d->asked.golden;
    const g4_golden_set *drafted = g ? g4_golden_find(g, "inputs/drafted") : NULL;
    int64_t text = g ? g4_verify_behind(g) : 0, steps = drafted ? g4_golden_values(drafted) : 0;
    if (text < 1) text = DEFAULT_TOKENS;
    if (steps < 1 || steps > G4_MAX_DRAFT) steps = DEFAULT_STEPS;
    if (d->detail == G4_DUMP_GENERATE) d->tokens = d->o->max_tokens > 0 ? d->o->max_tokens : text;
    if (d->detail >= G4_DUMP_MTP) d->steps = d->o->max_draft > 0 ? d->o->max_draft : steps;
}

/* Requests from `at` on, as long as they go together. */
static g4_status open_pass(job *j, int at)
{
    for (int i = 0; at + i < j->requests && i < G4_PASS_CASES; i++) {
        const g4_options *o = &j->options[at + i];
        g4_dump *d = &j->dumps[i];
        *d = (g4_dump){ .o = o, .rt = &j->rt, .let_end = let_end, .job = j, .err = j->err };
        j->count = i + 1;
        G4_TRY(g4_asked_open(&d->asked, o, j->rt.model, j->err));
        d->detail = detail_of(j, d->asked.golden);
        choose_lengths(d);
        G4_TRY(g4_asked_mask(&d->mask, o, d->asked.golden, j->err));
        j->taps[i] = (g4_tap){ d, g4_dump_observe };
        j->cases[i] = (g4_pass_case){ .prompt = &d->asked.prompt, .behind = d->tokens };
        if (d->detail != G4_DUMP_GENERATE) j->cases[i].tap = &j->taps[i];
        if (d->mask == j->dumps[0].mask && g4_pass_fits(j->cases, i + 1)) continue;
        g4_dump_close(d);
        j->count = i;
        return G4_OK;
    }
    return G4_OK;
}

static g4_status run_pass(job *j)
{
    g4_engine_plan plan = j->rt.plan;
    int64_t steps = 0;
    plan.mask = j->dumps[0].mask;
    for (int i = 0; i < j->count; i++)
        if (j->dumps[i].steps > steps) steps = j->dumps[i].steps;
    g4_pass_plan(&plan, j->cases, j->count, j->o->chunk, steps);
    G4_TRY(g4_pass_open(&j->pass, &j->rt, &plan, j->cases, j->count, j->err));
    for (int i = 0; i < j->count; i++) {
        g4_dump *d = &j->dumps[i];
        d->engine = j->pass.engine;
        d->session = j->cases[i].session;
        d->logits = j->cases[i].logits;
        d->hidden = j->cases[i].hidden;
        if (j->rt.draft) G4_TRY(g4_drafter_open(&d->drafter, j->rt.draft, d->engine, j->err));
        G4_TRY(g4_dump_begin(d));
    }
    G4_TRY(g4_pass_prefill(&j->pass, j->o->chunk, j->err));
    for (int i = 0; i < j->count; i++) G4_TRY(g4_dump_finish(&j->dumps[i]));
    return G4_OK;
}

static void close_pass(job *j)
{
    for (int i = 0; i < j->count; i++) g4_dump_close(&j->dumps[i]);
    g4_pass_close(&j->pass);
    j->count = 0;
}

static g4_status work(job *j)
{
    g4_draft_need need;
    G4_TRY(g4_dump_detail_parse(&j->detail, j->o->detail, j->err));
    G4_TRY(list_requests(j));
    G4_TRY(drafter_needed(j, &need));
    G4_TRY(g4_runtime_open(&j->rt, j->o, need, j->err));
    for (int at = 0; at < j->requests;) {
        G4_TRY(open_pass(j, at));
        G4_TRY(run_pass(j));
        at += j->count;
        close_pass(j);
    }
    return G4_OK;
}

int cmd_dump(const g4_options *o, g4_err *err)
{
    job j = { .o = o, .err = err };
    g4_interrupt_hold(&j.before);
    g4_status s = work(&j);
    close_pass(&j);
    g4_arena_free(&j.arena);
    g4_runtime_close(&j.rt);
    g4_interrupt_release(&j.before);
    return s == G4_OK ? 0 : 2;
}
