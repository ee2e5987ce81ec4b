/* SPDX-License-Identifier: Apache-2.0
 * gemma4 eval: a task's published files, lm-eval's prompts and scoring, lm-eval's
 * result files.  Exit 0 whatever the score. */
#include "harness/eval/frame.h"
#include "harness/eval/journal.h"
#include "harness/eval/progress.h"
#include "harness/eval/ranks.h"
#include "harness/model_sum.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct job {
    const g4_options *o;
    g4_runtime rt;
    g4_tokenizer *tokenizer;
    g4_processor processor;
    g4_eval eval;
    g4_eval_run run;
    g4_journal journal;
    g4_eval_progress progress;
    g4_ranks ranks;
    json_t *header;
    int64_t shard, shards;
    g4_arena arena;
    g4_err *err;
} job;

/* SOURCE_DATE_EPOCH, as reproducible builds have it: that is the date, and nothing takes
 * time; reports of the same answers are then the same bytes. */
static double fixed_clock(void)
{
    return 0.0;
}

static double running_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* datetime.now().isoformat().replace(":", "-") */
static void date_text(char out[64], const char *epoch)
{
    struct timespec t = { 0 };
    struct tm parts;
    char head[40] = "1970-01-01T00-00-00";
    if (epoch) t.tv_sec = (time_t)strtoll(epoch, NULL, 10);
    else clock_gettime(CLOCK_REALTIME, &t);
    if (epoch ? gmtime_r(&t.tv_sec, &parts) : localtime_r(&t.tv_sec, &parts))
        strftime(head, sizeof head, "%Y-%m-%dT%H-%M-%S", &parts);
    snprintf(out, 64, "%s.%06ld", head, t.tv_nsec / 1000);
}

/* "i/n" */
static g4_status parse_shard(job *j)
{
    const char *text = j->o->shard;
    char *end = NULL;
    j->shards = 1;
    if (!text) return G4_OK;
    j->shard = strtoll(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '/' && end[1] >= '1' && end[1] <= '9') {
        j->shards = strtoll(end + 1, &end, 10);
        if (!*end && j->shard < j->shards) return G4_OK;
    }
    return g4_fail(j->err, G4_EINPUT, "--shard %.40s: expected i/n, i from 0 to n-1", text);
}

/* ---- the report ---- */

static g4_status report(job *j, const json_t *header)
{
    g4_eval_report r = { .header = header, .memory = j->ranks.memory };
    for (size_t i = 0; i < j->eval.count; i++) {
        g4_leaf *l = &j->eval.leaves[i];
        G4_TRY(g4_leaf_score(&j->eval, l, j->err));
        for (size_t k = 0; k < l->count; k++) r.seconds += l->docs[k].seconds;
    }
    G4_TRY(g4_eval_write(&j->eval, &r, j->o->out, j->err));
    if (!j->o->json) {
        g4_eval_table(&j->eval, &r);
        return G4_OK;
    }
    json_t *all = g4_eval_results(&j->eval, &r);
    if (j->eval.computed)   /* of this run alone, so not in files that a resumed run leaves, too */
        json_object_set_new(all, "tokens", json_pack("{s:I, s:I}", "computed",
                                                     (json_int_t)j->eval.computed, "alone",
                                                     (json_int_t)j->eval.alone));
    int bad = !all || json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17)) != 0;
    json_decref(all);
    if (bad || putchar('\n') == EOF)
        return g4_fail(j->err, G4_EIO, "standard output: cannot write");
    return G4_OK;
}

/* ---- merging ---- */

/* The settings of the journal that was begun first: those of all but for when and where. */
static g4_status first_header(job *j, char **paths, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_t *h, *old = j->header;
        g4_status s = g4_eval_journal_header(paths[i], &h, j->err);
        int earlier = s == G4_OK &&
                      (!old || strcmp(json_string_value(json_object_get(h, "started")),
                                      json_string_value(json_object_get(old, "started"))) < 0);
        if (earlier) j->header = h;
        json_decref(earlier ? old : h);
        G4_TRY(s);
    }
    return G4_OK;
}

