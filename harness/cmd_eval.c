/* SPDX-License-Identifier: Apache-2.0
 * gemma4 eval: a task's published files, lm-eval's prompts and scoring, lm-eval's
 * result files.  Exit 0 whatever the score. */
#include "harness/eval/eval.h"
#include "harness/eval/pystr.h"

#include <math.h>
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
    g4_arena arena;
    g4_err *err;
} job;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* datetime.now().isoformat().replace(":", "-") */
static void date_text(char out[64])
{
    struct timespec t;
    struct tm local;
    char head[40] = "unknown";
    clock_gettime(CLOCK_REALTIME, &t);
    if (localtime_r(&t.tv_sec, &local)) strftime(head, sizeof head, "%Y-%m-%dT%H-%M-%S", &local);
    snprintf(out, 64, "%s.%06ld", head, t.tv_nsec / 1000);
}

/* lm-eval's sanitize_model_name: re.sub(r"[\"<>:/\|\\?\*\[\]]+", "__", name) */
static const char *folder_name(g4_arena *a, const char *model)
{
    char *out = g4_arena_alloc(a, 2 * strlen(model) + 1, 1);
    size_t n = 0;
    for (const char *p = model; out && *p;) {
        size_t bad = strspn(p, "\"<>:/|\\?*[]");
        if (bad) memcpy(out + n, "__", 2);
        else out[n] = *p;
        n += bad ? 2 : 1;
        p += bad ? bad : 1;
    }
    return out;
}

static void print_row(const g4_eval *e, const char *name, int64_t shots, size_t n, double mean,
                      double stderr_)
{
    printf("| %-40s | %6lld | %-11s | %6zu | %.4f | ", name, (long long)shots, e->task->metric, n,
           mean);
    if (isfinite(stderr_)) printf("%.4f |\n", stderr_);
    else printf("   N/A |\n");
}

/* Markdown; groups below their members. */
static void print_table(const g4_eval *e)
{
    printf("| %-40s | n-shot | %-11s | %6s | value  | stderr |\n"
           "|%.42s|-------:|-------------|-------:|-------:|-------:|\n",
           "task", "metric", "n", "--------------------------------------------");
    for (size_t i = 0; i < e->count; i++) {
        const g4_leaf *l = &e->leaves[i];
        print_row(e, l->name, l->shots, l->count, l->mean, l->stderr_);
    }
    g4_pooled p = g4_eval_pool(e, NULL);
    if (e->count > 1) print_row(e, e->task->name, e->leaves[0].shots, p.docs, p.mean, p.stderr_);
}

static g4_status print_json(const job *j, const g4_eval_report *r)
{
    json_t *all = g4_eval_results(&j->eval, r);
    int bad = !all || json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17)) != 0;
    json_decref(all);
    if (bad || putchar('\n') == EOF)
        return g4_fail(j->err, G4_EIO, "standard output: cannot write");
    return G4_OK;
}

static g4_status work(job *j)
{
    const g4_options *o = j->o;
    g4_eval_source src = { .name = o->task, .dir = o->data, .shots = o->shots, .limit = o->limit,
                           .max_tokens = o->max_tokens };
    char date[64];
    double start = now();
    date_text(date);
    G4_TRY(g4_eval_open(&j->eval, &src, j->err));
    G4_TRY(g4_runtime_open(&j->rt, o, G4_DRAFT_NONE, j->err));
    G4_TRY(g4_tokenizer_load(&j->tokenizer, o->model, j->err));
    G4_TRY(g4_processor_load(&j->processor, o->model, j->err));
    j->run = (g4_eval_run){ .rt = &j->rt, .o = o, .tokenizer = j->tokenizer,
                            .processor = &j->processor, .dir = o->data,
                            .model_name = folder_name(&j->arena, o->model) };
    if (!j->run.model_name) return g4_nomem(j->err, o->model);
    for (size_t i = 0; i < j->eval.count; i++) {
        g4_leaf *l = &j->eval.leaves[i];
        G4_TRY(g4_eval_score(&j->eval, l, &j->run, j->err));
        fprintf(stderr, "%zu/%zu  %s  %.4f  (%zu, %.0f s)\n", i + 1, j->eval.count, l->name,
                l->mean, l->count, now() - start);
    }
    g4_eval_report r = { .run = &j->run, .date = date, .seconds = now() - start };
    G4_TRY(g4_eval_write(&j->eval, &r, o->out, j->err));
    if (o->json) return print_json(j, &r);
    print_table(&j->eval);
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
    g4_status s = work(j);
    g4_eval_close(&j->eval);
    g4_tokenizer_free(j->tokenizer);
    g4_runtime_close(&j->rt);
    g4_arena_free(&j->arena);
    free(j);
    return s != G4_OK ? 2 : 0;
}
