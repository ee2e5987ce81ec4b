/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/bench_model.h"

#include "harness/pass.h"
#include "harness/peak.h"
#include "harness/room.h"
#include "kernels_opt/cpu.h"
#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"
#include "ref/input/prompt.h"
#include "ref/model/forward.h"

#include <stdlib.h>
#include <string.h>

enum { LIST = 16, READ_MIB = 256 };

static const double LIMIT_SECONDS = 0.1;   /* on either side of a run [N58] */

typedef struct bench_run {
    const g4_runtime *rt;
    const g4_options *o;
    g4_engine *engine;
    g4_session *session;
    int32_t *ids, *positions;      /* [ctx] */
    float *logits;
    g4_arena arena;
} bench_run;

static g4_status read_list(const char *text, int64_t list[LIST], int *count, g4_err *err)
{
    g4_arena arena = { NULL };
    int32_t *values = NULL;
    int64_t n = 0;
    g4_status s = g4_ids_parse(text, &arena, &values, &n, err);
    if (s == G4_OK && n > LIST)
        s = g4_fail(err, G4_EINPUT, "%.40s: at most %d numbers", text, (int)LIST);
    for (int64_t i = 0; s == G4_OK && i < n; i++) list[i] = values[i];
    g4_arena_free(&arena);
    *count = (int)n;
    return s;
}

g4_status bench_model_tests(bench_model *b, const g4_options *o, g4_err *err)
{
    int64_t p[LIST], n[LIST], d[LIST];
    int ps, ns, ds;
    b->p = o->bench_p ? o->bench_p : "512";   /* as llama-bench has them */
    b->n = o->bench_n ? o->bench_n : "128";
    b->d = o->bench_d ? o->bench_d : "0";
    G4_TRY(read_list(b->p, p, &ps, err));
    G4_TRY(read_list(b->n, n, &ns, err));
    G4_TRY(read_list(b->d, d, &ds, err));
    for (int k = 0; k < ds; k++)
        for (int i = 0; i < ps + ns; i++) {
            int64_t tokens = i < ps ? p[i] : n[i - ps];
            if (tokens == 0) continue;   /* as llama-bench has it: -p 0 is no such test */
            if (b->tests == BENCH_TESTS)
                return g4_fail(err, G4_EINPUT, "bench: at most %d tests", (int)BENCH_TESTS);
            b->test[b->tests++] = (bench_test){ .decode = i >= ps, .n = tokens, .depth = d[k] };
        }
    return b->tests ? G4_OK : g4_fail(err, G4_EINPUT, "bench: nothing to measure");
}

/* ---- what a token costs at least ---- */

static double linear_weights(const g4_model *m)
{
    double n = 0;
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++) {
        const g4_layer *w = &m->layers[l];
        const g4_mat *const all[] = { &w->q_proj, &w->k_proj, &w->v_proj, &w->o_proj,
                                      &w->gate_proj, &w->up_proj, &w->down_proj };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            if (all[i]->data) n += (double)all[i]->rows * (double)all[i]->cols;
    }
    return n;
}

/* Bytes of the cache that a token at this depth reads. */
static double cache_bytes(const g4_config *c, const g4_engine_plan *plan, int64_t depth)
{
    double bytes = 0;
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        int kind = c->layer_kind[l], rows = g4_cache_is_halved(c, plan, kind) ? 1 : 2;
        int64_t keys = kind == G4_SLIDING && depth > c->sliding_window ? c->sliding_window : depth;
        bytes += rows * (double)keys *
                 (double)g4_dtype_row_bytes(plan->kv, c->kv_heads[kind] * c->head_dim[kind]);
    }
    return bytes;
}

