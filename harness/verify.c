/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/verify.h"

#include "harness/greedy.h"
#include "harness/pass.h"

#include <stdlib.h>
#include <string.h>

typedef struct partial {
    float *data;               /* malloc'ed [rows][cols] until complete */
    int64_t filled;
} partial;

typedef struct check {
    g4_compare *c;
    g4_golden *golden;
    const g4_runtime *rt;
    g4_arena arena;            /* inputs, results */
    g4_prompt prompt;
    g4_mask mask;
    g4_engine *engine;         /* this and the next by the pass */
    g4_session *session;
    const float *logits, *hidden;   /* [V], [D] of the last token */
    const g4_model *draft;     /* NULL: none */
    g4_model *named_draft;     /* the drafter that the golden names, if not rt's own */
    g4_drafter *drafter;
    partial *parts;            /* [datasets]; a prefill in chunks comes in pieces */
    float *own_hidden;         /* [D] what our draft step before this one gave */
    g4_tap tap;
    g4_status status;          /* first error inside the observer */
    g4_err *err;
} check;

/* ---- the observer ---- */

static g4_status take(check *k, const g4_golden_set *set, const g4_tap_at *at, const float *data)
{
    int64_t rows = g4_golden_rows(set);
    if (at->row == 0 && at->rows == rows)
        return g4_compare_dataset(k->c, set->path, rows, at->cols, data, k->err);
    if (at->row + at->rows > rows || at->cols != g4_golden_cols(set))   /* says what differs */
        return g4_compare_dataset(k->c, set->path, at->row + at->rows, at->cols, data, k->err);
    partial *p = &k->parts[set - g4_golden_at(k->golden, 0)];
    size_t values;
    if (__builtin_mul_overflow((size_t)rows, (size_t)at->cols, &values)) values = SIZE_MAX / 8;
    if (!p->data) p->data = calloc(values, sizeof *p->data);
    if (!p->data) return g4_nomem(k->err, set->path);
    memcpy(p->data + at->row * at->cols, data,
           (size_t)(at->rows * at->cols) * sizeof *data);
    p->filled += at->rows;
    if (p->filled < rows) return G4_OK;
    g4_status s = g4_compare_dataset(k->c, set->path, rows, at->cols, p->data, k->err);
    free(p->data);
    *p = (partial){ NULL, 0 };
    return s;
}

/* After the prefill no dataset may wait for more rows: it has more than the prompt. */
static g4_status parts_complete(check *k)
{
    for (size_t i = 0; i < g4_golden_count(k->golden); i++) {
        const g4_golden_set *set = g4_golden_at(k->golden, i);
        const partial *p = &k->parts[i];
        if (p->data)   /* says what differs */
            return g4_compare_dataset(k->c, set->path, p->filled, g4_golden_cols(set), p->data,
                                      k->err);
    }
    return G4_OK;
}

/* inputs_embeds with the hidden half that our own step before made. */
static g4_status take_draft_input(check *k, const g4_golden_set *set, const float *data)
{
    int64_t D = k->rt->model->config.hidden_size;
    float *both = malloc(2 * (size_t)D * sizeof *both);
    if (!both) return g4_nomem(k->err, set->path);
    memcpy(both, data, (size_t)D * sizeof *both);
    memcpy(both + D, k->own_hidden, (size_t)D * sizeof *both);
    g4_status s = g4_compare_dataset(k->c, set->path, 1, 2 * D, both, k->err);
    free(both);
    return s;
}

static void observe(void *ctx, const g4_tap_at *at, const float *data)
{
    check *k = ctx;
    char path[G4_GOLDEN_PATH] = "activations/";
    size_t skip = strlen(path);
    if (k->status != G4_OK) return;
    g4_tap_path(path + skip, sizeof path - skip, at->id, at->layer, at->step);
    const g4_golden_set *set = g4_golden_find(k->golden, path);
    if (!set) return;
    k->status = at->id == G4_TAP_mtp_inputs_embeds ? take_draft_input(k, set, data)
                                                   : take(k, set, at, data);
}

/* ---- what a golden may hold beside the taps ---- */

/* A list of n values, which the format may see as one row or as one column. */
static g4_status compare_list(check *k, const char *path, g4_golden_type type, int64_t n,
                              const void *values)
{
    const g4_golden_set *set = g4_golden_find(k->golden, path);
    if (!set) return G4_OK;
    int column = g4_golden_cols(set) == 1;
    return g4_compare_values(k->c, path, column ? n : 1, column ? 1 : n, type, values, k->err);
}

