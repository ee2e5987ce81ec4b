/* SPDX-License-Identifier: Apache-2.0
 * The reference once, then points: layer by layer, each for all documents, so that a point
 * reads every layer's weights once and holds one layer at a time. */
#include "harness/sensitivity/bench.h"
#include "ref/base/clock.h"
#include "ref/dtype/dtype.h"
#include "ref/model/forward.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 512, TILE = 64, NOISE_ROWS = 512 };

static const double NOISE_WORK = 1e11;   /* multiply-adds: 8 rows of the 12B, minutes of a core */

/* ---- opening ---- */

static g4_status cut_batches(g4_sens_bench *b, int64_t most, g4_err *err)
{
    const g4_sens_data *d = &b->s->data;
    b->batches = g4_arena_alloc(&b->arena, d->count, sizeof *b->batches);
    if (!b->batches) return g4_nomem(err, "documents");
    int64_t rows = 0;
    for (size_t i = 0; i < d->count; i++) {
        g4_sens_batch *at = &b->batches[b->batch_count - (b->batch_count > 0)];
        int64_t n = d->docs[i].prompt.n;
        if (!b->batch_count || at->count == G4_SENS_LANES || rows + n > most) {
            at = &b->batches[b->batch_count++];
            *at = (g4_sens_batch){ i, 0 };
            rows = 0;
        }
        if (n > b->lane_rows[at->count]) b->lane_rows[at->count] = n;
        at->count++;
        rows += n;
    }
    return G4_OK;
}

/* Sessions whose layers share one cache of each kind: a layer is done before the next. */
static g4_status open_lanes(g4_sens_bench *b, g4_err *err)
{
    const g4_config *c = &b->s->candidate.config;
    for (size_t i = 0; i < G4_SENS_LANES && b->lane_rows[i]; i++) {
        g4_session *s = &b->lanes[i];
        *s = (g4_session){ .model = &b->s->candidate, .ctx = b->lane_rows[i],
                           .back = b->lane_rows[i] };
        s->kv = g4_arena_alloc(&b->arena, (size_t)c->num_hidden_layers, sizeof *s->kv);
        if (!s->kv) return g4_nomem(err, "sessions");
        for (int kind = 0; kind < 2; kind++) {
            G4_TRY(g4_kv_init(&b->cache[i][kind], G4_F32, s->ctx,
                              c->kv_heads[kind] * c->head_dim[kind], 0, &b->arena, err));
            b->cache[i][kind].head_dim = c->head_dim[kind];
        }
    }
    return G4_OK;
}

static g4_status open_engine(g4_sens_bench *b, g4_err *err)
{
    g4_sens_study *s = b->s;
    g4_engine_plan plan = s->rt.plan;
    plan.rows = s->data.longest > ROWS ? s->data.longest : ROWS;
    if (plan.rows > s->data.rows) plan.rows = s->data.rows;
    plan.logit_rows = TILE;
    plan.ctx = s->data.longest;
    plan.mask = s->mask;
    plan.kv = G4_F16;            /* room to unpack cached rows of any format */
    G4_TRY(cut_batches(b, plan.rows, err));
    G4_TRY(g4_sens_room_check(b, &plan, err));
    return g4_engine_open(&b->engine, &s->candidate, &s->rt.ops, s->rt.par, &plan, err);
}