void bench_model_costs(bench_model *b, const g4_model *m, const g4_engine_plan *plan)
{
    b->weight_bytes = g4_store_bytes(m->store);
    b->parameters = 0;
    g4_dtype type = m->layers[0].gate_proj.dtype;
    b->numbers = type == G4_BF16 ? BENCH_BF16
                 : type == G4_F32 || type == G4_F16 ? BENCH_F32 : BENCH_INT8;
    for (size_t i = 0; i < g4_store_count(m->store); i++) {
        const g4_tensor *t = g4_store_at(m->store, i);
        uint64_t n = 1;
        for (int k = 0; k < t->rank; k++) n *= (uint64_t)t->shape[k];
        b->parameters += n;
    }
    for (int i = 0; i < b->tests; i++) {
        bench_test *t = &b->test[i];
        t->bytes = (double)b->weight_bytes + cache_bytes(&m->config, plan, t->depth);
        t->ops = 2 * linear_weights(m);
    }
}

/* A prefill reads weights and cache once for all of its tokens. */
double bench_test_bound(const bench_test *t, const bench_limit *limit)
{
    double reading = limit->read / t->bytes * (double)(t->decode ? 1 : t->n);
    double computing = limit->peak / t->ops;
    return t->decode || reading < computing ? reading : computing;
}

char *bench_test_name(char name[BENCH_NAME], const bench_test *t)
{
    int at = snprintf(name, BENCH_NAME, "%s%lld", t->decode ? "tg" : "pp", (long long)t->n);
    if (t->depth)
        snprintf(name + at, (size_t)(BENCH_NAME - at), " @ d%lld", (long long)t->depth);
    return name;
}

g4_status bench_limit_measure(bench_limit *limit, bench_numbers numbers, g4_par *par,
                              g4_err *err)
{
    const size_t size = (size_t)READ_MIB << 20;
    unsigned char *space = malloc(size);
    if (!space) return g4_nomem(err, "bench");
    g4_peak_huge(space, size);
    memset(space, 1, size);   /* pages of their own, not the zero page */
    limit->read = g4_peak_read(par, space, size, LIMIT_SECONDS);
    limit->peak = numbers == BENCH_INT8   ? g4_peak_int8(par, g4_cpu_isas(), LIMIT_SECONDS)
                  : numbers == BENCH_BF16 ? g4_peak_bf16(par, g4_cpu_isas(), LIMIT_SECONDS)
                                          : g4_peak_fma(par, LIMIT_SECONDS);
    free(space);
    return G4_OK;
}

/* ---- the context in front of a test ---- */

static void prefill(bench_run *r, int64_t n)
{
    int64_t at = r->session->n;
    for (int64_t i = 0; i < n; i++) {
        uint64_t vocabulary = (uint64_t)r->rt->model->config.vocab_size;
        r->ids[i] = (int32_t)(g4_rng_u64(r->o->seed, 1, (uint64_t)(at + i)) % vocabulary);
        r->positions[i] = (int32_t)(at + i);
    }
    int64_t chunk = r->engine->plan.rows;
    for (int64_t i = 0; i < n; i += chunk) {
        int64_t some = n - i < chunk ? n - i : chunk;
        g4_item item = { .session = r->session, .n = some, .ids = r->ids + i,
                         .positions = r->positions + i, .logit_rows = i + some == n,
                         .logits = i + some == n ? r->logits : NULL };
        g4_forward(r->engine, &item, 1);
    }
}

/* An empty session with d tokens in it. */
static void begin(bench_run *r, int64_t depth)
{
    g4_session_reset(r->session);
    if (depth && r->o->fill_random) g4_session_fill(r->session, depth, r->o->seed);
    else if (depth) prefill(r, depth);
}

/* ---- measuring ---- */

static double run_once(bench_run *r, const bench_test *t)
{
    double start = g4_now();
    for (int64_t i = 0; t->decode && i < t->n; i++) prefill(r, 1);
    if (!t->decode) prefill(r, t->n);
    return g4_now() - start;
}