static g4_status compare_row(check *k, const char *path, int64_t n, const float *row)
{
    return compare_list(k, path, G4_GOLDEN_F32, n, row);
}

static g4_status compare_ids(check *k, const char *path, int64_t n, const int32_t *ids)
{
    return compare_list(k, path, G4_GOLDEN_I32, n, ids);
}

static g4_status compare_mask(check *k, const char *path, int kind)
{
    const g4_golden_set *set = g4_golden_find(k->golden, path);
    int64_t T = k->prompt.n;
    if (!set) return G4_OK;
    uint8_t *cells = calloc((size_t)T, (size_t)T);
    g4_span *blocks = calloc((size_t)T, sizeof *blocks);
    if (!cells || !blocks) {
        free(cells);
        free(blocks);
        return g4_nomem(k->err, path);
    }
    g4_blocks(blocks, k->prompt.types, T);
    for (int64_t t = 0; t < T; t++) {
        g4_span keys = g4_visible(k->engine, kind, t, blocks[t]);
        memset(cells + t * T + keys.begin, 1, (size_t)(keys.end - keys.begin));
    }
    g4_status s = g4_compare_values(k->c, path, T, T, G4_GOLDEN_U8, cells, k->err);
    free(cells);
    free(blocks);
    return s;
}

/* The golden's own hidden state that goes into draft step `step`. */
static g4_status golden_hidden(check *k, int64_t step, float *hidden)
{
    char path[G4_GOLDEN_PATH];
    int64_t D = k->rt->model->config.hidden_size;
    snprintf(path, sizeof path, "activations/mtp/step%lld/inputs_embeds", (long long)step);
    const g4_golden_set *set = g4_golden_find(k->golden, path);
    if (!set || g4_golden_values(set) != 2 * D ||
        (set->type != G4_GOLDEN_F32 && set->type != G4_GOLDEN_F64))
        return g4_fail(k->err, G4_EINPUT, "%s: %s is missing or not %lld long",
                       g4_golden_path(k->golden), path, (long long)(2 * D));
    void *data = malloc(2 * (size_t)D * g4_golden_size(set->type));
    if (!data) return g4_nomem(k->err, path);
    g4_status s = g4_golden_read(k->golden, set, data, k->err);
    for (int64_t i = 0; s == G4_OK && i < D; i++)
        hidden[i] = set->type == G4_GOLDEN_F32 ? ((float *)data)[D + i]
                                               : (float)((double *)data)[D + i];
    free(data);
    return s;
}

/* Drafts n tokens freely, watched by nobody. */
static void draft_freely(check *k, int32_t last, int32_t *ids, int64_t n)
{
    g4_draft_begin(k->drafter, k->session, k->hidden);
    for (int64_t i = 0; i < n; i++) {
        g4_draft_step(k->drafter, k->session, last, i);
        ids[i] = last = g4_likeliest(k->drafter->logits, k->rt->model->config.vocab_size);
    }
}

/* What drafting begins with: the likeliest token, or, where the golden has that, the
 * likeliest that a text may have. */
static g4_status first_token(check *k, int32_t *last)
{
    int64_t n = 0, V = k->rt->model->config.vocab_size;
    int32_t *want;
    g4_sampler text = g4_greedy(k->rt->model);
    int32_t allowed = g4_argmax(&text, k->logits, V);
    *last = g4_likeliest(k->logits, V);
    if (*last == allowed || !g4_golden_find(k->golden, "inputs/next_token")) return G4_OK;
    G4_TRY(g4_golden_ids(k->golden, "inputs/next_token", &k->arena, &want, &n, k->err));
    if (n == 1 && *want == allowed) *last = allowed;
    return G4_OK;
}

