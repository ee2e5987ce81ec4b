/* SPDX-License-Identifier: Apache-2.0
 * Sessions: which chunks a prefill is cut into, what it refuses, how far a ring
 * can be rewound, and that plans tell what is really allocated. */
#include "harness/check/fault.h"
#include "kernels_opt/kernels.h"
#include "ref/base/rng.h"
#include "ref/dtype/dtype.h"
#include "ref/model/forward.h"
#include "ref/model/session.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *check_session(void);

#define SMALL "golden/tiny/small/model"

enum { LONGEST = 120 };

static g4_model *model;
static g4_par *par;
static g4_ops ops;

static void model_open(void)
{
    g4_err err = { G4_OK, "" };
    ck_assert_msg(g4_model_open(&model, SMALL, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(g4_par_open(&par, 1, &err), G4_OK);
    ops = g4_ops_definitions();
}

static void model_close(void)
{
    g4_par_close(par);
    g4_model_close(model);
}

/* A prompt of n tokens whose ids a seed gives; types are text. */
typedef struct request {
    g4_prompt p;
    int32_t ids[LONGEST], positions[LONGEST];
    int8_t types[LONGEST];
} request;

static void make_request(request *r, uint64_t seed, int64_t n, int32_t first)
{
    memset(r, 0, sizeof *r);
    for (int64_t i = 0; i < n; i++) {
        r->ids[i] = (int32_t)(20 + g4_rng_u64(seed, 0, (uint64_t)i) % 600);
        r->positions[i] = first + (int32_t)i;
    }
    r->p = (g4_prompt){ .n = n, .ids = r->ids, .positions = r->positions, .types = r->types };
}

static void open_run(g4_engine **e, g4_session **s, int64_t rows, int64_t ctx, g4_dtype kv)
{
    g4_err err = { G4_OK, "" };
    g4_engine_plan plan = { .rows = rows, .logit_rows = 1, .ctx = ctx, .kv = kv };
    ck_assert_msg(g4_engine_open(e, model, &ops, par, &plan, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_session_open(s, *e, &err) == G4_OK, "%s", err.msg);
}

static g4_status prefill(g4_engine *e, g4_session *s, const g4_prompt *p, int64_t chunk,
                         g4_err *err)
{
    const g4_prefill_item item = { .session = s, .prompt = p };
    return g4_prefill(e, &item, 1, chunk, err);
}

/* ---- chunks ---- */

typedef struct seen {
    int count;
    int64_t rows[LONGEST];   /* of each g4_forward */
} seen;

static void put(void *ctx, const g4_tap_at *at, const float *data)
{
    seen *s = ctx;
    (void)data;
    if (at->id == G4_TAP_embeddings) s->rows[s->count++] = at->rows;
}

static int soft(int8_t type)
{
    return type == G4_IMAGE || type == G4_VIDEO;
}

/* Chunks as they should be: `chunk` tokens, and then to the end of an image block
 * that would be split. */
static int cut(const int8_t *types, int64_t n, int64_t chunk, int64_t *rows)
{
    int count = 0;
    for (int64_t i = 0, begin = 0; i < n; i++) {
        int64_t have = i + 1 - begin;
        int split = i + 1 < n && soft(types[i]) && soft(types[i + 1]);
        if (i + 1 < n && (chunk <= 0 || have < chunk || split)) continue;
        rows[count++] = have;
        begin = i + 1;
    }
    return count;
}

START_TEST(chunks_as_planned)
{
    request r;
    for (uint64_t seed = 0; seed < 12; seed++) {
        int64_t n = 1 + (int64_t)(g4_rng_u64(seed, 1, 0) % 60), want[LONGEST];
        int64_t chunk = (int64_t)(g4_rng_u64(seed, 1, 1) % 14);
        make_request(&r, seed, n, 0);
        for (int64_t i = 1; i < n; i++) {   /* runs of 6 on the average */
            uint64_t draw = g4_rng_u64(seed, 2, (uint64_t)i);
            r.types[i] = draw % 8 ? r.types[i - 1] : (int8_t)(draw / 8 % 4);
        }
        int count = cut(r.types, n, chunk, want);
        int64_t most = 0;
        for (int i = 0; i < count; i++) most = want[i] > most ? want[i] : most;
        ck_assert_int_eq(g4_chunk_rows(r.types, n, chunk), most);
        seen s = { 0 };
        const g4_tap tap = { &s, put };
        g4_engine *e;
        g4_session *session;
        g4_err err = { G4_OK, "" };
        open_run(&e, &session, most, n, G4_F32);
        session->tap = &tap;
        g4_status st = prefill(e, session, &r.p, chunk, &err);
        ck_assert_msg(st == G4_OK, "%s", err.msg);
        ck_assert_int_eq(s.count, count);
        ck_assert_mem_eq(s.rows, want, (size_t)count * sizeof *want);
        ck_assert_int_eq(session->n, n);
        ck_assert_int_eq(session->next_position, n);
        g4_session_close(session);
        g4_engine_close(e);
    }
    ck_assert_int_eq(g4_chunk_rows(r.types, 0, 4), 0);
}
END_TEST

/* ---- what is refused, and that it leaves the session as it was ---- */

static void refused(g4_engine *e, g4_session *s, const request *r, int64_t chunk, const char *says)
{
    g4_err err = { G4_OK, "" };
    int64_t n = s->n;
    ck_assert_int_eq(prefill(e, s, &r->p, chunk, &err), G4_EINPUT);
    ck_assert_msg(strstr(err.msg, says) != NULL, "%s", err.msg);
    ck_assert_int_eq(s->n, n);
}

START_TEST(no_room)
{
    g4_engine *e;
    g4_session *s;
    request r;
    open_run(&e, &s, 8, 30, G4_F32);
    make_request(&r, 1, 31, 0);
    refused(e, s, &r, 8, "the prompt has 31 tokens, the context has room for 30");
    make_request(&r, 1, 9, 0);
    refused(e, s, &r, 0, "a chunk of 9 tokens is more than the 8 planned for");
    r.types[7] = r.types[8] = G4_IMAGE;
    refused(e, s, &r, 8, "a chunk of 9 tokens");   /* extended to the block's end */
    r.types[7] = r.types[8] = G4_AUDIO;
    r.positions[3] = -1;
    refused(e, s, &r, 8, "position -1 of token 3 is past");
    r.positions[3] = G4_MAX_POSITION + 1;
    refused(e, s, &r, 8, "position 700001 of token 3 is past 700000");
    r.positions[3] = G4_MAX_POSITION;
    ck_assert_int_eq(prefill(e, s, &r.p, 8, NULL), G4_OK);
    make_request(&r, 2, 22, 9);
    refused(e, s, &r, 8, "the prompt has 22 tokens, the context has room for 21");
    make_request(&r, 2, 21, 9);
    ck_assert_int_eq(prefill(e, s, &r.p, 8, NULL), G4_OK);
    ck_assert_int_eq(s->n, 30);
    make_request(&r, 2, 1, 30);
    refused(e, s, &r, 8, "has 1 tokens, the context has room for 0");
    g4_session_reset(s);
    ck_assert_int_eq(s->n, 0);
    ck_assert_int_eq(s->next_position, 0);
    ck_assert_int_eq(prefill(e, s, &r.p, 8, NULL), G4_OK);
    g4_session_close(s);
    g4_session_close(NULL);
    g4_engine_close(e);
    g4_engine_close(NULL);
}
END_TEST

START_TEST(allocations_fail)
{
    g4_engine *e;
    g4_session *s;
    request r;
    open_run(&e, &s, 8, 30, G4_F32);
    make_request(&r, 1, 9, 0);
    for (long n = 1;; n++) {
        fault_alloc_arm(n, 0);
        g4_status st = prefill(e, s, &r.p, 4, NULL);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
        ck_assert_int_eq(st, G4_ENOMEM);
        ck_assert_int_eq(s->n, 0);
    }
    g4_session_close(s);
    for (long n = 1;; n++) {
        fault_alloc_arm(n, 0);
        g4_status st = g4_session_open(&s, e, NULL);
        g4_session_close(s);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
        ck_assert_int_eq(st, G4_ENOMEM);
    }
    const g4_engine_plan plan = e->plan;
    g4_engine_close(e);
    for (long n = 1;; n++) {
        fault_alloc_arm(n, 1);
        g4_status st = g4_engine_open(&e, model, &ops, par, &plan, NULL);
        g4_engine_close(e);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) break;
        ck_assert_int_eq(st, G4_ENOMEM);
    }
}
END_TEST

/* ---- rewinding a ring ---- */

static void feed(g4_engine *e, g4_session *s, uint64_t seed, int64_t from, int64_t to,
                 float *logits)
{
    request all;
    make_request(&all, seed, to, 0);
    for (int64_t t = from; t < to;) {
        int64_t n = to - t < e->plan.rows ? to - t : e->plan.rows;
        g4_item item = { .session = s, .n = n, .ids = all.ids + t, .positions = all.positions + t,
                         .logit_rows = 1, .logits = logits };
        g4_forward(e, &item, 1);
        t += n;
    }
}

/* plan.rows tokens back, wrong ones instead, back again and right: as if nothing
 * had been; and every key that the drafter may want, W + 1 of them, is still there. */
START_TEST(rewinds_by_plan_rows)   /* _i: the cache in F32, F16 (36 values are no Q8_0 row) */
{
    enum { ROWS = 6, N = 110 };
    g4_engine *e;
    g4_session *once, *again;
    int64_t V = model->config.vocab_size, W = model->config.sliding_window;
    float *a = calloc((size_t)V, sizeof *a), *b = calloc((size_t)V, sizeof *b);
    ck_assert(a && b);
    open_run(&e, &once, ROWS, LONGEST, (g4_dtype)_i);
    ck_assert_int_eq(g4_session_open(&again, e, NULL), G4_OK);
    ck_assert_int_eq(once->kv[0].slots, W + 1 + ROWS);        /* a ring, gone round 3 times */
    ck_assert_int_eq(once->kv[5].slots, LONGEST);             /* full: linear */
    feed(e, once, 7, 0, N, a);
    for (int64_t n = ROWS; n <= N; n += ROWS) {
        feed(e, again, 7, again->n, n, b);
        g4_session_rewind(again, n - ROWS);
        ck_assert_int_eq(again->next_position, n - ROWS);
        feed(e, again, 8, n - ROWS, n, b);
        g4_session_rewind(again, n - ROWS);
        feed(e, again, 7, n - ROWS, n, b);
        g4_session_rewind(again, n);   /* nothing */
    }
    feed(e, again, 7, again->n, N, b);
    ck_assert_mem_eq(a, b, (size_t)V * sizeof *a);
    ck_assert(g4_session_keeps(again, N - ROWS) && !g4_session_keeps(again, N - ROWS - 1));
    g4_session_rewind(again, N - ROWS);
    ck_assert(!g4_session_keeps(again, N - ROWS - 1));   /* two short ones are no long one */
    ck_assert(g4_session_keeps(again, 0));               /* nothing is always there */
    size_t floats = 2 * (size_t)(W + 1) * (size_t)once->kv[0].width;
    float *x = calloc(floats, sizeof *x), *y = calloc(floats, sizeof *y);
    ck_assert(x && y);
    int64_t lo = again->n - (W + 1);
    g4_session *straight;
    ck_assert_int_eq(g4_session_open(&straight, e, NULL), G4_OK);
    feed(e, straight, 7, 0, again->n, a);
    g4_kv_view p = g4_kv_read(&again->kv[0], lo, again->n, x);
    g4_kv_view q = g4_kv_read(&straight->kv[0], lo, straight->n, y);
    for (int64_t t = lo; t < again->n; t++) {
        size_t at = (size_t)(t % p.slots * p.width), bytes = (size_t)p.width * sizeof(float);
        ck_assert_mem_eq(p.key + at, q.key + at, bytes);
        ck_assert_mem_eq(p.value + at, q.value + at, bytes);
    }
    free(x);
    free(y);
    free(a);
    free(b);
    g4_session_close(straight);
    g4_session_close(again);
    g4_session_close(once);
    g4_engine_close(e);
}
END_TEST

/* A copy of a session's first tokens, which the copy then forgets: both go on as the one would
 * have, in rings that have gone round and in those that have not. */
START_TEST(copies_go_on_alike)   /* _i: the cache in F32, F16 */
{
    enum { ROWS = 6, N = 110 };
    static const int64_t cut[][2] = { { 9, 9 }, { 20, 14 }, { N - 7, N - 7 }, { N - 7, N - 13 } };
    g4_engine *e;
    g4_session *from, *to;
    int64_t V = model->config.vocab_size;
    float *a = calloc((size_t)V, sizeof *a), *b = calloc((size_t)V, sizeof *b);
    ck_assert(a && b);
    open_run(&e, &from, ROWS, LONGEST, (g4_dtype)_i);
    ck_assert_int_eq(g4_session_open(&to, e, NULL), G4_OK);
    feed(e, to, 9, 0, N, b);   /* rubbish of another length */
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        int64_t n = cut[i][1];
        g4_session_reset(from);
        feed(e, from, 7, 0, cut[i][0], a);
        g4_session_copy(to, from, n);
        ck_assert_int_eq(to->n, n);
        ck_assert_int_eq(to->next_position, n);
        for (int64_t k = 1; k <= n; k++)   /* rows that only the source still had */
            ck_assert(g4_session_keeps(to, k) == g4_session_keeps(from, k));
        feed(e, to, 7, n, N, b);
        feed(e, from, 7, from->n, N, a);
        ck_assert_mem_eq(a, b, (size_t)V * sizeof *a);
        g4_session_reset(from);
        feed(e, from, 7, 0, N, a);
        ck_assert_mem_eq(a, b, (size_t)V * sizeof *a);
    }
    free(a);
    free(b);
    g4_session_close(to);
    g4_session_close(from);
    g4_engine_close(e);
}
END_TEST

/* ---- memory ---- */

/* What an arena may take beyond the bytes asked for, in `count` allocations: each is
 * rounded up to 64 bytes; those of up to 16 KiB share blocks of 64 KiB.  A block is
 * left when the next one does not fit, so at most 16 KiB of it are lost for 48 KiB
 * used: a third of what the small ones need; and the last block may be empty. */
static void check_taken(uint64_t planned, uint64_t taken, uint64_t count)
{
    uint64_t most = planned + 63 * count + count * 16384 / 3 + 65536;
    ck_assert_msg(taken >= planned && taken <= most, "planned %llu, taken %llu",
                  (unsigned long long)planned, (unsigned long long)taken);
}

START_TEST(plans_are_what_is_taken)
{
    static const g4_engine_plan plans[] = {
        { .rows = 1, .logit_rows = 1, .ctx = 1 },
        { .rows = 64, .logit_rows = 3, .ctx = 300 },
        { .rows = 700, .logit_rows = 64, .ctx = 2000 },
        { .rows = 2048, .logit_rows = 1, .ctx = 2048 },
        { .rows = 33, .logit_rows = 1, .ctx = 4000, .kv = G4_F16 },
        { .rows = 33, .logit_rows = 1, .ctx = 4000, .kv = G4_F16, .stream = 1 },
    };
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        const g4_config *c = &model->config;
        g4_engine *e;
        g4_session *s;
        ck_assert_int_eq(g4_engine_open(&e, model, &ops, par, &plans[i], NULL), G4_OK);
        ck_assert_int_eq(g4_session_open(&s, e, NULL), G4_OK);
        uint64_t want = g4_session_bytes(c, &plans[i]);
        /* 17 buffers, one thread's scratch, the list of threads */
        check_taken(g4_engine_bytes(c, &plans[i], &ops, 1), g4_arena_bytes(&e->arena), 19);
        /* keys and values of each layer; the list of layers; the angles */
        check_taken(want, g4_arena_bytes(&s->arena), 2 * (uint64_t)c->num_hidden_layers + 2);
        uint64_t sum = s->turn ? 2 * (uint64_t)(s->pairs * s->ctx) * sizeof(float) : 0;
        for (int64_t l = 0; l < c->num_hidden_layers; l++)
            sum += (s->kv[l].key ? 2 : 1) * (uint64_t)s->kv[l].slots * s->kv[l].row_bytes;
        ck_assert_uint_eq(sum, want);   /* to the byte */
        g4_session_close(s);
        g4_engine_close(e);
    }
}
END_TEST

