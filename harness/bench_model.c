/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/bench_model.h"

#include "harness/pass.h"
#include "harness/peak.h"
#include "kernels_opt/cpu.h"
#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"
#include "ref/input/prompt.h"
#include "ref/model/forward.h"

#include <stdlib.h>
#include <string.h>

enum { LIST = 16, READ_MIB = 1024, DEFAULT_PREFILL = 512, DEFAULT_DECODE = 128 };

typedef struct bench_run {
    const g4_runtime *rt;
    const g4_options *o;
    g4_engine *engine;
    g4_session *session;
    int32_t *ids, *positions;      /* [ctx] */
    float *logits;
    const unsigned char *space;    /* READ_MIB, to read from */
    g4_arena arena;
} bench_run;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static g4_status read_list(const char *text, int64_t fallback, int64_t list[LIST], int *count,
                           g4_err *err)
{
    g4_arena arena = { NULL };
    int32_t *values = NULL;
    int64_t n = 1;
    list[0] = fallback;
    g4_status s = text ? g4_ids_parse(text, &arena, &values, &n, err) : G4_OK;
    if (s == G4_OK && n > LIST)
        s = g4_fail(err, G4_EINPUT, "%.40s: at most %d numbers", text, (int)LIST);
    for (int64_t i = 0; s == G4_OK && values && i < n; i++) list[i] = values[i];
    g4_arena_free(&arena);
    *count = (int)n;
    return s;
}

static g4_status list_tests(bench_model *b, const g4_options *o, g4_err *err)
{
    int64_t p[LIST], n[LIST], d[LIST];
    int ps, ns, ds;
    G4_TRY(read_list(o->bench_p, DEFAULT_PREFILL, p, &ps, err));
    G4_TRY(read_list(o->bench_n, DEFAULT_DECODE, n, &ns, err));
    G4_TRY(read_list(o->bench_d, 0, d, &ds, err));
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

static void measure(bench_model *b, bench_run *r, bench_test *t)
{
    const g4_config *c = &r->rt->model->config;
    double peak[BENCH_RUNS];
    for (int k = 0; k < BENCH_RUNS; k++) {
        /* A filled cache serves again: a rewind costs nothing, a prefill minutes. */
        if (k == 0 || !g4_session_keeps(r->session, t->depth)) begin(r, t->depth);
        else g4_session_rewind(r->session, t->depth);
        if (k == 0) {   /* pages, threads, caches: not a part of the measure */
            prefill(r, 1);
            g4_session_rewind(r->session, t->depth);
        }
        t->read[k] = g4_peak_read(r->rt->par, r->space, (size_t)READ_MIB << 20);
        peak[k] = g4_peak_int8(r->rt->par, g4_cpu_isas());
        t->seconds[k] = run_once(r, t);
    }
    qsort(t->seconds, BENCH_RUNS, sizeof *t->seconds, by_value);
    qsort(t->read, BENCH_RUNS, sizeof *t->read, by_value);
    qsort(peak, BENCH_RUNS, sizeof *peak, by_value);
    b->int8_peak = peak[BENCH_RUNS / 2];
    double bytes = (double)b->weight_bytes + cache_bytes(c, &r->engine->plan, t->depth);
    t->bound = t->decode ? t->read[BENCH_RUNS / 2] / bytes
                         : b->int8_peak / (2 * linear_weights(r->rt->model));
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
    G4_TRY(g4_engine_open(&r->engine, r->rt->model, &r->rt->ops, r->rt->par, &plan, err));
    G4_TRY(g4_session_open(&r->session, r->engine, err));
    r->ids = g4_arena_alloc(&r->arena, (size_t)plan.ctx, sizeof *r->ids);
    r->positions = g4_arena_alloc(&r->arena, (size_t)plan.ctx, sizeof *r->positions);
    size_t vocabulary = (size_t)r->rt->model->config.vocab_size;
    r->logits = g4_arena_alloc(&r->arena, vocabulary, sizeof *r->logits);
    unsigned char *space = g4_arena_alloc(&r->arena, READ_MIB, 1 << 20);
    if (!r->ids || !r->positions || !r->logits || !space) return g4_nomem(err, "bench");
    memset(space, 1, (size_t)READ_MIB << 20);   /* pages of their own, not the zero page */
    r->space = space;
    return G4_OK;
}

g4_status bench_model_run(bench_model *b, const g4_runtime *rt, const g4_options *o, g4_err *err)
{
    bench_run r = { .rt = rt, .o = o };
    *b = (bench_model){ .weight_bytes = g4_store_bytes(rt->model->store) };
    for (size_t i = 0; i < g4_store_count(rt->model->store); i++) {
        const g4_tensor *t = g4_store_at(rt->model->store, i);
        uint64_t n = 1;
        for (int k = 0; k < t->rank; k++) n *= (uint64_t)t->shape[k];
        b->parameters += n;
    }
    g4_status s = list_tests(b, o, err);
    if (s == G4_OK) s = open_run(&r, b, err);
    for (int i = 0; s == G4_OK && i < b->tests; i++) measure(b, &r, &b->test[i]);
    g4_session_close(r.session);
    g4_engine_close(r.engine);
    g4_arena_free(&r.arena);
    return s;
}