static g4_status open_rows(g4_sens_bench *b, g4_err *err)
{
    const g4_sens_data *d = &b->s->data;
    const g4_config *c = &b->s->candidate.config;
    size_t V = (size_t)c->vocab_size, D = (size_t)c->hidden_size;
    b->x = g4_arena_alloc(&b->arena, (size_t)d->rows, D * sizeof *b->x);
    b->tile = g4_arena_alloc(&b->arena, TILE, D * sizeof *b->tile);
    b->errors = g4_arena_alloc(&b->arena, (size_t)c->num_hidden_layers, sizeof *b->errors);
    b->tokens = g4_arena_alloc(&b->arena, (size_t)d->scored, sizeof *b->tokens);
    b->scored_row = g4_arena_alloc(&b->arena, (size_t)d->scored, sizeof *b->scored_row);
    b->chosen = g4_arena_alloc(&b->arena, d->questions + 1, sizeof *b->chosen);
    b->marks = g4_arena_alloc(&b->arena, (size_t)g4_par_threads(b->s->rt.par), V);
    if (!b->x || !b->tile || !b->errors || !b->tokens || !b->scored_row || !b->chosen || !b->marks)
        return g4_nomem(err, "activations");
    int64_t *at = b->scored_row;
    for (size_t i = 0; i < d->count; i++) {
        const g4_sens_doc *doc = &d->docs[i];
        for (int64_t k = 0; k < doc->scored; k++)
            *at++ = doc->first + doc->prompt.n - doc->scored + k;
    }
    return G4_OK;
}

/* ---- layers ---- */

static g4_status embed_media(g4_sens_bench *b, g4_err *err)
{
    b->layer = -1;
    for (size_t i = 0; i < b->s->data.count; i++) {
        g4_sens_doc *doc = &b->s->data.docs[i];
        const g4_prompt *p = &doc->prompt;
        if (!p->images.count && !p->frames.count && !p->clips) continue;
        g4_soft_free(&doc->soft);
        G4_TRY(g4_soft_embed(&doc->soft, b->engine, p, NULL, err));
    }
    return G4_OK;
}

/* The cache of a layer, in the point's format, in the memory of the float32 one. */
static void choose_cache(g4_sens_bench *b, int64_t l)
{
    int kind = b->s->candidate.config.layer_kind[l];
    int type = b->point ? b->point->cache[l] : -1;
    for (size_t i = 0; i < G4_SENS_LANES && b->lane_rows[i]; i++) {
        g4_kv *kv = &b->lanes[i].kv[l];
        *kv = b->cache[i][kind];
        if (type < 0) continue;
        kv->dtype = (g4_dtype)b->s->types[type].dtype;
        kv->row_bytes = g4_dtype_row_bytes(kv->dtype, kv->width);
    }
}

void g4_sens_forward(g4_sens_bench *b, const g4_sens_batch *batch, int64_t l, int64_t last)
{
    g4_item items[G4_SENS_LANES];
    int64_t D = b->s->candidate.config.hidden_size, rows = 0;
    const g4_sens_doc *docs = &b->s->data.docs[batch->first];
    if (last > l) choose_cache(b, l);
    for (size_t i = 0; i < batch->count; i++) {
        const g4_sens_doc *d = &docs[i];
        g4_session_reset(&b->lanes[i]);
        int64_t n = b->cut ? b->cut : d->prompt.n;
        items[i] = (g4_item){ .session = &b->lanes[i], .n = n, .ids = d->prompt.ids,
                              .positions = d->prompt.positions, .blocks = d->blocks,
                              .soft = d->soft.rows };
        rows += n;
    }
    const g4_part part = { l, last, b->x + docs[0].first * D };
    g4_forward_part(b->engine, items, (int)batch->count, &part);
    if (last == b->s->candidate.config.num_hidden_layers)   /* not left there by the last one */
        memcpy(part.x, b->engine->x, (size_t)(rows * D) * sizeof(float));
}

static void forward(g4_sens_bench *b, int64_t l, int64_t last)
{
    for (size_t k = 0; k < b->batch_count; k++) g4_sens_forward(b, &b->batches[k], l, last);
}

static g4_status run_layer(g4_sens_bench *b, int64_t l, g4_err *err)
{
    G4_TRY(g4_sens_layer_round(b, l, err));
    forward(b, l, l + 1);
    g4_sens_layer_restore(b, l);
    return G4_OK;
}

/* ---- errors ---- */