START_TEST(cache_slots)
{
    g4_config c = model->config;
    g4_engine_plan plan = { .rows = 5, .ctx = 100 };
    c.sliding_window = 24;
    ck_assert_int_eq(g4_cache_slots(&c, &plan, G4_FULL), 100);
    ck_assert_int_eq(g4_cache_slots(&c, &plan, G4_SLIDING), 30);
    plan.ctx = 30;
    ck_assert_int_eq(g4_cache_slots(&c, &plan, G4_SLIDING), 30);
    plan.ctx = 29;   /* no ring where everything fits */
    ck_assert_int_eq(g4_cache_slots(&c, &plan, G4_SLIDING), 29);
}
END_TEST

Suite *check_session(void)
{
    Suite *s = suite_create("session");
    TCase *t = tcase_create("session");
    tcase_set_tags(t, "tiny");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, model_open, model_close);
    tcase_add_test(t, chunks_as_planned);
    tcase_add_test(t, no_room);
    tcase_add_test(t, allocations_fail);
    tcase_add_loop_test(t, rewinds_by_plan_rows, G4_F32, G4_F16 + 1);
    tcase_add_loop_test(t, copies_go_on_alike, G4_F32, G4_F16 + 1);
    tcase_add_test(t, plans_are_what_is_taken);
    tcase_add_test(t, cache_slots);
    suite_add_tcase(s, t);
    return s;
}
