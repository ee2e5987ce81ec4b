/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/bench_peers.h"

#include "harness/bench_child.h"
#include "harness/bench_find.h"
#include "harness/interrupt.h"
#include "harness/text.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PATIENCE = 3600 };   /* seconds, without --timeout */

int bench_engine_takes(const bench_engine *e, const bench_test *t)
{
    return e->takes_depth || t->depth == 0 || t->decode;
}

/* ---- what else the processors do ---- */

typedef struct load {
    double busy, all, mine;   /* seconds since whenever */
} load;

/* busy < 0: this system does not say. */
static load load_now(void)
{
    load l = { -1, 0, 0 };
    struct rusage used;
    uint64_t user, nice, system, idle, wait = 0, irq = 0, soft = 0, steal = 0;
    FILE *f = fopen("/proc/stat", "r");
    int n = !f ? 0 : fscanf(f, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                            " %" SCNu64 " %" SCNu64 " %" SCNu64, &user, &nice, &system, &idle,
                            &wait, &irq, &soft, &steal);
    if (f) fclose(f);
    if (n < 4) return l;
    double tick = (double)sysconf(_SC_CLK_TCK);
    l.busy = (double)(user + nice + system + irq + soft + steal) / tick;
    l.all = l.busy + (double)(idle + wait) / tick;
    if (getrusage(RUSAGE_SELF, &used) == 0)
        l.mine = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec);
    return l;
}

/* NaN: cannot be told. */
static double others_since(const load *before, double child_seconds)
{
    load now = load_now();
    if (before->busy < 0 || now.busy < 0 || now.all <= before->all) return NAN;
    double theirs = now.busy - before->busy - (now.mine - before->mine) - child_seconds;
    return theirs < 0 ? 0 : theirs / (now.all - before->all);
}

/* ---- one run ---- */

/* A row of llama-bench's JSON.  Without n_depth, tokens behind a prompt are what -gp asked
 * for: the prompt is the context. */
static int read_row(const json_t *row, bench_test *t, double *rate)
{
    const json_t *p = json_object_get(row, "n_prompt"), *n = json_object_get(row, "n_gen");
    const json_t *d = json_object_get(row, "n_depth"), *ts = json_object_get(row, "avg_ts");
    if (!json_is_integer(p) || !json_is_integer(n) || !json_is_number(ts)) return 0;
    *t = (bench_test){ .decode = json_integer_value(n) > 0, .depth = json_integer_value(d) };
    t->n = json_integer_value(t->decode ? n : p);
    if (t->decode && json_integer_value(p) > 0) {
        if (d) return 0;   /* -pg: prompt and tokens in one figure */
        t->depth = json_integer_value(p);
    }
    *rate = json_number_value(ts);
    return *rate > 0 && *rate < 1e12;
}

/* The objects in a text that need not be JSON all over: a peer may log between them. */
static void read_rates(const bench_race *r, bench_engine *e, int round, const char *text)
{
    for (const char *at = strchr(text, '{'); at; at = strchr(at, '{')) {
        json_error_t je;
        bench_test got;
        double rate;
        json_t *row = json_loads(at, JSON_DISABLE_EOF_CHECK, &je);
        at += row ? je.position : 1;
        for (int i = 0; row && read_row(row, &got, &rate) && i < r->list.tests; i++) {
            const bench_test *t = &r->list.test[i];
            if (t->decode == got.decode && t->n == got.n && t->depth == got.depth)
                e->sample[i * r->rounds + round].rate = rate;
        }
        json_decref(row);
    }
}

static g4_status check_rates(const bench_race *r, const bench_engine *e, int round, g4_err *err)
{
    char name[BENCH_NAME];
    for (int i = 0; i < r->list.tests; i++)
        if (bench_engine_takes(e, &r->list.test[i]) && e->sample[i * r->rounds + round].rate <= 0)
            return g4_fail(err, G4_EINPUT, "%s: printed no rate of %s", e->path,
                           bench_test_name(name, &r->list.test[i]));
    return G4_OK;
}

/* Its threads and its memory end with it: a peer has the machine for itself. */
static g4_status measure_limit(bench_race *r, g4_err *err)
{
    bench_limit limit = { 0, 0 };
    g4_par *par;
    G4_TRY(g4_par_open(&par, r->threads, err));
    g4_status s = bench_limit_measure(&limit, r->list.numbers, par, err);
    g4_par_close(par);
    G4_TRY(s);
    r->read[r->limits] = limit.read;
    r->peak[r->limits++] = limit.peak;
    return G4_OK;
}

static g4_status run_child(bench_race *r, bench_engine *e, int round, const sigset_t *before,
                           g4_err *err)
{
    bench_child c;
    load start = load_now();
    int64_t seconds = e->self ? INT32_MAX : r->o->timeout ? r->o->timeout : PATIENCE;
    g4_status s = bench_child_run(&c, e->argv, seconds, before, err);
    e->others[round] = others_since(&start, c.cpu_seconds);
    if (c.resident > e->resident) e->resident = c.resident;
    if (s == G4_OK && c.code != 0)
        s = g4_fail(err, G4_EINPUT, "%s: exit %d%s%s", e->path, c.code, c.said[0] ? ": " : "",
                    c.said);
    if (s == G4_OK) read_rates(r, e, round, c.out);
    if (s == G4_OK) s = check_rates(r, e, round, err);
    free(c.out);
    return s;
}