const float *g4_sens_recorded(const g4_sens_bench *b, int64_t l)
{
    int64_t D = b->s->candidate.config.hidden_size;
    return (const float *)(const void *)b->map.data + l * b->s->data.rows * D;
}

typedef struct row_job {
    const g4_sens_bench *b;
    const float *reference, *logits;
    int64_t cols, from;
} row_job;

static void diff_rows(void *ctx, int64_t begin, int64_t end, int worker)
{
    const row_job *j = ctx;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        const float *x = j->b->x + t * j->cols, *g = j->reference + t * j->cols;
        double ee = 0.0, gg = 0.0, xx = 0.0, xg = 0.0;
        for (int64_t i = 0; i < j->cols; i++) {
            double a = (double)x[i], r = (double)g[i];
            ee += (a - r) * (a - r);
            gg += r * r;
            xx += a * a;
            xg += a * r;
        }
        double *to = j->b->sums + 4 * t;
        to[0] = ee;
        to[1] = gg;
        to[2] = xx;
        to[3] = xg;
    }
}

/* Of the first rows of b->x from what layer l was given in the reference. */
static g4_sens_error error_at(g4_sens_bench *b, int64_t l, int64_t rows)
{
    row_job j = { .b = b, .reference = g4_sens_recorded(b, l),
                  .cols = b->s->candidate.config.hidden_size };
    double sum[4] = { 0 };
    g4_par_for(b->s->rt.par, rows, 16, diff_rows, &j);
    for (int64_t t = 0; t < rows; t++)
        for (int k = 0; k < 4; k++) sum[k] += b->sums[4 * t + k];
    return (g4_sens_error){ sqrt(sum[0]) / sqrt(sum[1]), sum[3] / (sqrt(sum[1]) * sqrt(sum[2])) };
}

/* ---- logits ---- */

static void judge_rows(void *ctx, int64_t begin, int64_t end, int worker)
{
    const row_job *j = ctx;
    int64_t V = j->cols;
    for (int64_t i = begin; i < end; i++) {
        int64_t row = j->from + i;
        const g4_kl_ref ref = { .kind = G4_KL_LOGITS, .logits = j->reference + row * V };
        g4_kl_token *t = &j->b->tokens[row];
        g4_kl_row(t, j->logits + i * V, V, t->id, &ref, j->b->marks + (int64_t)worker * V);
    }
}

/* Answers to the questions whose rows are [from, from + n). */
static void choose(g4_sens_bench *b, size_t *doc, size_t *question, int64_t from, int64_t n)
{
    const g4_sens_data *d = &b->s->data;
    int64_t V = b->s->candidate.config.vocab_size;
    for (; *doc < d->count && d->docs[*doc].score_first < from + n; (*doc)++) {
        const g4_sens_doc *q = &d->docs[*doc];
        if (!q->choices) continue;
        const float *z = b->engine->logits + (q->score_first - from) * V;
        int32_t best = 0;
        for (int32_t k = 1; k < q->choice_count; k++)
            if (z[q->choices[k]] > z[q->choices[best]]) best = k;
        b->chosen[(*question)++] = best;
    }
}

typedef g4_status logits_fn(g4_sens_bench *b, int64_t from, int64_t n, g4_err *err);

static g4_status run_head(g4_sens_bench *b, logits_fn *each, g4_err *err)
{
    const g4_model *m = &b->s->candidate;
    int64_t D = m->config.hidden_size, L = m->config.num_hidden_layers;
    size_t doc = 0, question = 0;
    b->layer = L;
    for (int64_t from = 0, n; from < b->s->data.scored; from += n) {
        n = b->s->data.scored - from < TILE ? b->s->data.scored - from : TILE;
        for (int64_t i = 0; i < n; i++)
            memcpy(b->tile + i * D, b->x + b->scored_row[from + i] * D, (size_t)D * sizeof(float));
        g4_rmsnorm(b->engine, b->tile, b->tile, m->norm, n, D, m->config.rms_norm_eps);
        g4_head_forward(b->engine, b->engine->logits, b->tile, n);
        choose(b, &doc, &question, from, n);
        G4_TRY(each(b, from, n, err));
    }
    return G4_OK;
}