static g4_status draft_steps(check *k)
{
    const g4_config *c = &k->rt->model->config;
    int32_t *want, *ids, last, position = k->session->next_position;
    int64_t n, D = c->hidden_size;
    G4_TRY(first_token(k, &last));
    G4_TRY(compare_ids(k, "inputs/next_token", 1, &last));
    G4_TRY(compare_ids(k, "inputs/position_id", 1, &position));
    G4_TRY(compare_row(k, "activations/hidden_last", D, k->hidden));
    G4_TRY(compare_row(k, "activations/logits_last", c->vocab_size, k->logits));
    if (!k->drafter) return G4_OK;
    G4_TRY(g4_golden_ids(k->golden, "inputs/drafted", &k->arena, &want, &n, k->err));
    for (int64_t i = 0; i < n; i++)   /* each goes into the next step */
        if (want[i] < 0 || want[i] >= c->vocab_size)
            return g4_fail(k->err, G4_EINPUT, "%s: inputs/drafted: id %d at step %lld, the "
                           "vocabulary has %lld", g4_golden_path(k->golden), want[i],
                           (long long)i, (long long)c->vocab_size);
    ids = g4_arena_alloc(&k->arena, (size_t)n, sizeof *ids);
    k->own_hidden = g4_arena_alloc(&k->arena, (size_t)D, sizeof *k->own_hidden);
    if (!ids || !k->own_hidden) return g4_nomem(k->err, "inputs/drafted");
    draft_freely(k, last, ids, n);
    G4_TRY(compare_ids(k, "inputs/drafted", n, ids));

    k->drafter->tap = &k->tap;
    g4_draft_begin(k->drafter, k->session, k->hidden);
    for (int64_t i = 0; i < n; i++) {
        memcpy(k->own_hidden, k->drafter->hidden, (size_t)D * sizeof(float));
        if (i > 0) G4_TRY(golden_hidden(k, i, k->drafter->hidden));
        g4_draft_step(k->drafter, k->session, i ? want[i - 1] : last, i);
    }
    k->drafter->tap = NULL;
    return k->status;
}

/* Greedy text as long as the golden's, from the prefilled session. */
static g4_status greedy_text(check *k, const char *path, g4_drafter *d)
{
    int32_t *want, *ids;
    int64_t n;
    g4_greedy_run r = { .engine = k->engine, .session = k->session, .drafter = d,
                        .logits = k->logits, .hidden = k->hidden, .prompt = k->prompt.n,
                        .max_draft = G4_VERIFY_DRAFT };
    if (!g4_golden_find(k->golden, path)) return G4_OK;
    G4_TRY(g4_golden_ids(k->golden, path, &k->arena, &want, &r.tokens, k->err));
    ids = g4_arena_alloc(&k->arena, (size_t)r.tokens, sizeof *ids);
    if (!ids) return g4_nomem(k->err, path);
    G4_TRY(g4_greedy_text(&r, ids, &n, k->err));
    return compare_ids(k, path, n, ids);
}

/* ---- one file ---- */

int64_t g4_verify_behind(const g4_golden *g)
{
    static const char *const paths[] = { "inputs/generated", "inputs/assisted" };
    int64_t most = 0;
    for (int i = 0; i < 2; i++) {
        const g4_golden_set *s = g4_golden_find(g, paths[i]);
        if (s && g4_golden_values(s) > most) most = g4_golden_values(s);
    }
    return most;
}

/* The drafter of this case: rt's, unless the golden names another folder beside the
 * model's weights and the user none. */
static g4_status choose_draft(check *k, const g4_verify_options *o)
{
    const char *name = g4_golden_text(k->golden, "draft");
    k->draft = k->rt->draft;
    if (o->keep_draft || !name || strcmp(name, "assistant") == 0) return G4_OK;
    if (!*name || *name == '.' || strchr(name, '/'))
        return g4_fail(k->err, G4_EINPUT, "%s: draft \"%s\" is no plain folder name",
                       g4_golden_path(k->golden), name);
    char *dir = g4_arena_printf(&k->arena, "%s/%s", k->rt->model->dir, name);
    if (!dir) return g4_nomem(k->err, name);
    G4_TRY(g4_model_open(&k->named_draft, dir, k->err));
    k->draft = k->named_draft;
    return G4_OK;
}

/* All that can be known of a file before anything is computed. */
static g4_status open_check(check *k, const char *path, const g4_verify_options *o)
{
    const g4_config *c = &k->rt->model->config;
    k->tap = (g4_tap){ k, observe };
    G4_TRY(g4_compare_open(&k->c, path, k->rt->model->dir, o->golden_flags, k->err));
    k->golden = g4_compare_golden(k->c);
    g4_compare_expect_all(k->c);
    G4_TRY(g4_golden_prompt(k->golden, &k->prompt, &k->arena, k->err));
    G4_TRY(g4_prompt_check(&k->prompt, path, c->vocab_size, c->mm_posemb_size,
                           c->patch_size ? g4_patch_values(c) : 0, c->audio_embed_dim, k->err));
    const char *mask = o->mask ? o->mask : g4_golden_text(k->golden, "mask");
    if (mask) G4_TRY(g4_mask_by_name(&k->mask, mask, k->err));
    k->parts = g4_arena_alloc(&k->arena, g4_golden_count(k->golden), sizeof *k->parts);
    if (!k->parts) return g4_nomem(k->err, "verify");
    return choose_draft(k, o);
}

