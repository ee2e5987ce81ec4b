/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

g4_status g4_eval_progress_begin(g4_eval_progress *p, g4_eval *e, g4_err *err)
{
    *p = (g4_eval_progress){ .begin = now(), .terminal = isatty(STDERR_FILENO) };
    for (size_t i = 0; i < e->count; i++)
        for (size_t k = 0; k < e->leaves[i].count; k++) {
            g4_doc *d = &e->leaves[i].docs[k];
            p->total += !d->other;
            if (!d->done) continue;
            G4_TRY(g4_doc_score(e, d, err));
            p->before++;
            p->score += d->score[0];
        }
    p->done = p->before;
    p->shown = p->begin;
    if (p->before) fprintf(stderr, "%zu of %zu were answered before\n", p->before, p->total);
    return G4_OK;
}

static void show(g4_eval_progress *p, const char *name, double at)
{
    double rate = (double)(p->done - p->before) / fmax(at - p->begin, 1e-9);
    double left = (double)(p->total - p->done) / rate;
    p->shown = at;
    fprintf(stderr, "%s%zu/%zu  %s  %.4f  %.3g/s  %d:%02d:%02d left%s", p->terminal ? "\r" : "",
            p->done, p->total, name, p->score / (double)p->done, rate, (int)(left / 3600.0),
            (int)(left / 60.0) % 60, (int)left % 60, p->terminal ? "\x1b[K" : "\n");
    fflush(stderr);
}

void g4_eval_progress_add(g4_eval_progress *p, const g4_leaf *leaf, size_t doc)
{
    double at = now();
    p->done++;
    p->score += leaf->docs[doc].score[0];
    if (at - p->shown >= (p->terminal ? 0.2 : 60.0) || p->done == p->total)
        show(p, leaf->name, at);
}

void g4_eval_progress_end(g4_eval_progress *p)
{
    if (p->terminal && p->done > p->before) fputc('\n', stderr);
}

/* ---- the table ---- */

/* Wilson's interval of 95 %, of as many answers as the standard error speaks of: it stays within
 * 0 and 1, and has a width where all answers are alike, whose standard error is 0. */
static void interval(const g4_pooled *p, double *low, double *high)
{
    double z2 = 1.96 * 1.96, v = p->stderr_ * p->stderr_, y = p->mean;
    double n = v > 0.0 ? y * (1.0 - y) / v : (double)p->docs;
    double middle = (y + z2 / (2.0 * n)) / (1.0 + z2 / n);
    double half = sqrt(z2 * y * (1.0 - y) / n + z2 * z2 / (4.0 * n * n)) / (1.0 + z2 / n);
    *low = fmax(middle - half, 0.0);
    *high = fmin(middle + half, 1.0);
}

static void print_row(const g4_metric *how, const char *name, int64_t shots, g4_pooled p)
{
    char metric[48];
    double low, high;
    int plain = strcmp(how->filter, "none") == 0;
    snprintf(metric, sizeof metric, "%s%s%s", how->name, plain ? "" : ",",
             plain ? "" : how->filter);
    printf("| %-40s | %6lld | %-28s | %6zu | %.4f | ", name, (long long)shots, metric, p.docs,
           p.mean);
    if (isfinite(p.stderr_) && p.docs) {
        interval(&p, &low, &high);
        printf("%.4f | %.4f to %.4f |\n", p.stderr_, low, high);
    } else {
        printf("   N/A |              N/A |\n");
    }
}

void g4_eval_table(const g4_eval *e, const g4_eval_report *r)
{
    const g4_task *t = e->task;
    struct rusage use;
    int64_t tokens = 0;
    size_t docs = 0;
    static const char line[] = "--------------------------------------------";
    printf("| %-40s | n-shot | %-28s | %6s | value  | stderr | 95 %% interval    |\n"
           "|%.42s|-------:|%.30s|-------:|-------:|-------:|-----------------:|\n",
           "task", "metric", "n", line, line);
    for (size_t i = 0; i < e->count; i++) {
        const g4_leaf *l = &e->leaves[i];
        for (int m = 0; m < t->metric_count; m++)
            print_row(&t->metrics[m], l->name, l->shots,
                      (g4_pooled){ l->mean[m], l->stderr_[m], l->count, 1 });
        for (size_t k = 0; k < l->count; k++) tokens += l->docs[k].tokens;
        docs += l->count;
    }
    for (int m = 0; e->count > 1 && m < t->metric_count; m++)
        print_row(&t->metrics[m], t->name, e->leaves[0].shots, g4_eval_pool(e, NULL, m));
    getrusage(RUSAGE_SELF, &use);
    double held = fmax((double)use.ru_maxrss, (double)r->memory);
    printf("%zu questions, %lld tokens, %.1f s; %.2f GB of memory at most in this run\n", docs,
           (long long)tokens, r->seconds, held * 1024e-9);
    if (e->computed)
        printf("%lld tokens computed in this run; each option by itself would take %lld, %.2f "
               "times as many\n", (long long)e->computed, (long long)e->alone,
               (double)e->alone / (double)e->computed);
}