static g4_status open_task(job *j)
{
    const json_t *h = j->header;
    const char *data = json_string_value(json_object_get(h, "data"));
    const char *sum = json_string_value(json_object_get(h, "documents"));
    char own[G4_SHA256_HEX];
    g4_eval_source src = {
        .name = json_string_value(json_object_get(h, "task")),
        .dir = j->o->data ? j->o->data : data,
        .shots = json_integer_value(json_object_get(h, "shots")),
        .limit = json_integer_value(json_object_get(h, "limit")),
        .max_tokens = json_integer_value(json_object_get(h, "max_tokens")),
    };
    g4_frame_read(&src.frame, json_object_get(h, "frame"));   /* is_header() saw it */
    G4_TRY(g4_eval_open(&j->eval, &src, j->err));
    G4_TRY(g4_eval_sum(&j->eval, own, j->err));
    if (strcmp(own, sum) == 0) return G4_OK;
    return g4_fail(j->err, G4_EINPUT, "%s: not the questions that the journals answer", src.dir);
}

static g4_status merge(job *j)
{
    const g4_options *o = j->o;
    char **paths;
    size_t n, open = 0, all = 0;
    if (j->ranks.size > 1)
        return g4_fail(j->err, G4_EINPUT, "eval --merge: takes one process, not mpirun's %d",
                       j->ranks.size);
    if (!o->arg_count || o->model || o->task || o->resume || o->shard)
        return g4_fail(j->err, G4_EINPUT, "eval --merge: takes DIR..., --data, --out and --json");
    G4_TRY(g4_eval_journals(o->args, o->arg_count, &j->arena, &paths, &n, j->err));
    G4_TRY(first_header(j, paths, n));
    G4_TRY(open_task(j));
    for (size_t i = 0; i < n; i++)
        G4_TRY(g4_eval_journal_take(&j->eval, paths[i], j->header, j->err));
    for (size_t i = 0; i < j->eval.count; i++)
        for (size_t k = 0; k < j->eval.leaves[i].count; k++, all++)
            open += !j->eval.leaves[i].docs[k].done;
    if (open)
        return g4_fail(j->err, G4_EINPUT, "%s: %zu of %zu questions have no answer yet",
                       o->args[0], open, all);
    return report(j, j->header);
}

/* ---- running ---- */

/* How the model is run, as results show it; what cannot change an answer is not in it. */
static json_t *config_of(const job *j)
{
    const g4_options *o = j->o;
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:f, s:I}", "model",
                     "gemma4", "model_args", o->model, "engine", o->engine ? o->engine : "opt",
                     "bf16", o->bf16 ? o->bf16 : "exact", "isa", o->isa ? o->isa : "all", "kv",
                     o->kv ? o->kv : "f32", "bos", o->bos ? o->bos : "auto", "mask",
                     o->mask ? o->mask : "official", "ctx", (json_int_t)o->ctx, "limit",
                     o->limit ? json_integer((json_int_t)o->limit) : json_null(), "audio_limit",
                     o->audio_limit, "image_tokens",
                     (json_int_t)(o->image_tokens ? o->image_tokens
                                                  : j->processor.image.max_soft_tokens));
}

static g4_status make_header(job *j, const g4_eval_source *src, const char *date)
{
    char sum[G4_SHA256_HEX];
    g4_eval_how how = { .model_sum = sum, .date = date, .config = config_of(j), .shard = j->shard,
                        .shards = j->shards };
    g4_status s = how.config ? g4_model_sum(j->o->model, sum, j->err)
                             : g4_nomem(j->err, j->o->model);
    if (s == G4_OK) s = g4_eval_header(&j->header, &j->eval, src, &how, j->err);
    json_decref(how.config);
    return s;
}

static g4_status finished(void *ctx, const g4_leaf *leaf, size_t doc, g4_err *err)
{
    job *j = ctx;
    G4_TRY(g4_eval_journal_add(&j->journal, leaf, doc, err));
    g4_eval_progress_add(&j->progress, leaf, doc);
    return G4_OK;
}

/* All of a task's documents ask for the same. */
static const g4_doc *first_doc(const job *j)
{
    static const g4_doc none;
    for (size_t i = 0; i < j->eval.count; i++)
        if (j->eval.leaves[i].count) return j->eval.leaves[i].docs;
    return &none;
}