static g4_status judge(g4_sens_bench *b, int64_t from, int64_t n, g4_err *err)
{
    const g4_config *c = &b->s->candidate.config;
    row_job j = { .b = b, .reference = g4_sens_recorded(b, c->num_hidden_layers + 1),
                  .logits = b->engine->logits, .cols = c->vocab_size, .from = from };
    (void)err;
    g4_par_for(b->s->rt.par, n, 1, judge_rows, &j);
    return G4_OK;
}

/* ---- the reference ---- */

g4_status g4_sens_put(g4_sens_bench *b, const float *x, int64_t rows, int64_t cols, g4_err *err)
{
    return g4_out_write(b->out, x, (size_t)(rows * cols) * sizeof *x, err);
}

static g4_status put_logits(g4_sens_bench *b, int64_t from, int64_t n, g4_err *err)
{
    (void)from;
    return g4_sens_put(b, b->engine->logits, n, b->s->candidate.config.vocab_size, err);
}

static g4_status record(g4_sens_bench *b, g4_err *err)
{
    const g4_config *c = &b->s->candidate.config;
    const g4_sens_data *d = &b->s->data;
    b->recording = 1;
    b->layer = 0;
    forward(b, 0, 0);
    G4_TRY(g4_sens_put(b, b->x, d->rows, c->hidden_size, err));
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        G4_TRY(run_layer(b, l, err));
        G4_TRY(g4_sens_put(b, b->x, d->rows, c->hidden_size, err));
        G4_TRY(g4_sens_channels_of(b, l, err));
    }
    b->recording = 0;
    return run_head(b, put_logits, err);
}

/* Into a file that has lost its name before anything else can go wrong. */
static g4_status record_file(g4_sens_bench *b, const char *name, g4_map *map,
                             g4_status (*what)(g4_sens_bench *b, g4_err *err), g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    char *path = g4_arena_printf(&b->arena, "%s/%s", b->s->o->out, name);
    if (!path) return g4_nomem(err, b->s->o->out);
    G4_TRY(g4_out_open(&out, path, err));
    int fd = open(out.temp, O_RDONLY | O_CLOEXEC);
    unlink(out.temp);            /* not even kill -9 leaves it lying about */
    b->out = &out;
    g4_status s = fd < 0 ? g4_fail(err, G4_EIO, "%s: %s", path, strerror(errno)) : what(b, err);
    if (s == G4_OK) s = g4_out_finish(&out, err);
    if (s == G4_OK) s = g4_map_fd(map, fd, path, err);
    g4_out_abort(&out);
    if (fd >= 0) close(fd);
    b->out = NULL;
    return s;
}

static g4_status record_all(g4_sens_bench *b, g4_err *err)
{
    double start = g4_seconds();
    G4_TRY(record_file(b, "activations.f32", &b->map, record, err));
    memcpy(b->s->reference_choice, b->chosen, b->s->data.questions * sizeof *b->chosen);
    if (b->drafting)
        G4_TRY(record_file(b, "drafts.f32", &b->drafts, g4_sens_drafted_record, err));
    b->s->reference_seconds = g4_seconds() - start;
    return G4_OK;
}

/* Rows that NOISE_WORK multiply-adds are enough for. */
static int64_t noise_rows(const g4_sens_bench *b)
{
    double weights = 0.0;
    for (size_t i = 0; i < b->s->slots.count; i++) {
        const g4_sens_slot *slot = &b->s->slots.list[i];
        if (slot->layer >= 0 && slot->text) weights += (double)(slot->mat.rows * slot->mat.cols);
    }
    double rows = NOISE_WORK / weights;
    return rows < 1.0 ? 1 : rows > NOISE_ROWS ? NOISE_ROWS : (int64_t)rows;
}