/* What it reached of the limits right before, which stood behind the run of another, and right
 * behind it. */
static g4_status run_engine(bench_race *r, bench_engine *e, int round, const sigset_t *before,
                            g4_err *err)
{
    if (r->limits == 0) G4_TRY(measure_limit(r, err));
    bench_limit first = { r->read[r->limits - 1], r->peak[r->limits - 1] };
    G4_TRY(run_child(r, e, round, before, err));
    G4_TRY(measure_limit(r, err));
    bench_limit mean = { (first.read + r->read[r->limits - 1]) / 2,
                         (first.peak + r->peak[r->limits - 1]) / 2 };
    for (int i = 0; i < r->list.tests; i++) {
        bench_sample *s = &e->sample[i * r->rounds + round];
        double bound = bench_test_bound(&r->list.test[i], &mean);
        s->share = bound > 0 ? s->rate / bound : 0;
    }
    return G4_OK;
}

/* ---- all of them ---- */

/* A peer's fault is told and the others go on; ours, an interrupt, and the last peer's end it. */
static g4_status drop(bench_race *r, bench_engine *e, const g4_err *why, g4_err *err)
{
    char safe[2 * sizeof why->msg];
    int left = 0;
    e->failed = 1;
    for (int i = 0; i < r->engines; i++) left += !r->engine[i].self && !r->engine[i].failed;
    if (e->self || why->code == G4_ENOMEM || g4_interrupt_pending())
        return g4_fail(err, why->code, "%s", why->msg);
    if (!left) return g4_fail(err, why->code, "%s (no peer is left)", why->msg);
    fprintf(stderr, "gemma4: %s\n", g4_text_safe(safe, sizeof safe, why->msg));
    return G4_OK;
}

/* Whoever comes first has the quietest or the busiest minute: so each does in turn. */
static g4_status run_all(bench_race *r, const sigset_t *before, g4_err *err)
{
    g4_err why;
    for (int i = 0; i < r->engines; i++)
        if (bench_find_words(r, &r->engine[i], before, &why) != G4_OK)
            G4_TRY(drop(r, &r->engine[i], &why, err));
    for (int round = 0; round < r->rounds; round++)
        for (int i = 0; i < r->engines; i++) {
            bench_engine *e = &r->engine[(i + round) % r->engines];
            if (e->failed) continue;
            if (isatty(STDERR_FILENO))
                fprintf(stderr, "round %d of %d: %s\n", round + 1, r->rounds, e->name);
            if (run_engine(r, e, round, before, &why) != G4_OK) G4_TRY(drop(r, e, &why, err));
        }
    return G4_OK;
}

/* What the tests cost at least, by the model's sizes and this program's cache. */
static g4_status count_costs(bench_race *r, g4_err *err)
{
    g4_engine_plan plan;
    g4_options o = *r->o;
    g4_model *m = NULL;
    g4_par *par = NULL;
    o.kv = r->kv;
    G4_TRY(bench_model_tests(&r->list, &o, err));
    G4_TRY(g4_runtime_plan(&plan, &o, err));
    G4_TRY(g4_par_open(&par, (int)o.threads, err));
    r->threads = g4_par_threads(par);
    g4_par_close(par);
    g4_status s = g4_model_open(&m, o.model, err);
    if (s == G4_OK) bench_model_costs(&r->list, m, &plan);
    g4_model_close(m);
    return s;
}

static g4_status prepare(bench_race *r, g4_err *err)
{
    G4_TRY(count_costs(r, err));
    G4_TRY(bench_find(r, err));
    size_t runs = (size_t)r->rounds, tests = (size_t)r->list.tests;
    for (int i = 0; i < r->engines; i++) {
        bench_engine *e = &r->engine[i];
        e->sample = g4_arena_alloc(&r->arena, runs * tests, sizeof *e->sample);
        e->others = g4_arena_alloc(&r->arena, runs, sizeof *e->others);
        if (!e->sample || !e->others) return g4_nomem(err, "bench");
        memset(e->sample, 0, runs * tests * sizeof *e->sample);
    }
    r->read = g4_arena_alloc(&r->arena, 1 + runs * (size_t)r->engines, sizeof *r->read);
    r->peak = g4_arena_alloc(&r->arena, 1 + runs * (size_t)r->engines, sizeof *r->peak);
    return r->read && r->peak ? G4_OK : g4_nomem(err, "bench");
}

g4_status bench_peers(const g4_options *o, g4_err *err)
{
    sigset_t before;
    bench_race *r = calloc(1, sizeof *r);
    if (!r) return g4_nomem(err, "bench");
    r->o = o;
    r->rounds = o->repeat ? (int)o->repeat : BENCH_RUNS;
    r->kv = o->kv ? o->kv : "f16";   /* as llama-bench has it */
    g4_status s = prepare(r, err);
    g4_interrupt_hold(&before);
    if (s == G4_OK) s = run_all(r, &before, err);
    if (s == G4_OK && o->out) s = bench_report_write(r, o->out, err);
    g4_interrupt_release(&before);
    if (s == G4_OK) bench_report_print(r);
    g4_arena_free(&r->arena);
    free(r);
    return s;
}