/* Rank 0 of several only hands out. */
static g4_status open_model(job *j)
{
    const g4_options *o = j->o;
    if (j->ranks.rank || j->ranks.size == 1) {
        G4_TRY(g4_runtime_open(&j->rt, o, G4_DRAFT_NONE, j->err));
        G4_TRY(g4_tokenizer_load(&j->tokenizer, o->model, j->err));
    }
    return g4_processor_load(&j->processor, o->model, j->err);
}

static g4_status answer(job *j)
{
    const g4_options *o = j->o;
    int ranks = j->ranks.size > 1;
    if (ranks) G4_TRY(g4_ranks_gather(&j->ranks, j->header, j->err));
    G4_TRY(g4_make_folder(o->out, j->err));
    G4_TRY(g4_eval_journal_open(&j->journal, &j->eval, o->out, j->header, o->resume, j->err));
    G4_TRY(g4_eval_progress_begin(&j->progress, &j->eval, j->err));
    if (ranks) G4_TRY(g4_ranks_lead(&j->ranks, &j->eval, &j->run, j->err));
    for (size_t i = 0; !ranks && i < j->eval.count; i++)
        G4_TRY(g4_eval_score(&j->eval, &j->eval.leaves[i], &j->run, j->err));
    g4_eval_progress_end(&j->progress);
    return G4_OK;
}

static g4_status work(job *j)
{
    const g4_options *o = j->o;
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    g4_eval_source src = { .name = o->task, .dir = o->data, .shots = o->shots, .limit = o->limit,
                           .max_tokens = o->max_tokens };
    char date[64];
    G4_TRY(g4_ranks_begin(&j->ranks, j->err));
    if (o->merge) return merge(j);
    if (!o->model || !o->task || !o->data)
        return g4_fail(j->err, G4_EINPUT, "eval needs --model, --task and --data, or --merge");
    if (o->arg_count)
        return g4_fail(j->err, G4_EINPUT, "%s: only --merge takes folders", o->args[0]);
    date_text(date, epoch);
    G4_TRY(parse_shard(j));
    G4_TRY(g4_frame_choose(&src.frame, o, j->err));
    G4_TRY(g4_eval_open(&j->eval, &src, j->err));
    if (src.frame.turns && src.frame.chat.thinking == 1 && g4_doc_numbers(first_doc(j)))
        return g4_fail(j->err, G4_EINPUT, "--thinking on: --task %s asks for likelihoods, which "
                       "thoughts would stand before", o->task);
    if (o->ctx && !first_doc(j)->rolling)
        return g4_fail(j->err, G4_EINPUT, "--ctx: --task %s has no windows", o->task);
    G4_TRY(open_model(j));
    g4_eval_shard(&j->eval, j->shard, j->shards);
    G4_TRY(make_header(j, &src, date));
    j->run = (g4_eval_run){ .rt = &j->rt, .o = o, .tokenizer = j->tokenizer,
                            .processor = &j->processor, .finished = finished, .ctx = j,
                            .clock = epoch ? fixed_clock : running_clock };
    if (j->ranks.rank) return g4_ranks_follow(&j->eval, j->header, &j->run, j->err);
    G4_TRY(answer(j));
    if (j->shards == 1) return report(j, j->journal.header);
    printf("%s is whole; gemma4 eval --merge takes it with those of the other shards\n",
           j->journal.path);
    return G4_OK;
}

int cmd_eval(const g4_options *o, g4_err *err)
{
    job *j = calloc(1, sizeof *j);
    if (!j) {
        g4_nomem(err, "eval");
        return 2;
    }
    j->o = o;
    j->err = err;
    j->journal = (g4_journal)G4_JOURNAL_NONE;
    g4_status s = work(j);
    g4_journal_close(&j->journal);
    g4_ranks_end(&j->ranks, s, err);
    json_decref(j->header);
    g4_eval_close(&j->eval);
    g4_tokenizer_free(j->tokenizer);
    g4_runtime_close(&j->rt);
    g4_arena_free(&j->arena);
    free(j);
    return s != G4_OK ? 2 : 0;
}