/* The batches that make so many rows; where that is far too many, of the first document its
 * first rows, but no piece of a picture.  Returns the rows. */
static int64_t choose_noise_rows(g4_sens_bench *b, int64_t most)
{
    const g4_sens_doc *docs = b->s->data.docs;
    size_t batches = b->batch_count;
    int64_t rows = 0;
    for (b->batch_count = 0; b->batch_count < batches && rows < most; b->batch_count++) {
        const g4_sens_batch *k = &b->batches[b->batch_count];
        const g4_sens_doc *last = &docs[k->first + k->count - 1];
        rows = last->first + last->prompt.n;
    }
    if (rows <= 2 * most) return rows;
    b->batch_count = b->batches[0].count = 1;
    rows = most < docs->prompt.n ? most : docs->prompt.n;
    if (docs->blocks[rows - 1].end > rows) rows = docs->blocks[rows - 1].end;
    return b->cut = rows;
}

/* The first rows again, every product of matrices summed in float64 and rounded once: what
 * float32 itself does to each layer's output.  Not all: these products have no fast kernels. */
static g4_status measure_noise(g4_sens_bench *b, g4_err *err)
{
    const g4_ops ops = b->engine->ops;
    const g4_sens_batch first = b->batches[0];
    int64_t L = b->s->candidate.config.num_hidden_layers;
    size_t batches = b->batch_count;
    int64_t rows = choose_noise_rows(b, noise_rows(b));
    memcpy(b->x, g4_sens_recorded(b, 0),
           (size_t)(rows * b->s->candidate.config.hidden_size) * sizeof *b->x);
    for (int t = 0; t < G4_DTYPE_COUNT; t++) b->engine->ops.linear[t] = ops.linear64;
    g4_status s = G4_OK;
    for (int64_t l = 0; s == G4_OK && l < L; l++) {
        s = run_layer(b, l, err);
        b->s->noise[l] = error_at(b, l + 1, rows).relative;
    }
    b->engine->ops = ops;
    b->batch_count = batches;
    b->batches[0] = first;
    b->cut = 0;
    return s;
}

static g4_status open_all(g4_sens_bench *b, g4_err *err)
{
    g4_sens_data *d = &b->s->data;
    G4_TRY(g4_sens_layout(b, err));
    G4_TRY(open_engine(b, err));
    G4_TRY(open_lanes(b, err));
    G4_TRY(open_rows(b, err));
    G4_TRY(g4_sens_rounded_open(b, err));
    G4_TRY(g4_sens_drafted_open(b, err));
    for (size_t i = 0; i < d->count; i++)
        for (int64_t k = 0; k < d->docs[i].scored; k++)
            b->tokens[d->docs[i].score_first + k].id = d->docs[i].next[k];
    G4_TRY(embed_media(b, err));
    G4_TRY(record_all(b, err));
    return measure_noise(b, err);
}

g4_status g4_sens_bench_open(g4_sens_bench **out, g4_sens_study *s, g4_err *err)
{
    g4_sens_bench *b = *out = calloc(1, sizeof *b);
    if (!b) return g4_nomem(err, "sensitivity");
    b->s = s;
    return open_all(b, err);
}

void g4_sens_bench_close(g4_sens_bench *b)
{
    if (!b) return;
    g4_drafter_close(b->drafter);
    g4_engine_close(b->engine);
    g4_map_close(&b->map);
    g4_map_close(&b->drafts);
    free(b->table);
    g4_arena_free(&b->arena);
    free(b);
}

/* ---- a point ---- */