static void close_check(check *k)
{
    for (size_t i = 0; k->parts && i < g4_golden_count(k->golden); i++) free(k->parts[i].data);
    g4_drafter_close(k->drafter);
    g4_model_close(k->named_draft);
    g4_arena_free(&k->arena);
    g4_compare_close(k->c);
    *k = (check){ 0 };
}

/* What comes after the prefill. */
static g4_status finish(check *k)
{
    G4_TRY(k->status);
    G4_TRY(parts_complete(k));
    G4_TRY(compare_mask(k, "activations/masks/sliding_attention", G4_SLIDING));
    G4_TRY(compare_mask(k, "activations/masks/full_attention", G4_FULL));
    if (g4_golden_find(k->golden, "inputs/drafted")) G4_TRY(draft_steps(k));
    G4_TRY(greedy_text(k, "inputs/generated", NULL));
    return k->drafter ? greedy_text(k, "inputs/assisted", k->drafter) : G4_OK;
}

/* ---- one pass ---- */

typedef struct batch {
    check checks[G4_PASS_CASES];
    g4_pass_case cases[G4_PASS_CASES];
    g4_pass pass;
    int count;
} batch;

/* Opens files as long as they go together.  Behind the first, one that cannot be
 * opened ends the list: its error is told when it is first. */
static g4_status open_batch(batch *b, const g4_runtime *rt, const char *const *paths, int count,
                            const g4_verify_options *o, g4_err *err)
{
    for (int i = 0; i < count && i < G4_PASS_CASES; i++) {
        check *k = &b->checks[i];
        *k = (check){ .rt = rt, .err = i ? NULL : err };
        g4_status s = open_check(k, paths[i], o);
        b->cases[i] = (g4_pass_case){ .prompt = &k->prompt, .tap = &k->tap };
        if (s == G4_OK) b->cases[i].behind = g4_verify_behind(k->golden);
        if (s == G4_OK && k->mask == b->checks[0].mask && g4_pass_fits(b->cases, i + 1)) {
            b->count = i + 1;
            continue;
        }
        close_check(k);
        return i == 0 ? s : G4_OK;
    }
    return G4_OK;
}

static g4_status run_batch(batch *b, const g4_runtime *rt, const g4_verify_options *o, g4_err *err)
{
    g4_engine_plan plan = rt->plan;
    plan.mask = b->checks[0].mask;
    g4_pass_plan(&plan, b->cases, b->count, o->chunk, G4_VERIFY_DRAFT);
    G4_TRY(g4_pass_open(&b->pass, rt, &plan, b->cases, b->count, err));
    for (int i = 0; i < b->count; i++) {
        check *k = &b->checks[i];
        k->engine = b->pass.engine;
        k->session = b->cases[i].session;
        k->logits = b->cases[i].logits;
        k->hidden = b->cases[i].hidden;
        if (k->draft) G4_TRY(g4_drafter_open(&k->drafter, k->draft, k->engine, err));
    }
    G4_TRY(g4_pass_prefill(&b->pass, o->chunk, err));
    for (int i = 0; i < b->count; i++) {
        g4_status s = finish(&b->checks[i]);
        if (s == G4_OK) continue;
        if (i == 0) return s;
        while (b->count > i) close_check(&b->checks[--b->count]);
    }
    return G4_OK;
}

static g4_status verify_pass(g4_compare **c, int *n, const g4_runtime *rt,
                             const char *const *paths, int count, const g4_verify_options *o,
                             g4_err *err)
{
    batch *b = calloc(1, sizeof *b);
    *n = 0;
    if (!b) return g4_nomem(err, "verify");
    g4_status s = open_batch(b, rt, paths, count, o, err);
    *n = b->count;
    if (s == G4_OK) s = run_batch(b, rt, o, err);
    g4_pass_close(&b->pass);
    if (s == G4_OK) *n = b->count;
    for (int i = 0; i < b->count; i++) {
        c[i] = s == G4_OK ? b->checks[i].c : NULL;
        if (s == G4_OK) b->checks[i].c = NULL;
        close_check(&b->checks[i]);
    }
    free(b);
    return s;
}

g4_status g4_verify(g4_compare **c, int *n, const g4_runtime *rt, const char *const *paths,
                    int count, const g4_verify_options *o, g4_err *err)
{
    *c = NULL;
    g4_status s = verify_pass(c, n, rt, paths, count, o, err);
    /* whose fault it is shows when each runs alone */
    return s != G4_OK && *n > 1 ? verify_pass(c, n, rt, paths, 1, o, err) : s;
}
