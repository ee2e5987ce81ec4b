/* SPDX-License-Identifier: Apache-2.0
 * Which slots a layer has, and the memory that a study will take, before it takes it: an
 * overnight run must not end at its third point. */
#include "harness/sensitivity/bench.h"
#include "harness/memory.h"
#include "harness/room.h"
#include "harness/text.h"
#include "ref/dtype/dtype.h"

#include <stdio.h>

static void max_into(int64_t *most, int64_t v)
{
    if (v > *most) *most = v;
}

static int changes(const g4_sens_point *p, size_t slot)
{
    return p->weight[slot] >= 0 || p->input[slot] >= 0;
}

/* Does a point change any of these slots? */
static int are_changed(const g4_sens_study *s, size_t from, size_t to)
{
    for (size_t p = 0; p < s->points.count; p++)
        for (size_t i = from; i < to; i++)
            if (changes(&s->points.list[p], i)) return 1;
    return 0;
}

g4_status g4_sens_layout(g4_sens_bench *b, g4_err *err)
{
    const g4_sens_slots *slots = &b->s->slots;
    int64_t L = b->s->candidate.config.num_hidden_layers;
    size_t i = 0, *from = g4_arena_alloc(&b->arena, (size_t)L + 4, sizeof *from);
    if (!from) return g4_nomem(err, "tensors");
    b->slot_from = from + 1;
    b->most_rows = b->s->data.rows;
    for (int64_t l = -1, sum; l <= L + 1; l++) {
        b->slot_from[l] = i;
        for (sum = 0; i < slots->count && slots->list[i].layer == l; i++) {
            const g4_mat *m = &slots->list[i].mat;
            if (i != slots->table && i != slots->head) sum += m->rows * m->cols;
            max_into(&b->most_cols, m->cols);
            max_into(&b->most_rows, m->rows);
        }
        if (l == L + 1) b->drafting = are_changed(b->s, b->slot_from[l], i);
        if (l <= L || b->drafting) max_into(&b->layer_values, sum);
    }
    b->slot_from[L + 2] = i;
    return G4_OK;
}

/* ---- bytes ---- */

/* The embedding as the point with the largest one has it. */
static uint64_t table_bytes(const g4_sens_bench *b)
{
    const g4_sens_study *s = b->s;
    const g4_mat *m = &s->slots.list[s->slots.table].mat;
    uint64_t most = 0;
    for (size_t p = 0; p < s->points.count; p++)
        for (int k = 0; k < 2; k++) {
            int type = s->points.list[p].weight[k ? s->slots.head : s->slots.table];
            if (type < 0) continue;
            g4_dtype as = g4_sens_table_dtype(m, &s->types[type]);
            uint64_t bytes = (uint64_t)m->rows * g4_dtype_row_bytes(as, m->cols);
            if (bytes > most) most = bytes;
        }
    return most;
}

static uint64_t cache_bytes(const g4_sens_bench *b, int64_t ctx)
{
    const g4_config *c = &b->s->candidate.config;
    uint64_t lanes = b->s->data.count < G4_SENS_LANES ? b->s->data.count : G4_SENS_LANES, width = 0;
    for (int kind = 0; kind < 2; kind++)
        width += 2 * (uint64_t)(c->kv_heads[kind] * c->head_dim[kind]) * sizeof(float);
    return lanes * (uint64_t)ctx * width;
}

static uint64_t drafter_bytes(const g4_sens_bench *b, const g4_engine_plan *plan)
{
    const g4_config *c = &b->s->draft.config;
    uint64_t D = (uint64_t)b->s->candidate.config.hidden_size;
    g4_engine_plan step = *plan;
    if (!b->drafting) return 0;
    step.rows = step.logit_rows = G4_SENS_STEP;
    return g4_engine_bytes(c, &step, &b->s->rt.ops, g4_par_threads(b->s->rt.par)) +
           G4_SENS_STEP * (3 * D + (uint64_t)c->vocab_size) * sizeof(float) +
           2 * (uint64_t)b->s->data.scored * sizeof(double);
}

/* Soft tokens of all documents stay. */
static uint64_t media_bytes(const g4_sens_data *d, uint64_t D)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < d->count; i++) {
        const g4_prompt *p = &d->docs[i].prompt;
        rows += (uint64_t)(p->images.count * p->images.budget +
                           p->frames.count * p->frames.budget + p->clips * p->clip_frames);
    }
    return rows * D * sizeof(float);
}

static uint64_t recorded_bytes(const g4_sens_bench *b)
{
    const g4_config *c = &b->s->candidate.config;
    const g4_sens_data *d = &b->s->data;
    return sizeof(float) * ((uint64_t)(d->rows * (c->num_hidden_layers + 1)) *
                            (uint64_t)c->hidden_size + (uint64_t)c->vocab_size *
                            (uint64_t)(d->scored + (b->drafting ? d->drafted : 0)));
}

g4_status g4_sens_room_check(const g4_sens_bench *b, const g4_engine_plan *plan, g4_err *err)
{
    const g4_config *c = &b->s->candidate.config;
    const g4_sens_data *d = &b->s->data;
    uint64_t threads = (uint64_t)g4_par_threads(b->s->rt.par), D = (uint64_t)c->hidden_size;
    uint64_t rounded = sizeof(float) * (uint64_t)b->layer_values, table = table_bytes(b);
    uint64_t work = g4_engine_bytes(c, plan, &b->s->rt.ops, (int)threads) +
                    cache_bytes(b, plan->ctx) + drafter_bytes(b, plan) + media_bytes(d, D);
    uint64_t cols = (uint64_t)b->most_cols, most = (uint64_t)g4_sens_input_rows(b, plan);
    work += sizeof(float) * ((uint64_t)d->rows * D + most * cols + 2 * threads * cols) +
            sizeof(double) * (4 * (uint64_t)b->most_rows + G4_SENS_PLACES * cols) +
            (uint64_t)d->scored * (sizeof(g4_kl_token) + sizeof(int64_t)) +
            threads * (uint64_t)c->vocab_size;
    char all[32], layer[32], embedding[32], disk[32], have[32];
    g4_text_bytes(all, sizeof all, g4_memory_now() + rounded + table + work);
    g4_text_bytes(layer, sizeof layer, rounded);
    g4_text_bytes(embedding, sizeof embedding, table);
    fprintf(stderr, "memory beside the mapped model %s, of that %s for a layer's rounded weights, "
            "%s for the embedding's; on disk while it runs %s\n", all, layer, embedding,
            g4_text_bytes(disk, sizeof disk, recorded_bytes(b)));
    const g4_room room = g4_room_now();
    if (rounded + table + work <= room.bytes) return G4_OK;
    return g4_fail(err, G4_ENOMEM, "sensitivity: takes %s, %s has %s", all, room.why,
                   g4_text_bytes(have, sizeof have, room.bytes));
}