/* The layer that it begins with; media and the embedding are before layer 0. */
static int64_t first_change(const g4_sens_bench *b, const g4_sens_point *p)
{
    int64_t L = b->s->candidate.config.num_hidden_layers, first = L;
    for (size_t i = 0; i < b->s->slots.count; i++) {
        int64_t l = b->s->slots.list[i].layer;
        if ((p->weight[i] >= 0 || p->input[i] >= 0) && l < first) first = l < 0 ? 0 : l;
    }
    for (int64_t l = 0; l < first; l++)
        if (p->cache[l] >= 0) first = l;
    return first;
}

/* Rounds what is before the layers; *media: soft tokens are others. */
static g4_status change_inputs(g4_sens_bench *b, int *media, g4_err *err)
{
    b->weights_used = 0;
    for (size_t i = 0; i < b->slot_from[0]; i++) {
        int weight = b->point->weight[i] >= 0, input = b->point->input[i] >= 0;
        if (weight) G4_TRY(g4_sens_slot_round(b, i, err));
        *media |= (weight || input) && !b->s->slots.list[i].text;
    }
    return *media ? embed_media(b, err) : G4_OK;
}

static void restore_inputs(g4_sens_bench *b)
{
    for (size_t i = 0; i < b->slot_from[0]; i++)
        *b->s->slots.list[i].at = b->s->slots.list[i].mat;
}

/* The table again as the output matrix, which may be in another format. */
static g4_status change_head(g4_sens_bench *b, g4_err *err)
{
    const g4_sens_slots *slots = &b->s->slots;
    int table = b->point->weight[slots->table], head = b->point->weight[slots->head];
    if (head >= 0 && head == table) return G4_OK;
    *slots->list[slots->head].at = slots->list[slots->head].mat;
    return head < 0 ? G4_OK : g4_sens_slot_round(b, slots->head, err);
}

static int drafts(const g4_sens_bench *b, const g4_sens_point *p)
{
    int64_t L = b->s->candidate.config.num_hidden_layers;
    for (size_t i = b->slot_from[L + 1]; i < b->slot_from[L + 2]; i++)
        if (p->weight[i] >= 0 || p->input[i] >= 0) return 1;
    return 0;
}

static g4_status run(g4_sens_bench *b, g4_sens_run *r, int *media, g4_err *err)
{
    int64_t L = b->s->candidate.config.num_hidden_layers, D = b->s->candidate.config.hidden_size;
    if (drafts(b, b->point)) {
        r->accepted = b->accepted;
        return g4_sens_drafted_run(b, err);
    }
    G4_TRY(change_inputs(b, media, err));
    memcpy(b->x, g4_sens_recorded(b, r->first), (size_t)(b->s->data.rows * D) * sizeof *b->x);
    memset(b->errors, 0, (size_t)L * sizeof *b->errors);
    int64_t depth = b->s->o->depth;
    r->last = depth > 0 && depth < L - r->first ? r->first + depth : L;
    for (int64_t l = r->first; l < r->last; l++) {
        G4_TRY(run_layer(b, l, err));
        b->errors[l] = error_at(b, l + 1, b->s->data.rows);
    }
    if (r->last < L) {
        r->tokens = NULL;
        return G4_OK;
    }
    G4_TRY(change_head(b, err));
    return run_head(b, judge, err);
}

g4_status g4_sens_bench_run(g4_sens_bench *b, const g4_sens_point *p, g4_sens_run *r, g4_err *err)
{
    double start = g4_seconds();
    int media = 0;
    b->point = p;
    b->weight_ee = b->weight_gg = 0.0;
    *r = (g4_sens_run){ .first = first_change(b, p), .layers = b->errors, .tokens = b->tokens,
                        .chosen = b->chosen };
    g4_status s = run(b, r, &media, err);
    b->point = NULL;
    restore_inputs(b);
    if (s == G4_OK && media) s = embed_media(b, err);
    r->weight_error = b->weight_gg > 0.0 ? sqrt(b->weight_ee / b->weight_gg) : 0.0;
    r->seconds = g4_seconds() - start;
    return s;
}
