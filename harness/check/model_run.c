/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/model_run.h"

#include "golden/golden.h"
#include "kernels_opt/kernels.h"
#include "ref/model/mtp.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

const char *const model_run_cases[] = {
    "golden/tiny/small/text.h5",    "golden/tiny/small/text_long.h5", "golden/tiny/small/far.h5",
    "golden/tiny/small/audios2.h5", "golden/tiny/small/images2.h5",   "golden/tiny/small/video.h5",
    "golden/tiny/small/mixed.h5",   "golden/tiny/even/text.h5",       "golden/tiny/even/image.h5",
    "golden/tiny/mini/mix_videos_between.h5", "golden/tiny/mini/mix_mask_hf_forward.h5",
    NULL,
};

int model_run_case_count(void)
{
    int n = 0;
    while (model_run_cases[n]) n++;
    return n;
}

char *model_run_dir(char dir[256], const char *file)
{
    const char *slash = strrchr(file, '/');
    snprintf(dir, 256, "%.*s/model", (int)(slash - file), file);
    return dir;
}

/* Datasets by (tap, layer, step); rows at their place. */
enum { MAX_SETS = 4096 };

typedef struct dataset {
    g4_tap_id id;
    int64_t layer, step, cols, rows;   /* rows: 1 + the last one seen */
    float *data;                       /* malloc'ed */
} dataset;

typedef struct sink {
    dataset set[MAX_SETS];
    int count;
} sink;

static void put(void *ctx, const g4_tap_at *at, const float *data)
{
    sink *s = ctx;
    dataset *d = NULL;
    for (int i = 0; i < s->count && !d; i++)
        if (s->set[i].id == at->id && s->set[i].layer == at->layer && s->set[i].step == at->step)
            d = &s->set[i];
    if (!d) {
        ck_assert_int_lt(s->count, MAX_SETS);
        d = &s->set[s->count++];
        *d = (dataset){ at->id, at->layer, at->step, at->cols, 0, NULL };
    }
    ck_assert_int_eq(d->cols, at->cols);
    int64_t rows = at->row + at->rows > d->rows ? at->row + at->rows : d->rows;
    float *p = realloc(d->data, (size_t)(rows * d->cols) * sizeof *p);
    ck_assert_ptr_nonnull(p);
    d->data = p;
    d->rows = rows;
    memcpy(p + at->row * at->cols, data, (size_t)(at->rows * at->cols) * sizeof *p);
}

static int by_place(const void *a, const void *b)
{
    const dataset *x = a, *y = b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    return x->layer < y->layer ? -1 : x->layer > y->layer;
}

static void digest(sink *s, char hex[G4_SHA256_HEX])
{
    g4_sha256 sum;
    qsort(s->set, (size_t)s->count, sizeof *s->set, by_place);
    g4_sha256_begin(&sum);
    for (int i = 0; i < s->count; i++) {
        g4_sha256_add(&sum, s->set[i].data, (size_t)(s->set[i].rows * s->set[i].cols) * 4);
        free(s->set[i].data);
    }
    g4_sha256_end(&sum, hex);
}

typedef struct opened {
    g4_model *model, *draft;
    g4_par *par;
    g4_ops ops;
    g4_golden *golden;
    g4_arena arena;
    g4_prompt prompt;
    g4_engine *engine;
    g4_session *session;
    g4_drafter *drafter;
} opened;

#define OK(expr) ck_assert_msg((expr) == G4_OK, "%s", err.msg)

static void open_all(opened *o, const model_run *r)
{
    g4_err err = { G4_OK, "" };
    unsigned isas;
    OK(g4_isa_parse(&isas, r->isa, &err));
    OK(g4_ops_select(&o->ops, isas, &err));
    OK(g4_par_open(&o->par, r->threads, &err));
    OK(g4_model_open(&o->model, r->model, &err));
    if (r->draft) OK(g4_model_open(&o->draft, r->draft, &err));
    OK(g4_golden_open(&o->golden, r->inputs, G4_GOLDEN_DIRECT, &err));
    OK(g4_golden_prompt(o->golden, &o->prompt, &o->arena, &err));
    g4_engine_plan plan = { .kv = r->kv, .ctx = o->prompt.n + 1, .logit_rows = 7,
                            .stream = r->stream, .pair = r->pair };
    if (r->panels) {
        OK(g4_model_pack(o->model, &o->ops, o->par, &err));
        ck_assert_ptr_nonnull(o->model->panels);
        plan.panels = 1;
    }
    plan.rows = g4_chunk_rows(o->prompt.types, o->prompt.n, r->chunk);
    if (r->mask >= 0) plan.mask = (g4_mask)r->mask;
    else OK(g4_mask_by_name(&plan.mask, g4_golden_text(o->golden, "mask"), &err));
    OK(g4_engine_open(&o->engine, o->model, &o->ops, o->par, &plan, &err));
    OK(g4_session_open(&o->session, o->engine, &err));
    if (o->draft) OK(g4_drafter_open(&o->drafter, o->draft, o->engine, &err));
}

static void close_all(opened *o)
{
    g4_drafter_close(o->drafter);
    g4_session_close(o->session);
    g4_engine_close(o->engine);
    g4_golden_close(o->golden);
    g4_arena_free(&o->arena);
    g4_model_close(o->draft);
    g4_model_close(o->model);
    g4_par_close(o->par);
}

static void draft(opened *o, const g4_tap *tap, const float *logits, const float *hidden)
{
    g4_sampler greedy = { 0 };
    int64_t V = o->model->config.vocab_size;
    int32_t last = g4_argmax(&greedy, logits, V);
    o->drafter->tap = tap;
    g4_draft_begin(o->drafter, o->session, hidden);
    for (int step = 0; step < 3; step++) {
        g4_draft_step(o->drafter, o->session, last, step);
        last = g4_argmax(&greedy, o->drafter->logits, V);
    }
}

void model_run_digest(const model_run *r, char hex[G4_SHA256_HEX])
{
    g4_err err = { G4_OK, "" };
    opened o = { 0 };
    sink *s = calloc(1, sizeof *s);
    const g4_tap tap = { s, put };
    g4_soft soft;
    ck_assert_ptr_nonnull(s);
    open_all(&o, r);
    float *logits = calloc((size_t)o.model->config.vocab_size, sizeof *logits);
    float *hidden = calloc((size_t)o.model->config.hidden_size, sizeof *hidden);
    ck_assert(logits && hidden);
    const g4_prefill_item item = { o.session, &o.prompt, &soft, logits, hidden };
    o.session->tap = &tap;
    OK(g4_soft_embed(&soft, o.engine, &o.prompt, &tap, &err));
    OK(g4_prefill(o.engine, &item, 1, r->chunk, &err));
    g4_soft_free(&soft);
    if (o.drafter) draft(&o, &tap, logits, hidden);
    free(logits);
    free(hidden);
    close_all(&o);
    digest(s, hex);
    free(s);
}