/* Each run against the limits right before and right behind it. */
static g4_status measure(const bench_model *b, bench_run *r, bench_test *t, g4_err *err)
{
    double read[BENCH_RUNS_MOST], peak[BENCH_RUNS_MOST], share[BENCH_RUNS_MOST];
    bench_limit first = { 0, 0 }, then = { 0, 0 };
    for (int k = 0; k < b->runs; k++, first = then) {
        /* A filled cache serves again: a rewind costs nothing, a prefill minutes. */
        if (k == 0 || !g4_session_keeps(r->session, t->depth)) begin(r, t->depth);
        else g4_session_rewind(r->session, t->depth);
        if (k == 0) {   /* pages, threads, caches: not a part of the measure */
            prefill(r, 1);
            g4_session_rewind(r->session, t->depth);
        }
        if (k == 0) G4_TRY(bench_limit_measure(&first, b->numbers, r->rt->par, err));
        t->seconds[k] = run_once(r, t);
        G4_TRY(bench_limit_measure(&then, b->numbers, r->rt->par, err));
        bench_limit mean = { (first.read + then.read) / 2, (first.peak + then.peak) / 2 };
        double bound = bench_test_bound(t, &mean);
        read[k] = mean.read;
        peak[k] = mean.peak;
        share[k] = bound > 0 ? (double)t->n / t->seconds[k] / bound : 0;
    }
    t->limit = (bench_limit){ g4_median(read, b->runs), g4_median(peak, b->runs) };
    t->share = g4_median(share, b->runs);
    return G4_OK;
}

static g4_status open_run(bench_run *r, const bench_model *b, g4_err *err)
{
    g4_engine_plan plan = r->rt->plan;
    int64_t most = 0, chunk = r->o->chunk ? r->o->chunk : G4_STREAM_CHUNK, longest = 0;
    for (int i = 0; i < b->tests; i++) {
        const bench_test *t = &b->test[i];
        if (t->depth + t->n > most) most = t->depth + t->n;
        if (!t->decode && t->n > longest) longest = t->n;
        if (t->depth > longest && !r->o->fill_random) longest = t->depth;
    }
    if (most + 1 > G4_MAX_POSITION)
        return g4_fail(err, G4_EINPUT, "bench: at most %d tokens", (int)G4_MAX_POSITION - 1);
    plan.ctx = most + 1;
    plan.logit_rows = 1;
    plan.rows = longest < 1 ? 1 : longest < chunk ? longest : chunk;
    for (int i = 0; i < b->tests; i++)   /* so that a ring may be taken back */
        if (b->test[i].decode && b->test[i].n > plan.back) plan.back = b->test[i].n;
    G4_TRY(g4_room_for_plan(r->rt, &plan, 1, err));
    G4_TRY(g4_engine_open(&r->engine, r->rt->model, &r->rt->ops, r->rt->par, &plan, err));
    G4_TRY(g4_session_open(&r->session, r->engine, err));
    r->ids = g4_arena_alloc(&r->arena, (size_t)plan.ctx, sizeof *r->ids);
    r->positions = g4_arena_alloc(&r->arena, (size_t)plan.ctx, sizeof *r->positions);
    size_t vocabulary = (size_t)r->rt->model->config.vocab_size;
    r->logits = g4_arena_alloc(&r->arena, vocabulary, sizeof *r->logits);
    if (!r->ids || !r->positions || !r->logits) return g4_nomem(err, "bench");
    return G4_OK;
}

g4_status bench_model_run(bench_model *b, const g4_runtime *rt, const g4_options *o, g4_err *err)
{
    bench_run r = { .rt = rt, .o = o };
    *b = (bench_model){ .runs = o->repeat ? (int)o->repeat : BENCH_RUNS };
    g4_status s = bench_model_tests(b, o, err);
    if (s == G4_OK) bench_model_costs(b, rt->model, &rt->plan);
    if (s == G4_OK) s = open_run(&r, b, err);
    for (int i = 0; s == G4_OK && i < b->tests; i++) s = measure(b, &r, &b->test[i], err);
    g4_session_close(r.session);
    g4_engine_close(r.engine);
    g4_arena_free(&r.arena);
    return s;
}
